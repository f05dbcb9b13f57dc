package jobs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
)

// folder is the content of each file below a directory, by its path.
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[filepath.ToSlash(rel)] = string(b)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func unfold(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700),
			os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// auditor checks a folder as its README says, with DuckDB in the folder, and gives what doesn't hold.
func auditor(t *testing.T, dir string) []string {
	t.Helper()
	t.Chdir(dir)
	r := (&kit.World{TB: t}).Engine()
	defer r.Close()
	sql, err := os.ReadFile("check.sql")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, row := range r.Ask(string(sql)) {
		out = append(out, strings.Join(row, ": "))
	}
	way, err := os.ReadFile("arithmetic.sql")
	if err != nil {
		t.Fatal(err)
	}
	r.Exec(string(way))
	return out
}

// sums runs the real sha256sum in a folder.
func sums(t *testing.T, dir string) error {
	t.Helper()
	path, err := exec.LookPath("sha256sum")
	if err != nil {
		t.Skip("there is no sha256sum on this machine")
	}
	c := exec.Command(path, "-c", "--quiet", "SHA256SUMS")
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err == nil && len(out) > 0 { // of a line that is no digest it warns alone
		err = errors.New(string(out))
	}
	return err
}

const oddCenter = "=B/../<x>" // of twoRules

