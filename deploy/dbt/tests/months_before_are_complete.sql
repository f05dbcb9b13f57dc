-- A warning: a month that is over, and lacks some of its time. What was used then is in no figure.
{{ config(severity='warn') }}
SELECT month, completeness FROM {{ ref('stg_months') }} WHERE ended AND missing_seconds > 0
