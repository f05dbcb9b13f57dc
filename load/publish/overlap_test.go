package publish

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// found is what a publish says of accounts that hold the same records, in short.
func found(p Published) string {
	var out []string
	for _, o := range p.Overlaps {
		out = append(out, fmt.Sprintf("%s+%s %d on %d days %s..%s", o.Account, o.Other, o.Records, o.Days, o.From, o.To))
	}
	return strings.Join(out, ", ")
}

func TestAccountsThatHoldTheSameRecordsAreFound(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	date := schemastest.Date("2026-10-15")
	p := func(account string, day schemas.Date) schemas.Partition {
		return schemas.Partition{Account: account, Date: date + day}
	}
	n := 0
	rows := func(at schemas.Partition, query string) {
		n++
		w.DayFrom(at, "SELECT * REPLACE ("+schemas.SQLString(at.Account)+" AS account, 'request' AS record_kind) FROM ("+
			query+")", fmt.Sprintf("d-%s-%d", at, n), nil)
	}
	of := func(day schemas.Date, seed int64, from, to int) string {
		return fmt.Sprintf("SELECT * FROM (%s) WHERE id >= 'r%d' AND id < 'r%d'", loadtest.UsageSQL(p("x", day), 100, seed),
			int(date+day)*10_000_000+from, int(date+day)*10_000_000+to)
	}
	// Two keys of one organisation, and one of another.
	rows(p("a", 0), of(0, 1, 0, 100))
	rows(p("b", 0), of(0, 1, 0, 100))
	rows(p("c", 0), of(0, 2, 0, 100))
	if got := found(w.publish(PublishOptions{})); got != "a+b 100 on 1 days 2026-10-15..2026-10-15" {
		t.Errorf("two keys of one organisation: %s", got)
	}
	w.Answers(map[string]string{
		"SELECT account, check_name, severity, records, detail FROM quality_issues WHERE check_name = 'account_overlap' " +
			"ORDER BY 1": "{'account': a, 'check_name': account_overlap, 'severity': error, 'records': 100, 'detail': " +
			"'account b holds the same records: they count twice'}|" +
			"{'account': b, 'check_name': account_overlap, 'severity': error, 'records': 100, 'detail': 'account a holds the " +
			"same records: they count twice'}",
	})
	// A day more that nobody shares leaves it as it is, and so does a publish that has nothing to do.
	rows(p("c", 5), of(5, 2, 0, 100))
	if got := found(w.publish(PublishOptions{})); got != "a+b 100 on 1 days 2026-10-15..2026-10-15" {
		t.Errorf("another day: %s", got)
	}
	if got := w.publish(PublishOptions{}); !got.Unchanged || found(got) != "a+b 100 on 1 days 2026-10-15..2026-10-15" {
		t.Errorf("nothing to do: %+v", got)
	}
	// More than a coincidence: three records, or all of one side.
	rows(p("a", 1), of(1, 1, 0, 50))
	rows(p("b", 1), of(1, 1, 48, 98)) // two
	rows(p("a", 2), of(2, 1, 0, 50))
	rows(p("b", 2), of(2, 1, 47, 97)) // three
	rows(p("a", 3), of(3, 1, 0, 50))
	rows(p("b", 3), of(3, 1, 20, 21)) // all that it has
	if got := found(w.publish(PublishOptions{})); got != "a+b 104 on 3 days 2026-10-15..2026-10-18" {
		t.Errorf("coincidences: %s", got)
	}
	all := w.publish(PublishOptions{Full: true})
	if got := found(all); got != "a+b 104 on 3 days 2026-10-15..2026-10-18" {
		t.Errorf("built anew: %s", got)
	}
	// Three of one organisation are three pairs; the same ids with other content are none.
	rows(p("c", 2), of(2, 1, 0, 50))
	rows(p("a", 4), of(4, 1, 0, 50))
	rows(p("b", 4), "SELECT * REPLACE (coalesce(amount, 0) + 0.1 AS amount) FROM ("+of(4, 1, 0, 50)+")")
	if got := found(w.publish(PublishOptions{})); got != "a+b 104 on 3 days 2026-10-15..2026-10-18, a+c 50 on 1 days "+
		"2026-10-17..2026-10-17, b+c 3 on 1 days 2026-10-17..2026-10-17" {
		t.Errorf("three: %s", got)
	}
	overlaps, err := w.lake.Overlaps(t.Context())
	if err != nil || len(overlaps) != 3 || overlaps[0].Sample == "" {
		t.Errorf("read: %+v %v", overlaps, err)
	}
	// Without the other account the finding goes, as the hint says: usage.duckdb keeps rows whose day files are gone.
	for day := range schemas.Date(6) {
		for _, account := range []string{"b", "c"} {
			if err := w.lake.RemoveDay(p(account, day)); err != nil {
				t.Fatal(err)
			}
		}
	}
	must(t, os.Remove(w.lake.Database()))
	if got := found(w.publish(PublishOptions{})); got != "" {
		t.Errorf("removed: %s", got)
	}
	w.Answers(map[string]string{"SELECT count(*) AS n FROM account_overlaps": "{'n': 0}"})
}

func TestSmallSummariesThatAreAlikeAreNoOverlap(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	date := schemastest.Date("2026-10-15")
	summaries := func(account string, n int, more string) {
		p := schemas.Partition{Account: account, Date: date}
		w.DayFrom(p, fmt.Sprintf(`SELECT * REPLACE ('%s' AS account, 'summary' AS record_kind, 'summary-' || id AS id,
			NULL::VARCHAR AS token_id, NULL::VARCHAR AS user_id, 'm' AS model,
			NULL::DECIMAL(18,12) AS amount, NULL::DECIMAL(18,12) AS total_amount, NULL::DECIMAL(18,12) AS discount_amount,
			7::BIGINT AS total_tokens%s) FROM (%s)`, account, more, loadtest.UsageSQL(p, n, 1)), account+more, nil)
	}
	summaries("a", 20, "")
	summaries("b", 20,
		", CASE WHEN id LIKE '%9' THEN 'other' ELSE model_type END AS model_type, CASE WHEN id LIKE '%9' THEN 'x' ELSE "+
			"custom_user_id END AS custom_user_id, request_time + INTERVAL (CASE WHEN id LIKE '%9' THEN 1 ELSE 0 END) SECOND "+
			"AS request_time")
	if got := found(w.publish(PublishOptions{})); got != "" {
		t.Errorf("18 of 20: %s", got)
	}
	summaries("b", 20, ", 'text' AS model_type")
	if got := found(w.publish(PublishOptions{})); got != "a+b 20 on 1 days 2026-10-15..2026-10-15" {
		t.Errorf("all: %s", got)
	}
}

// Two accounts of a million records a day that have nothing in common.
func BenchmarkOverlaps(b *testing.B) {
	w := newDayWriter(b, load.Options{})
	date := schemastest.Date("2026-10-15")
	var days []schemas.Partition
	for i, account := range []string{"a", "b"} {
		p := schemas.Partition{Account: account, Date: date}
		w.DayFrom(p, "SELECT * REPLACE ('"+account+"' || id AS id) FROM ("+loadtest.UsageSQL(p, 1_000_000, int64(i))+")",
			account, nil)
		days = append(days, p)
	}
	w.publish(PublishOptions{})
	d, err := openDatabase(b.Context(), w.lake.engineFor(w.lake.Path(durable.TempDir, "spill")), w.lake.Database(), false)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	p := &publisher{lake: w.lake}
	for b.Loop() {
		if err := p.overlaps(b.Context(), d, days); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(p.overlap)), "pairs")
}
