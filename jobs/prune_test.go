package jobs

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

const days = 24 * time.Hour

// prune must succeed.
func (w *world) prune(o PruneOptions) *PruneReport {
	w.Helper()
	o.Raw = cmp.Or(o.Raw, 7*days)
	_, report, err := Prune(w.Context(), w.Cfg, w.env, o)
	if err != nil {
		w.Fatalf("prune: %v", err)
	}
	return report
}

// tables is what the published file holds, but for its history.
func (w *world) tables() string {
	w.Helper()
	r := w.Read()
	defer r.Close()
	var b strings.Builder
	for _, t := range r.Ask("SELECT table_name FROM information_schema.tables WHERE table_catalog = 'lake' AND " +
		"table_schema = 'main' AND table_name NOT IN ('runs', 'run_accounts', 'meta', 'published') ORDER BY 1") {
		for _, row := range r.Ask(fmt.Sprintf(`SELECT t::VARCHAR FROM "%s" t ORDER BY ALL`, t[0])) {
			fmt.Fprintln(&b, t[0], row[0])
		}
	}
	return b.String()
}

// below are the files of a tree, as files has them.
func below(files map[string]string, prefix string) map[string]string {
	out := map[string]string{}
	for k, v := range files {
		if strings.HasPrefix(k, prefix) {
			out[k] = v
		}
	}
	return out
}

// prunedWorld has October, closed and pruned, and some days of November.
func prunedWorld(t *testing.T, s kit.Settings) *world {
	t.Helper()
	s.PerDay = cmp.Or(s.PerDay, 25)
	w := newWorld(t, s)
	w.export(Span{From: october.Start(), To: kit.Day(3)})
	if _, _, err := w.close(CloseOptions{Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	w.prune(PruneOptions{})
	return w
}

// A pruned lake holds what it held: the same tables, coverage and statements, nothing for verify to find, no request
// more than without, and a rebuild that gives the same files.
func TestAPrunedLakeIsTheLakeItWas(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 25, Faults: "bad=0.05",
			Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 25}, {ID: "b", RecordsPerDay: 8}}})
		w.export(Span{From: october.Start().Add(12 * time.Hour), To: kit.Day(3)})
		if _, _, err := w.close(CloseOptions{Reason: "a test", NoFetch: true}); err != nil {
			t.Fatal(err)
		}
		coverage := func() string {
			st, err := ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now())
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for i, a := range st.Accounts {
				fmt.Fprintln(&b, a.Account, a.From, a.To, a.Gaps, a.Records, a.Quarantined, a.Issues, a.Stale)
				for _, d := range a.Days {
					d.Pruned = false
					fmt.Fprintln(&b, i, d)
				}
			}
			return b.String()
		}
		tables, files, covered := w.tables(), w.Files(), coverage()

		dry := w.prune(PruneOptions{DryRun: true})
		if c := kit.Changed(files, w.Files()); len(c) != 0 {
			t.Fatalf("a dry run changed %v", c)
		}
		report := w.prune(PruneOptions{})
		// The first day isn't covered whole; the last is next to November.
		if report.Days != 58 || report.Files != 58 || report.Bytes == 0 || report.QuarantineFiles != 0 ||
			dry.Freed != report.Freed || dry.Days != report.Days {
			t.Errorf("%+v, foretold %+v", report, dry)
		}
		for _, m := range report.Months {
			var why []string
			for _, k := range m.Kept {
				why = append(why, fmt.Sprint(k.Reason, " ", k.Days, " ", k.First))
			}
			want := "the day is not covered whole 1 2026-10-01; the day next to it is of 2026-11, which is open 1 2026-10-31"
			if m.Month == "2026-11" {
				want = "the month is open 2 2026-11-01"
			}
			if got := strings.Join(why, "; "); got != want {
				t.Errorf("%s %s keeps: %s", m.Account, m.Month, got)
			}
		}
		pruned := w.Files()
		gone := 0
		for _, name := range kit.Changed(files, pruned) {
			switch {
			case strings.HasSuffix(name, "/pruned.jsonl"), name == "lake.json", name == "journal/runs.jsonl":
			case strings.HasPrefix(name, "raw/") && strings.HasSuffix(name, ".pages.zst") && pruned[name] == "":
				gone++
			default:
				t.Errorf("%s has changed", name)
			}
		}
		if gone != report.Files {
			t.Errorf("%d raw files are gone, %d were reported", gone, report.Files)
		}
		same := func(after string) {
			t.Helper()
			if got := w.tables(); got != tables {
				t.Errorf("after %s the tables differ", after)
			}
			if got := coverage(); got != covered {
				t.Errorf("after %s: %s\nwant %s", after, got, covered)
			}
			r := verified(t, w)
			if len(r.Findings) != 0 || r.PrunedDays != 58 || r.PrunedLeft != 0 {
				t.Errorf("after %s: %+v", after, r)
			}
		}
		same("the prune")
		w.rebuild()
		same("a rebuild")
		for _, tree := range []string{"usage/", "quarantine/", "statements/", "balance/"} {
			if c := kit.Changed(below(files, tree), below(w.Files(), tree)); len(c) != 0 {
				t.Errorf("a rebuild changed %v", c)
			}
		}
		if !strings.Contains(w.Logs.String(), "taken from their day files") {
			t.Error("the rebuild doesn't say that it takes days from their day files")
		}
		if again := w.prune(PruneOptions{}); again.Days != 0 || again.Months[0].Pruned != 29 {
			t.Errorf("twice: %+v", again)
		}
		w.Requests()
		w.export(Span{From: october.Start().Add(12 * time.Hour), To: kit.Day(3)})
		if n := len(w.Requests()); n != 0 {
			t.Errorf("%d requests for what is covered", n)
		}
		same("an export")
	})
}

