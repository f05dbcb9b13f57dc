#!/usr/bin/env bash
# DuckDB 1.5.6 writes the list of a view's * EXCLUDE the other way round each time that the file was opened and written:
# what compares the texts of views (duckdb_views().sql), such as a check for changes of a schema, sees a change where there is none. A list of * REPLACE stays as it is. The answers are the same.
# Seen: of EXCLUDE (a, b, c), "c, b, a" by the connection that made it, then in turn "a, b, c" and "c, b, a". Exit status 1 if that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.6
cd "$work"
cat > views.py <<'PY'
import re

import duckdb


def lists(con):
    texts = con.execute("SELECT sql FROM duckdb_views() WHERE NOT internal ORDER BY view_name").fetchall()
    return [re.search(r"(EXCLUDE|REPLACE) \((.*)\) FROM", sql).group(2) for (sql,) in texts]


seen = []
with duckdb.connect("x.duckdb") as con:
    con.execute("CREATE TABLE t AS SELECT 1 AS a, 2 AS b, 3 AS c, 4 AS d")
    con.execute("CREATE VIEW v AS SELECT * EXCLUDE (a, b, c) FROM t")
    con.execute("CREATE VIEW w AS SELECT * REPLACE (a + 1 AS a, b + 1 AS b) FROM t")
    seen.append(lists(con))
for n in range(3):
    with duckdb.connect("x.duckdb") as con:
        seen.append(lists(con))
        con.execute(f"CREATE OR REPLACE TABLE n AS SELECT {n}")
        con.execute("CHECKPOINT")
print(seen)
same = "(a + 1) AS a, (b + 1) AS b"
raise SystemExit(seen != [["c, b, a", same], ["a, b, c", same], ["c, b, a", same], ["a, b, c", same]])
PY
"$work/venv/bin/python" views.py
