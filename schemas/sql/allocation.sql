-- The tables of cost allocation. What the rules say of each combination of the fields they look at stands in
-- allocation_keys; the sums of usage by what was said in allocated_daily, and without who used it in
-- allocated_model_daily; what shared pools cost whom in shared_cost_shares; and all of it, per owner and billing month,
-- in chargeback_daily.

--| The allocation rules, in order: the first that matches a record wins. Those of the rules file as it is now, and
--| those a closed month was closed with.
CREATE TABLE allocation_rules (
    ruleset VARCHAR NOT NULL,       --| First 12 hex digits of the digest of the rules file and its tables.
    "position" INTEGER NOT NULL,    --| Place of the rule in its file, from 1.
    rule_id VARCHAR NOT NULL,       --| Id of the rule.
    rule_version INTEGER NOT NULL,  --| Which of the rules of this id, from 1 in order of their validity.
    valid_from DATE,                --| First book day it is valid; NULL: from ever.
    valid_to DATE,                  --| Book day before which it ends to be valid; NULL: for ever.
    matches VARCHAR NOT NULL,       --| What it matches, in words.
    assigns VARCHAR NOT NULL,       --| What it assigns, in words.
    pool VARCHAR,                   --| Shared pool it sends cost to; NULL if it names an owner.
    source VARCHAR NOT NULL         --| File and line.
);

--| The shared pools of the allocation rules.
CREATE TABLE shared_pools (
    ruleset VARCHAR NOT NULL,  --| Rules they belong to, as in allocation_rules.
    pool VARCHAR NOT NULL,     --| Name of the pool.
    method VARCHAR NOT NULL,   --| How it is split: fixed, even, usage (tokens of the month) or cost (net cost of the
                               --| month).
    source VARCHAR NOT NULL    --| File and line.
);

--| Each thing the rules said of some record. A row without a rule_id is what no rule matched.
CREATE TABLE allocations (
    allocation_id BIGINT NOT NULL,  --| Number of the row.
    ruleset VARCHAR NOT NULL,       --| Rules that said it, as in allocation_rules.
    rule_id VARCHAR,                --| Rule that matched; NULL if none did.
    rule_version INTEGER,           --| Its version.
    source VARCHAR,                 --| File and line of the rule and of the rows of tables it looked up.
    pool VARCHAR,                   --| Shared pool the cost goes to; NULL if it goes to the owner named here.
    cost_center VARCHAR,            --| Cost centre; NULL if none was assigned.
    team VARCHAR,                   --| Team; NULL if none was assigned.
    project VARCHAR,                --| Project; NULL if none was assigned.
    environment VARCHAR,            --| Environment; NULL if none was assigned.
    gl_code VARCHAR,                --| General ledger code; NULL if none was assigned.
    tags VARCHAR                    --| Further tags, a flat JSON object; NULL if there are none.
);

--| What the rules say of each combination of the fields they look at, while it holds. Fields that no rule looks at are
--| NULL.
CREATE TABLE allocation_keys (
    allocation_id BIGINT NOT NULL,  --| Row of allocations.
    account VARCHAR NOT NULL,       --| Name of the account in the config.
    token_id VARCHAR,               --| As in usage.
    user_id VARCHAR,                --| As in usage.
    custom_user_id VARCHAR,         --| As in usage.
    model VARCHAR,                  --| As in usage.
    model_type VARCHAR,             --| As in usage.
    channel_id BIGINT,              --| As in usage.
    valid_from DATE NOT NULL,       --| First book day it holds.
    valid_to DATE NOT NULL          --| Book day before which it ends to hold.
);

