-- The tables of cost allocation. What the rules say of each combination of the fields they look at stands in
-- allocation_keys; the sums of usage by what was said in allocated_daily; what shared pools cost whom in
-- shared_cost_shares; and all of it, per owner and billing month, in chargeback_daily.

CREATE TABLE allocation_rules (
    ruleset VARCHAR NOT NULL,
    "position" INTEGER NOT NULL,
    rule_id VARCHAR NOT NULL,
    rule_version INTEGER NOT NULL,
    valid_from DATE,
    valid_to DATE,
    matches VARCHAR NOT NULL,
    assigns VARCHAR NOT NULL,
    pool VARCHAR,
    source VARCHAR NOT NULL
);
COMMENT ON TABLE allocation_rules IS 'The allocation rules, in order: the first that matches a record wins. Those of the rules file as it is now, and those a closed month was closed with.';
COMMENT ON COLUMN allocation_rules.ruleset IS 'First 12 hex digits of the digest of the rules file and its tables.';
COMMENT ON COLUMN allocation_rules."position" IS 'Place of the rule in its file, from 1.';
COMMENT ON COLUMN allocation_rules.rule_id IS 'Id of the rule.';
COMMENT ON COLUMN allocation_rules.rule_version IS 'Which of the rules of this id, from 1 in order of their validity.';
COMMENT ON COLUMN allocation_rules.valid_from IS 'First UTC day it is valid; NULL: from ever.';
COMMENT ON COLUMN allocation_rules.valid_to IS 'UTC day before which it ends to be valid; NULL: for ever.';
COMMENT ON COLUMN allocation_rules.matches IS 'What it matches, in words.';
COMMENT ON COLUMN allocation_rules.assigns IS 'What it assigns, in words.';
COMMENT ON COLUMN allocation_rules.pool IS 'Shared pool it sends cost to; NULL if it names an owner.';
COMMENT ON COLUMN allocation_rules.source IS 'File and line.';

CREATE TABLE shared_pools (
    ruleset VARCHAR NOT NULL,
    pool VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    source VARCHAR NOT NULL
);
COMMENT ON TABLE shared_pools IS 'The shared pools of the allocation rules.';
COMMENT ON COLUMN shared_pools.ruleset IS 'Rules they belong to, as in allocation_rules.';
COMMENT ON COLUMN shared_pools.pool IS 'Name of the pool.';
COMMENT ON COLUMN shared_pools.method IS 'How it is split: fixed, even, usage (tokens of the month) or cost (net cost of the month).';
COMMENT ON COLUMN shared_pools.source IS 'File and line.';

CREATE TABLE allocations (
    allocation_id BIGINT NOT NULL,
    ruleset VARCHAR NOT NULL,
    rule_id VARCHAR,
    rule_version INTEGER,
    source VARCHAR,
    pool VARCHAR,
    cost_center VARCHAR,
    team VARCHAR,
    project VARCHAR,
    environment VARCHAR,
    gl_code VARCHAR,
    tags VARCHAR
);
COMMENT ON TABLE allocations IS 'Each thing the rules said of some record. A row without a rule_id is what no rule matched.';
COMMENT ON COLUMN allocations.allocation_id IS 'Number of the row.';
COMMENT ON COLUMN allocations.ruleset IS 'Rules that said it, as in allocation_rules.';
COMMENT ON COLUMN allocations.rule_id IS 'Rule that matched; NULL if none did.';
COMMENT ON COLUMN allocations.rule_version IS 'Its version.';
COMMENT ON COLUMN allocations.source IS 'File and line of the rule and of the rows of tables it looked up.';
COMMENT ON COLUMN allocations.pool IS 'Shared pool the cost goes to; NULL if it goes to the owner named here.';
COMMENT ON COLUMN allocations.cost_center IS 'Cost centre; NULL if none was assigned.';
COMMENT ON COLUMN allocations.team IS 'Team; NULL if none was assigned.';
COMMENT ON COLUMN allocations.project IS 'Project; NULL if none was assigned.';
COMMENT ON COLUMN allocations.environment IS 'Environment; NULL if none was assigned.';
COMMENT ON COLUMN allocations.gl_code IS 'General ledger code; NULL if none was assigned.';
COMMENT ON COLUMN allocations.tags IS 'Further tags, a flat JSON object; NULL if there are none.';