// A month is closed and signed, and changed at the Portal and fetched anew afterwards. What each owner is charged in it
// is proven from what it was closed with, in a copy of the folder, without the lake; the folder is the same on another
// day; and what is changed in it, to the cent, is found.
func TestEvidenceIsCheckedWithoutTheProgramAndFindsAChangedCent(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	signed := true
	if path, err := exec.LookPath("ssh-keygen"); err != nil {
		signed = false
	} else if out, err := exec.Command(path, "-q", "-N", "", "-t", "ed25519", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	folders := map[string]map[string]string{}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 12, Faults: "late=0.2,late-by=40h",
			At: time.Date(2026, 11, 7, 6, 0, 0, 0, time.UTC)})
		w.finance() // in another currency, by a rate that differs from day to day; of credit that is paid ahead
		if signed {
			w.Cfg.Close.SSHKey = key
		}
		september := october - 1
		w.export(Span{From: september.End().AddDate(0, 0, -2), To: october.End()})
		w.mustClose(september)
		if c := w.mustClose(october); (c.Signer != "") != signed {
			t.Fatalf("signed by %q", c.Signer)
		}
		prove := func(name string, month schemas.Month, center string) {
			t.Helper()
			dir := filepath.Join(t.TempDir(), "evidence")
			proof, err := Prove(t.Context(), w.Cfg, w.env, ProveOptions{Month: month, CostCenter: center, Out: dir, Pages: true})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if len(proof.Figures) != 1 || proof.Dir != dir {
				t.Errorf("%s: %+v", name, proof)
			}
			folders[name] = folder(t, dir)
		}
		prove("then", october, "A")
		anew := octoberSpan()
		anew.Anew = true
		w.Faults("corrected=0.3,corrected-by=1h,vanish=0.1,vanish-by=1h")
		w.export(anew)
		w.export(Span{From: kit.Day(1), To: kit.Day(5)})
		was := w.Files()
		w.Pass(time.Hour)
		prove("later", october, "A")
		prove("another", october, oddCenter)
		prove("open", october+1, "A") // which has the corrections of October
		if changed := kit.Changed(was, w.Files()); len(changed) > 0 {
			t.Errorf("proving changed %v", changed)
		}

		// What can't be proven is no folder.
		try := func(month schemas.Month, center, out string) error {
			_, err := Prove(t.Context(), w.Cfg, w.env, ProveOptions{Month: month, CostCenter: center, Out: out})
			return err
		}
		out := filepath.Join(t.TempDir(), "none")
		if err := try(october, "C", out); !errors.Is(err, config.ErrUsage) || !strings.Contains(err.Error(), "charged to") ||
			!strings.Contains(err.Error(), "A") {
			t.Errorf("a cost centre that there isn't: %v", err)
		}
		if err := os.Mkdir(filepath.Join(filepath.Dir(out), "there"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := try(october, "A", filepath.Join(filepath.Dir(out), "there")); !errors.Is(err, fs.ErrExist) {
			t.Errorf("into a folder that is there: %v", err)
		}
		raw, err := filepath.Glob(filepath.Join(w.Cfg.Lake, "raw", "*", "date=2026-10-15", "000001_*"))
		if err != nil || len(raw) != 1 {
			t.Fatal(raw, err)
		}
		if err := os.Remove(raw[0]); err != nil {
			t.Fatal(err)
		}
		if err := try(october, "A", out); err == nil {
			t.Error("a month is proven of which a sealed file is gone")
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), "*")); len(left) != 1 {
			t.Errorf("left over: %v", left)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), ".evidence*")); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	})
	if t.Failed() {
		return
	}
	for name, content := range folders["then"] {
		if folders["later"][name] != content {
			t.Errorf("%s is another one on another day", name)
		}
	}
	for name, files := range folders {
		dir := unfold(t, files)
		if err := sums(t, dir); err != nil {
			t.Errorf("%s: sha256sum: %v", name, err)
		}
		if found := auditor(t, dir); found != nil {
			t.Errorf("%s: %v", name, found)
		}
		if open := strings.Contains(files["README.md"], "Provisional"); open != (name == "open") {
			t.Errorf("%s says that it is provisional: %t", name, open)
		}
	}
	if signed {
		dir := unfold(t, folders["then"])
		allowed := filepath.Join(t.TempDir(), "allowed")
		pub, err := os.ReadFile(key + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(allowed, append([]byte("controller@example.com "), pub...), 0o600); err != nil {
			t.Fatal(err)
		}
		c := exec.Command("ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "controller@example.com", "-n", "usagelake",
			"-s", filepath.Join(dir, "month", "manifest.json.sig"))
		c.Stdin = strings.NewReader(folders["then"]["month/manifest.json"])
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("ssh-keygen: %s %v", out, err)
		}
	}

	// A byte of any file is found by sha256sum; a cent that somebody put right there, too, by DuckDB.
	for name := range folders["then"] {
		files := map[string]string{}
		for k, v := range folders["then"] {
			files[k] = v
		}
		files[name] = files[name][:len(files[name])/2] + "x" + files[name][len(files[name])/2+1:]
		if err := sums(t, unfold(t, files)); err == nil && folders["then"][name] != files[name] {
			t.Errorf("a changed byte of %s isn't found", name)
		}
	}
	text := func(name, from, to string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, filepath.FromSlash(name))
			if strings.HasSuffix(name, "*") {
				all, _ := filepath.Glob(path)
				path = all[0]
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			is := strings.Replace(string(b), from, to, 1)
			if is == string(b) {
				t.Fatalf("%s has no %q", name, from)
			}
			if err := os.WriteFile(path, []byte(is), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	rows := func(name, change string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			r := (&kit.World{TB: t}).Engine()
			defer r.Close()
			path := filepath.Join(dir, filepath.FromSlash(name))
			r.Exec("CREATE TABLE x AS FROM read_parquet(" + schemas.SQLString(path) + ")")
			r.Exec(change)
			r.Exec("COPY x TO " + schemas.SQLString(path) + " (FORMAT parquet)")
		}
	}
	const first = " WHERE rowid = (SELECT min(rowid) FROM x WHERE "
	for _, c := range []struct {
		name   string
		change func(*testing.T, string)
		want   string
	}{
		{"a cent of a record", rows("records.parquet",
			"UPDATE x SET amount = amount + 0.01"+first+"amount IS NOT NULL)"), ""},
		{"a record gone", rows("records.parquet", "DELETE FROM x"+first+"amount IS NOT NULL)"), ""},
		{"a record twice", rows("records.parquet", "INSERT INTO x SELECT * FROM x LIMIT 1"), ""},
		{"a record of another model", rows("records.parquet", "UPDATE x SET model = 'gpt-x'"+first+"model LIKE 'gpt%')"), ""},
		{"a part of a cent of a share", rows("shares.parquet",
			"UPDATE x SET net_cost = net_cost + 0.000000000001"+first+"net_cost IS NOT NULL)"), "3 pools"},
		{"a cent from one owner to the other", rows("shares.parquet", "UPDATE x SET net_cost = net_cost + CASE cost_center "+
			"WHEN 'A' THEN 0.01 ELSE -0.01 END WHERE (usage_date, model) = (SELECT (usage_date, model) FROM x LIMIT 1)"),
			"4 shares"},
		{"a cent of the ledger", rows("month/ledger/chargeback.parquet",
			"UPDATE x SET net_cost = net_cost + 0.01"+first+"cost_center = 'A' AND pool IS NULL)"), "9 manifest: files"},
		{"another rate", rows("rates.parquet", "UPDATE x SET rate = rate + 0.0000000001"), "6 rates"},
		{"a part of a cent in the books", rows("month/ledger/chargeback.parquet",
			"UPDATE x SET book_cost = book_cost + 0.0000000000000000000001"+first+"book_cost IS NOT NULL)"), "6 rates"},
		{"a cent of the journal", text("month/journal.csv", ",A,", ",A,1"), "6 journal"},
		{"a cent of the claim", text("evidence.json", `"posted": "`, `"posted": "1`), "7 figures"},
		{"another rule", text("month/rules/0.yaml", "cost_center: A", "cost_center: B"), "9 manifest: files"},
		{"another answer of the rules", rows("allocations.parquet", "UPDATE x SET cost_center = 'Z' WHERE pool IS NULL"),
			"2 direct"},
		{"another sealed file", rows("sealed.parquet", "UPDATE x SET name = '000009' || name[7:] WHERE rowid = 3"), "8 days"},
		{"another day", rows("days.parquet", "DELETE FROM x WHERE rowid = 3"), "9 manifest: days"},
		{"another page", text("pages/acme/2026-10-05/*", "\x28\xb5\x2f\xfd", "\x28\xb5\x2f\xfe"), "11 pages"},
		{"a part of a cent of a draw", rows("month/ledger/prepaid.parquet",
			"UPDATE x SET amount = amount + 0.000000000001"+first+"entry = 'draw')"), "12 draws"},
		{"what was overdrawn is drawn", rows("month/ledger/prepaid.parquet",
			"UPDATE x SET entry = 'draw', credit = (SELECT credit FROM x WHERE entry = 'draw' LIMIT 1)"+first+
				"entry = 'overdrawn')"), "13 credits"},
		{"a draw after the credit expired", rows("month/ledger/prepaid.parquet",
			"UPDATE x SET credit = (SELECT credit FROM x WHERE kind = 'coupon' LIMIT 1) WHERE rowid = (SELECT max(rowid) "+
				"FROM x WHERE entry = 'draw')"), "13 credits"},
		{"more that is covered", rows("month/ledger/prepaid.parquet",
			"UPDATE x SET amount = amount + 1 WHERE entry = 'cover'"), "13 credits"},
		{"a top-up of less", rows("month/ledger/prepaid.parquet",
			"UPDATE x SET amount = amount - 0.000000000001"+first+"entry = 'top_up')"), "13 credits"},
		{"less that was drawn before", rows("prepaid_before.parquet",
			"UPDATE x SET amount = amount + 0.000000000001"+first+"entry = 'draw')"), "13 credits"},
		{"a cent of a mark-up", rows("markups.parquet", "UPDATE x SET percent_markup = percent_markup + 0.01"),
			"14 mark-ups"},
		{"another fee", rows("markups.parquet", "UPDATE x SET period_fee = period_fee + 1"), "14 mark-ups"},
		{"another manifest", text("month/manifest.json", `"run_id": "`, `"run_id": "x`), "10 chain"},
		{"another manifest of before", text("chain/0001-2026-09.json", `"run_id": "`, `"run_id": "x`), "10 chain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := unfold(t, folders["then"])
			c.change(t, dir)
			found := auditor(t, dir)
			if len(found) == 0 || !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, c.want) }) {
				t.Errorf("found %v, want %q", found, c.want)
			}
		})
	}
}
