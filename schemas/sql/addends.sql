-- What usage_daily and allocated_daily sum up, where they are views. Where they are tables, these are the same rows.
-- The comments of the columns are those of usage_daily and allocated_daily.

--| Rows that add up to usage_daily: its own, or where it is a view one a record. What sums up anyway is quicker on
--| them.
CREATE OR REPLACE VIEW usage_addends (
    account, usage_date, token_id, user_id, model, model_type, record_kind, currency, requests, without_amount,
    input_tokens, output_tokens, cached_tokens, total_tokens, total_amount, discount_amount, amount
) AS
SELECT account, usage_date, token_id, user_id, model, model_type, record_kind, currency,
    1::BIGINT AS requests, (amount IS NULL)::BIGINT AS without_amount,
    input_tokens, output_tokens, cached_tokens, total_tokens, total_amount::DECIMAL(38,12) AS total_amount,
    discount_amount::DECIMAL(38,12) AS discount_amount, amount::DECIMAL(38,12) AS amount
FROM usage /* of the file */;

--| Rows that add up to allocated_daily: its own, or where it is a view one a record.
CREATE OR REPLACE VIEW allocated_addends (
    account, usage_date, book_date, period, allocation_id, token_id, user_id, custom_user_id, model, model_type,
    record_kind, currency,
    requests, without_amount, input_tokens, output_tokens, cached_tokens, total_tokens, list_cost, discount, net_cost
) AS
SELECT u.account, u.usage_date, u.book_date, period_of(month_of(u.book_date)) AS period, k.allocation_id, u.token_id,
    u.user_id, u.custom_user_id, u.model, u.model_type, u.record_kind, u.currency,
    1::BIGINT AS requests, (u.amount IS NULL)::BIGINT AS without_amount,
    u.input_tokens, u.output_tokens, u.cached_tokens, u.total_tokens,
    u.total_amount::DECIMAL(38,12) AS list_cost, u.discount_amount::DECIMAL(38,12) AS discount,
    u.amount::DECIMAL(38,12) AS net_cost
FROM booked_usage /* of the file */ u
JOIN allocation_keys /* of the file */ k
    ON k.account = u.account AND u.book_date >= k.valid_from AND u.book_date < k.valid_to
/* period of u */;