CREATE TABLE allocation_keys (
    allocation_id BIGINT NOT NULL,
    account VARCHAR NOT NULL,
    token_id VARCHAR,
    user_id VARCHAR,
    custom_user_id VARCHAR,
    model VARCHAR,
    model_type VARCHAR,
    channel_id BIGINT,
    valid_from DATE NOT NULL,
    valid_to DATE NOT NULL
);
COMMENT ON TABLE allocation_keys IS 'What the rules say of each combination of the fields they look at, while it holds. Fields that no rule looks at are NULL.';
COMMENT ON COLUMN allocation_keys.allocation_id IS 'Row of allocations.';
COMMENT ON COLUMN allocation_keys.account IS 'Name of the account in the config.';
COMMENT ON COLUMN allocation_keys.token_id IS 'As in usage.';
COMMENT ON COLUMN allocation_keys.user_id IS 'As in usage.';
COMMENT ON COLUMN allocation_keys.custom_user_id IS 'As in usage.';
COMMENT ON COLUMN allocation_keys.model IS 'As in usage.';
COMMENT ON COLUMN allocation_keys.model_type IS 'As in usage.';
COMMENT ON COLUMN allocation_keys.channel_id IS 'As in usage.';
COMMENT ON COLUMN allocation_keys.valid_from IS 'First UTC day it holds.';
COMMENT ON COLUMN allocation_keys.valid_to IS 'UTC day before which it ends to hold.';

CREATE TABLE allocated_daily (
    account VARCHAR NOT NULL,
    usage_date DATE NOT NULL,
    allocation_id BIGINT NOT NULL,
    token_id VARCHAR,
    user_id VARCHAR,
    custom_user_id VARCHAR,
    model VARCHAR,
    model_type VARCHAR,
    record_kind VARCHAR NOT NULL,
    currency VARCHAR,
    requests BIGINT NOT NULL,
    without_amount BIGINT NOT NULL,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cached_tokens BIGINT,
    total_tokens BIGINT,
    list_cost DECIMAL(38,12),
    discount DECIMAL(38,12),
    net_cost DECIMAL(38,12)
);
COMMENT ON TABLE allocated_daily IS 'usage summed by UTC day and who used it, with what the rules said of it; shared pools not split yet.';
COMMENT ON COLUMN allocated_daily.account IS 'Name of the account in the config.';
COMMENT ON COLUMN allocated_daily.usage_date IS 'UTC day.';
COMMENT ON COLUMN allocated_daily.allocation_id IS 'Row of allocations.';
COMMENT ON COLUMN allocated_daily.token_id IS 'API token the requests were made with.';
COMMENT ON COLUMN allocated_daily.user_id IS 'Member of the organisation the token belongs to.';
COMMENT ON COLUMN allocated_daily.custom_user_id IS 'What the calling application sent as its own user.';
COMMENT ON COLUMN allocated_daily.model IS 'Model that was called.';
COMMENT ON COLUMN allocated_daily.model_type IS 'Kind of model.';
COMMENT ON COLUMN allocated_daily.record_kind IS 'request or summary, as in usage.';
COMMENT ON COLUMN allocated_daily.currency IS 'ISO 4217 code of the costs.';
COMMENT ON COLUMN allocated_daily.requests IS 'Number of records.';
COMMENT ON COLUMN allocated_daily.without_amount IS 'Of these, records that have no amount; the sums leave them out.';
COMMENT ON COLUMN allocated_daily.input_tokens IS 'Sum of input_tokens; NULL if no record has any, or the sum is beyond 64 bits.';
COMMENT ON COLUMN allocated_daily.output_tokens IS 'Sum of output_tokens; NULL as for input_tokens.';
COMMENT ON COLUMN allocated_daily.cached_tokens IS 'Sum of cached_tokens; NULL as for input_tokens.';
COMMENT ON COLUMN allocated_daily.total_tokens IS 'Sum of total_tokens; NULL as for input_tokens.';
COMMENT ON COLUMN allocated_daily.list_cost IS 'Sum of total_amount. NULL if no record has one.';
COMMENT ON COLUMN allocated_daily.discount IS 'Sum of discount_amount. NULL if no record has one.';
COMMENT ON COLUMN allocated_daily.net_cost IS 'Sum of amount. NULL if no record has one.';

