-- The tables of usage.duckdb. They are made once, in an empty file; every publish then replaces the rows of the days
-- that changed. What is behind --| here and in the files beside this one is the comment of what it stands at, which
-- whoever opens usage.duckdb reads, too. The comments of the columns of usage, quarantine and balance are those of the
-- Parquet files.

--| One row: what wrote this file and when.
CREATE TABLE meta (
    schema_version INTEGER NOT NULL,    --| Version of these tables and views.
    version VARCHAR NOT NULL,           --| Version of the program that published the file.
    published_at TIMESTAMPTZ NOT NULL,  --| When the file was published, UTC.
    built_at TIMESTAMPTZ NOT NULL,      --| When the file was last built from nothing, UTC; it was brought up to date
                                        --| day by day since.
    built_rows BIGINT NOT NULL,         --| Rows of usage when it was last built from nothing.
    built_bytes BIGINT NOT NULL,        --| Size of the file then; tells how much dead space it has gathered since.
    balance_digest VARCHAR NOT NULL,    --| Digest of the balance files the table balance was read from.
    finance_digest VARCHAR NOT NULL,    --| Digest of what cost was allocated by: the rules, the budgets, the invoices,
                                        --| the closed months.
    rates_digest VARCHAR NOT NULL,      --| Digest of the rates that it was converted by, those of closed months apart.
    records VARCHAR NOT NULL,           --| publish.records of the config: all, none, or of so many days such as 90d the
                                        --| records stand in this file.
    lake VARCHAR,                       --| Directory of the lake that the others are read from; NULL if there are none.
    generation BIGINT NOT NULL          --| Counts the publishes: each is one more than the one it replaced, 1 of the
                                        --| first, or where that one could not be read.
);

--| A row per account and UTC day: which day file the rows were read from, and its control totals.
CREATE TABLE partitions (
    account VARCHAR NOT NULL,                 --| Name of the account in the config.
    usage_date DATE NOT NULL,                 --| UTC day.
    digest VARCHAR NOT NULL,                  --| Digest of what the day file was derived from, as its footer has it.
    transform_version INTEGER NOT NULL,       --| Version of the normalisation that made the day file.
    schema_version INTEGER NOT NULL,          --| Version of the columns of the day file.
    "rows" BIGINT NOT NULL,                   --| Records of the day in usage.
    quarantined BIGINT NOT NULL,              --| Records of the day in quarantine.
    duplicates BIGINT NOT NULL,               --| Records left out because the same one, by id and content, had come
                                              --| already in the window.
    ignored BIGINT NOT NULL,                  --| Records left out because they lie in a margin or a later fetch owns
                                              --| their instant.
    total_amount DECIMAL(38,12) NOT NULL,     --| Sum of total_amount over the day's records; NULLs left out.
    discount_amount DECIMAL(38,12) NOT NULL,  --| Sum of discount_amount over the day's records; NULLs left out.
    amount DECIMAL(38,12) NOT NULL,           --| Sum of amount over the day's records; NULLs left out.
    file_sha256 VARCHAR NOT NULL,             --| SHA-256 of the Parquet file the rows were read from.
    quarantine_sha256 VARCHAR,                --| SHA-256 of the quarantine's Parquet file; NULL if nothing is
                                              --| quarantined, or retention deleted the file.
    records_file VARCHAR                      --| File of the lake that usage reads the day's records from; NULL if they
                                              --| stand in this file, or there are none.
);

--| A row per usage record of the Portal. Cost is amount; sum it per currency.
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
    ext_items STRUCT(category VARCHAR, item VARCHAR, unit VARCHAR, price DECIMAL(18,12), "usage" DECIMAL(18,12),
        amount DECIMAL(18,12))[],
    extra VARCHAR,
    fetched_at TIMESTAMPTZ NOT NULL,
    run_id VARCHAR NOT NULL
);

--| usage summed by account, UTC day, token, user, model, model type, kind of record and currency: the fast way to costs
--| and tokens per day or month.
CREATE TABLE usage_daily (
    account VARCHAR NOT NULL,        --| Name of the account in the config.
    usage_date DATE NOT NULL,        --| UTC day.
    token_id VARCHAR,                --| API token the requests were made with.
    user_id VARCHAR,                 --| Member of the organisation the token belongs to.
    model VARCHAR,                   --| Model that was called.
    model_type VARCHAR,              --| Kind of model, such as text.
    record_kind VARCHAR NOT NULL,    --| request or summary, as in usage; a summary has tokens only.
    currency VARCHAR,                --| ISO 4217 code of the amounts.
    requests BIGINT NOT NULL,        --| Number of records.
    without_amount BIGINT NOT NULL,  --| Of these, records that have no amount; the sums leave them out.
    input_tokens BIGINT,             --| Sum of input_tokens; NULL if no record has any, or the sum is beyond 64 bits.
    output_tokens BIGINT,            --| Sum of output_tokens; NULL as for input_tokens.
    cached_tokens BIGINT,            --| Sum of cached_tokens; NULL as for input_tokens.
    total_tokens BIGINT,             --| Sum of total_tokens; NULL as for input_tokens.
    total_amount DECIMAL(38,12),     --| Sum of total_amount: list cost. NULL if no record has one.
    discount_amount DECIMAL(38,12),  --| Sum of discount_amount. NULL if no record has one.
    amount DECIMAL(38,12)            --| Sum of amount: net cost. NULL if no record has one.
);

