-- The answers to finance's questions, a view for each: what is charged (charges.sql), what it is held against
-- (reconciliation.sql), what is yet to come (outlook.sql), and why (analysis.sql). They name nothing outside the file,
-- and go by its own clock (data_as_of) rather than by today's: the same file always gives the same answers.
--
-- They answer the same in a session of any time zone: a TIMESTAMPTZ is cast to a day by way of
-- make_timestamp(epoch_us(…)), which is UTC, and never by ::DATE, which is local.
--
-- Money that is charged stays exact: sums, differences and products of decimals. What is an estimate (a forecast, a
-- unit cost, a share) may pass through a DOUBLE, is rounded, and its comment says that it is an estimate or a share. A
-- ratio to next to nothing (refunds that cancel out a month) may be beyond any column: it is NULL then (TRY_CAST), not
-- an error.

--| chargeback_daily by month: what each owner is charged. Its net_cost sums exactly to the amount of usage.
CREATE VIEW chargeback_monthly (
    billing_month,     --| First day of the month it is charged in.
    charge_class,      --| Correction for usage of a month that was closed before it came or changed; else NULL.
    account,           --| Name of the account in the config.
    cost_center,       --| Cost centre; (unallocated) if none was assigned.
    team,              --| Team; NULL if none was assigned.
    project,           --| Project; NULL if none was assigned.
    environment,       --| Environment; NULL if none was assigned.
    gl_code,           --| General ledger code; NULL if none was assigned.
    tags,              --| Further tags, a flat JSON object; NULL if there are none.
    pool,              --| Shared pool it is a share of; NULL if it was charged directly.
    model,             --| Model that was called.
    model_type,        --| Kind of model.
    record_kind,       --| request or summary, as in usage.
    currency,          --| ISO 4217 code of the costs. Never sum across currencies.
    requests,          --| Number of records.
    without_amount,    --| Of these, records without an amount; the costs leave them out.
    input_tokens,      --| Input tokens, not counting the cached ones.
    output_tokens,     --| Output tokens.
    cached_tokens,     --| Input tokens read from the cache.
    total_tokens,      --| All tokens.
    list_cost,         --| Cost before the discount.
    discount,          --| What was taken off.
    net_cost,          --| What is charged.
    book_currency,     --| Currency of the books; NULL if they have none.
    book_cost,         --| What is charged, in it. NULL if a part of it has no rate.
    account_name,      --| What the account is called, from names; NULL if it has no name.
    cost_center_name,  --| What the cost centre is called, from names; NULL if it has no name.
    model_name,        --| What the model is called, from names; NULL if it has no name.
    completeness,      --| How complete the month is, of the account: what is missing of it is missing here.
    period             --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
) AS
SELECT x.*, name_of('account', x.account) AS account_name, name_of('cost_center', x.cost_center) AS cost_center_name,
    name_of('model', x.model) AS model_name, m.completeness, period_of(x.billing_month) AS period
FROM (
    SELECT billing_month, charge_class, account, cost_center, team, project, environment, gl_code, tags, pool, model,
        model_type, record_kind, currency,
        sum(requests)::BIGINT AS requests, sum(without_amount)::BIGINT AS without_amount,
        TRY_CAST(sum(input_tokens) AS BIGINT) AS input_tokens, TRY_CAST(sum(output_tokens) AS BIGINT) AS output_tokens,
        TRY_CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
        sum(list_cost) AS list_cost, sum(discount) AS discount, sum(net_cost) AS net_cost, book_currency,
        book_sum(book_cost, net_cost) AS book_cost
    FROM chargeback_daily GROUP BY ALL
) x LEFT JOIN completeness_monthly m ON m."month" = x.billing_month AND m.account = x.account;

--| 1. What does each cost centre owe? Sums exactly to the amount of usage.
CREATE VIEW spend_by_cost_center_month (
    "month",           --| First day of the month.
    cost_center,       --| Cost centre; (unallocated) if none was assigned.
    currency,          --| ISO 4217 code of the costs. Never sum across currencies.
    requests,          --| Number of records.
    total_tokens,      --| All tokens.
    list_cost,         --| Cost before the discount.
    discount,          --| What was taken off.
    net_cost,          --| What is charged.
    direct_cost,       --| Of net_cost, what was used directly.
    shared_cost,       --| Of net_cost, shares of pools.
    correction,        --| Of net_cost, corrections of closed months.
    book_currency,     --| Currency of the books; NULL if they have none.
    book_cost,         --| What is charged, in it. NULL if a part of it has no rate.
    cost_center_name,  --| What the cost centre is called, from names; NULL if it has no name.
    completeness,      --| How complete the month is: what is missing of it is missing here.
    period             --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
) AS
SELECT x.*, name_of('cost_center', x.cost_center) AS cost_center_name, m.completeness, period_of(x."month") AS period
FROM (
    SELECT billing_month AS "month", cost_center, currency, sum(requests)::BIGINT AS requests,
        TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
        sum(list_cost) AS list_cost, sum(discount) AS discount, sum(net_cost) AS net_cost,
        sum(net_cost) FILTER (pool IS NULL AND charge_class IS NULL) AS direct_cost,
        sum(net_cost) FILTER (pool IS NOT NULL AND charge_class IS NULL) AS shared_cost,
        sum(net_cost) FILTER (charge_class IS NOT NULL) AS correction, book_currency,
        book_sum(book_cost, net_cost) AS book_cost
    FROM chargeback_daily GROUP BY ALL
) x LEFT JOIN month_completeness m ON m."month" = x."month";