CREATE TABLE ext_daily (
    account VARCHAR NOT NULL,
    usage_date DATE NOT NULL,
    allocation_id BIGINT NOT NULL,
    model VARCHAR,
    currency VARCHAR,
    category VARCHAR,
    item VARCHAR,
    unit VARCHAR,
    charges BIGINT NOT NULL,
    quantity DECIMAL(38,12),
    list_cost DECIMAL(38,12)
);
COMMENT ON TABLE ext_daily IS 'The charges beyond tokens (images, audio, tools) summed by UTC day, with what the rules said of them.';
COMMENT ON COLUMN ext_daily.account IS 'Name of the account in the config.';
COMMENT ON COLUMN ext_daily.usage_date IS 'UTC day.';
COMMENT ON COLUMN ext_daily.allocation_id IS 'Row of allocations.';
COMMENT ON COLUMN ext_daily.model IS 'Model that was called.';
COMMENT ON COLUMN ext_daily.currency IS 'ISO 4217 code of the costs.';
COMMENT ON COLUMN ext_daily.category IS 'Category of the charge.';
COMMENT ON COLUMN ext_daily.item IS 'Item of the charge.';
COMMENT ON COLUMN ext_daily.unit IS 'What quantity counts.';
COMMENT ON COLUMN ext_daily.charges IS 'Number of charges.';
COMMENT ON COLUMN ext_daily.quantity IS 'Sum of what was used.';
COMMENT ON COLUMN ext_daily.list_cost IS 'Sum of the charges, before the discount; where the API sent no amount, price × usage.';

CREATE TABLE shared_cost_shares (
    usage_date DATE NOT NULL,
    account VARCHAR NOT NULL,
    pool VARCHAR NOT NULL,
    rule_id VARCHAR,
    rule_version INTEGER,
    method VARCHAR NOT NULL,
    basis VARCHAR NOT NULL,
    ratio DECIMAL(18,12) NOT NULL,
    cost_center VARCHAR,
    team VARCHAR,
    project VARCHAR,
    environment VARCHAR,
    gl_code VARCHAR,
    tags VARCHAR,
    model VARCHAR,
    model_type VARCHAR,
    record_kind VARCHAR NOT NULL,
    currency VARCHAR,
    requests BIGINT NOT NULL,
    without_amount BIGINT NOT NULL,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cached_tokens BIGINT,
    total_tokens BIGINT,
    list_cost DECIMAL(38,12),
    discount DECIMAL(38,12),
    net_cost DECIMAL(38,12)
);
COMMENT ON TABLE shared_cost_shares IS 'What each owner bears of the shared pools, by UTC day. The shares of a pool sum to it in every column.';
COMMENT ON COLUMN shared_cost_shares.usage_date IS 'UTC day.';
COMMENT ON COLUMN shared_cost_shares.account IS 'Name of the account in the config.';
COMMENT ON COLUMN shared_cost_shares.pool IS 'Name of the pool.';
COMMENT ON COLUMN shared_cost_shares.rule_id IS 'Rule that sent the cost to the pool.';
COMMENT ON COLUMN shared_cost_shares.rule_version IS 'Its version.';
COMMENT ON COLUMN shared_cost_shares.method IS 'How it was split; "even (no …)" where there was nothing to go by.';
COMMENT ON COLUMN shared_cost_shares.basis IS 'The owner''s weight, in words.';
COMMENT ON COLUMN shared_cost_shares.ratio IS 'The owner''s weight ÷ the sum of the weights, rounded. The parts are computed from the weights.';
COMMENT ON COLUMN shared_cost_shares.cost_center IS 'Cost centre; NULL if none was assigned.';
COMMENT ON COLUMN shared_cost_shares.team IS 'Team.';
COMMENT ON COLUMN shared_cost_shares.project IS 'Project.';
COMMENT ON COLUMN shared_cost_shares.environment IS 'Environment.';
COMMENT ON COLUMN shared_cost_shares.gl_code IS 'General ledger code.';
COMMENT ON COLUMN shared_cost_shares.tags IS 'Further tags, a flat JSON object.';
COMMENT ON COLUMN shared_cost_shares.model IS 'Model that was called.';
COMMENT ON COLUMN shared_cost_shares.model_type IS 'Kind of model.';
COMMENT ON COLUMN shared_cost_shares.record_kind IS 'request or summary, as in usage.';
COMMENT ON COLUMN shared_cost_shares.currency IS 'ISO 4217 code of the costs.';
COMMENT ON COLUMN shared_cost_shares.requests IS 'The share of the number of records; a whole number.';
COMMENT ON COLUMN shared_cost_shares.without_amount IS 'The share of the records without an amount.';
COMMENT ON COLUMN shared_cost_shares.input_tokens IS 'The share of the input tokens.';
COMMENT ON COLUMN shared_cost_shares.output_tokens IS 'The share of the output tokens.';
COMMENT ON COLUMN shared_cost_shares.cached_tokens IS 'The share of the cached tokens.';
COMMENT ON COLUMN shared_cost_shares.total_tokens IS 'The share of all tokens.';
COMMENT ON COLUMN shared_cost_shares.list_cost IS 'The share of the list cost.';
COMMENT ON COLUMN shared_cost_shares.discount IS 'The share of the discount.';
COMMENT ON COLUMN shared_cost_shares.net_cost IS 'The share of the net cost.';

