-- What changed, what stands out, what a unit costs, how fresh it all is: see charges.sql.

--| What a month is compared with the one before by, in words. A month that isn't there can't be compared.
CREATE VIEW comparison_basis (
    "month",   --| First day of the later month.
    accounts,  --| Accounts that have days to compare.
    basis      --| whole months, or which days of both, and of how many accounts if not of all.
) AS
SELECT "month", accounts, CASE WHEN bool_and(whole) THEN 'whole months'
        ELSE 'days ' || array_to_string(list(DISTINCT span ORDER BY span), '; ') || ' of both months' END
    || CASE WHEN accounts < (SELECT count(*) FROM accounts)
        THEN ', ' || accounts || ' of ' || (SELECT count(*) FROM accounts) || ' accounts' ELSE '' END AS basis
FROM (
    SELECT "month", account, bool_and("full") AS whole, count(*) OVER (PARTITION BY "month") AS accounts,
        min(n) || CASE WHEN count(*) > 1
            THEN CASE WHEN max(n) - min(n) = count(*) - 1 THEN ' to ' ELSE ' … ' END || max(n) ELSE '' END AS span
    FROM (
        SELECT c."month", c.account, c."full", c.book_date - p.period_start + 1 AS n
        FROM comparable_days c JOIN periods p ON p."month" = c."month" WHERE c.side = 'now'
    ) GROUP BY "month", account
) GROUP BY "month", accounts;

--| 12. Why did the cost change from month to month? By model: volume + mix + cache + price = change, exactly.
CREATE VIEW month_over_month_drivers (
    "month",        --| First day of the later month.
    model,          --| Model that was called.
    model_name,     --| What the model is called, from names; NULL if it has no name.
    currency,       --| ISO 4217 code of the costs. Never sum across currencies.
    net_before,     --| Net cost in what is compared of the month before.
    net_now,        --| Net cost in what is compared of the month.
    change,         --| net_now − net_before.
    volume,         --| What the model would have cost more if it had grown as all models together did. Estimate.
    mix,            --| What it cost more because its tokens grew otherwise than all models together, at the month
                    --| before's net cost a token; all of the change of a model that had no tokens before. Estimate.
    cache,          --| What a change of the share of cached input tokens did, at the month before's mean prices.
                    --| Estimate.
    price,          --| The rest: prices, discounts, and the kind of tokens. The four sum to change.
    tokens_before,  --| Tokens in what is compared of the month before.
    tokens_now,     --| Tokens in what is compared of the month.
    compared        --| By what the months are compared, as in comparison_basis: whole months, or the days that both
                    --| have.
) AS
WITH months AS (
    SELECT c."month", side, model, currency, coalesce(sum(net_cost), 0) AS net,
        coalesce(sum(total_tokens), 0)::DOUBLE AS tokens,
        coalesce(sum(input_tokens), 0)::DOUBLE + coalesce(sum(cached_tokens), 0)::DOUBLE AS inputs,
        coalesce(sum(cached_tokens), 0)::DOUBLE AS cached
    FROM allocated_model_daily JOIN comparable_days c USING (account, book_date) GROUP BY ALL
), prices AS (
    SELECT c."month", model, currency,
        sum(price::DOUBLE * requests) FILTER (line = 'input') / sum(requests) FILTER (line = 'input') AS input_price,
        sum(price::DOUBLE * requests) FILTER (line = 'cached') / sum(requests) FILTER (line = 'cached') AS cached_price
    FROM unit_prices u JOIN comparable_days c ON c.account = u.account AND c.book_date = u.usage_date -- by UTC day
    WHERE side = 'before' GROUP BY ALL
), pairs AS (
    SELECT coalesce(n."month", b."month") AS "month", coalesce(n.model, b.model) AS model,
        coalesce(n.currency, b.currency) AS currency,
        coalesce(b.net, 0) AS net_before, coalesce(n.net, 0) AS net_now, coalesce(b.tokens, 0) AS tokens_before,
        coalesce(n.tokens, 0) AS tokens_now,
        b.cached / nullif(b.inputs, 0) AS cached_before, n.cached / nullif(n.inputs, 0) AS cached_now,
        coalesce(n.inputs, 0) AS inputs_now
    FROM (FROM months WHERE side = 'now') n FULL JOIN (FROM months WHERE side = 'before') b
        ON b."month" = n."month" AND b.model IS NOT DISTINCT FROM n.model AND b.currency IS NOT DISTINCT FROM n.currency
), scaled AS (
    SELECT p.*, sum(tokens_now) OVER w / nullif(sum(tokens_before) OVER w, 0) AS growth, r.input_price, r.cached_price
    FROM pairs p
    LEFT JOIN prices r ON r."month" = p."month" AND r.model IS NOT DISTINCT FROM p.model
        AND r.currency IS NOT DISTINCT FROM p.currency
    WINDOW w AS (PARTITION BY p."month", p.currency)
), effects AS (
    SELECT *, coalesce(TRY_CAST(net_before::DOUBLE * (growth - 1) AS DECIMAL(38,12)), 0) AS volume,
        CASE WHEN tokens_before = 0 THEN net_now - net_before
            ELSE coalesce(TRY_CAST((tokens_now - tokens_before * growth) * net_before::DOUBLE / tokens_before
                AS DECIMAL(38,12)), 0) END AS mix,
        CASE WHEN tokens_before = 0 OR tokens_now = 0 THEN 0
            ELSE coalesce(TRY_CAST(-(cached_now - cached_before) * inputs_now * (input_price - cached_price) / 1e6
                AS DECIMAL(38,12)), 0) END AS cache
    FROM scaled
)
SELECT "month", model, name_of('model', model) AS model_name, currency, net_before, net_now,
    net_now - net_before AS change, CASE WHEN tokens_before = 0 THEN 0 ELSE volume END::DECIMAL(38,12) AS volume,
    mix::DECIMAL(38,12) AS mix, cache::DECIMAL(38,12) AS cache,
    (net_now - net_before - CASE WHEN tokens_before = 0 THEN 0 ELSE volume END - mix - cache)::DECIMAL(38,12) AS price,
    tokens_before::DECIMAL(38,0) AS tokens_before, tokens_now::DECIMAL(38,0) AS tokens_now, basis AS compared
