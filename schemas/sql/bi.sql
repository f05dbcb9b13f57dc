-- The semantic layer: what dashboards and models read, in a schema of its own, by one set of names. A name has one type
-- and one meaning in all of these views, so it is said once: where it first stands. A column without words has those.
--
-- They are views over the tables and views of main and reckon nothing of their own, so a publish does no more for them,
-- and they say what main says. What they name has its schema before it, main.…, and they ask no macro that looks up a
-- table: a tool that attaches the file, and doesn't USE it, has views of another schema than main look in that alone.

CREATE SCHEMA bi;

--| What each owner is charged, by day: directly, as a share of a pool, or as a correction of a closed month. Its
--| net_cost sums exactly to the usage, by account, day and currency.
CREATE VIEW bi.charges_daily (
    "month",           --| Period of the books that the row counts in, by the first day of its month. A charge counts in
                       --| the one it is charged in, a correction too; usage in that of its book day; any other row is
                       --| about it.
    period,            --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
    book_date,         --| Day by the clocks of the books' zone.
    usage_date,        --| UTC day.
    charge_class,      --| Correction if the usage lies in a month that was closed before it came or changed; else NULL.
    account,           --| Name of the account in the config.
    account_name,      --| What the account is called, from names; NULL if it has no name.
    cost_center,       --| Cost centre; (unallocated) if none was assigned; NULL of usage that goes to a pool.
    cost_center_name,  --| What the cost centre is called, from names; NULL if it has no name.
    team,              --| Team; NULL if none was assigned.
    project,           --| Project; NULL if none was assigned.
    environment,       --| Environment; NULL if none was assigned.
    gl_code,           --| General ledger code; NULL if none was assigned.
    tags,              --| Further tags, a flat JSON object; NULL if there are none.
    pool,              --| Shared pool: of a charge the one that it is a share of, of usage the one that it goes to;
                       --| NULL if it is its owner's directly.
    rule_id,           --| Allocation rule that matched; NULL if none did.
    rule_version,      --| Its version.
    model,             --| Model that was called.
    model_name,        --| What the model is called, from names; NULL if it has no name.
    model_type,        --| Kind of model, such as text.
    record_kind,       --| request: calls to a model. summary: tokens of a model at a time, without money.
    currency,          --| ISO 4217 code of the amounts; NULL if it isn't known. Never sum across currencies.
    requests,          --| Number of records; of a share of a pool, its part of them.
    without_amount,    --| Of these, records without an amount; the costs leave them out.
    input_tokens,      --| Input tokens, not counting the cached ones.
    output_tokens,     --| Output tokens.
    cached_tokens,     --| Input tokens read from the cache.
    total_tokens,      --| All tokens.
    list_cost,         --| Cost before the discount.
    discount,          --| What was taken off.
    net_cost,          --| Cost after the discount, exact: what is charged. NULL if nothing is known of it.
    book_currency,     --| Currency of the books; NULL if they have none.
    book_cost          --| net_cost in it, by the rates of its book days, exact. NULL if a part of it has no rate.
) AS
SELECT c.billing_month AS "month", c.period, c.book_date, c.usage_date, c.charge_class, c.account,
    a.name AS account_name, c.cost_center, o.name AS cost_center_name, c.team, c.project, c.environment, c.gl_code,
    c.tags, c.pool, c.rule_id, c.rule_version, c.model, m.name AS model_name, c.model_type, c.record_kind, c.currency,
    c.requests, c.without_amount, c.input_tokens, c.output_tokens, c.cached_tokens, c.total_tokens, c.list_cost,
    c.discount, c.net_cost, c.book_currency, c.book_cost
FROM main.chargeback_daily c
LEFT JOIN main.names a ON a.kind = 'account' AND a.id = c.account
LEFT JOIN main.names o ON o.kind = 'cost_center' AND o.id = c.cost_center
LEFT JOIN main.names m ON m.kind = 'model' AND m.id = c.model;

--| charges_daily by month: what each owner is charged. Its net_cost sums exactly to the usage, in each currency.
CREATE VIEW bi.charges_monthly (
    "month", period, charge_class, account, account_name, cost_center, cost_center_name, team, project, environment,
    gl_code, tags, pool, model, model_name, model_type, record_kind, currency, requests, without_amount, input_tokens,
    output_tokens, cached_tokens, total_tokens, list_cost, discount, net_cost, book_currency, book_cost,
    completeness  --| How complete the time is that the row is about, of the account if it is about one: complete, or
                  --| how many hours are there and what is lacking. What is missing of it is missing in the row.
) AS
SELECT billing_month AS "month", period, charge_class, account, account_name, cost_center, cost_center_name, team,
    project, environment, gl_code, tags, pool, model, model_name, model_type, record_kind, currency, requests,
    without_amount, input_tokens, output_tokens, cached_tokens, total_tokens, list_cost, discount, net_cost,
    book_currency, book_cost, completeness