--| usage summed by UTC day and who used it, with what the rules said of it; shared pools not split yet.
CREATE TABLE allocated_daily (
    account VARCHAR NOT NULL,        --| Name of the account in the config.
    usage_date DATE NOT NULL,        --| UTC day.
    book_date DATE NOT NULL,         --| Book day of the usage.
    period VARCHAR NOT NULL,         --| The period of that day: 2026-10; of a fiscal calendar 2026-P07.
    allocation_id BIGINT NOT NULL,   --| Row of allocations.
    token_id VARCHAR,                --| API token the requests were made with.
    user_id VARCHAR,                 --| Member of the organisation the token belongs to.
    custom_user_id VARCHAR,          --| What the calling application sent as its own user.
    model VARCHAR,                   --| Model that was called.
    model_type VARCHAR,              --| Kind of model.
    record_kind VARCHAR NOT NULL,    --| request or summary, as in usage.
    currency VARCHAR,                --| ISO 4217 code of the costs.
    requests BIGINT NOT NULL,        --| Number of records.
    without_amount BIGINT NOT NULL,  --| Of these, records that have no amount; the sums leave them out.
    input_tokens BIGINT,             --| Sum of input_tokens; NULL if no record has any, or the sum is beyond 64 bits.
    output_tokens BIGINT,            --| Sum of output_tokens; NULL as for input_tokens.
    cached_tokens BIGINT,            --| Sum of cached_tokens; NULL as for input_tokens.
    total_tokens BIGINT,             --| Sum of total_tokens; NULL as for input_tokens.
    list_cost DECIMAL(38,12),        --| Sum of total_amount. NULL if no record has one.
    discount DECIMAL(38,12),         --| Sum of discount_amount. NULL if no record has one.
    net_cost DECIMAL(38,12)          --| Sum of amount. NULL if no record has one.
);

--| allocated_daily without who used it: what is charged comes of it.
CREATE TABLE allocated_model_daily (
    account VARCHAR NOT NULL,        --| Name of the account in the config.
    usage_date DATE NOT NULL,        --| UTC day.
    book_date DATE NOT NULL,         --| Book day of the usage.
    period VARCHAR NOT NULL,         --| The period of that day: 2026-10; of a fiscal calendar 2026-P07.
    allocation_id BIGINT NOT NULL,   --| Row of allocations.
    model VARCHAR,                   --| Model that was called.
    model_type VARCHAR,              --| Kind of model.
    record_kind VARCHAR NOT NULL,    --| request or summary, as in usage.
    currency VARCHAR,                --| ISO 4217 code of the costs.
    requests BIGINT NOT NULL,        --| Number of records.
    without_amount BIGINT NOT NULL,  --| Of these, records that have no amount; the sums leave them out.
    input_tokens BIGINT,             --| Sum of input_tokens; NULL if no record has any, or the sum is beyond 64 bits.
    output_tokens BIGINT,            --| Sum of output_tokens; NULL as for input_tokens.
    cached_tokens BIGINT,            --| Sum of cached_tokens; NULL as for input_tokens.
    total_tokens BIGINT,             --| Sum of total_tokens; NULL as for input_tokens.
    list_cost DECIMAL(38,12),        --| Sum of total_amount. NULL if no record has one.
    discount DECIMAL(38,12),         --| Sum of discount_amount. NULL if no record has one.
    net_cost DECIMAL(38,12)          --| Sum of amount. NULL if no record has one.
);

--| The charges beyond tokens (images, audio, tools) summed by UTC day, with what the rules said of them.
CREATE TABLE ext_daily (
    account VARCHAR NOT NULL,       --| Name of the account in the config.
    usage_date DATE NOT NULL,       --| UTC day.
    book_date DATE NOT NULL,        --| Book day of the usage.
    period VARCHAR NOT NULL,        --| The period of that day: 2026-10; of a fiscal calendar 2026-P07.
    allocation_id BIGINT NOT NULL,  --| Row of allocations.
    model VARCHAR,                  --| Model that was called.
    currency VARCHAR,               --| ISO 4217 code of the costs.
    category VARCHAR,               --| Category of the charge.
    item VARCHAR,                   --| Item of the charge.
    unit VARCHAR,                   --| What quantity counts.
    charges BIGINT NOT NULL,        --| Number of charges.
    quantity DECIMAL(38,12),        --| Sum of what was used.
    list_cost DECIMAL(38,12)        --| Sum of the charges, before the discount; where the API sent no amount, price ×
                                    --| usage.
);

