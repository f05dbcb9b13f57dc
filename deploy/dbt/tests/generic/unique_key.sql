{% test unique_key(model, columns) %}
-- Several columns that name a row: a NULL among them is a value like any other.
SELECT {{ columns | join(', ') }}, count(*) AS rows_of_it FROM {{ model }} GROUP BY ALL HAVING count(*) > 1
{% endtest %}
