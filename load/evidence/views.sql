-- What the folder holds, by name. Run it in the folder: paths are relative to it. It needs DuckDB 1.2 or later and no
-- network, and changes no file.

CREATE OR REPLACE TEMP MACRO the_month() AS DATE '{{.Month.First}}';
CREATE OR REPLACE TEMP MACRO the_cost_center() AS {{sql .CostCenter}};

-- The records: those that the rules give to the cost centre, and those of the shared pools that it bears a part of.
CREATE OR REPLACE TEMP VIEW records AS FROM read_parquet('records.parquet');
-- What the rules say: of each combination of the fields that they look at, while it holds, and what that is.
CREATE OR REPLACE TEMP VIEW allocation_keys AS FROM read_parquet('allocation_keys.parquet');
CREATE OR REPLACE TEMP VIEW allocations AS FROM read_parquet('allocations.parquet');
CREATE OR REPLACE TEMP VIEW allocation_rules AS FROM read_parquet('allocation_rules.parquet');
-- Who bears the shared pools, every owner of those that the cost centre bears a part of.
CREATE OR REPLACE TEMP VIEW shares AS FROM read_parquet('shares.parquet');
-- What is charged in the month, to everybody.
-- One of before there were books has no book day: it is of UTC.
CREATE OR REPLACE TEMP VIEW ledger AS
    SELECT billing_month, charge_class, usage_date, coalesce(book_date, usage_date) AS book_date, account, cost_center,
        team, project, environment, gl_code, tags, pool, rule_id, rule_version, model, model_type, record_kind,
        currency, requests, without_amount, input_tokens, output_tokens, cached_tokens, total_tokens, list_cost,
        discount, net_cost
    FROM (
        FROM read_parquet('month/ledger/chargeback.parquet')
        UNION ALL BY NAME SELECT NULL::DATE AS book_date WHERE false
    ) WHERE billing_month = the_month();
-- The same in the currency of the books, exact; NULL where they have none.
CREATE OR REPLACE TEMP VIEW booked AS
    SELECT coalesce(book_date, usage_date) AS book_date, cost_center, gl_code, pool, charge_class, currency, net_cost,
        book_currency, book_cost
    FROM (
        FROM read_parquet('month/ledger/chargeback.parquet')
        UNION ALL BY NAME
        SELECT NULL::DATE AS book_date, NULL::VARCHAR AS book_currency, NULL::DECIMAL(38,22) AS book_cost WHERE false
    ) WHERE billing_month = the_month();
-- The rates that it is converted by.
CREATE OR REPLACE TEMP VIEW rates AS FROM read_parquet('rates.parquet');
-- The periods of the books, and what tables call them by.
CREATE OR REPLACE TEMP VIEW periods AS FROM read_parquet('periods.parquet');
-- What the cost centre is charged on top of its cost.
CREATE OR REPLACE TEMP VIEW markups AS FROM read_parquet('markups.parquet');
{{- if .Prepaid}}
-- The accounts that are prepaid.
CREATE OR REPLACE TEMP VIEW prepaid_accounts AS
{{- if .Closed}}
    SELECT unnest(from_json(content::JSON -> '$.prepaid', '["VARCHAR"]')) AS account
    FROM read_text('month/manifest.json');
{{- else}}
    SELECT * FROM (VALUES {{range $i, $a := .Prepaid}}{{if $i}}, {{end}}({{sql $a}}){{end}}) a(account);
{{- end}}
-- The ledger of their credit: what was topped up, drawn, covered and expired, and what no credit covered, by book day.
CREATE OR REPLACE TEMP VIEW prepaid AS FROM read_parquet('month/ledger/prepaid.parquet');
-- What it had before, summed by credit and kind of entry.
CREATE OR REPLACE TEMP VIEW prepaid_before AS FROM read_parquet('prepaid_before.parquet');
-- Each credit: what was topped up, what of it was drawn and expired before the month and in it, and what is left.
CREATE OR REPLACE TEMP VIEW credits AS
SELECT account, currency, credit, any_value(kind) AS kind, any_value(reference) AS reference,
    min(pays_from) AS pays_from, min(expires) AS expires,
    coalesce(sum(amount) FILTER (entry = 'top_up'), 0)::DECIMAL(38,12) AS topped_up,
    coalesce(sum(amount) FILTER (entry <> 'top_up' AND earlier), 0)::DECIMAL(38,12) AS gone_before,
    coalesce(sum(amount) FILTER (entry IN ('draw', 'cover') AND NOT earlier), 0)::DECIMAL(38,12) AS drawn,
    coalesce(sum(amount) FILTER (entry = 'expiry' AND NOT earlier), 0)::DECIMAL(38,12) AS expired,
    sum(CASE entry WHEN 'top_up' THEN amount ELSE -amount END)::DECIMAL(38,12) AS remaining
FROM (
    SELECT account, currency, credit, kind, reference, entry, amount, pays_from, expires, true AS earlier
    FROM prepaid_before
    UNION ALL
    SELECT account, currency, credit, kind, reference, entry, amount,
        CASE entry WHEN 'top_up' THEN book_date END, expires, billing_month < the_month()
    FROM prepaid
)
WHERE credit IS NOT NULL GROUP BY ALL;
-- What is charged in the month on each day, and of this to the cost centre. A correction is of the month's first day.
CREATE OR REPLACE TEMP VIEW charged_by_day AS
SELECT account, currency,
    CASE WHEN charge_class IS NULL THEN book_date
        ELSE (SELECT period_start FROM periods WHERE "month" = the_month()) END AS "day",
    sum(net_cost)::DECIMAL(38,12) AS amount,
    coalesce(sum(net_cost) FILTER (cost_center = the_cost_center()), 0)::DECIMAL(38,12) AS own
