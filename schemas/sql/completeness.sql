-- How complete the figures are. Completeness belongs to an account and a day (coverage_daily); whatever is summed over
-- accounts or days is as complete as the least of them. Every view, forecast, budget, comparison and report takes it
-- from here.
--
-- Of a month, an account of the config is expected to be there whole, from the month's first second up to what as_of
-- says, whether or not anything was ever fetched of it: that a key had no usage is known when the Portal was asked, and
-- not before. Two kinds of accounts are expected in fewer months: one that is in the config no more, in those from its
-- first to its last; and none in a closed month of which nothing of it was fetched, unless it was known to lack then,
-- for such a month was closed without it. A closed month stays as complete as it was when it was closed: what is
-- fetched of it later is charged in another.

--| What data_as_of is filled with by each publish.
CREATE VIEW data_as_of_now /* of the whole file */ (
    as_of,           --| End of the last window that was fetched, of any account, UTC. accounts has each one's own.
    current_month,   --| First day of the month that holds it.
    complete_before  --| Book day before which all days are over.
) AS
SELECT as_of, month_of(book_date_of(to_timestamp(epoch(as_of) - 1))) AS current_month,
    book_date_of(as_of) AS complete_before
FROM (
    SELECT coalesce(max(covered_to), to_timestamp((SELECT epoch(max(usage_date) + 1) FROM usage_addends))) AS as_of
    FROM accounts
);

--| One row: how old this file is, for a dashboard to show.
CREATE VIEW published /* of the whole file */ (
    published_at,  --| When it was published, UTC.
    generation,    --| Counts the publishes: a connection that sees an old one keeps an old file open.
    complete_to,   --| Up to when every account of the config is fetched, UTC; NULL if nothing was ever fetched of one.
    as_of,         --| Up to when the account that goes farthest is fetched, UTC.
    version        --| Of the program that published it.
) AS
SELECT m.published_at, m.generation,
    (SELECT CASE WHEN count(*) = count(covered_to) THEN min(covered_to) END FROM accounts WHERE configured)
        AS complete_to,
    d.as_of, m.version
FROM meta m CROSS JOIN data_as_of d;

-- Seconds as hours, with four places at the most.
CREATE MACRO hours_text(seconds) AS regexp_replace(regexp_replace((seconds / 3600)::DECIMAL(18,4)::VARCHAR, '0+$', ''),
    '\.$', '');

-- The words for it: lacks are the accounts that lack something, {account, missing in seconds}, the one that lacks most
-- first.
CREATE MACRO completeness_text(period, expected, as_of, lacks) AS
    CASE WHEN coalesce(len(lacks), 0) = 0 AND expected = period THEN 'complete'
        WHEN coalesce(len(lacks), 0) = 0 THEN hours_text(expected) || ' of ' || hours_text(period) || ' hours'
            || CASE WHEN expected > 0
                THEN ', complete to ' || strftime(make_timestamp(epoch_us(as_of)), '%Y-%m-%d %H:%M') || ' UTC'
                ELSE '' END
        ELSE hours_text(expected - lacks[1].missing) || ' of ' || hours_text(period) || ' hours ('
            || array_to_string(list_transform(lacks[1:3], lambda x: 'account ' || x.account || ' lacks '
                || hours_text(x.missing)), ', ')
            || CASE WHEN len(lacks) > 3 THEN ', ' || (len(lacks) - 3) || ' more lack some' ELSE '' END || ')'
            || CASE WHEN expected < period
                THEN ', as of ' || strftime(make_timestamp(epoch_us(as_of)), '%Y-%m-%d %H:%M') || ' UTC'
                ELSE '' END END;

