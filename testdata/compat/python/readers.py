"""Reads the usage of a lake with the readers that people have, each by the call that a person types first, and by the one to type
where that doesn't do. Prints a JSON object per reader and call.

    readers.py LAKE [READER]

What is read of a lake: how many records, the sum of amount, by account and by day; how many items of ext_items, and the sum of theirs;
how many custom_user_id are NULL, and how many empty. Sums are text, all digits. A reader that gives doubles adds them up exactly and
is told by its type, not by what it lost.
"""

import datetime
import decimal
import glob
import importlib.metadata
import json
import os
import sys
import warnings
from fractions import Fraction

decimal.getcontext().prec = 60
warnings.simplefilter("ignore")


class Result:
    """Figures of a lake, row by row."""

    def __init__(self):
        self.count = self.items = self.nulls = self.empty = 0
        self.sum = self.item_sum = Fraction(0)
        self.accounts, self.days = {}, {}
        self.types = {}

    def row(self, account, day, amount, custom, items):
        self.count += 1
        self.types.setdefault("amount", set()).add(type(amount).__name__)
        self.types.setdefault("account", set()).add(type(account).__name__)
        missing = [v is None or type(v).__name__ == "NAType" or v is not items and v != v for v in (amount, custom, items)]
        amount, custom, items = (None if m else v for m, v in zip(missing, (amount, custom, items)))
        # A float is taken for what it prints: the nearest double to twelve decimals is no other figure.
        value = Fraction(0) if amount is None else Fraction(str(amount))
        self.sum += value
        self.accounts[str(account)] = self.accounts.get(str(account), 0) + value
        self.days[str(day)[:10]] = self.days.get(str(day)[:10], 0) + value
        if custom is None:
            self.nulls += 1
        elif custom == "":
            self.empty += 1
        for item in items if items is not None else []:
            self.items += 1
            if item["amount"] is not None:
                self.item_sum += Fraction(str(item["amount"]))

    def grouped(self, rows):
        """Figures that the reader added up: account, day, count, amount, nulls, empty, items, sum of items."""
        for account, day, n, amount, nulls, empty, items, item_sum in rows:
            self.types.setdefault("amount", set()).add(type(amount).__name__)
            self.types.setdefault("account", set()).add(type(account).__name__)
            value = Fraction(str(amount or 0))
            self.count += int(n)
            self.nulls += int(nulls)
            self.empty += int(empty)
            self.items += int(items or 0)
            self.item_sum += Fraction(str(item_sum or 0))
            self.sum += value
            self.accounts[str(account)] = self.accounts.get(str(account), 0) + value
            self.days[str(day)[:10]] = self.days.get(str(day)[:10], 0) + value
        return self

    def json(self):
        def text(f):
            n = f * 10**12
            return str(n.numerator) if n.denominator == 1 else "%.15e" % float(f)

        return {
            "count": self.count, "items": self.items, "null": self.nulls, "empty": self.empty, "sum": text(self.sum), "item_sum": text(self.item_sum),
            "accounts": {k: text(v) for k, v in self.accounts.items()}, "days": {k: text(v) for k, v in self.days.items() if v},
            "types": {k: " or ".join(sorted(v - {"NoneType"})) for k, v in self.types.items()},
        }


COLUMNS = ["account", "usage_date", "amount", "custom_user_id", "ext_items"]
# As a view `u` of the day files.
SQL = """SELECT account, usage_date, count(*), sum(amount), count(*) FILTER (WHERE custom_user_id IS NULL), count(*) FILTER (WHERE custom_user_id = ''),
    sum(len(ext_items)), sum(list_sum(list_transform(ext_items, {x}))) FROM {u} GROUP BY ALL"""


def from_arrow(table):
    r = Result()
    for batch in table.select(COLUMNS).to_batches():
        for row in batch.to_pylist():
            r.row(*(row[c] for c in COLUMNS))
    return r


def from_pandas(frame):
    r = Result()
    for row in frame[COLUMNS].itertuples(index=False):
        r.row(*row)
    return r


def duckdb_with(query):
    def read(lake):
        import duckdb

        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        version = tuple(int(p) for p in duckdb.__version__.split(".")[:2])
        x = "lambda x: x.amount" if version >= (1, 3) else "x -> x.amount"
        return Result().grouped(connection.execute(SQL.format(u=query % lake, x=x)).fetchall())

    return read


