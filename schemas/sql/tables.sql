-- The tables of usage.duckdb. They are made once, in an empty file; every publish then replaces the rows of the days
-- that changed. The comments of the columns of usage, quarantine and balance are those of the Parquet files.

CREATE TABLE meta (
    schema_version INTEGER NOT NULL,
    version VARCHAR NOT NULL,
    published_at TIMESTAMPTZ NOT NULL,
    built_at TIMESTAMPTZ NOT NULL,
    built_rows BIGINT NOT NULL,
    built_bytes BIGINT NOT NULL,
    balance_digest VARCHAR NOT NULL,
    finance_digest VARCHAR NOT NULL,
    generation BIGINT NOT NULL
);
COMMENT ON TABLE meta IS 'One row: what wrote this file and when.';
COMMENT ON COLUMN meta.schema_version IS 'Version of these tables and views.';
COMMENT ON COLUMN meta.version IS 'Version of the program that published the file.';
COMMENT ON COLUMN meta.published_at IS 'When the file was published, UTC.';
COMMENT ON COLUMN meta.built_at IS 'When the file was last built from nothing, UTC; it was brought up to date day by day since.';
COMMENT ON COLUMN meta.built_rows IS 'Rows of usage when it was last built from nothing.';
COMMENT ON COLUMN meta.built_bytes IS 'Size of the file then; tells how much dead space it has gathered since.';
COMMENT ON COLUMN meta.balance_digest IS 'Digest of the balance files the table balance was read from.';
COMMENT ON COLUMN meta.finance_digest IS 'Digest of what cost was allocated by: the rules, the budgets, the invoices, the closed months.';
COMMENT ON COLUMN meta.generation IS 'Counts the publishes: each is one more than the one it replaced, 1 of the first, or where that one could not be read.';

CREATE TABLE partitions (
    account VARCHAR NOT NULL,
    usage_date DATE NOT NULL,
    digest VARCHAR NOT NULL,
    transform_version INTEGER NOT NULL,
    "rows" BIGINT NOT NULL,
    quarantined BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    ignored BIGINT NOT NULL,
    total_amount DECIMAL(38,12) NOT NULL,
    discount_amount DECIMAL(38,12) NOT NULL,
    amount DECIMAL(38,12) NOT NULL,
    file_sha256 VARCHAR NOT NULL,
    quarantine_sha256 VARCHAR
);
COMMENT ON TABLE partitions IS 'A row per account and UTC day: which day file the rows were read from, and its control totals.';
COMMENT ON COLUMN partitions.account IS 'Name of the account in the config.';
COMMENT ON COLUMN partitions.usage_date IS 'UTC day.';
COMMENT ON COLUMN partitions.digest IS 'Digest of what the day file was derived from, as its footer has it.';
COMMENT ON COLUMN partitions.transform_version IS 'Version of the normalisation that made the day file.';
COMMENT ON COLUMN partitions."rows" IS 'Records of the day in usage.';
COMMENT ON COLUMN partitions.quarantined IS 'Records of the day in quarantine.';
COMMENT ON COLUMN partitions.duplicates IS 'Records left out because the same one, by id and content, had come already in the window.';
COMMENT ON COLUMN partitions.ignored IS 'Records left out because they lie in a margin or a later fetch owns their instant.';
COMMENT ON COLUMN partitions.total_amount IS 'Sum of total_amount over the day''s records; NULLs left out.';
COMMENT ON COLUMN partitions.discount_amount IS 'Sum of discount_amount over the day''s records; NULLs left out.';
COMMENT ON COLUMN partitions.amount IS 'Sum of amount over the day''s records; NULLs left out.';
COMMENT ON COLUMN partitions.file_sha256 IS 'SHA-256 of the Parquet file the rows were read from.';
COMMENT ON COLUMN partitions.quarantine_sha256 IS 'SHA-256 of the quarantine''s Parquet file; NULL if nothing is quarantined, or retention deleted the file.';