FROM effects JOIN comparison_basis USING ("month");

--| 13. Days that leave their own history: of accounts, cost centres, models, tokens; new tokens; price changes.
CREATE VIEW anomalous_days (
    usage_date,   --| UTC day.
    kind,         --| spike or drop: the day leaves its history. new: a token seen for the first time. price change.
    "scope",      --| account, cost_center, model or token.
    scope_value,  --| Which of these; NULL of all.
    scope_name,   --| What it is called, from names; NULL if it has no name.
    currency,     --| ISO 4217 code of the costs. Never sum across currencies.
    observed,     --| Net cost of the day, exact.
    expected,     --| Median of the last 20 days of the same kind (working day or weekend) before it. Estimate.
    deviation,    --| observed − expected.
    score,        --| deviation ÷ spread; the spread is 1.4826 × the median absolute deviation of those days, and at
                  --| least 5 % of the median. A day is listed from 4 on, and if the deviation is 1 or more.
    requests,     --| Records of the day.
    detail        --| What it was held against.
) AS
WITH utc AS ( -- the day before which all UTC days are over
    SELECT make_timestamp(epoch_us(as_of))::DATE AS over FROM data_as_of
), parts AS ( -- by account, so that a day is known to be whole for all that have a part in it
    SELECT CASE WHEN by_model THEN 'model' WHEN by_token THEN 'token' ELSE 'account' END AS "scope",
        CASE WHEN by_model THEN model WHEN by_token THEN token_id ELSE account END AS scope_value, account, currency,
        usage_date, cost, requests
    FROM (
        SELECT account, model, token_id, grouping(model) = 0 AS by_model, grouping(token_id) = 0 AS by_token, currency,
            usage_date, sum(amount) AS cost, sum(requests)::BIGINT AS requests
        FROM usage_addends, utc WHERE usage_date < over
        GROUP BY GROUPING SETS ((account, currency, usage_date), (account, model, currency, usage_date),
            (account, token_id, currency, usage_date))
    )
    UNION ALL
    SELECT 'cost_center', cost_center, account, currency, usage_date, sum(net_cost), sum(requests)::BIGINT
    -- with what was charged for the day later
    FROM chargeback_daily, utc WHERE usage_date < over GROUP BY ALL
), sums AS (
    SELECT "scope", scope_value, currency, usage_date, sum(cost) AS cost, sum(requests)::BIGINT AS requests
    FROM parts GROUP BY ALL
), spans AS (
    SELECT "scope", scope_value, currency, row_number() OVER () AS n, min(usage_date) AS first_day, sum(cost) AS total
    FROM sums GROUP BY "scope", scope_value, currency
), members AS (
    SELECT DISTINCT s.n, s.first_day, p.account FROM spans s
    JOIN parts p ON (p."scope", p.scope_value, p.currency) IS NOT DISTINCT FROM (s."scope", s.scope_value, s.currency)
), whole AS (
    SELECT account, usage_date FROM coverage_daily, utc WHERE usage_date < over
    GROUP BY ALL HAVING sum(missing_seconds) = 0
), torn AS (
    -- the days from an account's first to the last that is over, or to its own last if it is no more, that aren't whole
    SELECT account, usage_date FROM (
        SELECT account,
            unnest(generate_series(make_timestamp(epoch_us(covered_from))::DATE,
                CASE WHEN configured THEN over::TIMESTAMP ELSE make_timestamp(epoch_us(covered_to)) END
                    - INTERVAL 1 DAY,
                INTERVAL 1 DAY))::DATE AS usage_date
        FROM accounts, utc WHERE covered_from IS NOT NULL
    ) ANTI JOIN whole USING (account, usage_date)
), calendar AS ( -- a day counts if some account of the scope has it whole, and none has a part of it
    SELECT DISTINCT m.n, w.usage_date FROM members m
    JOIN whole w ON w.account = m.account AND w.usage_date >= m.first_day
    ANTI JOIN (SELECT m.n, t.usage_date FROM members m JOIN torn t USING (account)) x ON x.n = m.n
        AND x.usage_date = w.usage_date
), series AS ( -- a day without usage counts as 0, from the scope's first day on
    SELECT s."scope", s.scope_value, s.currency, s.n, c.usage_date, isodow(c.usage_date) > 5 AS weekend,
        coalesce(d.cost, 0) AS cost, coalesce(d.requests, 0) AS requests
    FROM spans s JOIN calendar c USING (n)
    LEFT JOIN sums d ON d."scope" = s."scope" AND d.scope_value IS NOT DISTINCT FROM s.scope_value
        AND d.currency IS NOT DISTINCT FROM s.currency AND d.usage_date = c.usage_date
), history AS (
    SELECT *, list(cost::DOUBLE) OVER past AS past, median(cost::DOUBLE) OVER past AS median FROM series
    WINDOW past AS (PARTITION BY n, weekend ORDER BY usage_date ROWS BETWEEN 20 PRECEDING AND 1 PRECEDING)
), far AS ( -- what can pass at the end, by the least that the spread is: few
    SELECT * FROM history
    WHERE len(past) >= 5 AND abs(cost::DOUBLE - median) >= 1 AND abs(cost::DOUBLE - median) > 4 * (0.05 * abs(median))
), judged AS (
    SELECT *,
        greatest(1.4826 * list_median(list_transform(past, lambda x: abs(x - median))), 0.05 * abs(median)) AS spread
    FROM far
)
SELECT usage_date, CASE WHEN cost::DOUBLE > median THEN 'spike' ELSE 'drop' END AS kind, "scope", scope_value,
    name_of("scope", scope_value) AS scope_name, currency, cost AS observed, median::DECIMAL(38,6) AS expected,
    (cost::DOUBLE - median)::DECIMAL(38,6) AS deviation,
    TRY_CAST((cost::DOUBLE - median) / nullif(spread, 0) AS DECIMAL(18,2)) AS score, requests,
    format('the median of the {} {} before is {}, their spread {}', len(past),
        CASE WHEN weekend THEN 'weekend days' ELSE 'working days' END, money_text(median, currency),
        money_text(spread, currency)) AS detail