FROM main.chargeback_monthly;

--| What each token and user used, by day, and whose it is; pools aren't split, and a correction stands on its own day.
--| Of cost_center (unallocated): what has no owner, and who causes it. Its net_cost sums exactly to the usage.
CREATE VIEW bi.usage_by_user (
    "month", period, book_date, usage_date, account, account_name, cost_center, cost_center_name, team, project,
    environment, gl_code, tags, pool, rule_id, rule_version,
    token_id,        --| API token the requests were made with.
    token_name,      --| What the token is called, from names; NULL if it has no name.
    user_id,         --| Member of the organisation the token belongs to.
    user_name,       --| What the user is called, from names; NULL if it has no name.
    custom_user_id,  --| What the calling application sent as its own user: free text, not to be trusted.
    model, model_name, model_type, record_kind, currency, requests, without_amount, input_tokens, output_tokens,
    cached_tokens, total_tokens, list_cost, discount, net_cost, book_currency, book_cost
) AS
SELECT coalesce(b."month", date_trunc('month', u.book_date)::DATE) AS "month", u.period, u.book_date, u.usage_date,
    u.account, n.name AS account_name,
    coalesce(a.cost_center, CASE WHEN a.pool IS NULL THEN '(unallocated)' END) AS cost_center,
    o.name AS cost_center_name, a.team, a.project, a.environment, a.gl_code, a.tags, a.pool, a.rule_id, a.rule_version,
    u.token_id, t.name AS token_name, u.user_id, w.name AS user_name, u.custom_user_id, u.model,
    m.name AS model_name, u.model_type, u.record_kind, u.currency, u.requests, u.without_amount, u.input_tokens,
    u.output_tokens, u.cached_tokens, u.total_tokens, u.list_cost, u.discount, u.net_cost, s.book_currency,
    u.net_cost * r.rate AS book_cost
FROM main.allocated_daily u
LEFT JOIN main.book_days b ON b.book_date = u.book_date
JOIN main.allocations a ON a.allocation_id = u.allocation_id
CROSS JOIN main.finance_settings s
LEFT JOIN main.book_rates r ON r.currency = u.currency AND r.book_date = u.book_date
LEFT JOIN main.names n ON n.kind = 'account' AND n.id = u.account
LEFT JOIN main.names o ON o.kind = 'cost_center' AND o.id = a.cost_center
LEFT JOIN main.names t ON t.kind = 'token' AND t.id = u.token_id
LEFT JOIN main.names w ON w.kind = 'user' AND w.id = u.user_id
LEFT JOIN main.names m ON m.kind = 'model' AND m.id = u.model;

--| Each record, and whose it is: what usage_by_user sums up. Large: a condition on usage_date reads those days alone.
CREATE VIEW bi.records (
    "month", period, book_date, usage_date,
    request_time,  --| When the request was made, UTC.
    id,            --| The API's id of the record; several records may have one.
    "ordinal",     --| 1, and of further records with the same account, request_time and id 2, 3, …: these four name
                   --| a record.
    account, account_name, cost_center, cost_center_name, team, project, environment, gl_code, tags, pool, rule_id,
    rule_version, token_id, token_name, user_id, user_name, custom_user_id, model, model_name, model_type, record_kind,
    currency, requests, without_amount, input_tokens, output_tokens, cached_tokens, total_tokens, list_cost, discount,
    net_cost, book_currency, book_cost
) AS
SELECT coalesce(b."month", date_trunc('month', u.book_date)::DATE) AS "month", u.period, u.book_date, u.usage_date,
    u.request_time, u.id, u."ordinal", u.account, n.name AS account_name,
    coalesce(u.cost_center, CASE WHEN u.pool IS NULL THEN '(unallocated)' END) AS cost_center,
    o.name AS cost_center_name, u.team, u.project, u.environment, u.gl_code, u.tags, u.pool, u.rule_id, u.rule_version,
    u.token_id, t.name AS token_name, u.user_id, w.name AS user_name, u.custom_user_id, u.model,
    m.name AS model_name, u.model_type, u.record_kind, u.currency, 1::BIGINT AS requests,
    CASE WHEN u.amount IS NULL THEN 1 ELSE 0 END::BIGINT AS without_amount, u.input_tokens, u.output_tokens,
    u.cached_tokens, u.total_tokens, u.total_amount::DECIMAL(38,12) AS list_cost,
    u.discount_amount::DECIMAL(38,12) AS discount, u.amount::DECIMAL(38,12) AS net_cost, s.book_currency,
    u.amount::DECIMAL(38,12) * r.rate AS book_cost