--| How much of the book days from first_day to end_day (excluded) was fetched, by month and account.
CREATE MACRO completeness_by_account(first_day, end_day) AS TABLE
WITH asked AS ( -- once: a macro's argument is put wherever it is named, a query too
    SELECT first_day AS since, end_day AS until
), months AS (
    SELECT "month", from_day, to_day, whole, starts_at, ends_at, book_day_starts(from_day) AS begins,
        book_day_starts(to_day) AS ends
    FROM (
        SELECT p."month", greatest(p.period_start, since) AS from_day, least(p.period_end, until) AS to_day,
            p.period_start >= since AND p.period_end <= until AS whole, p.starts_at, p.ends_at
        FROM asked JOIN periods p ON p.period_start < until AND p.period_end > since
    )
), covered AS (
    SELECT m."month", c.account, sum(c.covered_seconds)::BIGINT AS of_month,
        coalesce(sum(c.covered_seconds) FILTER (c.book_date >= m.from_day AND c.book_date < m.to_day),
            0)::BIGINT AS seconds
    FROM months m JOIN (SELECT *, month_of(book_date) AS "month" FROM coverage_daily) c USING ("month") GROUP BY ALL
), looked AS (
    SELECT m."month", m.begins, m.ends, m.starts_at, m.ends_at, a.account, a.configured, a.covered_from, a.covered_to,
        c.of_month, coalesce(c.seconds, 0) AS seconds, k."month" IS NOT NULL AS closed,
        greatest(0, least(m.ends, epoch(d.as_of)) - m.begins)::BIGINT AS expected_seconds,
        -- of a whole closed month: what it lacked then
        CASE WHEN k.completeness IS NOT NULL AND m.whole THEN coalesce(l.missing_seconds, 0) END AS lacked,
        coalesce(l.missing_seconds, 0) > 0 AS lacked_some
    FROM months m CROSS JOIN data_as_of d CROSS JOIN accounts a
    LEFT JOIN covered c ON c."month" = m."month" AND c.account = a.account
    LEFT JOIN closed_months k ON k."month" = m."month"
    LEFT JOIN closed_lacking l ON l."month" = m."month" AND l.account = a.account
)
SELECT "month", account, (ends - begins)::BIGINT AS period_seconds, expected_seconds,
    CASE WHEN lacked IS NOT NULL THEN least(lacked, expected_seconds)
        ELSE greatest(0, expected_seconds - seconds) END AS missing_seconds,
    expected_seconds - missing_seconds AS covered_seconds,
    CASE WHEN configured
        THEN greatest(0, ends - greatest(begins, epoch(covered_from)) - seconds)::BIGINT
        ELSE 0 END AS ahead_seconds
FROM looked
WHERE CASE WHEN closed THEN of_month > 0 OR lacked_some
    WHEN configured THEN true
    ELSE ends_at > covered_from AND starts_at < covered_to END;

--| How complete the book days from first_day to end_day (excluded) are, over all accounts: FROM completeness(DATE
--| '2026-10-01', DATE '2026-11-01').
CREATE MACRO completeness(first_day, end_day) AS TABLE
SELECT p.seconds AS period_seconds, e.expected_seconds, e.missing_seconds,
    e.missing_seconds = 0 AND e.expected_seconds = p.seconds AS complete,
    completeness_text(p.seconds, e.expected_seconds, d.as_of, e.lacks) AS completeness
FROM data_as_of d, (
    SELECT (book_day_starts(end_day) - book_day_starts(first_day))::BIGINT AS seconds
) p, (
    SELECT coalesce(max(expected), 0)::BIGINT AS expected_seconds, coalesce(sum(missing), 0)::BIGINT AS missing_seconds,
        list({'account': account, 'missing': missing} ORDER BY missing DESC, account) FILTER (missing > 0) AS lacks
    FROM (
        SELECT account, sum(expected_seconds)::BIGINT AS expected, sum(missing_seconds)::BIGINT AS missing
        FROM completeness_by_account(first_day, end_day) GROUP BY account
    )
) e;

--| What completeness_monthly is filled with by each publish.
CREATE VIEW completeness_now (
    "month",           --| First day of the month.
    account,           --| Name of the account in the config.
    period_seconds,    --| Seconds of the month.
    expected_seconds,  --| Of these, seconds that are over, by data_as_of.
    covered_seconds,   --| Seconds that were fetched.
    missing_seconds,   --| Seconds that are over and were not fetched.
    ahead_seconds,     --| Seconds from the account's first window on that aren't there yet: still to come, or missing.
                       --| 0 of an account that is in the config no more.
    completeness       --| complete; or how many hours are there, and what is lacking.
) AS
SELECT "month", account, period_seconds, expected_seconds, covered_seconds, missing_seconds, ahead_seconds,
    completeness_text(period_seconds, expected_seconds, (SELECT as_of FROM data_as_of),
        CASE WHEN missing_seconds > 0 THEN [{'account': account, 'missing': missing_seconds}] END) AS completeness
