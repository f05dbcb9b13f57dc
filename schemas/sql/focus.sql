-- The charges as FOCUS wants them: by meter, each with list cost, discount and net cost. They name allocated_usage,
-- which is made when the allocation rules are known, and are made after it. The views focus and focus_1_4 themselves,
-- with the names and formats of FOCUS, are made from the tables of columns in focus_columns.go. So are the comments of
-- the columns of focus_closed, which the views here have under the same names.
--
-- Money is exact here: tokens are millionths (six decimals), prices have twelve, so a product has eighteen, and that is
-- what the costs have. No product is rounded and none goes through a DOUBLE. A product that eighteen decimals can't
-- hold is no price at all: its meter costs 0, has no price, and the adjustment line carries the money.
--
-- A record's discount is spread over its priced meters by their list costs, by largest remainder in units of 1e-12:
-- first each gets the whole units of its part (p), then those with the largest remainders (r) one more, earlier ones
-- first if equal, until what is left over is gone. A product of two such numbers has at most 36 digits, which a HUGEINT
-- holds. DuckDB divides a HUGEINT, and so a DECIMAL of more than 18 digits that loses scale, bit by bit: what fits into
-- 64 bits, as nearly everything does, is therefore multiplied and divided there. The numbers are the same.
--
-- It is one pass over usage, without a CTE: a CTE that a view names twice is computed into memory. usage_month is what
-- the rows are grouped by, too, for DuckDB takes a condition on a month down to the scan of usage only if the month is
-- a column that is grouped by, and not an expression over one.

--| A row per record and meter, for FOCUS: what each record's amounts are made of, the discount spread over the meters.
--| The lines of a record sum exactly to its total_amount, discount_amount and amount. Records without an amount or a
--| currency are in focus_omitted.
CREATE VIEW focus_lines (
    account,
    usage_month, usage_date,
    book_date,     --| Day by the clocks of the books' zone.
    request_time,  --| When the request was made, UTC.
    id,            --| Id of the record in usage.
    ordinal,       --| Ordinal of the record in usage.
    token_id, user_id, custom_user_id, model, model_type, record_kind, currency, cost_center, team, project,
    environment, gl_code, tags, pool, rule_id, rule_version,
    closed,        --| Whether its month is closed, so that what is charged for it stands in focus_closed.
    line, category, item, unit, price, price_per, quantity, list_cost, discount, net_cost
) AS
SELECT account, usage_month, usage_date, book_date, request_time, id, ordinal, token_id, user_id, custom_user_id, model,
    model_type, record_kind, currency,
    cost_center, team, project, environment, gl_code, tags, pool, rule_id, rule_version, closed,
    CASE k WHEN 1 THEN 'input' WHEN 2 THEN 'cached' WHEN 3 THEN 'output' WHEN 4 THEN 'tokens' WHEN 5 THEN 'adjustment'
        ELSE 'ext' END AS line,
    CASE WHEN k <= 4 THEN 'tokens' WHEN k = 5 THEN 'adjustment' ELSE e.category END AS category,
    CASE WHEN k <= 4 THEN line WHEN k > 5 THEN e.item END AS item,
    CASE WHEN k <= 4 THEN 'token' WHEN k > 5 THEN e.unit END AS unit,
    CASE WHEN cost IS NULL THEN NULL WHEN k = 1 THEN input_price WHEN k = 2 THEN cached_price
        WHEN k = 3 THEN output_price ELSE e.price END AS price,
    CASE WHEN k <= 4 THEN 1000000 WHEN k > 5 THEN 1 END AS price_per,
    quantity,
    CASE WHEN k = 5 THEN list_left ELSE coalesce(cost, 0)::DECIMAL(38,18) END AS list_cost,
    CASE WHEN k = 5 THEN discount_left
        ELSE (sign(coalesce(discount_amount, 0))
            * coalesce(CASE k WHEN 1 THEN s1 WHEN 2 THEN s2 WHEN 3 THEN s3 ELSE ss[k - 5] END, 0)::DECIMAL(18,0)
            * 0.000000000001::DECIMAL(13,12))::DECIMAL(38,18) END AS discount,
    CASE WHEN k = 5 THEN net_left ELSE list_cost - discount END AS net_cost
