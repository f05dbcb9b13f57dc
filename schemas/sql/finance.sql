-- The answers to finance's questions, a view for each. They name nothing outside the file, and go by its own clock
-- (data_as_of) rather than by today's: the same file always gives the same answers.
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
    account_name,      --| What the account is called, from names; NULL if it has no name.
    cost_center_name,  --| What the cost centre is called, from names; NULL if it has no name.
    model_name,        --| What the model is called, from names; NULL if it has no name.
    completeness       --| How complete the month is, of the account: what is missing of it is missing here.
) AS
SELECT x.*, name_of('account', x.account) AS account_name, name_of('cost_center', x.cost_center) AS cost_center_name,
    name_of('model', x.model) AS model_name, m.completeness
FROM (
    SELECT billing_month, charge_class, account, cost_center, team, project, environment, gl_code, tags, pool, model,
        model_type, record_kind, currency,
        sum(requests)::BIGINT AS requests, sum(without_amount)::BIGINT AS without_amount,
        TRY_CAST(sum(input_tokens) AS BIGINT) AS input_tokens, TRY_CAST(sum(output_tokens) AS BIGINT) AS output_tokens,
        TRY_CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
        sum(list_cost) AS list_cost, sum(discount) AS discount, sum(net_cost) AS net_cost
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
    cost_center_name,  --| What the cost centre is called, from names; NULL if it has no name.
    completeness       --| How complete the month is: what is missing of it is missing here.
) AS
SELECT x.*, name_of('cost_center', x.cost_center) AS cost_center_name, m.completeness FROM (
    SELECT billing_month AS "month", cost_center, currency, sum(requests)::BIGINT AS requests,
        TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
        sum(list_cost) AS list_cost, sum(discount) AS discount, sum(net_cost) AS net_cost,
        sum(net_cost) FILTER (pool IS NULL AND charge_class IS NULL) AS direct_cost,
        sum(net_cost) FILTER (pool IS NOT NULL AND charge_class IS NULL) AS shared_cost,
        sum(net_cost) FILTER (charge_class IS NOT NULL) AS correction
    FROM chargeback_daily GROUP BY ALL
) x LEFT JOIN month_completeness m ON m."month" = x."month";

--| 2. The journal: debits by general ledger code and cost centre, one credit a currency. amount sums to 0, and so does
--| posted, exactly.
CREATE VIEW chargeback_journal (
    "month",           --| First day of the month.
    currency,          --| ISO 4217 code of the costs. Never sum across currencies.
    entry,             --| debit or credit.
    gl_code,           --| Account of the general ledger; the config names the one for what no rule gave a code, and the
                       --| one that is credited.
    cost_center,       --| Cost centre that is debited; NULL of the credit.
    amount,            --| Exact net cost; of the credit negative.
    posted,            --| amount in whole minor units of its currency (cents of USD, whole JPY, see currencies),
                       --| rounded by largest remainder so that the lines still sum to 0 and the debits to the rounded
                       --| total.
    cost_center_name,  --| What the cost centre is called, from names; NULL if it has no name.
    completeness       --| How complete the month is: what is missing of it is missing here.
) AS
SELECT x.*, name_of('cost_center', x.cost_center) AS cost_center_name, m.completeness FROM (
    WITH debits AS (
        SELECT billing_month, currency, coalesce(gl_code, (SELECT default_gl_code FROM finance_settings)) AS gl_code,
            cost_center, sum(net_cost) AS amount
        FROM chargeback_daily GROUP BY ALL HAVING sum(net_cost) IS NOT NULL
    ), units AS (
        SELECT d.*, amount * (10 ** coalesce(c.minor_unit, 2))::DECIMAL(5,0) AS units,
            (10 ** (4 - coalesce(c.minor_unit, 2)))::DECIMAL(5,0) AS unit
        FROM debits d LEFT JOIN currencies c ON c.currency = d.currency
    ), parts AS (
        SELECT *, floor(units)::DECIMAL(38,0) AS down,
            row_number() OVER (PARTITION BY billing_month, currency
                ORDER BY units - floor(units) DESC, gl_code, cost_center) AS place,
            round(sum(units) OVER (PARTITION BY billing_month, currency))::DECIMAL(38,0)
                - (sum(floor(units)) OVER (PARTITION BY billing_month, currency))::DECIMAL(38,0) AS left_over
        FROM units
    ), posted AS (
        SELECT billing_month, currency, gl_code, cost_center, amount,
            ((down + CASE WHEN place <= left_over THEN 1 ELSE 0 END) * unit
                * 0.0001::DECIMAL(5,4))::DECIMAL(38,4) AS posted
        FROM parts
    )
    SELECT billing_month AS "month", currency, 'debit' AS entry, gl_code, cost_center, amount, posted FROM posted
    UNION ALL
    SELECT billing_month, currency, 'credit', (SELECT credit_gl_code FROM finance_settings), NULL, -sum(amount),
        -sum(posted)::DECIMAL(38,4)
    FROM posted GROUP BY billing_month, currency
) x LEFT JOIN month_completeness m ON m."month" = x."month";

--| The part of chargeback_daily without a cost centre: no rule matched, or none that assigns one.
CREATE VIEW unallocated (
    billing_month,   --| First day of the month it is charged in.
    usage_date,      --| UTC day.
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
    net_cost         --| What is charged.
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
    account_name,  --| What the account is called, from names; NULL if it has no name.
    completeness   --| How complete the month is, of the account: what is missing of it is missing here.
) AS
SELECT x.*, name_of('account', x.account) AS account_name, m.completeness FROM (
    SELECT date_trunc('month', usage_date)::DATE AS "month", account, token_id,
        name_of('token', token_id) AS token_name, user_id, name_of('user', user_id) AS user_name, currency,
        min(usage_date) AS first_day, max(usage_date) AS last_day,
        sum(requests)::BIGINT AS requests, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
        sum(list_cost) AS list_cost, sum(discount) AS discount, sum(net_cost) AS net_cost
    FROM allocated_daily JOIN allocations a USING (allocation_id)
    WHERE a.cost_center IS NULL AND a.pool IS NULL
    GROUP BY date_trunc('month', usage_date)::DATE, account, token_id, user_id, currency
) x LEFT JOIN completeness_monthly m ON m."month" = x."month" AND m.account = x.account;

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
    cost_center_name,  --| What the cost centre is called, from names; NULL if it has no name.
    completeness       --| How complete the month is: what is missing of it is missing here.
) AS
SELECT x.*, name_of('cost_center', x.cost_center) AS cost_center_name, m.completeness FROM (
    SELECT date_trunc('month', usage_date)::DATE AS "month", pool, method, currency,
        coalesce(cost_center, '(unallocated)') AS cost_center, team, project, environment, gl_code, tags, basis, ratio,
        sum(requests)::BIGINT AS requests, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
        sum(list_cost) AS list_cost, sum(discount) AS discount, sum(net_cost) AS net_cost
    FROM shared_cost_shares GROUP BY ALL
) x LEFT JOIN month_completeness m ON m."month" = x."month";

