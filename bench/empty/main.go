// Empty links DuckDB and does nothing: what a program costs to start before it does anything of its own.
package main

import _ "github.com/duckdb/duckdb-go/v2" // linked, not used

func main() {}
