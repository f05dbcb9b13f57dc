-- Budgets and forecasts: see charges.sql.

-- The ends of the range that holds 8 of 10 outcomes: what is yet to be charged may be more or less, and doesn't change
-- its sign.
CREATE MACRO outlook_low(more, spread) AS CASE WHEN more < 0 THEN more - 1.2816 * spread
    WHEN more >= 0 THEN greatest(more - 1.2816 * spread, 0) END;
CREATE MACRO outlook_high(more, spread) AS CASE WHEN more < 0 THEN least(more + 1.2816 * spread, 0)
    WHEN more >= 0 THEN more + 1.2816 * spread END;

--| What is charged, as forecasts count it: in the currency of the costs, and all of it once more in that of the books.
CREATE VIEW charged_in_each (
    billing_month,  --| First day of the month it is charged in.
    period,         --| What people call it: 2026-10; of a fiscal calendar 2026-P07.
    book_date,      --| Book day of the usage.
    account,        --| Name of the account in the config.
    cost_center,    --| Cost centre; (unallocated) if none was assigned.
    team,           --| Team; NULL if none was assigned.
    project,        --| Project; NULL if none was assigned.
    environment,    --| Environment; NULL if none was assigned.
    model,          --| Model that was called.
    currency,       --| That of the costs, or of the books: of the latter the rows are all that is charged.
    own,            --| What is charged; NULL of a row in the currency of the books.
    book,           --| net_cost × rate; NULL of a row in the currency of the costs.
    lacking         --| Whether there is no rate, so that sums are unknown.
) AS
SELECT c.billing_month, c.period, c.book_date, c.account, c.cost_center, c.team, c.project, c.environment, c.model,
    c.currency, c.net_cost AS own, NULL::DECIMAL(38,22) AS book, false AS lacking
FROM chargeback_daily /* ever */ c CROSS JOIN finance_settings s
WHERE s.book_currency IS NULL OR c.currency IS DISTINCT FROM s.book_currency
UNION ALL
SELECT c.billing_month, c.period, c.book_date, c.account, c.cost_center, c.team, c.project, c.environment, c.model,
    s.book_currency, NULL, c.net_cost * r.rate, c.net_cost IS NOT NULL AND r.rate IS NULL
FROM chargeback_daily /* ever */ c JOIN finance_settings s ON s.book_currency IS NOT NULL
LEFT JOIN book_rates r ON r.currency = c.currency AND r.book_date = c.book_date;

--| What everything, each account, cost centre, team, project, environment and model costs a day in each account: the
--| mean of recent_days, in which a day without cost is 0. Estimate.
CREATE VIEW scope_rates (
    "scope",      --| all, cost_center, team, project, environment, account or model.
    scope_value,  --| Which of these; NULL of all.
    currency,     --| That of the costs; or of the books, and then of all costs. Never sum across currencies.
    account,      --| Name of the account in the config.
    days,         --| Days it is the mean of; NULL if the account has no whole day yet.
    rate,         --| Net cost a day, corrections of closed months apart. NULL as days, or where a rate of a currency is
                  --| missing.
    variance      --| Its variance from day to day, the whole of the days taken for all there is.
) AS
WITH costs AS ( -- of an account without a whole day: NULL, for nobody knows
    SELECT account, book_date, cost_center, team, project, environment, model, currency, sum(own) AS own,
        sum(book) AS book, bool_or(lacking) AS lacking, days
    -- a day costs what is charged for it in any month
    FROM charged_in_each JOIN recent_days USING (account, book_date) GROUP BY ALL
    UNION ALL
    SELECT DISTINCT account, NULL::DATE, cost_center, team, project, environment, model, currency, NULL, NULL, false,
        NULL
    FROM charged_in_each ANTI JOIN recent_days USING (account)
), scoped AS (
    SELECT 'all' AS "scope", NULL AS scope_value, account, book_date, currency, own, book, lacking, days FROM costs
    UNION ALL SELECT 'account', account, account, book_date, currency, own, book, lacking, days FROM costs
    UNION ALL SELECT 'cost_center', cost_center, account, book_date, currency, own, book, lacking, days FROM costs
    UNION ALL
    SELECT 'team', team, account, book_date, currency, own, book, lacking, days FROM costs WHERE team IS NOT NULL
    UNION ALL
    SELECT 'project', project, account, book_date, currency, own, book, lacking, days
    FROM costs WHERE project IS NOT NULL
    UNION ALL
    SELECT 'environment', environment, account, book_date, currency, own, book, lacking, days
    FROM costs WHERE environment IS NOT NULL
    UNION ALL
    SELECT 'model', model, account, book_date, currency, own, book, lacking, days FROM costs WHERE model IS NOT NULL
), daily AS (
    SELECT "scope", scope_value, account, book_date, currency, days, bool_or(lacking) AS lacking,
        coalesce(sum(own)::DOUBLE, sum(book)::DOUBLE) AS cost
    FROM scoped GROUP BY ALL
)
SELECT "scope", scope_value, currency, account, days,
    CASE WHEN NOT bool_or(lacking) THEN sum(cost ORDER BY book_date) / days END AS rate,
    CASE WHEN NOT bool_or(lacking)
        THEN greatest(sum(cost * cost ORDER BY book_date) / days - (sum(cost ORDER BY book_date) / days) ^ 2, 0)
        END AS variance
