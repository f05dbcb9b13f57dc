-- What the allocation rules say of each record. It is made when the rules are known, for it goes by the fields that
-- they look at. The comments of the columns of usage are those of the Parquet files.

--| usage with what the allocation rules say of each record: the rule, and the owner or the shared pool.
CREATE OR REPLACE VIEW allocated_usage (
    account, usage_date, request_time, id, ordinal, record_kind, token_id, user_id, custom_user_id, model, model_type,
    channel_id, input_tokens, output_tokens, cached_tokens, total_tokens, input_price, output_price, cached_price,
    total_amount, discount_amount, amount, currency, ext_items, extra, fetched_at, run_id,
    book_date,      --| Day by the clocks of the books' zone.
    period,         --| The period of that day: 2026-10; of a fiscal calendar 2026-P07.
    allocation_id,  --| Row of allocations.
    ruleset,        --| Rules that said it, as in allocation_rules.
    rule_id,        --| Rule that matched; NULL if none did.
    rule_version,   --| Its version.
    source,         --| File and line of the rule and of the rows of tables it looked up.
    pool,           --| Shared pool the cost goes to; NULL if it goes to the owner.
    cost_center,    --| Cost centre; NULL if none was assigned.
    team,           --| Team; NULL if none was assigned.
    project,        --| Project; NULL if none was assigned.
    environment,    --| Environment; NULL if none was assigned.
    gl_code,        --| General ledger code; NULL if none was assigned.
    tags            --| Further tags, a flat JSON object; NULL if there are none.
) AS
SELECT u.*, period_of(month_of(u.book_date)) AS period, a.allocation_id, a.ruleset, a.rule_id, a.rule_version, a.source,
    a.pool, a.cost_center, a.team, a.project, a.environment, a.gl_code, a.tags
FROM booked_usage u
JOIN allocation_keys k ON k.account = u.account AND u.book_date >= k.valid_from AND u.book_date < k.valid_to
JOIN allocations a ON a.allocation_id = k.allocation_id
/* period of u */;

--| 6. Which rule and version assigned the records of this id, and to whom? FROM allocation_explain('…').
CREATE OR REPLACE MACRO allocation_explain(record_id) AS TABLE
SELECT u.account, u.id, u.request_time, u.ordinal, u.token_id, u.user_id, u.custom_user_id, u.model, u.channel_id,
    u.amount, u.currency, u.ruleset, u.rule_id, u.rule_version, r.valid_from, r.valid_to, r.matches, r.assigns,
    u.source, u.pool, u.cost_center, u.team, u.project, u.environment, u.gl_code, u.tags
FROM allocated_usage u
LEFT JOIN allocation_rules r
    ON r.ruleset = u.ruleset AND r.rule_id = u.rule_id AND r.rule_version = u.rule_version
WHERE u.id = record_id;
