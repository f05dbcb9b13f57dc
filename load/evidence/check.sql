
-- Each check gives a row for what doesn't hold. No row: it is proven.

CREATE OR REPLACE TEMP VIEW failures AS
-- 1. Each record has the allocation that the rules give its fields on its day, and no other.
SELECT '1 rules: record' AS "check",
    format('record {} of account {} at {}: {} answers of the rules', r.id, r.account, r.request_time,
        count(k.allocation_id)) AS detail
FROM records r LEFT JOIN allocation_keys k ON k.allocation_id = r.allocation_id AND k.account = r.account
    AND r.book_date >= k.valid_from AND r.book_date < k.valid_to
{{- range .Fields}}
    AND k.{{.}} IS NOT DISTINCT FROM r.{{.}}{{end}}
GROUP BY r.account, r.request_time, r.id, r.ordinal HAVING count(k.allocation_id) <> 1
UNION ALL
-- and that rule was valid on that day.
SELECT '1 rules: validity', format('rule {} version {} on {}', a.rule_id, a.rule_version, r.book_date)
FROM (SELECT DISTINCT allocation_id, book_date FROM records) r JOIN allocations a USING (allocation_id)
LEFT JOIN allocation_rules v ON v.rule_id = a.rule_id AND v.rule_version = a.rule_version AND v.ruleset = a.ruleset
    AND (v.valid_from IS NULL OR r.book_date >= v.valid_from) AND (v.valid_to IS NULL OR r.book_date < v.valid_to)
WHERE a.rule_id IS NOT NULL AND v.rule_id IS NULL
UNION ALL
-- 2. The records that the rules give to the cost centre are what it is charged directly, line by line.
SELECT '2 direct', d.side || ': ' || d.line FROM (
    SELECT 'records, not in the ledger' AS side, x::VARCHAR AS line FROM (
        SELECT * EXCLUDE (pool) FROM summed WHERE pool IS NULL
        EXCEPT
        SELECT * EXCLUDE (billing_month, charge_class, pool) FROM ledger
        WHERE cost_center = the_cost_center() AND pool IS NULL AND charge_class IS NULL) x
    UNION ALL
    SELECT 'ledger, not in the records', x::VARCHAR FROM (
        SELECT * EXCLUDE (billing_month, charge_class, pool) FROM ledger
        WHERE cost_center = the_cost_center() AND pool IS NULL AND charge_class IS NULL
        EXCEPT
        SELECT * EXCLUDE (pool) FROM summed WHERE pool IS NULL) x
) d
UNION ALL
-- 3. The records of a shared pool are what its owners bear together, line by line.
SELECT '3 pools', d.side || ': ' || d.line FROM (
    WITH cost AS (
        SELECT usage_date, book_date, account, pool, rule_id, rule_version, model, model_type, record_kind, currency,
            sum(requests)::HUGEINT AS requests, sum(list_cost) AS list_cost, sum(discount) AS discount,
            sum(net_cost) AS net_cost
        FROM summed WHERE pool IS NOT NULL GROUP BY ALL
    ), borne AS (
        SELECT usage_date, book_date, account, pool, rule_id, rule_version, model, model_type, record_kind, currency,
            sum(requests)::HUGEINT AS requests, sum(list_cost) AS list_cost, sum(discount) AS discount,
            sum(net_cost) AS net_cost
        FROM shares GROUP BY ALL
    )
    SELECT 'records, not borne' AS side, x::VARCHAR AS line FROM (FROM cost EXCEPT FROM borne) x
    UNION ALL
    SELECT 'borne, not in the records', x::VARCHAR FROM (FROM borne EXCEPT FROM cost) x
) d
UNION ALL
-- 4. Each share is the pool's cost × the owner's ratio: rounded to a unit of the twelfth decimal, as far as the ratio,
-- which has twelve decimals, tells.
SELECT '4 shares', format('{} of pool {} on {}: {} × {} is not {}', coalesce(s.cost_center, '(unallocated)'), s.pool,
    s.usage_date, p.net_cost, s.ratio, s.net_cost)
FROM shares s JOIN (
    SELECT usage_date, book_date, account, pool, rule_id, rule_version, model, model_type, record_kind, currency,
        sum(net_cost) AS net_cost
    FROM summed WHERE pool IS NOT NULL GROUP BY ALL) p
ON p.usage_date = s.usage_date AND p.book_date = s.book_date AND p.account = s.account AND p.pool = s.pool
    AND p.rule_id IS NOT DISTINCT FROM s.rule_id AND p.rule_version IS NOT DISTINCT FROM s.rule_version
    AND p.model IS NOT DISTINCT FROM s.model
    AND p.model_type IS NOT DISTINCT FROM s.model_type AND p.record_kind = s.record_kind
    AND p.currency IS NOT DISTINCT FROM s.currency
