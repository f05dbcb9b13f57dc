"""Opens usage.duckdb read-only with the DuckDB of this environment, lists what is in it, and selects everything from every table and view.

    published.py FILE

Prints a JSON object: the version, and of each object its columns, how many rows it has and a digest of them, in whatever order they come."""

import hashlib
import json
import sys

import duckdb


def main():
    connection = duckdb.connect(sys.argv[1], read_only=True)
    connection.execute("SET TimeZone = 'UTC'")
    objects = {}
    names = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY 1").fetchall()
    for (name,) in names:
        columns = connection.execute(f'DESCRIBE "{name}"').fetchall()
        rows = connection.execute(f'SELECT * FROM "{name}"').fetchall()
        digest = hashlib.sha256("\n".join(sorted(map(repr, rows))).encode()).hexdigest()[:16]
        objects[name] = [str([c[:2] for c in columns]), len(rows), digest]
    print(json.dumps({"version": duckdb.__version__, "objects": objects}))


try:
    main()
except Exception as error:
    print(json.dumps({"version": duckdb.__version__, "error": type(error).__name__, "says": str(error)[:300]}))