--| 2. The journal: debits by general ledger code and cost centre, one credit a currency. amount sums to 0, and so does
--| posted, exactly.
CREATE VIEW chargeback_journal (
    "month",           --| First day of the month.
    currency,          --| Currency that is posted: that of the books, or where they have none that of the costs.
    entry,             --| debit or credit.
    gl_code,           --| Account of the general ledger; the config names the one for what no rule gave a code, and the
                       --| one that is credited.
    cost_center,       --| Cost centre that is debited; NULL of the credit.
    amount,            --| Net cost, exact; converted, to twelve decimals. Of the credit negative. NULL if a rate is
                       --| missing: then nothing of the month is posted.
    posted,            --| amount in whole minor units of its currency (cents of USD, whole JPY, see currencies),
                       --| rounded by largest remainder so that the lines still sum to 0 and the debits to the rounded
                       --| total.
    cost_center_name,  --| What the cost centre is called, from names; NULL if it has no name.
    completeness,      --| How complete the month is: what is missing of it is missing here.
    period             --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
) AS
SELECT x.*, name_of('cost_center', x.cost_center) AS cost_center_name, m.completeness, period_of(x."month") AS period
FROM (
    WITH debits AS (
        SELECT billing_month, coalesce(book_currency, currency) AS currency, book_currency IS NOT NULL AS booked,
            coalesce(gl_code, (SELECT default_gl_code FROM finance_settings)) AS gl_code, cost_center,
            sum(net_cost) AS own, book_sum(book_cost, net_cost) AS book
        FROM chargeback_daily GROUP BY ALL HAVING sum(net_cost) IS NOT NULL
    ), units AS ( -- in minor units: own has 12 decimals, and book 22
        SELECT d.*, own * scale AS own_units, book * scale AS book_units
        FROM (
            SELECT d.*, (10 ** coalesce(c.minor_unit, 2))::DECIMAL(5,0) AS scale,
                (10 ** (4 - coalesce(c.minor_unit, 2)))::DECIMAL(5,0) AS unit
            FROM debits d LEFT JOIN currencies c ON c.currency = d.currency
        ) d
    ), halves AS (
        SELECT *,
            CASE WHEN booked THEN floor(book_units)::DECIMAL(38,0) ELSE floor(own_units)::DECIMAL(38,0) END AS down,
            CASE WHEN booked THEN (book_units - floor(book_units))::DECIMAL(38,22)
                ELSE (own_units - floor(own_units))::DECIMAL(38,22) END AS rest
        FROM units
    ), whole AS ( -- rounded half away from zero: left_over is what the sum has more than its parts, rounded down
        SELECT *,
            row_number() OVER (PARTITION BY billing_month, currency ORDER BY rest DESC, gl_code, cost_center) AS place,
            sum(rest) OVER w AS rests, (sum(down) OVER w)::DECIMAL(38,0) AS downs,
            bool_or(down IS NULL) OVER w AS lacking
        FROM halves WINDOW w AS (PARTITION BY billing_month, currency)
    ), parts AS (
        SELECT *, floor(rests) + CASE WHEN rests - floor(rests) > 0.5
            OR rests - floor(rests) = 0.5 AND downs + floor(rests) >= 0 THEN 1 ELSE 0 END AS left_over
        FROM whole
    ), posted AS ( -- of a month that lacks a rate nothing can be posted
        SELECT billing_month, currency, gl_code, cost_center,
            CASE WHEN booked THEN book::DECIMAL(38,12) ELSE own END AS amount,
            CASE WHEN NOT lacking THEN ((down + CASE WHEN place <= left_over THEN 1 ELSE 0 END) * unit
                * 0.0001::DECIMAL(5,4))::DECIMAL(38,4) END AS posted
        FROM parts
    )
    SELECT billing_month AS "month", currency, 'debit' AS entry, gl_code, cost_center, amount, posted FROM posted
    UNION ALL
    SELECT billing_month, currency, 'credit', (SELECT credit_gl_code FROM finance_settings), NULL,
        CASE WHEN count(*) = count(amount) THEN -sum(amount) END,
        CASE WHEN count(*) = count(posted) THEN -sum(posted)::DECIMAL(38,4) END
    FROM posted GROUP BY billing_month, currency
) x LEFT JOIN month_completeness m ON m."month" = x."month";

