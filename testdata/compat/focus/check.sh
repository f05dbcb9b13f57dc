#!/usr/bin/env bash
# Has the FinOps Foundation's validator look at FOCUS 1.2 files, each a csv or parquet that `usagelake report focus` wrote of months
# without an invoice, and compares the rules that fail with those of failing.txt. Exit status 1 if they differ.
#
#   check.sh focus-1.2-2026-11.csv focus-1.2-2026-11.parquet
#
# The validator runs on CPython 3.12 alone: $FOCUS_PYTHON, python3.12, pyenv's, or uv's. Its environment is built anew in a temporary
# folder, or kept in $FOCUS_VENV. It needs a package registry and no other network.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if (($# == 0)); then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${FOCUS_VENV:-$work/venv}
if [[ ! -x $venv/bin/focus-validator ]]; then
  made=
  for python in "${FOCUS_PYTHON:-}" python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12.*/bin/python; do
    if [[ -n $python ]] && "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>"$work/no"; then
      "$python" -m venv "$venv"
      made=yes
      break
    fi
  done
  if [[ -z $made ]]; then
    if ! command -v uv >/dev/null; then
      echo "check.sh: no CPython 3.12: name one in FOCUS_PYTHON, or install uv" >&2
      exit 1
    fi
    uv venv --quiet --seed --python 3.12 "$venv"
  fi
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
fi

# What the gateway's billing has, in the validator's words: without them it skips three quarters of its rules, and a word that it
# doesn't know it passes over.
criteria=ACCOUNT_NAMING_SUPPORTED,NEGOTIATED_PRICING_SUPPORTED,PUBLIC_PRICE_LIST_SUPPORTED,SUB_ACCOUNT_SUPPORTED,TAGGING_SUPPORTED,UNIT_PRICING_SUPPORTED,USAGE_MEASUREMENT_SUPPORTED

status=0
for file in "$@"; do
  report=$work/report.xml
  rm -f "$report"
  # It looks for its own files below the folder that it runs in, and ends with 0 whatever fails.
  if ! (cd "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" && "$venv/bin/focus-validator" \
    --data-file "$(realpath "$file")" --validate-version 1.2 --block-download --applicability-criteria "$criteria" \
    --output-type unittest --output-destination "$report") >"$work/log" 2>&1 || [[ ! -s $report ]]; then
    cat "$work/log" >&2
    echo "check.sh: the validator failed on $file" >&2
    exit 1
  fi
  "$venv/bin/python" "$here/compare.py" "$report" "$here/failing.txt" "$file" || status=1
done
exit $status