FROM completeness_by_account(
    (
        SELECT least(min(p.period_start), (SELECT min(valid_from) FROM budgets WHERE period = 'once'))
        FROM periods p JOIN periods q USING (fiscal_year)
        WHERE q."month" = (
            SELECT least(current_month, (SELECT month_of(min(book_date)) FROM coverage_daily),
                (SELECT min(billing_month) FROM chargeback_daily)) FROM data_as_of
        ) AND (p.fiscal_quarter = q.fiscal_quarter OR EXISTS (FROM budgets WHERE period = 'year'))
    ),
    (
        SELECT greatest(max(p.period_end), (SELECT max(valid_to) FROM budgets WHERE period = 'once'))
        FROM periods p JOIN periods q USING (fiscal_year)
        WHERE q."month" = (
            SELECT greatest(current_month, (SELECT max(billing_month) FROM chargeback_daily)) FROM data_as_of
        ) AND (p.fiscal_quarter = q.fiscal_quarter OR EXISTS (FROM budgets WHERE period = 'year'))
    ));

--| How complete each month is, over all accounts: as the account that lacks most.
CREATE VIEW month_completeness (
    "month",           --| First day of the month.
    period_seconds,    --| Seconds of the month.
    expected_seconds,  --| Of these, seconds that are over, by data_as_of.
    missing_seconds,   --| Seconds that are over and were not fetched, summed over the accounts.
    complete,          --| Whether the month is over and nothing is missing.
    completeness       --| complete; or how many hours are there, and which accounts lack how many.
) AS
SELECT "month", period_seconds, expected_seconds, missing_seconds, complete,
    completeness_text(period_seconds, expected_seconds, (SELECT as_of FROM data_as_of), lacks) AS completeness
FROM (
    SELECT "month", any_value(period_seconds) AS period_seconds, max(expected_seconds) AS expected_seconds,
        sum(missing_seconds)::BIGINT AS missing_seconds,
        bool_and(missing_seconds = 0 AND expected_seconds = period_seconds) AS complete,
        list({'account': account, 'missing': missing_seconds}
            ORDER BY missing_seconds DESC, account) FILTER (missing_seconds > 0) AS lacks
    FROM completeness_monthly GROUP BY "month"
);

--| The book days of each account that were fetched whole.
CREATE VIEW whole_days (
    account,   --| Name of the account in the config.
    book_date  --| Book day.
) AS
SELECT account, book_date FROM coverage_daily GROUP BY account, book_date
HAVING sum(covered_seconds) = book_day_starts(book_date + 1) - book_day_starts(book_date);

-- The days that tell what an account costs a day: the last 28 of its own that were fetched whole.
--| The whole days among the last 28 of each account, by its own clock: what rates and forecasts are means over.
CREATE VIEW recent_days (
    account,    --| Name of the account in the config.
    book_date,  --| Book day that was fetched whole.
    days        --| How many of them the account has.
) AS
SELECT account, book_date, count(*) OVER (PARTITION BY account) AS days
FROM whole_days JOIN (SELECT account, book_date_of(covered_to) AS now FROM accounts) USING (account)
WHERE book_date < now AND book_date >= now - 28;

-- Two months are compared by what both have: whole months where the account has both whole, else the days that it has
-- whole in both.
--| The days by which a month is compared with the one before, for each account that has such.
CREATE VIEW comparable_days (
    account,    --| Name of the account in the config.
    "month",    --| First day of the later month.
    book_date,  --| Book day of either.
    side,       --| now: of the later month; before: of the earlier one.
    "full"      --| Whether both months are compared whole; else by the days of the same number that both have whole.
) AS
WITH whole AS (
    SELECT w.account, w.book_date, p."month", w.book_date - p.period_start + 1 AS n,
        p.period_end - p.period_start AS days
    FROM whole_days w JOIN periods p ON p."month" = month_of(w.book_date)
), months AS (
    SELECT account, "month", count(*) = any_value(days) AS full FROM whole GROUP BY account, "month"
), pairs AS (
    SELECT n.account, n."month", b."month" AS before, n.full AND b.full AS full
    FROM months n JOIN months b ON b.account = n.account AND b."month" = (n."month" - INTERVAL 1 MONTH)::DATE
), now_days AS (
    SELECT p.account, p."month", p.before, p.full, w.book_date, w.n
    FROM pairs p JOIN whole w ON w.account = p.account AND w."month" = p."month"
), before_days AS (
    SELECT p.account, p."month", p.full, w.book_date, w.n
    FROM pairs p JOIN whole w ON w.account = p.account AND w."month" = p.before
)
SELECT n.account, n."month", n.book_date, 'now' AS side, n.full FROM now_days n
WHERE n.full OR EXISTS (FROM before_days b WHERE b.account = n.account AND b."month" = n."month" AND b.n = n.n)
UNION ALL
SELECT b.account, b."month", b.book_date, 'before', b.full FROM before_days b
WHERE b.full OR EXISTS (FROM now_days n WHERE n.account = b.account AND n."month" = b."month" AND n.n = b.n);