// What a lookback or a refetch finds in a pruned day fetches the whole day anew, whatever part of it was asked for.
// What the day was is kept until it is pruned again.
func TestLateRecordsOfAPrunedDayFetchTheWholeDay(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := prunedWorld(t, kit.Settings{At: kit.Day(12)})
		w.Faults("corrected=0.5")
		w.Pass(time.Minute) // the last run is one
		tenth := october.Start().AddDate(0, 0, 9)
		before := w.Files()
		res := w.export(Span{From: tenth.Add(6 * time.Hour), To: tenth.Add(30 * time.Hour), Anew: true})
		if res.Windows != 2 || res.DaysWritten != 2 {
			t.Errorf("%d windows, %d days", res.Windows, res.DaysWritten)
		}
		w.EqualAccount("acme", "USD", tenth, tenth.AddDate(0, 0, 2))
		r := verified(t, w)
		if len(r.Findings) != 0 || r.PrunedDays != 28 {
			t.Errorf("%+v", r)
		}
		const tree = "usage/acct=acme/date=2026-10-10/usage.parquet"
		if kept := w.Files()["raw/acct=acme/date=2026-10-10/pruned.usage.parquet"]; kept != before[tree] ||
			w.Files()[tree] == kept {
			t.Errorf("kept %q, it was %q", kept, before[tree])
		}
		if n := w.ask("SELECT count(*) FROM coverage WHERE usage_date = '2026-10-10'"); n != "2" {
			t.Errorf("the coverage has %s windows", n)
		}
		if n := w.ask("SELECT count(*) FROM chargeback_daily WHERE charge_class = 'Correction'"); n == "0" {
			t.Error("no correction is charged")
		}
		tables, files := w.tables(), below(w.Files(), "usage/")
		w.rebuild()
		if c := kit.Changed(files, below(w.Files(), "usage/")); len(c) != 0 || w.tables() != tables {
			t.Errorf("a rebuild changed %v", c)
		}
		if p := w.prune(PruneOptions{}); p.Days != 2 || p.Files != 4 {
			t.Errorf("pruned again: %+v", p)
		}
		if r := verified(t, w); len(r.Findings) != 0 || r.PrunedDays != 30 || w.tables() != tables {
			t.Errorf("pruned again: %+v", r)
		}
		w.rebuild()
		if c := kit.Changed(files, below(w.Files(), "usage/")); len(c) != 0 || w.tables() != tables {
			t.Errorf("a rebuild changed %v", c)
		}
	})
	kit.Bubble(t, "the lookback", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 25, At: kit.Day(1).Add(12 * time.Hour), Faults: "late=0.3,late-by=40h"})
		w.export(Span{From: october.Start().AddDate(0, 0, 20), To: kit.Day(1)})
		if _, _, err := w.close(CloseOptions{Reason: "a test", NoFetch: true}); err != nil {
			t.Fatal(err)
		}
		w.At(kit.Day(2).Add(12 * time.Hour))
		if p := w.prune(PruneOptions{Raw: days}); p.Days == 0 {
			t.Fatalf("%+v", p)
		}
		w.Requests()
		w.At(kit.Day(2).Add(20 * time.Hour))
		w.export(Span{})
		back := kit.Day(-1) // the lookback's first whole day
		w.EqualAccount("acme", "USD", back, kit.Day(2))
		if r := verified(t, w); len(r.Findings) != 0 {
			t.Errorf("%+v", r.Findings)
		}
	})
}

