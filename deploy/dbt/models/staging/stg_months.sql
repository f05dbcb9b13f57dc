-- The months, each with how complete it is and whether it is closed.
SELECT "month", period, month_status, complete, missing_hours, completeness
FROM {{ source('usagelake_bi', 'months') }}