FROM judged WHERE abs(cost::DOUBLE - median) > 4 * spread
UNION ALL
SELECT d.usage_date, 'new', s."scope", s.scope_value, name_of(s."scope", s.scope_value), s.currency, d.cost, 0,
    d.cost::DECIMAL(38,6), NULL, d.requests,
    format('a token that had not been seen before; {} in all since',
        concat_ws(' ', money_text(s.total, s.currency), s.currency))
FROM spans s
JOIN sums d ON d."scope" = s."scope" AND d.scope_value IS NOT DISTINCT FROM s.scope_value
    AND d.currency IS NOT DISTINCT FROM s.currency AND d.usage_date = s.first_day
WHERE s."scope" = 'token' AND s.total >= 1
    AND NOT EXISTS (
        FROM members m JOIN accounts a USING (account)
        WHERE m.n = s.n AND s.first_day < make_timestamp(epoch_us(a.covered_from))::DATE + 7
    )
UNION ALL
SELECT usage_date, 'price change', 'model', model, name_of('model', model), NULL, NULL, NULL, NULL, NULL, records,
    concat_ws(' ', field, detail)
FROM quality_issues WHERE check_name = 'price_change_days';

--| 13. anomalous_days with each event once, at the level that explains it: of the rows of a day that leave their
--| history the same way the one whose part explains most of the others (four fifths of what they leave it by), and of
--| such the narrowest: token, model, cost_center, account.
CREATE VIEW anomaly_events (
    usage_date,   --| UTC day.
    kind,         --| As in anomalous_days.
    "scope",      --| account, cost_center, model or token: the level that explains it.
    scope_value,  --| Which of these; NULL of all.
    scope_name,   --| What it is called, from names; NULL if it has no name.
    currency,     --| ISO 4217 code of the costs. Never sum across currencies.
    observed,     --| Net cost of the day, exact.
    expected,     --| As in anomalous_days. Estimate.
    deviation,    --| observed − expected.
    score,        --| As in anomalous_days.
    requests,     --| Records of the day.
    detail,       --| What it was held against; of a price change every price that changed.
    also          --| The other rows of anomalous_days that it explains, by their scope, its value and its name (NULL if
                  --| it has none); empty if none.
) AS
WITH found AS ( -- of one day, currency and direction: what may be one event
    SELECT row_number() OVER () AS n, *, deviation > 0 AS up,
        CASE "scope" WHEN 'token' THEN 1 WHEN 'model' THEN 2 WHEN 'cost_center' THEN 3 ELSE 4 END AS width
    FROM anomalous_days WHERE deviation <> 0
), days AS (
    SELECT DISTINCT usage_date AS anomaly FROM found GROUP BY usage_date, currency, up HAVING count(*) > 1
), pool_parts AS (
    SELECT usage_date, account, pool, currency, cost_center,
        sum(net_cost)::DOUBLE
            / nullif(sum(sum(net_cost)) OVER (PARTITION BY usage_date, account, pool, currency), 0)::DOUBLE AS part
    FROM shared_cost_shares GROUP BY usage_date, account, pool, currency, cost_center
), parts AS ( -- how much each combination was above what such days cost in the four weeks before
    SELECT y.anomaly, d.account, d.token_id, d.model, d.currency,
        coalesce(a.cost_center, p.cost_center, '(unallocated)') AS cost_center,
        sum(coalesce(d.net_cost, 0)::DOUBLE * coalesce(p.part, 1)
            * CASE WHEN d.usage_date = y.anomaly THEN 1
                ELSE -1.0 / CASE WHEN isodow(y.anomaly) > 5 THEN 8 ELSE 20 END END) AS deviation
    FROM days y
    JOIN allocated_addends d ON d.usage_date BETWEEN y.anomaly - 28 AND y.anomaly
        AND (isodow(d.usage_date) > 5) = (isodow(y.anomaly) > 5)
    JOIN allocations a USING (allocation_id)
    LEFT JOIN pool_parts p ON p.usage_date = d.usage_date AND p.account = d.account AND p.pool = a.pool
        AND p.currency IS NOT DISTINCT FROM d.currency
    GROUP BY ALL
), members AS (
    SELECT f.*, u.i, u.part FROM found f JOIN (
        SELECT anomaly, currency, deviation AS part, row_number() OVER () AS i,
            unnest(['account', 'cost_center', 'model', 'token']) AS "scope",
            unnest([account, cost_center, model, token_id]) AS scope_value
        FROM parts
    ) u ON u.anomaly = f.usage_date AND u."scope" = f."scope" AND u.scope_value IS NOT DISTINCT FROM f.scope_value
        AND u.currency IS NOT DISTINCT FROM f.currency
), explains AS ( -- a's part of b is four fifths of what b leaves its history by
    SELECT a.n AS a, b.n AS b FROM members a JOIN members b ON a.usage_date = b.usage_date AND a.i = b.i AND a.up = b.up
    GROUP BY a.n, b.n HAVING a.n = b.n OR sum(a.part) / any_value(b.deviation)::DOUBLE >= 0.8
), ranked AS ( -- who explains most comes first; of these the narrowest
    SELECT f.*,
        row_number() OVER (ORDER BY coalesce(e.explained, 1) DESC, width, abs(deviation) DESC, scope_value) AS place
    FROM found f LEFT JOIN (SELECT a, count(*) AS explained FROM explains GROUP BY a) e ON e.a = f.n
)
SELECT usage_date, kind, "scope", scope_value, scope_name, currency, observed, expected, deviation, score, requests,
    detail,
    coalesce((
        SELECT list({'scope': o."scope", 'scope_value': o.scope_value, 'scope_name': o.scope_name}
            ORDER BY o.width DESC, o.scope_value)
        FROM explains e JOIN found o ON o.n = e.b WHERE e.a = r.n AND e.b <> r.n
    ), []) AS also