FROM main.allocated_usage u
LEFT JOIN main.book_days b ON b.book_date = u.book_date
CROSS JOIN main.finance_settings s
LEFT JOIN main.book_rates r ON r.currency = u.currency AND r.book_date = u.book_date
LEFT JOIN main.names n ON n.kind = 'account' AND n.id = u.account
LEFT JOIN main.names o ON o.kind = 'cost_center' AND o.id = u.cost_center
LEFT JOIN main.names t ON t.kind = 'token' AND t.id = u.token_id
LEFT JOIN main.names w ON w.kind = 'user' AND w.id = u.user_id
LEFT JOIN main.names m ON m.kind = 'model' AND m.id = u.model;

--| A row per month that has begun or that something is charged in: its days, whether it is closed, how complete it is.
CREATE VIEW bi.months (
    "month", period,
    fiscal_year,     --| Calendar year in which the fiscal year begins.
    fiscal_quarter,  --| 1 to 4.
    period_start,    --| First book day.
    period_end,      --| Book day before which it ends.
    month_status,    --| closed; open: over, and not closed; current: not over.
    closed_at,       --| When the month was closed, UTC; NULL if it isn't.
    corrected,       --| Whether usage of the closed month has changed since, so that there are corrections; NULL if it
                     --| isn't closed.
    complete,        --| Whether the month is over and nothing of it is missing.
    missing_hours,   --| Hours that are over and were not fetched, summed over the accounts that the row is about.
    completeness
) AS
SELECT x."month", coalesce(p.period, strftime(x."month", '%Y-%m')) AS period, p.fiscal_year, p.fiscal_quarter,
    p.period_start, p.period_end,
    CASE WHEN k."month" IS NOT NULL THEN 'closed' WHEN x."month" >= d.current_month THEN 'current' ELSE 'open' END
        AS month_status,
    k.closed_at, k.corrected, c.complete, (c.missing_seconds / 3600.0)::DECIMAL(18,2) AS missing_hours, c.completeness
FROM (
    SELECT "month" FROM main.month_completeness WHERE expected_seconds > 0
    UNION SELECT billing_month FROM main.chargeback_daily
    UNION SELECT "month" FROM main.closed_months
) x LEFT JOIN main.periods p ON p."month" = x."month" CROSS JOIN main.data_as_of d
LEFT JOIN main.month_completeness c ON c."month" = x."month"
LEFT JOIN main.closed_months k ON k."month" = x."month";

--| Each month in each currency: what is charged in it, and what was corrected since it was closed. Its net_cost sums
--| exactly to the usage.
CREATE VIEW bi.month_totals (
    "month", period, currency, month_status, closed_at, requests, net_cost, book_currency, book_cost,
    corrections_in,     --| Of net_cost, corrections of earlier months.
    corrections_out,    --| Corrections of this month's usage that are charged in later months.
    corrected_records,  --| Records that came (or went, if below 0) since it was closed.
    corrected_in,       --| First month those corrections are charged in.
    completeness
) AS
SELECT "month", period, currency, status AS month_status, closed_at, requests, net_cost, book_currency, book_cost,
    corrections_in, corrections_out, corrected_records, corrected_in, completeness
FROM main.period_status_and_corrections;

