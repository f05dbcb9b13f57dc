package jobs

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// october is the month that the tests close.
var october = schemas.DateOf(time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)).Month()

func octoberSpan() Span {
	return Span{From: october.Start(), To: october.End()}
}

func (w *world) close(o CloseOptions) (*Result, *publish.ClosedMonth, error) {
	w.Helper()
	if o.Month == 0 {
		o.Month = october
	}
	o.Retry = kit.Retry
	return Close(w.Context(), w.Cfg, w.env, o)
}

// rules makes the config name allocation rules.
func (w *world) rules(text string) {
	w.Helper()
	w.Cfg.Allocation.Rules = filepath.Join(w.TempDir(), "allocation.yaml")
	if err := os.WriteFile(w.Cfg.Allocation.Rules, []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

const twoRules = "rules:\n- {id: gpt, match: {model: \"gpt-*\"}, assign: {cost_center: A}}\n- {id: shared, match: " +
	"{model: \"claude-*\"}, pool: p}\npools: {p: {split: cost, to: [{cost_center: A}, {cost_center: \"=B/../<x>\"}]}}\n"

// What came late is fetched when the month is closed, so that what is charged is what was used; and what the Portal
// changes afterwards is charged as a correction in the next month, whatever runs then.
func TestAClosedMonthHoldsWhatCameLateAndNeverChanges(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 25, Faults: "late=0.3,late-by=100h",
			At: time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC)})
		w.rules(twoRules)
		w.export(octoberSpan())
		r := w.Read()
		early := r.One("SELECT count(*) FROM usage")
		r.Close()
		w.At(kit.Day(7))
		w.Requests()
		res, closed, err := w.close(CloseOptions{})
		if err != nil || res.Status != schemas.StatusDone || closed == nil {
			t.Fatalf("close: %v, %+v", err, res)
		}
		r = w.Read()
		defer r.Close()
		if late := r.One("SELECT count(*) FROM usage"); late == early {
			t.Errorf("%s records before and after: nothing came late", late)
		}
		w.EqualAccount("acme", "USD", october.Start(), kit.Day(1))
		if got, want := *closed.Totals[0].Net,
			r.One("SELECT sum(amount)::VARCHAR FROM usage"); kit.Dec(got) != kit.Dec(want) {
			t.Errorf("closed with %s, used %s", got, want)
		}
		for _, f := range []string{"manifest.json", "statement.xlsx", "statement.html", "chargeback.csv", "journal.csv",
			"ledger/chargeback.parquet", "rules/0.yaml", "cost-centers/" + report.StatementFile("A") + ".html",
			"cost-centers/" + report.StatementFile("=B/../<x>") + ".csv"} {
			if _, err := os.Stat(filepath.Join(closed.Dir, filepath.FromSlash(f))); err != nil {
				t.Error(err)
			}
		}
		if b, err := os.ReadFile(filepath.Join(closed.Dir, "chargeback.csv")); err != nil ||
			!strings.Contains(string(b), "\n'=B/../<x>,") {
			t.Errorf("a cost centre became a formula: %.200s %v", b, err)
		}
		const frozen = "SELECT c::VARCHAR FROM chargeback_daily c WHERE billing_month = '2026-10-01' ORDER BY ALL"
		before := r.Ask(frozen)
		same := func(after string) {
			t.Helper()
			r := w.Read()
			defer r.Close()
			now := r.Ask(frozen)
			if len(now) != len(before) {
				t.Fatalf("after %s: %d rows in the closed month, were %d", after, len(now), len(before))
			}
			for i := range now {
				if strings.Join(now[i], "|") != strings.Join(before[i], "|") {
					t.Fatalf("after %s: %v, was %v", after, now[i], before[i])
				}
			}
			if got, want := r.One("SELECT sum(net_cost)::VARCHAR FROM chargeback_daily"),
				r.One("SELECT sum(amount)::VARCHAR FROM usage"); kit.Dec(got) != kit.Dec(want) {
				t.Errorf("after %s: charged %s, used %s", after, got, want)
			}
		}
		w.Faults("corrected=0.2,vanish=0.1")
		s := octoberSpan()
		s.Anew = true
		w.export(s)
		same("a refetch")
		r2 := w.Read()
		if n := r2.One("SELECT count(*) FROM chargeback_daily WHERE charge_class = 'Correction' AND billing_month = " +
			"'2026-11-01' AND usage_date < '2026-11-01'"); n == "0" {
			t.Error("no correction in the next month")
		}
		r2.Close()
		w.rules("rules:\n- {id: all, assign: {cost_center: Z}}\n")
		if _, _, err := Allocate(t.Context(), w.Cfg, w.env, false); err != nil {
			t.Fatal(err)
		}
		same("other rules")
		w.rebuild()
		same("a rebuild")

		_, _, err = w.close(CloseOptions{})
		if !errors.Is(err, publish.ErrClosed) {
			t.Errorf("closed twice: %v", err)
		}
		if _, _, err := Reopen(t.Context(), w.Cfg, w.env, october, " ", false); !errors.Is(err, config.ErrUsage) {
			t.Errorf("reopened without a reason: %v", err)
		}
		if _, kept, err := Reopen(t.Context(), w.Cfg, w.env, october, "wrong owner", false); err != nil || kept == "" {
			t.Errorf("reopen: %v", err)
		}
		r3 := w.Read()
		defer r3.Close()
		if n := r3.One("SELECT count(*) FROM chargeback_daily WHERE charge_class IS NOT NULL"); n != "0" {
			t.Errorf("%s corrections of an open month", n)
		}
		if got, want := r3.One("SELECT sum(net_cost)::VARCHAR FROM chargeback_daily WHERE billing_month = '2026-10-01' AND "+
			"cost_center = 'Z'"), r3.One("SELECT sum(amount)::VARCHAR FROM usage"); kit.Dec(got) != kit.Dec(want) {
			t.Errorf("an open month is charged by the rules as they are: %s of %s", got, want)
		}
	})
}