WHERE abs(replace(s.net_cost::VARCHAR, '.', '')::HUGEINT * 1000000000000
        - replace(p.net_cost::VARCHAR, '.', '')::HUGEINT * replace(s.ratio::VARCHAR, '.', '')::HUGEINT)
    > 1000000000000 + abs(replace(p.net_cost::VARCHAR, '.', '')::HUGEINT)
UNION ALL
-- 5. The shares are what the ledger charges of the pools, line by line.
SELECT '5 shares in the ledger', d.side || ': ' || d.line FROM (
    WITH borne AS (
        SELECT usage_date, book_date, account, coalesce(cost_center, '(unallocated)') AS cost_center, team, project,
            environment, gl_code, tags, pool, rule_id, rule_version, model, model_type, record_kind, currency, requests,
            without_amount, input_tokens, output_tokens, cached_tokens, total_tokens, list_cost, discount, net_cost
        FROM shares
    ), charged AS (
        SELECT * EXCLUDE (billing_month, charge_class) FROM ledger
        WHERE charge_class IS NULL AND pool IN (SELECT pool FROM shares)
    )
    SELECT 'borne, not in the ledger' AS side, x::VARCHAR AS line FROM (FROM borne EXCEPT ALL FROM charged) x
    UNION ALL
    SELECT 'ledger, not borne', x::VARCHAR FROM (FROM charged EXCEPT ALL FROM borne) x
) d
UNION ALL
SELECT '5 shares in the ledger', 'the cost centre is charged a part of the pool ' || pool || ', which the folder lacks'
FROM (SELECT DISTINCT pool FROM ledger WHERE cost_center = the_cost_center() AND charge_class IS NULL
    AND pool IS NOT NULL AND pool NOT IN (SELECT pool FROM shares))
UNION ALL
-- 6. What is charged in the currency of the books is the amount × the rate of its day, to the last digit; and the
-- ledger gives the journal, to the cent.
SELECT '6 rates', format('{} of {} on {} in {}: {} × {} is not {}', c.cost_center, c.currency, c.book_date,
    c.book_currency, c.net_cost, coalesce(r.rate::VARCHAR, 'no rate'), coalesce(c.book_cost::VARCHAR, 'known'))
FROM booked c LEFT JOIN rates r ON r.currency = c.currency AND r.book_date = c.book_date
WHERE c.book_currency IS NOT NULL AND c.net_cost IS NOT NULL
    AND c.book_cost IS DISTINCT FROM c.net_cost * CASE WHEN c.currency = c.book_currency THEN 1::DECIMAL(18,10)
        ELSE r.rate END