CREATE TABLE usage (
    account VARCHAR NOT NULL,
    usage_date DATE NOT NULL,
    request_time TIMESTAMPTZ NOT NULL,
    id VARCHAR NOT NULL,
    ordinal BIGINT NOT NULL,
    record_kind VARCHAR NOT NULL,
    token_id VARCHAR,
    user_id VARCHAR,
    custom_user_id VARCHAR,
    model VARCHAR,
    model_type VARCHAR,
    channel_id BIGINT,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cached_tokens BIGINT,
    total_tokens BIGINT,
    input_price DECIMAL(18,12),
    output_price DECIMAL(18,12),
    cached_price DECIMAL(18,12),
    total_amount DECIMAL(18,12),
    discount_amount DECIMAL(18,12),
    amount DECIMAL(18,12),
    currency VARCHAR,
    ext_items STRUCT(category VARCHAR, item VARCHAR, unit VARCHAR, price DECIMAL(18,12), "usage" DECIMAL(18,12), amount DECIMAL(18,12))[],
    extra VARCHAR,
    fetched_at TIMESTAMPTZ NOT NULL,
    run_id VARCHAR NOT NULL
);
COMMENT ON TABLE usage IS 'A row per usage record of the Portal. Cost is amount; sum it per currency.';

CREATE TABLE usage_daily (
    account VARCHAR NOT NULL,
    usage_date DATE NOT NULL,
    token_id VARCHAR,
    user_id VARCHAR,
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
    total_amount DECIMAL(38,12),
    discount_amount DECIMAL(38,12),
    amount DECIMAL(38,12)
);
COMMENT ON TABLE usage_daily IS 'usage summed by account, UTC day, token, user, model, model type, kind of record and currency: the fast way to costs and tokens per day or month.';
COMMENT ON COLUMN usage_daily.account IS 'Name of the account in the config.';
COMMENT ON COLUMN usage_daily.usage_date IS 'UTC day.';
COMMENT ON COLUMN usage_daily.token_id IS 'API token the requests were made with.';
COMMENT ON COLUMN usage_daily.user_id IS 'Member of the organisation the token belongs to.';
COMMENT ON COLUMN usage_daily.model IS 'Model that was called.';
COMMENT ON COLUMN usage_daily.model_type IS 'Kind of model, such as text.';
COMMENT ON COLUMN usage_daily.record_kind IS 'request or summary, as in usage; a summary has tokens only.';
COMMENT ON COLUMN usage_daily.currency IS 'ISO 4217 code of the amounts.';
COMMENT ON COLUMN usage_daily.requests IS 'Number of records.';
COMMENT ON COLUMN usage_daily.without_amount IS 'Of these, records that have no amount; the sums leave them out.';
COMMENT ON COLUMN usage_daily.input_tokens IS 'Sum of input_tokens; NULL if no record has any, or the sum is beyond 64 bits.';
COMMENT ON COLUMN usage_daily.output_tokens IS 'Sum of output_tokens; NULL as for input_tokens.';
COMMENT ON COLUMN usage_daily.cached_tokens IS 'Sum of cached_tokens; NULL as for input_tokens.';
COMMENT ON COLUMN usage_daily.total_tokens IS 'Sum of total_tokens; NULL as for input_tokens.';
COMMENT ON COLUMN usage_daily.total_amount IS 'Sum of total_amount: list cost. NULL if no record has one.';
COMMENT ON COLUMN usage_daily.discount_amount IS 'Sum of discount_amount. NULL if no record has one.';
COMMENT ON COLUMN usage_daily.amount IS 'Sum of amount: net cost. NULL if no record has one.';

CREATE TABLE unit_prices (
    account VARCHAR NOT NULL,
    usage_date DATE NOT NULL,
    model VARCHAR,
    line VARCHAR NOT NULL,
    category VARCHAR,
    item VARCHAR,
    unit VARCHAR,
    price DECIMAL(18,12) NOT NULL,
    currency VARCHAR,
    requests BIGINT NOT NULL
);
COMMENT ON TABLE unit_prices IS 'The unit prices that were charged on each day, by model and kind of charge.';
COMMENT ON COLUMN unit_prices.account IS 'Name of the account in the config.';
COMMENT ON COLUMN unit_prices.usage_date IS 'UTC day.';
COMMENT ON COLUMN unit_prices.model IS 'Model that was called.';
COMMENT ON COLUMN unit_prices.line IS 'input, output or cached (price per million tokens), or ext (price per unit).';
COMMENT ON COLUMN unit_prices.category IS 'Category of an ext charge; tokens otherwise.';
COMMENT ON COLUMN unit_prices.item IS 'Item of an ext charge; otherwise the same as line.';
COMMENT ON COLUMN unit_prices.unit IS 'Unit of an ext charge; token otherwise.';
COMMENT ON COLUMN unit_prices.price IS 'The unit price.';
COMMENT ON COLUMN unit_prices.currency IS 'ISO 4217 code of the price.';
COMMENT ON COLUMN unit_prices.requests IS 'Charges of the day at this price.';

