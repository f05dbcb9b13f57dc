package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// fetchedWindow is a window of a drawn lake.
type fetchedWindow struct {
	account    string
	start, end time.Time
	at         time.Time // fetched
	currency   string
	records    []string
}

var diffDay = schemas.DateOf(time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC))

func drawFetched(rt *rapid.T) []fetchedWindow {
	var out []fetchedWindow
	for range rapid.IntRange(0, 8).Draw(rt, "windows") {
		d := diffDay + schemas.Date(rapid.IntRange(0, 3).Draw(rt, "day")) // over the end of a month
		from := rapid.IntRange(0, 23).Draw(rt, "hour")
		w := fetchedWindow{account: rapid.SampledFrom([]string{"acme", "bee"}).Draw(rt, "account"),
			start:    d.Start().Add(time.Duration(from) * time.Hour),
			at:       diffDay.Start().Add(time.Duration(rapid.IntRange(0, 200).Draw(rt, "fetched")) * time.Hour),
			currency: rapid.SampledFrom([]string{"USD", "USD", "EUR", ""}).Draw(rt, "currency")}
		w.end = w.start.Add(time.Duration(rapid.IntRange(1, 24-from).Draw(rt, "hours")) * time.Hour)
		for i := range rapid.IntRange(0, 5).Draw(rt, "records") {
			amount := rapid.SampledFrom([]string{`,"amount":0.000000000001`, `,"amount":12.5`, `,"amount":-3`, "",
				`,"amount":"bad"`}).Draw(rt, "amount")
			w.records = append(w.records, fmt.Sprintf(`{"id":"%d","request_time":%d,"model":"m"%s}`,
				rapid.IntRange(1, 4).Draw(rt, "id"), w.start.Unix()+int64(i)*rapid.Int64Range(0, 900).Draw(rt, "apart"), amount))
		}
		out = append(out, w)
	}
	return out
}

func (w fetchedWindow) seal(t rapid.TB, lake *publish.Lake) {
	n := int64(len(w.records))
	body := fmt.Sprintf(`{"meta":{"code":0},"data":{"list":[%s],"total":%d}}`, strings.Join(w.records, ","), n)
	if _, err := lake.Seal(context.Background(), schemas.Seal{Kind: schemas.KindUsage, Account: w.account, Start: w.start,
		End: w.end, AskedStart: w.start.Unix() - 1, AskedEnd: w.end.Unix(), PageSize: 20, Announced: &n, Records: n,
		Proof: schemas.ProofTotal, Requests: 1, FetchedAt: w.at, RunID: "r", Version: "test", Currency: w.currency},
		[]schemas.Page{{Number: 1, FetchedAt: w.at, Body: []byte(body)}}); err != nil {
		t.Fatal(err)
	}
}

