package load

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/schemas"
)

// closeMonth closes a month with the rules that are published, and publishes.
func (w *dayWriter) closeMonth(month string, f Finance) (ClosedMonth, error) {
	w.t.Helper()
	m, err := schemas.ParseMonth(month)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := w.lake.CloseMonth(context.Background(), CloseOptions{Month: m, RunID: "run-c", Version: "test", Now: tickingClock(), Rules: []RuleFile{{Name: "rules.yaml", Content: []byte(f.Rules.Digest())}}, RulesDigest: f.Rules.Digest(),
		Write: func(_ context.Context, dir string) error {
			return os.WriteFile(filepath.Join(dir, "statement.csv"), []byte("x\n"), 0o644)
		}})
	if err == nil {
		w.publish(PublishOptions{Finance: f})
	}
	return c, err
}

// archived gives rules by what closeMonth kept of them.
func archived(all ...Allocator) func([]RuleFile) (Allocator, error) {
	return func(files []RuleFile) (Allocator, error) {
		for _, a := range all {
			if string(files[0].Content) == a.Digest() {
				return a, nil
			}
		}
		return nil, fmt.Errorf("unknown rules %s", files[0].Content)
	}
}

// What came or changed after a month was closed is charged as a correction in the next open month. All that was
// charged sums to what it would be without any close, for every owner and in every figure; and what was charged in a
// closed month never changes again, whatever comes and however the rules change.
func TestClosedMonthsNeverChangeAndNothingIsLost(t *testing.T) {
	// Once a figure was charged and taken back it is 0 and not NULL, so NULL counts as 0 here.
	const perOwner = `SELECT usage_date, account, cost_center, team, gl_code, tags, pool, rule_id, model, model_type, record_kind, currency, sum(requests) AS n, sum(without_amount) AS w, coalesce(sum(input_tokens), 0) AS i, coalesce(sum(output_tokens), 0) AS o, coalesce(sum(total_tokens), 0) AS t,
		coalesce(sum(list_cost), 0) AS l, coalesce(sum(discount), 0) AS d, coalesce(sum(net_cost), 0) AS a FROM chargeback_daily GROUP BY ALL HAVING sum(requests) <> 0 OR sum(net_cost) <> 0 OR sum(list_cost) <> 0 ORDER BY ALL`
	check := func(rt *rapid.T) {
		w, plain := newDayWriter(t, Options{}), newDayWriter(t, Options{})
		seed := int64(0)
		write := func(p schemas.Partition, n int) {
			seed++
			w.day(p, n, seed)
			plain.day(p, n, seed)
		}
		days := rapid.SliceOfNDistinct(rapid.IntRange(0, 91), 3, 6, rapid.ID).Draw(rt, "days") // August to October
		partition := func(d int) schemas.Partition {
			return schemas.Partition{Account: []string{"acme", "zeta-2"}[d%2], Date: mustDate("2026-08-01") + schemas.Date(d)}
		}
		for _, d := range days {
			write(partition(d), rapid.IntRange(1, 25).Draw(rt, "rows"))
		}
		f := testFinance
		f.Archived = archived(f.Rules)
		w.publish(PublishOptions{Finance: f})
		frozen := map[string][]string{}
		for _, month := range []string{"2026-08", "2026-09"} {
			if _, err := w.closeMonth(month, f); err != nil {
				rt.Fatal(err)
			}
			frozen[month] = w.ask("SELECT * FROM chargeback_daily WHERE billing_month = '" + month + "-01' ORDER BY ALL")
			for range rapid.IntRange(0, 3).Draw(rt, "late") { // days that come, change and go
				d := rapid.IntRange(0, 91).Draw(rt, "day")
				if p := partition(d); slices.Contains(days, d) && rapid.IntRange(0, 4).Draw(rt, "goes") == 0 {
					for _, x := range []*dayWriter{w, plain} {
						if err := os.RemoveAll(x.lake.partition(usageDir, p)); err != nil {
							rt.Fatal(err)
						}
					}
				} else {
					write(p, rapid.IntRange(1, 25).Draw(rt, "rows"))
				}
			}
			w.publish(PublishOptions{Finance: f})
			plain.publish(PublishOptions{Finance: f})
			got, want := w.ask(perOwner), plain.ask(perOwner)
			if !slices.Equal(got, want) {
				rt.Fatalf("after the close of %s: %s", month, firstDifference(strings.Join(got, "\n"), strings.Join(want, "\n")))
			}
		}
		other := f
		other.Rules = testRules{name: "b", since: mustDate("2026-08-10")}
		other.Archived = archived(f.Rules, other.Rules)
		w.publish(PublishOptions{Finance: other})
		full := w.dump()
		w.publish(PublishOptions{Finance: other, Full: true})
		if d := w.dump(); d != full {
			rt.Fatal("built from nothing: ", firstDifference(full, d))
		}
		for month, want := range frozen {
			if got := w.ask("SELECT * FROM chargeback_daily WHERE billing_month = '" + month + "-01' ORDER BY ALL"); !slices.Equal(got, want) {
				rt.Fatalf("%s changed:\n%s\nwas\n%s", month, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		for _, row := range w.ask(`SELECT billing_month, usage_date, charge_class FROM chargeback_daily WHERE (date_trunc('month', usage_date) <> billing_month) <> (charge_class IS NOT NULL)`) {
			rt.Fatalf("a charge in another month that is no correction, or the other way round: %s", row)
		}
		if got, want := w.one("SELECT sum(net_cost) AS a FROM chargeback_daily"), w.one("SELECT sum(amount) AS a FROM usage"); got != want {
			rt.Fatalf("charged %s, used %s", got, want)
		}
		report, err := w.lake.Verify(context.Background(), VerifyOptions{})
		if err != nil {
			rt.Fatal(err)
		}
		for _, x := range report.Findings {
			if x.Check == FoundClosed {
				rt.Fatalf("%+v", x)
			}
		}
	}
	few(t, 6) // each of them publishes a dozen times
	rapid.Check(t, check)
}

// few sets how many cases the properties of a test draw.
func few(t *testing.T, n int) {
	t.Helper()
	for name, value := range map[string]string{"rapid.checks": strconv.Itoa(n), "rapid.shrinktime": "20s"} {
		f := flag.Lookup(name)
		was := f.Value.String()
		if err := f.Value.Set(value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Value.Set(was) })
	}
}

func TestAClosedMonthIsCheckedAndReopened(t *testing.T) {
	w := newDayWriter(t, Options{})
	w.days(4, 30)
	f := testFinance
	f.Archived = archived(f.Rules)
	w.publish(PublishOptions{Finance: f})
	before := w.dump()
	c, err := w.closeMonth("2026-10", f)
	if err != nil {
		t.Fatal(err)
	}
	if want := w.one("SELECT sum(amount)::VARCHAR AS a FROM usage"); len(c.Totals) != 1 || "{'a': "+*c.Totals[0].Net+"}" != want || len(c.Partitions) != 8 {
		t.Errorf("manifest: %+v, usage has %s", c.Manifest, want)
	}
	if _, err := w.closeMonth("2026-10", f); !errors.Is(err, ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
	findings := func() []Finding {
		r, err := w.lake.Verify(t.Context(), VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(r.Findings, func(f Finding) bool { return f.Check != FoundClosed })
	}
	if got := findings(); len(got) != 0 {
		t.Errorf("found %+v", got)
	}
	info, err := os.Stat(filepath.Join(c.Dir, "statement.csv"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	for name, damage := range map[string]func(path string) error{
		"statement.csv":             func(p string) error { return os.WriteFile(p, []byte("y\n"), 0o600) },
		"ledger/" + "extra":         func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"rules/0.yaml":              os.Remove,
		"ledger/chargeback.parquet": func(p string) error { return os.Truncate(p, 10) },
	} {
		p := filepath.Join(c.Dir, filepath.FromSlash(name))
		was, _ := os.ReadFile(p)
		if err := damage(p); err != nil {
			t.Fatal(err)
		}
		if got := findings(); len(got) == 0 || !strings.HasSuffix(got[0].Path, name) {
			t.Errorf("%s damaged: found %+v", name, got)
		}
		if was == nil {
			err = os.Remove(p)
		} else {
			err = os.WriteFile(p, was, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.lake.ReopenMonth(mustDate("2026-09-01"), "r", "v", "why", time.Now()); !errors.Is(err, ErrNotClosed) {
		t.Errorf("opened what isn't closed: %v", err)
	}
	kept, err := w.lake.ReopenMonth(c.Start, "run-o", "test", "wrong owner", time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(kept, "manifest.json")); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(kept + ".json"); err != nil || !strings.Contains(string(b), "wrong owner") {
		t.Errorf("the reason: %s %v", b, err)
	}
	w.publish(PublishOptions{Finance: f})
	if after := w.dump(); after != before {
		t.Error(firstDifference(after, before))
	}
	if c2, err := w.closeMonth("2026-10", f); err != nil || *c2.Totals[0].Net != *c.Totals[0].Net {
		t.Errorf("closed again: %+v %v", c2, err)
	}
}
