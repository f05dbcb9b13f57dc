-- Prepaid credit: views over prepaid_ledger, which a publish fills (load/publish/prepaid.go). Of each credit, what was
-- topped up is drawn + expired + remaining; of each month, opening + paid + coupons + credited − drawn − expired =
-- closing; to the last of twelve decimals.

--| Each top-up of prepaid accounts: what was drawn on it, what expired, what is left.
CREATE VIEW credits (
    account,        --| Name of the account in the config.
    account_name,   --| What the account is called, from names; NULL if it has no name.
    currency,       --| ISO 4217 code of the amounts. Never sum across currencies.
    credit,         --| Names it among those of the account and currency: its date, and which one of that date it is.
    kind,           --| paid, coupon or credit.
    reference,      --| What the file refers to: a payment, a coupon.
    top_up_date,    --| Its date in the file, a book day.
    pays_from,      --| Book day from which it pays; later than its date where that lay in a month closed before.
    expires,        --| First book day on which it no longer pays; NULL: it doesn't expire.
    amount,         --| What was topped up.
    drawn,          --| Of this, drawn by usage, less what refunds gave back.
    expired,        --| Of this, expired: breakage.
    remaining,      --| What is left: amount − drawn − expired.
    note,           --| What to know of it; NULL if nothing.
    source          --| File and line of the top-up.
) AS
SELECT account, name_of('account', account) AS account_name, currency, credit, any_value(kind) AS kind,
    any_value(reference) AS reference, any_value(top_up_date) AS top_up_date,
    any_value(book_date) FILTER (entry = 'top_up') AS pays_from, any_value(expires) AS expires,
    sum(amount) FILTER (entry = 'top_up') AS amount,
    coalesce(sum(amount) FILTER (entry IN ('draw', 'cover')), 0) AS drawn,
    coalesce(sum(amount) FILTER (entry = 'expiry'), 0) AS expired,
    sum(CASE WHEN entry = 'top_up' THEN amount ELSE -amount END) AS remaining,
    CASE WHEN any_value(top_up_date) < any_value(book_date) FILTER (entry = 'top_up')
        THEN format('it was told when the month of {} was closed: it pays from {} on', any_value(top_up_date),
            any_value(book_date) FILTER (entry = 'top_up')) END AS note,
    any_value(source) AS source
FROM prepaid_ledger WHERE credit IS NOT NULL
GROUP BY account, currency, credit;

--| What usage drew on which credit, by book day.
CREATE VIEW draws_daily (
    account,        --| Name of the account in the config.
    account_name,   --| What the account is called, from names; NULL if it has no name.
    currency,       --| ISO 4217 code of amount. Never sum across currencies.
    book_date,      --| Book day.
    billing_month,  --| First day of the month that it is entered in.
    period,         --| What people call that month.
    entry,          --| draw: usage of the day. cover: of what was overdrawn on days before.
    credit,         --| The credit, as credits calls it.
    kind,           --| paid, coupon or credit.
    amount          --| What was drawn; below 0: given back by a refund.
) AS
SELECT account, name_of('account', account) AS account_name, currency, book_date, billing_month, period, entry, credit,
    kind, sum(amount) AS amount
FROM prepaid_ledger WHERE entry IN ('draw', 'cover')
GROUP BY ALL;

--| What no credit covered, by book day: it is billed 0 until a top-up covers it.
CREATE VIEW overdrawn (
    account,        --| Name of the account in the config.
    account_name,   --| What the account is called, from names; NULL if it has no name.
    currency,       --| ISO 4217 code of the amounts; NULL if what was used has none. Never sum across currencies.
    book_date,      --| Book day.
    billing_month,  --| First day of the month that it is entered in.
    period,         --| What people call that month.
    used,           --| Usage of the day that no credit covers; below 0: a refund.
    covered,        --| What a top-up of the day covers of it and of days before.
    outstanding     --| What is overdrawn at the end of the day; below 0: refunded beyond all that was ever drawn, which
                    --| is used before any credit.
) AS
SELECT account, name_of('account', account) AS account_name, currency, book_date, billing_month, period, used, covered,
    sum(used - covered) OVER (PARTITION BY account, currency ORDER BY book_date) AS outstanding
