-- A warning: a month that is over, and lacks some of its time. What was used then is in no figure.
{{ config(severity='warn') }}
SELECT month, completeness FROM {{ ref('stg_months') }} WHERE month_status <> 'current' AND missing_hours > 0