--| Each budget in each of its periods: spent, left, forecast, status.
CREATE VIEW bi.budget_periods (
    budget,             --| Name of the budget.
    "scope",            --| What the row is about: all, account, cost_center, team, project, environment, model, token
                        --| or pool.
    scope_value,        --| Which of these; NULL of all.
    scope_name,         --| What it is called, from names; NULL if it has no name.
    budget_period,      --| How long one is: month, quarter or year of the books, or once: from its first day to its
                        --| last.
    period_start, period_end,
    currency,
    budget_amount,      --| What may be spent in the period, net.
    spent,              --| Net cost charged in the period so far, exact; in the currency of the books all that is
                        --| charged, by its rates, to twelve decimals. NULL if a rate is missing.
    left_over,          --| budget_amount − spent; negative if it is over.
    used_share,         --| spent ÷ budget_amount.
    days_left,          --| Days of the period that are still to come, the running one included.
    burn_rate,          --| Net cost a day: of each account the mean of its whole days in the period, summed. NULL if
                        --| there is none. Estimate.
    recent_rate,        --| Net cost a day, which the forecast goes by: of each account the mean of its last whole days,
                        --| summed. NULL if an account has none. Estimate.
    forecast,           --| spent + of each account its rate × the time of the period that isn't there yet. NULL if an
                        --| account with cost has no whole day yet. Estimate.
    forecast_low,       --| Lower end of the range that holds 8 of 10 outcomes. NULL where an account has fewer than 7
                        --| whole days. Estimate.
    forecast_high,      --| Its upper end.
    threshold_reached,  --| Highest threshold that spent has reached; NULL if none.
    budget_status,      --| over: spent is more than the budget. forecast over: the forecast is. warning: a threshold is
                        --| reached. rate missing: spent isn't known. ok.
    completeness
) AS
SELECT budget, "scope", scope_value, scope_name, period AS budget_period, period_start, period_end, currency,
    amount AS budget_amount, spent, left_over, used_share, days_left, burn_rate, recent_rate, forecast, forecast_low,
    forecast_high, threshold_reached, status AS budget_status, completeness
FROM main.budget_status;

--| What the current month will come to: for all, each account and each cost centre.
CREATE VIEW bi.forecasts (
    "month", period, "scope", scope_value, scope_name, currency, spent, days_left, recent_rate, forecast, forecast_low,
    forecast_high,
    history_days,  --| Days that recent_rate is the mean of: of the account that has fewest.
    completeness
) AS
SELECT f."month", p.period, f."scope", f.scope_value, f.scope_name, f.currency, f.spent, f.days_left, f.recent_rate,
    f.forecast, f.forecast_low, f.forecast_high, f.history_days, f.completeness
FROM main.forecast_month_end f JOIN main.periods p ON p."month" = f."month";

--| UTC days that leave their own history, each event once, at the level that explains it; new tokens; price changes.
CREATE VIEW bi.anomalies (
    usage_date,
    anomaly,    --| spike or drop: the day leaves its history. new: a token seen for the first time. price change.
    "scope", scope_value, scope_name, currency, requests,
    observed,   --| Net cost of the day, exact; NULL of a price change.
    expected,   --| Median of the last 20 days of the same kind (working day or weekend) before it. Estimate.
    deviation,  --| observed − expected.
    score,      --| deviation ÷ spread of those days. A day is listed from 4 on, and if the deviation is 1 or more.
    detail      --| What it was held against; of a price change every price that changed.
) AS
SELECT usage_date, kind AS anomaly, "scope", scope_value, scope_name, currency, requests, observed, expected,
    deviation, score, detail
FROM main.anomaly_events;

--| What a request, a million tokens and an active user cost: by month, for all, each model, and each cost centre and
--| pool, which isn't split here: the last two together are all, too. Usage, before corrections.
CREATE VIEW bi.unit_costs (
    "month", period,
    "scope", scope_value, scope_name, currency, requests, total_tokens,
    active_users,             --| Users with usage in the month.
    net_cost,
    cost_per_request,         --| net_cost ÷ requests, rounded. Estimate.
    cost_per_million_tokens,  --| net_cost ÷ million tokens, rounded. Estimate.
    cost_per_active_user,     --| net_cost ÷ active_users, rounded. Estimate.
    completeness
) AS
SELECT "month", period, "scope", scope_value, scope_name, currency, requests, total_tokens, active_users,
    net_cost, per_request AS cost_per_request, per_million_tokens AS cost_per_million_tokens,
    per_active_user AS cost_per_active_user, completeness
FROM main.unit_cost;

--| The unit prices that were charged on each UTC day, by model and kind of charge.
CREATE VIEW bi.prices (
    usage_date, account, account_name, model, model_name, currency,
    price_line,      --| input, output or cached (price per million tokens), or ext (price per unit).
    price_category,  --| Category of an ext charge; tokens otherwise.
    price_item,      --| Item of an ext charge; otherwise the same as price_line.
    price_unit,      --| Unit of an ext charge; token otherwise.
    price,           --| The unit price, before the discount.
    charges          --| Charges of the day at this price.
) AS
SELECT u.usage_date, u.account, a.name AS account_name, u.model, m.name AS model_name, u.currency, u.line AS price_line,
    u.category AS price_category, u.item AS price_item, u.unit AS price_unit, u.price, u.requests AS charges