--| What each owner bears of the shared pools, by UTC day. The shares of a pool sum to it in every column.
CREATE TABLE shared_cost_shares (
    usage_date DATE NOT NULL,        --| UTC day.
    book_date DATE NOT NULL,         --| Book day of the usage.
    period VARCHAR NOT NULL,         --| The period of that day: 2026-10; of a fiscal calendar 2026-P07.
    account VARCHAR NOT NULL,        --| Name of the account in the config.
    pool VARCHAR NOT NULL,           --| Name of the pool.
    rule_id VARCHAR,                 --| Rule that sent the cost to the pool.
    rule_version INTEGER,            --| Its version.
    method VARCHAR NOT NULL,         --| How it was split; "even (no …)" where there was nothing to go by.
    basis VARCHAR NOT NULL,          --| The owner's weight, in words.
    ratio DECIMAL(18,12) NOT NULL,   --| The owner's weight ÷ the sum of the weights, rounded. The parts are computed
                                     --| from the weights.
    cost_center VARCHAR,             --| Cost centre; NULL if none was assigned.
    team VARCHAR,                    --| Team.
    project VARCHAR,                 --| Project.
    environment VARCHAR,             --| Environment.
    gl_code VARCHAR,                 --| General ledger code.
    tags VARCHAR,                    --| Further tags, a flat JSON object.
    model VARCHAR,                   --| Model that was called.
    model_type VARCHAR,              --| Kind of model.
    record_kind VARCHAR NOT NULL,    --| request or summary, as in usage.
    currency VARCHAR,                --| ISO 4217 code of the costs.
    requests BIGINT NOT NULL,        --| The share of the number of records; a whole number.
    without_amount BIGINT NOT NULL,  --| The share of the records without an amount.
    input_tokens BIGINT,             --| The share of the input tokens.
    output_tokens BIGINT,            --| The share of the output tokens.
    cached_tokens BIGINT,            --| The share of the cached tokens.
    total_tokens BIGINT,             --| The share of all tokens.
    list_cost DECIMAL(38,12),        --| The share of the list cost.
    discount DECIMAL(38,12),         --| The share of the discount.
    net_cost DECIMAL(38,12)          --| The share of the net cost.
);

--| What each owner is charged, by UTC day: directly, by shares of pools, and by corrections of closed months. Its
--| net_cost sums exactly to the amount of usage, day by day and in all.
CREATE TABLE chargeback_daily (
    billing_month DATE NOT NULL,     --| First day of the month it is charged in. Of a correction: the month that was
                                     --| open when it was found.
    period VARCHAR NOT NULL,         --| What people call it: 2026-10; of a fiscal calendar 2026-P07.
    usage_date DATE NOT NULL,        --| UTC day of the usage.
    book_date DATE NOT NULL,         --| Book day of the usage.
    charge_class VARCHAR,            --| Correction if the usage lies in a month that was closed before it came or
                                     --| changed; else NULL.
    account VARCHAR NOT NULL,        --| Name of the account in the config.
    cost_center VARCHAR NOT NULL,    --| Cost centre; (unallocated) if none was assigned.
    team VARCHAR,                    --| Team; NULL if none was assigned.
    project VARCHAR,                 --| Project; NULL if none was assigned.
    environment VARCHAR,             --| Environment; NULL if none was assigned.
    gl_code VARCHAR,                 --| General ledger code; NULL if none was assigned.
    tags VARCHAR,                    --| Further tags, a flat JSON object; NULL if there are none.
    pool VARCHAR,                    --| Shared pool it is a share of; NULL if it was charged directly.
    rule_id VARCHAR,                 --| Rule that matched; NULL if none did.
    rule_version INTEGER,            --| Its version.
    model VARCHAR,                   --| Model that was called.
    model_type VARCHAR,              --| Kind of model.
    record_kind VARCHAR NOT NULL,    --| request or summary, as in usage; a summary has tokens only.
    currency VARCHAR,                --| ISO 4217 code of the costs. Never sum across currencies.
    requests BIGINT NOT NULL,        --| Number of records; of a share, its part of them.
    without_amount BIGINT NOT NULL,  --| Of these, records without an amount; the costs leave them out.
    input_tokens BIGINT,             --| Input tokens, not counting the cached ones.
    output_tokens BIGINT,            --| Output tokens.
    cached_tokens BIGINT,            --| Input tokens read from the cache.
    total_tokens BIGINT,             --| All tokens.
    list_cost DECIMAL(38,12),        --| Cost before the discount.
    discount DECIMAL(38,12),         --| What was taken off.
    net_cost DECIMAL(38,12),         --| What is charged. NULL if no record has an amount.
    book_currency VARCHAR,           --| Currency of the books; NULL if they have none, or had none when the month was
                                     --| closed.
    book_cost DECIMAL(38,22)         --| net_cost × the rate of its currency and book day in book_rates, exact. NULL if
                                     --| there is no rate: book_sum gives no sum then.
);

