-- Charges what was spent directly, and the shares of the pools, in the months of the temporary table stale_months that
-- are open. closed_months is filled before. chargeback_live stays, to hold closed months against.

CREATE OR REPLACE TEMP VIEW chargeback_live AS
SELECT usage_date, book_date, account, coalesce(a.cost_center, '(unallocated)') AS cost_center, a.team, a.project,
    a.environment, a.gl_code, a.tags, NULL::VARCHAR AS pool, a.rule_id, a.rule_version, model, model_type,
    record_kind, currency,
    sum(requests)::BIGINT AS requests, sum(without_amount)::BIGINT AS without_amount,
    TRY_CAST(sum(input_tokens) AS BIGINT) AS input_tokens, TRY_CAST(sum(output_tokens) AS BIGINT) AS output_tokens,
    TRY_CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
    sum(list_cost) AS list_cost, sum(discount) AS discount, sum(net_cost) AS net_cost
FROM allocated_model_daily JOIN allocations a USING (allocation_id)
WHERE a.pool IS NULL
GROUP BY ALL
UNION ALL
SELECT usage_date, book_date, account, coalesce(cost_center, '(unallocated)'), team, project, environment, gl_code,
    tags, pool, rule_id, rule_version, model, model_type, record_kind, currency,
    requests, without_amount, input_tokens, output_tokens, cached_tokens, total_tokens, list_cost, discount, net_cost
FROM shared_cost_shares;

DELETE FROM chargeback_daily
WHERE billing_month IN (SELECT billing_month FROM temp.stale_months)
    AND billing_month NOT IN (SELECT "month" FROM closed_months) AND charge_class IS NULL;

INSERT INTO chargeback_daily BY NAME
SELECT c.*, NULL AS charge_class, s.book_currency, c.net_cost * r.rate AS book_cost
FROM (
    SELECT month_of(u.book_date) AS billing_month, period_of(month_of(u.book_date)) AS period, u.*
    FROM temp.chargeback_live u /* period of u */
) c
CROSS JOIN finance_settings s
LEFT JOIN book_rates r ON r.currency = c.currency AND r.book_date = c.book_date
WHERE c.billing_month IN (SELECT billing_month FROM temp.stale_months)
    AND c.billing_month NOT IN (SELECT "month" FROM closed_months)
ORDER BY ALL;