// Each objection keeps a month open and changes nothing; a reason overrides it, and both are recorded.
// Corrections leave the count as it is, so a close fetches what was fetched before the month had ended, and that alone.
func TestACloseFetchesWhatWasFetchedBeforeTheMonthsEnd(t *testing.T) {
	for name, off := range map[string]bool{"as it ships": false, "refetch_at off": true} {
		kit.Bubble(t, name, func(t *testing.T) {
			w := newWorld(t, kit.Settings{PerDay: 20, At: time.Date(2026, 10, 31, 6, 0, 0, 0, time.UTC)})
			if off {
				w.Cfg.Export.RefetchAt = nil
			}
			w.export(octoberSpan()) // all but the last day
			w.At(kit.Day(1).Add(6 * time.Hour))
			w.export(octoberSpan())
			before := w.Files()
			w.Faults("corrected=0.5")
			w.At(kit.Day(1).Add(8 * time.Hour))
			if _, _, err := w.close(CloseOptions{}); err != nil {
				t.Fatal(err)
			}
			var days []string // that were fetched anew
			for _, f := range kit.Changed(before, w.Files()) {
				if strings.HasPrefix(f, "raw/") && strings.HasSuffix(f, ".pages.zst") {
					days = append(days, f[len("raw/acct=acme/date=2026-10-"):][:2])
				}
			}
			want := 0
			if !off {
				want = 28 // all but those that had been at an age of 2, 7 and 30 days: the 29th, the 24th and the 1st
			}
			if len(days) != want || slices.Contains(days, "29") || slices.Contains(days, "24") || slices.Contains(days, "01") {
				t.Errorf("the days %v were fetched anew, want %d", days, want)
			}
			if !off {
				w.EqualAccount("acme", "USD", october.Start().AddDate(0, 0, 1), october.Start().AddDate(0, 0, 23))
				w.EqualAccount("acme", "USD", october.Start().AddDate(0, 0, 29), october.Start().AddDate(0, 0, 31))
			}
		})
	}
}