--| The months that are closed: what is charged in them doesn't change any more.
CREATE TABLE closed_months (
    "month" DATE NOT NULL,             --| First day of the month.
    closed_at TIMESTAMPTZ NOT NULL,    --| When it was closed, UTC.
    run_id VARCHAR NOT NULL,           --| Run that closed it.
    version VARCHAR NOT NULL,          --| Version of the program that closed it.
    ruleset VARCHAR NOT NULL,          --| Allocation rules it was closed with, as in allocation_rules.
    reason VARCHAR,                    --| Why it was closed in spite of objections; NULL if there were none.
    objections VARCHAR[],              --| The objections that were overridden.
    manifest_sha256 VARCHAR NOT NULL,  --| SHA-256 of statements/MONTH/manifest.json.
    corrected BOOLEAN NOT NULL,        --| Whether its usage has changed since, so that there are corrections.
    completeness VARCHAR,              --| How complete it was when it was closed; NULL if that wasn't kept.
    prepaid VARCHAR[] NOT NULL         --| The accounts that were billed prepaid when it was closed.
);

--| What accounts lacked of a month when it was closed.
CREATE TABLE closed_lacking (
    "month" DATE NOT NULL,           --| First day of the month.
    account VARCHAR NOT NULL,        --| Name of the account in the config.
    missing_seconds BIGINT NOT NULL  --| Seconds of the month that were not fetched then.
);

--| The budgets of the config.
CREATE TABLE budgets (
    budget VARCHAR NOT NULL,         --| Name of the budget.
    "scope" VARCHAR NOT NULL,        --| What it is for: cost_center, team, project, environment, account, model, or
                                     --| all.
    scope_value VARCHAR,             --| Which of these; NULL of all.
    period VARCHAR NOT NULL,         --| month, quarter or year of the books, or once.
    amount DECIMAL(38,12) NOT NULL,  --| What may be spent in each period, net.
    currency VARCHAR NOT NULL,       --| ISO 4217 code of amount; costs in other currencies don't count.
    valid_from DATE,                 --| First day of the first period; NULL: from ever.
    valid_to DATE,                   --| Day before which the last period begins; NULL: for ever.
    thresholds DECIMAL(18,12)[]      --| Shares of amount worth a word, such as 0.8.
);

--| The mark-ups of the config: what cost centres are charged on top of their cost.
CREATE TABLE markups (
    cost_center VARCHAR,        --| Cost centre; NULL: each that is charged in a month and has none by its name then.
    percent DECIMAL(9,6),       --| Of net cost, in each currency; NULL if it has none.
    per_request DECIMAL(38,12), --| For each record; NULL if it has none.
    per_period DECIMAL(38,12),  --| For each month, whatever was used; NULL if it has none.
    minimum DECIMAL(38,12),     --| What net cost and mark-up come to at least; NULL if it has none.
    currency VARCHAR,           --| ISO 4217 code of these amounts; NULL if there are none.
    first_month DATE,           --| First day of the first month; NULL: from ever.
    end_month DATE              --| First day of the month before which it ends; NULL: for ever.
);