FROM ranked r
WHERE NOT EXISTS (FROM explains e JOIN ranked o ON o.n = e.a WHERE e.b = r.n AND o.place < r.place)
UNION ALL
SELECT usage_date, kind, "scope", scope_value, scope_name, currency, NULL, NULL, NULL, NULL, max(requests),
    string_agg(detail, '; ' ORDER BY detail), []
FROM anomalous_days WHERE deviation IS NULL GROUP BY usage_date, kind, "scope", scope_value, scope_name, currency;

--| 14. Which users, tokens and models cost most? By month; each kind sums exactly to the amount of usage.
CREATE VIEW top_spenders (
    "month",       --| First day of the month.
    "scope",       --| user, token, model or custom_user.
    scope_value,   --| Which of these; NULL of all.
    scope_name,    --| What it is called, from names; NULL if it has no name.
    currency,      --| ISO 4217 code of the costs. Never sum across currencies.
    requests,      --| Number of records.
    total_tokens,  --| All tokens.
    net_cost,      --| What is charged.
    place,         --| Rank by net cost in the month, from 1.
    "share",       --| Share of the month's net cost. NULL where that is 0, or some of its parts are below 0 and others
                   --| above.
    completeness,  --| How complete the month is: what is missing of it is missing here.
    period         --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
) AS
SELECT x.*, m.completeness, period_of(x."month") AS period FROM (
    WITH scoped AS ( -- the month stands in each branch, so that a condition on it reaches each scan
        SELECT 'user' AS "scope", user_id AS scope_value, month_of(book_date) AS "month", currency,
            requests, total_tokens, net_cost
        FROM allocated_addends
        UNION ALL
        SELECT 'token', token_id, month_of(book_date), currency, requests, total_tokens, net_cost
        FROM allocated_addends
        UNION ALL
        SELECT 'model', model, month_of(book_date), currency, requests, total_tokens, net_cost
        FROM allocated_model_daily
        UNION ALL
        SELECT 'custom_user', custom_user_id, month_of(book_date), currency, requests, total_tokens,
            net_cost
        FROM allocated_addends
    )
    SELECT "month", "scope", scope_value, name_of("scope", scope_value) AS scope_name, currency,
        sum(requests)::BIGINT AS requests, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
        sum(net_cost) AS net_cost,
        rank() OVER (PARTITION BY "month", "scope", currency ORDER BY sum(net_cost) DESC NULLS LAST) AS place,
        CASE WHEN min(sum(net_cost)) OVER parts >= 0 OR max(sum(net_cost)) OVER parts <= 0
            THEN TRY_CAST(sum(net_cost)::DOUBLE / nullif(sum(sum(net_cost)) OVER parts, 0)::DOUBLE AS DECIMAL(18,6))
            END AS "share"
    FROM scoped GROUP BY "month", "scope", scope_value, currency
    WINDOW parts AS (PARTITION BY "month", "scope", currency)
) x LEFT JOIN month_completeness m ON m."month" = x."month";

