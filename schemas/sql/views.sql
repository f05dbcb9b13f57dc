-- The views of usage.duckdb. They name nothing outside the file, but what usage does (records.sql).
--
-- Money stays exact: DuckDB's / on decimals is a DOUBLE and is used nowhere. Tokens become millions by a product,
-- DECIMAL(13,0) × 0.000001 = DECIMAL(18,6). Times a price of 6 decimals, as nearly all are, that is the charge in 64
-- bits and without rounding; times one of 12 it is DECIMAL(36,18), rounded once. The former is some ten times faster. A
-- charge that no column holds is NULL rather than an error (TRY), and the adjustment line carries the amount.

--| A row per charge: what each record's amount is made of. The lines of a record sum exactly to its amount: what price
--| × quantity leaves over is a line of its own, adjustment.
CREATE VIEW usage_line_items /* of the whole file */ (
    account,         --| Name of the account in the config.
    usage_date,      --| UTC day of request_time.
    request_time,    --| When the request was made, UTC.
    id,              --| Id of the record in usage.
    ordinal,         --| Ordinal of the record in usage: account, request_time, id and ordinal name a record.
    token_id,        --| API token the request was made with.
    user_id,         --| Member of the organisation the token belongs to.
    custom_user_id,  --| What the calling application sent as its own user: free text, not to be trusted.
    model,           --| Model that was called.
    model_type,      --| Kind of model, such as text.
    record_kind,     --| request or summary, as in usage.
    line,            --| input, cached, output: tokens. tokens: those of a summary record. ext: a charge beyond the
                     --| tokens. discount: what was taken off. adjustment: what the other lines leave of amount.
    category,        --| tokens, discount, adjustment, or the category of an ext charge.
    item,            --| Kind of token, or the item of an ext charge.
    unit,            --| What quantity counts: token, or the unit of an ext charge.
    quantity,        --| How much was used; NULL of discount and adjustment.
    price,           --| Price of price_per units.
    price_per,       --| Units the price is for: 1000000 for tokens, 1 for ext charges.
    amount,          --| The charge: quantity × price ÷ price_per rounded to 12 places; of an ext charge what the API
                     --| says. NULL where the record has no amount.
    currency         --| ISO 4217 code of amount.
) AS
WITH priced AS NOT MATERIALIZED (
    SELECT
        account, usage_date, request_time, id, ordinal, token_id, user_id, custom_user_id, model, model_type,
        record_kind, currency,
        input_tokens, output_tokens, cached_tokens, total_tokens, input_price, output_price, cached_price,
        discount_amount, amount, ext_items,
        CASE WHEN input_price::DECIMAL(18,6) = input_price
            THEN TRY(input_tokens::DECIMAL(13,0) * 0.000001::DECIMAL(7,6) * input_price::DECIMAL(18,6))
            ELSE TRY((input_tokens::DECIMAL(13,0) * 0.000001::DECIMAL(7,6) * input_price)::DECIMAL(18,12))
            END AS input_cost,
        CASE WHEN output_price::DECIMAL(18,6) = output_price
            THEN TRY(output_tokens::DECIMAL(13,0) * 0.000001::DECIMAL(7,6) * output_price::DECIMAL(18,6))
            ELSE TRY((output_tokens::DECIMAL(13,0) * 0.000001::DECIMAL(7,6) * output_price)::DECIMAL(18,12))
            END AS output_cost,
        CASE WHEN cached_price::DECIMAL(18,6) = cached_price
            THEN TRY(cached_tokens::DECIMAL(13,0) * 0.000001::DECIMAL(7,6) * cached_price::DECIMAL(18,6))
            ELSE TRY((cached_tokens::DECIMAL(13,0) * 0.000001::DECIMAL(7,6) * cached_price)::DECIMAL(18,12))
            END AS cached_cost
    FROM usage
), lines AS NOT MATERIALIZED (
    SELECT *, 'input' AS line, 'tokens' AS category, 'input' AS item, 'token' AS unit,
        input_tokens::DECIMAL(38,12) AS quantity,
        input_price AS price, 1000000 AS price_per, input_cost::DECIMAL(38,12) AS line_amount
    FROM priced WHERE input_tokens <> 0
    UNION ALL
    SELECT *, 'cached', 'tokens', 'cached', 'token', cached_tokens::DECIMAL(38,12), cached_price, 1000000,
        cached_cost::DECIMAL(38,12)
    FROM priced WHERE cached_tokens <> 0
    UNION ALL
    SELECT *, 'output', 'tokens', 'output', 'token', output_tokens::DECIMAL(38,12), output_price, 1000000,
        output_cost::DECIMAL(38,12)
    FROM priced WHERE output_tokens <> 0
    UNION ALL
    SELECT *, 'tokens', 'tokens', 'tokens', 'token', total_tokens::DECIMAL(38,12), NULL, NULL, NULL
    FROM priced WHERE record_kind = 'summary' AND total_tokens <> 0
    UNION ALL
    SELECT * EXCLUDE (e), 'ext', e.category, e.item, e.unit, e."usage"::DECIMAL(38,12), e.price, 1,
        coalesce(e.amount::DECIMAL(38,12), (e.price * e."usage")::DECIMAL(38,12))
    FROM (SELECT *, unnest(ext_items) AS e FROM priced)
    UNION ALL
    SELECT *, 'discount', 'discount', NULL, NULL, NULL, NULL, NULL, -discount_amount::DECIMAL(38,12)
    FROM priced WHERE discount_amount <> 0
    UNION ALL
    SELECT * FROM (
        SELECT *, 'adjustment', 'adjustment', NULL, NULL, NULL, NULL, NULL,
            amount::DECIMAL(38,12)
            - CASE WHEN input_tokens <> 0 THEN coalesce(input_cost::DECIMAL(38,12), 0) ELSE 0 END
            - CASE WHEN cached_tokens <> 0 THEN coalesce(cached_cost::DECIMAL(38,12), 0) ELSE 0 END
            - CASE WHEN output_tokens <> 0 THEN coalesce(output_cost::DECIMAL(38,12), 0) ELSE 0 END
            - coalesce(list_sum(list_transform(ext_items,
                lambda x: coalesce(x.amount::DECIMAL(38,12), (x.price * x."usage")::DECIMAL(38,12)))), 0)
            + coalesce(discount_amount::DECIMAL(38,12), 0) AS rest
        FROM priced
    ) WHERE rest <> 0
)
SELECT
    account, usage_date, request_time, id, ordinal, token_id, user_id, custom_user_id, model, model_type, record_kind,
    line, category, item, unit, quantity, price, price_per,
    CASE WHEN amount IS NULL THEN NULL ELSE line_amount END AS amount,
    currency
