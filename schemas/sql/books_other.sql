-- What books.sql makes, of books whose days aren't UTC days (book_date_of, book_day_starts, day_parts, booked_usage),
-- whose periods aren't calendar months (month_of, period_of), or either (the others). A day before or after those of
-- book_days is taken for a UTC day of a calendar month. An instant lies in the book day of its UTC date, or in the one
-- before or after it: so one row is looked up, where a search for the interval would compare all.

CREATE MACRO month_of(book_day) AS coalesce(
    (SELECT days.in_month FROM book_days AS days(this_day, in_month, began, ended) WHERE days.this_day = book_day),
    date_trunc('month', book_day)::DATE);

CREATE MACRO period_of(of_month) AS coalesce(
    (
        SELECT these.called
        FROM periods AS these(in_month, called, of_year, of_quarter, nth, first_one, after_it, began, ended)
        WHERE these.in_month = of_month
    ), strftime(of_month::DATE, '%Y-%m'));

CREATE MACRO book_date_of(instant) AS coalesce(
    (
        SELECT days.this_day + CASE WHEN instant < days.began THEN -1 WHEN instant >= days.ended THEN 1 ELSE 0 END
        FROM book_days AS days(this_day, in_month, began, ended)
        WHERE days.this_day = make_timestamp(epoch_us(instant))::DATE
    ),
    make_timestamp(epoch_us(instant))::DATE);

CREATE MACRO book_day_starts(book_day) AS coalesce(
    (SELECT epoch(days.began) FROM book_days AS days(this_day, in_month, began, ended) WHERE days.this_day = book_day),
    epoch(book_day));

CREATE MACRO period_starts(of_month) AS coalesce(
    (
        SELECT these.began
        FROM periods AS these(in_month, called, of_year, of_quarter, nth, first_one, after_it, began, ended)
        WHERE these.in_month = of_month
    ), to_timestamp(epoch(of_month)));

CREATE MACRO period_ends(of_month) AS coalesce(
    (
        SELECT these.ended
        FROM periods AS these(in_month, called, of_year, of_quarter, nth, first_one, after_it, began, ended)
        WHERE these.in_month = of_month
    ), to_timestamp(epoch(of_month + INTERVAL 1 MONTH)));

CREATE MACRO charge_starts(utc_day, of_month) AS greatest(to_timestamp(epoch(utc_day)), (
        SELECT these.began
        FROM periods AS these(in_month, called, of_year, of_quarter, nth, first_one, after_it, began, ended)
        WHERE these.in_month = of_month
    ));

CREATE MACRO charge_ends(utc_day, of_month) AS least(to_timestamp(epoch(utc_day) + 86400), (
        SELECT these.ended
        FROM periods AS these(in_month, called, of_year, of_quarter, nth, first_one, after_it, began, ended)
        WHERE these.in_month = of_month
    ));

-- Of a UTC day with usage, the book days of the same date, of the one before and of the one after: clocks are no more
-- than a day off UTC. Most days lie in two of them.
CREATE VIEW day_parts (usage_date, book_date, starts_at, ends_at) AS
SELECT d.usage_date, b.book_date, greatest(b.starts_at, to_timestamp(epoch(d.usage_date))) AS starts_at,
    least(b.ends_at, to_timestamp(epoch(d.usage_date) + 86400)) AS ends_at
FROM (
    SELECT usage_date, usage_date + unnest([-1, 0, 1]) AS near FROM (SELECT DISTINCT usage_date FROM partitions)
) d JOIN book_days b ON b.book_date = d.near
WHERE b.starts_at < to_timestamp(epoch(d.usage_date) + 86400) AND b.ends_at > to_timestamp(epoch(d.usage_date))
    AND b.ends_at > b.starts_at;

-- The book day of the same date is before the record, after it, or its own.
CREATE VIEW booked_usage (account) AS
SELECT u.*, u.usage_date + CASE WHEN u.request_time < b.starts_at THEN -1 WHEN u.request_time >= b.ends_at THEN 1
    ELSE 0 END AS book_date
FROM usage u LEFT JOIN book_days b ON b.book_date = u.usage_date;
