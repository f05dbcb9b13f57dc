-- Refreshes what is summed from usage and coverage, for the days in the temporary table changed. The rows of those days
-- have been deleted before. Where usage_daily is a view, it is the first statement's query without the days and the
-- order.

INSERT INTO usage_daily
SELECT
    account, usage_date, token_id, user_id, model, model_type, record_kind, currency,
    count(*) AS requests, count(*) FILTER (amount IS NULL) AS without_amount,
    TRY_CAST(sum(input_tokens) AS BIGINT) AS input_tokens, TRY_CAST(sum(output_tokens) AS BIGINT) AS output_tokens,
    TRY_CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
    sum(total_amount) AS total_amount, sum(discount_amount) AS discount_amount, sum(amount) AS amount
FROM usage SEMI JOIN changed USING (account, usage_date)
GROUP BY ALL
ORDER BY ALL;

INSERT INTO unit_prices
WITH prices AS (
    SELECT account, usage_date, model, currency, input_price, output_price, cached_price, count(*) AS requests,
        count(*) FILTER (input_tokens <> 0) AS inputs,
        count(*) FILTER (output_tokens <> 0) AS outputs,
        count(*) FILTER (cached_tokens <> 0) AS cacheds
    FROM usage SEMI JOIN changed USING (account, usage_date)
    GROUP BY ALL
)
SELECT account, usage_date, model, line, category, item, unit, price, currency, sum(requests)::BIGINT
FROM (
    SELECT account, usage_date, model, 'input' AS line, 'tokens' AS category, 'input' AS item, 'token' AS unit,
        input_price AS price, currency, inputs AS requests
    FROM prices WHERE inputs > 0
    UNION ALL
    SELECT account, usage_date, model, 'output', 'tokens', 'output', 'token', output_price, currency, outputs
    FROM prices WHERE outputs > 0
    UNION ALL
    SELECT account, usage_date, model, 'cached', 'tokens', 'cached', 'token', cached_price, currency, cacheds
    FROM prices WHERE cacheds > 0
    UNION ALL
    SELECT account, usage_date, model, 'ext', e.category, e.item, e.unit, e.price, currency, count(*)
    FROM (
        SELECT account, usage_date, model, currency, unnest(ext_items) AS e
        FROM usage SEMI JOIN changed USING (account, usage_date)
        WHERE len(ext_items) > 0
    )
    GROUP BY ALL
)
WHERE price IS NOT NULL
GROUP BY ALL
ORDER BY ALL;

INSERT INTO coverage_daily
WITH fetched AS ( -- what no window before it has covered
    SELECT account, usage_date, greatest(window_start, reached) AS window_start, window_end
    FROM (
        SELECT account, usage_date, window_start, window_end, coalesce(max(window_end) OVER (
            PARTITION BY account, usage_date
            ORDER BY window_start, window_end ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
            window_start) AS reached
        FROM coverage SEMI JOIN changed USING (account, usage_date)
    )
)
SELECT account, usage_date, book_date, covered, date_diff('second', starts_at, ends_at)::INTEGER - covered
FROM (
    SELECT f.account, f.usage_date, p.book_date, p.starts_at, p.ends_at,
        sum(greatest(0, date_diff('second', greatest(f.window_start, p.starts_at), least(f.window_end, p.ends_at))))
            ::INTEGER AS covered
    FROM fetched f JOIN day_parts p ON p.usage_date = f.usage_date
    GROUP BY ALL
)
ORDER BY ALL;
