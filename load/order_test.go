package load

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

// Verify asks DuckDB whether rows stand in the order that the transformation gives them: the two are one.
func TestIDsAreOrderedAlikeInGoAndSQL(t *testing.T) {
	ids := []string{"", "0", "00", "7", "10", "9", "09", "9223372036854775807", "9223372036854775808",
		"99999999999999999999", "None", "none", "r7", "7r", " 7", "７", "é", "e\u0301",
		"a", "A", "aa", "\x00", "7\x00", "7\n", "-1", "+1", "1.0", "\U0001F600", "\uFFFF", strings.Repeat("9", 40)}
	r := rand.New(rand.NewPCG(7, 7))
	const letters = "0123456789aZ-é"
	for range 120 {
		var b strings.Builder
		for range r.IntN(6) {
			b.WriteRune([]rune(letters)[r.IntN(len([]rune(letters)))])
		}
		ids = append(ids, b.String())
	}
	db := openDuckDB(t)
	q := fmt.Sprintf("SELECT CASE WHEN %[1]s < %[2]s THEN -1 WHEN %[1]s > %[2]s THEN 1 ELSE 0 END FROM (SELECT "+
		"?::VARCHAR AS a, ?::VARCHAR AS b)", schemas.SQLOrderKey("a"), schemas.SQLOrderKey("b"))
	stmt, err := db.Prepare(q)
	must(t, err)
	defer stmt.Close()
	for _, a := range ids {
		for _, b := range ids {
			var got int
			must(t, stmt.QueryRow(a, b).Scan(&got))
			if want := cmp.Compare(schemas.CompareIDs([]byte(a), []byte(b)), 0); got != want {
				t.Errorf("%q and %q: %d in SQL, %d in Go", a, b, got, want)
			}
		}
	}
}
