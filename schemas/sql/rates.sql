-- What is charged, in the currency of the books. The tables of usage have no column of it, for a rate that comes would
-- have them summed anew: in_books converts what they have.

--| What amounts are converted by: a row per currency and book day that something is charged of; none if the books have
--| no currency. A row without a rate says why.
CREATE TABLE book_rates (
    currency VARCHAR NOT NULL,       --| ISO 4217 code of the amount.
    book_date DATE NOT NULL,         --| Book day of the usage.
    book_currency VARCHAR NOT NULL,  --| Currency of the books.
    "month" DATE NOT NULL,           --| Period of the book day, as in periods.
    rate DECIMAL(18,10),             --| Units of book_currency for one unit of currency; NULL if there is none.
    rate_date DATE,                  --| Day that the rate was written for; NULL of a mean, and of the books' own
                                     --| currency.
    mean_of INTEGER,                 --| How many rates it is the mean of, rounded half to even to 10 decimals; NULL if
                                     --| it is none.
    source VARCHAR,                  --| Who says so, as the file of rates has it.
    final BOOLEAN NOT NULL,          --| Whether the file goes as far as the day, or its period, so that no later rate
                                     --| changes it.
    kept_by DATE,                    --| Closed month that keeps the rate, whatever the file has now; NULL if none does.
    lacks VARCHAR                    --| Why there is no rate, and what to write; NULL if there is one.
);

--| An amount of a currency and a book day in the currency of the books, exact; NULL without a rate.
--| in_books(net_cost, currency, book_date)
CREATE MACRO in_books(amount, of_currency, book_day) AS amount * (
    SELECT these.one_is
    FROM book_rates AS these(from_one, on_day, into_one, in_month, one_is, written, many, says, final_one, keeper, why)
    WHERE these.from_one = of_currency AND these.on_day = book_day
);

--| The sum of amounts in the currency of the books: NULL where one of them has no rate, for a sum that leaves some out
--| is about something else. book_sum(book_cost, net_cost)
CREATE MACRO book_sum(book_amount, net_amount) AS CASE WHEN count(book_amount) = count(net_amount)
    THEN sum(book_amount) END;

--| Currencies and periods without a rate for something that is charged in them, open periods alone: what book_cost
--| lacks.
CREATE VIEW missing_rates /* of the whole file */ (
    "month",        --| Period of the book days, as in periods.
    period,         --| What people call it.
    currency,       --| ISO 4217 code of the amounts.
    book_currency,  --| Currency of the books.
    days,           --| Book days without a rate.
    first_day,      --| The first of them.
    last_day,       --| The last of them.
    lacks           --| Why the first has none, and what to write.
) AS
SELECT "month", period_of("month") AS period, currency, book_currency, count(*) AS days, min(book_date) AS first_day,
    max(book_date) AS last_day, arg_min(lacks, book_date) AS lacks
FROM book_rates WHERE rate IS NULL AND "month" NOT IN (SELECT c."month" FROM closed_months c)
GROUP BY "month", currency, book_currency;