def pyarrow_table(lake):
    import pyarrow.parquet

    return from_arrow(pyarrow.parquet.read_table(lake + "/usage"))


def pyarrow_dataset(lake):
    import pyarrow.dataset

    return from_arrow(pyarrow.dataset.dataset(lake + "/usage", partitioning="hive").to_table())


def pandas_plain(lake):
    import pandas

    return from_pandas(pandas.read_parquet(lake + "/usage"))


def pandas_decimal(lake):
    import pandas

    return from_pandas(pandas.read_parquet(lake + "/usage", dtype_backend="pyarrow"))


def polars_lazy(lake):
    import polars

    r = Result()
    for row in polars.scan_parquet(lake + "/usage").select(COLUMNS).collect().iter_rows():
        r.row(*row)
    return r


def polars_pyarrow(lake):
    import polars

    r = Result()
    for row in polars.read_parquet(lake + "/usage", use_pyarrow=True).select(COLUMNS).iter_rows():
        r.row(*row)
    return r


def fastparquet_rows(lake):
    import fastparquet

    return from_pandas(fastparquet.ParquetFile(lake + "/usage").to_pandas())


def fastparquet_money(lake):
    import fastparquet

    frame = fastparquet.ParquetFile(lake + "/usage").to_pandas(columns=["amount", "account", "usage_date", "custom_user_id"])
    r = Result()
    for account, day, amount, custom in frame[["account", "usage_date", "amount", "custom_user_id"]].itertuples(index=False):
        r.row(account, day, None if amount != amount else round(amount, 12), custom, None)
    return r


def dask_plain(lake):
    import dask.dataframe

    return from_pandas(dask.dataframe.read_parquet(lake + "/usage").compute())


def dask_map(lake):
    import dask
    import dask.dataframe
    import pandas

    def one(path):
        return pandas.read_parquet(path, dtype_backend="pyarrow", partitioning=None, columns=COLUMNS)

    with dask.config.set(scheduler="synchronous"):
        return from_pandas(dask.dataframe.from_map(one, sorted(glob.glob(lake + "/usage/*/*/*.parquet"))).compute())


def datafusion_table(lake):
    import datafusion

    context = datafusion.SessionContext()
    context.sql(f"CREATE EXTERNAL TABLE u STORED AS PARQUET LOCATION '{lake}/usage/'").collect()
    return from_arrow(context.sql("SELECT " + ", ".join(COLUMNS) + " FROM u").to_arrow_table())


def datafusion_register(lake):
    import datafusion

    context = datafusion.SessionContext()
    context.register_parquet("u", lake + "/usage")
    return from_arrow(context.sql("SELECT " + ", ".join(COLUMNS) + " FROM u").to_arrow_table())


def daft_glob(lake, **options):
    import daft

    return from_arrow(daft.read_parquet(lake + "/usage/**/*.parquet", **options).select(*COLUMNS).to_arrow())


def daft_hive(lake):
    return daft_glob(lake, hive_partitioning=True)


def ibis_plain(lake):
    import ibis

    return from_arrow(ibis.duckdb.connect().read_parquet(lake + "/usage/**/*.parquet").select(*COLUMNS).to_pyarrow())


def delta_convert(lake):
    import shutil
    import tempfile

    import deltalake

    with tempfile.TemporaryDirectory() as work:
        shutil.copytree(lake + "/usage", work + "/usage")
        key = deltalake.Schema([deltalake.Field("acct", "string"), deltalake.Field("date", "date")])
        deltalake.convert_to_deltalake(work + "/usage", partition_by=key, partition_strategy="hive")
        return from_arrow(pyarrow_of(deltalake.DeltaTable(work + "/usage")))


def pyarrow_of(table):
    import pyarrow

    query = __import__("deltalake").QueryBuilder().register("u", table)
    return pyarrow.table(query.execute("SELECT " + ", ".join(COLUMNS) + " FROM u"))


def clickhouse(lake):
    import chdb

    query = f"""SELECT account, usage_date, count(), sum(amount), countIf(custom_user_id IS NULL), countIf(custom_user_id = ''), sum(length(ext_items)),
        sum(arraySum(x -> coalesce(toDecimal128(x.amount, 12), toDecimal128(0, 12)), ext_items))
        FROM file('{lake}/usage/**/*.parquet') GROUP BY ALL SETTINGS output_format_decimal_trailing_zeros = 1, output_format_json_quote_decimals = 1"""
    rows = json.loads(str(chdb.query(query, "JSONCompact")))["data"]
    return Result().grouped((a, d, n, decimal.Decimal(s or 0), z, e, i, decimal.Decimal(t or 0)) for a, d, n, s, z, e, i, t in rows)


