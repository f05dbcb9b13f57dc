package jobs

import (
	"archive/zip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/pack"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// handedOut makes a world of three owners and a pool: tokens go to whoever the rules say, those of the last third to
// the pool, which the first two bear. October is closed.
func handedOut(t *testing.T) *world {
	w := newWorld(t, kit.Settings{PerDay: 20, At: time.Date(2026, 11, 7, 6, 0, 0, 0, time.UTC)})
	w.export(lastOfOctober())
	tokens := strings.Split(w.ask("SELECT string_agg(DISTINCT token_id, ',' ORDER BY token_id) FROM usage"), ",")
	if len(tokens) < 4 {
		t.Fatalf("%d tokens are not enough to share", len(tokens))
	}
	rules := "rules:\n"
	for i, token := range tokens[1:] { // the first is nobody's
		assign := []string{`assign: {cost_center: "Alpha", team: left, gl_code: "6100"}`,
			`assign: {cost_center: "=Beta/../<x>", gl_code: "6200"}`, "pool: platform"}[i%3]
		rules += fmt.Sprintf("- {id: r%d, match: {token_id: %q}, %s}\n", i, token, assign)
	}
	w.rules(rules + `pools: {platform: {split: cost, to: [{cost_center: "Alpha", team: left, weight: 2},
		{cost_center: "Alpha", team: right, weight: 3}, {cost_center: "=Beta/../<x>", weight: 2}]}}` + "\n")
	w.Cfg.Journal.GLCode, w.Cfg.Journal.CreditGLCode, w.Cfg.Journal.Formats = "6999", "2100", []string{"hledger"}
	if _, _, err := Allocate(t.Context(), w.Cfg, w.env, false); err != nil {
		t.Fatal(err)
	}
	w.closeAsItIs(october)
	return w
}

// lastOfOctober are days enough to be packed: the tests of closing fetch whole months.
func lastOfOctober() Span { return Span{From: october.End().AddDate(0, 0, -3), To: october.End()} }

func (w *world) closeAsItIs(month schemas.Month) {
	w.Helper()
	if _, _, err := w.close(CloseOptions{Month: month, NoFetch: true, Reason: "a test"}); err != nil {
		w.Fatalf("close %s: %v", month, err)
	}
}

func (w *world) pack(o PackageOptions) (*Packed, error) {
	w.Helper()
	return Pack(w.Context(), w.Cfg, w.env, o)
}

func (w *world) mustPack(month schemas.Month) *Packed {
	w.Helper()
	p, err := w.pack(PackageOptions{Month: month})
	if err != nil {
		w.Fatalf("package %s: %v", month, err)
	}
	return p
}

// What each package holds sums to its statement, the packages to what the month's records cost, and the journal's lines
// to the journal, to the last digit; a package has nothing of another's; and it is the same bytes on another day, by
// other rules, whatever came since.
func TestPackagesSumToTheMonthAndHoldNothingOfOthers(t *testing.T) {
	w := handedOut(t)
	then := w.Read()
	truth := then.Ask("SELECT id, token_id, user_id, amount::VARCHAR FROM usage WHERE usage_date >= '2026-10-01' " +
		"AND usage_date < '2026-11-01'")
	total := then.One("SELECT sum(amount)::VARCHAR FROM usage WHERE usage_date >= '2026-10-01' " +
		"AND usage_date < '2026-11-01'")
	owners := map[string]string{} // of a record: the owner, or the pool
	for _, row := range then.Ask("SELECT id, coalesce(pool, cost_center, '(unallocated)') FROM allocated_usage " +
		"WHERE usage_date >= '2026-10-01' AND usage_date < '2026-11-01'") {
		owners[row[0]] = row[1]
	}
	then.Close()
	first := w.mustPack(october)
	if !first.Made || len(first.Packages) != 3 {
		t.Fatalf("%+v", first)
	}
	was := folder(t, first.Folder)
	sum, borne := schemas.Money{}, map[string]int{}
	for _, p := range first.Packages {
		files := map[string]string{}
		for name, content := range was {
			if rest, ok := strings.CutPrefix(name, p.Name+"/"); ok {
				files[rest] = content
			}
		}
		net, ids := checkPackage(t, w, first, p, files, truth, owners)
		sum = sum.Add(net)
		for _, id := range ids {
			borne[id]++
		}
	}
	if kit.Dec(sum.String()) != kit.Dec(total) {
		t.Errorf("the packages come to %s, the records to %s", sum.String(), total)
	}
	for _, row := range truth {
		if n, want := borne[row[0]], map[bool]int{true: 3, false: 1}[owners[row[0]] == "platform"]; n != want {
			t.Errorf("record %s of %s stands in %d lines, not %d", row[0], owners[row[0]], n, want)
		}
	}

	// Later: other records, other rules, and packages that somebody damaged.
	w.Faults("corrected=0.3,corrected-by=1h,vanish=0.1,vanish-by=1h")
	anew := lastOfOctober()
	anew.Anew = true
	w.rules("rules: [{id: all, assign: {cost_center: Gamma}}]\n")
	w.export(anew)
	again := w.mustPack(october)
	if again.Made {
		t.Error("packages that were there are made anew")
	}
	if err := os.WriteFile(filepath.Join(again.Folder, again.Packages[0].Name, "records.csv"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again = w.mustPack(october)
	if !again.Made {
		t.Error("a package that was changed stays")
	}
	if changed := kit.Changed(was, folder(t, again.Folder)); len(changed) > 0 {
		t.Errorf("on another day other bytes: %v", changed)
	}

	// A month with corrections of the one before: they aren't records, and they sum up with them. And with mark-ups, also
	// of somebody who is charged nothing else.
	w.At(time.Date(2026, 12, 9, 6, 0, 0, 0, time.UTC))
	w.Cfg.Markups = []config.Markup{{Percent: "2.5"}, {CostCenter: "Idle", PerPeriod: "7.25", Currency: "USD"}}
	w.closeAsItIs(october + 1)
	november := w.mustPack(october + 1)
	corrections, marked := 0, schemas.Money{}
	for _, p := range november.Packages {
		for _, total := range p.Totals {
			sum := amount(t, total.Direct).Add(amount(t, total.Shared)).Add(amount(t, total.Corrections))
			if sum.Cmp(amount(t, total.Net)) != 0 {
				t.Errorf("%s: %+v", p.CostCenter, total)
			}
			if total.Corrections != nil {
				corrections++
			}
			marked = marked.Add(amount(t, total.Markup))
			if idle := p.CostCenter == "Idle"; idle != (total.Net == nil) || idle && *total.Markup != "7.250000000000" {
				t.Errorf("%s: %+v", p.CostCenter, total)
			}
		}
		held, engine := schemas.Money{}, w.Engine()
		for _, f := range []string{"records.csv", "corrections.csv"} {
			if _, err := os.Stat(filepath.Join(november.Folder, p.Name, f)); err != nil {
				continue
			}
			v := engine.One("SELECT coalesce(sum(net_cost::DECIMAL(38,12)), 0)::VARCHAR FROM read_csv('" +
				filepath.Join(november.Folder, p.Name, f) + "', all_varchar = true)")
			held = held.Add(amount(t, &v))
		}
		engine.Close()
		if held.Cmp(amount(t, p.Totals[0].Net)) != 0 || len(p.Totals) != 1 {
			t.Errorf("%s: records and corrections come to %s, charged is %+v", p.CostCenter, held.String(), p.Totals)
		}
	}
	if corrections == 0 {
		t.Error("no correction was charged: the test shows nothing")
	}
	now := w.Read()
	defer now.Close()
	if want := now.One(`SELECT sum(markup)::VARCHAR FROM markup_monthly WHERE "month" = '2026-11-01'`); kit.Dec(
		marked.String()) != kit.Dec(want) {
		t.Errorf("the packages are marked up by %s, the month by %s", marked.String(), want)
	}
}

func amount(t *testing.T, s *string) schemas.Money {
	t.Helper()
	if s == nil {
		return schemas.Money{}
	}
	m, err := schemas.ParseMoney(*s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkPackage holds a package against the records, the statement and the journal, looks for what is another's, and
// gives its net cost and the ids of its records.
func checkPackage(t *testing.T, w *world, packed *Packed, p pack.Package, files map[string]string, truth [][]string,
	owners map[string]string) (net schemas.Money, ids []string) {
	t.Helper()
	dir := filepath.Join(packed.Folder, p.Name)
	engine := w.Engine()
	defer engine.Close()
	one := func(q, file string) string { return engine.One(strings.ReplaceAll(q, "{}", filepath.Join(dir, file))) }
	lines := one("SELECT sum(net_cost::DECIMAL(38,12))::VARCHAR FROM read_csv('{}', all_varchar = true)", "statement.csv")
	for _, f := range []struct{ reads, file string }{{"read_parquet('{}')", "records.parquet"},
		{"read_csv('{}', all_varchar = true)", "records.csv"}} {
		if sum := one("SELECT sum(net_cost::DECIMAL(38,12))::VARCHAR FROM "+f.reads, f.file); sum != lines {
			t.Errorf("%s: %s comes to %s, the statement to %s", p.CostCenter, f.file, sum, lines)
		}
		if sum := one("SELECT sum(list_cost::DECIMAL(38,12) - discount::DECIMAL(38,12))::VARCHAR FROM "+f.reads,
			f.file); sum != lines {
			t.Errorf("%s: list cost less discount comes to %s", p.CostCenter, sum)
		}
	}
	if p.Totals[0].Net == nil || *p.Totals[0].Net != lines || len(p.Totals) != 1 {
		t.Errorf("%s: the manifest says %+v, the statement %s", p.CostCenter, p.Totals, lines)
	}
	if sum := one("SELECT sum(amount::DECIMAL(38,12))::VARCHAR FROM read_csv('{}', all_varchar = true)",
		"journal.csv"); sum != lines {
		t.Errorf("%s: the journal's lines come to %s, the statement to %s", p.CostCenter, sum, lines)
	}

	// The statement is the month's; lines of the journal are lines of the month's journal, ids those of its ledger.
	statements := w.Cfg.Lake + "/statements/2026-10/"
	for _, ext := range []string{".csv", ".html", ".xlsx"} {
		b, err := os.ReadFile(statements + "cost-centers/" + report.StatementFile(p.CostCenter) + ext)
		if err != nil || string(b) != files["statement"+ext] {
			t.Errorf("%s: statement%s isn't the one of the close: %v", p.CostCenter, ext, err)
		}
	}
	for name, of := range map[string]string{"journal.csv": "\n", "journal-2026-10-hledger.hledger": "\n    ; id: "} {
		b, err := os.ReadFile(statements + name)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(files[name], of)[1:]
		if name != "journal.csv" {
			parts = parts[1 : len(parts)-1] // the document's and the credit's are its own
		}
		if len(parts) == 0 {
			t.Errorf("%s: %s has no line", p.CostCenter, name)
		}
		for _, part := range parts {
			line, _, _ := strings.Cut(part, "\n")
			if !strings.Contains(string(b), of+line) {
				t.Errorf("%s: %s has the line %q, which the month's hasn't", p.CostCenter, name, line)
			}
		}
	}

	// Whose is what.
	var own, others []string
	for _, row := range truth {
		switch owner := owners[row[0]]; {
		case owner == p.CostCenter:
			own = append(own, row[1], row[2])
		case owner == "platform":
			others = append(others, row[1]) // a pool's record is everybody's, and its token nobody's
		default:
			others = append(others, row[0], row[1])
		}
	}
	others = append(others, slices.DeleteFunc([]string{"Alpha", "Beta"}, func(s string) bool {
		return strings.Contains(p.CostCenter, s)
	})...)
	for name, text := range opened(t, w, dir, files) {
		for _, s := range others {
			if !slices.Contains(own, s) && strings.Contains(text, s) {
				t.Errorf("%s: %s names %s, which is another's", p.CostCenter, name, s)
				break
			}
		}
	}
	for _, row := range engine.Ask("SELECT id, token_id, user_id FROM read_parquet('" + dir + "/records.parquet')") {
		ids = append(ids, row[0])
		for _, v := range row[1:] {
			if v != "NULL" && !slices.Contains(own, v) {
				t.Errorf("%s: the record %s names %s, which isn't its own", p.CostCenter, row[0], v)
			}
		}
	}
	// The zip has the files of the folder, and the manifest their digests.
	z, err := zip.OpenReader(dir + ".zip")
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil || string(b) != files[strings.TrimPrefix(f.Name, p.Name+"/")] {
			t.Errorf("%s in the zip isn't that of the folder: %v", f.Name, err)
		}
		name := strings.TrimPrefix(f.Name, p.Name+"/")
		if name != "manifest.json" && !strings.Contains(files["manifest.json"],
			fmt.Sprintf("%x", sha256.Sum256(b))) {
			t.Errorf("the manifest doesn't name %s", f.Name)
		}
	}
	if len(z.File) != len(files) {
		t.Errorf("%d files in the zip, %d in the folder", len(z.File), len(files))
	}
	return amount(t, &lines), ids
}

// opened are the texts of a package's files: those of a workbook, and the cells of Parquet.
func opened(t *testing.T, w *world, dir string, files map[string]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, content := range files {
		switch filepath.Ext(name) {
		case ".xlsx":
			z, err := zip.NewReader(strings.NewReader(content), int64(len(content)))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range z.File {
				r, err := f.Open()
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				out[name+":"+f.Name] = string(b)
			}
		case ".parquet":
			engine := w.Engine()
			out[name] = fmt.Sprint(engine.Ask("SELECT COLUMNS(*)::VARCHAR FROM read_parquet('" + filepath.Join(dir, name) +
				"')"))
			engine.Close()
			out[name+", its bytes"] = content
		default:
			out[name] = content
		}
	}
	return out
}