FROM daily GROUP BY "scope", scope_value, currency, account, days;

--| Each budget in each of its periods: spent, left, burn rate, forecast and range, status.
CREATE VIEW budget_status (
    budget,             --| Name of the budget.
    "scope",            --| What it is for: cost_center, team, project, environment, account, model, or all.
    scope_value,        --| Which of these; NULL of all.
    scope_name,         --| What it is called, from names; NULL if it has no name.
    period,             --| month, quarter or year of the books, or once: from its first day to its last.
    period_start,       --| First book day of the period.
    period_end,         --| Book day before which it ends.
    currency,           --| That of the budget: what is charged in it counts; of the currency of the books all that is
                        --| charged, by its rates.
    amount,             --| The budget.
    spent,              --| Net cost charged in the period so far, exact; converted, to twelve decimals. NULL if a rate
                        --| is missing.
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
                        --| reached. rate missing: spent isn't known. ok.
) AS
WITH spells AS ( -- corrections may be charged in a month that is still to come
    SELECT 'month' AS period, "month" AS first_month, "month" AS last_month, period_start, period_end FROM periods
    UNION ALL
    SELECT 'quarter', min("month"), max("month"), min(period_start), max(period_end)
    FROM periods GROUP BY fiscal_year, fiscal_quarter
    UNION ALL
    SELECT 'year', min("month"), max("month"), min(period_start), max(period_end) FROM periods GROUP BY fiscal_year
    UNION ALL
    SELECT 'once', min(p."month"), max(p."month"), b.valid_from, b.valid_to
    FROM budgets b JOIN periods p ON p.period_start >= b.valid_from AND p.period_start < b.valid_to
    WHERE b.period = 'once' GROUP BY b.valid_from, b.valid_to
), due AS (
    SELECT b.*, s.period_start, s.period_end, s.first_month, s.last_month
    FROM budgets b JOIN spells s ON s.period = b.period, data_as_of d
    WHERE (b.valid_from IS NULL OR s.period_start >= b.valid_from)
        AND (b.valid_to IS NULL OR s.period_start < b.valid_to)
        AND (b.period <> 'once' OR s.period_start = b.valid_from AND s.period_end = b.valid_to)
        AND s.last_month >= least((SELECT min(billing_month) FROM chargeback_daily), d.current_month)
        AND s.first_month <= greatest((SELECT max(billing_month) FROM chargeback_daily), d.current_month)
), costs AS (
    SELECT b.budget, c.account, c.billing_month, c.book_date, c.charge_class,
        CASE WHEN NOT b.booked THEN sum(c.net_cost) END AS own,
        CASE WHEN b.booked THEN sum(c.net_cost * r.rate) END AS book,
        b.booked AND count(c.net_cost) > count(c.net_cost * r.rate) AS lacking
    FROM (
        SELECT b.*, b.currency IS NOT DISTINCT FROM s.book_currency AS booked
        FROM budgets b CROSS JOIN finance_settings s
    ) b
    JOIN chargeback_daily c ON (b.booked OR c.currency = b.currency)
        AND (b."scope" = 'all' OR b."scope" = 'cost_center' AND c.cost_center = b.scope_value
        OR b."scope" = 'team' AND c.team = b.scope_value
        OR b."scope" = 'project' AND c.project = b.scope_value
        OR b."scope" = 'environment' AND c.environment = b.scope_value
        OR b."scope" = 'account' AND c.account = b.scope_value OR b."scope" = 'model' AND c.model = b.scope_value)
    LEFT JOIN book_rates r ON r.currency = c.currency AND r.book_date = c.book_date
    GROUP BY b.budget, b.booked, c.account, c.billing_month, c.book_date, c.charge_class
), spent AS (
    SELECT p.budget, p.period_start, CASE WHEN NOT coalesce(bool_or(c.lacking), false)
        THEN (coalesce(sum(c.own), 0) + coalesce(sum(c.book), 0)::DECIMAL(38,12))::DECIMAL(38,12) END AS spent
    FROM due p
    LEFT JOIN costs c ON c.budget = p.budget AND c.billing_month BETWEEN p.first_month AND p.last_month
    GROUP BY ALL
), spans AS (
    SELECT DISTINCT period_start, period_end, first_month, last_month FROM due
), time_of AS (
    SELECT s.period_start, s.period_end, m.account, sum(m.period_seconds)::BIGINT AS period_seconds,
        sum(m.expected_seconds)::BIGINT AS expected_seconds,
        sum(m.missing_seconds)::BIGINT AS missing_seconds, sum(m.ahead_seconds)::BIGINT AS ahead_seconds
    FROM spans s JOIN completeness_monthly m ON m."month" BETWEEN s.first_month AND s.last_month GROUP BY ALL
), complete AS (
    SELECT period_start, period_end,
        completeness_text((book_day_starts(period_end) - book_day_starts(period_start))::BIGINT, expected_seconds,
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
    FROM due p
    JOIN scope_rates r ON r."scope" = p."scope" AND r.scope_value IS NOT DISTINCT FROM p.scope_value
        AND r.currency = p.currency
    JOIN time_of t ON t.account = r.account AND t.period_start = p.period_start AND t.period_end = p.period_end
    GROUP BY ALL
), whole AS (
    SELECT s.period_start, s.period_end, c.account, c.book_date,
        count(*) OVER (PARTITION BY s.period_start, s.period_end, c.account) AS days
    FROM spans s JOIN whole_days c ON c.book_date >= s.period_start AND c.book_date < s.period_end
), burnt AS (
    SELECT p.budget, p.period_start, CASE WHEN NOT bool_or(c.lacking)
        THEN sum(coalesce(c.own::DOUBLE, c.book::DOUBLE) / w.days) END AS burn_rate
    FROM due p JOIN costs c ON c.budget = p.budget AND c.charge_class IS NULL
    JOIN whole w ON w.period_start = p.period_start AND w.period_end = p.period_end AND w.account = c.account
        AND w.book_date = c.book_date
    GROUP BY ALL
), outlook AS (
    SELECT p.*, s.spent, x.completeness, coalesce(h.history_days, c.history_days) AS history_days,
        CASE WHEN h.budget IS NULL THEN 0 ELSE h.rate END AS rate,
        CASE WHEN h.budget IS NULL THEN 0 ELSE h.more END AS more, coalesce(h.spread, 0) AS spread, b.burn_rate,
        greatest(0,
            least(date_diff('day', p.period_start, d.complete_before),
                date_diff('day', p.period_start, p.period_end))) AS days_over,
        greatest(0, date_diff('day', greatest(d.complete_before, p.period_start), p.period_end)) AS days_left
    FROM due p JOIN spent s USING (budget, period_start) JOIN complete x USING (period_start, period_end)
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
    CASE WHEN spent IS NULL THEN 'rate missing' WHEN spent > amount THEN 'over'
        WHEN forecast > amount THEN 'forecast over'
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
    currency,       --| That of the costs; or of the books, and then of all costs. Never sum across currencies.
    spent,          --| Net cost charged in the month so far, exact; converted, to twelve decimals. NULL if a rate is
                    --| missing.
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
    SELECT 'all' AS "scope", NULL AS scope_value, billing_month, currency, own, book, lacking FROM charged_in_each
    UNION ALL SELECT 'account', account, billing_month, currency, own, book, lacking FROM charged_in_each
    UNION ALL SELECT 'cost_center', cost_center, billing_month, currency, own, book, lacking FROM charged_in_each
), rates AS (
    FROM scope_rates WHERE "scope" IN ('all', 'account', 'cost_center')
), time_of AS (
    SELECT m.* FROM completeness_monthly m JOIN data_as_of d ON m."month" = d.current_month
), spent AS (
    SELECT "scope", scope_value, currency, bool_or(lacking) AS lacking,
        coalesce(sum(own), sum(book)::DECIMAL(38,12)) AS spent
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
        coalesce(s.currency, h.currency) AS currency,
        CASE WHEN NOT coalesce(s.lacking, false) THEN coalesce(s.spent, 0)::DECIMAL(38,12) END AS spent,
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
    date_diff('day', greatest(d.complete_before, p.period_start), p.period_end) AS days_left,
    o.rate::DECIMAL(38,6) AS recent_rate, (o.spent + o.more::DECIMAL(38,12))::DECIMAL(38,2) AS forecast,
    CASE WHEN o.more = 0 AND o.spread = 0 OR o.history_days >= 7
        THEN (o.spent + outlook_low(o.more, o.spread)::DECIMAL(38,12))::DECIMAL(38,2) END AS forecast_low,
    CASE WHEN o.more = 0 AND o.spread = 0 OR o.history_days >= 7
        THEN (o.spent + outlook_high(o.more, o.spread)::DECIMAL(38,12))::DECIMAL(38,2) END AS forecast_high,
    o.history_days, coalesce(t.completeness, m.completeness) AS completeness
FROM outlook o JOIN data_as_of d ON true JOIN periods p ON p."month" = d.current_month
JOIN month_completeness m ON m."month" = d.current_month
LEFT JOIN time_of t ON o."scope" = 'account' AND t.account = o.scope_value;