CREATE TABLE coverage (
    account VARCHAR NOT NULL,
    usage_date DATE NOT NULL,
    window_start TIMESTAMPTZ NOT NULL,
    window_end TIMESTAMPTZ NOT NULL,
    seq INTEGER NOT NULL,
    announced BIGINT,
    listed BIGINT NOT NULL,
    lacking BIGINT NOT NULL,
    records BIGINT NOT NULL,
    pages BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    proof VARCHAR,
    fetched_at TIMESTAMPTZ NOT NULL,
    run_id VARCHAR NOT NULL,
    owns BOOLEAN NOT NULL
);
COMMENT ON TABLE coverage IS 'A row per window that was fetched and sealed: what is covered, since when, and how complete the API said it was.';
COMMENT ON COLUMN coverage.account IS 'Name of the account in the config.';
COMMENT ON COLUMN coverage.usage_date IS 'UTC day the window lies in.';
COMMENT ON COLUMN coverage.window_start IS 'Start of the window, UTC, inclusive.';
COMMENT ON COLUMN coverage.window_end IS 'End of the window, UTC, exclusive.';
COMMENT ON COLUMN coverage.seq IS 'Order in which the day''s windows were sealed; of those that cover an instant the last one owns it.';
COMMENT ON COLUMN coverage.announced IS 'Records the API said there were for what was asked, which is a second or more wider on both sides; NULL if it said nothing. Compare it with listed.';
COMMENT ON COLUMN coverage.listed IS 'Distinct records, by id and content, that came for what was asked.';
COMMENT ON COLUMN coverage.lacking IS 'Records the API announced that could not be had, of a window with the proof none; 0 otherwise, or if it is not known.';
COMMENT ON COLUMN coverage.records IS 'Of listed, those within the window: the second that two windows are both asked for counts once. Of a window that owns nothing any more: listed.';
COMMENT ON COLUMN coverage.pages IS 'Pages that were archived.';
COMMENT ON COLUMN coverage.requests IS 'Requests it took, retries included.';
COMMENT ON COLUMN coverage.proof IS 'How the window was proven complete. total: the count agreed with what the API announced. parts: fetched whole and in parts of time it gave the same records. repeat: two whole passes gave the same records. none: it is not proven to be all.';
COMMENT ON COLUMN coverage.fetched_at IS 'When the window was complete, UTC.';
COMMENT ON COLUMN coverage.run_id IS 'Run that fetched it.';
COMMENT ON COLUMN coverage.owns IS 'Whether some instant of the day is still this window''s; false if later windows replaced all of it.';

CREATE TABLE accounts (
    account VARCHAR NOT NULL,
    configured BOOLEAN NOT NULL,
    covered_from TIMESTAMPTZ,
    covered_to TIMESTAMPTZ
);
COMMENT ON TABLE accounts IS 'A row per account of the config or with anything fetched.';
COMMENT ON COLUMN accounts.account IS 'Name of the account in the config.';
COMMENT ON COLUMN accounts.configured IS 'Whether it was in the config when the file was published; true of all if the config names none of the lake''s accounts.';
COMMENT ON COLUMN accounts.covered_from IS 'Start of its first window, UTC; NULL if nothing was ever fetched.';
COMMENT ON COLUMN accounts.covered_to IS 'End of its last window, UTC: how fresh it is.';

CREATE TABLE coverage_daily (
    account VARCHAR NOT NULL,
    usage_date DATE NOT NULL,
    covered_seconds INTEGER NOT NULL,
    missing_seconds INTEGER NOT NULL
);
COMMENT ON TABLE coverage_daily IS 'How much of each day was fetched. A day of which nothing was has no row.';
COMMENT ON COLUMN coverage_daily.account IS 'Name of the account in the config.';
COMMENT ON COLUMN coverage_daily.usage_date IS 'UTC day.';
COMMENT ON COLUMN coverage_daily.covered_seconds IS 'Seconds of the day that some window covers.';
COMMENT ON COLUMN coverage_daily.missing_seconds IS 'The others: 86400 less these, of a day that isn''t over as well.';

