-- What usage costs beside what the company counts and earns, from the metrics of the config.

--| Each metric of the config in each month, beside what is charged for the same scope: cost per order, customer or
--| feature; and of a metric that is an amount, such as revenue, the margin. From the first month that the metric is
--| given for; a half that isn't there is NULL, and so is what it is needed for.
CREATE VIEW unit_economics /* of the whole file */ (
    "month",         --| First day of the month.
    metric,          --| What is counted or earned, as the file calls it.
    "scope",         --| What it is for: cost_center, team, project, environment, account, model, or all.
    scope_value,     --| Which of these; NULL of all.
    scope_name,      --| What it is called, from names; NULL if it has no name.
    metric_value,    --| The month's; NULL if the file has none.
    metric_currency, --| ISO 4217 code, where the metric is an amount; else NULL.
    days,            --| How many book days of the month the file has, where it has days: the cost is of these, too.
                     --| NULL of a whole month.
    currency,        --| ISO 4217 code of the cost, that of the books too; of an amount the same. Never sum across
                     --| currencies.
    net_cost,        --| What is charged; NULL if nothing is, or a rate is missing.
    cost_per_unit,   --| net_cost ÷ metric_value, rounded; NULL where a half is missing or the latter 0, or the metric
                     --| is an amount.
    margin,          --| metric_value − net_cost; NULL where a half is missing, or the metric is no amount.
    margin_share,    --| margin ÷ metric_value, rounded; NULL as margin, or where metric_value isn't above 0.
    completeness,    --| How complete the month is: what is missing of it is missing here.
    period           --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
) AS
WITH given AS (
    SELECT metric, "scope", scope_value, currency, "month", sum(metric_value)::DECIMAL(38,12) AS metric_value,
        nullif(count(book_date), 0) AS days
    FROM metric_lines GROUP BY ALL
), charged AS (
    SELECT billing_month AS "month", book_date, account, cost_center, team, project, environment, model, currency,
        sum(own) AS own, sum(book) AS book, bool_or(lacking) AS lacking
    FROM charged_in_each GROUP BY ALL
), scoped AS (
    SELECT 'all' AS "scope", NULL AS scope_value, "month", book_date, currency, own, book, lacking FROM charged
    UNION ALL SELECT 'account', account, "month", book_date, currency, own, book, lacking FROM charged
    UNION ALL SELECT 'cost_center', cost_center, "month", book_date, currency, own, book, lacking FROM charged
    UNION ALL SELECT 'team', team, "month", book_date, currency, own, book, lacking FROM charged
    UNION ALL SELECT 'project', project, "month", book_date, currency, own, book, lacking FROM charged
    UNION ALL SELECT 'environment', environment, "month", book_date, currency, own, book, lacking FROM charged
    UNION ALL SELECT 'model', model, "month", book_date, currency, own, book, lacking FROM charged
), months AS (
    SELECT "month" FROM given UNION SELECT "month" FROM charged
), asked AS (
    SELECT a.metric, a."scope", a.scope_value, a.currency AS metric_currency, m."month", g.metric_value, g.days
    FROM (SELECT metric, "scope", scope_value, currency, min("month") AS since FROM given GROUP BY ALL) a
    JOIN months m ON m."month" >= a.since
    LEFT JOIN given g ON g.metric = a.metric AND g."scope" = a."scope"
        AND g.scope_value IS NOT DISTINCT FROM a.scope_value AND g."month" = m."month"
), costs AS ( -- of the days that the metric is given for
    SELECT a.metric, a."scope", a.scope_value, a."month", s.currency, sum(s.own) AS own, sum(s.book) AS book,
        bool_or(s.lacking) AS lacking
    FROM asked a JOIN scoped s ON s."scope" = a."scope" AND s.scope_value IS NOT DISTINCT FROM a.scope_value
        AND s."month" = a."month" AND (a.metric_currency IS NULL OR s.currency = a.metric_currency)
    WHERE a.days IS NULL OR (a.metric, a."scope", coalesce(a.scope_value, ''), s.book_date) IN (
        SELECT (metric, "scope", coalesce(scope_value, ''), book_date) FROM metric_lines WHERE book_date IS NOT NULL
    )
    GROUP BY ALL
), beside AS (
    SELECT a.*, coalesce(c.currency, a.metric_currency) AS currency,
        coalesce(c.own, CASE WHEN NOT c.lacking THEN c.book::DECIMAL(38,12) END) AS net_cost
    FROM asked a
    LEFT JOIN costs c ON c.metric = a.metric AND c."scope" = a."scope"
        AND c.scope_value IS NOT DISTINCT FROM a.scope_value AND c."month" = a."month"
)
SELECT b."month", metric, "scope", scope_value, name_of("scope", scope_value) AS scope_name, metric_value,
    metric_currency, days, currency, net_cost,
    CASE WHEN metric_currency IS NULL
        THEN TRY_CAST(net_cost::DOUBLE / nullif(metric_value, 0)::DOUBLE AS DECIMAL(38,6)) END AS cost_per_unit,
    CASE WHEN metric_currency IS NOT NULL THEN metric_value - net_cost END AS margin,
    CASE WHEN metric_currency IS NOT NULL AND metric_value > 0
        THEN TRY_CAST((metric_value - net_cost)::DOUBLE / metric_value::DOUBLE AS DECIMAL(18,6)) END AS margin_share,
    m.completeness, period_of(b."month") AS period
FROM beside b LEFT JOIN month_completeness m ON m."month" = b."month";