func TestAMonthIsNotClosedWhileSomethingStandsAgainstIt(t *testing.T) {
	for name, c := range map[string]struct {
		settings kit.Settings
		prepare  func(w *world)
		options  CloseOptions
		want     string
	}{
		"not over": {settings: kit.Settings{At: time.Date(2026, 10, 31, 12, 0, 0, 0, time.UTC)},
			want: "the month is not over"},
		"not settled": {settings: kit.Settings{At: time.Date(2026, 11, 1, 0, 5, 0, 0, time.UTC)},
			want: "the month is not over"},
		"not asked": {options: CloseOptions{NoFetch: true}, prepare: func(w *world) { w.export(octoberSpan()) },
			want: "--no-fetch"},
		"a gap": {options: CloseOptions{NoFetch: true},
			prepare: func(w *world) { w.export(Span{From: october.Start().Add(36 * time.Hour), To: kit.Day(1)}) },
			want: "account acme: 36.0 hours of the month are not exported, the first from 2026-10-01T00:00:00Z to " +
				"2026-10-02T12:00:00Z"},
		"the Portal down": {prepare: func(w *world) { w.export(octoberSpan()); w.Faults("status-500=1") },
			want: "the Portal could not be asked once more"},
		"a refused key": {prepare: func(w *world) {
			w.export(octoberSpan())
			w.Keys["KEY_0"] = "sk_mg_" +
				strings.Repeat("0", 48)
		}, want: "the Portal could not be asked once more"},
		"quarantine": {settings: kit.Settings{Faults: "bad=0.05"},
			want: "records are in quarantine and count in nothing"},
		"no currency": {prepare: func(w *world) {
			if err := w.Portal.SetScopes(w.Keys["KEY_0"], portal.ScopeUsage); err != nil {
				w.Fatal(err)
			}
			w.export(octoberSpan())
		}, want: "has no currency: set accounts[].currency"},
		"earlier month": {prepare: func(w *world) {
			w.export(Span{From: october.Start().AddDate(0, 0, -2),
				To: kit.Day(1)})
		}, want: "2026-09 has usage and is still open: close months in their order"},
		"an account behind": {settings: kit.Settings{Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 8},
			{ID: "b", RecordsPerDay: 8}}},
			prepare: func(w *world) { w.export(octoberSpan()); w.Keys["KEY_b"] = "sk_mg_" + strings.Repeat("1", 48) },
			want:    "the Portal could not be asked once more"},
	} {
		kit.Bubble(t, name, func(t *testing.T) {
			if c.settings.PerDay == 0 {
				c.settings.PerDay = 8
			}
			w := newWorld(t, c.settings)
			if c.prepare == nil {
				w.export(Span{From: october.Start(), To: w.Now().Add(-time.Hour)})
			} else {
				c.prepare(w)
			}
			res, closed, err := w.close(c.options)
			var objections *ObjectionsError
			if !errors.As(err, &objections) || closed != nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("closed in spite of it: %v, want %s", err, c.want)
			}
			if res.Status != schemas.StatusFailed || !strings.Contains(kit.HintOf(err), "--reason") {
				t.Errorf("%s, hint %q", res.Status, kit.HintOf(err))
			}
			if _, err := os.Stat(filepath.Join(w.Cfg.Lake, "statements")); err == nil {
				t.Error("statements are there")
			}
			c.options.Reason = "agreed with finance"
			_, closed, err = w.close(c.options)
			if err != nil || closed == nil {
				t.Fatalf("with a reason: %v", err)
			}
			if closed.Reason != "agreed with finance" || !strings.Contains(strings.Join(closed.Objections, "\n"), c.want) {
				t.Errorf("recorded: %q, %q", closed.Reason, closed.Objections)
			}
			r := w.Read()
			defer r.Close()
			if got := r.One("SELECT reason FROM closed_months"); got != "agreed with finance" {
				t.Errorf("published: %s", got)
			}
		})
	}
}

func TestAnEmptyMonthCanBeClosed(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 0.0001})
		w.export(octoberSpan())
		_, closed, err := w.close(CloseOptions{})
		if err != nil || len(closed.Totals) != 0 {
			t.Fatalf("%+v %v", closed, err)
		}
		if b, err := os.ReadFile(filepath.Join(closed.Dir, "manifest.json")); err != nil ||
			!strings.Contains(string(b), `"totals": []`) {
			t.Errorf("the manifest: %s %v", b, err)
		}
		report, err := func() (publish.VerifyReport, error) {
			lake, err := publish.Open(w.Cfg.Lake, publish.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return lake.Verify(t.Context(), publish.VerifyOptions{})
		}()
		if err != nil || len(report.Findings) > 0 {
			t.Errorf("%+v %v", report.Findings, err)
		}
	})
}

