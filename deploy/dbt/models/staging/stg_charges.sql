-- What each owner is charged, by day: exact, and never summed across currencies.
SELECT "month", period, book_date, charge_class, account, cost_center, team, project, environment, gl_code, pool, model,
    model_type, currency, requests, input_tokens, cached_tokens, output_tokens, list_cost, discount, net_cost
FROM {{ source('usagelake_bi', 'charges_daily') }}
