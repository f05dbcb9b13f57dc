-- The months, each with how complete it is and whether it is closed.
SELECT m.month, m.complete, m.missing_seconds, m.completeness, c.month IS NOT NULL AS closed
FROM {{ source('usagelake', 'month_completeness') }} m
LEFT JOIN {{ source('usagelake', 'closed_months') }} c ON c.month = m.month
WHERE m.expected_seconds > 0 -- none of a month to come
