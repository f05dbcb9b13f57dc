-- The records, where not all of them stand in the file (publish.records): usage_recent is made as the table usage
-- elsewhere, and usage is a view that adds the records of the day files. What reads these follows its last line, once
-- for each kind of day file that there is. The comments of the columns are those of the Parquet files.

--| A row per usage record of the Portal: those of usage_recent, and those of the day files that record_files() lists.
--| Cost is amount; sum it per currency.
CREATE OR REPLACE VIEW usage (
    account, usage_date, request_time, id, ordinal, record_kind, token_id, user_id, custom_user_id, model, model_type,
    channel_id, input_tokens, output_tokens, cached_tokens, total_tokens, input_price, output_price, cached_price,
    total_amount, discount_amount, amount, currency, ext_items, extra, fetched_at, run_id
) AS
SELECT * FROM usage_recent;