// knownSums are what a lake that has only what was fetched by an instant holds, by account, day and currency: records
// and amount, asked of its own day files.
func knownSums(rt *rapid.T, engine *kit.Reader, dir string, windows []fetchedWindow, at time.Time) map[string]string {
	lakes, err := os.MkdirTemp(dir, "known")
	if err != nil {
		rt.Fatal(err)
	}
	lake, err := publish.Create(filepath.Join(lakes, "lake"), publish.Options{})
	if err != nil {
		rt.Fatal(err)
	}
	for _, w := range windows {
		if !w.at.After(at) {
			w.seal(rt, lake)
		}
	}
	out := map[string]string{}
	for _, account := range []string{"acme", "bee"} {
		if _, err := derive(context.Background(), lake, account, lake.Log, nil); err != nil {
			rt.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(lake.Dir(), "usage", "*", "*", "usage.parquet"))
	if err != nil || len(files) == 0 {
		return out
	}
	for _, row := range engine.Ask("SELECT account, usage_date::VARCHAR, coalesce(currency, ''), count(*)::VARCHAR, " +
		"coalesce(sum(amount), 0)::DECIMAL(38,12)::VARCHAR FROM read_parquet('" + lake.Dir() +
		"/usage/*/*/usage.parquet', hive_partitioning = false) GROUP BY ALL") {
		m, err := schemas.ParseMoney(row[4])
		if err != nil {
			rt.Fatal(err)
		}
		out[strings.Join(row[:3], " ")] = row[3] + " " + m.String()
	}
	return out
}

// Whatever was fetched when, and whatever two instants are asked about: what is said to be known at each is what a lake
// with nothing but the windows of then holds, and it ties out with what came, went and changed.
func TestDiffTiesWhatWasKnownToWhatIs(t *testing.T) {
	engine := (&kit.World{TB: t}).Engine()
	defer engine.Close()
	calendars := []*schemas.Books{nil} // of the others, months begin within a UTC day
	for _, s := range []schemas.BookSettings{{Zone: "Asia/Shanghai"}, {Zone: "America/New_York", FiscalYear: 4,
		Calendar: "4-4-5"}} {
		b, err := schemas.MakeBooks(s)
		if err != nil {
			t.Fatal(err)
		}
		calendars = append(calendars, b)
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "diff")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		lake, err := publish.Create(filepath.Join(dir, "lake"), publish.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		windows := drawFetched(rt)
		for _, w := range windows {
			w.seal(rt, lake)
			if rapid.IntRange(0, 2).Draw(rt, "derive") == 0 { // so that some days are up to date and some aren't
				if _, err := derive(context.Background(), lake, w.account, lake.Log, nil); err != nil {
					rt.Fatal(err)
				}
			}
		}
		hour := rapid.IntRange(-1, 201)
		from := diffDay.Start().Add(time.Duration(hour.Draw(rt, "FROM")) * time.Hour)
		to := from.Add(time.Duration(rapid.IntRange(0, 100).Draw(rt, "TO")) * time.Hour)
		books := calendars[rapid.IntRange(0, len(calendars)-1).Draw(rt, "books")]
		d, err := CompareKnown(context.Background(), lake, DiffOptions{From: from, To: to, Books: books, Limit: 1000})
		if err != nil {
			rt.Fatal(err)
		}
		monthOf := func(r DiffRecord) schemas.Month { return books.Month(books.Day(*r.Time)) }
		asked := monthOf(DiffRecord{Time: &from})
		if len(d.Records) > 0 {
			asked = monthOf(rapid.SampledFrom(d.Records).Draw(rt, "a record of the month"))
		}
		month := books.Period(asked, asked)
		narrow, err := CompareKnown(context.Background(), lake, DiffOptions{From: from, To: to, Books: books, Days: &month,
			Limit: 1000})
		if err != nil {
			rt.Fatal(err)
		}
		ofMonth := slices.DeleteFunc(slices.Clone(d.Records), func(r DiffRecord) bool { return monthOf(r) != asked })
		lines := slices.DeleteFunc(slices.Clone(d.Months), func(l DiffLine) bool { return l.Month != books.Name(asked) })
		for what, sides := range map[string][2]any{"records": {narrow.Records, ofMonth}, "lines": {narrow.Months, lines}} {
			if got, want := asJSON(rt, sides[0]), asJSON(rt, sides[1]); got != want {
				rt.Fatalf("%s of %s alone: %s, of all %s", what, books.Name(asked), got, want)
			}
		}
		for _, l := range narrow.Days { // a day that is in part of another month says nothing of what all of it is
			day := slices.IndexFunc(d.Days, func(o DiffLine) bool {
				return o.Account == l.Account && o.Date == l.Date && orEmpty(o.Currency) == orEmpty(l.Currency)
			})
			utc, err := schemas.ParseDate(l.Date)
			if err != nil || day < 0 {
				rt.Fatal(l, err)
			}
			if whole := len(books.Touches(utc)) == 1; whole != (l.Before != nil && l.After != nil) ||
				whole && asJSON(rt, l) != asJSON(rt, d.Days[day]) {
				rt.Fatalf("of one month %s, of all %s", asJSON(rt, l), asJSON(rt, d.Days[day]))
			}
		}
		before, after := knownSums(rt, engine, dir, windows, from), knownSums(rt, engine, dir, windows, to)
		amount := func(s string) schemas.Money {
			m, err := schemas.ParseMoney(s)
			if err != nil {
				rt.Fatal(err)
			}
			return m
		}
		money := func(s *string) schemas.Money { // without one, a record comes to nothing
			if s == nil {
				return schemas.Money{}
			}
			return amount(*s)
		}
		text := func(s *DiffSum) string { return fmt.Sprint(s.Records, " ", s.Amount) }
		months, listed := map[string]schemas.Money{}, int64(0)
		for _, r := range d.Records {
			key := fmt.Sprintf("%s %s %s", r.Account, books.Name(monthOf(r)), orEmpty(r.Currency))
			months[key] = months[key].Add(money(r.After)).Sub(money(r.Before))
		}
		for _, l := range d.Days {
			key := fmt.Sprintf("%s %s %s", l.Account, l.Date, orEmpty(l.Currency))
			for _, side := range []struct {
				got  *DiffSum
				want map[string]string
			}{{l.Before, before}, {l.After, after}} {
				want := side.want[key]
				if want == "" {
					want = "0 0"
				}
				if text(side.got) != want {
					rt.Fatalf("%s: known are %s, and a lake of then has %s", key, text(side.got), want)
				}
			}
			sum := amount(l.Before.Amount).Add(amount(l.CameAmount)).Sub(amount(l.WentAmount)).
				Sub(amount(l.ChangedBefore)).Add(amount(l.ChangedAfter))
			if sum.Cmp(amount(l.After.Amount)) != 0 || l.Before.Records+l.Came-l.Went != l.After.Records ||
				sum.Sub(amount(l.Before.Amount)).Cmp(amount(l.Difference)) != 0 {
				rt.Fatalf("%s does not tie out: %+v, %+v, %+v", key, l, l.Before, l.After)
			}
			listed += l.Came + l.Went + l.Changed
			delete(before, key)
			delete(after, key)
		}
		if fmt.Sprint(before) != fmt.Sprint(after) {
			rt.Fatalf("nothing is said of days that changed: %v, now %v", before, after)
		}
		if int64(len(d.Records)) != listed {
			rt.Fatalf("%d records are listed of %d", len(d.Records), listed)
		}
		if len(d.Months) != len(months) {
			rt.Fatalf("the months %v are not those of the records, %v", d.Months, months)
		}
		for _, l := range d.Months {
			if months[fmt.Sprintf("%s %s %s", l.Account, l.Month, orEmpty(l.Currency))].Cmp(amount(l.Difference)) != 0 {
				rt.Fatalf("%+v is not the sum of its records, %v", l, months)
			}
		}
	})
}