CREATE TABLE chargeback_daily (
    billing_month DATE NOT NULL,
    usage_date DATE NOT NULL,
    charge_class VARCHAR,
    account VARCHAR NOT NULL,
    cost_center VARCHAR NOT NULL,
    team VARCHAR,
    project VARCHAR,
    environment VARCHAR,
    gl_code VARCHAR,
    tags VARCHAR,
    pool VARCHAR,
    rule_id VARCHAR,
    rule_version INTEGER,
    model VARCHAR,
    model_type VARCHAR,
    record_kind VARCHAR NOT NULL,
    currency VARCHAR,
    requests BIGINT NOT NULL,
    without_amount BIGINT NOT NULL,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cached_tokens BIGINT,
    total_tokens BIGINT,
    list_cost DECIMAL(38,12),
    discount DECIMAL(38,12),
    net_cost DECIMAL(38,12)
);
COMMENT ON TABLE chargeback_daily IS 'What each owner is charged, by UTC day: directly, by shares of pools, and by corrections of closed months. Its net_cost sums exactly to the amount of usage, day by day and in all.';
COMMENT ON COLUMN chargeback_daily.billing_month IS 'First day of the month it is charged in. Of a correction: the month that was open when it was found.';
COMMENT ON COLUMN chargeback_daily.usage_date IS 'UTC day of the usage.';
COMMENT ON COLUMN chargeback_daily.charge_class IS 'Correction if the usage lies in a month that was closed before it came or changed; else NULL.';
COMMENT ON COLUMN chargeback_daily.account IS 'Name of the account in the config.';
COMMENT ON COLUMN chargeback_daily.cost_center IS 'Cost centre; (unallocated) if none was assigned.';
COMMENT ON COLUMN chargeback_daily.team IS 'Team; NULL if none was assigned.';
COMMENT ON COLUMN chargeback_daily.project IS 'Project; NULL if none was assigned.';
COMMENT ON COLUMN chargeback_daily.environment IS 'Environment; NULL if none was assigned.';
COMMENT ON COLUMN chargeback_daily.gl_code IS 'General ledger code; NULL if none was assigned.';
COMMENT ON COLUMN chargeback_daily.tags IS 'Further tags, a flat JSON object; NULL if there are none.';
COMMENT ON COLUMN chargeback_daily.pool IS 'Shared pool it is a share of; NULL if it was charged directly.';
COMMENT ON COLUMN chargeback_daily.rule_id IS 'Rule that matched; NULL if none did.';
COMMENT ON COLUMN chargeback_daily.rule_version IS 'Its version.';
COMMENT ON COLUMN chargeback_daily.model IS 'Model that was called.';
COMMENT ON COLUMN chargeback_daily.model_type IS 'Kind of model.';
COMMENT ON COLUMN chargeback_daily.record_kind IS 'request or summary, as in usage; a summary has tokens only.';
COMMENT ON COLUMN chargeback_daily.currency IS 'ISO 4217 code of the costs. Never sum across currencies.';
COMMENT ON COLUMN chargeback_daily.requests IS 'Number of records; of a share, its part of them.';
COMMENT ON COLUMN chargeback_daily.without_amount IS 'Of these, records without an amount; the costs leave them out.';
COMMENT ON COLUMN chargeback_daily.input_tokens IS 'Input tokens, not counting the cached ones.';
COMMENT ON COLUMN chargeback_daily.output_tokens IS 'Output tokens.';
COMMENT ON COLUMN chargeback_daily.cached_tokens IS 'Input tokens read from the cache.';
COMMENT ON COLUMN chargeback_daily.total_tokens IS 'All tokens.';
COMMENT ON COLUMN chargeback_daily.list_cost IS 'Cost before the discount.';
COMMENT ON COLUMN chargeback_daily.discount IS 'What was taken off.';
COMMENT ON COLUMN chargeback_daily.net_cost IS 'What is charged. NULL if no record has an amount.';

