-- What cost centres are charged on top of their cost. It is a part of nothing else: net cost, budgets, the journal and
-- FOCUS are what the Portal charges.

--| What each cost centre is charged on top of its cost, by month, exactly: a percentage is rounded once, to the last of
--| twelve decimals. Corrections of closed months count in the month that they are charged in, by its mark-up. A month
--| that is closed keeps what it was closed with.
CREATE VIEW markup_monthly /* of the whole file */ (
    "month",           --| First day of the month.
    cost_center,       --| Cost centre; what has none is charged without a mark-up.
    currency,          --| ISO 4217 code of the amounts. Never sum across currencies.
    requests,          --| Number of records.
    net_cost,          --| What they cost; NULL if none has an amount.
    percent,           --| What is charged on top, of net_cost; NULL if nothing is.
    percent_markup,    --| What that comes to.
    request_markup,    --| What is charged on top for records.
    period_fee,        --| What is charged whatever is used, from the month's first day on.
    minimum_charge,    --| What the minimum is more than all of these: of a month that goes on, so far.
    markup,            --| The sum of the four.
    charged,           --| net_cost and markup.
    cost_center_name,  --| What the cost centre is called, from names; NULL if it has no name.
    completeness,      --| How complete the month is: what is missing of it is missing here.
    period             --| What people call the month: 2026-10; of a fiscal calendar 2026-P07.
) AS
WITH costs AS (
    SELECT billing_month AS "month", cost_center, currency, sum(requests)::BIGINT AS requests,
        sum(net_cost) AS net_cost
    FROM chargeback_daily
    WHERE cost_center <> '(unallocated)' AND billing_month NOT IN (SELECT "month" FROM closed_months)
    GROUP BY ALL
), months AS (
    SELECT p."month" FROM periods p, data_as_of d
    WHERE p."month" BETWEEN (SELECT min(billing_month) FROM chargeback_daily)
        AND greatest((SELECT max(billing_month) FROM chargeback_daily), d.current_month)
        AND p."month" NOT IN (SELECT "month" FROM closed_months)
), in_force AS (
    SELECT n."month", m.*
    FROM months n JOIN markups m ON n."month" >= coalesce(m.first_month, n."month")
        AND n."month" < coalesce(m.end_month, DATE '9999-12-31')
), terms AS (
    SELECT * FROM in_force WHERE cost_center IS NOT NULL
    UNION ALL BY NAME
    SELECT m.* REPLACE (c.cost_center AS cost_center)
    FROM in_force m JOIN (SELECT DISTINCT "month", cost_center FROM costs) c ON c."month" = m."month"
    WHERE m.cost_center IS NULL AND (c."month", c.cost_center) NOT IN (
        SELECT ("month", cost_center) FROM in_force WHERE cost_center IS NOT NULL
    )
), lines AS (
    SELECT t.*, c.currency AS of_currency, c.requests, c.net_cost,
        c.currency IS NOT DISTINCT FROM t.currency AND t.currency IS NOT NULL AS in_its_currency
    FROM terms t JOIN costs c ON c."month" = t."month" AND c.cost_center = t.cost_center
    UNION ALL BY NAME
    -- A fee and a minimum are due where nothing was used, too.
    SELECT t.*, t.currency AS of_currency, 0 AS requests, NULL AS net_cost, true AS in_its_currency
    FROM terms t
    WHERE coalesce(t.per_period, t.minimum) IS NOT NULL AND NOT EXISTS (
        FROM costs c
        WHERE c."month" = t."month" AND c.cost_center = t.cost_center AND c.currency = t.currency
    )
), parts AS (
    SELECT "month", cost_center, of_currency AS currency, requests, net_cost, percent,
        coalesce((net_cost * (percent * 0.01::DECIMAL(2,2))::DECIMAL(11,8))::DECIMAL(38,12), 0) AS percent_markup,
        coalesce(CASE WHEN in_its_currency THEN requests::DECIMAL(18,0) * per_request END, 0)::DECIMAL(38,12)
            AS request_markup,
        coalesce(CASE WHEN in_its_currency THEN per_period END, 0)::DECIMAL(38,12) AS period_fee,
        CASE WHEN in_its_currency THEN minimum END AS minimum
    FROM lines
), marked AS (
    SELECT "month", cost_center, currency, requests, net_cost, percent, percent_markup, request_markup, period_fee,
        greatest(0, coalesce(minimum - coalesce(net_cost, 0) - percent_markup - request_markup - period_fee,
            0))::DECIMAL(38,12) AS minimum_charge
    FROM parts
    UNION ALL BY NAME
    FROM closed_markups
)
SELECT x.*, percent_markup + request_markup + period_fee + minimum_charge AS markup,
    coalesce(net_cost, 0) + percent_markup + request_markup + period_fee + minimum_charge AS charged,
    name_of('cost_center', x.cost_center) AS cost_center_name, m.completeness, period_of(x."month") AS period
FROM marked x LEFT JOIN month_completeness m ON m."month" = x."month";