--| 15. What does a request, a million tokens, an active user cost? By month, for everything, each model, and each cost
--| centre and pool.
CREATE VIEW unit_cost (
    "month",             --| First day of the month.
    "scope",             --| all, model, cost_center or pool (which isn't split yet): the last two together are all,
                         --| too.
    scope_value,         --| Which of these; NULL of all.
    scope_name,          --| What it is called, from names; NULL if it has no name.
    currency,            --| ISO 4217 code of the costs. Never sum across currencies.
    requests,            --| Number of records.
    total_tokens,        --| All tokens.
    active_users,        --| Users with usage in the month.
    net_cost,            --| What is charged.
    per_request,         --| net_cost ÷ requests, rounded.
    per_million_tokens,  --| net_cost ÷ million tokens, rounded.
    per_active_user,     --| net_cost ÷ active_users, rounded.
    completeness,        --| How complete the month is: what is missing of it is missing here.
    period               --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
) AS
SELECT x.*, m.completeness, period_of(x."month") AS period FROM (
    WITH scoped AS (
        SELECT 'all' AS "scope", NULL AS scope_value, month_of(book_date) AS "month", currency,
            user_id, requests, total_tokens, net_cost
        FROM allocated_addends
        UNION ALL
        SELECT 'model', model, month_of(book_date), currency, user_id, requests, total_tokens,
            net_cost
        FROM allocated_addends
        UNION ALL
        SELECT CASE WHEN a.pool IS NULL THEN 'cost_center' ELSE 'pool' END,
            coalesce(a.pool, a.cost_center, '(unallocated)'), month_of(book_date), currency, user_id,
            requests, total_tokens, net_cost
        FROM allocated_addends JOIN allocations a USING (allocation_id)
    )
    SELECT "month", "scope", scope_value, name_of("scope", scope_value) AS scope_name, currency,
        sum(requests)::BIGINT AS requests, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
        count(DISTINCT user_id) AS active_users, sum(net_cost) AS net_cost,
        (sum(net_cost)::DOUBLE / nullif(sum(requests), 0)::DOUBLE)::DECIMAL(38,6) AS per_request,
        (sum(net_cost)::DOUBLE * 1e6 / nullif(sum(total_tokens), 0)::DOUBLE)::DECIMAL(38,6) AS per_million_tokens,
        (sum(net_cost)::DOUBLE / nullif(count(DISTINCT user_id), 0))::DECIMAL(38,6) AS per_active_user
    FROM scoped GROUP BY "month", "scope", scope_value, currency
) x LEFT JOIN month_completeness m ON m."month" = x."month";

--| 16. How much input comes from the cache, and what does that save? By month and model.
CREATE VIEW cache_savings (
    "month",        --| First day of the month.
    model,          --| Model that was called.
    currency,       --| ISO 4217 code of the costs. Never sum across currencies.
    input_tokens,   --| Input tokens, not counting the cached ones.
    cached_tokens,  --| Input tokens read from the cache.
    cached_share,   --| Cached ÷ all input tokens; NULL where there are none.
    cached_cost,    --| List cost of the cached tokens at their own price.
    saved,          --| What they would have cost more at the input price of the same record, before the discount.
                    --| Records without one of the prices are left out.
    model_name,     --| What the model is called, from names; NULL if it has no name.
    completeness,   --| How complete the month is: what is missing of it is missing here.
    period          --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
) AS
SELECT x.*, name_of('model', x.model) AS model_name, m.completeness, period_of(x."month") AS period FROM (
    SELECT month_of(book_date) AS "month", model, currency,
        TRY_CAST(sum(input_tokens) AS BIGINT) AS input_tokens, TRY_CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens,
        TRY_CAST(sum(cached_tokens)::DOUBLE
            / nullif(coalesce(sum(input_tokens), 0) + coalesce(sum(cached_tokens), 0), 0)::DOUBLE
            AS DECIMAL(18,6)) AS cached_share,
        sum(CASE WHEN cached_tokens = 0 AND cached_price IS NOT NULL THEN 0::DECIMAL(18,12)
            WHEN cached_price::DECIMAL(18,6) = cached_price
            THEN TRY(cached_tokens::DECIMAL(13,0) * 0.000001::DECIMAL(7,6) * cached_price::DECIMAL(18,6))
            ELSE TRY((cached_tokens::DECIMAL(13,0) * 0.000001::DECIMAL(7,6) * cached_price)::DECIMAL(18,12))
            END) AS cached_cost,
        sum(CASE WHEN cached_tokens = 0 AND cached_price IS NOT NULL AND input_price IS NOT NULL THEN 0::DECIMAL(18,12)
            WHEN cached_price::DECIMAL(18,6) = cached_price AND input_price::DECIMAL(18,6) = input_price
            THEN TRY(cached_tokens::DECIMAL(13,0) * 0.000001::DECIMAL(7,6)
                * (input_price - cached_price)::DECIMAL(18,6))
            ELSE TRY((cached_tokens::DECIMAL(13,0) * 0.000001::DECIMAL(7,6)
                * (input_price - cached_price)::DECIMAL(18,12))::DECIMAL(18,12)) END) AS saved
    FROM booked_usage WHERE input_tokens IS NOT NULL OR cached_tokens IS NOT NULL
    GROUP BY ALL
) x LEFT JOIN month_completeness m ON m."month" = x."month";

--| 17. List against net, by month and model.
CREATE VIEW discount_realised (
    "month",        --| First day of the month.
    model,          --| Model that was called.
    currency,       --| ISO 4217 code of the costs. Never sum across currencies.
    list_cost,      --| Cost before the discount.
    discount,       --| What was taken off.
    net_cost,       --| What is charged.
    discount_rate,  --| discount ÷ list_cost; NULL where that is 0, or the discount is more than it.
    model_name,     --| What the model is called, from names; NULL if it has no name.
    completeness,   --| How complete the month is: what is missing of it is missing here.
    period          --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
) AS
SELECT x.*, name_of('model', x.model) AS model_name, m.completeness, period_of(x."month") AS period FROM (
    SELECT month_of(book_date) AS "month", model, currency, sum(u.list_cost) AS list_cost, sum(u.discount) AS discount,
        sum(u.net_cost) AS net_cost,
        CASE WHEN sign(sum(u.discount)) * sign(sum(u.list_cost) - sum(u.discount)) >= 0
            THEN TRY_CAST(sum(u.discount)::DOUBLE / nullif(sum(u.list_cost), 0)::DOUBLE AS DECIMAL(18,6))
            END AS discount_rate
    FROM allocated_model_daily u GROUP BY ALL
) x LEFT JOIN month_completeness m ON m."month" = x."month";

--| 18. Which unit prices changed, and when? A row for each day on which a price differs from the last day before.
CREATE VIEW price_changes (
    usage_date,     --| UTC day.
    account,        --| Name of the account in the config.
    account_name,   --| What the account is called, from names; NULL if it has no name.
    model,          --| Model that was called.
    model_name,     --| What the model is called, from names; NULL if it has no name.
    line,           --| input, output or cached (price per million tokens), or ext (price per unit).
    category,       --| Category of an ext charge; tokens otherwise.
    item,           --| Item of an ext charge; otherwise the same as line.
    unit,           --| What is priced.
    currency,       --| ISO 4217 code of the costs. Never sum across currencies.
    day_before,     --| Last day before on which it was charged.
    prices_before,  --| Prices of that day.
    prices,         --| Prices of the day.
    change,         --| Relative change, if there was one price on each day, and one above 0 before.
    requests        --| Charges on the day.
) AS
SELECT usage_date, account, name_of('account', account) AS account_name, model, name_of('model', model) AS model_name,
    line, category, item, unit, currency, day_before, prices_before, prices,
    CASE WHEN len(prices) = 1 AND len(prices_before) = 1
        THEN TRY_CAST(prices[1]::DOUBLE / CASE WHEN prices_before[1] > 0 THEN prices_before[1] END::DOUBLE - 1
            AS DECIMAL(18,6)) END AS change,
    requests
FROM price_steps;

--| 19. What do images, audio, video and tools cost? By month, cost centre and model, before pools are split.
CREATE VIEW modality_and_tool_spend (
    "month",           --| First day of the month.
    cost_center,       --| Cost centre; (unallocated) if none was assigned; NULL of a shared pool.
    pool,              --| Shared pool the cost goes to; NULL if it goes to an owner.
    team,              --| Team; NULL if none was assigned.
    model,             --| Model that was called.
    category,          --| Category of the charge.
    item,              --| Item of the charge.
    unit,              --| What quantity counts.
    currency,          --| ISO 4217 code of the costs. Never sum across currencies.
    charges,           --| Number of charges.
    quantity,          --| How much was used.
    list_cost,         --| Cost before the discount.
    cost_center_name,  --| What the cost centre is called, from names; NULL if it has no name.
    model_name,        --| What the model is called, from names; NULL if it has no name.
    completeness,      --| How complete the month is: what is missing of it is missing here.
    period             --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
) AS
SELECT x.*, name_of('cost_center', x.cost_center) AS cost_center_name, name_of('model', x.model) AS model_name,
    m.completeness, period_of(x."month") AS period
FROM (
    SELECT month_of(book_date) AS "month",
        coalesce(a.cost_center, CASE WHEN a.pool IS NULL THEN '(unallocated)' END) AS cost_center, a.pool, a.team,
        model, category, item, unit, currency,
        sum(charges)::BIGINT AS charges, sum(quantity) AS quantity, sum(list_cost) AS list_cost
    FROM ext_daily JOIN allocations a USING (allocation_id) GROUP BY ALL
) x LEFT JOIN month_completeness m ON m."month" = x."month";

--| 20. How fresh and how complete is it? A row an account.
CREATE VIEW data_freshness_and_gaps (
    account,           --| Name of the account in the config.
    account_name,      --| What the account is called, from names; NULL if it has no name.
    covered_from,      --| Start of the first window that was fetched, UTC; NULL if none ever was.
    covered_to,        --| End of the last, UTC: how fresh it is.
    gaps,              --| Stretches in between that were not fetched.
    missing_hours,     --| Their length.
    records,           --| Records in usage.
    net_cost,          --| Sum of their amounts; mind that an account has one currency.
    quarantined,       --| Records in quarantine.
    duplicates,        --| Records left out because the same one, by id and content, had come already in the window.
    windows,           --| Windows that own some instant.
    miscounted,        --| Of these, windows in which another number of records came than the API announced: they were
                       --| proven complete otherwise, or have the proof none.
    quality_errors,    --| Records with findings of severity error.
    quality_warnings,  --| Records with findings of severity warning.
    run_id,            --| Last export of the account.
    run_status,        --| How it ended.
    run_started_at,    --| When it began, UTC.
    failed_windows     --| Windows it could not fetch.
) AS
WITH owned AS (
    SELECT account, usage_date, window_start, window_end, announced, records, owns,
        max(window_end) OVER (PARTITION BY account
            ORDER BY window_start, window_end ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
    FROM coverage
), covered AS (
    SELECT account, min(window_start) AS covered_from, max(window_end) AS covered_to,
        sum(greatest(0, date_diff('second', reached, window_start))) AS missing,
        count(*) FILTER (reached < window_start) AS gaps FROM owned GROUP BY ALL
), counts AS (
    SELECT account, sum("rows")::BIGINT AS records, sum(quarantined)::BIGINT AS quarantined,
        sum(duplicates)::BIGINT AS duplicates, sum(amount) AS net_cost
    FROM partitions GROUP BY ALL
), proofs AS (
    SELECT account, count(*) FILTER (owns) AS windows,
        count(*) FILTER (owns AND announced IS NOT NULL AND announced <> listed) AS miscounted
    FROM coverage GROUP BY ALL
), issues AS (
    SELECT account, coalesce(sum(records) FILTER (severity = 'error'), 0)::BIGINT AS errors,
        coalesce(sum(records) FILTER (severity = 'warning'), 0)::BIGINT AS warnings
    FROM quality_issues GROUP BY ALL
), last_run AS (
    SELECT a.account, arg_max(r.run_id, r.started_at) AS run_id, arg_max(a.status, r.started_at) AS status,
        max(r.started_at) AS started_at,
        coalesce(len(arg_max_null(a.failed_windows, r.started_at)), 0) AS failed_windows
    FROM run_accounts a JOIN runs r USING (run_id) WHERE r.command = 'export' GROUP BY ALL
)
SELECT a.account, name_of('account', a.account) AS account_name, covered_from, covered_to, gaps,
    (missing / 3600.0)::DECIMAL(18,2) AS missing_hours, n.records, n.net_cost, n.quarantined, n.duplicates, p.windows,
    p.miscounted,
    coalesce(i.errors, 0) AS quality_errors, coalesce(i.warnings, 0) AS quality_warnings, r.run_id,
    r.status AS run_status, r.started_at AS run_started_at, coalesce(r.failed_windows, 0) AS failed_windows
FROM (SELECT account FROM coverage UNION SELECT account FROM last_run) a LEFT JOIN covered c USING (account)
LEFT JOIN counts n USING (account) LEFT JOIN proofs p USING (account) LEFT JOIN issues i USING (account)
LEFT JOIN last_run r USING (account);