CREATE TABLE completeness_monthly (
    "month" DATE NOT NULL,
    account VARCHAR NOT NULL,
    period_seconds BIGINT NOT NULL,
    expected_seconds BIGINT NOT NULL,
    covered_seconds BIGINT NOT NULL,
    missing_seconds BIGINT NOT NULL,
    ahead_seconds BIGINT NOT NULL,
    completeness VARCHAR NOT NULL
);
COMMENT ON TABLE completeness_monthly IS 'How much of each month was fetched of each account that is expected to be there, up to the end of the running quarter.';
COMMENT ON COLUMN completeness_monthly."month" IS 'First day of the month.';
COMMENT ON COLUMN completeness_monthly.account IS 'Name of the account in the config.';
COMMENT ON COLUMN completeness_monthly.period_seconds IS 'Seconds of the month.';
COMMENT ON COLUMN completeness_monthly.expected_seconds IS 'Of these, seconds that are over, by data_as_of.';
COMMENT ON COLUMN completeness_monthly.covered_seconds IS 'Seconds that were fetched.';
COMMENT ON COLUMN completeness_monthly.missing_seconds IS 'Seconds that are over and were not fetched.';
COMMENT ON COLUMN completeness_monthly.ahead_seconds IS 'Seconds from the account''s first window on that aren''t there yet: still to come, or missing. 0 of an account that is in the config no more.';
COMMENT ON COLUMN completeness_monthly.completeness IS 'complete; or how many hours are there, and what is lacking.';

CREATE TABLE day_issues (
    account VARCHAR NOT NULL,
    usage_date DATE NOT NULL,
    check_name VARCHAR NOT NULL,
    severity VARCHAR NOT NULL,
    field VARCHAR,
    model VARCHAR,
    records BIGINT NOT NULL,
    sample_id VARCHAR,
    detail VARCHAR
);
COMMENT ON TABLE day_issues IS 'Findings of the quality checks within a day. The view quality_issues adds those across days.';
COMMENT ON COLUMN day_issues.account IS 'Name of the account in the config.';
COMMENT ON COLUMN day_issues.usage_date IS 'UTC day.';
COMMENT ON COLUMN day_issues.check_name IS 'Name of the check.';
COMMENT ON COLUMN day_issues.severity IS 'info, warning or error.';
COMMENT ON COLUMN day_issues.field IS 'The API''s name of the field; NULL if the record as a whole is meant.';
COMMENT ON COLUMN day_issues.model IS 'Model the finding is about; NULL if it is about none.';
COMMENT ON COLUMN day_issues.records IS 'Number of records.';
COMMENT ON COLUMN day_issues.sample_id IS 'Id of the first such record.';
COMMENT ON COLUMN day_issues.detail IS 'The figures.';

CREATE TABLE account_overlaps (
    account VARCHAR NOT NULL,
    other VARCHAR NOT NULL,
    usage_date DATE NOT NULL,
    records BIGINT NOT NULL,
    sample_id VARCHAR NOT NULL
);
COMMENT ON TABLE account_overlaps IS 'The days on which two accounts hold the same records: what they cost counts twice. Two keys of one organisation do that.';
COMMENT ON COLUMN account_overlaps.account IS 'Name of one account in the config.';
COMMENT ON COLUMN account_overlaps.other IS 'Name of the other; each pair stands once.';
COMMENT ON COLUMN account_overlaps.usage_date IS 'UTC day.';
COMMENT ON COLUMN account_overlaps.records IS 'Records that both hold, by id, time and content.';
COMMENT ON COLUMN account_overlaps.sample_id IS 'Id of one of them.';

CREATE TABLE quarantine (
    account VARCHAR NOT NULL,
    window_start TIMESTAMPTZ NOT NULL,
    window_end TIMESTAMPTZ NOT NULL,
    reason VARCHAR NOT NULL,
    field VARCHAR,
    raw VARCHAR NOT NULL,
    request_id VARCHAR,
    fetched_at TIMESTAMPTZ NOT NULL,
    run_id VARCHAR NOT NULL
);
COMMENT ON TABLE quarantine IS 'A row per record that could not be normalised: it counts in no sum until the cause is mended.';

CREATE TABLE balance (
    account VARCHAR NOT NULL,
    observed_at TIMESTAMPTZ NOT NULL,
    balance DECIMAL(38,12),
    coupon_balance DECIMAL(38,12),
    credit_limit DECIMAL(38,12),
    total_coupon_amount DECIMAL(38,12),
    currency VARCHAR,
    extra VARCHAR,
    request_id VARCHAR,
    run_id VARCHAR NOT NULL
);
COMMENT ON TABLE balance IS 'A row each time the balance was asked for.';

