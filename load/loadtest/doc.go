// Package loadtest writes lakes for tests, with DuckDB and not with the program's own writers, and reads what was
// published as any reader does. publishtest publishes them, too.
package loadtest