FROM (
    SELECT account, currency, book_date, billing_month, period,
        coalesce(sum(amount) FILTER (entry = 'overdrawn'), 0) AS used,
        coalesce(sum(amount) FILTER (entry = 'cover'), 0) AS covered
    FROM prepaid_ledger WHERE entry IN ('overdrawn', 'cover')
    GROUP BY ALL
);

-- Within a day the running sum of its records moves along the day's entries, which lie end to end from 0 to the day's
-- sum: what a record draws on a credit is how far it moves within that credit's part.
--| Which record drew on which credit, in order of request_time, id and ordinal. By account, currency, day and credit it
--| sums to the draws of prepaid_ledger; what an overdrawn record is covered by later stands in draws_daily alone.
CREATE VIEW record_draws /* of the whole file */ (
    account,       --| Name of the account in the config.
    account_name,  --| What the account is called, from names; NULL if it has no name.
    usage_date,    --| UTC day of the record; NULL of corrections.
    book_date,     --| Book day.
    request_time,  --| When the request was made, UTC; NULL of corrections.
    id,            --| Id of the record in usage; NULL: corrections of closed months that are charged on this day, or,
                   --| of a day of a closed month, what is charged for it elsewhere.
    ordinal,       --| Ordinal of the record in usage.
    currency,      --| ISO 4217 code of amount; NULL if the record has none.
    entry,         --| draw, overdrawn; offset: what a refund or a correction of the same day makes up for.
    credit,        --| The credit, as credits calls it; NULL if none.
    kind,          --| paid, coupon or credit; NULL if no credit.
    amount         --| What the record drew; below 0: gave back. The rows of a record sum to its amount.
) AS
WITH parts AS (
    SELECT account, currency, book_date, line, entry, credit, kind,
        sum(amount) OVER w - amount AS a, sum(amount) OVER w AS b
    FROM prepaid_ledger WHERE entry IN ('draw', 'overdrawn')
    WINDOW w AS (PARTITION BY account, currency, book_date ORDER BY line)
), days AS (
    SELECT account, currency, book_date, sum(b - a) AS amount FROM parts GROUP BY ALL
), records AS (
    SELECT u.account, u.usage_date, u.book_date, u.request_time, u.id, u.ordinal, u.currency, u.amount
    FROM booked_usage u
    JOIN days d ON d.account = u.account AND d.book_date = u.book_date AND d.currency IS NOT DISTINCT FROM u.currency
    WHERE u.amount IS NOT NULL
), moves AS (
    SELECT *, sum(amount) OVER (PARTITION BY account, currency, book_date
        ORDER BY request_time NULLS FIRST, id, ordinal) AS upto
    FROM (
        SELECT account, usage_date, book_date, request_time, id, ordinal, currency, amount FROM records
        UNION ALL
        SELECT d.account, NULL, d.book_date, NULL, NULL, NULL, d.currency, d.amount - coalesce(r.amount, 0)
        FROM days d LEFT JOIN (
            SELECT account, currency, book_date, sum(amount) AS amount FROM records GROUP BY ALL
        ) r ON r.account = d.account AND r.currency IS NOT DISTINCT FROM d.currency AND r.book_date = d.book_date
        WHERE d.amount IS DISTINCT FROM coalesce(r.amount, 0)
    )
), drawn AS (
    SELECT m.* EXCLUDE (amount, upto), p.line, p.entry, p.credit, p.kind,
        least(greatest(upto, least(a, b)), greatest(a, b))
            - least(greatest(upto - m.amount, least(a, b)), greatest(a, b)) AS amount
    FROM moves m
    JOIN parts p ON p.account = m.account AND p.book_date = m.book_date AND p.currency IS NOT DISTINCT FROM m.currency
        AND greatest(upto, upto - m.amount) > least(a, b) AND least(upto, upto - m.amount) < greatest(a, b)
)
SELECT account, name_of('account', account) AS account_name, usage_date, book_date, request_time, id, ordinal,
    currency, entry, credit, kind, amount
FROM (
    SELECT account, usage_date, book_date, request_time, id, ordinal, currency, entry, credit, kind,
        sum(amount) AS amount
    FROM drawn GROUP BY ALL
    UNION ALL
    SELECT account, usage_date, book_date, request_time, id, ordinal, currency, 'offset', NULL, NULL, sum(amount)
    FROM (
        SELECT account, usage_date, book_date, request_time, id, ordinal, currency, amount FROM moves
        UNION ALL
        SELECT account, usage_date, book_date, request_time, id, ordinal, currency, -amount FROM drawn
    )
    GROUP BY ALL HAVING sum(amount) <> 0
);