UNION ALL
SELECT '6 journal', d.side || ': ' || d.line FROM (
    SELECT 'computed, not in the journal' AS side, x::VARCHAR AS line FROM (
        FROM computed_journal EXCEPT ALL SELECT * EXCLUDE (entry) FROM journal WHERE entry = 'debit') x
    UNION ALL
    SELECT 'journal, not computed', x::VARCHAR FROM (
        SELECT * EXCLUDE (entry) FROM journal WHERE entry = 'debit' EXCEPT ALL FROM computed_journal) x
) d
UNION ALL
SELECT '6 journal', format('its lines of {} come to {} and {}, not to 0', currency, sum(amount), sum(posted))
FROM journal GROUP BY currency HAVING sum(amount) <> 0 OR sum(posted) <> 0
UNION ALL
-- 7. The figures of evidence.json are the lines of the journal.
SELECT '7 figures', d.side || ': ' || d.line FROM (
    SELECT 'claimed, not in the journal' AS side, x::VARCHAR AS line FROM (
        SELECT * FROM figures EXCEPT ALL
        SELECT currency, gl_code, amount, posted FROM journal
        WHERE entry = 'debit' AND cost_center = ltrim(the_cost_center(), '''')) x
    UNION ALL
    SELECT 'journal, not claimed', x::VARCHAR FROM (
        SELECT currency, gl_code, amount, posted FROM journal
        WHERE entry = 'debit' AND cost_center = ltrim(the_cost_center(), '''') EXCEPT ALL SELECT * FROM figures) x
) d
UNION ALL
-- 8. The digest of each day is that of the names of its sealed files, which hold the digests of what the API answered.
SELECT '8 days', format('account {}, {}: its sealed files give {}, and it has {}', d.account, d.usage_date,
    s.digest, d.digest)
FROM days d LEFT JOIN (
    SELECT account, usage_date, sha256('schema ' || any_value(schema_version) || chr(10) || 'transform '
        || any_value(transform_version) || chr(10) || string_agg(name || chr(10), '' ORDER BY seq)) AS digest
    FROM sealed JOIN days USING (account, usage_date) GROUP BY ALL) s USING (account, usage_date)
WHERE d.digest IS DISTINCT FROM s.digest
UNION ALL
SELECT '8 days', format('there are records of account {}, {}, and no sealed file', account, usage_date)
FROM (SELECT DISTINCT account, usage_date FROM records) ANTI JOIN sealed USING (account, usage_date)
{{- if .Closed}}
UNION ALL
-- 9. The month was closed with these days, and with no other.
SELECT '9 manifest: days', x.side || ': ' || x.line FROM (
    WITH closed_with AS (
        SELECT p.account, p."date"::DATE AS usage_date, p.digest
        FROM (SELECT unnest(from_json(content::JSON -> '$.partitions',
            '[{"account":"VARCHAR","date":"VARCHAR","digest":"VARCHAR"}]')) AS p FROM read_text('month/manifest.json'))
    ), have AS (SELECT account, usage_date, digest FROM days)
    SELECT 'closed with, not here' AS side, c::VARCHAR AS line FROM (FROM closed_with EXCEPT FROM have) c
    UNION ALL
    SELECT 'here, not closed with', c::VARCHAR FROM (FROM have EXCEPT FROM closed_with) c
) x
UNION ALL
-- and its files have the digests that the manifest says.
SELECT '9 manifest: files', f.path || CASE WHEN f.sha256 IS NULL THEN ' is not in the manifest' ELSE ' was changed' END
FROM (
    SELECT regexp_replace(replace(b.filename, '\', '/'), '^.*month/', '') AS path, m.sha256, sha256(b.content) AS has
    FROM read_blob('month/**') b LEFT JOIN (SELECT unnest(from_json(content::JSON -> '$.files',
        '[{"path":"VARCHAR","sha256":"VARCHAR"}]'), recursive := true) FROM read_text('month/manifest.json')) m
    ON m.path = regexp_replace(replace(b.filename, '\', '/'), '^.*month/', '')
) f
WHERE f.has IS DISTINCT FROM f.sha256 AND f.path NOT IN ('manifest.json', 'manifest.json.sig')
UNION ALL
-- and the ledger comes to its totals.
SELECT '9 manifest: totals', x::VARCHAR FROM (
    SELECT t.currency, t.requests, t.net_cost::DECIMAL(38,12) AS net_cost
    FROM (SELECT unnest(from_json(content::JSON -> '$.totals',
        '[{"currency":"VARCHAR","requests":"BIGINT","net_cost":"VARCHAR"}]')) AS t
        FROM read_text('month/manifest.json'))
    EXCEPT SELECT currency, sum(requests)::BIGINT, sum(net_cost)::DECIMAL(38,12) FROM ledger GROUP BY currency) x
{{- end}}
{{- if .Chain}}
UNION ALL
-- 10. The manifests are a chain: each names the digest of the one before, and that of the month is one of them.
SELECT '10 chain', c.filename || ' does not follow the manifest before it'
FROM (SELECT filename, content, sha256(content) AS digest, lag(sha256(content)) OVER (ORDER BY filename) AS before
    FROM read_text('chain/*.json')) c
WHERE c.before IS NOT NULL AND (c.content::JSON ->> '$.chain.previous.sha256') IS DISTINCT FROM c.before
UNION ALL
SELECT '10 chain', 'the manifest of the month is not part of it'
WHERE (SELECT sha256(content) FROM read_text('month/manifest.json'))
    NOT IN (SELECT sha256(content) FROM read_text('chain/*.json'))
{{- end}}
{{- if .Pages}}
UNION ALL
-- 11. The sealed files are those that the days were derived from.
SELECT '11 pages', format('{} of account {}, {}: {}', s.name, s.account, s.usage_date,
    CASE WHEN b.content IS NULL THEN 'it is not here' ELSE 'it was changed' END)
FROM sealed s LEFT JOIN read_blob('pages/**') b
    ON suffix(replace(b.filename, '\', '/'), format('pages/{}/{}/{}', s.account, s.usage_date, s.name))
WHERE NOT s.deleted AND sha256(b.content) IS DISTINCT FROM s.sha256
{{- end}}
{{- if .Prepaid}}
UNION ALL
-- 12. What is charged on a day to everybody, of a prepaid account, is what the day drew on credit and what none
-- covered.
SELECT '12 draws', format('account {}, {}, {}: drawn and overdrawn are {}, charged is {}',
    coalesce(c.account, d.account), coalesce(c."day", d.book_date), coalesce(c.currency, d.currency, 'no currency'),
    coalesce(d.amount, 0), coalesce(c.amount, 0))
FROM charged_by_day c FULL JOIN (
    SELECT account, currency, book_date, sum(amount)::DECIMAL(38,12) AS amount
    FROM prepaid WHERE billing_month = the_month() AND entry IN ('draw', 'overdrawn') GROUP BY ALL
) d ON d.account = c.account AND d.book_date = c."day" AND d.currency IS NOT DISTINCT FROM c.currency
WHERE coalesce(d.amount, 0) <> coalesce(c.amount, 0)
UNION ALL
-- 13. No credit pays more than was topped up,
SELECT '13 credits', format('{} of account {}: {} was topped up, and {} was drawn and expired', credit, account,
    topped_up, topped_up - remaining)
FROM credits WHERE remaining < 0
UNION ALL
-- nor at another time than it pays;
SELECT '13 credits', format('{} of account {} pays from {} to before {}, and is drawn on on {}', p.credit, p.account,
    c.pays_from, coalesce(c.expires::VARCHAR, 'for ever'), p.book_date)
FROM prepaid p
LEFT JOIN credits c ON c.account = p.account AND c.currency IS NOT DISTINCT FROM p.currency AND c.credit = p.credit
WHERE p.entry IN ('draw', 'cover') AND p.amount > 0
    AND (p.book_date >= c.pays_from AND p.book_date < coalesce(c.expires, DATE '9999-12-31')) IS NOT TRUE
UNION ALL
-- and what is covered was overdrawn before.
SELECT '13 credits', format('account {}, {}: {} is covered, and {} was overdrawn', account, book_date, covered, due)
FROM (
    SELECT account, book_date, covered, coalesce(sum(used - covered) OVER (PARTITION BY account, currency
        ORDER BY book_date ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS due
    FROM (
        SELECT account, currency, book_date,
            coalesce(sum(amount) FILTER (entry = 'overdrawn'), 0)::DECIMAL(38,12) AS used,
            coalesce(sum(amount) FILTER (entry = 'cover'), 0)::DECIMAL(38,12) AS covered
        FROM (
            SELECT account, currency, book_date, entry, amount FROM prepaid
            UNION ALL SELECT account, currency, DATE '0001-01-01', entry, amount FROM prepaid_before
        ) GROUP BY ALL
    )
)
WHERE book_date > DATE '0001-01-01' AND covered > 0 AND covered > due
{{- end}}
UNION ALL
-- 14. What is charged on top of its cost goes by what the ledger charges it, and a percentage is that of it.
SELECT '14 mark-ups', format('{} of {} records: the ledger charges it {} of {}', coalesce(m.net_cost, 0), m.requests,
    coalesce(l.net_cost, 0), coalesce(l.requests, 0))
FROM markups m LEFT JOIN (
    SELECT currency, sum(requests)::BIGINT AS requests, sum(net_cost)::DECIMAL(38,12) AS net_cost
    FROM ledger WHERE cost_center = the_cost_center() GROUP BY currency
) l ON l.currency IS NOT DISTINCT FROM m.currency
WHERE m.cost_center <> the_cost_center() OR m.requests <> coalesce(l.requests, 0)
    OR m.net_cost IS DISTINCT FROM l.net_cost
UNION ALL
SELECT '14 mark-ups', format('{} percent of {} is not {}', percent, net_cost, percent_markup)
FROM markups
WHERE percent_markup <> coalesce((net_cost * (percent * 0.01::DECIMAL(2,2))::DECIMAL(11,8))::DECIMAL(38,12), 0)
{{- if .Closed}}
UNION ALL
-- They are those that the month was closed with.
SELECT '14 mark-ups', x.side || ': ' || x.line FROM (
    WITH closed_with AS (
        SELECT m.cost_center, m.currency, m.requests, m.net_cost::DECIMAL(38,12) AS net_cost,
            m.percent::DECIMAL(9,6) AS percent, m.percent_markup::DECIMAL(38,12) AS percent_markup,
            m.request_markup::DECIMAL(38,12) AS request_markup, m.period_fee::DECIMAL(38,12) AS period_fee,
            m.minimum_charge::DECIMAL(38,12) AS minimum_charge
        FROM (SELECT unnest(from_json(content::JSON -> '$.markups', '[{"cost_center":"VARCHAR","currency":"VARCHAR",
            "requests":"BIGINT","net_cost":"VARCHAR","percent":"VARCHAR","percent_markup":"VARCHAR",
            "request_markup":"VARCHAR","period_fee":"VARCHAR","minimum_charge":"VARCHAR"}]')) AS m
            FROM read_text('month/manifest.json'))
        WHERE m.cost_center = the_cost_center()
    )
    SELECT 'closed with, not here' AS side, c::VARCHAR AS line FROM (FROM closed_with EXCEPT ALL FROM markups) c
    UNION ALL
    SELECT 'here, not closed with', c::VARCHAR FROM (FROM markups EXCEPT ALL FROM closed_with) c
) x
{{- end}};

FROM failures ORDER BY ALL;