// A day of which only a part came anew stays as it was, through whatever runs; the next export asks for the rest.
func TestAPrunedDayIsNeverMixed(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := prunedWorld(t, kit.Settings{At: kit.Day(12)})
		tenth := october.Start().AddDate(0, 0, 9)
		lake, err := publish.Create(w.Cfg.Lake, publish.Options{})
		if err != nil {
			t.Fatal(err)
		}
		seal := func(from, to int) {
			one := int64(0)
			start, end := tenth.Add(time.Duration(from)*time.Hour), tenth.Add(time.Duration(to)*time.Hour)
			_, err := lake.Seal(t.Context(), schemas.Seal{Kind: schemas.KindUsage, Account: "acme", Start: start, End: end,
				AskedStart: start.Unix() - 1, AskedEnd: end.Unix(),
				PageSize: 20, Announced: &one, Proof: schemas.ProofTotal, Requests: 1, FetchedAt: w.Now(), RunID: "r",
				Version: "test", Currency: "USD"},
				[]schemas.Page{{Number: 1, FetchedAt: w.Now(), Body: []byte(`{"meta":{"code":0},"data":{"list":[],"total":0}}`)}})
			if err != nil {
				t.Fatal(err)
			}
		}
		seal(0, 6) // as a refetch does that is stopped after its first window
		tables, files := w.tables(), below(w.Files(), "usage/")
		w.rebuild()
		if _, _, err := Allocate(t.Context(), w.Cfg, w.env, false); err != nil {
			t.Fatal(err)
		}
		if c := kit.Changed(files, below(w.Files(), "usage/")); len(c) != 0 || w.tables() != tables {
			t.Errorf("half of a day came, and %v changed", c)
		}
		if r := verified(t, w); len(r.Findings) != 1 || r.Findings[0].Check != publish.FoundStale ||
			!strings.Contains(r.Findings[0].Hint, "usagelake export") {
			t.Errorf("%+v", r.Findings)
		}
		if st, err := ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now()); err != nil || st.Accounts[0].Stale != 1 ||
			st.Accounts[0].Pruned != 30 || len(st.Accounts[0].Gaps) != 0 {
			t.Errorf("%+v %v", st.Accounts[0], err)
		}
		if p := w.prune(PruneOptions{}); p.Days != 0 ||
			!slices.ContainsFunc(p.Months[0].Kept, func(k KeptDays) bool { return k.Reason == keptFetching }) {
			t.Errorf("%+v", p)
		}
		if res := w.export(Span{From: october.Start(), To: kit.Day(3)}); res.Windows != 1 {
			t.Errorf("%d windows", res.Windows)
		}
		source, err := lake.Source(schemas.Partition{Account: "acme", Date: schemas.DateOf(tenth)})
		if err != nil || len(source.Windows) != 3 || !source.Windows[2].Window.Start.Equal(tenth.Add(6*time.Hour)) ||
			!source.Windows[2].Window.End.Equal(tenth.AddDate(0, 0, 1)) {
			t.Errorf("sealed %+v %v", source.Windows, err)
		}
		if r := verified(t, w); len(r.Findings) != 0 {
			t.Errorf("%+v", r.Findings)
		}
		w.EqualAccount("acme", "USD", tenth.Add(6*time.Hour), tenth.AddDate(0, 0, 1))
		// of a thawed day a part is enough
		w.export(Span{From: tenth.Add(3 * time.Hour), To: tenth.Add(4 * time.Hour), Anew: true})
		if n := w.ask("SELECT count(*) FROM usage WHERE usage_date = '2026-10-10' AND request_time < '2026-10-10 " +
			"03:00:00+00'"); n != "0" {
			t.Errorf("%s records of what was not asked for", n)
		}
	})
}

