-- Each budget in each of its periods.
SELECT budget, scope, scope_value, period_start, period_end, currency, budget_amount, spent, left_over, budget_status,
    completeness
FROM {{ source('usagelake_bi', 'budget_periods') }}
