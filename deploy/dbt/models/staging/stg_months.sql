-- The months, each with how complete it is and whether it is closed.
SELECT m.month, m.complete, m.expected_seconds = m.period_seconds AS ended, m.missing_seconds, m.completeness,
    c.month IS NOT NULL AS closed
FROM {{ source('usagelake', 'month_completeness') }} m
LEFT JOIN {{ source('usagelake', 'closed_months') }} c ON c.month = m.month