FROM lines;

-- A meter is told by seven columns, so it gets a number first, and only one whose price ever differed is looked at. Its
-- days are put side by side as two lists, one a day behind the other, which takes a fraction of a window's sort.
--| The days on which a meter's unit prices are not those of the last day before that it was charged: what price_changes
--| and quality_issues are made from.
CREATE VIEW price_steps (
    usage_date,     --| UTC day.
    account,        --| Name of the account in the config.
    model,          --| Model that was called.
    line,           --| input, output, cached or ext, as in usage_line_items.
    category,       --| tokens, or the category of an ext charge.
    item,           --| Kind of token, or the item of an ext charge.
    unit,           --| What the price is of.
    currency,       --| ISO 4217 code of the prices.
    day_before,     --| Last day before on which it was charged.
    prices_before,  --| Prices then, in order.
    prices,         --| Prices on the day, in order.
    requests        --| Charges on the day.
) AS
WITH meters AS MATERIALIZED (
    SELECT row_number() OVER () AS n, account, model, line, category, item, unit, currency,
        list({'usage_date': usage_date, 'price': price, 'requests': requests}) AS charged
    FROM unit_prices GROUP BY account, model, line, category, item, unit, currency HAVING min(price) <> max(price)
), days AS (
    SELECT n, c.usage_date, list_sort(list(c.price)) AS prices, sum(c.requests)::BIGINT AS requests
    FROM (SELECT n, unnest(charged) AS c FROM meters) GROUP BY ALL
), pairs AS (
    SELECT n, unnest(days[2:]) AS day_now, unnest(days[:-2]) AS day_before
    FROM (
        SELECT n, list_sort(list({'usage_date': usage_date, 'prices': prices, 'requests': requests})) AS days
        FROM days GROUP BY n
    )
)
SELECT day_now.usage_date AS usage_date, account, model, line, category, item, unit, currency,
    day_before.usage_date AS day_before, day_before.prices AS prices_before,
    day_now.prices AS prices, day_now.requests AS requests
FROM pairs JOIN meters USING (n)
WHERE day_now.prices <> day_before.prices;

--| Findings of the quality checks: within a day (day_issues), records that two accounts hold (account_overlaps), and
--| unit prices that differ from those of the last day they were charged.
CREATE VIEW quality_issues (
    account,     --| Name of the account in the config.
    usage_date,  --| UTC day.
    check_name,  --| Name of the check.
    severity,    --| info, warning or error.
    field,       --| The API's name of the field; NULL if the record as a whole is meant.
    model,       --| Model the finding is about; NULL if it is about none.
    records,     --| Number of records.
    sample_id,   --| Id of the first such record; NULL of a finding across days.
    detail       --| The figures.
) AS
SELECT account, usage_date, check_name, severity, field, model, records, sample_id, detail
FROM day_issues
UNION ALL
SELECT account, usage_date, 'account_overlap', 'error', NULL, NULL, records, sample_id,
    'account ' || other || ' holds the same records: they count twice'
FROM (
    SELECT * FROM account_overlaps
    UNION ALL SELECT other AS account, account AS other, * EXCLUDE (account, other) FROM account_overlaps
)
UNION ALL
SELECT
    s.account, s.usage_date, 'price_change_days', 'warning',
    CASE s.line WHEN 'ext' THEN concat_ws('.', 'ext', s.category, s.item, 'price') ELSE s.line || '_price' END,
    s.model,
    sum(p.requests)::BIGINT,
    NULL,
    array_to_string(list_transform(s.prices_before, lambda x: rtrim(rtrim(x::VARCHAR, '0'), '.')), ', ') || ' on '
        || s.day_before::VARCHAR
        || ', then ' || array_to_string(list_transform(s.prices, lambda x: rtrim(rtrim(x::VARCHAR, '0'), '.')), ', ')
FROM price_steps s
JOIN unit_prices p ON p.account = s.account AND p.usage_date = s.usage_date AND p.line = s.line
    AND p.model IS NOT DISTINCT FROM s.model AND p.category IS NOT DISTINCT FROM s.category
    AND p.item IS NOT DISTINCT FROM s.item
    AND p.unit IS NOT DISTINCT FROM s.unit AND p.currency IS NOT DISTINCT FROM s.currency
    AND NOT list_contains(s.prices_before, p.price)
WHERE NOT list_has_all(s.prices_before, s.prices)
GROUP BY ALL;