def spark(**config):
    def read(lake):
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", False).config("spark.sql.session.timeZone", "UTC")
        builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1").config("spark.log.level", "OFF")
        for key, value in config.items():
            builder = builder.config(key.replace("_", "."), value)
        session = builder.getOrCreate()
        try:
            session.read.parquet(lake + "/usage").createOrReplaceTempView("u")
            rows = session.sql("""SELECT account, string(usage_date), count(*), sum(amount), count_if(custom_user_id IS NULL),
                count_if(custom_user_id = ''), 0, 0 FROM u GROUP BY ALL""").collect()
            # sum() keeps twelve places; an addition in an expression is cut to eleven.
            items, item_sum = session.sql("SELECT count(*), sum(x.amount) FROM u LATERAL VIEW explode(ext_items) AS x").first()
            result = Result().grouped(tuple(r) for r in rows)
            result.items, result.item_sum = items, Fraction(str(item_sum or 0))
            return result
        finally:
            session.stop()

    return read


# The name of the reader, its package, the call as a person types it, and how it is made. Of one reader, the plainest first.
READERS = [
    ("DuckDB", "duckdb", "FROM 'usage/**/*.parquet'", duckdb_with("'%s/usage/**/*.parquet'")),
    ("DuckDB", "duckdb", "read_parquet('usage/**/*.parquet', hive_partitioning = false)", duckdb_with("read_parquet('%s/usage/**/*.parquet', hive_partitioning = false)")),
    ("pyarrow", "pyarrow", 'pyarrow.parquet.read_table("usage")', pyarrow_table),
    ("pyarrow", "pyarrow", 'pyarrow.dataset.dataset("usage", partitioning="hive")', pyarrow_dataset),
    ("pandas", "pandas", 'pandas.read_parquet("usage")', pandas_plain),
    ("pandas", "pandas", 'pandas.read_parquet("usage", dtype_backend="pyarrow")', pandas_decimal),
    ("polars", "polars", 'polars.scan_parquet("usage")', polars_lazy),
    ("polars", "polars", 'polars.read_parquet("usage", use_pyarrow=True)', polars_pyarrow),
    ("Dask", "dask", 'dask.dataframe.read_parquet("usage")', dask_plain),
    ("Dask", "dask", 'dask.dataframe.from_map(lambda f: pandas.read_parquet(f, dtype_backend="pyarrow", partitioning=None), files)', dask_map),
    ("DataFusion", "datafusion", "CREATE EXTERNAL TABLE u STORED AS PARQUET LOCATION 'usage/'", datafusion_table),
    ("DataFusion", "datafusion", 'register_parquet("u", "usage")', datafusion_register),
    ("daft", "daft", 'daft.read_parquet("usage/**/*.parquet")', daft_glob),
    ("daft", "daft", 'daft.read_parquet("usage/**/*.parquet", hive_partitioning=True)', daft_hive),
    ("ibis", "ibis-framework", 'read_parquet("usage/**/*.parquet")', ibis_plain),
    ("deltalake", "deltalake", 'convert_to_deltalake("usage", partition_by=…)', delta_convert),
    ("ClickHouse", "chdb", "file('usage/**/*.parquet')", clickhouse),
    ("Spark", "pyspark", 'spark.read.parquet("usage")', spark()),
    ("Spark", "pyspark", 'spark.read.parquet("usage"), with spark.sql.parquet.enableVectorizedReader=false', spark(spark_sql_parquet_enableVectorizedReader="false")),
    ("fastparquet", "fastparquet", 'ParquetFile("usage").to_pandas()', fastparquet_rows),
    ("fastparquet", "fastparquet", 'ParquetFile("usage").to_pandas(columns=["amount", …])', fastparquet_money),
]


def main():
    lake, only = os.path.abspath(sys.argv[1]), sys.argv[2:]
    for name, package, call, read in READERS:
        if only and name.lower() not in (o.lower() for o in only):
            continue
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        out = {"reader": name, "version": version, "call": call}
        try:
            out["figures"] = read(lake).json()
        except Exception as error:  # of any make: what it says is what is shown
            out["error"] = type(error).__name__
            out["says"] = " ".join(str(error).split())[:300]
        print(json.dumps(out), flush=True)


if __name__ == "__main__":
    main()
