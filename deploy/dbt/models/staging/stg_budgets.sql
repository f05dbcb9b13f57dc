-- Each budget in each of its periods.
SELECT budget, scope, scope_value, period_start, period_end, currency, amount, spent, left_over, status, completeness
FROM {{ source('usagelake', 'budget_vs_actual') }}
