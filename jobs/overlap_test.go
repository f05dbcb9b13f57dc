package jobs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// twoKeys makes a world whose account beta has a second key of acme's organisation.
func twoKeys(t *testing.T) *world {
	w := newWorld(t, kit.Settings{Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 100},
		{ID: "beta", RecordsPerDay: 100}, {ID: "gamma", RecordsPerDay: 100}}})
	w.SecondKey("beta")
	return w
}

func TestTwoKeysOfOneOrganisationAreFound(t *testing.T) {
	w := twoKeys(t)
	span := Span{From: w.Now().Add(-48 * time.Hour).Truncate(24 * time.Hour), To: w.Now().Truncate(24 * time.Hour)}
	for i := range 2 { // the second has nothing to do, and says it again
		res, err := Export(t.Context(), w.Cfg, w.env, ExportOptions{Span: span, Retry: kit.Retry})
		var overlap *publish.OverlapError
		if !errors.As(err, &overlap) || len(overlap.Overlaps) != 1 || overlap.Overlaps[0].Account != "acme" ||
			overlap.Overlaps[0].Other != "beta" {
			t.Fatalf("export %d: %v", i, err)
		}
		if res.Status != schemas.StatusPartial || !strings.Contains(err.Error(), "acme and beta") ||
			!strings.Contains(kit.HintOf(err), "beta, out of the config") {
			t.Errorf("export %d: %s: %v; %s", i, res.Status, err, kit.HintOf(err))
		}
	}
	st, err := ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := ReadOverlaps(t.Context(), st, ""); err != nil || len(st.Overlaps) != 1 ||
		st.Overlaps[0].Accounts != [2]string{"acme", "beta"} {
		t.Errorf("status: %+v %v", st.Overlaps, err)
	}
	if st.Runs[0].Status != schemas.StatusPartial {
		t.Errorf("the journal says %s", st.Runs[0].Status)
	}
	r := w.Read()
	defer r.Close()
	if got := r.One("SELECT string_agg(status, ' ' ORDER BY started_at) FROM runs"); got != "partial" {
		t.Errorf("the published file says %s", got)
	}
}

func TestTheSecondAtABorderCountsOnce(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	from := w.Now().Add(-72 * time.Hour).Truncate(24 * time.Hour)
	to := from.Add(48 * time.Hour)
	// Cut at records and behind them: whatever the ends mean, two windows bring some of these.
	var cuts []time.Time
	n := 0
	for r := range w.Portal.Truth("0", from, to) {
		if n++; n%60 == 0 && r.RequestTime.After(from) {
			cuts = append(cuts, r.RequestTime.Truncate(time.Second).Add(time.Duration(len(cuts)%2)*time.Second))
		}
	}
	records, start := int64(0), from
	for _, end := range append(cuts, to) {
		res, err := Export(t.Context(), w.Cfg, w.env, ExportOptions{Span: Span{From: start, To: end}, Retry: kit.Retry})
		if err != nil {
			t.Fatal(err)
		}
		records += res.Records
		start = end
	}
	if len(cuts) < 3 || records != int64(n) {
		t.Errorf("%d records in %d runs, the truth has %d", records, len(cuts)+1, n)
	}
	r := w.Read()
	defer r.Close()
	if got := r.One("SELECT (sum(records) = (SELECT count(*) FROM usage))::VARCHAR || ' ' || (sum(listed) > " +
		"sum(records))::VARCHAR || ' ' || bool_and(announced = listed)::VARCHAR FROM coverage WHERE owns"); got !=
		"true true true" {
		t.Errorf("coverage: %s", got)
	}
}
