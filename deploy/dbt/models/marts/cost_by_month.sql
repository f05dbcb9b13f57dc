-- What each cost centre and team is charged in a month, by model, with how complete the month is.
SELECT c.month, c.cost_center, coalesce(c.team, '(unallocated)') AS team, coalesce(c.model, '(none)') AS model,
    c.currency, sum(c.requests)::BIGINT AS requests, sum(c.list_cost) AS list_cost, sum(c.discount) AS discount,
    sum(c.net_cost) AS net_cost, any_value(m.completeness) AS completeness, any_value(m.month_status) AS month_status
FROM {{ ref('stg_charges') }} c
LEFT JOIN {{ ref('stg_months') }} m ON m.month = c.month
GROUP BY ALL
