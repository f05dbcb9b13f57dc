package schemas

import "fmt"

// SQLOrderKey is the order of ids, CompareIDs, as SQL: an expression that sorts in DuckDB as the ids do. column is a
// column's name, quoted if it must be.
func SQLOrderKey(column string) string {
	digits := fmt.Sprintf("regexp_full_match(%s, '[0-9]+')", column)
	return fmt.Sprintf("(CASE WHEN %[2]s THEN strlen(%[1]s) ELSE 9223372036854775807 END, %[1]s)", column, digits)
}
