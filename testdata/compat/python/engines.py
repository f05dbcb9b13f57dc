"""Reads the tables of a delivery with the engines that people have, each by the statement of docs/engines.md.

    engines.py ENGINE…

Each line of stdin is a JSON object: `lake`, a lake's directory, or null; `table`, the tables' directory or s3:// URL; `s3`, for such
a URL, `endpoint`, `key` and `secret`; `delta`, whether the Delta table alone is to be read; `catalog`, the address of a REST catalog, whose table is
read then by the engines whose names end with -catalog: `table` is its name, NAMESPACE.NAME. For each engine that can read such a table a line of JSON follows on stdout, then an empty one.
The process stays, as a notebook does: what an engine remembers of an older version of the table must not be told.

What is read, by account and day: records; the sum of amount, as text with all its digits, or null; records without an amount and
without a custom_user_id, and with an empty one; items of ext_items, and the sum of their amounts. Engines add up themselves.
"""

import decimal
import glob
import importlib.metadata
import importlib.resources
import json
import os
import sys
import warnings

decimal.getcontext().prec = 60
warnings.simplefilter("ignore")


def digits(value):
    """A sum as text: what isn't a decimal of the engine's is told by its type."""
    if value is None:
        return None
    return format(value, "f") if isinstance(value, decimal.Decimal) else f"{type(value).__name__} {value}"


def by_day(records, items):
    """Of rows of account, day, count, sum, without amount, without custom_user_id, empty; and of account, day, items, sum."""
    found = {(str(a), str(d)[:10]): (int(n), digits(s)) for a, d, n, s in items}
    out = {}
    for account, day, count, total, free, nulls, empty in records:
        key = (str(account), str(day)[:10])
        out["/".join(key)] = [int(count), digits(total), int(free), int(nulls), int(empty), *found.pop(key, (0, None))]
    if found:
        raise ValueError(f"items without records: {found}")
    return out


RECORDS = """SELECT account, usage_date, count(*), sum(amount), count(*) - count(amount), count(*) - count(custom_user_id),
    sum(CASE WHEN custom_user_id = '' THEN 1 ELSE 0 END) FROM {u} GROUP BY account, usage_date"""
ITEMS = """SELECT account, usage_date, count(*), sum(item.amount) FROM
    (SELECT account, usage_date, unnest(ext_items) AS item FROM {u}) AS i GROUP BY account, usage_date"""
# DataFusion has no item.amount.
ITEMS_FUSION = ITEMS.replace("item.amount", "item['amount']")


