package publish

import (
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// The day file of a pruned day stays as the program of then wrote it: without the column ordinal, and with windows
// whose records are those that were listed.
func TestADayFileOfBeforeThereWereOrdinalsReadsAsOne(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	date := schemastest.Date("2026-10-15")
	for i := range schemas.Date(5) { // old and new ones by turns
		p := schemas.Partition{Account: "acme", Date: date + i}
		if i%2 == 0 {
			w.DayFrom(p, "SELECT * EXCLUDE (ordinal) FROM ("+loadtest.UsageSQL(p, 50, 1)+")", p.String(),
				func(f *schemas.DayFooter) { f.Schema = 2 })
			continue
		}
		w.DayFrom(p, "SELECT * REPLACE (2::BIGINT AS ordinal) FROM ("+loadtest.UsageSQL(p, 50, 1)+")", p.String(),
			func(f *schemas.DayFooter) {
				f.Windows[1].Listed, f.Windows[1].Lacking = 52, 1
			})
	}
	w.publish(PublishOptions{})
	w.Answers(map[string]string{
		"SELECT usage_date - DATE '2026-10-15' AS d, min(ordinal) AS a, max(ordinal) AS b, count(*) AS n FROM usage GROUP " +
			"BY ALL ORDER BY ALL": "{'d': 0, 'a': 1, 'b': 1, 'n': 50}|{'d': 1, 'a': 2, 'b': 2, 'n': 50}|{'d': 2, 'a': 1, " +
			"'b': 1, 'n': 50}|{'d': 3, 'a': 2, 'b': 2, 'n': 50}|{'d': 4, 'a': 1, 'b': 1, 'n': 50}",
		"SELECT usage_date - DATE '2026-10-15' AS d, announced, listed, lacking, records FROM coverage WHERE owns AND d " +
			"< 2 ORDER BY ALL": "{'d': 0, 'announced': 50, 'listed': 50, 'lacking': 0, 'records': 50}|{'d': 1, 'announced': " +
			"50, 'listed': 52, 'lacking': 1, 'records': 50}",
	})
	for _, f := range w.verify().Findings {
		switch f.Check {
		case FoundOrphan, FoundNoRaw: // nothing is sealed here
		default:
			t.Errorf("verify: %+v", f)
		}
	}
	if got := schemas.SQLUsageColumns(schemas.SchemaVersion); strings.Contains(got, "::") {
		t.Error(got)
	}
}