--| The lines of the files of metrics of the config.
CREATE TABLE metric_lines (
    metric VARCHAR NOT NULL,               --| What is counted or earned, as the file calls it.
    "month" DATE NOT NULL,                 --| First day of the month.
    book_date DATE,                        --| Book day; NULL: the whole month.
    "scope" VARCHAR NOT NULL,              --| What it is for: cost_center, team, project, environment, account, model,
                                           --| or all.
    scope_value VARCHAR,                   --| Which of these; NULL of all.
    metric_value DECIMAL(38,12) NOT NULL,  --| How many, or how much.
    currency VARCHAR,                      --| ISO 4217 code of an amount; NULL of a number.
    source VARCHAR NOT NULL                --| File and line.
);

--| What was charged on top of their cost in closed months: it doesn't change any more.
CREATE TABLE closed_markups (
    "month" DATE NOT NULL,                   --| First day of the month.
    cost_center VARCHAR NOT NULL,            --| Cost centre.
    currency VARCHAR,                        --| ISO 4217 code of the amounts.
    requests BIGINT NOT NULL,                --| Number of records.
    net_cost DECIMAL(38,12),                 --| What was charged for them; NULL if no record has an amount.
    percent DECIMAL(9,6),                    --| What was charged on top, of net_cost; NULL if nothing was.
    percent_markup DECIMAL(38,12) NOT NULL,  --| What that comes to.
    request_markup DECIMAL(38,12) NOT NULL,  --| What was charged on top for records.
    period_fee DECIMAL(38,12) NOT NULL,      --| What was charged whatever was used.
    minimum_charge DECIMAL(38,12) NOT NULL   --| What the minimum was more than all of these.
);

--| The lines of the invoice files of the config.
CREATE TABLE invoice_lines (
    invoice VARCHAR NOT NULL,        --| Number of the invoice.
    account VARCHAR,                 --| Account it is for; NULL: all.
    period_start DATE NOT NULL,      --| First UTC day of the period.
    period_end DATE NOT NULL,        --| UTC day before which the period ends.
    usage_date DATE,                 --| UTC day the line is for; NULL: the whole period.
    model VARCHAR,                   --| Model the line is for; NULL: all.
    amount DECIMAL(38,12) NOT NULL,  --| Amount.
    currency VARCHAR NOT NULL,       --| ISO 4217 code of amount.
    source VARCHAR NOT NULL,         --| File and line.
    book_amount DECIMAL(38,12)       --| What it came to in the currency of the books; NULL: the file doesn't say.
);

--| What was added to balances, by the files of the config.
CREATE TABLE top_ups (
    account VARCHAR NOT NULL,        --| Name of the account in the config.
    top_up_date DATE NOT NULL,       --| UTC day; of a prepaid account a book day.
    amount DECIMAL(38,12) NOT NULL,  --| Amount.
    currency VARCHAR NOT NULL,       --| ISO 4217 code of amount.
    kind VARCHAR NOT NULL,           --| paid, coupon or credit.
    reference VARCHAR,               --| What the file refers to: a payment, a coupon.
    expires DATE,                    --| First such day on which what is left of it counts no more; NULL: it doesn't
                                     --| expire.
    source VARCHAR NOT NULL          --| File and line.
);

--| How each account of the config is billed.
CREATE TABLE account_billing (
    account VARCHAR NOT NULL,       --| Name of the account in the config.
    billing VARCHAR NOT NULL,       --| prepaid: usage draws on what was topped up. postpaid: it is billed afterwards.
    draw VARCHAR,                   --| The order in which credit is drawn on, fifo or coupons_first; NULL if postpaid.
    top_ups_given BOOLEAN NOT NULL  --| Whether a file of its own has all of its top-ups.
);