// Mistakes in what finance writes are found before anything is done, each with its place.
func TestInvoicesAndBudgetsAreReadOrRefusedWithTheirPlace(t *testing.T) {
	lines, err := ParseInvoices("i.csv",
		[]byte("\xef\xbb\xbfinvoice;period;amount;currency;model\nINV-1;2026-10;1234,50;USD;\n"))
	if err != nil || len(lines) != 1 || lines[0].Amount.String() != "1234.5" {
		t.Errorf("%v %v", lines, err)
	}
	lines, err = ParseInvoices("i.csv",
		[]byte("invoice,from,to,account,date,model,amount,currency\nINV-1,2026-10-01,2026-11-01,,,,1234.50,USD\nINV-1,"+
			"2026-10-01,2026-11-01,acme,2026-10-03,m,-0.000000000001,USD\n"))
	if err != nil || len(lines) != 2 || lines[0].Amount.String() != "1234.5" ||
		lines[1].Amount.String() != "-0.000000000001" || *lines[1].Model != "m" || lines[1].Date.String() != "2026-10-03" ||
		lines[1].Source != "i.csv:3" {
		t.Errorf("%+v %v", lines, err)
	}
	for text, want := range map[string]string{
		"":                                "i.csv:1: the file is empty",
		"invoice,amount,currency\n":       "give the column period (2026-10), or from and to",
		"invoice,period,amount,curency\n": `unknown column "curency"`,
		"invoice,period,period,amount\n":  "the column period stands twice",
		"invoice,period,amount,currency\n,2026-13,x,usd\n": "i.csv:2: no invoice number\n" +
			"i.csv:2: \"2026-13\" is not a month",
		"invoice,period,amount,currency\nA,2026-10,1\n":                     "i.csv:2: 3 cells, the header has 4",
		"invoice,period,date,amount,currency\nA,2026-10,2026-11-01,1,USD\n": "the date 2026-11-01 lies outside the period",
		"invoice,from,to,amount,currency\nA,2026-10-02,2026-10-02,1,USD\n":  "from 2026-10-02 is not before to 2026-10-02",
		"invoice,period,amount,currency\nA,2026-10,1,USD\xff\n":             "the file is not UTF-8",
	} {
		if _, err := ParseInvoices("i.csv", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	// As an accounting system writes them: tabs, capitals, further columns with whatever is in them, rows without a cell,
	// a credit note.
	lines, err = ParseInvoices("i.tsv",
		[]byte("Invoice\tPeriod\tAmount\tVAT\tCurrency\tDescription\nA\t2026-10\t60\t11.40\tUSD\t\"two\nlines\"\n"+
			"\t\t\t\t\t\nB\t2026-10\t-10\t#N/A\tUSD\tcredit note\n"))
	if err != nil || len(lines) != 2 || lines[1].Amount.String() != "-10" || lines[1].Source != "i.tsv:5" {
		t.Errorf("%+v %v", lines, err)
	}
	accounts := []string{"acme", "bee"}
	ups, err := ParseTopUps("t.csv",
		[]byte("date;amount;currency;kind;account;reference;expires;note\n2026-10-02;50;USD;;acme;INV "+
			"1;;x\n;;;;;;;\n2026-10-03;20.5;USD;coupon;bee;;2027-01-01;\n"), accounts, false)
	if err != nil || len(ups) != 2 || ups[0].Kind != schemas.TopUpPaid || ups[1].Expires.String() != "2027-01-01" ||
		ups[1].Source != "t.csv:4" {
		t.Errorf("%+v %v", ups, err)
	}
	ups, err = ParseTopUps("t.csv", []byte("date,amount,currency\n2026-10-02,50,USD\n"), accounts[:1], true)
	if err != nil ||
		ups[0].Account != "acme" {
		t.Errorf("%+v %v", ups, err)
	}
	for text, want := range map[string]string{
		"date,amount\n": "no column currency",
		"date,amount,curency,currency\n2026-10-02,1,x,USD\n": `unknown column "curency": did you ` +
			`mean currency?`,
		"date,amount,currency\n2026-10-02,50,USD\n":                                "no account: the config has acme, bee",
		"date,amount,currency,kind,account\n02/10/2026,1.2.3,usd,gift,acme\n":      `t.csv:2: date: "02/10/2026"`,
		"date,amount,currency,account,expires\n2026-10-02,1,USD,acme,2026-10-02\n": "not after its date",
	} {
		if _, err := ParseTopUps("t.csv", []byte(text), accounts, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// The file of a cost centre is called by its letters, and by a digest of its name: it is the same whoever else there
// is.
func TestFileNamesOfCostCentresAreTheirLettersAndADigest(t *testing.T) {
	name := regexp.MustCompile(`^(.*)-[0-9a-f]{12}$`)
	seen := map[string]string{}
	for _, c := range [][2]string{{"R&D", "r-d"}, {"../../etc/passwd", "etc-passwd"}, {"r d", "r-d"},
		{"(unallocated)", "unallocated"}, {"研发部", "cost-center"}, {"市场部", "cost-center"}, {"", "cost-center"},
		{strings.Repeat("x", 100), strings.Repeat("x", 40)}, {"CON", "con"}, {"a-2", "a-2"}, {"a", "a"}, {"A", "a"},
		{"µ-services", "services"}, {"μ-services", "services"}, {"Sales", "sales"}, {"ſales", "ales"}, {"Café", "caf"},
		{"Cafe\u0301", "cafe"}, {"\u212bngström", "ngstr-m"}, {"Ångström", "ngstr-m"}, {"A\u030angström", "a-ngstr-m"},
		{strings.Repeat("x", 101), strings.Repeat("x", 40)}} {
		got := report.StatementFile(c[0])
		m := name.FindStringSubmatch(got)
		if m == nil || m[1] != c[1] {
			t.Errorf("%q becomes %q, want %q and a digest", c[0], got, c[1])
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q are both in %s", other, c[0], got)
		}
		seen[got] = c[0]
	}
	if report.StatementFile("研发部") != "cost-center-f706f416b41f" { // in another month, by another release
		t.Errorf("研发部 became %s", report.StatementFile("研发部"))
	}
}

// Rows by record are there until the month is closed, and a job that is about the last month doesn't fail from then on.
func TestAJobOfRecordsLeavesAClosedMonthAlone(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 5})
		w.export(octoberSpan())
		j := config.Job{Name: "records", Kind: config.KindReport, Cron: "0 4 * * *", Report: config.ReportFocus,
			Format: query.FocusCSV, Grain: schemas.FocusByRecord, Month: "last", Out: t.TempDir()}
		if errs := j.Validate("UTC", nil); len(errs) > 0 {
			t.Fatal(errs)
		}
		run := func() string {
			t.Helper()
			if _, err := RunJob(t.Context(), w.Cfg, w.env, j, time.Date(2026, 11, 15, 4, 0, 0, 0, time.UTC)); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(j.Out, "focus-1.2-record-2026-10.csv"))
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		open := run()
		w.mustClose(october)
		if run() != open || strings.Count(open, "\n") < 10 {
			t.Errorf("the file of the open month is changed, or is empty: %.200q", open)
		}
	})
}

func (w *world) mustClose(month schemas.Month) *publish.ClosedMonth {
	w.Helper()
	_, closed, err := w.close(CloseOptions{Month: month})
	if err != nil {
		w.Fatalf("close %s: %v", month, err)
	}
	return closed
}

// ask asks the published file once.
func (w *world) ask(q string) string {
	w.Helper()
	r := w.Read()
	defer r.Close()
	return r.One(q)
}

// Months are opened from the last on, and closed again in their order.
func TestMonthsAreOpenedFromTheLastOn(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 4})
		september := october - 1
		w.export(Span{From: september.Start(), To: kit.Day(1)})
		w.mustClose(september)
		first := w.mustClose(october)
		reopen := func(m schemas.Month) error {
			_, _, err := Reopen(t.Context(), w.Cfg, w.env, m, "wrong owner", false)
			w.Pass(time.Minute)
			return err
		}
		if err := reopen(september); err == nil || !strings.Contains(err.Error(), "2026-10 was closed after 2026-09") ||
			!strings.Contains(kit.HintOf(err), "--reopen --month 2026-10") {
			t.Errorf("opened: %v, hint %q", err, kit.HintOf(err))
		}
		if err := reopen(october); err != nil {
			t.Fatal(err)
		}
		if got := w.ask("SELECT string_agg(month::VARCHAR) FROM closed_months"); got != "2026-09-01" {
			t.Errorf("closed: %s", got)
		}
		if err := reopen(october); !errors.Is(err, publish.ErrNotClosed) {
			t.Errorf("opened twice: %v", err)
		}
		if again := w.mustClose(october); *again.Totals[0].Net != *first.Totals[0].Net {
			t.Errorf("closed again with %s, was %s", *again.Totals[0].Net, *first.Totals[0].Net)
		}
		for _, m := range []schemas.Month{october, september} {
			if err := reopen(m); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := filepath.Glob(filepath.Join(w.Cfg.Lake, "statements", "reopened", "*"))
		if err != nil || len(kept) != 6 { // three months, each with its reason
			t.Errorf("kept %q %v", kept, err)
		}
	})
}