// A pruned day whose file is lost stops whatever would publish without it, and is mended by a backup or by a refetch; a
// run that doesn't publish without it keeps what it fetched.
func TestALostPrunedDayIsNeverPublishedAway(t *testing.T) {
	const lost = "usage/acct=acme/date=2026-10-10/usage.parquet"
	kit.Bubble(t, "gone", func(t *testing.T) {
		w := prunedWorld(t, kit.Settings{At: kit.Day(12)})
		tables := w.tables()
		file := filepath.Join(w.Cfg.Lake, filepath.FromSlash(lost))
		was, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		unpublished := func(what string, err error) {
			t.Helper()
			var damaged *load.DamagedError
			if !errors.As(err, &damaged) || !strings.HasSuffix(damaged.Path, filepath.FromSlash(lost)) ||
				!strings.Contains(damaged.Hint, "usagelake export --refetch --account acme --from 2026-10-10 --to 2026-10-11") {
				t.Errorf("%s: %v", what, err)
			}
			if w.tables() != tables {
				t.Errorf("%s published without it", what)
			}
		}
		_, err = Rebuild(t.Context(), w.Cfg, w.env, RebuildOptions{})
		unpublished("a rebuild", err)
		res, err := w.try(t.Context(), Span{To: kit.Day(4)})
		unpublished("an export", err)
		if res.Windows != 1 {
			t.Errorf("%d windows were sealed", res.Windows)
		}
		_, done, after, err := Repair(t.Context(), w.Cfg, w.env, verified(t, w), RepairOptions{})
		if err != nil || len(done.Derived) != 0 || done.Database ||
			!slices.ContainsFunc(after.Findings, func(f publish.Finding) bool {
				return f.Check == publish.FoundPruned &&
					f.Path == lost
			}) {
			t.Errorf("repair: %+v %+v %v", done, after.Findings, err)
		}
		if w.tables() != tables {
			t.Error("a repair published without it")
		}
		_, report, err := Prune(t.Context(), w.Cfg, w.env, PruneOptions{Raw: 7 * days})
		var partial *PartialError
		if !errors.As(err, new(*KeptError)) || !errors.As(err, &partial) || report.Days != 0 ||
			!strings.Contains(err.Error(), "acme 2026-10-10: "+keptLost) {
			t.Errorf("prune: %+v %v", report, err)
		}
		if err := os.WriteFile(file, was, 0o600); err != nil { // a backup
			t.Fatal(err)
		}
		w.rebuild()
		if r := verified(t, w); len(r.Findings) != 0 {
			t.Errorf("restored: %+v", r.Findings)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		tenth := october.Start().AddDate(0, 0, 9)
		w.export(Span{From: tenth, To: tenth.AddDate(0, 0, 1), Anew: true})
		w.EqualAccount("acme", "USD", october.Start(), kit.Day(4))
		if r := verified(t, w); len(r.Findings) != 0 {
			t.Errorf("fetched anew: %+v", r.Findings)
		}
	})
	kit.Bubble(t, "the windows that came later damaged", func(t *testing.T) {
		w := prunedWorld(t, kit.Settings{At: kit.Day(12)})
		before := w.Files()[lost]
		tenth := october.Start().AddDate(0, 0, 9)
		w.Faults("corrected=0.5")
		w.export(Span{From: tenth, To: tenth.AddDate(0, 0, 1), Anew: true})
		flipBit(t, w, "raw/acct=acme/date=2026-10-10/*.pages.zst")
		_, done, after, err := Repair(t.Context(), w.Cfg, w.env, verified(t, w), RepairOptions{})
		if err != nil || len(done.SetAside) != 1 || len(after.Findings) != 0 {
			t.Errorf("repair: %+v %+v %v", done, after.Findings, err)
		}
		if w.Files()[lost] != before {
			t.Error("the day is not what it was before it was fetched anew")
		}
	})
}

// A Portal that has forgotten what it once told empties a day that is fetched anew. What the day held before stays
// then.
func TestTheLastCopyOfAnEmptiedDayStays(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := prunedWorld(t, kit.Settings{At: kit.Day(12)})
		tenth := october.Start().AddDate(0, 0, 9)
		before := w.Files()["usage/acct=acme/date=2026-10-10/usage.parquet"]
		w.Faults("vanish=1")
		w.export(Span{From: tenth, To: tenth.AddDate(0, 0, 1), Anew: true})
		if n := w.ask("SELECT count(*) FROM usage WHERE usage_date = '2026-10-10'"); n != "0" {
			t.Fatalf("%s records", n)
		}
		if p := w.prune(PruneOptions{}); p.Days != 0 ||
			!slices.ContainsFunc(p.Months[0].Kept, func(k KeptDays) bool {
				return k.Reason == keptEmptied &&
					k.First == "2026-10-10"
			}) {
			t.Errorf("%+v", p)
		}
		if w.Files()["raw/acct=acme/date=2026-10-10/pruned.usage.parquet"] != before {
			t.Error("the last copy is gone")
		}
		w.Faults("")
		w.export(Span{From: tenth, To: tenth.AddDate(0, 0, 1), Anew: true})
		if p := w.prune(PruneOptions{}); p.Days != 1 || p.Files != 3 {
			t.Errorf("%+v", p)
		}
		if r := verified(t, w); len(r.Findings) != 0 || r.PrunedDays != 30 {
			t.Errorf("%+v", r)
		}
	})
}