--| The part of chargeback_daily without a cost centre: no rule matched, or none that assigns one.
CREATE VIEW unallocated (
    billing_month,   --| First day of the month it is charged in.
    period,          --| What people call it.
    usage_date,      --| UTC day.
    book_date,       --| Book day.
    charge_class,    --| Correction for usage of a month that was closed before it came or changed; else NULL.
    account,         --| Name of the account in the config.
    cost_center,     --| Always (unallocated).
    team,            --| Team; NULL if none was assigned.
    project,         --| Project; NULL if none was assigned.
    environment,     --| Environment; NULL if none was assigned.
    gl_code,         --| General ledger code; NULL if none was assigned.
    tags,            --| Further tags, a flat JSON object; NULL if there are none.
    pool,            --| Shared pool.
    rule_id,         --| Rule that matched; NULL if none did.
    rule_version,    --| Its version.
    model,           --| Model that was called.
    model_type,      --| Kind of model.
    record_kind,     --| request or summary, as in usage.
    currency,        --| ISO 4217 code of the costs. Never sum across currencies.
    requests,        --| Number of records.
    without_amount,  --| Of these, records without an amount; the costs leave them out.
    input_tokens,    --| Input tokens, not counting the cached ones.
    output_tokens,   --| Output tokens.
    cached_tokens,   --| Input tokens read from the cache.
    total_tokens,    --| All tokens.
    list_cost,       --| Cost before the discount.
    discount,        --| What was taken off.
    net_cost,        --| What is charged.
    book_currency,   --| Currency of the books; NULL if they have none.
    book_cost        --| What is charged, in it. NULL if there is no rate.
) AS
SELECT * FROM chargeback_daily WHERE cost_center = '(unallocated)';

--| 3. What has no owner, and which token or user causes it? By month of usage, before corrections.
CREATE VIEW unallocated_spend (
    "month",       --| First day of the month.
    account,       --| Name of the account in the config.
    token_id,      --| API token.
    token_name,    --| What the token is called, from names; NULL if it has no name.
    user_id,       --| Member of the organisation.
    user_name,     --| What the user is called, likewise.
    currency,      --| ISO 4217 code of the costs. Never sum across currencies.
    first_day,     --| First UTC day in the month.
    last_day,      --| Last UTC day in the month.
    requests,      --| Number of records.
    total_tokens,  --| All tokens.
    list_cost,     --| Cost before the discount.
    discount,      --| What was taken off.
    net_cost,      --| What is charged.
    book_currency, --| Currency of the books; NULL if they have none.
    book_cost,     --| What is charged, in it. NULL if a part of it has no rate.
    account_name,  --| What the account is called, from names; NULL if it has no name.
    completeness,  --| How complete the month is, of the account: what is missing of it is missing here.
    period         --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
) AS
SELECT x.*, name_of('account', x.account) AS account_name, m.completeness, period_of(x."month") AS period FROM (
    SELECT month_of(book_date) AS "month", account, token_id,
        name_of('token', token_id) AS token_name, user_id, name_of('user', user_id) AS user_name, currency,
        min(first_day) AS first_day, max(last_day) AS last_day,
        sum(requests)::BIGINT AS requests, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
        sum(list_cost) AS list_cost, sum(discount) AS discount, sum(net_cost) AS net_cost, s.book_currency,
        book_sum(net_cost * r.rate, net_cost) AS book_cost
    FROM ( -- a rate is one of a day and a currency
        SELECT book_date, account, token_id, user_id, currency, min(usage_date) AS first_day,
            max(usage_date) AS last_day, sum(requests) AS requests, sum(total_tokens) AS total_tokens,
            sum(list_cost) AS list_cost, sum(discount) AS discount, sum(net_cost) AS net_cost
        FROM allocated_addends JOIN allocations a USING (allocation_id)
        WHERE a.cost_center IS NULL AND a.pool IS NULL GROUP BY ALL
    ) LEFT JOIN book_rates r USING (currency, book_date) CROSS JOIN finance_settings s
    GROUP BY month_of(book_date), account, token_id, user_id, currency, s.book_currency
) x LEFT JOIN completeness_monthly m ON m."month" = x."month" AND m.account = x.account;