--| The unit prices that were charged on each day, by model and kind of charge.
CREATE TABLE unit_prices (
    account VARCHAR NOT NULL,       --| Name of the account in the config.
    usage_date DATE NOT NULL,       --| UTC day.
    model VARCHAR,                  --| Model that was called.
    line VARCHAR NOT NULL,          --| input, output or cached (price per million tokens), or ext (price per unit).
    category VARCHAR,               --| Category of an ext charge; tokens otherwise.
    item VARCHAR,                   --| Item of an ext charge; otherwise the same as line.
    unit VARCHAR,                   --| Unit of an ext charge; token otherwise.
    price DECIMAL(18,12) NOT NULL,  --| The unit price.
    currency VARCHAR,               --| ISO 4217 code of the price.
    requests BIGINT NOT NULL        --| Charges of the day at this price.
);

--| A row per window that was fetched and sealed: what is covered, since when, and how complete the API said it was.
CREATE TABLE coverage (
    account VARCHAR NOT NULL,           --| Name of the account in the config.
    usage_date DATE NOT NULL,           --| UTC day the window lies in.
    window_start TIMESTAMPTZ NOT NULL,  --| Start of the window, UTC, inclusive.
    window_end TIMESTAMPTZ NOT NULL,    --| End of the window, UTC, exclusive.
    seq INTEGER NOT NULL,               --| Order in which the day's windows were sealed; of those that cover an instant
                                        --| the last one owns it.
    announced BIGINT,                   --| Records the API said there were for what was asked, which is a second or
                                        --| more wider on both sides; NULL if it said nothing. Compare it with listed.
    listed BIGINT NOT NULL,             --| Distinct records, by id and content, that came for what was asked.
    lacking BIGINT NOT NULL,            --| Records the API announced that could not be had, of a window with the proof
                                        --| none; 0 otherwise, or if it is not known.
    records BIGINT NOT NULL,            --| Of listed, those within the window: the second that two windows are both
                                        --| asked for counts once. Of a window that owns nothing any more: listed.
    pages BIGINT NOT NULL,              --| Pages that were archived.
    requests BIGINT NOT NULL,           --| Requests it took, retries included.
    proof VARCHAR,                      --| How the window was proven complete. total: the count agreed with what the
                                        --| API announced. parts: fetched whole and in parts of time it gave the same
                                        --| records. repeat: two whole passes gave the same records. none: it is not
                                        --| proven to be all.
    fetched_at TIMESTAMPTZ NOT NULL,    --| When the window was complete, UTC.
    run_id VARCHAR NOT NULL,            --| Run that fetched it.
    owns BOOLEAN NOT NULL               --| Whether some instant of the day is still this window's; false if later
                                        --| windows replaced all of it.
);

--| A row per account of the config or with anything fetched.
CREATE TABLE accounts (
    account VARCHAR NOT NULL,     --| Name of the account in the config.
    configured BOOLEAN NOT NULL,  --| Whether it was in the config when the file was published; true of all if the
                                  --| config names none of the lake's accounts.
    covered_from TIMESTAMPTZ,     --| Start of its first window, UTC; NULL if nothing was ever fetched.
    covered_to TIMESTAMPTZ        --| End of its last window, UTC: how fresh it is.
);

--| How much of each day was fetched, by the parts that book days make of it. A day of which nothing was has no row.
CREATE TABLE coverage_daily (
    account VARCHAR NOT NULL,          --| Name of the account in the config.
    usage_date DATE NOT NULL,          --| UTC day.
    book_date DATE NOT NULL,           --| Book day: a row for each part of the UTC day.
    covered_seconds INTEGER NOT NULL,  --| Seconds of the part that some window covers.
    missing_seconds INTEGER NOT NULL   --| The others, of a day that isn't over as well.
);

-- A table, since nearly every view asks for it, some of them four times, and a calendar of tables would be looked up in
-- each.
--| How far the data goes, in one row: what "now" is in the views of this file.
CREATE TABLE data_as_of (
    as_of TIMESTAMPTZ,    --| End of the last window that was fetched, of any account, UTC; NULL if nothing was fetched
                          --| and there is no usage. accounts has each one's own.
    current_month DATE,   --| First day of the month that holds it.
    complete_before DATE  --| Book day before which all days are over.
);

