-- The calendar that the company keeps its books by. Records are fetched, kept and published by UTC day (usage_date);
-- what is charged goes by book day (book_date), which is the day by the clocks of the books' zone, and by period.
--
-- Every table calls a period by a month: the first day of the month that it is, or of the month that the period of a
-- fiscal calendar goes by; periods has its name and its days. So the month after one is the period after it.
--
-- What a macro is asked of may be called like a column of the tables here: so macros call these otherwise.
--
-- The macros and booked_usage are those of books in UTC and calendar months. Of others SQLLayout makes what looks up
-- book_days, which is empty here.

--| One row: the calendar of the books.
CREATE TABLE books (
    zone VARCHAR NOT NULL,      --| The zone whose clocks book days go by, as IANA calls it.
    calendar VARCHAR NOT NULL,  --| What its periods are, in words.
    settings VARCHAR NOT NULL   --| The settings as JSON; empty if they are the default.
);

--| The periods of the books, of the years 1970 to 2149 or of the file that lists them.
CREATE TABLE periods (
    "month" DATE NOT NULL,            --| What tables call the period by: the first day of its month.
    period VARCHAR NOT NULL,          --| What people call it: 2026-10; of a fiscal calendar 2026-P07.
    fiscal_year INTEGER NOT NULL,     --| Calendar year in which its fiscal year begins.
    fiscal_quarter INTEGER NOT NULL,  --| 1 to 4.
    number INTEGER NOT NULL,          --| Its number in the fiscal year, 1 to 12.
    period_start DATE NOT NULL,       --| First book day.
    period_end DATE NOT NULL,         --| Book day before which it ends.
    starts_at TIMESTAMPTZ NOT NULL,   --| First instant, UTC, inclusive.
    ends_at TIMESTAMPTZ NOT NULL      --| End, UTC, exclusive.
);

--| The book days of the same years, where they aren't UTC days or their periods aren't calendar months; else none.
CREATE TABLE book_days (
    book_date DATE NOT NULL,         --| Book day.
    "month" DATE NOT NULL,           --| Its period, as in periods.
    starts_at TIMESTAMPTZ NOT NULL,  --| First instant, UTC, inclusive.
    ends_at TIMESTAMPTZ NOT NULL     --| End, UTC, exclusive.
);

--| The period that a book day lies in, as the tables call it. month_of(book_date)
CREATE MACRO month_of(book_day) AS date_trunc('month', book_day)::DATE;

--| What people call a period: 2026-10; of a fiscal calendar 2026-P07. period_of(billing_month)
CREATE MACRO period_of(of_month) AS strftime(of_month::DATE, '%Y-%m');

--| The book day that holds an instant. book_date_of(request_time)
CREATE MACRO book_date_of(instant) AS make_timestamp(epoch_us(instant))::DATE;

--| The first instant of a book day, in seconds since 1970 UTC. book_day_starts(book_date)
CREATE MACRO book_day_starts(book_day) AS epoch(book_day);

--| The first instant of a period, and its end. period_starts(billing_month)
CREATE MACRO period_starts(of_month) AS to_timestamp(epoch(of_month));
CREATE MACRO period_ends(of_month) AS to_timestamp(epoch(of_month + INTERVAL 1 MONTH));

--| Where a UTC day begins and ends, or what a period has of it. charge_starts(usage_date, usage_month)
CREATE MACRO charge_starts(utc_day, of_month) AS to_timestamp(epoch(utc_day));
CREATE MACRO charge_ends(utc_day, of_month) AS to_timestamp(epoch(utc_day) + 86400);

--| The parts of each UTC day with usage that book days make of it: one where they are UTC days, else mostly two.
CREATE VIEW day_parts /* of the whole file */ (
    usage_date,  --| UTC day.
    book_date,   --| Book day.
    starts_at,   --| Start of the part, UTC, inclusive.
    ends_at      --| End of the part, UTC, exclusive.
) AS
SELECT usage_date, usage_date AS book_date, to_timestamp(epoch(usage_date)) AS starts_at,
    to_timestamp(epoch(usage_date) + 86400) AS ends_at
FROM (SELECT DISTINCT usage_date FROM partitions);

--| usage with the book day of each record.
CREATE VIEW booked_usage (
    account, usage_date, request_time, id, ordinal, record_kind, token_id, user_id, custom_user_id, model, model_type,
    channel_id, input_tokens, output_tokens, cached_tokens, total_tokens, input_price, output_price, cached_price,
    total_amount, discount_amount, amount, currency, ext_items, extra, fetched_at, run_id,
    book_date  --| Day by the clocks of the books' zone.
) AS
SELECT u.*, u.usage_date AS book_date FROM usage u;
