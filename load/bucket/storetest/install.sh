#!/usr/bin/env bash
# Installs the stores that tests start, pinned, into bin/stores: minutes at first, nothing as long as these lines stay.
set -euo pipefail
cd "$(dirname "$0")/../../.."

want="github.com/versity/versitygw/cmd/versitygw@v1.8.0
github.com/fsouza/fake-gcs-server@v1.56.1
azurite@3.35.0"

dir=$PWD/bin/stores
if [[ -f $dir/versions && $(<"$dir/versions") == "$want" ]]; then
  exit 0
fi
command -v node >/dev/null && command -v npm >/dev/null || {
  echo "node and npm are needed for Azurite" >&2
  exit 1
}
rm -rf "$dir"
mkdir -p "$dir"
for package in $want; do
  echo "installing $package"
  case $package in
  github.com/*) GOBIN=$dir GOFLAGS=-mod=mod ${GO:-go} install -ldflags '-s -w' "$package" ;;
  *) npm install --prefix "$dir" --no-audit --no-fund --no-save --ignore-scripts --silent "$package" ;;
  esac
done
printf '%s\n' "$want" >"$dir/versions" # last: what is there is whole
