"""Opens usage.duckdb read-only with the DuckDB of this environment, lists what is in it, and selects everything from every table and view.

    published.py FILE [LAKE]

With LAKE the session says first that the lake is there. Prints a JSON object: the version, and of each object its columns, how many rows it has and a digest of them, in whatever order they come;
of one that can't be read the error."""

import datetime
import hashlib
import json
import sys

import duckdb


def plain(value):
    """The same text in every version: their clients differ in how they give an instant's zone."""
    if isinstance(value, datetime.datetime) and value.tzinfo:
        return value.astimezone(datetime.timezone.utc).isoformat()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def main():
    connection = duckdb.connect(sys.argv[1], read_only=True)
    connection.execute("SET TimeZone = 'UTC'")
    if len(sys.argv) > 2:
        connection.execute("SET VARIABLE usagelake_lake = '" + sys.argv[2].replace("'", "''") + "'")
    objects, errors = {}, {}
    names = connection.execute("SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN ('main', 'bi') ORDER BY ALL").fetchall()
    for schema, table in names:
        name = table if schema == "main" else f"{schema}.{table}"
        try:
            columns = connection.execute(f'DESCRIBE "{schema}"."{table}"').fetchall()
            rows = connection.execute(f'SELECT * FROM "{schema}"."{table}"').fetchall()
        except duckdb.Error as error:
            errors[name] = f"{type(error).__name__}: {str(error)[:300]}"
            continue
        digest = hashlib.sha256("\n".join(sorted(repr(plain(row)) for row in rows)).encode()).hexdigest()[:16]
        objects[name] = [str([c[:2] for c in columns]), len(rows), digest]
    print(json.dumps({"version": duckdb.__version__, "objects": objects, "errors": errors}))


try:
    main()
except Exception as error:
    print(json.dumps({"version": duckdb.__version__, "error": type(error).__name__, "says": str(error)[:300]}))