--| How much of each month was fetched of each account that is expected to be there, up to the end of the running
--| quarter.
CREATE TABLE completeness_monthly (
    "month" DATE NOT NULL,             --| First day of the month.
    account VARCHAR NOT NULL,          --| Name of the account in the config.
    period_seconds BIGINT NOT NULL,    --| Seconds of the month.
    expected_seconds BIGINT NOT NULL,  --| Of these, seconds that are over, by data_as_of.
    covered_seconds BIGINT NOT NULL,   --| Seconds that were fetched.
    missing_seconds BIGINT NOT NULL,   --| Seconds that are over and were not fetched.
    ahead_seconds BIGINT NOT NULL,     --| Seconds from the account's first window on that aren't there yet: still to
                                       --| come, or missing. 0 of an account that is in the config no more.
    completeness VARCHAR NOT NULL      --| complete; or how many hours are there, and what is lacking.
);

--| Findings of the quality checks within a day. The view quality_issues adds those across days.
CREATE TABLE day_issues (
    account VARCHAR NOT NULL,     --| Name of the account in the config.
    usage_date DATE NOT NULL,     --| UTC day.
    check_name VARCHAR NOT NULL,  --| Name of the check.
    severity VARCHAR NOT NULL,    --| info, warning or error.
    field VARCHAR,                --| The API's name of the field; NULL if the record as a whole is meant.
    model VARCHAR,                --| Model the finding is about; NULL if it is about none.
    records BIGINT NOT NULL,      --| Number of records.
    sample_id VARCHAR,            --| Id of the first such record.
    detail VARCHAR                --| The figures.
);

--| The days on which two accounts hold the same records: what they cost counts twice. Two keys of one organisation do
--| that.
CREATE TABLE account_overlaps (
    account VARCHAR NOT NULL,   --| Name of one account in the config.
    other VARCHAR NOT NULL,     --| Name of the other; each pair stands once.
    usage_date DATE NOT NULL,   --| UTC day.
    records BIGINT NOT NULL,    --| Records that both hold, by id, time and content.
    sample_id VARCHAR NOT NULL  --| Id of one of them.
);

--| A row per record that could not be normalised: it counts in no sum until the cause is mended.
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

--| A row each time the balance was asked for.
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

--| A row per run of the journal, as of published_at. The run that published the file stands as it was then; a run that
--| changed no data publishes no file and appears with the next that does.
CREATE TABLE runs (
    run_id VARCHAR NOT NULL,          --| Id of the run.
    command VARCHAR NOT NULL,         --| The command: export, rebuild, …
    job VARCHAR,                      --| Name of the job of the schedule that began it; NULL if it was begun by hand or
                                      --| by another program.
    logical_time TIMESTAMPTZ,         --| The time of the schedule that it was for, UTC; those before it that had been
                                      --| missed are done with it. NULL as job.
    version VARCHAR NOT NULL,         --| Version of the program.
    pid BIGINT NOT NULL,              --| Its process id.
    started_at TIMESTAMPTZ NOT NULL,  --| Start, UTC.
    ended_at TIMESTAMPTZ,             --| End, UTC; NULL while it runs.
    status VARCHAR NOT NULL,          --| running, done, partial, refused, failed, stopped or interrupted.
    error VARCHAR,                    --| Why it did not end as done.
    records BIGINT NOT NULL,          --| Records fetched and sealed.
    quarantined BIGINT NOT NULL,      --| Records quarantined in the days written.
    requests BIGINT NOT NULL,         --| Requests sent to the Portal.
    retries BIGINT NOT NULL,          --| Of these, repetitions of a failed one.
    throttled BIGINT NOT NULL,        --| Of these, answered by 429.
    windows BIGINT NOT NULL,          --| Windows sealed.
    days_written BIGINT NOT NULL      --| Day files replaced.
);

--| Each account's part of a run.
CREATE TABLE run_accounts (
    run_id VARCHAR NOT NULL,       --| Id of the run.
    account VARCHAR NOT NULL,      --| Name of the account in the config.
    status VARCHAR NOT NULL,       --| How it ended for this account, as in runs.
    error VARCHAR,                 --| Why it did not end as done.
    records BIGINT NOT NULL,       --| Records fetched and sealed.
    quarantined BIGINT NOT NULL,   --| Records quarantined in the days written.
    requests BIGINT NOT NULL,      --| Requests sent to the Portal.
    retries BIGINT NOT NULL,       --| Of these, repetitions of a failed one.
    throttled BIGINT NOT NULL,     --| Of these, answered by 429.
    windows BIGINT NOT NULL,       --| Windows sealed.
    days_written BIGINT NOT NULL,  --| Day files replaced.
    failed_windows STRUCT(window_start TIMESTAMPTZ, window_end TIMESTAMPTZ, error VARCHAR)[]
                                   --| Windows that could not be fetched, UTC, start inclusive, end exclusive.
);

--| A row per month of the journal that runs was filled from.
CREATE TABLE journal_months (
    "month" VARCHAR NOT NULL,  --| UTC month in which its runs started, 2026-11.
    digest VARCHAR NOT NULL    --| SHA-256 of the rows of its file, journal/runs/MONTH.parquet.
);
