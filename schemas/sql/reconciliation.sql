-- What was charged against invoices and balances, and which months are closed: see charges.sql.

--| 7. Invoice against usage: each line of an invoice, each model or day that detailed invoices leave out, the sum of a
--| period's invoices, and what rates make of them.
CREATE VIEW invoice_reconciliation (
    kind,            --| line: a line of an invoice. no line: what detailed invoices leave out. sum: all invoices of an
                     --| account and period. exchange: what they came to in the currency of the books, against what the
                     --| usage comes to by the rates of its months.
    invoice,         --| Number of the invoice; of a sum, and of what several leave out, their numbers.
    account,         --| Account it is for; NULL: all.
    account_name,    --| What the account is called, from names; NULL if it has no name.
    period_start,    --| First UTC day of the period.
    period_end,      --| UTC day before which the period ends.
    usage_date,      --| UTC day of the line; NULL: the whole period.
    model,           --| Model of the line; NULL: all.
    model_name,      --| What the model is called, from names; NULL if it has no name.
    currency,        --| ISO 4217 code of the costs; of exchange that of the books. Never sum across currencies.
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
        CASE WHEN count(*) = count(l.book_amount) THEN sum(l.book_amount) END AS book,
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
    FROM usage_addends
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
            SELECT count(*) FROM usage_addends u
            WHERE u.currency IS NULL AND u.amount IS NOT NULL AND u.usage_date >= p.period_start
                AND u.usage_date < p.period_end AND (p.account IS NULL OR u.account = p.account)
        ) AS no_currency,
        (SELECT count(DISTINCT account) FROM coverage c WHERE p.account IS NULL OR c.account = p.account) AS accounts,
        (
            SELECT coalesce(sum(covered_seconds), 0) FROM coverage_daily c
            WHERE c.usage_date >= p.period_start AND c.usage_date < p.period_end
                AND (p.account IS NULL OR c.account = p.account)
        ) AS covered
    FROM periods p
), booked AS ( -- what an invoice came to: its total, or else its lines; nothing if one of them doesn't say
    SELECT invoice, account, period_start, period_end, currency, CASE WHEN bool_or(usage_date IS NULL AND model IS NULL)
        THEN sum(book) FILTER (usage_date IS NULL AND model IS NULL)
        WHEN count(*) = count(book) THEN sum(book) END AS book
    FROM lines GROUP BY ALL
), exchanged AS (
    SELECT string_agg(b.invoice, ', ' ORDER BY b.invoice) AS invoice, b.account, b.period_start, b.period_end,
        b.currency, s.book_currency, sum(b.book) AS book
    FROM booked b JOIN finance_settings s ON s.book_currency <> b.currency
    GROUP BY b.account, b.period_start, b.period_end, b.currency, s.book_currency HAVING count(*) = count(b.book)
), by_rates AS (
    SELECT e.*, book_sum(a.net_cost * r.rate, a.net_cost)::DECIMAL(38,12) AS exported
    FROM exchanged e
    JOIN allocated_model_daily a ON a.currency = e.currency AND a.usage_date >= e.period_start
        AND a.usage_date < e.period_end AND (e.account IS NULL OR a.account = e.account)
    LEFT JOIN book_rates r ON r.currency = a.currency AND r.book_date = a.book_date
    GROUP BY ALL
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
    ON (b.account, b.period_start, b.period_end) IS NOT DISTINCT FROM (f.account, f.period_start, f.period_end)
UNION ALL
SELECT 'exchange', invoice, account, name_of('account', account), period_start, period_end, NULL, NULL, NULL,
    book_currency, book, 0, exported, exported - book,
    CASE WHEN exported IS NULL THEN 'a rate is missing' WHEN exported <> book
        THEN 'the rate of the invoice is another than those of its months; and what it differs by in ' || currency END,
    NULL
FROM by_rates;

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
    SELECT s.*, CASE WHEN given THEN coalesce(f.amount, 0) ELSE coalesce(s.granted, 0) END AS known,
        CASE WHEN given THEN coalesce(f.coupons, 0) ELSE coalesce(s.granted, 0) END AS coupons,
        e.amount AS expiring
    FROM (
        SELECT s.*, f.top_ups_given OR account IN (SELECT account FROM account_billing WHERE top_ups_given) AS given
        FROM spans s CROSS JOIN finance_settings f
    ) s
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
    SELECT account, book_date, book_date >= now - 7 AS lately
    FROM recent_days JOIN (SELECT account, book_date_of(covered_to) AS now FROM accounts) USING (account)
), days AS (
    SELECT account, count(*) FILTER (lately) AS week, count(*) AS four_weeks FROM whole GROUP BY ALL
), burnt AS (
    SELECT account, currency, sum(net_cost) FILTER (lately)::DOUBLE AS week, sum(net_cost)::DOUBLE AS four_weeks
    FROM allocated_model_daily JOIN whole USING (account, book_date) GROUP BY ALL
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
    completeness,       --| How complete the month is: what is missing of it is missing here.
    period,             --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
    book_currency,      --| Currency of the books; NULL if they have none.
    book_cost           --| Charged in the month, in it. NULL if a part of it has no rate.
) AS
SELECT x.* EXCLUDE (book_currency, book_cost), m.completeness, period_of(x."month") AS period, x.book_currency,
    x.book_cost
FROM (
    WITH billed AS (
        SELECT billing_month, currency, book_currency, book_sum(book_cost, net_cost) AS book_cost,
            sum(net_cost) AS net_cost, sum(requests)::BIGINT AS requests,
            sum(net_cost) FILTER (charge_class = 'Correction') AS corrections_in
        FROM chargeback_daily GROUP BY ALL
    ), since AS (
        SELECT month_of(book_date) AS billing_month, currency, sum(net_cost) AS corrections_out,
            sum(requests)::BIGINT AS records, min(billing_month) AS corrected_in
        FROM chargeback_daily WHERE charge_class = 'Correction' GROUP BY ALL
    )
    SELECT coalesce(b.billing_month, s.billing_month, c."month") AS "month",
        coalesce(b.currency, s.currency) AS currency,
        CASE WHEN c."month" IS NOT NULL THEN 'closed'
            WHEN coalesce(b.billing_month, s.billing_month) >= d.current_month THEN 'current' ELSE 'open' END AS status,
        c.closed_at, c.reason, b.requests, b.net_cost, b.corrections_in, s.corrections_out,
        s.records AS corrected_records, s.corrected_in, b.book_currency, b.book_cost
    FROM billed b FULL JOIN since s ON s.billing_month = b.billing_month AND s.currency IS NOT DISTINCT FROM b.currency
    FULL JOIN closed_months c ON c."month" = coalesce(b.billing_month, s.billing_month), data_as_of d
) x LEFT JOIN month_completeness m ON m."month" = x."month";
