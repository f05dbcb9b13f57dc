-- Sums allocated_usage for the days in the temporary table summed_days, whose rows have been deleted before. Where
-- allocated_daily is a view, it is the first statement's query without the days and the order. The period is looked up
-- of sums, and not of each record.

INSERT INTO allocated_daily
SELECT u.account, u.usage_date, u.book_date, period_of(month_of(u.book_date)) AS period,
    u.* EXCLUDE (account, usage_date, book_date)
FROM (
    SELECT account, usage_date, book_date, allocation_id, token_id, user_id, custom_user_id, model, model_type,
        record_kind, currency,
        count(*) AS requests, count(*) FILTER (amount IS NULL) AS without_amount,
        TRY_CAST(sum(input_tokens) AS BIGINT) AS input_tokens, TRY_CAST(sum(output_tokens) AS BIGINT) AS output_tokens,
        TRY_CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
        sum(total_amount) AS list_cost, sum(discount_amount) AS discount, sum(amount) AS net_cost
    FROM allocated_usage SEMI JOIN temp.summed_days USING (account, usage_date)
    GROUP BY ALL
) u /* period of u */
ORDER BY ALL;

INSERT INTO allocated_model_daily
SELECT u.account, u.usage_date, u.book_date, period_of(month_of(u.book_date)) AS period,
    u.* EXCLUDE (account, usage_date, book_date)
FROM (
    SELECT account, usage_date, book_date, allocation_id, model, model_type, record_kind, currency,
        sum(requests)::BIGINT, sum(without_amount)::BIGINT,
        TRY_CAST(sum(input_tokens) AS BIGINT), TRY_CAST(sum(output_tokens) AS BIGINT),
        TRY_CAST(sum(cached_tokens) AS BIGINT), TRY_CAST(sum(total_tokens) AS BIGINT),
        sum(list_cost), sum(discount), sum(net_cost)
    FROM allocated_addends SEMI JOIN temp.summed_days USING (account, usage_date)
    GROUP BY ALL
) u /* period of u */
ORDER BY ALL;

INSERT INTO ext_daily
SELECT u.account, u.usage_date, u.book_date, period_of(month_of(u.book_date)) AS period,
    u.* EXCLUDE (account, usage_date, book_date)
FROM (
    SELECT account, usage_date, book_date, allocation_id, model, currency, e.category, e.item, e.unit, count(*),
        sum(e."usage"), sum(coalesce(e.amount::DECIMAL(38,12), (e.price * e."usage")::DECIMAL(38,12)))
    FROM (
        SELECT account, usage_date, book_date, allocation_id, model, currency, unnest(ext_items) AS e
        FROM allocated_usage SEMI JOIN temp.summed_days USING (account, usage_date)
        WHERE len(ext_items) > 0
    )
    GROUP BY ALL
) u /* period of u */
ORDER BY ALL;
