-- What each owner is charged, by day: exact, and never summed across currencies.
SELECT account, book_date AS charge_date, billing_month AS month, charge_class, cost_center, team, project, environment,
    gl_code, pool, model, model_type, currency, requests, input_tokens, cached_tokens, output_tokens,
    list_cost, discount, net_cost
FROM {{ source('usagelake', 'chargeback_daily') }}