// A month whose raw files are pruned is opened again and closed anew from its day files.
func TestAPrunedMonthIsReopenedFromItsDayFiles(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 25, At: kit.Day(12)})
		w.rules(twoRules)
		w.export(Span{From: october.Start(), To: kit.Day(3)})
		first := w.mustClose(october)
		w.prune(PruneOptions{})
		if _, _, err := Reopen(t.Context(), w.Cfg, w.env, october, "wrong owner", false); err != nil {
			t.Fatal(err)
		}
		w.rules("rules:\n- {id: all, assign: {cost_center: Z}}\n")
		w.rebuild()
		if got := w.ask(
			"SELECT count(*) FROM chargeback_daily WHERE billing_month = '2026-10-01' AND cost_center <> 'Z'"); got != "0" {
			t.Errorf("%s charges by the old rules", got)
		}
		if p := w.prune(PruneOptions{}); p.Days != 0 || p.Months[0].Kept[0].Reason != keptOpen {
			t.Errorf("%+v", p)
		}
		again := w.mustClose(october)
		if *again.Totals[0].Net != *first.Totals[0].Net || again.Totals[0].Requests != first.Totals[0].Requests {
			t.Errorf("closed with %+v, were %+v", again.Totals, first.Totals)
		}
		if r := verified(t, w); len(r.Findings) != 0 || r.PrunedDays != 30 {
			t.Errorf("%+v", r)
		}
	})
}