--| 7. Invoice against usage: each line of an invoice, each model or day that detailed invoices leave out, and the sum
--| of a period's invoices.
CREATE VIEW invoice_reconciliation (
    kind,            --| line: a line of an invoice. no line: what detailed invoices leave out. sum: all invoices of an
                     --| account and period.
    invoice,         --| Number of the invoice; of a sum, and of what several leave out, their numbers.
    account,         --| Account it is for; NULL: all.
    account_name,    --| What the account is called, from names; NULL if it has no name.
    period_start,    --| First UTC day of the period.
    period_end,      --| UTC day before which the period ends.
    usage_date,      --| UTC day of the line; NULL: the whole period.
    model,           --| Model of the line; NULL: all.
    model_name,      --| What the model is called, from names; NULL if it has no name.
    currency,        --| ISO 4217 code of the costs. Never sum across currencies.
    invoiced,        --| What the invoice says; NULL if it has no line for the model.
    other_invoices,  --| What other invoices of the same account and period say of the same: a part of a bill and a
                     --| credit note are held against what these leave.
    exported,        --| Sum of amount of the usage that the line is about.
    difference,      --| exported − other_invoices − invoiced.
    likely_causes,   --| What may explain the difference; NULL if there is none, or nothing is known that could.
    source           --| File and line.
) AS
WITH written AS (
    SELECT invoice, account, period_start, period_end, currency, sum(amount) AS amount FROM invoice_lines GROUP BY ALL
), credits AS ( -- a credit note for a part of a period is one for the invoice of the period
    SELECT c.invoice, c.account, c.period_start, c.period_end, c.currency,
        min_by((i.period_start, i.period_end), i.period_end - i.period_start) AS period
    FROM written c
    JOIN written i ON (i.account, i.currency) IS NOT DISTINCT FROM (c.account, c.currency)
        AND i.period_start <= c.period_start AND i.period_end >= c.period_end AND i.amount > 0
    WHERE c.amount < 0 GROUP BY ALL
), lines AS (
    SELECT l.invoice, l.account, coalesce(c.period[1], l.period_start) AS period_start,
        coalesce(c.period[2], l.period_end) AS period_end, l.usage_date, l.model, l.currency, sum(l.amount) AS invoiced,
        string_agg(l.source, ', ' ORDER BY l.source) AS source
    FROM invoice_lines l
    LEFT JOIN credits c
        ON (c.invoice, c.account, c.period_start, c.period_end, c.currency)
            IS NOT DISTINCT FROM (l.invoice, l.account, l.period_start, l.period_end, l.currency)
    GROUP BY ALL
), models AS ( -- what an invoice says of a model (NULL: of all): its line of the period, or else its days
    SELECT invoice, account, period_start, period_end, model, currency,
        coalesce(sum(invoiced) FILTER (usage_date IS NULL), sum(invoiced)) AS amount
    FROM lines GROUP BY ALL
), bills AS ( -- what an invoice comes to
    SELECT invoice, account, period_start, period_end, currency,
        coalesce(sum(amount) FILTER (model IS NULL), sum(amount)) AS amount
    FROM models GROUP BY ALL
), others AS (
    -- what the other invoices of the period say of the same: a part of an invoice, or a credit note, is held against
    -- what they leave
    SELECT l.invoice, l.account, l.period_start, l.period_end, l.usage_date, l.model, l.currency,
        sum(o.invoiced) AS amount
    FROM lines l JOIN (
        SELECT invoice, account, period_start, period_end, NULL::DATE AS usage_date, NULL::VARCHAR AS model, currency,
            amount AS invoiced
        FROM bills
        UNION ALL
        SELECT invoice, account, period_start, period_end, NULL, model, currency, amount
        FROM models WHERE model IS NOT NULL
        UNION ALL
        SELECT invoice, account, period_start, period_end, usage_date, model, currency, invoiced
        FROM lines WHERE usage_date IS NOT NULL
    ) o ON o.invoice <> l.invoice
        AND (o.account, o.period_start, o.period_end, o.usage_date, o.model, o.currency)
            IS NOT DISTINCT FROM (l.account, l.period_start, l.period_end, l.usage_date, l.model, l.currency)
    GROUP BY ALL
), days AS (
    SELECT account, usage_date, model, currency, sum(amount) AS amount, sum(without_amount)::BIGINT AS without_amount
    FROM usage_daily
    WHERE usage_date >= (SELECT min(least(period_start, usage_date)) FROM lines)
        AND usage_date < (SELECT max(greatest(period_end, usage_date + 1)) FROM lines)
    GROUP BY ALL
), asked AS ( -- a row for each line, and one for the sum of the invoices of a period where no line is that already
    SELECT 'line' AS kind, invoice, account, period_start, period_end, usage_date, model, currency, invoiced, source
    FROM lines
    UNION ALL
    SELECT 'sum', string_agg(invoice, ', ' ORDER BY invoice), account, period_start, period_end, NULL, NULL, currency,
        sum(amount), NULL
    FROM bills b GROUP BY account, period_start, period_end, currency
    HAVING count(*) > 1
        OR NOT EXISTS (
            FROM lines l
            WHERE l.usage_date IS NULL AND l.model IS NULL
                AND (l.account, l.period_start, l.period_end, l.currency)
                    IS NOT DISTINCT FROM (b.account, b.period_start, b.period_end, b.currency)
        )
), used AS (
    SELECT l.account, l.period_start, l.period_end, l.usage_date, l.model, l.currency, sum(u.amount) AS exported,
        sum(u.without_amount)::BIGINT AS without_amount
    FROM (SELECT DISTINCT account, period_start, period_end, usage_date, model, currency FROM asked) l
    JOIN days u ON u.currency = l.currency AND u.usage_date >= coalesce(l.usage_date, l.period_start)
        AND u.usage_date < coalesce(l.usage_date + 1, l.period_end)
        AND (l.account IS NULL OR u.account = l.account) AND (l.model IS NULL OR u.model = l.model)
    GROUP BY ALL
), missing AS (
    -- models without a line where invoices are by model; days without one where all lines of a model, or of none, are
    -- by day
    SELECT i.invoice, i.account, i.period_start, i.period_end, NULL::DATE AS usage_date, u.model, i.currency,
        sum(u.amount) AS exported, sum(u.without_amount)::BIGINT AS without_amount
    FROM (
        SELECT string_agg(DISTINCT invoice, ', ' ORDER BY invoice) AS invoice, account, period_start, period_end,
            currency
        FROM lines WHERE model IS NOT NULL GROUP BY ALL
    ) i
    JOIN days u ON u.currency = i.currency AND u.usage_date >= i.period_start AND u.usage_date < i.period_end
        AND (i.account IS NULL OR u.account = i.account)
    ANTI JOIN lines l
        ON (l.account, l.period_start, l.period_end, l.currency)
            IS NOT DISTINCT FROM (i.account, i.period_start, i.period_end, i.currency) AND l.model = u.model
    GROUP BY ALL
    UNION ALL
    SELECT i.invoice, i.account, i.period_start, i.period_end, u.usage_date, i.model, i.currency, sum(u.amount),
        sum(u.without_amount)::BIGINT
    FROM (
        SELECT string_agg(DISTINCT invoice, ', ' ORDER BY invoice) AS invoice, account, period_start, period_end,
            currency, model
        FROM lines GROUP BY ALL
        HAVING bool_or(usage_date IS NOT NULL) AND (model IS NULL OR bool_and(usage_date IS NOT NULL))
    ) i
    JOIN days u ON u.currency = i.currency AND u.usage_date >= i.period_start AND u.usage_date < i.period_end
        AND (i.account IS NULL OR u.account = i.account) AND (i.model IS NULL OR u.model = i.model)
    ANTI JOIN lines l
        ON (l.account, l.period_start, l.period_end, l.currency, l.model)
            IS NOT DISTINCT FROM (i.account, i.period_start, i.period_end, i.currency, i.model)
                AND l.usage_date = u.usage_date
    GROUP BY ALL
), both_sides AS (
    SELECT l.kind, l.invoice, l.account, l.period_start, l.period_end, l.usage_date, l.model, l.currency, l.invoiced,
        CASE WHEN l.kind = 'line' THEN coalesce(o.amount, 0) ELSE 0 END AS other_invoices,
        coalesce(u.exported, 0) AS exported, coalesce(u.without_amount, 0) AS without_amount, l.source
    FROM asked l
    LEFT JOIN used u
        ON (l.account, l.period_start, l.period_end, l.usage_date, l.model, l.currency)
            IS NOT DISTINCT FROM (u.account, u.period_start, u.period_end, u.usage_date, u.model, u.currency)
    LEFT JOIN others o
        ON (l.invoice, l.account, l.period_start, l.period_end, l.usage_date, l.model, l.currency)
            IS NOT DISTINCT FROM (o.invoice, o.account, o.period_start, o.period_end, o.usage_date, o.model, o.currency)
    UNION ALL
    SELECT 'no line', invoice, account, period_start, period_end, usage_date, model, currency, NULL, 0, exported,
        without_amount, NULL
    FROM missing WHERE exported <> 0
), compared AS (
    SELECT row_number() OVER () AS n, *, exported - other_invoices - coalesce(invoiced, 0) AS difference FROM both_sides
), differing AS ( -- in half hours since 1970
    SELECT n, account, model, currency, difference, epoch(coalesce(usage_date, period_start))::BIGINT // 1800 AS a,
        epoch(coalesce(usage_date + 1, period_end))::BIGINT // 1800 AS b
    FROM compared WHERE kind <> 'no line' AND abs(difference) >= 0.01
), halves AS (
    SELECT account, model, currency, epoch_us(request_time) // 1800000000 AS half, sum(amount) AS amount
    FROM usage
    WHERE usage_date IN (
        SELECT unnest([a // 48 - 1, a // 48, b // 48 - 1, b // 48])::INTEGER + DATE '1970-01-01' FROM differing
    )
    GROUP BY ALL
), zones AS (
    -- what the difference would be if the invoice's days were those of UTC + z half hours: the edges move to the other
    -- side
    SELECT d.n, z.z,
        d.difference
            + sum(CASE WHEN h.half < d.a AND h.half >= d.a - z.z OR h.half >= d.b AND h.half < d.b - z.z
                THEN h.amount ELSE 0 END)
            - sum(CASE WHEN h.half >= d.a AND h.half < d.a - z.z OR h.half < d.b AND h.half >= d.b - z.z
                THEN h.amount ELSE 0 END) AS difference
    FROM differing d
    JOIN halves h ON h.currency = d.currency AND (d.account IS NULL OR h.account = d.account)
        AND (d.model IS NULL OR h.model = d.model)
        AND (h.half BETWEEN d.a - 28 AND d.a + 24 OR h.half BETWEEN d.b - 28 AND d.b + 24),
        (SELECT unnest(range(-24, 29)) AS z) z
    WHERE z.z <> 0 GROUP BY d.n, z.z, d.difference
), zone AS (
    SELECT n, z FROM zones WHERE abs(difference) < 0.01
    QUALIFY row_number() OVER (PARTITION BY n ORDER BY abs(difference), z % 2 <> 0, abs(z), z DESC) = 1
), again AS ( -- windows that replaced others which had brought records
    SELECT DISTINCT c.account, c.usage_date, c.window_start, c.fetched_at
    FROM coverage c
    JOIN coverage b ON b.account = c.account AND b.usage_date = c.usage_date AND b.window_start < c.window_end
        AND c.window_start < b.window_end AND b.fetched_at < c.fetched_at
    WHERE c.owns AND b.listed > 0
), periods AS (
    SELECT DISTINCT account, period_start, period_end FROM lines
), counted AS (
    SELECT p.account, p.period_start, p.period_end,
        (
            SELECT count(*) FROM again c
            WHERE c.usage_date >= p.period_start AND c.usage_date < p.period_end
                AND (p.account IS NULL OR c.account = p.account)
                AND make_timestamp(epoch_us(c.fetched_at)) > p.period_end + INTERVAL 1 DAY
        ) AS late,
        (
            SELECT coalesce(sum(quarantined), 0) FROM partitions d
            WHERE d.usage_date >= p.period_start AND d.usage_date < p.period_end
                AND (p.account IS NULL OR d.account = p.account)
        ) AS quarantined,
        (
            SELECT count(*) FROM quality_issues i
            WHERE i.check_name = 'price_change_days' AND i.usage_date >= p.period_start AND i.usage_date < p.period_end
                AND (p.account IS NULL OR i.account = p.account)
        ) AS price_changes,
        (
            SELECT count(*) FROM usage_daily u
            WHERE u.currency IS NULL AND u.amount IS NOT NULL AND u.usage_date >= p.period_start
                AND u.usage_date < p.period_end AND (p.account IS NULL OR u.account = p.account)
        ) AS no_currency,
        (SELECT count(DISTINCT account) FROM coverage c WHERE p.account IS NULL OR c.account = p.account) AS accounts,
        (
            SELECT coalesce(sum(86400 - missing_seconds), 0) FROM coverage_daily c
            WHERE c.usage_date >= p.period_start AND c.usage_date < p.period_end
                AND (p.account IS NULL OR c.account = p.account)
        ) AS covered
    FROM periods p
), facts AS (
    SELECT *, accounts * date_diff('day', period_start, period_end) * 86400 - covered AS missing FROM counted
)
SELECT b.kind, b.invoice, b.account, name_of('account', b.account) AS account_name, b.period_start, b.period_end,
    b.usage_date, b.model, name_of('model', b.model) AS model_name, b.currency, b.invoiced, b.other_invoices,
    b.exported, b.difference,
    CASE WHEN b.difference = 0 THEN NULL ELSE nullif(concat_ws('; ',
        CASE WHEN b.invoiced IS NULL
            THEN 'the invoice has no line for this '
            || CASE WHEN b.usage_date IS NULL THEN 'model' WHEN b.model IS NULL THEN 'day' ELSE 'model and day' END END,
        CASE WHEN z.z IS NOT NULL
            THEN format('another time zone: the hours at the edges explain it if the invoice goes by UTC{}{}{}',
            CASE WHEN z.z < 0 THEN '−' ELSE '+' END, abs(z.z) // 2, CASE WHEN z.z % 2 = 0 THEN '' ELSE ':30' END) END,
        CASE WHEN f.accounts = 0 THEN 'nothing of this account was exported' END,
        CASE WHEN f.missing > 0
            THEN format('{} hours of the period were not exported', (f.missing / 3600.0)::DECIMAL(18,1)) END,
        CASE WHEN f.quarantined > 0 THEN format('{} records are in quarantine', f.quarantined) END,
        CASE WHEN b.without_amount > 0 THEN format('{} records have no amount', b.without_amount) END,
        CASE WHEN f.no_currency > 0 THEN 'some usage has no currency' END,
        CASE WHEN f.late > 0
            THEN format('{} windows of the period, which had brought records before, were fetched again after it '
                'ended: late records or corrections', f.late) END,
        CASE WHEN f.price_changes > 0 THEN format('{} price changes in the period', f.price_changes) END,
        CASE WHEN abs(b.difference) < 0.01 THEN 'rounding' END), '') END AS likely_causes,
    b.source
FROM compared b LEFT JOIN zone z USING (n)
JOIN facts f
    ON (b.account, b.period_start, b.period_end) IS NOT DISTINCT FROM (f.account, f.period_start, f.period_end);

--| 8. opening + top_ups − used + unexplained = closing, exactly, from each look at the balance to the next; where a
--| top-up is inferred nothing is left to be unexplained, and nothing was checked.
CREATE VIEW balance_reconciliation (
    account,                     --| Name of the account in the config.
    account_name,                --| What the account is called, from names; NULL if it has no name.
    currency,                    --| ISO 4217 code of the costs. Never sum across currencies.
    opened_at,                   --| When the balance was looked at before.
    closed_at,                   --| When it was looked at, UTC.
    opening,                     --| Balance then.
    top_ups,                     --| What was added, coupons too: as the files of top-ups say. Without a file: coupons
                                 --| that the API says were granted, and where the balance is higher by 1 or more than
                                 --| usage leaves it (and by 1 % of what was used) what that takes: inferred.
    coupons,                     --| Of these, coupons.
    used,                        --| Sum of amount of the usage in between.
    unexplained,                 --| closing − opening − top_ups + used: what neither usage nor top-ups explain, such as
                                 --| usage that is not exported, came late, or is charged later; refunds and fees. NULL
                                 --| where a top-up is inferred. The API does not say whether the balance includes what
                                 --| is left of coupons: this is so if it does.
    unexplained_coupons_beside,  --| The same if coupons stand beside the balance: of the sum of both. NULL too if the
                                 --| API sent no coupon_balance.
    closing,                     --| Balance.
    coupon_opening,              --| What was left of coupons then; NULL if the API did not say.
    coupon_closing,              --| What is left of coupons.
    inferred,                    --| Whether top_ups is inferred.
    checked,                     --| Whether the figures could have disagreed: false where a top-up is inferred.
    requests,                    --| Records in between.
    note                         --| What to know of it; NULL if nothing.
) AS
WITH looks AS (
    SELECT account, currency, observed_at, balance, coupon_balance, row_number() OVER w AS n,
        lag(balance) OVER w AS opening, lag(observed_at) OVER w AS opened_at,
        lag(coupon_balance) OVER w AS coupon_opening,
        greatest(total_coupon_amount - lag(total_coupon_amount) OVER w, 0) AS granted
    FROM balance WHERE balance IS NOT NULL
    WINDOW w AS (PARTITION BY account, currency ORDER BY observed_at)
), hours AS ( -- the hours between two looks: joining by them is a sixth of the work of an ASOF join, which sorts usage
    SELECT account, currency, n, opened_at, observed_at,
        unnest(range(epoch_us(opened_at) // 3600000000, epoch_us(observed_at) // 3600000000 + 1)) AS "hour"
    FROM looks WHERE opened_at IS NOT NULL
), used AS (
    SELECT h.account, h.currency, h.n, sum(u.amount) AS used, count(*) AS requests
    FROM usage u
    JOIN hours h ON u.account = h.account AND coalesce(u.currency, '') = coalesce(h.currency, '')
        AND epoch_us(u.request_time) // 3600000000 = h."hour"
        AND u.request_time >= h.opened_at AND u.request_time < h.observed_at
    GROUP BY ALL
), spans AS (
    SELECT l.*, coalesce(u.used, 0) AS used, coalesce(u.requests, 0) AS requests,
        l.balance - l.opening + coalesce(u.used, 0) AS came, l.coupon_balance - l.coupon_opening AS coupons_came
    FROM looks l LEFT JOIN used u ON u.account = l.account AND u.currency IS NOT DISTINCT FROM l.currency AND u.n = l.n
    WHERE l.opening IS NOT NULL
), placed AS (
    -- a file names a day: of the spans that it touches the one that has room for the amount, and fits it best
    SELECT t.kind, t.amount, s.account, s.currency, s.n
    FROM (SELECT rowid AS i, * FROM top_ups) t
    JOIN spans s ON s.account = t.account AND coalesce(s.currency, t.currency) = t.currency
        AND make_timestamp(epoch_us(s.opened_at)) < t.top_up_date + INTERVAL 1 DAY
        AND make_timestamp(epoch_us(s.observed_at)) > t.top_up_date
    QUALIFY row_number() OVER (PARTITION BY t.i
        ORDER BY s.came
            + CASE WHEN t.kind = 'coupon' THEN greatest(coalesce(s.coupons_came, 0), 0) ELSE 0 END < t.amount,
            abs(s.came - t.amount), s.observed_at) = 1
), filed AS (
    SELECT account, currency, n, sum(amount) AS amount, coalesce(sum(amount) FILTER (kind = 'coupon'), 0) AS coupons
    FROM placed GROUP BY ALL
), expired AS (
    SELECT s.account, s.currency, s.n, sum(t.amount) AS amount FROM spans s
    JOIN top_ups t ON s.account = t.account AND coalesce(s.currency, t.currency) = t.currency
        AND t.expires > make_timestamp(epoch_us(s.opened_at))::DATE
        AND t.expires <= make_timestamp(epoch_us(s.observed_at))::DATE
        GROUP BY ALL
), known AS ( -- the API tells of coupons that were granted; of what was paid in only a file does
    SELECT s.*, top_ups_given AS given,
        CASE WHEN top_ups_given THEN coalesce(f.amount, 0) ELSE coalesce(s.granted, 0) END AS known,
        CASE WHEN top_ups_given THEN coalesce(f.coupons, 0) ELSE coalesce(s.granted, 0) END AS coupons,
        e.amount AS expiring
    FROM spans s CROSS JOIN finance_settings
    LEFT JOIN filed f ON f.account = s.account AND f.currency IS NOT DISTINCT FROM s.currency AND f.n = s.n
    LEFT JOIN expired e ON e.account = s.account AND e.currency IS NOT DISTINCT FROM s.currency AND e.n = s.n
), judged AS (
    SELECT *,
        NOT given AND came - known >= 1 AND came - known > used * 0.01
            AND coalesce(came + coupons_came - known > 0, true) AS inferred
    FROM known
)
SELECT account, name_of('account', account) AS account_name, currency, opened_at, observed_at AS closed_at, opening,
    CASE WHEN inferred THEN came ELSE known END AS top_ups, coupons, used,
    CASE WHEN NOT inferred THEN came - known END AS unexplained,
    CASE WHEN NOT inferred THEN came + coupons_came - known END AS unexplained_coupons_beside,
    balance AS closing, coupon_opening, coupon_balance AS coupon_closing, inferred, NOT inferred AS checked, requests,
    nullif(concat_ws('; ',
        CASE WHEN inferred
            THEN format('a top-up of {} is inferred, for the balance is higher than usage leaves it: '
                'nothing was checked', came - known) END,
        CASE WHEN NOT inferred AND coupons_came <> 0
            THEN format('if the balance includes the coupons {} is unexplained, if they stand beside it {}',
            came - known, came + coupons_came - known) END,
        CASE WHEN expiring IS NOT NULL THEN format('{} expires in it: what was left of that goes', expiring) END),
        '') AS note
FROM judged;

--| How long the balance lasts at the burn of the last days. An estimate.
CREATE VIEW balance_runway (
    account,                     --| Name of the account in the config.
    account_name,                --| What the account is called, from names; NULL if it has no name.
    currency,                    --| ISO 4217 code of the costs. Never sum across currencies.
    observed_at,                 --| When the balance was looked at last, UTC.
    balance,                     --| Balance then.
    coupon_balance,              --| What was left of coupons then.
    credit_limit,                --| Credit line then.
    burn_7_days,                 --| Net cost a day over those of the last 7 complete days that were exported. Estimate.
    burn_28_days,                --| The same over 28 days. Estimate.
    days_left_7,                 --| balance ÷ burn_7_days; NULL if nothing burns. Estimate.
    days_left_28,                --| balance ÷ burn_28_days. Estimate. The API does not say whether the balance includes
                                 --| what is left of coupons: so if it does.
    days_left_7_coupons_beside,  --| (balance + coupon_balance) ÷ burn_7_days: so if coupons stand beside the balance.
                                 --| NULL if the API sent no coupon_balance. Estimate.
    days_left_28_coupons_beside  --| The same by burn_28_days. Estimate.
) AS
WITH latest AS (
    SELECT account, currency, arg_max_null(balance, observed_at) AS balance,
        arg_max_null(coupon_balance, observed_at) AS coupon_balance,
        arg_max_null(credit_limit, observed_at) AS credit_limit, max(observed_at) AS observed_at
    FROM balance GROUP BY ALL
), whole AS (
    -- by each account's own clock; a whole day without usage counts as 0, one that wasn't fetched whole doesn't count
    SELECT account, usage_date, usage_date >= make_timestamp(epoch_us(covered_to))::DATE - 7 AS lately
    FROM recent_days JOIN accounts USING (account)
), days AS (
    SELECT account, count(*) FILTER (lately) AS week, count(*) AS four_weeks FROM whole GROUP BY ALL
), burnt AS (
    SELECT account, currency, sum(amount) FILTER (lately)::DOUBLE AS week, sum(amount)::DOUBLE AS four_weeks
    FROM usage_daily JOIN whole USING (account, usage_date) GROUP BY ALL
), burn AS (
    SELECT l.*, coalesce(b.week, 0) / nullif(d.week, 0) AS week,
        coalesce(b.four_weeks, 0) / nullif(d.four_weeks, 0) AS four_weeks
    FROM latest l LEFT JOIN days d ON d.account = l.account
    LEFT JOIN burnt b ON b.account = l.account AND b.currency IS NOT DISTINCT FROM l.currency
)
SELECT account, name_of('account', account) AS account_name, currency, observed_at, balance, coupon_balance,
    credit_limit, week::DECIMAL(38,6) AS burn_7_days, four_weeks::DECIMAL(38,6) AS burn_28_days,
    CASE WHEN week > 0 THEN TRY_CAST(greatest(balance, 0)::DOUBLE / week AS DECIMAL(18,1)) END AS days_left_7,
    CASE WHEN four_weeks > 0
        THEN TRY_CAST(greatest(balance, 0)::DOUBLE / four_weeks AS DECIMAL(18,1)) END AS days_left_28,
    CASE WHEN week > 0
        THEN TRY_CAST(greatest(balance + coupon_balance, 0)::DOUBLE / week AS DECIMAL(18,1))
        END AS days_left_7_coupons_beside,
    CASE WHEN four_weeks > 0
        THEN TRY_CAST(greatest(balance + coupon_balance, 0)::DOUBLE / four_weeks AS DECIMAL(18,1))
        END AS days_left_28_coupons_beside
FROM burn;

--| 9. Which months are open or closed, and what was corrected since? net_cost sums exactly to the amount of usage.
CREATE VIEW period_status_and_corrections (
    "month",            --| First day of the month.
    currency,           --| ISO 4217 code of the costs. Never sum across currencies.
    status,             --| closed; open: over, and not closed; current.
    closed_at,          --| When it was closed, UTC.
    reason,             --| Why it was closed in spite of objections.
    requests,           --| Records charged in the month.
    net_cost,           --| Charged in the month, corrections of earlier ones included.
    corrections_in,     --| Of net_cost, corrections of earlier months.
    corrections_out,    --| Corrections of this month's usage that are charged in later months.
    corrected_records,  --| Records that came (or went, if negative) since it was closed.
    corrected_in,       --| First month those corrections are charged in.
    completeness        --| How complete the month is: what is missing of it is missing here.
) AS
SELECT x.*, m.completeness FROM (
    WITH billed AS (
        SELECT billing_month, currency, sum(net_cost) AS net_cost, sum(requests)::BIGINT AS requests,
            sum(net_cost) FILTER (charge_class = 'Correction') AS corrections_in
        FROM chargeback_daily GROUP BY ALL
    ), since AS (
        SELECT date_trunc('month', usage_date)::DATE AS billing_month, currency, sum(net_cost) AS corrections_out,
            sum(requests)::BIGINT AS records, min(billing_month) AS corrected_in
        FROM chargeback_daily WHERE charge_class = 'Correction' GROUP BY ALL
    )
    SELECT coalesce(b.billing_month, s.billing_month, c."month") AS "month",
        coalesce(b.currency, s.currency) AS currency,
        CASE WHEN c."month" IS NOT NULL THEN 'closed'
            WHEN coalesce(b.billing_month, s.billing_month) >= d.current_month THEN 'current' ELSE 'open' END AS status,
        c.closed_at, c.reason, b.requests, b.net_cost, b.corrections_in, s.corrections_out,
        s.records AS corrected_records, s.corrected_in
    FROM billed b FULL JOIN since s ON s.billing_month = b.billing_month AND s.currency IS NOT DISTINCT FROM b.currency
    FULL JOIN closed_months c ON c."month" = coalesce(b.billing_month, s.billing_month), data_as_of d
) x LEFT JOIN month_completeness m ON m."month" = x."month";

-- The ends of the range that holds 8 of 10 outcomes: what is yet to be charged may be more or less, and doesn't change
-- its sign.
CREATE MACRO outlook_low(more, spread) AS CASE WHEN more < 0 THEN more - 1.2816 * spread
    WHEN more >= 0 THEN greatest(more - 1.2816 * spread, 0) END;
CREATE MACRO outlook_high(more, spread) AS CASE WHEN more < 0 THEN least(more + 1.2816 * spread, 0)
    WHEN more >= 0 THEN more + 1.2816 * spread END;

--| What everything, each account, cost centre, team, project, environment and model costs a day in each account: the
--| mean of recent_days, in which a day without cost is 0. Estimate.
CREATE VIEW scope_rates (
    "scope",      --| all, cost_center, team, project, environment, account or model.
    scope_value,  --| Which of these; NULL of all.
    currency,     --| ISO 4217 code of the costs. Never sum across currencies.
    account,      --| Name of the account in the config.
    days,         --| Days it is the mean of; NULL if the account has no whole day yet.
    rate,         --| Net cost a day, corrections of closed months apart. NULL as days.
    variance      --| Its variance from day to day, the whole of the days taken for all there is.
) AS
WITH costs AS ( -- of an account without a whole day: NULL, for nobody knows
    SELECT account, usage_date, cost_center, team, project, environment, model, currency, sum(net_cost) AS cost, days
    -- a day costs what is charged for it in any month
    FROM chargeback_daily /* ever */ JOIN recent_days USING (account, usage_date) GROUP BY ALL
    UNION ALL
    SELECT DISTINCT account, NULL::DATE, cost_center, team, project, environment, model, currency, NULL, NULL
    FROM chargeback_daily /* ever */ ANTI JOIN recent_days USING (account)
), scoped AS (
    SELECT 'all' AS "scope", NULL AS scope_value, account, usage_date, currency, cost, days FROM costs
    UNION ALL SELECT 'account', account, account, usage_date, currency, cost, days FROM costs
    UNION ALL SELECT 'cost_center', cost_center, account, usage_date, currency, cost, days FROM costs
    UNION ALL SELECT 'team', team, account, usage_date, currency, cost, days FROM costs WHERE team IS NOT NULL
    UNION ALL SELECT 'project', project, account, usage_date, currency, cost, days FROM costs WHERE project IS NOT NULL
    UNION ALL
    SELECT 'environment', environment, account, usage_date, currency, cost, days
    FROM costs WHERE environment IS NOT NULL
    UNION ALL SELECT 'model', model, account, usage_date, currency, cost, days FROM costs WHERE model IS NOT NULL
), daily AS (
    SELECT "scope", scope_value, account, usage_date, currency, days, sum(cost)::DOUBLE AS cost FROM scoped GROUP BY ALL
)
SELECT "scope", scope_value, currency, account, days, sum(cost ORDER BY usage_date) / days AS rate,
    greatest(sum(cost * cost ORDER BY usage_date) / days - (sum(cost ORDER BY usage_date) / days) ^ 2, 0) AS variance
FROM daily GROUP BY "scope", scope_value, currency, account, days;

--| Each budget in each of its periods: spent, left, burn rate, forecast and range, status.
CREATE VIEW budget_status (
    budget,             --| Name of the budget.
    "scope",            --| What it is for: cost_center, team, project, environment, account, model, or all.
    scope_value,        --| Which of these; NULL of all.
    scope_name,         --| What it is called, from names; NULL if it has no name.
    period,             --| month or quarter.
    period_start,       --| First day of the period.
    period_end,         --| Day before which it ends.
    currency,           --| ISO 4217 code of the costs. Never sum across currencies.
    amount,             --| The budget.
    spent,              --| Net cost charged in the period so far, exact.
    left_over,          --| amount − spent; negative if it is over.
    used_share,         --| spent ÷ amount.
    days_over,          --| Complete days of the period.
    days_left,          --| Days of the period that are still to come, the running one included.
    burn_rate,          --| Net cost a day: of each account the mean of its whole days in the period, summed. NULL if
                        --| there is none. Estimate.
    recent_rate,        --| Net cost a day, which the forecast goes by: of each account the mean of its recent_days,
                        --| summed. NULL if an account has none. Estimate.
    completeness,       --| How complete the period is: what is missing of it is missing in spent.
    forecast,           --| spent + of each account its rate × the time of the period that isn't there yet, from its
                        --| first window on: still to come, or not exported. NULL if an account with cost has no whole
                        --| day yet. Estimate.
    forecast_low,       --| Lower end of the range that holds 8 of 10 outcomes, if days scatter as recent_days did, each
                        --| for itself: the forecast less 1.28 × √ of the sum over accounts of variance × days ahead.
                        --| NULL where an account has fewer than 7 such days. Estimate.
    forecast_high,      --| Its upper end.
    threshold_reached,  --| Highest threshold that spent has reached; NULL if none.
    status              --| over: spent is more than the budget. forecast over: the forecast is. warning: a threshold is
                        --| reached. ok.
) AS
WITH months AS ( -- corrections may be charged in a month that is still to come
    SELECT unnest(generate_series(least((SELECT min(billing_month) FROM chargeback_daily), current_month)::TIMESTAMP,
        greatest((SELECT max(billing_month) FROM chargeback_daily), current_month)::TIMESTAMP,
        INTERVAL 1 MONTH))::DATE AS "month"
    FROM data_as_of
), starts AS (
    SELECT DISTINCT period,
        CASE period WHEN 'quarter' THEN date_trunc('quarter', "month")::DATE ELSE "month" END AS period_start
    FROM months, (SELECT DISTINCT period FROM budgets)
), periods AS (
    SELECT b.*, p.period_start,
        CASE b.period WHEN 'quarter' THEN (p.period_start + INTERVAL 3 MONTH)::DATE
            ELSE (p.period_start + INTERVAL 1 MONTH)::DATE END AS period_end
    FROM budgets b JOIN starts p USING (period)
    WHERE (b.valid_from IS NULL OR p.period_start >= b.valid_from)
        AND (b.valid_to IS NULL OR p.period_start < b.valid_to)
), costs AS (
    SELECT b.budget, c.account, c.billing_month, c.usage_date, c.charge_class, sum(c.net_cost) AS net_cost
    FROM budgets b
    JOIN chargeback_daily c ON c.currency = b.currency
        AND (b."scope" = 'all' OR b."scope" = 'cost_center' AND c.cost_center = b.scope_value
        OR b."scope" = 'team' AND c.team = b.scope_value
        OR b."scope" = 'project' AND c.project = b.scope_value
        OR b."scope" = 'environment' AND c.environment = b.scope_value
        OR b."scope" = 'account' AND c.account = b.scope_value OR b."scope" = 'model' AND c.model = b.scope_value)
    GROUP BY ALL
), spent AS (
    SELECT p.budget, p.period_start, coalesce(sum(c.net_cost), 0)::DECIMAL(38,12) AS spent
    FROM periods p
    LEFT JOIN costs c ON c.budget = p.budget AND c.billing_month >= p.period_start AND c.billing_month < p.period_end
    GROUP BY ALL
), spans AS (
    SELECT DISTINCT period_start, period_end FROM periods
), time_of AS (
    SELECT s.period_start, s.period_end, m.account, sum(m.period_seconds)::BIGINT AS period_seconds,
        sum(m.expected_seconds)::BIGINT AS expected_seconds,
        sum(m.missing_seconds)::BIGINT AS missing_seconds, sum(m.ahead_seconds)::BIGINT AS ahead_seconds
    FROM spans s JOIN completeness_monthly m ON m."month" >= s.period_start AND m."month" < s.period_end GROUP BY ALL
), complete AS (
    SELECT period_start, period_end,
        completeness_text((epoch(period_end) - epoch(period_start))::BIGINT, expected_seconds,
            (SELECT as_of FROM data_as_of), lacks) AS completeness
    FROM (
        SELECT s.period_start, s.period_end, coalesce(max(t.expected_seconds), 0)::BIGINT AS expected_seconds,
            list({'account': t.account, 'missing': t.missing_seconds}
                ORDER BY t.missing_seconds DESC, t.account) FILTER (t.missing_seconds > 0) AS lacks
        FROM spans s LEFT JOIN time_of t USING (period_start, period_end) GROUP BY ALL
    )
), ahead AS ( -- what each account's own rate makes of the time that isn't there yet
    SELECT p.budget, p.period_start, min(coalesce(r.days, 0)) AS history_days,
        CASE WHEN bool_and(r.rate IS NOT NULL) THEN sum(r.rate) END AS rate,
        CASE WHEN NOT bool_or(r.rate IS NULL AND t.ahead_seconds > 0)
            THEN sum(coalesce(r.rate, 0) * t.ahead_seconds) / 86400 END AS more,
        sqrt(sum(coalesce(r.variance, 0) * t.ahead_seconds) / 86400) AS spread
    FROM periods p
    JOIN scope_rates r ON r."scope" = p."scope" AND r.scope_value IS NOT DISTINCT FROM p.scope_value
        AND r.currency = p.currency
    JOIN time_of t ON t.account = r.account AND t.period_start = p.period_start AND t.period_end = p.period_end
    GROUP BY ALL
), whole AS (
    SELECT s.period_start, s.period_end, c.account, c.usage_date,
        count(*) OVER (PARTITION BY s.period_start, s.period_end, c.account) AS days
    FROM spans s
    JOIN coverage_daily c ON c.missing_seconds = 0 AND c.usage_date >= s.period_start AND c.usage_date < s.period_end
), burnt AS (
    SELECT p.budget, p.period_start, sum(c.net_cost::DOUBLE / w.days) AS burn_rate
    FROM periods p JOIN costs c ON c.budget = p.budget AND c.charge_class IS NULL
    JOIN whole w ON w.period_start = p.period_start AND w.period_end = p.period_end AND w.account = c.account
        AND w.usage_date = c.usage_date
    GROUP BY ALL
), outlook AS (
    SELECT p.*, s.spent, x.completeness, coalesce(h.history_days, c.history_days) AS history_days,
        CASE WHEN h.budget IS NULL THEN 0 ELSE h.rate END AS rate,
        CASE WHEN h.budget IS NULL THEN 0 ELSE h.more END AS more, coalesce(h.spread, 0) AS spread, b.burn_rate,
        greatest(0,
            least(date_diff('day', p.period_start, d.complete_before),
                date_diff('day', p.period_start, p.period_end))) AS days_over,
        greatest(0, date_diff('day', greatest(d.complete_before, p.period_start), p.period_end)) AS days_left
    FROM periods p JOIN spent s USING (budget, period_start) JOIN complete x USING (period_start, period_end)
    LEFT JOIN ahead h USING (budget, period_start)
    LEFT JOIN burnt b USING (budget, period_start), data_as_of d, (SELECT min(days) AS history_days FROM recent_days) c
), forecast AS (
    SELECT *, (spent + more::DECIMAL(38,12))::DECIMAL(38,2) AS forecast,
        CASE WHEN more = 0 AND spread = 0 OR history_days >= 7
            THEN (spent + outlook_low(more, spread)::DECIMAL(38,12))::DECIMAL(38,2) END AS forecast_low,
        CASE WHEN more = 0 AND spread = 0 OR history_days >= 7
            THEN (spent + outlook_high(more, spread)::DECIMAL(38,12))::DECIMAL(38,2) END AS forecast_high,
        list_max(list_filter(thresholds, lambda t: spent >= t * amount)) AS threshold_reached
    FROM outlook
)
SELECT budget, "scope", scope_value, name_of("scope", scope_value) AS scope_name, period, period_start, period_end,
    currency, amount, spent, amount - spent AS left_over,
    TRY_CAST(spent::DOUBLE / nullif(amount, 0)::DOUBLE AS DECIMAL(18,6)) AS used_share, days_over, days_left,
    burn_rate::DECIMAL(38,6) AS burn_rate, rate::DECIMAL(38,6) AS recent_rate, completeness,
    forecast, forecast_low, forecast_high, threshold_reached,
    CASE WHEN spent > amount THEN 'over' WHEN forecast > amount THEN 'forecast over'
        WHEN threshold_reached IS NOT NULL THEN 'warning' ELSE 'ok' END AS status
FROM forecast;

--| 10. Spent, left and burn rate of each budget in each period.
CREATE VIEW budget_vs_actual (
    budget,        --| Name of the budget.
    "scope",       --| What the row is about.
    scope_value,   --| Which of these; NULL of all.
    scope_name,    --| What it is called, from names; NULL if it has no name.
    period_start,  --| First day of the period.
    period_end,    --| Day before which it ends.
    currency,      --| ISO 4217 code of the costs. Never sum across currencies.
    amount,        --| The budget.
    spent,         --| Net cost charged in the period so far, exact.
    left_over,     --| amount − spent.
    used_share,    --| spent ÷ amount.
    burn_rate,     --| As in budget_status. Estimate.
    status,        --| As in budget_status.
    completeness   --| As in budget_status.
) AS
SELECT budget, "scope", scope_value, scope_name, period_start, period_end, currency, amount, spent, left_over,
    used_share, burn_rate, status, completeness
FROM budget_status;

--| 11. What will the current month come to? For everything, each account and each cost centre.
CREATE VIEW forecast_month_end (
    "scope",        --| all, account or cost_center.
    scope_value,    --| Which of these; NULL of all.
    scope_name,     --| What it is called, from names; NULL if it has no name.
    "month",        --| The current month.
    currency,       --| ISO 4217 code of the costs. Never sum across currencies.
    spent,          --| Net cost charged in the month so far, exact.
    days_left,      --| Days that are still to come, the running one included.
    recent_rate,    --| Net cost a day: of each account the mean of its recent_days, summed. NULL if an account has
                    --| none. Estimate.
    forecast,       --| As in budget_status: spent + of each account its rate × the time of the month that isn't there
                    --| yet. Estimate.
    forecast_low,   --| As in budget_status: 8 of 10 outcomes lie between low and high. NULL where an account has fewer
                    --| than 7 whole days. Estimate.
    forecast_high,  --| As forecast_low.
    history_days,   --| Days that recent_rate is the mean of: of the account that has fewest.
    completeness    --| How complete the month is: what is missing of it is missing in spent.
) AS
WITH scoped AS (
    SELECT 'all' AS "scope", NULL AS scope_value, billing_month, currency, net_cost FROM chargeback_daily /* ever */
    UNION ALL SELECT 'account', account, billing_month, currency, net_cost FROM chargeback_daily /* ever */
    UNION ALL SELECT 'cost_center', cost_center, billing_month, currency, net_cost FROM chargeback_daily /* ever */
), rates AS (
    FROM scope_rates WHERE "scope" IN ('all', 'account', 'cost_center')
), time_of AS (
    SELECT m.* FROM completeness_monthly m JOIN data_as_of d ON m."month" = d.current_month
), spent AS (
    SELECT "scope", scope_value, currency, sum(net_cost) AS spent
    FROM scoped JOIN data_as_of ON billing_month = current_month GROUP BY ALL
), ahead AS ( -- what each account's own rate makes of the time that isn't there yet
    SELECT r."scope", r.scope_value, r.currency, min(coalesce(r.days, 0)) AS history_days,
        CASE WHEN bool_and(r.rate IS NOT NULL) THEN sum(r.rate) END AS rate,
        CASE WHEN NOT bool_or(r.rate IS NULL AND t.ahead_seconds > 0)
            THEN sum(coalesce(r.rate, 0) * t.ahead_seconds) / 86400 END AS more,
        sqrt(sum(coalesce(r.variance, 0) * t.ahead_seconds) / 86400) AS spread
    FROM rates r JOIN time_of t USING (account) GROUP BY ALL
), outlook AS (
    SELECT coalesce(s."scope", h."scope") AS "scope", coalesce(s.scope_value, h.scope_value) AS scope_value,
        coalesce(s.currency, h.currency) AS currency, coalesce(s.spent, 0)::DECIMAL(38,12) AS spent,
        CASE WHEN h."scope" IS NULL THEN 0 ELSE h.rate END AS rate,
        CASE WHEN h."scope" IS NULL THEN 0 ELSE h.more END AS more, coalesce(h.spread, 0) AS spread,
        coalesce(h.history_days, c.history_days, 0) AS history_days
    FROM spent s
    FULL JOIN ahead h
        ON (h."scope", h.scope_value, h.currency) IS NOT DISTINCT FROM (s."scope", s.scope_value, s.currency),
        (SELECT min(days) AS history_days FROM recent_days) c
)
SELECT o."scope", o.scope_value, name_of(o."scope", o.scope_value) AS scope_name, d.current_month AS "month",
    o.currency, o.spent,
    date_diff('day', greatest(d.complete_before, d.current_month),
        (d.current_month + INTERVAL 1 MONTH)::DATE) AS days_left,
    o.rate::DECIMAL(38,6) AS recent_rate, (o.spent + o.more::DECIMAL(38,12))::DECIMAL(38,2) AS forecast,
    CASE WHEN o.more = 0 AND o.spread = 0 OR o.history_days >= 7
        THEN (o.spent + outlook_low(o.more, o.spread)::DECIMAL(38,12))::DECIMAL(38,2) END AS forecast_low,
    CASE WHEN o.more = 0 AND o.spread = 0 OR o.history_days >= 7
        THEN (o.spent + outlook_high(o.more, o.spread)::DECIMAL(38,12))::DECIMAL(38,2) END AS forecast_high,
    o.history_days, coalesce(t.completeness, m.completeness) AS completeness
FROM outlook o JOIN data_as_of d ON true JOIN month_completeness m ON m."month" = d.current_month
LEFT JOIN time_of t ON o."scope" = 'account' AND t.account = o.scope_value;

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
        min(day(usage_date))
            || CASE WHEN count(*) > 1
                THEN CASE WHEN max(day(usage_date)) - min(day(usage_date)) = count(*) - 1 THEN ' to ' ELSE ' … ' END
                || max(day(usage_date)) ELSE '' END AS span
    FROM comparable_days WHERE side = 'now' GROUP BY "month", account
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
    SELECT c."month", side, model, currency, coalesce(sum(amount), 0) AS net,
        coalesce(sum(total_tokens), 0)::DOUBLE AS tokens,
        coalesce(sum(input_tokens), 0)::DOUBLE + coalesce(sum(cached_tokens), 0)::DOUBLE AS inputs,
        coalesce(sum(cached_tokens), 0)::DOUBLE AS cached
    FROM usage_daily JOIN comparable_days c USING (account, usage_date) GROUP BY ALL
), prices AS (
    SELECT c."month", model, currency,
        sum(price::DOUBLE * requests) FILTER (line = 'input') / sum(requests) FILTER (line = 'input') AS input_price,
        sum(price::DOUBLE * requests) FILTER (line = 'cached') / sum(requests) FILTER (line = 'cached') AS cached_price
    FROM unit_prices JOIN comparable_days c USING (account, usage_date) WHERE side = 'before' GROUP BY ALL
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
WITH parts AS ( -- by account, so that a day is known to be whole for all that have a part in it
    SELECT CASE WHEN by_model THEN 'model' WHEN by_token THEN 'token' ELSE 'account' END AS "scope",
        CASE WHEN by_model THEN model WHEN by_token THEN token_id ELSE account END AS scope_value, account, currency,
        usage_date, cost, requests
    FROM (
        SELECT account, model, token_id, grouping(model) = 0 AS by_model, grouping(token_id) = 0 AS by_token, currency,
            usage_date, sum(amount) AS cost, sum(requests)::BIGINT AS requests
        FROM usage_daily, data_as_of WHERE usage_date < complete_before
        GROUP BY GROUPING SETS ((account, currency, usage_date), (account, model, currency, usage_date),
            (account, token_id, currency, usage_date))
    )
    UNION ALL
    SELECT 'cost_center', cost_center, account, currency, usage_date, sum(net_cost), sum(requests)::BIGINT
    -- with what was charged for the day later
    FROM chargeback_daily, data_as_of WHERE usage_date < complete_before GROUP BY ALL
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
    SELECT account, usage_date FROM coverage_daily, data_as_of
    WHERE missing_seconds = 0 AND usage_date < complete_before
), torn AS (
    -- the days from an account's first to the last that is over, or to its own last if it is no more, that aren't whole
    SELECT account, usage_date FROM (
        SELECT account,
            unnest(generate_series(make_timestamp(epoch_us(covered_from))::DATE,
                CASE WHEN configured THEN complete_before::TIMESTAMP ELSE make_timestamp(epoch_us(covered_to)) END
                    - INTERVAL 1 DAY,
                INTERVAL 1 DAY))::DATE AS usage_date
        FROM accounts, data_as_of WHERE covered_from IS NOT NULL
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
    JOIN allocated_daily d ON d.usage_date BETWEEN y.anomaly - 28 AND y.anomaly
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
    completeness   --| How complete the month is: what is missing of it is missing here.
) AS
SELECT x.*, m.completeness FROM (
    WITH scoped AS ( -- the month stands in each branch, so that a condition on it reaches each scan
        SELECT 'user' AS "scope", user_id AS scope_value, date_trunc('month', usage_date)::DATE AS "month", currency,
            requests, total_tokens, net_cost
        FROM allocated_daily
        UNION ALL
        SELECT 'token', token_id, date_trunc('month', usage_date)::DATE, currency, requests, total_tokens, net_cost
        FROM allocated_daily
        UNION ALL
        SELECT 'model', model, date_trunc('month', usage_date)::DATE, currency, requests, total_tokens, net_cost
        FROM allocated_daily
        UNION ALL
        SELECT 'custom_user', custom_user_id, date_trunc('month', usage_date)::DATE, currency, requests, total_tokens,
            net_cost
        FROM allocated_daily
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
    completeness         --| How complete the month is: what is missing of it is missing here.
) AS
SELECT x.*, m.completeness FROM (
    WITH scoped AS (
        SELECT 'all' AS "scope", NULL AS scope_value, date_trunc('month', usage_date)::DATE AS "month", currency,
            user_id, requests, total_tokens, net_cost
        FROM allocated_daily
        UNION ALL
        SELECT 'model', model, date_trunc('month', usage_date)::DATE, currency, user_id, requests, total_tokens,
            net_cost
        FROM allocated_daily
        UNION ALL
        SELECT CASE WHEN a.pool IS NULL THEN 'cost_center' ELSE 'pool' END,
            coalesce(a.pool, a.cost_center, '(unallocated)'), date_trunc('month', usage_date)::DATE, currency, user_id,
            requests, total_tokens, net_cost
        FROM allocated_daily JOIN allocations a USING (allocation_id)
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
    completeness    --| How complete the month is: what is missing of it is missing here.
) AS
SELECT x.*, name_of('model', x.model) AS model_name, m.completeness FROM (
    SELECT date_trunc('month', usage_date)::DATE AS "month", model, currency,
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
    FROM usage WHERE input_tokens IS NOT NULL OR cached_tokens IS NOT NULL
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
    completeness    --| How complete the month is: what is missing of it is missing here.
) AS
SELECT x.*, name_of('model', x.model) AS model_name, m.completeness FROM (
    SELECT date_trunc('month', usage_date)::DATE AS "month", model, currency, sum(total_amount) AS list_cost,
        sum(discount_amount) AS discount, sum(amount) AS net_cost,
        CASE WHEN sign(sum(discount_amount)) * sign(sum(total_amount) - sum(discount_amount)) >= 0
            THEN TRY_CAST(sum(discount_amount)::DOUBLE / nullif(sum(total_amount), 0)::DOUBLE AS DECIMAL(18,6))
            END AS discount_rate
    FROM usage_daily GROUP BY ALL
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
    completeness       --| How complete the month is: what is missing of it is missing here.
) AS
SELECT x.*, name_of('cost_center', x.cost_center) AS cost_center_name, name_of('model', x.model) AS model_name,
    m.completeness
FROM (
    SELECT date_trunc('month', usage_date)::DATE AS "month",
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
