-- What is charged sums to what was used, in each currency, to the last of twelve decimals.
SELECT coalesce(u.currency, c.currency) AS currency, u.amount, c.net_cost
FROM (SELECT currency, sum(amount) AS amount FROM {{ source('usagelake', 'usage') }} GROUP BY ALL) u
FULL JOIN (SELECT currency, sum(net_cost) AS net_cost FROM {{ ref('cost_by_month') }} GROUP BY ALL) c
    ON c.currency IS NOT DISTINCT FROM u.currency
WHERE u.amount IS DISTINCT FROM c.net_cost