CREATE TABLE closed_months (
    "month" DATE NOT NULL,
    closed_at TIMESTAMPTZ NOT NULL,
    run_id VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    ruleset VARCHAR NOT NULL,
    reason VARCHAR,
    objections VARCHAR[],
    manifest_sha256 VARCHAR NOT NULL,
    corrected BOOLEAN NOT NULL,
    completeness VARCHAR
);
COMMENT ON TABLE closed_months IS 'The months that are closed: what is charged in them doesn''t change any more.';
COMMENT ON COLUMN closed_months."month" IS 'First day of the month.';
COMMENT ON COLUMN closed_months.closed_at IS 'When it was closed, UTC.';
COMMENT ON COLUMN closed_months.run_id IS 'Run that closed it.';
COMMENT ON COLUMN closed_months.version IS 'Version of the program that closed it.';
COMMENT ON COLUMN closed_months.ruleset IS 'Allocation rules it was closed with, as in allocation_rules.';
COMMENT ON COLUMN closed_months.reason IS 'Why it was closed in spite of objections; NULL if there were none.';
COMMENT ON COLUMN closed_months.objections IS 'The objections that were overridden.';
COMMENT ON COLUMN closed_months.manifest_sha256 IS 'SHA-256 of statements/MONTH/manifest.json.';
COMMENT ON COLUMN closed_months.corrected IS 'Whether its usage has changed since, so that there are corrections.';
COMMENT ON COLUMN closed_months.completeness IS 'How complete it was when it was closed; NULL if that wasn''t kept.';

CREATE TABLE closed_lacking (
    "month" DATE NOT NULL,
    account VARCHAR NOT NULL,
    missing_seconds BIGINT NOT NULL
);
COMMENT ON TABLE closed_lacking IS 'What accounts lacked of a month when it was closed.';
COMMENT ON COLUMN closed_lacking."month" IS 'First day of the month.';
COMMENT ON COLUMN closed_lacking.account IS 'Name of the account in the config.';
COMMENT ON COLUMN closed_lacking.missing_seconds IS 'Seconds of the month that were not fetched then.';

CREATE TABLE budgets (
    budget VARCHAR NOT NULL,
    "scope" VARCHAR NOT NULL,
    scope_value VARCHAR,
    period VARCHAR NOT NULL,
    amount DECIMAL(38,12) NOT NULL,
    currency VARCHAR NOT NULL,
    valid_from DATE,
    valid_to DATE,
    thresholds DECIMAL(18,12)[]
);
COMMENT ON TABLE budgets IS 'The budgets of the config.';
COMMENT ON COLUMN budgets.budget IS 'Name of the budget.';
COMMENT ON COLUMN budgets."scope" IS 'What it is for: cost_center, team, project, environment, account, model, or all.';
COMMENT ON COLUMN budgets.scope_value IS 'Which of these; NULL of all.';
COMMENT ON COLUMN budgets.period IS 'month or quarter.';
COMMENT ON COLUMN budgets.amount IS 'What may be spent in each period, net.';
COMMENT ON COLUMN budgets.currency IS 'ISO 4217 code of amount; costs in other currencies don''t count.';
COMMENT ON COLUMN budgets.valid_from IS 'First day of the first period; NULL: from ever.';
COMMENT ON COLUMN budgets.valid_to IS 'Day before which the last period begins; NULL: for ever.';
COMMENT ON COLUMN budgets.thresholds IS 'Shares of amount worth a word, such as 0.8.';

CREATE TABLE invoice_lines (
    invoice VARCHAR NOT NULL,
    account VARCHAR,
    period_start DATE NOT NULL,
    period_end DATE NOT NULL,
    usage_date DATE,
    model VARCHAR,
    amount DECIMAL(38,12) NOT NULL,
    currency VARCHAR NOT NULL,
    source VARCHAR NOT NULL
);
COMMENT ON TABLE invoice_lines IS 'The lines of the invoice files of the config.';
COMMENT ON COLUMN invoice_lines.invoice IS 'Number of the invoice.';
COMMENT ON COLUMN invoice_lines.account IS 'Account it is for; NULL: all.';
COMMENT ON COLUMN invoice_lines.period_start IS 'First UTC day of the period.';
COMMENT ON COLUMN invoice_lines.period_end IS 'UTC day before which the period ends.';
COMMENT ON COLUMN invoice_lines.usage_date IS 'UTC day the line is for; NULL: the whole period.';
COMMENT ON COLUMN invoice_lines.model IS 'Model the line is for; NULL: all.';
COMMENT ON COLUMN invoice_lines.amount IS 'Amount.';
COMMENT ON COLUMN invoice_lines.currency IS 'ISO 4217 code of amount.';
COMMENT ON COLUMN invoice_lines.source IS 'File and line.';

