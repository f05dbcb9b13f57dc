#!/usr/bin/env bash
# Builds the dbt project on a lake and has its tests look at it; then changes the last digit of a figure that it made, and wants the
# test of sums to find that. Exit status 1 if either isn't so.
#
#   check.sh usagelake-demo
#
# dbt's environment is built anew in a temporary folder, or kept in $DBT_VENV. It needs a package registry and no other network.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if (($# != 1)); then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${DBT_VENV:-$work/venv}
if [[ ! -x $venv/bin/dbt ]]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
fi

USAGELAKE_LAKE=$(realpath "$1")
export USAGELAKE_LAKE USAGELAKE_DBT=$work/usagelake-dbt.duckdb
dbt() { "$venv/bin/dbt" --no-use-colors --log-path "$work/logs" "$@" --project-dir "$here" --profiles-dir "$here" --target-path "$work/target"; }
dbt build
dbt source freshness
"$venv/bin/python" - "$USAGELAKE_DBT" <<'EOF'
import duckdb, sys
duckdb.connect(sys.argv[1]).execute("UPDATE main_marts.cost_by_month SET net_cost = net_cost + 0.000000000001 "
  "WHERE rowid = (SELECT min(rowid) FROM main_marts.cost_by_month WHERE net_cost IS NOT NULL)")
EOF
status=0
dbt test --select charges_tie_to_usage >"$work/found" || status=$?
# dbt ends with 1 for a test that can't be run, too: what it says tells one from the other.
if ((status != 1)) || ! grep -qE 'FAIL [0-9]+ charges_tie_to_usage' "$work/found"; then
  cat "$work/found" >&2
  echo "check.sh: a changed digit isn't found" >&2
  exit 1
fi
echo "A changed digit is found."
