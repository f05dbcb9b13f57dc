#!/usr/bin/env bash
# DuckDB 1.5.6 adds the write-ahead log of a database file that was replaced by rename to the file that replaced it, without an error, if
# both have the storage format v1.0.0; in the format v1.4.0 it refuses ("WAL does not match database file").
# Seen: a connection has a file of 1,000 rows open; another file, of 2,000 rows, is renamed over it; the connection deletes half of its rows. A reader
# of the new file then counts 1,500 rows in v1.0.0, which is neither. Exit status 1 if that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.6
cd "$work"
cat > reader.py <<'PY'
import duckdb

try:
    print(duckdb.connect("x.duckdb", read_only=True).execute("SELECT count(*) FROM t").fetchone()[0])
except duckdb.IOException as error:
    print("refused" if "WAL does not match" in str(error) else error)
PY
cat > writer.py <<'PY'
import os
import subprocess
import sys

import duckdb


def make(name, rows, storage):
    con = duckdb.connect()
    con.execute(f"ATTACH '{name}' AS f (STORAGE_VERSION '{storage}')")
    con.execute(f"CREATE TABLE f.t AS SELECT range AS i FROM range({rows})")
    con.execute("DETACH f")


seen = {}
for storage in ("v1.0.0", "v1.4.0"):
    make("x.duckdb", 1000, storage)
    make("next.duckdb", 2000, storage)
    con = duckdb.connect("x.duckdb")
    os.rename("next.duckdb", "x.duckdb")
    con.execute("DELETE FROM t WHERE i % 2 = 0")
    seen[storage] = subprocess.run([sys.executable, "reader.py"], capture_output=True, text=True, check=True).stdout.strip()
    con.close()
    for name in os.listdir("."):
        if name.startswith("x.duckdb"):
            os.remove(name)
print(seen)
raise SystemExit(seen != {"v1.0.0": "1500", "v1.4.0": "refused"})
PY
"$work/venv/bin/python" writer.py