// A process that dies after a month is closed, or opened, and before that is published: the next close says how it is,
// and publishes.
func TestWhatWasClosedAndNotPublishedIsPublishedByTheNextRun(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 4})
		w.rules(twoRules)
		w.export(octoberSpan())
		database := filepath.Join(w.Cfg.Lake, "usage.duckdb")
		copyOf := func() []byte {
			b, err := os.ReadFile(database)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		restore := func(b []byte) {
			if err := os.WriteFile(database, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		const closed = "SELECT count(*) FROM closed_months"
		open := copyOf()
		w.mustClose(october)
		restore(open)
		if res, _, err := w.close(CloseOptions{}); !errors.Is(err, publish.ErrClosed) || res.Status != schemas.StatusFailed ||
			w.ask(closed) != "1" {
			t.Errorf("closed twice: %v, published %s", err, w.ask(closed))
		}
		restore(open)
		w.At(kit.Day(21))
		w.export(Span{})
		if got := w.ask(closed); got != "1" {
			t.Errorf("after an export %s months are closed", got)
		}
		before := copyOf()
		if _, _, err := Reopen(t.Context(), w.Cfg, w.env, october, "why", false); err != nil {
			t.Fatal(err)
		}
		restore(before)
		if _, _, err := Reopen(t.Context(), w.Cfg, w.env, october, "why", false); !errors.Is(err, publish.ErrNotClosed) ||
			w.ask(closed) != "0" {
			t.Errorf("opened twice: %v, published %s", err, w.ask(closed))
		}
	})
}