def options_of(s3):
    return s3 and {"AWS_ENDPOINT_URL": s3["endpoint"], "AWS_ACCESS_KEY_ID": s3["key"], "AWS_SECRET_ACCESS_KEY": s3["secret"],
                   "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}


def duckdb_of(u, *extensions, s3=None):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name in ["httpfs", *extensions] if s3 else extensions:  # INSTALL gets them from the network
        found = importlib.resources.files("duckdb_extension_" + name) / "extensions" / ("v" + duckdb.__version__) / (name + ".duckdb_extension")
        connection.execute(f"LOAD '{found}'")
    if s3:
        connection.execute(f"""CREATE SECRET (TYPE s3, KEY_ID '{s3['key']}', SECRET '{s3['secret']}', REGION 'us-east-1',
            ENDPOINT '{s3['endpoint'].removeprefix('http://')}', USE_SSL false, URL_STYLE 'path')""")
    return connection, [q.format(u=u) for q in (RECORDS, ITEMS)]


def truth(lake):
    files = sorted(glob.glob(lake + "/usage/*/*/*.parquet"))
    connection, queries = duckdb_of("read_parquet($files, hive_partitioning = false)")
    return by_day(*(connection.execute(q, {"files": files}).fetchall() for q in queries))


def deltalake_arrow(table, s3):
    from deltalake import DeltaTable

    return arrow_by_day(DeltaTable(table, storage_options=options_of(s3)).to_pyarrow_table())


def pyiceberg_arrow(table, s3):
    from pyiceberg.table import StaticTable

    return arrow_by_day(StaticTable.from_metadata(table, iceberg_options_of(s3)).scan().to_arrow())


def iceberg_options_of(s3):
    return {"s3.endpoint": s3["endpoint"], "s3.access-key-id": s3["key"], "s3.secret-access-key": s3["secret"],
            "s3.region": "us-east-1"} if s3 else {}


def arrow_by_day(usage):
    import pyarrow.compute

    usage = usage.append_column("empty", pyarrow.compute.equal(usage["custom_user_id"], ""))
    keys = ["account", "usage_date"]
    groups = usage.group_by(keys).aggregate([([], "count_all"), ("amount", "sum"), ("amount", "count"), ("custom_user_id", "count"), ("empty", "sum")])
    records = [(r["account"], r["usage_date"], r["count_all"], r["amount_sum"], r["count_all"] - r["amount_count"],
                r["count_all"] - r["custom_user_id_count"], r["empty_sum"] or 0) for r in groups.to_pylist()]
    lists = usage["ext_items"].combine_chunks()
    parents = usage.select(keys).take(pyarrow.compute.list_parent_indices(lists))
    flat = parents.append_column("amount", pyarrow.compute.struct_field(pyarrow.compute.list_flatten(lists), "amount"))
    sums = flat.group_by(keys).aggregate([([], "count_all"), ("amount", "sum")])
    return by_day(records, [(r["account"], r["usage_date"], r["count_all"], r["amount_sum"]) for r in sums.to_pylist()])


def deltalake_query(table, s3):
    import pyarrow
    from deltalake import DeltaTable, QueryBuilder

    builder = QueryBuilder().register("usage", DeltaTable(table, storage_options=options_of(s3)))
    return by_day(*([tuple(r.values()) for r in pyarrow.table(builder.execute(q.format(u="usage"))).to_pylist()]
                    for q in (RECORDS, ITEMS_FUSION)))


def polars_delta(table, s3):
    import polars as pl

    return polars_by_day(pl.scan_delta(table, storage_options=options_of(s3)))


def polars_iceberg(table, s3):
    import polars as pl

    return polars_by_day(pl.scan_iceberg(table, storage_options=iceberg_options_of(s3)))


def polars_by_day(usage):
    import polars as pl

    keys = ["account", "usage_date"]
    records = usage.group_by(keys).agg(
        pl.len(), pl.col("amount").sum(), pl.col("amount").null_count().alias("free"),
        pl.col("custom_user_id").null_count().alias("nulls"), (pl.col("custom_user_id") == "").sum().alias("empty"),
        pl.col("amount").count().alias("there"))
    # polars takes the sum of nothing for 0.
    rows = [(a, d, n, s if there else None, free, nulls, empty) for a, d, n, s, free, nulls, empty, there in records.collect().iter_rows()]
    items = (usage.select(*keys, "ext_items").filter(pl.col("ext_items").list.len() > 0).explode("ext_items")
             .group_by(keys).agg(pl.len(), pl.col("ext_items").struct.field("amount").sum()))
    return by_day(rows, items.collect().iter_rows())


def clickhouse_delta(table, s3):
    return clickhouse("deltaLake", table, s3)


def clickhouse_iceberg(table, s3):
    return clickhouse("iceberg", table, s3)


def clickhouse(kind, table, s3):
    import chdb

    source = f"{kind}Local('{table}')"
    if s3:
        source = f"{kind}('{s3['endpoint']}/{table.removeprefix('s3://')}', '{s3['key']}', '{s3['secret']}')"
    os.chdir("/")  # chdb reads files below its working directory alone
    return clickhouse_by_day(source, chdb.query)


def clickhouse_by_day(source, ask):
    items = f"""SELECT account, usage_date, count(), sum(tupleElement(item, 'amount')) FROM
        (SELECT account, usage_date, arrayJoin(ext_items) AS item FROM {source}) GROUP BY account, usage_date"""
    out = []
    for query in (RECORDS.format(u=source), items):
        said = ask(query + " SETTINGS output_format_decimal_trailing_zeros = 1, output_format_json_quote_decimals = 1", "JSONCompact")
        out.append([[*r[:3], None if r[3] is None else decimal.Decimal(r[3]), *r[4:]] for r in json.loads(str(said))["data"]])
    return by_day(*out)


def duckdb_delta(table, s3):
    connection, queries = duckdb_of(f"delta_scan('{table}')", "delta", s3=s3)
    return by_day(*(connection.execute(q).fetchall() for q in queries))


def duckdb_iceberg(table, s3):
    connection, queries = duckdb_of(f"iceberg_scan('{table}')", "avro", "iceberg", s3=s3)
    return by_day(*(connection.execute(q).fetchall() for q in queries))


def datafusion_provider(table, s3):
    from datafusion import SessionContext
    from deltalake import DeltaTable

    context = SessionContext()
    usage = DeltaTable(table, storage_options=options_of(s3))
    if s3:  # a DeltaTable's options of the store don't come with it
        context.register_dataset("usage", usage.to_pyarrow_dataset())
    else:
        context.register_table("usage", usage)
    return by_day(*([tuple(r.values()) for b in context.sql(q.format(u="usage")).collect() for r in b.to_pylist()]
                    for q in (RECORDS, ITEMS_FUSION)))


def table_in(catalog, table, s3):
    from pyiceberg.catalog import load_catalog

    return load_catalog("lake", type="rest", uri=catalog, **iceberg_options_of(s3)).load_table(table)


def pyiceberg_catalog(table, s3, catalog):
    return arrow_by_day(table_in(catalog, table, s3).scan().to_arrow())


def polars_catalog(table, s3, catalog):
    import polars as pl

    return polars_by_day(pl.scan_iceberg(table_in(catalog, table, s3), storage_options=iceberg_options_of(s3)))


def duckdb_catalog(table, s3, catalog):
    connection, queries = duckdb_of("lake." + table, "httpfs", "avro", "iceberg", s3=s3)
    connection.execute(f"ATTACH '' AS lake (TYPE iceberg, ENDPOINT '{catalog}', AUTHORIZATION_TYPE 'none', ACCESS_DELEGATION_MODE 'none')")
    return by_day(*(connection.execute(q).fetchall() for q in queries))


# chdb has one database directory for a process.
CLICKHOUSE = []


def clickhouse_catalog(table, s3, catalog):
    import tempfile

    from chdb import session

    if not CLICKHOUSE:
        CLICKHOUSE.append(session.Session(tempfile.mkdtemp()))
    query = CLICKHOUSE[0].query
    query("SET allow_experimental_database_iceberg = 1")
    query("DROP DATABASE IF EXISTS lake")
    key = f", '{s3['key']}', '{s3['secret']}'" if s3 else ""
    bucket = f"storage_endpoint = '{s3['endpoint']}/finance-lake'" if s3 else "storage_endpoint = 'http://127.0.0.1:9/none'"
    query(f"CREATE DATABASE lake ENGINE = DataLakeCatalog('{catalog}/v1'{key}) SETTINGS catalog_type = 'rest', warehouse = 'any', vended_credentials = false, {bucket}")
    return clickhouse_by_day(f"lake.`{table}`", query)


# For Spark 4.1. PyPI's delta-spark 4.1.0 brings its own, 4.1.0, which reads no checkpoint with Spark 4.1.3.
DELTA_FOR_SPARK = "io.delta:delta-spark_4.1_2.13:4.4.0"
ICEBERG_FOR_SPARK = "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0"
SPARK = []


def spark_delta(table, s3):
    return spark(table, f"delta.`{table}`")


def spark_iceberg(table, s3):
    return spark(table, "lake." + os.path.basename(table))


def spark_catalog(table, s3, catalog):
    name = "rest" + catalog.rpartition(":")[2]
    return spark("/nowhere", f"{name}.{table}", {
        f"spark.sql.catalog.{name}": "org.apache.iceberg.spark.SparkCatalog", f"spark.sql.catalog.{name}.type": "rest",
        f"spark.sql.catalog.{name}.uri": catalog, f"spark.sql.catalog.{name}.cache-enabled": "false"})


def spark(table, usage, settings={}):
    if not SPARK:
        from pyspark.sql import SparkSession

        builder = (SparkSession.builder.master("local[1]").config("spark.ui.enabled", False).config("spark.log.level", "OFF")
                   .config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
                   .config("spark.sql.shuffle.partitions", 1)
                   .config("spark.databricks.delta.snapshotPartitions", 1).config("spark.ui.showConsoleProgress", False)
                   .config("spark.jars.packages", DELTA_FOR_SPARK + "," + ICEBERG_FOR_SPARK)
                   .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
                   .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
                   .config("spark.sql.catalog.lake", "org.apache.iceberg.spark.SparkCatalog")
                   .config("spark.sql.catalog.lake.type", "hadoop").config("spark.sql.catalog.lake.cache-enabled", False)
                   .config("spark.sql.catalog.lake.warehouse", os.path.dirname(table)))
        SPARK.append(builder.getOrCreate())
    for name, value in settings.items():
        SPARK[0].conf.set(name, value)
    items = """SELECT account, usage_date, count(*), sum(item.amount) FROM {u} LATERAL VIEW explode(ext_items) AS item
        GROUP BY account, usage_date"""
    return by_day(*([tuple(r) for r in SPARK[0].sql(q.format(u=usage)).collect()] for q in (RECORDS, items)))


# The name of the engine, with -iceberg of one that reads that table; its packages; what makes a table of the folder or the URL; how
# it is read; and whether from S3.
ENGINES = [
    ("deltalake", ["deltalake", "pyarrow"], 'DeltaTable("delivered").to_pyarrow_table()', deltalake_arrow, True),
    ("deltalake-sql", ["deltalake"], 'QueryBuilder().register("usage", DeltaTable("delivered"))', deltalake_query, True),
    ("polars", ["polars", "deltalake"], 'scan_delta("delivered")', polars_delta, True),
    ("ClickHouse", ["chdb"], "deltaLakeLocal('/path/of/delivered')", clickhouse_delta, True),
    ("DuckDB", ["duckdb", "duckdb-extension-delta"], "delta_scan('delivered')", duckdb_delta, True),
    ("DataFusion", ["datafusion", "deltalake"], 'register_table("usage", DeltaTable("delivered"))', datafusion_provider, True),
    ("Spark", ["pyspark"], "delta.`/path/of/delivered`", spark_delta, False),
    ("pyiceberg-iceberg", ["pyiceberg", "pyarrow"], 'StaticTable.from_metadata("delivered").scan().to_arrow()', pyiceberg_arrow, True),
    ("polars-iceberg", ["polars", "pyiceberg"], 'scan_iceberg("/path/of/delivered")', polars_iceberg, True),
    ("ClickHouse-iceberg", ["chdb"], "icebergLocal('/path/of/delivered')", clickhouse_iceberg, True),
    ("DuckDB-iceberg", ["duckdb", "duckdb-extension-iceberg"], "iceberg_scan('delivered')", duckdb_iceberg, True),
    ("Spark-iceberg", ["pyspark"], "lake.delivered", spark_iceberg, False),
    ("pyiceberg-catalog", ["pyiceberg", "pyarrow"], 'load_catalog(…).load_table("finance.usage").scan().to_arrow()', pyiceberg_catalog, True),
    ("polars-catalog", ["polars", "pyiceberg"], 'scan_iceberg(load_catalog(…).load_table("finance.usage"))', polars_catalog, True),
    ("ClickHouse-catalog", ["chdb"], "DataLakeCatalog('…/v1') SETTINGS catalog_type = 'rest'", clickhouse_catalog, True),
    ("DuckDB-catalog", ["duckdb", "duckdb-extension-iceberg"], "ATTACH '' AS lake (TYPE iceberg, ENDPOINT '…')", duckdb_catalog, True),
    ("Spark-catalog", ["pyspark"], "lake.finance.usage, of type rest", spark_catalog, False),
]
# What Spark's packages don't have.
JARS = {"Spark": DELTA_FOR_SPARK, "Spark-iceberg": ICEBERG_FOR_SPARK, "Spark-catalog": ICEBERG_FOR_SPARK}


def main():
    for line in sys.stdin:
        asked = json.loads(line)
        if asked.get("lake"):
            print(json.dumps({"engine": "truth", "figures": truth(asked["lake"])}), flush=True)
        for name, packages, call, read, buckets in ENGINES:
            if name not in sys.argv[1:] or asked.get("s3") and not buckets or asked.get("delta") and name.endswith("-iceberg"):
                continue
            more = [asked["catalog"]] if asked.get("catalog") else []
            out = {"engine": name, "versions": " ".join(f"{p} {importlib.metadata.version(p)}" for p in packages), "call": call}
            if name in JARS:
                out["versions"] += " " + JARS[name].partition(":")[2].replace(":", " ")
            try:
                out["figures"] = read(asked["table"], asked.get("s3"), *more)
            except BaseException as error:  # of any make, a panic of Rust's too: what it says is what is shown
                out["error"], out["says"] = type(error).__name__, " ".join(str(error).split())[:600]
            print(json.dumps(out), flush=True)
        print(flush=True)


if __name__ == "__main__":
    main()
