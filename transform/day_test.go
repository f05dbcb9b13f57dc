package transform

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// ids are the ids of the rows, in order.
func (r result) ids() string {
	var ids []string
	for _, row := range r.rows {
		ids = append(ids, row["id"].(string))
	}
	return strings.Join(ids, " ")
}

// reasons are the rejects as reason or reason/field, in order.
func (r result) reasons() string {
	var out []string
	for _, j := range r.rejects {
		s := j.Reason
		if j.Field != "" {
			s += "/" + j.Field
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// issues are the day's findings as check[field,model]×count, in order.
func (r result) issues() string {
	var out []string
	for _, i := range r.footer.Issues {
		out = append(out, fmt.Sprintf("%s[%s,%s]x%d", i.Check, i.Field, i.Model, i.Count))
	}
	return strings.Join(out, " ")
}

// issue is the first finding of a check.
func (r result) issue(t *testing.T, check string) schemas.Issue {
	t.Helper()
	for _, i := range r.footer.Issues {
		if i.Check == check {
			return i
		}
	}
	t.Fatalf("no issue %s in %v", check, r.footer.Issues)
	return schemas.Issue{}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

var dayStart, dayEnd = day0.Start().Unix(), day0.End().Unix()

// lag is how far outside of what was asked a record may be.
const lag = int64(schemas.MaxLag / time.Second)

func TestRowsComeInOrderOfTimeThenID(t *testing.T) {
	r := derive(t, Options{}, wholeDay(
		listing(detailed(30, noon), `{"id":"b","request_time":`+fmt.Sprint(noon)+`}`, detailed(4, noon)),
		listing(detailed(5, noon-1), `{"id":"a","request_time":`+fmt.Sprint(noon)+`}`, detailed(9, noon+1))))
	equal(t, "ids", r.ids(), "5 4 30 a b 9")
}

func TestBatchesAreNoLongerThanAsked(t *testing.T) {
	var recs []string
	for i := range 10 {
		recs = append(recs, detailed(i+1, noon))
	}
	d := NewDay(part, []schemas.Sealed{wholeDay(listing(recs...))}, Options{BatchRows: 4})
	var sizes []int64
	for b, err := range d.Batches(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, b.Usage.NumRows())
	}
	equal(t, "sizes", fmt.Sprint(sizes), "[4 4 2]")
	equal(t, "rows", d.Footer().Rows, 10)
}

func TestTheLatestWindowOwnsAnInstant(t *testing.T) {
	first := sealed(1, 0, 86400, listing(detailed(1, dayStart+10), detailed(2, noon), detailed(3, noon+100),
		detailed(4, noon+200)))
	second := sealed(2, 43200, 43200+150, listing(detailed(2, noon, `"model":"corrected"`), detailed(5, noon+149),
		detailed(6, noon+150), detailed(7, noon-1)))
	for name, windows := range map[string][]schemas.Sealed{"in order": {first, second}, "reversed": {second, first}} {
		t.Run(name, func(t *testing.T) {
			r := derive(t, Options{}, windows...)
			equal(t, "ids", r.ids(), "1 2 5 4")
			equal(t, "model", r.rows[1]["model"], any("corrected"))
			equal(t, "run", r.rows[1]["run_id"], any("run-2"))
			equal(t, "ignored", r.footer.Ignored, 4) // 2 and 3 of the first, both margins of the second
			equal(t, "rows", r.footer.Rows, 4)
		})
	}
}

func TestASupersededWindowGivesNothing(t *testing.T) {
	r := derive(t, Options{}, sealed(1, 0, 60, listing(detailed(1, dayStart), `7`)),
		sealed(2, 0, 60, listing(detailed(2, dayStart))))
	equal(t, "ids", r.ids(), "2")
	equal(t, "rejects", r.reasons(), "")
	equal(t, "ignored", r.footer.Ignored, 0)
	equal(t, "owns", fmt.Sprint(r.footer.Windows[0].Owns, r.footer.Windows[1].Owns), "false true")
}

func TestOwnershipReplacesRejectsToo(t *testing.T) {
	bad := func(id int, at int64) string { return detailed(id, at, `"amount":"x"`) }
	r := derive(t, Options{},
		sealed(1, 0, 86400, listing(bad(1, dayStart+10), bad(2, noon), `"no record"`)),
		sealed(2, 43200, 86400, listing(detailed(2, noon))))
	equal(t, "ids", r.ids(), "2")
	equal(t, "rejects", r.reasons(), "not_an_object not_a_number/amount")
	equal(t, "quarantined", r.footer.Quarantined, 2)
	equal(t, "ignored", r.footer.Ignored, 1)
}

func TestMarginsAreCountedNotKept(t *testing.T) {
	r := derive(t, Options{},
		sealed(1, 0, 43200, listing(detailed(1, dayStart-1), detailed(2, dayStart), detailed(3, noon))),
		sealed(2, 43200, 86400, listing(detailed(3, noon), detailed(4, dayEnd-1), detailed(5, dayEnd), detailed(6, dayEnd),
			detailed(6, dayEnd))))
	equal(t, "ids", r.ids(), "2 3 4")
	equal(t, "before", r.footer.Before, 1)
	equal(t, "after", r.footer.After, 2) // distinct ids
	equal(t, "ignored", r.footer.Ignored, 4)
	equal(t, "duplicates", r.footer.Duplicates, 0)
}

func TestMarginsOfAPartialDayAreNotCounted(t *testing.T) {
	r := derive(t, Options{}, sealed(1, 60, 120, listing(detailed(1, dayStart+59), detailed(2, dayStart+60),
		detailed(3, dayStart+120))))
	equal(t, "ids", r.ids(), "2")
	equal(t, "margins", fmt.Sprint(r.footer.Before, r.footer.After, r.footer.Ignored), "0 0 2")
}

func TestWhatWasNotAskedForIsQuarantined(t *testing.T) {
	r := derive(t, Options{}, sealed(1, 60, 120,
		listing(detailed(1, dayStart+58), detailed(2, dayStart+59-lag), detailed(3, dayStart+121+lag),
			detailed(4, dayStart+100, `"amount":"x"`), detailed(5, noon, `"amount":"x"`),
			detailed(6, dayStart+58-lag), detailed(7, dayStart+120+lag))))
	equal(t, "ids", r.ids(), "")
	equal(t, "rejects", r.reasons(),
		"not_asked/request_time not_asked/request_time not_asked/request_time not_a_number/amount")
	equal(t, "issues", r.issues(), "outside_window[request_time,]x3 quarantined[amount,]x1")
	equal(t, "of other windows", fmt.Sprint(r.footer.Ignored, r.footer.Before, r.footer.After), "3 1 0")
	j := r.rejects[0]
	equal(t, "window", j.Window.String(), sealed(1, 60, 120).Seal.Window().String())
	equal(t, "ids of the reject", j.RequestID+" "+j.RunID, "req-1 run-1")
}

func TestASealThatDoesNotSayWhatWasAskedAllowsASecondMore(t *testing.T) {
	w := sealed(1, 60, 120, listing(detailed(1, dayStart+58-lag), detailed(2, dayStart+59-lag), detailed(3, dayStart+60),
		detailed(4, dayStart+120+lag), detailed(5, dayStart+121+lag)))
	w.Seal.AskedStart, w.Seal.AskedEnd = 0, 0
	r := derive(t, Options{}, w)
	equal(t, "ids", r.ids(), "3")
	equal(t, "rejects", r.reasons(), "not_asked/request_time not_asked/request_time")
	equal(t, "ignored", r.footer.Ignored, 2)
}

func TestAWindowOfSeveralStretchesRejectsTheUnplacedOnce(t *testing.T) {
	r := derive(t, Options{}, sealed(1, 0, 86400, listing(`1`, detailed(1, dayStart), detailed(9, dayEnd-1))),
		sealed(2, 3600, 7200, listing()), sealed(3, 10000, 20000, listing(`2`)), sealed(4, 30000, 40000, listing()))
	equal(t, "ids", r.ids(), "1 9")
	equal(t, "rejects", r.reasons(), "not_an_object not_an_object")
	equal(t, "first", string(r.rejects[0].Raw), "1")
	equal(t, "quarantined", r.footer.Quarantined, 2)
}

func TestABrokenRecordThatTwoWindowsBroughtIsQuarantinedOnceIfItsIDTells(t *testing.T) {
	const never = `{"id":"x","request_time":"never"}`
	first := func(recs ...string) schemas.Sealed { return sealed(1, 0, 43200, listing(recs...)) }
	second := func(recs ...string) schemas.Sealed { return sealed(2, 43200, 86400, listing(recs...)) }
	for _, c := range []struct {
		name             string
		windows          []schemas.Sealed
		rejects, ignored int
		twice            int
	}{
		{"the same id and bytes", []schemas.Sealed{first(never), second(never)}, 1, 1, 0},
		{"in three windows", []schemas.Sealed{first(never), sealed(2, 43200, 43201, listing(never)),
			sealed(3, 43201, 86400, listing(never))}, 1, 2, 0},
		{"of a window that owns stretches on both sides", []schemas.Sealed{sealed(1, 0, 86400, listing(never)),
			sealed(2, 43200, 50000, listing(never))}, 1, 1, 0},
		{"the same id with other bytes for the same content", []schemas.Sealed{first(never),
			second(`{"request_time": "never", "id":"x"}`)}, 1, 1, 0},
		{"the same id with other content", []schemas.Sealed{first(never), second(`{"id":"x","request_time":"later"}`)}, 2, 0,
			0},
		{"no id", []schemas.Sealed{first(`{"request_time":"never"}`, `7`), second(`{"request_time":"never"}`, `7`)}, 4, 0, 2},
		{"no id, in windows that don't meet", []schemas.Sealed{first(`7`), sealed(2, 43200, 43300, listing()),
			sealed(3, 43300, 86400, listing(`7`))}, 2, 0, 0},
		{"no id, next to a part that was fetched anew", []schemas.Sealed{sealed(1, 0, 43200, listing(`7`)),
			sealed(2, 43200, 86400, listing(`7`)), sealed(3, 100, 200, listing())}, 2, 0, 1},
		{"no id, twice in a window", []schemas.Sealed{first(`7`, `7`), second()}, 2, 0, 0},
		{"a window that owns nothing", []schemas.Sealed{first(never), sealed(2, 0, 86400, listing(never))}, 1, 0, 0},
		{"not asked for", []schemas.Sealed{first(detailed(1, dayEnd+86400)), second(detailed(1, dayEnd+86400))}, 1, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDay(part, c.windows, Options{})
			for range 2 { // the iteration can be repeated
				r := deriveWith(t, d)
				equal(t, "rejects", len(r.rejects), c.rejects)
				equal(t, "quarantined", r.footer.Quarantined, int64(c.rejects))
				equal(t, "ignored", r.footer.Ignored, int64(c.ignored))
				equal(t, "maybe twice", r.footer.MaybeTwice, int64(c.twice))
			}
		})
	}
}

func TestAWindowBetweenManyOthersIsReadOnce(t *testing.T) {
	reads := map[int]int{}
	counted := func(s schemas.Sealed) schemas.Sealed {
		pages := s.Pages
		s.Pages = func(ctx context.Context) iter.Seq2[schemas.Page, error] {
			reads[s.Seq]++
			return pages(ctx)
		}
		return s
	}
	windows := []schemas.Sealed{counted(sealed(1, 0, 86400, listing(detailed(1, dayStart), detailed(2, noon+1),
		detailed(3, dayEnd-1))))}
	for i := range int64(8) {
		windows = append(windows, counted(sealed(int(i)+2, 10000*i+100, 10000*i+200, listing())))
	}
	equal(t, "ids", deriveWith(t, NewDay(part, windows, Options{})).ids(), "1 2 3")
	for seq, n := range reads {
		equal(t, fmt.Sprint("reads of ", seq), n, 1)
	}
}

func TestEachRecordWithoutAnIDCounts(t *testing.T) {
	r := derive(t, Options{}, wholeDay(listing(detailed(1, noon, `-id`), detailed(1, noon, `-id`),
		detailed(1, noon, `"id":""`))))
	equal(t, "rejects", r.reasons(), "no_id/id no_id/id no_id/id")
	equal(t, "duplicates", r.footer.Duplicates, 0)
}

func TestAnAnswerOfNoKnownShapeIsOneReject(t *testing.T) {
	for _, c := range []struct{ body, reason string }{
		{`{"meta":{},"data":{"items":[]}}`, "unknown_page"},
		{`{"data":null}`, "unknown_page"},
		{`{}`, "unknown_page"},
		{`[1]`, "unknown_page"},
		{`{"data":{"list":{"a":1}}}`, "unknown_page"},
		{`<html>`, "unreadable"},
		{`{"data":{"list":[` + detailed(1, noon) + `]}`, "unreadable"},
		{`{"data":{"list":null}}`, ""},
		{`{"data":{"list":[]}}`, ""},
		{`{"data":{"records":null}}`, ""},
	} {
		r := derive(t, Options{}, wholeDay(c.body, listing(detailed(7, noon))))
		equal(t, c.body, r.reasons(), c.reason)
		equal(t, c.body, r.ids(), "7")
	}
	long := derive(t, Options{}, wholeDay(`{"data":"`+strings.Repeat("x", 100_000)+`"}`))
	equal(t, "kept", len(long.rejects[0].Raw), maxPageRaw)
}

func TestADamagedWindowEndsTheIterationAndIsNamed(t *testing.T) {
	damage := errors.New("digest differs")
	w := wholeDay()
	w.Pages = func(context.Context) iter.Seq2[schemas.Page, error] {
		return func(yield func(schemas.Page, error) bool) {
			_ = yield(schemas.Page{Number: 1, Body: []byte(listing(detailed(1, noon)))}, nil) && yield(schemas.Page{}, damage)
		}
	}
	n := 0
	for b, err := range NewDay(part, []schemas.Sealed{w}, Options{}).Batches(context.Background()) {
		n++
		if !errors.Is(err, damage) || !strings.Contains(err.Error(), "acme 2026-11-01T00:00:00Z") || b.Usage != nil {
			t.Errorf("batch %v, error %v", b, err)
		}
	}
	equal(t, "steps", n, 1)
}

func TestACancelledDayStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range NewDay(part, []schemas.Sealed{wholeDay(listing(detailed(1, noon)))}, Options{}).Batches(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
}

func TestADayCanBeDerivedAgain(t *testing.T) {
	d := NewDay(part, []schemas.Sealed{wholeDay(listing(detailed(1, noon), detailed(1, noon), `1`))}, Options{})
	a, b := deriveWith(t, d), deriveWith(t, d)
	equal(t, "rows", a.text, b.text)
	equal(t, "footer", fmt.Sprint(a.footer.DayStats, a.footer.Issues), fmt.Sprint(b.footer.DayStats, b.footer.Issues))
}

func TestAnEmptyDayHasAFooter(t *testing.T) {
	r := derive(t, Options{}, wholeDay(listing()))
	equal(t, "sums", r.footer.TotalAmount+r.footer.Discount+r.footer.Amount, "000")
	equal(t, "version", fmt.Sprint(r.footer.Schema, r.footer.Transform, r.footer.Digest),
		fmt.Sprint(schemas.SchemaVersion, Version, ""))
	none := derive(t, Options{})
	equal(t, "windows", len(none.footer.Windows), 0)
}

func TestSumsAreExact(t *testing.T) {
	money := func(id int, total, off, net string) string {
		return detailed(id, noon, `"total_amount":`+total, `"discount_amount":`+off, `"amount":`+net)
	}
	r := derive(t, Options{}, wholeDay(listing(
		money(1, "999999.999999999999", "0.1", "999999.899999999999"),
		money(2, "999999.999999999999", "0.2", "-0.000000000001"),
		money(3, "null", "null", `"-5"`))))
	equal(t, "gross", r.footer.TotalAmount, "1999999.999999999998")
	equal(t, "discount", r.footer.Discount, "0.3")
	equal(t, "net", r.footer.Amount, "999994.899999999998")
}

func TestSummaryTokensCountTheMargins(t *testing.T) {
	rec := func(at, tokens int64) string {
		return fmt.Sprintf(`{"timestamp":%d,"tokens":%d,"model":"m"}`, at, tokens)
	}
	r := derive(t, Options{}, wholeDay(summaryPage(rec(dayStart-1, 1), rec(dayStart, 20), rec(noon, 300),
		rec(dayEnd, 4000))))
	equal(t, "rows", r.footer.Rows, 2)
	if r.footer.SummaryTokens == nil || *r.footer.SummaryTokens != 4321 {
		t.Errorf("summary tokens %v", r.footer.SummaryTokens)
	}
	if d := derive(t, Options{}, wholeDay(listing(detailed(1, noon)))); d.footer.SummaryTokens != nil {
		t.Errorf("a detailed answer has summary tokens %d", *d.footer.SummaryTokens)
	}
}