func asJSON(t rapid.TB, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// What retention or a lost disk took can't be told, and is said so; what doesn't hang on it is told.
func TestDiffSaysWhatCannotBeToldAnyMore(t *testing.T) {
	dir := t.TempDir()
	lake, err := publish.Create(filepath.Join(dir, "lake"), publish.Options{})
	if err != nil {
		t.Fatal(err)
	}
	record := func(amount string) []string {
		return []string{fmt.Sprintf(`{"id":"1","request_time":%d,"model":"m","amount":%s}`, diffDay.Start().Unix()+5, amount)}
	}
	at := func(hour int) time.Time { return diffDay.Start().Add(time.Duration(hour) * time.Hour) }
	window := func(d, fetched int, amount string) fetchedWindow {
		start := at(24 * d)
		return fetchedWindow{"acme", start, start.Add(24 * time.Hour), at(fetched), "USD", record(amount)}
	}
	window(0, 30, "1").seal(t, lake)
	window(0, 40, "2").seal(t, lake)
	window(0, 50, "3").seal(t, lake)
	if _, err := derive(context.Background(), lake, "acme", lake.Log, nil); err != nil {
		t.Fatal(err)
	}
	first, err := filepath.Glob(filepath.Join(lake.Dir(), "raw", "*", "*", "000001_*"))
	if err != nil || len(first) != 1 {
		t.Fatal(first, err)
	}
	if err := os.Remove(first[0]); err != nil {
		t.Fatal(err)
	}
	ask := func(from, to int) (*Diff, error) {
		return CompareKnown(context.Background(), lake, DiffOptions{From: at(from), To: at(to), Limit: 10})
	}
	d, err := ask(35, 60)
	if lost := (*UnansweredError)(nil); !errors.As(err, &lost) || lost.Days != 1 || len(d.Unanswered) != 1 ||
		!strings.Contains(d.Unanswered[0].Why, "missing") || StatusOf(err) != schemas.StatusPartial {
		t.Errorf("%+v, %v", d, err)
	}
	// Between these two the first window owned nothing.
	if d, err = ask(45, 60); err != nil || len(d.Records) != 1 || *d.Records[0].Before != "2" ||
		*d.Records[0].After != "3" {
		t.Errorf("%+v, %v", d, err)
	}
}