--| The roll-forward of prepaid credit, by account and month: what is left at its end is the asset on the balance sheet.
--| opening + paid + coupons + credited − drawn − expired = closing, exactly.
CREATE VIEW prepaid_monthly (
    account,                    --| Name of the account in the config.
    account_name,               --| What the account is called, from names; NULL if it has no name.
    currency,                   --| ISO 4217 code of the amounts; NULL if what was used has none.
    "month",                    --| First day of the month.
    period,                     --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
    status,                     --| closed: its entries don't change any more. closed as postpaid: they may, for the
                                --| account wasn't prepaid when it was closed. open.
    opening,                    --| What was left of credit when it began.
    paid,                       --| Topped up with money.
    coupons,                    --| Given as coupons.
    credited,                   --| Made good by the vendor: top-ups of the kind credit.
    drawn,                      --| Drawn by usage, less what refunds gave back; what was overdrawn before included.
    expired,                    --| Expired: breakage.
    closing,                    --| What is left at its end: the asset.
    used,                       --| Usage charged in the month, drawn or overdrawn.
    overdrawn,                  --| What is overdrawn at its end.
    portal_observed_at,         --| The last look at the Portal's balance in the month up to which usage was exported,
                                --| UTC; NULL if there was none.
    portal_balance,             --| The balance then.
    portal_coupons,             --| What was left of coupons then; NULL if the API did not say.
    since_look,                 --| What changes it from then to the end: top-ups and expiries of later days, less
                                --| usage.
    difference,                 --| portal_balance + since_look − (closing − overdrawn): what the two don't agree in.
                                --| The API does not say whether the balance includes what is left of coupons: so if it
                                --| does.
    difference_coupons_beside,  --| The same if coupons stand beside the balance: of the sum of both. NULL too if the
                                --| API sent no coupon_balance.
    note                        --| Why they may not agree; NULL if they do.
) AS
WITH flows AS (
    SELECT account, currency, billing_month AS "month",
        coalesce(sum(amount) FILTER (entry = 'top_up' AND kind = 'paid'), 0) AS paid,
        coalesce(sum(amount) FILTER (entry = 'top_up' AND kind = 'coupon'), 0) AS coupons,
        coalesce(sum(amount) FILTER (entry = 'top_up' AND kind = 'credit'), 0) AS credited,
        coalesce(sum(amount) FILTER (entry IN ('draw', 'cover')), 0) AS drawn,
        coalesce(sum(amount) FILTER (entry = 'expiry'), 0) AS expired,
        coalesce(sum(amount) FILTER (entry IN ('draw', 'overdrawn')), 0) AS used,
        coalesce(sum(CASE entry WHEN 'overdrawn' THEN amount WHEN 'cover' THEN -amount END), 0) AS over
    FROM prepaid_ledger GROUP BY ALL
), months AS ( -- each month from the first on, whether anything was entered or not
    SELECT s.account, s.currency, p."month", p.period, p.starts_at, p.ends_at
    FROM (
        SELECT account, currency, min("month") AS first_month, max("month") AS last_month FROM flows GROUP BY ALL
    ) s
    JOIN periods p
        ON p."month" BETWEEN s.first_month AND greatest(s.last_month, (SELECT current_month FROM data_as_of))
), rolled AS (
    SELECT m.*, coalesce(f.paid, 0) AS paid, coalesce(f.coupons, 0) AS coupons, coalesce(f.credited, 0) AS credited,
        coalesce(f.drawn, 0) AS drawn, coalesce(f.expired, 0) AS expired, coalesce(f.used, 0) AS used,
        sum(coalesce(f.paid + f.coupons + f.credited - f.drawn - f.expired, 0)) OVER w AS closing,
        sum(coalesce(f.over, 0)) OVER w AS overdrawn, row_number() OVER w AS nth
    FROM months m LEFT JOIN flows f
        ON f.account = m.account AND f.currency IS NOT DISTINCT FROM m.currency AND f."month" = m."month"
    WINDOW w AS (PARTITION BY m.account, m.currency ORDER BY m."month")
), looks AS (
    SELECT r.account, r.currency, r."month", max(b.observed_at) AS observed_at,
        arg_max(b.balance, b.observed_at) AS balance, arg_max_null(b.coupon_balance, b.observed_at) AS coupon_balance,
        least(any_value(r.ends_at), (SELECT as_of FROM data_as_of)) AS ends_at
    FROM rolled r
    JOIN balance b ON b.account = r.account AND coalesce(b.currency, r.currency) = r.currency
        AND b.observed_at >= r.starts_at AND b.observed_at < r.ends_at
        AND b.observed_at <= (SELECT as_of FROM data_as_of) -- what was used before a later one isn't known yet
    WHERE b.balance IS NOT NULL
    GROUP BY ALL
), hours AS ( -- those between a look and the end: joining by them keeps usage of other times out
    SELECT *, unnest(range(epoch_us(observed_at) // 3600000000, epoch_us(ends_at) // 3600000000 + 1)) AS "hour"
    FROM looks
), used_after AS (
    SELECT h.account, h.currency, h."month", sum(u.amount) AS amount
    FROM usage u
    JOIN hours h ON u.account = h.account AND u.currency = h.currency
        AND epoch_us(u.request_time) // 3600000000 = h."hour"
        AND u.request_time >= h.observed_at AND u.request_time < h.ends_at
    GROUP BY ALL
), entered_after AS ( -- a file names a day: what is of the day of the look is taken to be in the balance
    SELECT l.account, l.currency, l."month", sum(CASE p.entry WHEN 'top_up' THEN p.amount ELSE -p.amount END) AS amount
    FROM looks l
    JOIN prepaid_ledger p ON p.account = l.account AND p.currency = l.currency AND p.billing_month = l."month"
        AND p.entry IN ('top_up', 'expiry') AND p.book_date > book_date_of(l.observed_at)
    GROUP BY ALL
), compared AS (
    SELECT r.*, l.observed_at, l.balance, l.coupon_balance,
        CASE WHEN l.observed_at IS NOT NULL THEN coalesce(e.amount, 0) - coalesce(u.amount, 0) END AS since_look,
        l.balance + coalesce(e.amount, 0) - coalesce(u.amount, 0) - (r.closing - r.overdrawn) AS difference
    FROM rolled r
    LEFT JOIN looks l ON l.account = r.account AND l.currency = r.currency AND l."month" = r."month"
    LEFT JOIN used_after u ON u.account = r.account AND u.currency = r.currency AND u."month" = r."month"
    LEFT JOIN entered_after e ON e.account = r.account AND e.currency = r.currency AND e."month" = r."month"
)
SELECT c.account, name_of('account', c.account) AS account_name, c.currency, c."month", c.period,
    CASE WHEN list_contains(m.prepaid, c.account) THEN 'closed' WHEN m."month" IS NOT NULL THEN 'closed as postpaid'
        ELSE 'open' END AS status,
    c.closing - c.paid - c.coupons - c.credited + c.drawn + c.expired AS opening, c.paid, c.coupons, c.credited,
    c.drawn, c.expired, c.closing, c.used, c.overdrawn, c.observed_at AS portal_observed_at,
    c.balance AS portal_balance, c.coupon_balance AS portal_coupons, c.since_look, c.difference,
    c.difference + c.coupon_balance AS difference_coupons_beside,
    CASE WHEN c.observed_at IS NULL THEN 'no look at the balance lies in what was exported of the month'
        WHEN c.difference <> 0 AND (c.difference + c.coupon_balance = 0) IS NOT TRUE THEN concat_ws('; ',
            CASE WHEN c.coupon_balance <> 0
                THEN format('if the coupons stand beside the balance it is {}', c.difference + c.coupon_balance) END,
            CASE WHEN c.nth = 1
                THEN 'what the balance was before the first top-up is in no file: write it as a top-up' END,
            CASE WHEN k.missing_seconds > 0
                THEN format('{} hours of the month were not exported', hours_text(k.missing_seconds)) END,
            CASE WHEN m.corrected
                THEN 'usage of the month came late or changed after it was closed' END,
            'usage that came late or is charged later; top-ups that no file has; refunds and fees')
        END AS note
FROM compared c
LEFT JOIN completeness_monthly k ON k."month" = c."month" AND k.account = c.account
LEFT JOIN closed_months m ON m."month" = c."month";