--| The ledger of prepaid credit: what was topped up, drawn, covered and expired, and what is overdrawn, by book day.
--| Within a day what was used and what was refunded counts as one sum.
CREATE TABLE prepaid_ledger (
    billing_month DATE NOT NULL,     --| First day of the month that it is entered in.
    period VARCHAR NOT NULL,         --| What people call that month: 2026-10; of a fiscal calendar 2026-P07.
    account VARCHAR NOT NULL,        --| Name of the account in the config.
    currency VARCHAR,                --| ISO 4217 code of amount; NULL if what was used has none.
    book_date DATE NOT NULL,         --| Book day. Corrections of closed months are drawn on the first day of theirs.
    line INTEGER NOT NULL,           --| Place among the entries of the account, currency and day, from 1.
    entry VARCHAR NOT NULL,          --| top_up: the credit pays from this day on. draw: usage of the day; below 0 a
                                     --| refund gave it back. cover: of what was overdrawn before. expiry: what was left
                                     --| when it expired, or came back after that. overdrawn: usage that no credit
                                     --| covers; below 0 a refund of it, or of what was never drawn.
    credit VARCHAR,                  --| The credit, as credits calls it; NULL of what is overdrawn.
    kind VARCHAR,                    --| paid, coupon or credit; NULL of what is overdrawn.
    amount DECIMAL(38,12) NOT NULL,  --| Amount.
    top_up_date DATE,                --| Of a top_up: its date in the file.
    expires DATE,                    --| Of a top_up: first book day on which it no longer pays; NULL: it doesn't
                                     --| expire.
    reference VARCHAR,               --| Of a top_up: what the file refers to.
    source VARCHAR,                  --| Of a top_up: file and line.
    closed_in DATE                   --| First day of the closed month whose ledger has the entry, which doesn't change
                                     --| any more; NULL: it may.
);

--| One row: the accounts of the general ledger that the journal uses, from the config.
CREATE TABLE finance_settings (
    default_gl_code VARCHAR NOT NULL,  --| Debited where no rule assigned a code.
    credit_gl_code VARCHAR NOT NULL,   --| Credited with the whole.
    top_ups_given BOOLEAN NOT NULL,    --| Whether the config names files of top-ups: top_ups has all of them then.
    book_currency VARCHAR              --| Currency of the books; NULL if they have none.
);

--| The currencies of ISO 4217 whose minor unit isn't the hundredth: what people read, and what is posted, is rounded to
--| it, half away from zero.
CREATE TABLE currencies (
    currency VARCHAR NOT NULL,   --| ISO 4217 code.
    minor_unit INTEGER NOT NULL  --| Decimals of its minor unit: 0 for JPY, 3 for KWD. A currency that isn't listed has
                                 --| 2.
);

--| An amount as people read it: in the minor unit of its currency, rounded half away from zero, with commas between
--| thousands. money_text(net_cost, currency)
CREATE MACRO money_text(amount, code) AS (
    SELECT concat(CASE WHEN starts_with(t, '-') THEN '-' END,
        reverse(rtrim(regexp_replace(reverse(split_part(ltrim(t, '-'), '.', 1)), '([0-9]{3})', '\1,', 'g'), ',')),
        CASE WHEN contains(t, '.') THEN '.' || split_part(t, '.', 2) END)
    FROM (SELECT CASE coalesce((SELECT minor_unit FROM currencies c WHERE c.currency = code), 2)
        WHEN 0 THEN amount::DECIMAL(38,12)::DECIMAL(38,0)::VARCHAR
        WHEN 3 THEN amount::DECIMAL(38,12)::DECIMAL(38,3)::VARCHAR
        WHEN 4 THEN amount::DECIMAL(38,12)::DECIMAL(38,4)::VARCHAR
        ELSE amount::DECIMAL(38,12)::DECIMAL(38,2)::VARCHAR END AS t));

--| What tokens, users, models, cost centres and accounts are called, from the file that the config names. An id that
--| isn't listed has no name.
CREATE TABLE names (
    kind VARCHAR NOT NULL,  --| token, user, model, cost_center or account.
    id VARCHAR NOT NULL,    --| As in usage, or as the rules assign it; each once a kind.
    name VARCHAR NOT NULL   --| What people call it.
);

--| What people call it; NULL if it has no name. name_of('token', token_id)
CREATE MACRO name_of(of_kind, of_id) AS (SELECT n.name FROM names n WHERE n.kind = of_kind AND n.id = of_id);