FROM main.unit_prices u
LEFT JOIN main.names a ON a.kind = 'account' AND a.id = u.account
LEFT JOIN main.names m ON m.kind = 'model' AND m.id = u.model;

--| Invoice against usage: each line of an invoice, what detailed invoices leave out, and the sum of the invoices of a
--| period.
CREATE VIEW bi.invoices (
    invoice_line,    --| line: a line of an invoice. no line: what detailed invoices leave out. sum: all invoices of an
                     --| account and period. exchange: what they came to in the currency of the books.
    invoice,         --| Number of the invoice; of a sum, and of what several leave out, their numbers.
    account, account_name,
    invoice_start,   --| First UTC day of the invoice's period.
    invoice_end,     --| UTC day before which that ends.
    usage_date,
    model, model_name, currency,
    invoiced,        --| What the invoice says; NULL if it has no line for the model.
    other_invoices,  --| What other invoices of the same account and period say of the same.
    exported,        --| Net cost of the usage that the line is about; NULL if a rate is missing.
    difference,      --| exported − other_invoices − invoiced.
    likely_causes    --| What may explain the difference; NULL if there is none, or nothing is known that could.
) AS
SELECT kind AS invoice_line, invoice, account, account_name, period_start AS invoice_start, period_end AS invoice_end,
    usage_date, model, model_name, currency, invoiced, other_invoices, exported, difference, likely_causes
FROM main.invoice_reconciliation;

--| The roll-forward of prepaid credit, by account and month: opening + paid + coupons + credited − drawn − expired =
--| closing, exactly.
CREATE VIEW bi.prepaid (
    "month", period, account, account_name, currency,
    prepaid_status,     --| closed: its entries don't change any more. closed as postpaid: they may, for the account
                        --| wasn't prepaid when it was closed. open.
    opening,            --| What was left of credit when the month began.
    paid,               --| Topped up with money.
    coupons,            --| Given as coupons.
    credited,           --| Made good by the vendor.
    drawn,              --| Drawn by usage, less what refunds gave back; what was overdrawn before included.
    expired,            --| Expired: breakage.
    closing,            --| What is left at the month's end: the asset.
    overdrawn,          --| What is overdrawn at its end.
    portal_difference,  --| What the Portal's balance says otherwise, as if that includes what is left of coupons; NULL
                        --| if there was no look at it.
    portal_note         --| Why they may not agree; NULL if they do.
) AS
SELECT "month", period, account, account_name, currency, status AS prepaid_status, opening, paid, coupons, credited,
    drawn, expired, closing, overdrawn, difference AS portal_difference, note AS portal_note
FROM main.prepaid_monthly;

--| A row per account: how fresh and how complete it is, when the file was published, and how the last run ended.
CREATE VIEW bi.freshness (
    account, account_name,
    configured,        --| Whether it was in the config when the file was published; true of all if the config names
                       --| none of the lake's accounts.
    covered_from,      --| Start of the first window that was fetched, UTC; NULL if none ever was.
    covered_to,        --| End of the last, UTC: how fresh the account is.
    missing_hours,
    requests,
    quarantined,       --| Records in quarantine: they count in no sum.
    quality_errors,    --| Records with findings of severity error.
    quality_warnings,  --| Records with findings of severity warning.
    run_status,        --| How the last export of the account ended.
    run_started_at,    --| When it began, UTC.
    published_at,      --| When the file was published, UTC.
    generation,        --| Counts the publishes: a connection that sees an old one keeps an old file open.
    complete_to,       --| Up to when every account of the config is fetched, UTC; NULL if nothing was ever fetched of
                       --| one.
    as_of              --| Up to when the account that goes farthest is fetched, UTC: "now" in every view.
) AS
SELECT a.account, n.name AS account_name, a.configured, a.covered_from, a.covered_to, g.missing_hours,
    g.records AS requests, g.quarantined, g.quality_errors, g.quality_warnings, g.run_status, g.run_started_at,
    p.published_at, p.generation, p.complete_to, p.as_of
FROM main.accounts a CROSS JOIN main.published p
LEFT JOIN main.data_freshness_and_gaps g ON g.account = a.account
LEFT JOIN main.names n ON n.kind = 'account' AND n.id = a.account;