FROM ledger SEMI JOIN prepaid_accounts USING (account)
WHERE net_cost IS NOT NULL GROUP BY ALL;
{{- end}}
-- The sealed files of the raw archive that the records were read from, and the day files they gave.
CREATE OR REPLACE TEMP VIEW sealed AS FROM read_parquet('sealed.parquet');
CREATE OR REPLACE TEMP VIEW days AS FROM read_parquet('days.parquet');
-- A spreadsheet must not compute a name, so the CSV has an apostrophe before one that begins with =, +, - or @.
CREATE OR REPLACE TEMP VIEW journal AS
    SELECT currency, entry, ltrim(gl_code, '''') AS gl_code, ltrim(cost_center, '''') AS cost_center,
        amount::DECIMAL(38,12) AS amount, posted::DECIMAL(38,4) AS posted
    FROM read_csv('month/journal.csv', all_varchar = true, header = true);
CREATE OR REPLACE TEMP VIEW figures AS
    SELECT f.currency, f.gl_code, f.net_cost::DECIMAL(38,12) AS net_cost, f.posted::DECIMAL(38,4) AS posted
    FROM (SELECT unnest(from_json(content::JSON -> '$.figures',
        '[{"currency":"VARCHAR","gl_code":"VARCHAR","net_cost":"VARCHAR","posted":"VARCHAR"}]')) AS f
        FROM read_text('evidence.json'));
CREATE OR REPLACE TEMP VIEW currencies AS
    SELECT * FROM (VALUES
{{- range $i, $c := .Currencies}}{{if $i}},{{end}} ('{{$c.Code}}', {{$c.MinorUnit}}){{end}}) c(currency, minor_unit);

-- The records as they are charged: summed by day, what the rules said, and model.
CREATE OR REPLACE TEMP VIEW summed AS
SELECT usage_date, book_date, account, coalesce(a.cost_center, '(unallocated)') AS cost_center, a.team, a.project,
    a.environment, a.gl_code, a.tags, a.pool, a.rule_id, a.rule_version, model, model_type, record_kind, currency,
    count(*) AS requests, count(*) FILTER (amount IS NULL) AS without_amount,
    TRY_CAST(sum(input_tokens) AS BIGINT) AS input_tokens, TRY_CAST(sum(output_tokens) AS BIGINT) AS output_tokens,
    TRY_CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens,
    sum(total_amount)::DECIMAL(38,12) AS list_cost, sum(discount_amount)::DECIMAL(38,12) AS discount,
    sum(amount)::DECIMAL(38,12) AS net_cost
FROM records JOIN allocations a USING (allocation_id)
GROUP BY ALL;

-- The journal computed anew: the exact charges by code and cost centre, in whole minor units by largest remainder. What
-- no rule gave a code has the one that the journal was made with.
CREATE OR REPLACE TEMP VIEW computed_journal AS
WITH debits AS (
    SELECT coalesce(book_currency, currency) AS currency, book_currency IS NOT NULL AS converted,
        ltrim(coalesce(gl_code, {{sql .GLCode}}), '''') AS gl_code, ltrim(cost_center, '''') AS cost_center,
        sum(net_cost) AS own, sum(book_cost) AS book
    FROM booked GROUP BY ALL HAVING sum(net_cost) IS NOT NULL
), units AS (
    SELECT d.*, own * scale AS own_units, book * scale AS book_units
    FROM (
        SELECT d.*, (10 ** coalesce(c.minor_unit, 2))::DECIMAL(5,0) AS scale,
            (10 ** (4 - coalesce(c.minor_unit, 2)))::DECIMAL(5,0) AS unit
        FROM debits d LEFT JOIN currencies c ON c.currency = d.currency
    ) d
), halves AS ( -- an amount in the currency of the books has 22 decimals, and is rounded once
    SELECT *,
        CASE WHEN converted THEN floor(book_units)::DECIMAL(38,0) ELSE floor(own_units)::DECIMAL(38,0) END AS down,
        CASE WHEN converted THEN (book_units - floor(book_units))::DECIMAL(38,22)
            ELSE (own_units - floor(own_units))::DECIMAL(38,22) END AS rest
    FROM units
), whole AS (
    SELECT *, row_number() OVER (PARTITION BY currency ORDER BY rest DESC, gl_code, cost_center) AS place,
        sum(rest) OVER (PARTITION BY currency) AS rests,
        (sum(down) OVER (PARTITION BY currency))::DECIMAL(38,0) AS downs
    FROM halves
), parts AS (
    SELECT *, floor(rests) + CASE WHEN rests - floor(rests) > 0.5
        OR rests - floor(rests) = 0.5 AND downs + floor(rests) >= 0 THEN 1 ELSE 0 END AS left_over
    FROM whole
)
SELECT currency, gl_code, cost_center,
    CASE WHEN converted THEN book::DECIMAL(38,12) ELSE own::DECIMAL(38,12) END AS amount,
    ((down + CASE WHEN place <= left_over THEN 1 ELSE 0 END) * unit * 0.0001::DECIMAL(5,4))::DECIMAL(38,4) AS posted
FROM parts;
