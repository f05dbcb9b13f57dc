
-- From the records to the line that is posted, for the cost centre.

-- 1. What the rules gave it, rule by rule.
SELECT 'direct' AS step, a.rule_id AS "rule", a.rule_version AS "version", a.source, r.currency, count(*) AS requests,
    sum(r.amount) AS net_cost
FROM records r JOIN allocations a USING (allocation_id) WHERE a.pool IS NULL GROUP BY ALL ORDER BY ALL;

-- 2. What the pools cost that it bears a part of, and its part.
SELECT 'pool' AS step, s.pool, s.method, s.basis, s.ratio, s.currency, any_value(p.net_cost) AS pool_cost,
    sum(s.net_cost) AS net_cost
FROM shares s JOIN (SELECT pool, currency, sum(net_cost) AS net_cost FROM summed WHERE pool IS NOT NULL GROUP BY ALL) p
    ON p.pool = s.pool AND p.currency IS NOT DISTINCT FROM s.currency
WHERE coalesce(s.cost_center, '(unallocated)') = the_cost_center() GROUP BY ALL ORDER BY ALL;

-- 3. Corrections of months that were closed before.
SELECT 'correction' AS step, p.period AS corrects, currency, sum(requests) AS requests,
    sum(net_cost) AS net_cost
FROM ledger l JOIN periods p ON l.book_date >= p.period_start AND l.book_date < p.period_end
WHERE cost_center = the_cost_center() AND charge_class IS NOT NULL GROUP BY ALL ORDER BY ALL;

-- 4. What that is in the currency of the books, by rate; nothing if they have none.
SELECT 'converted' AS step, b.currency, b.book_currency, r.rate, min(b.book_date) AS first_day,
    max(b.book_date) AS last_day, sum(b.net_cost) AS net_cost, sum(b.book_cost) AS book_cost
FROM booked b LEFT JOIN rates r ON r.currency = b.currency AND r.book_date = b.book_date
WHERE b.cost_center = the_cost_center() AND b.book_currency IS NOT NULL GROUP BY ALL ORDER BY ALL;

-- 5. Their sum, by code of the general ledger, and what is posted.
SELECT 'posted' AS step, l.currency, l.gl_code, sum(l.direct) AS direct, sum(l.shared) AS shared,
    sum(l.correction) AS correction, any_value(j.amount) AS net_cost, any_value(j.posted) AS posted
FROM (
    SELECT currency, ltrim(coalesce(gl_code, {{sql .GLCode}}), '''') AS gl_code,
        CASE WHEN charge_class IS NULL AND pool IS NULL THEN net_cost ELSE 0 END AS direct,
        CASE WHEN charge_class IS NULL AND pool IS NOT NULL THEN net_cost ELSE 0 END AS shared,
        CASE WHEN charge_class IS NOT NULL THEN net_cost ELSE 0 END AS correction
    FROM (
        SELECT coalesce(book_currency, currency) AS currency, gl_code, charge_class, pool,
            CASE WHEN book_currency IS NULL THEN net_cost ELSE book_cost END AS net_cost
        FROM booked WHERE cost_center = the_cost_center()
    )
) l LEFT JOIN journal j ON j.currency IS NOT DISTINCT FROM l.currency AND j.gl_code = l.gl_code AND j.entry = 'debit'
    AND j.cost_center = ltrim(the_cost_center(), '''')
GROUP BY ALL ORDER BY ALL;

-- 6. What it is charged on top of that; nothing if it has no mark-up.
SELECT 'marked up' AS step, currency, net_cost, percent, percent_markup, request_markup, period_fee, minimum_charge,
    coalesce(net_cost, 0) + percent_markup + request_markup + period_fee + minimum_charge AS charged
FROM markups ORDER BY ALL;
{{- if .Prepaid}}

-- 7. How it was paid, day by day: its part of what is charged on the day, and what the whole day drew on which credit.
SELECT 'paid' AS step, c.account, c.currency, c."day", c.own AS net_cost, c.amount AS whole_day, p.entry, p.credit,
    p.kind, p.amount
FROM charged_by_day c
JOIN prepaid p ON p.account = c.account AND p.book_date = c."day" AND p.currency IS NOT DISTINCT FROM c.currency
    AND p.billing_month = the_month() AND p.entry IN ('draw', 'overdrawn')
WHERE c.own <> 0 ORDER BY c.account, c.currency, c."day", p.line;

-- 8. The credits that these days drew on, whoever used them.
SELECT 'credit' AS step, account, currency, credit, kind, reference, pays_from, expires, topped_up, gone_before, drawn,
    expired, remaining
FROM credits SEMI JOIN (FROM charged_by_day WHERE own <> 0) USING (account)
WHERE drawn <> 0 OR expired <> 0 ORDER BY ALL;

-- 9. What it is charged in the month, by how it is paid: in all what step 5 comes to before it is converted.
SELECT 'in all' AS step, CASE WHEN a.account IS NULL THEN 'postpaid' ELSE 'prepaid' END AS billing, l.currency,
    sum(l.net_cost) AS net_cost
FROM ledger l LEFT JOIN prepaid_accounts a USING (account)
WHERE l.cost_center = the_cost_center() GROUP BY ALL ORDER BY ALL;
{{- end}}
