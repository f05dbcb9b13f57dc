#!/usr/bin/env bash
# Installs the catalog that tests start, pinned by pom.xml, into bin/catalog: a minute at first, nothing as long as
# these files stay.
set -euo pipefail
cd "$(dirname "$0")"

want=$(cat pom.xml Catalog.java | sha256sum)
dir=$(cd ../../.. && pwd)/bin/catalog
if [[ -f $dir/version && $(<"$dir/version") == "$want" ]]; then
  exit 0
fi
command -v mvn >/dev/null && command -v javac >/dev/null || {
  echo "a JDK and Maven are needed for the catalog" >&2
  exit 1
}
rm -rf "$dir"
mkdir -p "$dir"
echo "installing Apache Iceberg's REST catalog"
mvn -B -q -f pom.xml dependency:copy-dependencies -DoutputDirectory="$dir/jars"
javac -proc:none -cp "$dir/jars/*" -d "$dir/classes" Catalog.java
printf '%s\n' "$want" >"$dir/version" # last: what is there is whole
