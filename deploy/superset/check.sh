#!/usr/bin/env bash
# Imports the dashboard into a Superset of its own and asks each of its charts of a lake's published file; then publishes
# another file in its place, and wants the charts to show that one. Exit status 1 if anything isn't so.
#
#   check.sh usagelake-demo
#
# Superset's environment is built anew in a temporary folder, or kept in $SUPERSET_VENV. It needs a package registry and
# no other network.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if (($# != 1)); then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${SUPERSET_VENV:-$work/venv}
if [[ ! -x $venv/bin/superset ]]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
fi

mkdir "$work/lake"
cp "$1/usage.duckdb" "$work/lake/usage.duckdb"
cp -r "$here/usagelake" "$work/usagelake"
sed -i "s|duckdb:////lake/usage.duckdb|duckdb:///$work/lake/usage.duckdb|" "$work/usagelake/databases/usagelake.yaml"
(cd "$work" && "$venv/bin/python" -m zipfile -c dashboard.zip usagelake)

cat >"$work/superset_config.py" <<EOF
SECRET_KEY = "$(head -c 32 /dev/urandom | base64)"
SQLALCHEMY_DATABASE_URI = "sqlite:///$work/superset.db"
# A cache, as a company's Superset has: the dashboard has to go past it.
DATA_CACHE_CONFIG = {"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": "$work/cache", "CACHE_DEFAULT_TIMEOUT": 86400}
EOF
export SUPERSET_CONFIG_PATH=$work/superset_config.py SUPERSET_HOME=$work FLASK_APP='superset.app:create_app()' HOME=$work
{
  "$venv/bin/superset" db upgrade
  "$venv/bin/superset" fab create-admin --username admin --firstname a --lastname b --email a@example.com \
    --password "$(head -c 16 /dev/urandom | base64)"
  "$venv/bin/superset" init
  "$venv/bin/superset" import-dashboards --path "$work/dashboard.zip" --username admin
} >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; exit 1; }
"$venv/bin/python" "$here/check.py" "$work/lake/usage.duckdb" 2>"$work/log" || { tail -n 40 "$work/log" >&2; exit 1; }