CREATE TABLE runs (
    run_id VARCHAR NOT NULL,
    command VARCHAR NOT NULL,
    job VARCHAR,
    logical_time TIMESTAMPTZ,
    version VARCHAR NOT NULL,
    pid BIGINT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ,
    status VARCHAR NOT NULL,
    error VARCHAR,
    records BIGINT NOT NULL,
    quarantined BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    retries BIGINT NOT NULL,
    throttled BIGINT NOT NULL,
    windows BIGINT NOT NULL,
    days_written BIGINT NOT NULL
);
COMMENT ON TABLE runs IS 'A row per run of the journal, as of published_at. The run that published the file stands as it was then; a run that changed no data publishes no file and appears with the next that does.';
COMMENT ON COLUMN runs.run_id IS 'Id of the run.';
COMMENT ON COLUMN runs.command IS 'The command: export, rebuild, …';
COMMENT ON COLUMN runs.job IS 'Name of the job of the schedule that began it; NULL if it was begun by hand or by another program.';
COMMENT ON COLUMN runs.logical_time IS 'The time of the schedule that it was for, UTC; those before it that had been missed are done with it. NULL as job.';
COMMENT ON COLUMN runs.version IS 'Version of the program.';
COMMENT ON COLUMN runs.pid IS 'Its process id.';
COMMENT ON COLUMN runs.started_at IS 'Start, UTC.';
COMMENT ON COLUMN runs.ended_at IS 'End, UTC; NULL while it runs.';
COMMENT ON COLUMN runs.status IS 'running, done, partial, refused, failed, stopped or interrupted.';
COMMENT ON COLUMN runs.error IS 'Why it did not end as done.';
COMMENT ON COLUMN runs.records IS 'Records fetched and sealed.';
COMMENT ON COLUMN runs.quarantined IS 'Records quarantined in the days written.';
COMMENT ON COLUMN runs.requests IS 'Requests sent to the Portal.';
COMMENT ON COLUMN runs.retries IS 'Of these, repetitions of a failed one.';
COMMENT ON COLUMN runs.throttled IS 'Of these, answered by 429.';
COMMENT ON COLUMN runs.windows IS 'Windows sealed.';
COMMENT ON COLUMN runs.days_written IS 'Day files replaced.';

CREATE TABLE run_accounts (
    run_id VARCHAR NOT NULL,
    account VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    error VARCHAR,
    records BIGINT NOT NULL,
    quarantined BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    retries BIGINT NOT NULL,
    throttled BIGINT NOT NULL,
    windows BIGINT NOT NULL,
    days_written BIGINT NOT NULL,
    failed_windows STRUCT(window_start TIMESTAMPTZ, window_end TIMESTAMPTZ, error VARCHAR)[]
);
COMMENT ON TABLE run_accounts IS 'Each account''s part of a run.';
COMMENT ON COLUMN run_accounts.run_id IS 'Id of the run.';
COMMENT ON COLUMN run_accounts.account IS 'Name of the account in the config.';
COMMENT ON COLUMN run_accounts.status IS 'How it ended for this account, as in runs.';
COMMENT ON COLUMN run_accounts.error IS 'Why it did not end as done.';
COMMENT ON COLUMN run_accounts.records IS 'Records fetched and sealed.';
COMMENT ON COLUMN run_accounts.quarantined IS 'Records quarantined in the days written.';
COMMENT ON COLUMN run_accounts.requests IS 'Requests sent to the Portal.';
COMMENT ON COLUMN run_accounts.retries IS 'Of these, repetitions of a failed one.';
COMMENT ON COLUMN run_accounts.throttled IS 'Of these, answered by 429.';
COMMENT ON COLUMN run_accounts.windows IS 'Windows sealed.';
COMMENT ON COLUMN run_accounts.days_written IS 'Day files replaced.';
COMMENT ON COLUMN run_accounts.failed_windows IS 'Windows that could not be fetched, UTC, start inclusive, end exclusive.';

CREATE TABLE journal_months (
    "month" VARCHAR NOT NULL,
    digest VARCHAR NOT NULL
);
COMMENT ON TABLE journal_months IS 'A row per month of the journal that runs was filled from.';
COMMENT ON COLUMN journal_months."month" IS 'UTC month in which its runs started, 2026-11.';
COMMENT ON COLUMN journal_months.digest IS 'SHA-256 of the rows of its file, journal/runs/MONTH.parquet.';
