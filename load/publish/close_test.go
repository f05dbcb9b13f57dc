package publish

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/durable/durabletest"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// closeMonth closes a month with the rules that are published, and publishes.
func (w *dayWriter) closeMonth(month string, f Finance) (ClosedMonth, error) {
	w.T.Helper()
	m, err := schemas.ParseMonth(month)
	if err != nil {
		w.T.Fatal(err)
	}
	c, err := w.lake.CloseMonth(context.Background(), CloseOptions{Month: m, RunID: "run-c", Version: "test",
		Now: loadtest.TickingClock(), Books: f.Books, Rates: f.Rates,
		Rules:       []RuleFile{{Name: "rules.yaml", Content: []byte(f.Rules.Digest())}},
		RulesDigest: f.Rules.Digest(),
		Write: func(_ context.Context, dir string, _ int) error {
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
	const perOwner = `SELECT usage_date, book_date, account, cost_center, team, gl_code, tags, pool, rule_id, model,
		model_type,
		record_kind, currency, sum(requests) AS n, sum(without_amount) AS w, coalesce(sum(input_tokens), 0) AS i,
		coalesce(sum(output_tokens), 0) AS o, coalesce(sum(total_tokens), 0) AS t,
		coalesce(sum(list_cost), 0) AS l, coalesce(sum(discount), 0) AS d, coalesce(sum(net_cost), 0) AS a
		FROM chargeback_daily GROUP BY ALL HAVING sum(requests) <> 0 OR sum(net_cost) <> 0 OR sum(list_cost) <> 0
		ORDER BY ALL`
	calendars := someBooks(t)
	check := func(rt *rapid.T) {
		w, plain := newDayWriter(t, load.Options{}), newDayWriter(t, load.Options{})
		seed := int64(0)
		write := func(p schemas.Partition, n int) {
			seed++
			w.RandomDay(p, n, seed)
			plain.RandomDay(p, n, seed)
		}
		days := rapid.SliceOfNDistinct(rapid.IntRange(0, 91), 3, 6, rapid.ID).Draw(rt, "days") // August to October
		partition := func(d int) schemas.Partition {
			return schemas.Partition{Account: []string{"acme", "zeta-2"}[d%2],
				Date: schemastest.Date("2026-08-01") + schemas.Date(d)}
		}
		for _, d := range days {
			write(partition(d), rapid.IntRange(1, 25).Draw(rt, "rows"))
		}
		f := testFinance
		f.Books = calendars[rapid.SampledFrom(sortedNames(calendars)).Draw(rt, "books")]
		f.Archived = archived(f.Rules)
		w.publish(PublishOptions{Finance: f})
		frozen := map[string][]string{}
		var gone []schemas.Partition // nothing else than their names takes them out of the published file
		for _, month := range []string{"2026-08", "2026-09"} {
			if _, err := w.closeMonth(month, f); err != nil {
				rt.Fatal(err)
			}
			frozen[month] = w.Ask("SELECT * FROM chargeback_daily WHERE billing_month = '" + month + "-01' ORDER BY ALL")
			for range rapid.IntRange(0, 3).Draw(rt, "late") { // days that come, change and go
				d := rapid.IntRange(0, 91).Draw(rt, "day")
				if p := partition(d); slices.Contains(days, d) && rapid.IntRange(0, 4).Draw(rt, "goes") == 0 {
					for _, x := range []*dayWriter{w, plain} {
						if err := os.RemoveAll(x.lake.Partition(load.UsageDir, p)); err != nil {
							rt.Fatal(err)
						}
					}
					gone = append(gone, p)
				} else {
					write(p, rapid.IntRange(1, 25).Draw(rt, "rows"))
				}
			}
			w.publish(PublishOptions{Finance: f, Drop: gone})
			plain.publish(PublishOptions{Finance: f, Drop: gone})
			got, want := w.Ask(perOwner), plain.Ask(perOwner)
			if !slices.Equal(got, want) {
				rt.Fatalf("after the close of %s: %s", month,
					schemastest.FirstDifference(strings.Join(got, "\n"), strings.Join(want, "\n")))
			}
		}
		other := f
		other.Rules = loadtest.Rules{Name: "b", Since: schemastest.Date("2026-08-10")}
		other.Archived = archived(f.Rules, other.Rules)
		w.publish(PublishOptions{Finance: other})
		full := w.Dump()
		w.publish(PublishOptions{Finance: other, Full: true})
		if d := w.Dump(); d != full {
			rt.Fatal("built from nothing: ", schemastest.FirstDifference(full, d))
		}
		for month, want := range frozen {
			if got := w.Ask("SELECT * FROM chargeback_daily WHERE billing_month = '" + month +
				"-01' ORDER BY ALL"); !slices.Equal(got, want) {
				rt.Fatalf("%s changed:\n%s\nwas\n%s", month, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		for _, row := range w.Ask(`SELECT billing_month, book_date, charge_class FROM chargeback_daily
			WHERE (month_of(book_date) <> billing_month) <> (charge_class IS NOT NULL)`) {
			rt.Fatalf("a charge in another month that is no correction, or the other way round: %s", row)
		}
		if got, want := w.One("SELECT sum(net_cost) AS a FROM chargeback_daily"),
			w.One("SELECT sum(amount) AS a FROM usage"); got != want {
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

// Statements that somebody deleted don't open the month behind everybody's back.
func TestAClosedMonthIsCorrectedIfItsRecordsChangedAndNotIfTheirFileDid(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-08-03")}
	f := testFinance
	f.Archived = archived(f.Rules)
	w.RandomDay(p, 5, 1)
	w.publish(PublishOptions{Finance: f})
	if _, err := w.closeMonth("2026-08", f); err != nil {
		t.Fatal(err)
	}
	const question = `SELECT corrected, (SELECT count(*) > 0 FROM chargeback_daily
		WHERE charge_class = 'Correction') AS charged FROM closed_months`
	for _, step := range []struct {
		what, rows string
		want       string
	}{
		{"derived anew by another version", loadtest.UsageSQL(p, 5, 1), "{'corrected': false, 'charged': false}"},
		{"with other records", loadtest.UsageSQL(p, 6, 2), "{'corrected': true, 'charged': true}"},
	} {
		w.DayFrom(p, step.rows, "digest of a day "+step.what, nil)
		w.publish(PublishOptions{Finance: f})
		if got := w.Ask(question); !slices.Equal(got, []string{step.want}) {
			t.Errorf("%s: %v, want %s", step.what, got, step.want)
		}
	}
}

// A day of a closed month that is yet to be derived is no usage that is gone: nothing is credited for it.
func TestADayThatIsYetToBeDerivedIsNoCorrection(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	days := w.RandomDays(3, 20)
	f := testFinance
	f.Archived = archived(f.Rules)
	for _, p := range days {
		w.seal(p, 0, 24)
	}
	w.publish(PublishOptions{Finance: f})
	if _, err := w.closeMonth("2026-10", f); err != nil {
		t.Fatal(err)
	}
	w.publish(PublishOptions{Finance: f})
	must(t, os.Remove(w.lake.UsagePath(days[1])))
	before := w.Dump()
	for _, full := range []bool{false, true} { // the file has the day; built anew it would not
		_, err := w.lake.Publish(t.Context(), PublishOptions{Finance: f, Full: full, Now: loadtest.TickingClock()})
		if full == (err == nil) || full && !strings.Contains(err.Error(), "usagelake rebuild") {
			t.Errorf("full: %v: %v", full, err)
		}
		if after := w.Dump(); after != before {
			t.Errorf("full: %v: %s", full, schemastest.FirstDifference(after, before))
		}
	}
	must(t, os.Remove(w.lake.Database()))
	if _, err := w.lake.Publish(t.Context(), PublishOptions{Finance: f, Now: loadtest.TickingClock()}); err == nil {
		t.Error("built from nothing without it")
	}
}

func TestAClosedMonthThatIsGoneIsNotOpenedSilently(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	days := w.RandomDays(3, 20)
	f := testFinance
	f.Archived = archived(f.Rules)
	w.publish(PublishOptions{Finance: f})
	c, err := w.closeMonth("2026-10", f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		t.Fatal(err)
	}
	w.RandomDay(days[0], 21, 99)
	before := w.Dump()
	_, err = w.lake.Publish(t.Context(), PublishOptions{Finance: f, Now: loadtest.TickingClock()})
	if err == nil || !strings.Contains(err.Error(), "2026-10 is closed, and") ||
		!strings.Contains(err.Error(), "restore it from a backup") {
		t.Fatalf("published: %v", err)
	}
	if after := w.Dump(); after != before {
		t.Error(schemastest.FirstDifference(after, before))
	}
	if _, err = w.lake.Publish(t.Context(), PublishOptions{Finance: f, Full: true,
		Now: loadtest.TickingClock()}); err == nil {
		t.Error("built anew without it, though nobody said so")
	}
	w.publish(PublishOptions{Finance: f, Full: true, DropMonths: []schemas.Month{c.Month}}) // the way out
	if got := w.One("SELECT count(*) AS n FROM closed_months"); got != "{'n': 0}" {
		t.Errorf("closed months: %s", got)
	}
}

func TestAClosedMonthIsCheckedAndReopened(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.RandomDays(4, 30)
	f := testFinance
	f.Archived = archived(f.Rules)
	w.publish(PublishOptions{Finance: f})
	before := w.Dump()
	c, err := w.closeMonth("2026-10", f)
	if err != nil {
		t.Fatal(err)
	}
	if want := w.One("SELECT sum(amount)::VARCHAR AS a FROM usage"); len(c.Totals) != 1 ||
		"{'a': "+*c.Totals[0].Net+"}" != want || len(c.Partitions) != 8 {
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
	if _, err := w.lake.ReopenMonth(schemastest.Date("2026-09-01").Month(), "r", "v", "why", time.Now()); !errors.Is(err,
		ErrNotClosed) {
		t.Errorf("opened what isn't closed: %v", err)
	}
	kept, err := w.lake.ReopenMonth(c.Month, "run-o", "test", "wrong owner", time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC))
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
	if after := w.Dump(); after != before {
		t.Error(schemastest.FirstDifference(after, before))
	}
	if c2, err := w.closeMonth("2026-10", f); err != nil || *c2.Totals[0].Net != *c.Totals[0].Net {
		t.Errorf("closed again: %+v %v", c2, err)
	}
}

// closeFS is a durabletest.FS that counts what closing a month does besides as steps, too.
type closeFS struct{ *durabletest.FS }

func (f closeFS) Chmod(name string, mode fs.FileMode) error {
	return f.Step("chmod "+filepath.Base(name), func() error { return f.System.Chmod(name, mode) })
}

func (f closeFS) RemoveAll(name string) error {
	return f.Step("removeall "+filepath.Base(name), func() error { return f.System.RemoveAll(name) })
}

func (f closeFS) Open(name string) (file durable.File, err error) {
	err = f.Step("open "+filepath.Base(name), func() (err error) {
		file, err = f.System.Open(name)
		return err
	})
	return f.Wrap(file, err)
}

// Each step of closing and of opening a month again fails in each way, with the process living on and with it dead. The
// month is closed then, with all its files as the manifest has them, or it is not; and done again it completes. What
// DuckDB and Write write doesn't go through FS: that they fail is the error that they return.
func TestAMonthIsClosedOrNotWhicheverStepFails(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.RandomDays(1, 5)
	f := testFinance
	f.Archived = archived(f.Rules)
	w.publish(PublishOptions{Finance: f})
	month := schemastest.Date("2026-10-01").Month()
	open := func(fsys *durabletest.FS) *Lake {
		l, err := open(w.lake.Dir(), load.Options{FS: closeFS{fsys}, Group: true})
		must(t, err)
		fsys.Steps = nil
		return l
	}
	closeOn := func(l *Lake) error {
		_, err := l.CloseMonth(t.Context(), CloseOptions{Month: month, RunID: "run-c", Version: "test",
			Now: loadtest.TickingClock(), RulesDigest: f.Rules.Digest(),
			Rules: []RuleFile{{Name: "rules.yaml", Content: []byte(f.Rules.Digest())},
				{Name: "../../t.CSV", Content: []byte("a\n")}},
			Write: func(_ context.Context, dir string, _ int) error {
				return errors.Join(os.Mkdir(filepath.Join(dir, "sub"), 0o700),
					os.WriteFile(filepath.Join(dir, "sub", "s.csv"), []byte("x\n"), 0o644))
			}})
		return err
	}
	// look says whether the month is closed; whatever there is of it is whole.
	look := func(name string) bool {
		t.Helper()
		closed, err := w.lake.Closed()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, c := range closed {
			if len(c.Files) != 5 {
				t.Errorf("%s: files %+v", name, c.Files)
			}
			for _, want := range c.Files {
				if got, err := w.lake.manifestFile(c.Dir, want.Path); err != nil || got.SHA256 != want.SHA256 ||
					got.Bytes != want.Bytes {
					t.Errorf("%s: %s: %+v %v, want %+v", name, want.Path, got, err, want)
				}
			}
		}
		return len(closed) == 1
	}
	reset := func(closed bool) {
		t.Helper()
		must(t, os.RemoveAll(w.lake.Path(load.StatementsDir)))
		must(t, os.RemoveAll(w.lake.Path(durable.TempDir))) // as whoever takes the lock does
		if closed {
			must(t, closeOn(w.lake))
		}
	}
	run := func(name string, before bool, write func(*Lake) error) {
		reset(before)
		probe := &durabletest.FS{At: -1}
		must(t, write(open(probe)))
		if look(name) == before {
			t.Fatalf("%s changes nothing", name)
		}
		t.Logf("%s: %d steps: %s", name, len(probe.Steps), strings.Join(probe.Steps, ", "))
		for n, step := range probe.Steps {
			for _, how := range []durabletest.Fault{durabletest.NotDone, durabletest.Lost, durabletest.Torn} {
				for _, down := range []bool{false, true} {
					if how == durabletest.Torn && step != "write" || down && (how != durabletest.NotDone || testing.Short()) {
						continue
					}
					name := fmt.Sprintf("%s: step %d (%s) %s, down %v", name, n, step, how, down)
					reset(before)
					err := write(open(&durabletest.FS{At: n, How: how, Down: down}))
					after := look(name)
					switch {
					case err == nil && after == before:
						t.Errorf("%s: no error, and nothing done", name)
					case err != nil && !errors.Is(err, syscall.EIO):
						t.Errorf("%s: the error hides its cause: %v", name, err)
					}
					if left, _ := os.ReadDir(w.lake.Path(durable.TempDir)); !down && len(left) > 0 &&
						!strings.HasPrefix(step, "remove") && !strings.HasPrefix(step, "create") && step != "close" {
						t.Errorf("%s: half-done files are left: %v", name, left)
					}
					if after != before || !down {
						continue
					}
					if err := write(w.lake); err != nil || look(name) == before {
						t.Errorf("%s: done again: %v", name, err)
					}
				}
			}
		}
	}
	run("close", false, closeOn)
	at := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	run("reopen", true, func(l *Lake) error {
		kept, err := l.ReopenMonth(month, "run-o", "test", "why", at)
		if err != nil {
			return err
		}
		_, err = os.Stat(filepath.Join(kept, ManifestName))
		return errors.Join(err, func() error { _, err := os.Stat(kept + ".json"); return err }())
	})

	// Errors of what doesn't go through FS leave nothing either.
	reset(false)
	full := errors.New("no space left on device")
	_, err := w.lake.CloseMonth(t.Context(), CloseOptions{Month: month, Now: loadtest.TickingClock(),
		Write: func(_ context.Context, dir string, _ int) error { return full }})
	if !errors.Is(err, full) || look("a failed statement") {
		t.Errorf("a failed statement: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = w.lake.CloseMonth(ctx,
		CloseOptions{Month: month, Now: loadtest.TickingClock(),
			Write: func(context.Context, string, int) error { cancel(); return nil }})
	if !errors.Is(err, context.Canceled) || look("stopped") {
		t.Errorf("stopped while it wrote: %v", err)
	}
	if left, _ := os.ReadDir(w.lake.Path(durable.TempDir)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}

	// A process that dies between the commit and the publish leaves a closed month that the next publish knows.
	must(t, closeOn(w.lake))
	findings := func() (out []string) {
		r, err := w.lake.Verify(t.Context(), VerifyOptions{})
		must(t, err)
		for _, f := range r.Findings {
			if f.Check == FoundClosed || strings.Contains(f.Detail, "closed") {
				out = append(out, f.Check+": "+f.Detail)
			}
		}
		return out
	}
	if got := findings(); !slices.Contains(got, "database_behind: 2026-10 is closed, and published as open") {
		t.Errorf("found %q", got)
	}
	if got := w.publish(PublishOptions{Finance: f}); got.Unchanged ||
		w.One(`SELECT count(*) AS n FROM closed_months`) != "{'n': 1}" {
		t.Errorf("the next publish: %+v", got)
	}
	if got := findings(); len(got) > 0 {
		t.Errorf("found %q", got)
	}

	// A manifest that was edited, with the file it speaks of, still shows; and so does a month that is gone.
	name := w.lake.Path(load.StatementsDir, "2026-10", ManifestName)
	b, err := os.ReadFile(name)
	must(t, err)
	must(t, os.WriteFile(name, bytes.Replace(b, []byte(`"net_cost": "`), []byte(`"net_cost": "1`), 1), 0o600))
	if got := strings.Join(findings(), "\n"); !strings.Contains(got, "not the manifest the month was published with") ||
		!strings.Contains(got, "don't sum to the totals") {
		t.Errorf("found %q", got)
	}
	must(t, os.RemoveAll(w.lake.Path(load.StatementsDir, "2026-10")))
	if got := strings.Join(findings(), "\n"); !strings.Contains(got, "what it was closed with is gone") {
		t.Errorf("found %q", got)
	}
}

// Another program that has the published file open for writing keeps no month from being closed, and changes nothing of
// it.
func TestAMonthIsClosedWhileAnotherHasTheFileOpenForWriting(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.RandomDays(1, 5)
	w.publish(PublishOptions{})
	release := held(t, w.lake.Database(), "DELETE FROM theirs.usage")
	m, err := w.lake.CloseMonth(t.Context(), CloseOptions{Month: schemastest.Date("2026-10-01").Month(),
		Now: loadtest.TickingClock(), RulesDigest: "none"})
	if err != nil || len(m.Totals) == 0 || m.Totals[0].Requests == 0 {
		t.Errorf("%+v %v", m, err)
	}
	release()
	w.publish(PublishOptions{})
	w.noLeftovers()
}