// Where --config was forgotten nothing is fetched, published or closed.
func TestAMonthIsNotClosedWithAnotherSetup(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 4})
		w.rules(twoRules)
		w.export(octoberSpan())
		before := w.Files()
		w.Requests()
		right := *w.Cfg
		without := right
		without.Allocation = config.Allocation{}
		other := right
		other.Accounts = slices.Clone(right.Accounts)
		other.Accounts[0].Name = "default"
		refused := func(what string, cfg *config.Config, want string, do func() error) {
			t.Helper()
			w.Cfg = cfg
			err := do()
			w.Cfg = &right
			if !errors.Is(err, config.ErrUsage) || !strings.Contains(err.Error(), want) ||
				!strings.Contains(kit.HintOf(err), "--config") {
				t.Errorf("%s: %v, hint %q", what, err, kit.HintOf(err))
			}
			if n := len(w.Requests()); n > 0 {
				t.Errorf("%s: %d requests", what, n)
			}
		}
		closing := func() error { _, _, err := w.close(CloseOptions{Reason: "because"}); return err }
		refused("no rules", &without, "2026-10 was allocated by rules, and the config names none", closing)
		refused("other accounts", &other, "the lake has the accounts acme, the config has default", closing)
		for _, name := range kit.Changed(before, w.Files()) {
			if !strings.HasPrefix(name, "journal/") {
				t.Errorf("%s changed", name)
			}
		}
		w.mustClose(october)
		w.Requests()
		refused("reopen without rules", &without, "allocated by rules", func() error {
			_, _, err := Reopen(t.Context(), w.Cfg, w.env, october, "why", false)
			return err
		})
		// Rules that are to be gone are taken out first.
		if _, _, err := Reopen(t.Context(), w.Cfg, w.env, october, "why", false); err != nil {
			t.Fatal(err)
		}
		w.Cfg = &without
		if _, _, err := Allocate(t.Context(), w.Cfg, w.env, false); err != nil {
			t.Fatal(err)
		}
		if c := w.mustClose(october); c.Rules.Digest != "none" || len(c.Rules.Files) > 0 {
			t.Errorf("rules %+v", c.Rules)
		}
	})
}

