package publish

import bindings "github.com/duckdb/duckdb-go-bindings"

// DuckDBVersion is the version of the DuckDB library that is linked in, such as v1.5.6.
func DuckDBVersion() string { return bindings.LibraryVersion() }