CREATE TABLE top_ups (
    account VARCHAR NOT NULL,
    top_up_date DATE NOT NULL,
    amount DECIMAL(38,12) NOT NULL,
    currency VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    reference VARCHAR,
    expires DATE,
    source VARCHAR NOT NULL
);
COMMENT ON TABLE top_ups IS 'What was added to balances, by the files of the config.';
COMMENT ON COLUMN top_ups.account IS 'Name of the account in the config.';
COMMENT ON COLUMN top_ups.top_up_date IS 'UTC day.';
COMMENT ON COLUMN top_ups.amount IS 'Amount.';
COMMENT ON COLUMN top_ups.currency IS 'ISO 4217 code of amount.';
COMMENT ON COLUMN top_ups.kind IS 'paid, coupon or credit.';
COMMENT ON COLUMN top_ups.reference IS 'What the file refers to: a payment, a coupon.';
COMMENT ON COLUMN top_ups.expires IS 'First UTC day on which what is left of it counts no more; NULL: it doesn''t expire.';
COMMENT ON COLUMN top_ups.source IS 'File and line.';

CREATE TABLE finance_settings (
    default_gl_code VARCHAR NOT NULL,
    credit_gl_code VARCHAR NOT NULL,
    top_ups_given BOOLEAN NOT NULL
);
COMMENT ON TABLE finance_settings IS 'One row: the accounts of the general ledger that the journal uses, from the config.';
COMMENT ON COLUMN finance_settings.default_gl_code IS 'Debited where no rule assigned a code.';
COMMENT ON COLUMN finance_settings.credit_gl_code IS 'Credited with the whole.';
COMMENT ON COLUMN finance_settings.top_ups_given IS 'Whether the config names files of top-ups: top_ups has all of them then.';

CREATE TABLE currencies (
    currency VARCHAR NOT NULL,
    minor_unit INTEGER NOT NULL
);
COMMENT ON TABLE currencies IS 'The currencies of ISO 4217 whose minor unit isn''t the hundredth: what people read, and what is posted, is rounded to it, half away from zero.';
COMMENT ON COLUMN currencies.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN currencies.minor_unit IS 'Decimals of its minor unit: 0 for JPY, 3 for KWD. A currency that isn''t listed has 2.';

CREATE MACRO money_text(amount, code) AS (
    SELECT concat(CASE WHEN starts_with(t, '-') THEN '-' END,
        reverse(rtrim(regexp_replace(reverse(split_part(ltrim(t, '-'), '.', 1)), '([0-9]{3})', '\1,', 'g'), ',')),
        CASE WHEN contains(t, '.') THEN '.' || split_part(t, '.', 2) END)
    FROM (SELECT CASE coalesce((SELECT minor_unit FROM currencies c WHERE c.currency = code), 2)
        WHEN 0 THEN amount::DECIMAL(38,12)::DECIMAL(38,0)::VARCHAR
        WHEN 3 THEN amount::DECIMAL(38,12)::DECIMAL(38,3)::VARCHAR
        WHEN 4 THEN amount::DECIMAL(38,12)::DECIMAL(38,4)::VARCHAR
        ELSE amount::DECIMAL(38,12)::DECIMAL(38,2)::VARCHAR END AS t));
COMMENT ON MACRO money_text IS 'An amount as people read it: in the minor unit of its currency, rounded half away from zero, with commas between thousands. money_text(net_cost, currency)';

CREATE TABLE names (
    kind VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    name VARCHAR NOT NULL
);
COMMENT ON TABLE names IS 'What tokens, users, models, cost centres and accounts are called, from the file that the config names. An id that isn''t listed has no name.';
COMMENT ON COLUMN names.kind IS 'token, user, model, cost_center or account.';
COMMENT ON COLUMN names.id IS 'As in usage, or as the rules assign it; each once a kind.';
COMMENT ON COLUMN names.name IS 'What people call it.';

CREATE MACRO name_of(of_kind, of_id) AS (SELECT n.name FROM names n WHERE n.kind = of_kind AND n.id = of_id);
COMMENT ON MACRO name_of IS 'What people call it; NULL if it has no name. name_of(''token'', token_id)';