// The rules that are kept are those that the month was charged by, whatever is done to their file meanwhile; and a stop
// while the statements are written closes nothing.
func TestAChangeOrAStopDuringACloseTearsNothing(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 4})
		w.rules(twoRules)
		w.export(octoberSpan())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		res, closed, err := Close(ctx, w.Cfg, w.env, CloseOptions{Month: october, Retry: kit.Retry, Phase: func(s string) {
			if s == "write the statements" {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) || closed != nil || res.Status != schemas.StatusStopped {
			t.Errorf("stopped: %v, %s", err, res.Status)
		}
		if _, err := os.Stat(filepath.Join(w.Cfg.Lake, "statements")); err == nil {
			t.Error("statements are there")
		}
		_, closed, err = w.close(CloseOptions{Phase: func(s string) {
			if s == "publish" {
				if err := os.WriteFile(w.Cfg.Allocation.Rules, []byte("rules:\n- {id: all, assign: {cost_center: Z}}\n"),
					0o600); err != nil {
					t.Fatal(err)
				}
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(closed.Dir, closed.Rules.Files[0].Path)); err != nil || string(b) != twoRules {
			t.Errorf("kept rules: %s %v", b, err)
		}
		w.At(kit.Day(21))
		w.export(Span{})
		if got := w.ask(
			"SELECT count(*) FROM chargeback_daily WHERE billing_month = '2026-10-01' AND cost_center = 'Z'"); got != "0" {
			t.Errorf("%s charges by the new rules", got)
		}
	})
}

// However many cost centres there are and whatever they are called, each has its statement, within the month's
// directory.
func TestEachCostCentreHasItsStatementWhateverItIsCalled(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 4})
		names := []string{"../../../escape", "..", ".", "CON", "nul", "=1+1", "<script>alert(1)</script>", `a"b'c`, "-rf",
			"研究", "開発", "a/b", "a\\b", "A B", "a%2fb", "x" + strings.Repeat(" long", 100),
			"µ-services", "μ-services", "ſales", "Sales", "sales", "ΟΔΟΣ", "οδος", "Café", "Cafe\u0301", "\u212bngström",
			"Ångström", "Straße", "STRASSE", "Summary", "journal"}
		for i := range 60 {
			names = append(names, fmt.Sprintf("cc %d", i))
		}
		var to []string
		for _, n := range names {
			quoted, err := json.Marshal(n) // YAML takes it, but for what HTML needs escaped
			if err != nil {
				t.Fatal(err)
			}
			to = append(to, `{cost_center: `+string(quoted)+`}`)
		}
		w.rules("rules:\n- {id: all, pool: p}\npools: {p: {split: even, to: [" + strings.Join(to, ", ") + "]}}\n")
		w.export(octoberSpan())
		closed := w.mustClose(october)
		n := 0
		for _, f := range closed.Files {
			if strings.HasPrefix(f.Path, "cost-centers/") {
				n++
				if !statementName.MatchString(f.Path) {
					t.Errorf("a file is called %q", f.Path)
				}
			}
		}
		for _, name := range names {
			b, err := os.ReadFile(filepath.Join(closed.Dir, "cost-centers", report.StatementFile(name)+".csv"))
			if err != nil {
				t.Fatal(err)
			}
			lines, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
			if err != nil || len(lines) < 2 {
				t.Fatalf("%q: %d lines, %v", name, len(lines), err)
			}
			for _, l := range lines[1:] {
				if l[0] != query.NoFormula(name) {
					t.Errorf("the statement of %q has a line of %q", name, l[0])
				}
			}
		}
		if n != 3*len(names) {
			t.Errorf("%d files for %d cost centres", n, len(names))
		}
		b, err := os.ReadFile(filepath.Join(closed.Dir, "cost-centers.csv"))
		if err != nil || !strings.Contains(string(b), "\n開発,cost-centers/cost-center-") ||
			!strings.Contains(string(b), "\n'=1+1,cost-centers/"+report.StatementFile("=1+1")+".*\n") {
			t.Errorf("the list of files: %s %v", b, err)
		}
		if n := strings.Count(string(b), "\n"); n != len(names)+1 {
			t.Errorf("%d lines for %d cost centres", n, len(names))
		}
	})
}

var statementName = regexp.MustCompile(`^cost-centers/[a-z0-9][a-z0-9-]*\.(csv|xlsx|html)$`)