// The quarantine of pruned days goes by its own age, and is no damage then; a rebuild doesn't bring it back.
func TestOldQuarantineGoesWithItsOwnAge(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := prunedWorld(t, kit.Settings{At: kit.Day(12), Faults: "bad=0.3"})
		total := w.ask("SELECT sum(quarantined)::BIGINT FROM partitions WHERE usage_date BETWEEN '2026-10-01' AND " +
			"'2026-10-30'")
		quarantine := "SELECT count(*) FROM quarantine WHERE window_start < '2026-10-31 00:00:00+00'"
		if got := w.ask(quarantine); got != total || total == "0" {
			t.Fatalf("%s of %s", got, total)
		}
		if p := w.prune(PruneOptions{Quarantine: 20 * days}); p.QuarantineFiles != 0 {
			t.Errorf("too young: %+v", p)
		}
		w.At(kit.Day(22))
		dry := w.prune(PruneOptions{Quarantine: 20 * days, DryRun: true})
		before := below(w.Files(), "quarantine/")
		w.Cfg.Prune = config.Prune{Quarantine: config.Duration(20 * days)}
		_, p, err := Prune(t.Context(), w.Cfg, w.env, PruneOptions{})
		if err != nil || p.Files != 0 || p.QuarantineFiles == 0 || dry.QuarantineFiles != p.QuarantineFiles || p.Raw != "" ||
			p.Quarantine != "20d" {
			t.Errorf("%+v %v, foretold %+v", p, err, dry)
		}
		check := func(after string) {
			t.Helper()
			if got := w.ask(quarantine); got != "0" {
				t.Errorf("after %s: %s records", after, got)
			}
			if got := w.ask("SELECT sum(quarantined)::BIGINT FROM partitions WHERE usage_date BETWEEN '2026-10-01' AND " +
				"'2026-10-30'"); got != total {
				t.Errorf("after %s: %s counted, were %s", after, got, total)
			}
			if r := verified(t, w); len(r.Findings) != 0 || kit.Itoa(r.PrunedRejects) != total {
				t.Errorf("after %s: %+v", after, r)
			}
		}
		check("the prune")
		w.rebuild()
		check("a rebuild")
		w.export(Span{From: october.Start(), To: kit.Day(5)})
		check("an export")
		if n := len(before) - len(below(w.Files(), "quarantine/")); n < p.QuarantineFiles-2 { // two days of November came
			t.Errorf("%d quarantine files are gone", n)
		}
		tenth := october.Start().AddDate(0, 0, 9)
		w.export(Span{From: tenth, To: tenth.AddDate(0, 0, 1), Anew: true}) // a day that is fetched anew has its own
		if r := verified(t, w); len(r.Findings) != 0 {
			t.Errorf("%+v", r)
		}
		w.EqualAccount("acme", "USD", tenth, tenth.AddDate(0, 0, 1))
	})
}

// dyingDisk is a disk on which the process dies at a step: that step and all later ones fail.
type dyingDisk struct {
	durable.FS
	at, steps int
}

func (d *dyingDisk) step(do func() error) error {
	if d.steps++; d.steps > d.at && d.at > 0 {
		return syscall.EIO
	}
	return do()
}

func (d *dyingDisk) Rename(from, to string) error {
	return d.step(func() error { return d.FS.Rename(from, to) })
}
func (d *dyingDisk) Remove(name string) error {
	return d.step(func() error { return d.FS.Remove(name) })
}
func (d *dyingDisk) SyncDir(name string) error { return d.step(func() error { return nil }) }
func (d *dyingDisk) CreateTemp(dir, pattern string) (f durable.File, err error) {
	err = d.step(func() error { f, err = d.FS.CreateTemp(dir, pattern); return err })
	return f, err
}