--| From usage by UTC months to usage by the periods of the books: what a period has of another month, and what its own
--| month has lost to others. moved and book_moved sum to 0, exactly; without a row the two are the same.
CREATE VIEW period_bridge (
    utc_month,      --| First day of the month of UTC days that the usage is of.
    "month",        --| The period that it is charged in, before corrections, as periods calls it; of what a month lost
                    --| the period that goes by it.
    period,         --| What people call it.
    currency,       --| ISO 4217 code of the cost. Never sum across currencies.
    moved,          --| Net cost that the period has more, or less, than the month.
    book_currency,  --| Currency of the books; NULL if they have none.
    book_moved      --| moved in it, by the rates of its book days, exact. NULL if a part of it has no rate.
) AS
WITH apart AS (
    SELECT date_trunc('month', a.usage_date)::DATE AS utc_month, month_of(a.book_date) AS "month", a.currency,
        a.net_cost, a.net_cost * r.rate AS book_cost
    FROM allocated_model_daily a LEFT JOIN book_rates r ON r.currency = a.currency AND r.book_date = a.book_date
)
SELECT utc_month, "month", period_of("month") AS period, currency, moved, s.book_currency, book_moved
FROM (
    SELECT utc_month, "month", currency, sum(net_cost) AS moved, book_sum(book_cost, net_cost) AS book_moved FROM (
        SELECT * FROM apart WHERE utc_month <> "month"
        UNION ALL
        SELECT utc_month, utc_month, currency, -net_cost, -book_cost FROM apart WHERE utc_month <> "month"
    ) GROUP BY utc_month, "month", currency
) CROSS JOIN finance_settings s;

--| 4. How much is allocated, day by day? net_cost sums exactly to the amount of usage.
CREATE VIEW allocation_coverage_trend (
    usage_date,        --| UTC day.
    currency,          --| ISO 4217 code of the costs. Never sum across currencies.
    net_cost,          --| What is charged.
    direct_cost,       --| Of net_cost, allocated directly.
    shared_cost,       --| Of net_cost, allocated by splitting a pool.
    unallocated_cost,  --| Of net_cost, allocated to nobody.
    allocated_share    --| Share of net_cost that is allocated; NULL where that is 0, or one of its parts is below 0 and
                       --| the other above.
) AS
SELECT usage_date, currency, sum(net_cost) AS net_cost,
    coalesce(sum(net_cost) FILTER (cost_center <> '(unallocated)' AND pool IS NULL), 0) AS direct_cost,
    coalesce(sum(net_cost) FILTER (cost_center <> '(unallocated)' AND pool IS NOT NULL), 0) AS shared_cost,
    coalesce(sum(net_cost) FILTER (cost_center = '(unallocated)'), 0) AS unallocated_cost,
    CASE WHEN sign(unallocated_cost) * sign(sum(net_cost) - unallocated_cost) >= 0
        THEN TRY_CAST(1 - unallocated_cost::DOUBLE / nullif(sum(net_cost), 0)::DOUBLE AS DECIMAL(18,6))
        END AS allocated_share
FROM chargeback_daily GROUP BY ALL;

--| 5. Who bears the shared pools, in what ratio? The parts of a pool sum exactly to its cost.
CREATE VIEW shared_cost_split (
    "month",           --| First day of the month.
    pool,              --| Shared pool.
    method,            --| How it was split.
    currency,          --| ISO 4217 code of the costs. Never sum across currencies.
    cost_center,       --| Cost centre; (unallocated) if none was assigned.
    team,              --| Team; NULL if none was assigned.
    project,           --| Project; NULL if none was assigned.
    environment,       --| Environment; NULL if none was assigned.
    gl_code,           --| General ledger code; NULL if none was assigned.
    tags,              --| Further tags, a flat JSON object.
    basis,             --| The owner's weight, in words.
    ratio,             --| The owner's weight ÷ the sum of the weights, rounded.
    requests,          --| Number of records.
    total_tokens,      --| All tokens.
    list_cost,         --| Cost before the discount.
    discount,          --| What was taken off.
    net_cost,          --| What is charged.
    book_currency,     --| Currency of the books; NULL if they have none.
    book_cost,         --| What is charged, in it. NULL if a part of it has no rate.
    cost_center_name,  --| What the cost centre is called, from names; NULL if it has no name.
    completeness,      --| How complete the month is: what is missing of it is missing here.
    period             --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
) AS
SELECT x.*, name_of('cost_center', x.cost_center) AS cost_center_name, m.completeness, period_of(x."month") AS period
FROM (
    SELECT month_of(book_date) AS "month", pool, method, currency,
        coalesce(cost_center, '(unallocated)') AS cost_center, team, project, environment, gl_code, tags, basis, ratio,
        sum(requests)::BIGINT AS requests, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
        sum(list_cost) AS list_cost, sum(discount) AS discount, sum(net_cost) AS net_cost, s.book_currency,
        book_sum(net_cost * r.rate, net_cost) AS book_cost
    FROM shared_cost_shares LEFT JOIN book_rates r USING (currency, book_date) CROSS JOIN finance_settings s
    GROUP BY ALL
) x LEFT JOIN month_completeness m ON m."month" = x."month";