FROM (
    SELECT *,
        CASE WHEN k > 5 THEN ext_items[k - 5] END AS e,
        CASE k WHEN 1 THEN input_cost WHEN 2 THEN cached_cost WHEN 3 THEN output_cost ELSE ext_costs[k - 5] END AS cost,
        CASE k WHEN 1 THEN input_tokens::DECIMAL(38,12) WHEN 2 THEN cached_tokens::DECIMAL(38,12)
            WHEN 3 THEN output_tokens::DECIMAL(38,12)
            WHEN 4 THEN CASE WHEN record_kind = 'summary' THEN total_tokens::DECIMAL(38,12) END WHEN 5 THEN NULL
            ELSE (ext_items[k - 5])."usage"::DECIMAL(38,12) END AS quantity
    FROM (
        SELECT *,
            p1 + CASE WHEN (r2 > r1)::INTEGER + (r3 > r1)::INTEGER
                + coalesce(len(list_filter(rs, lambda r: r > r1)), 0) < left_over THEN 1 ELSE 0 END AS s1,
            p2 + CASE WHEN (r1 >= r2)::INTEGER + (r3 > r2)::INTEGER
                + coalesce(len(list_filter(rs, lambda r: r > r2)), 0) < left_over THEN 1 ELSE 0 END AS s2,
            p3 + CASE WHEN (r1 >= r3)::INTEGER + (r2 >= r3)::INTEGER
                + coalesce(len(list_filter(rs, lambda r: r > r3)), 0) < left_over THEN 1 ELSE 0 END AS s3,
            list_transform(ps, lambda p, i:
                p + CASE WHEN (r1 >= rs[i])::INTEGER + (r2 >= rs[i])::INTEGER + (r3 >= rs[i])::INTEGER
                    + len(list_filter(rs, lambda r, j: r > rs[i] OR (r = rs[i] AND j < i))) < left_over
                    THEN 1 ELSE 0 END) AS ss,
            coalesce(total_amount::DECIMAL(38,18), amount::DECIMAL(38,18) + coalesce(discount_amount, 0))
                - priced AS list_left,
            coalesce(discount_amount, 0)::DECIMAL(38,18) - spread AS discount_left,
            amount::DECIMAL(38,18) - priced + spread AS net_left,
            unnest(range(1, 6 + coalesce(len(ext_items), 0))) AS k
        FROM (
            SELECT *, units - p1 - p2 - p3 - coalesce(list_sum(ps), 0)::HUGEINT AS left_over,
                units * w1 - p1 * weight AS r1, units * w2 - p2 * weight AS r2, units * w3 - p3 * weight AS r3,
                CASE WHEN weight > 0 THEN list_transform(ws, lambda w, i: units * w - ps[i] * weight) END AS rs
            FROM (
                SELECT *,
                    CASE WHEN units * w1 < 9000000000000000000 AND weight < 9000000000000000000
                        THEN (units * w1)::BIGINT // weight::BIGINT ELSE units * w1 // weight END::HUGEINT AS p1,
                    CASE WHEN units * w2 < 9000000000000000000 AND weight < 9000000000000000000
                        THEN (units * w2)::BIGINT // weight::BIGINT ELSE units * w2 // weight END::HUGEINT AS p2,
                    CASE WHEN units * w3 < 9000000000000000000 AND weight < 9000000000000000000
                        THEN (units * w3)::BIGINT // weight::BIGINT ELSE units * w3 // weight END::HUGEINT AS p3,
                    CASE WHEN weight > 0 THEN list_transform(ws, lambda w: units * w // weight) END AS ps,
                    CASE WHEN weight > 0 THEN discount_amount ELSE 0 END::DECIMAL(38,18) AS spread
                FROM (
                    SELECT *, nullif(w1 + w2 + w3 + coalesce(list_sum(ws), 0)::HUGEINT, 0) AS weight
                    FROM (
                        SELECT *,
                            coalesce(input_cost, 0) + coalesce(cached_cost, 0) + coalesce(output_cost, 0)
                                + coalesce(list_sum(ext_costs), 0)::DECIMAL(30,18) AS priced,
                            CASE WHEN discount_amount <> 0 THEN CASE
                                WHEN input_cost IS NULL THEN 0
                                WHEN input_price::DECIMAL(18,6) = input_price
                                    THEN input_tokens * (input_price::DECIMAL(18,6) * 1000000::DECIMAL(7,0))::BIGINT
                                ELSE (input_cost * 1000000000000::DECIMAL(13,0))::HUGEINT END END AS w1,
                            CASE WHEN discount_amount <> 0 THEN CASE
                                WHEN cached_cost IS NULL THEN 0
                                WHEN cached_price::DECIMAL(18,6) = cached_price
                                    THEN cached_tokens * (cached_price::DECIMAL(18,6) * 1000000::DECIMAL(7,0))::BIGINT
                                ELSE (cached_cost * 1000000000000::DECIMAL(13,0))::HUGEINT END END AS w2,
                            CASE WHEN discount_amount <> 0 THEN CASE
                                WHEN output_cost IS NULL THEN 0
                                WHEN output_price::DECIMAL(18,6) = output_price
                                    THEN output_tokens * (output_price::DECIMAL(18,6) * 1000000::DECIMAL(7,0))::BIGINT
                                ELSE (output_cost * 1000000000000::DECIMAL(13,0))::HUGEINT END END AS w3,
                            CASE WHEN discount_amount <> 0 THEN list_transform(ext_costs, lambda c:
                                (coalesce(c, 0) * 1000000000000::DECIMAL(13,0))::HUGEINT) END AS ws,
                            CASE WHEN discount_amount <> 0 THEN CASE
                                WHEN abs(discount_amount) < 1
                                    THEN ((abs(discount_amount) * 1000000::DECIMAL(7,0))::DECIMAL(18,6)
                                        * 1000000::DECIMAL(7,0))::BIGINT
                                ELSE abs((discount_amount::DECIMAL(38,12) * 1000000000000::DECIMAL(13,0))::HUGEINT)
                                END END AS units
                        FROM (
                            SELECT u.*, month_of(u.book_date) AS usage_month,
                                c."month" IS NOT NULL AS closed,
                                CASE WHEN input_tokens > 0 AND input_price >= 0
                                    THEN TRY((input_tokens::DECIMAL(13,0) * 0.000001::DECIMAL(7,6) * input_price)
                                        ::DECIMAL(24,18)) END AS input_cost,
                                CASE WHEN cached_tokens > 0 AND cached_price >= 0
                                    THEN TRY((cached_tokens::DECIMAL(13,0) * 0.000001::DECIMAL(7,6) * cached_price)
                                        ::DECIMAL(24,18)) END AS cached_cost,
                                CASE WHEN output_tokens > 0 AND output_price >= 0
                                    THEN TRY((output_tokens::DECIMAL(13,0) * 0.000001::DECIMAL(7,6) * output_price)
                                        ::DECIMAL(24,18)) END AS output_cost,
                                CASE WHEN len(ext_items) > 0 THEN list_transform(ext_items, lambda e:
                                    CASE WHEN e."usage" > 0 AND e.price >= 0
                                        AND TRY((e.price * e."usage")::DECIMAL(24,18))::DECIMAL(30,24)
                                            = (e.price * e."usage")::DECIMAL(38,24)
                                        THEN TRY((e.price * e."usage")::DECIMAL(24,18)) END) END AS ext_costs
                            FROM allocated_usage u
                            /* month of u */
                            LEFT JOIN closed_months c ON c."month" = month_of(u.book_date)
                            WHERE amount IS NOT NULL AND regexp_full_match(currency, '[A-Z]{3}')
                        )
                    )
                )
            )
        )
    )
    WHERE CASE WHEN k = 5 THEN list_left <> 0 OR discount_left <> 0 OR net_left <> 0 ELSE quantity <> 0 END
);

--| focus_lines summed by UTC day and period, as usage is now, closed months included.
CREATE VIEW focus_live (
    usage_month, usage_date, account, token_id, user_id, custom_user_id, model, model_type, record_kind, currency,
    cost_center, team, project, environment, gl_code, tags, pool, rule_id, rule_version,
    closed,        --| Whether its month is closed, so that what is charged for it stands in focus_closed.
    line, category, item, unit, price, price_per, requests, quantity, list_cost, discount, net_cost
) AS
SELECT usage_month, usage_date, account, token_id, user_id, custom_user_id, model, model_type, record_kind, currency,
    cost_center, team, project, environment, gl_code, tags, pool, rule_id, rule_version, closed,
    line, category, item, unit, price, price_per,
    count(*) AS requests, sum(quantity) AS quantity, sum(list_cost) AS list_cost, sum(discount) AS discount,
    sum(net_cost) AS net_cost
FROM focus_lines GROUP BY ALL;

--| What the views of FOCUS show, in the names of this file: the charges of open months as usage is now, those of closed
--| months as they were closed, and the corrections.
CREATE VIEW focus_charges (
    billing_month, charge_class, usage_month, usage_date, account, token_id, user_id, custom_user_id, model,
    model_type, record_kind, currency, cost_center, team, project, environment, gl_code, tags, pool, rule_id,
    rule_version, line, category, item, unit, price, price_per, requests, quantity, list_cost, discount, net_cost
) AS
SELECT usage_month AS billing_month, NULL::VARCHAR AS charge_class, * EXCLUDE (closed)
FROM focus_live WHERE NOT closed
UNION ALL
FROM focus_closed;

-- An account that comes to be prepaid doesn't change what was billed in months that were closed before.
--| The accounts and months that are billed prepaid: those of closed months as they were closed, others by the config.
CREATE VIEW prepaid_terms (
    account,       --| Name of the account in the config.
    billing_month  --| First day of the month.
) AS
SELECT unnest(prepaid) AS account, "month" AS billing_month FROM closed_months
UNION ALL
SELECT b.account, p."month" FROM account_billing b, periods p
WHERE b.billing = 'prepaid' AND p."month" NOT IN (SELECT "month" FROM closed_months);

--| What prepaid accounts were topped up with, as rows of focus_charges: money is a purchase of as many credits at 1;
--| a coupon, or what the vendor made good, a credit that costs nothing.
CREATE VIEW focus_prepaid (
    billing_month, charge_class, usage_month, usage_date, account, token_id, user_id, custom_user_id, model,
    model_type, record_kind, currency, cost_center, team, project, environment, gl_code, tags, pool, rule_id,
    rule_version, line, category, item, unit, price, price_per, requests, quantity, list_cost, discount, net_cost
) AS
SELECT billing_month, NULL::VARCHAR AS charge_class, billing_month AS usage_month,
    make_timestamp((book_day_starts(book_date) * 1000000)::BIGINT)::DATE AS usage_date, account,
    NULL::VARCHAR AS token_id, NULL::VARCHAR AS user_id, NULL::VARCHAR AS custom_user_id, NULL::VARCHAR AS model,
    NULL::VARCHAR AS model_type, 'top_up' AS record_kind, currency, NULL::VARCHAR AS cost_center,
    NULL::VARCHAR AS team, NULL::VARCHAR AS project, NULL::VARCHAR AS environment, NULL::VARCHAR AS gl_code,
    NULL::VARCHAR AS tags, NULL::VARCHAR AS pool, NULL::VARCHAR AS rule_id, NULL::INTEGER AS rule_version,
    CASE kind WHEN 'paid' THEN 'purchase' ELSE 'credit' END AS line, kind AS category,
    coalesce(reference, credit) AS item, currency AS unit,
    CASE kind WHEN 'paid' THEN 1::DECIMAL(18,12) END AS price, 1 AS price_per, 1::BIGINT AS requests,
    CASE kind WHEN 'paid' THEN amount END::DECIMAL(38,12) AS quantity, amount::DECIMAL(38,18) AS list_cost,
    CASE kind WHEN 'paid' THEN 0 ELSE amount END::DECIMAL(38,18) AS discount,
    CASE kind WHEN 'paid' THEN amount ELSE 0 END::DECIMAL(38,18) AS net_cost
FROM prepaid_ledger
WHERE entry = 'top_up' AND (account, billing_month) IN (FROM prepaid_terms);

--| The records that FOCUS has no row for, summed by day: its costs and its currency are never NULL, and a cost that
--| nobody knows is not 0.
CREATE VIEW focus_omitted (
    billing_month,  --| First day of the month.
    usage_date,     --| UTC day.
    book_date,      --| Book day.
    account,        --| Name of the account in the config.
    model,          --| Model that was called.
    record_kind,    --| request or summary, as in usage; a summary has tokens only.
    currency,       --| ISO 4217 code of the amounts, as far as there is one.
    reason,         --| What they lack.
    requests,       --| Number of records.
    total_tokens,   --| Their tokens.
    list_cost,      --| Sum of total_amount; NULL if none has one.
    net_cost        --| Sum of amount; NULL if none has one.
) AS
SELECT month_of(u.book_date) AS billing_month, usage_date, u.book_date, account, model, record_kind, currency,
    CASE WHEN amount IS NULL THEN 'no amount' WHEN currency IS NULL THEN 'no currency'
        ELSE 'the currency is no ISO 4217 code' END AS reason,
    count(*) AS requests, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens, sum(total_amount) AS list_cost,
    sum(amount) AS net_cost
FROM booked_usage u /* month of u */
WHERE amount IS NULL OR NOT coalesce(regexp_full_match(currency, '[A-Z]{3}'), false)
GROUP BY ALL;

-- What invoices say, each amount once: an invoice file may have a total beside its parts.
--| The lines that an invoice is the sum of: its total; where it has none those by model; where these have no total
--| either, those by day.
CREATE VIEW invoice_charges (
    invoice,       --| Number of the invoice.
    account,       --| Account it is for; NULL: all.
    period_start,  --| First UTC day of the period.
    period_end,    --| UTC day before which the period ends.
    usage_date,    --| UTC day the line is for; NULL: the whole period.
    model,         --| Model the line is for; NULL: all.
    amount,        --| Amount.
    currency,      --| ISO 4217 code of amount.
    source         --| File and line.
) AS
SELECT invoice, account, period_start, period_end, usage_date, model, amount, currency, source
FROM (
    SELECT *, bool_or(model IS NULL) OVER (PARTITION BY invoice, account, period_start, period_end, currency) AS whole,
        bool_or(usage_date IS NULL) OVER (PARTITION BY invoice, account, period_start, period_end, currency,
            model) AS undivided
    FROM invoice_lines
)
WHERE (model IS NULL OR NOT whole) AND (usage_date IS NULL OR NOT undivided);

-- The invoice of a closed month: the only one that touches it, of that month and no other time, and the same as what is
-- billed in the month, to half the minor unit of the currency. A number that stands on several bills counts only if all
-- of them agree.
--| The invoices of closed months that agree with what is billed in them, for InvoiceId: the only invoice of its
--| account, currency and month, without a credit note.
CREATE VIEW focus_invoices (
    billing_month,  --| First day of the month.
    account,        --| Name of the account in the config.
    currency,       --| ISO 4217 code.
    invoice         --| Number of the invoice.
) AS
WITH bills AS (
    SELECT invoice, account, period_start, period_end, currency, sum(amount) AS amount FROM invoice_charges GROUP BY ALL
), billed AS (
    SELECT c.billing_month, c.account, c.currency, sum(c.net_cost) AS net_cost
    FROM focus_closed c JOIN closed_months m ON m."month" = c.billing_month GROUP BY ALL
), agreed AS (
    SELECT b.*, p."month",
        b.amount > 0
        AND abs((
            SELECT sum(c.net_cost) FROM billed c
            WHERE c.billing_month = p."month" AND c.currency = b.currency
                AND (b.account IS NULL OR c.account = b.account)
        ) - b.amount)
            <= CASE coalesce(u.minor_unit, 2) WHEN 0 THEN 0.5 WHEN 3 THEN 0.0005 WHEN 4 THEN 0.00005 ELSE 0.005 END
        AND b.period_end = p.period_end
        AND (
            SELECT count(*) FROM bills o
            WHERE o.currency = b.currency AND o.period_start < b.period_end AND o.period_end > b.period_start
                AND (o.account IS NULL OR b.account IS NULL OR o.account = b.account)
        ) = 1 AS agrees
    FROM bills b JOIN periods p ON p.period_start = b.period_start LEFT JOIN currencies u USING (currency)
)
SELECT c.billing_month, c.account, c.currency, a.invoice
FROM agreed a
JOIN billed c ON c.billing_month = a."month" AND c.currency = a.currency
    AND (a.account IS NULL OR c.account = a.account)
WHERE a.agrees AND NOT EXISTS (FROM agreed o WHERE o.invoice = a.invoice AND NOT coalesce(o.agrees, false));
