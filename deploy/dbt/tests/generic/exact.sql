{% test exact(model, column_name) %}
-- An amount that has become a double has lost digits, whatever it shows.
SELECT typeof({{ column_name }}) AS type FROM {{ model }} WHERE typeof({{ column_name }}) NOT LIKE 'DECIMAL%' LIMIT 1
{% endtest %}