// A prune that dies anywhere between the first file and the publish leaves a lake of which nothing is missing, and the
// next one completes it. Every step within a day fails in load's tests; here, some of the whole run.
func TestAPruneThatDiesIsFinishedByTheNext(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 25, Faults: "bad=0.3"})
	w.Cfg.Accounts[0].Rate = 900
	w.export(Span{From: october.Start().AddDate(0, 0, 27), To: kit.Day(2)})
	if _, _, err := w.close(CloseOptions{Reason: "a test", NoFetch: true}); err != nil {
		t.Fatal(err)
	}
	prune := func(disk *dyingDisk) (*PruneReport, error) {
		env := w.env
		env.FS = disk
		_, report, err := Prune(t.Context(), w.Cfg, env, PruneOptions{Raw: days, Quarantine: days})
		return report, err
	}
	backup := filepath.Join(t.TempDir(), "lake")
	if err := os.CopyFS(backup, os.DirFS(w.Cfg.Lake)); err != nil {
		t.Fatal(err)
	}
	sums := "SELECT (SELECT sum(amount)::VARCHAR FROM usage) || ' ' || (SELECT sum(quarantined)::BIGINT FROM " +
		"partitions) || ' ' || (SELECT count(*) FROM coverage) || ' ' || (SELECT sum(net_cost)::VARCHAR FROM " +
		"chargeback_daily)"
	want, usage := w.ask(sums), below(w.Files(), "usage/")
	total := 0
	for at := 0; at == 0 || at < total; at += 9 {
		if err := errors.Join(os.RemoveAll(w.Cfg.Lake), os.CopyFS(w.Cfg.Lake, os.DirFS(backup))); err != nil {
			t.Fatal(err)
		}
		disk := &dyingDisk{FS: durable.System{}, at: at}
		report, err := prune(disk)
		if at == 0 {
			if total = disk.steps; err != nil || report.Days != 3 || report.QuarantineFiles == 0 {
				t.Fatalf("%+v %v", report, err)
			}
		} else if !errors.Is(err, syscall.EIO) {
			t.Errorf("step %d of %d: %v", at, total, err)
		}
		if c := kit.Changed(usage, below(w.Files(), "usage/")); len(c) != 0 || w.ask(sums) != want {
			t.Errorf("step %d of %d: %v changed", at, total, c)
		}
		if _, err := prune(&dyingDisk{FS: durable.System{}}); err != nil {
			t.Errorf("step %d of %d, again: %v", at, total, err)
		}
		w.export(Span{From: october.Start().AddDate(0, 0, 27), To: kit.Day(2)}) // which publishes, were that left
		if r := verified(t, w); len(r.Findings) != 0 || r.PrunedDays != 3 || r.PrunedLeft != 0 || w.ask(sums) != want {
			t.Errorf("step %d of %d, again: %+v", at, total, r)
		}
	}
	t.Logf("%d steps", total)
}

func TestPruneWithoutAPolicyOrALakeIsRefused(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	for _, c := range []struct {
		policy config.Prune
		opts   PruneOptions
		want   string
	}{
		{want: "there is no policy to prune by"},
		{policy: config.Prune{Raw: config.Duration(time.Hour)}, want: "prune.raw: 1h0m0s is less than 1d"},
		{opts: PruneOptions{Quarantine: time.Hour}, want: "prune.quarantine: 1h0m0s is less than 1d"},
	} {
		w.Cfg.Prune = c.policy
		_, report, err := Prune(t.Context(), w.Cfg, w.env, c.opts)
		if !errors.Is(err, config.ErrUsage) || report != nil || !strings.Contains(err.Error(), c.want) ||
			!strings.Contains(kit.HintOf(err), "--dry-run") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	w.Cfg.Prune = config.Prune{}
	if _, _, err := Prune(t.Context(), w.Cfg, w.env, PruneOptions{Raw: days}); !errors.Is(err, load.ErrNoLake) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(w.Cfg.Lake); err == nil {
		t.Error("a lake was made")
	}
}
