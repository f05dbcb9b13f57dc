package finance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/serve/library/librarytest"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/load/pack"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// close closes a month, with its documents or without.
func (w *world) close(month schemas.Month, documents bool) publish.ClosedMonth {
	w.t.Helper()
	opts := publish.CloseOptions{Month: month, RunID: "run-c", Version: "test",
		By: publish.ClosedBy{User: "Hidden closer", Host: "vm"}, Reason: "Hidden reason",
		Objections: []string{"Hidden objection"},
		Now:        loadtest.TickingClock(), Rules: []publish.RuleFile{{Name: "rules.yaml",
			Content: []byte(w.w.Finance.Rules.Digest())}}, RulesDigest: w.w.Finance.Rules.Digest()}
	if documents {
		opts.Write = func(ctx context.Context, dir string, edition int) error {
			return report.WriteMonth(ctx, w.w.Lake, month, dir, report.MonthOptions{Edition: edition, Now: librarytest.Noon,
				Version: "test"})
		}
	}
	c, err := w.w.Lake.CloseMonth(context.Background(), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.w.Finance.Archived = publishtest.Archived(w.w.Finance.Rules)
	return c
}

// closeOctober closes October with its documents, packs two cost centres, and has a record of cc-2 come late.
func (w *world) closeOctober() publish.ClosedMonth {
	w.t.Helper()
	october := schemastest.Date("2026-10-01").Month()
	c := w.close(october, true)
	w.w.Day(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-31")},
		[4]string{"rec-own-late", "tk_own2", "model-own", "4.5"},
		[4]string{"rec-hidden-late", "tk_hidden6", "model-hidden", "7"})
	w.w.Publish(publish.PublishOptions{Finance: w.w.Finance})
	dir := w.w.Lake.Path(pack.Dir, "2026-10")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	x := pack.Index{Format: 1, Month: october, Period: "2026-10", Closed: c.Digest}
	for _, center := range []string{"cc-2", "cc-6"} {
		content := []byte("the package of " + center)
		sum := sha256.Sum256(content)
		p := pack.Package{CostCenter: center, Name: "statement-2026-10-" + report.StatementFile(center),
			Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
		if err := os.WriteFile(filepath.Join(dir, p.Name+".zip"), content, 0o600); err != nil {
			w.t.Fatal(err)
		}
		x.Packages = append(x.Packages, p)
	}
	b, err := json.Marshal(x)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "index.json"), b, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func closedFile(name string) string {
	return "closed?" + url.Values{"period": {"2026-10"}, "file": {name}}.Encode()
}

func TestAClosedMonth(t *testing.T) {
	w := newWorld(t)
	if rec := w.get("closed", tokenAll); rec.Code != 404 || !strings.Contains(said(rec), "No month is closed yet") {
		t.Errorf("before there is one: %d", rec.Code)
	}
	w.w.Day(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-11-04")},
		[4]string{"rec-nobodys", "tk_nobody1", "model-own", "3.21"})
	w.w.Publish(publish.PublishOptions{Finance: w.w.Finance})
	c := w.closeOctober()
	for name, f := range map[string]func(*testing.T, *world, publish.ClosedMonth){
		"who sees all has every file, with its digest": everyFileOfAClosedMonth,
		"a cost centre has its own alone":              aCentresOwnOfAClosedMonth,
		"names are looked up, and are no paths":        namesAreNoPaths,
		"a part of a file, however slowly":             aPartOfAFile,
		"an own name without usage closes nothing":     anOwnNameWithoutUsageClosesNothing,
		"ten minutes, in a browser":                    tenMinutesOnThePage,
	} {
		t.Run(name, func(t *testing.T) { w.t = t; f(t, w, c) })
	}
	w.t = t
	correctionsStandOnBothSides(w)
	name := filepath.Join(c.Dir, "statement.csv")
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("tampered"), 0o600); err != nil {
		t.Fatal(err)
	}
	rec := w.get(closedFile("statement.csv"), tokenAll)
	if rec.Code != 500 || !strings.Contains(said(rec), "as it was") || strings.Contains(said(rec), "tampered") {
		t.Errorf("a file that was changed: %d", rec.Code)
	}
}

func everyFileOfAClosedMonth(t *testing.T, w *world, c publish.ClosedMonth) {
	page := w.get("closed", tokenAll).Body.String()
	for _, want := range []string{"Hidden reason", "Hidden objection", "Hidden closer at vm", "Closed month 2026-10",
		"Completeness:", "cc-6"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if len(c.Files) < 20 {
		t.Fatalf("%d files", len(c.Files))
	}
	for _, f := range c.Files {
		rec := w.get(closedFile(f.Path), tokenAll)
		sum := sha256.Sum256(rec.Body.Bytes())
		if rec.Code != 200 || hex.EncodeToString(sum[:]) != f.SHA256 ||
			!strings.Contains(rec.Header().Get("Content-Disposition"), "attachment") {
			t.Errorf("%s: %d", f.Path, rec.Code)
		}
		if !strings.HasPrefix(f.Path, "cost-centers/") && fileIs(f.Path) == "" {
			t.Errorf("nothing says what %s is", f.Path)
		}
		address := strings.ReplaceAll(Root+closedFile(f.Path), "&", "&amp;")
		if !strings.Contains(page, `href="`+address+`"`) {
			t.Errorf("nothing leads to %s", f.Path)
		}
	}
	if rec := w.get("", tokenAll); !strings.Contains(rec.Body.String(), `href="/finance/closed?period=2026-10"`) {
		t.Error("nothing leads to the month")
	}
}

// Files whose names begin alike are told apart.
func TestWhatAFileOfAClosedMonthIs(t *testing.T) {
	for name, want := range map[string]string{publish.LedgerFile: "row by row", publish.LedgerFocus: "each record",
		publish.PrepaidFile: "prepaid credit", "focus-1.2.parquet": "FinOps", "focus-1.2.metadata.json": "columns",
		"journal.csv": "post", "EXTF_journal-2026-10-USD.csv": "imports", "nope": ""} {
		if got := fileIs(name); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func aCentresOwnOfAClosedMonth(t *testing.T, w *world, c publish.ClosedMonth) {
	rec := w.get("closed?period=2026-10", tokenSearch)
	page := texts(t, rec)
	if rec.Code != 200 || !strings.Contains(page, "cc-2") || !strings.Contains(page, "Closed month 2026-10") {
		t.Errorf("its page: %d", rec.Code)
	}
	for _, h := range append(librarytest.HiddenOfSearch, "vm", "run-c") {
		if at := strings.Index(page, h); at >= 0 {
			t.Errorf("its page says %s: …%s…", h, page[max(0, at-100):min(len(page), at+60)])
		}
	}
	seen := 0
	for _, m := range regexp.MustCompile(`href="/finance/(closed\?[^"]*file=[^"]*)"`).FindAllStringSubmatch(page, -1) {
		rec := w.get(strings.ReplaceAll(m[1], "&amp;", "&"), tokenSearch)
		if seen++; rec.Code != 200 {
			t.Errorf("%s: %d", m[1], rec.Code)
		}
		text := texts(t, rec)
		for _, h := range librarytest.HiddenOfSearch {
			// Of the month as a whole a statement says which accounts lacked hours, as it was handed out.
			if strings.Contains(text, h) && h != "hiddenacct" {
				t.Errorf("%s says %s", m[1], h)
			}
		}
	}
	if seen != 4 {
		t.Errorf("%d files", seen)
	}
	others := []string{publish.ManifestName, "statement-2026-10-" + report.StatementFile("cc-6") + ".zip"}
	for _, f := range c.Files {
		if !strings.HasPrefix(f.Path, report.StatementPath("cc-2")+".") {
			others = append(others, f.Path)
		}
	}
	for _, name := range others {
		if a, b := w.get(closedFile(name), tokenSearch), w.get(closedFile("nope"), tokenSearch); a.Code != 404 ||
			a.Body.String() != b.Body.String() {
			t.Errorf("%s: %d", name, a.Code)
		}
	}
	for _, path := range []string{"closed", "closed?period=2026-10", closedFile("statement.csv")} {
		if rec := w.get(path, tokenAcme); rec.Code != 403 || strings.Contains(rec.Body.String(), "cc-2") {
			t.Errorf("an account's owner, %s: %d", path, rec.Code)
		}
	}
	if rec := w.get("", tokenAcme); strings.Contains(rec.Body.String(), "finance/closed") {
		t.Error("an account's owner is led to what isn't for him")
	}
}

// What came late stands with October as charged later, and with November, which is closed here, as carried; each
// viewer's are his own.
func correctionsStandOnBothSides(w *world) {
	w.close(schemastest.Date("2026-11-01").Month(), false)
	w.w.Publish(publish.PublishOptions{Finance: w.w.Finance})
	for _, side := range []struct{ month, title, other string }{
		{"2026-10", "Charged later for it", "2026-11"}, {"2026-11", "Charged in it for earlier months", "2026-10"},
	} {
		of := func(token string) string {
			rec := w.get("closed?period="+side.month, token)
			_, rest, _ := strings.Cut(said(rec), side.title)
			section, _, found := strings.Cut(rest, "</section>")
			if rec.Code != 200 || !found {
				w.t.Errorf("%s has no %q: %d", side.month, side.title, rec.Code)
			}
			return section
		}
		all, own := of(tokenAll), of(tokenSearch)
		for _, want := range []string{side.other, ">4.50<", ">7.00<", ">11.50<", "cc-6"} {
			if !strings.Contains(all, want) {
				w.t.Errorf("%s, of all: no %s", side.month, want)
			}
		}
		if !strings.Contains(own, side.other) || !strings.Contains(own, ">4.50<") || strings.Contains(own, ">7.00<") ||
			strings.Contains(own, ">11.50<") {
			w.t.Errorf("%s: a cost centre's corrections aren't its own", side.month)
		}
	}
}

// timed notes the deadlines that an answer is given, and how much is written until each.
type timed struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
	most      int
}

func (d *timed) SetWriteDeadline(t time.Time) error {
	d.deadlines = append(d.deadlines, t)
	return nil
}

func (d *timed) Write(b []byte) (int, error) {
	d.most = max(d.most, len(b))
	return d.ResponseRecorder.Write(b)
}

// A limit holds for a part of an answer alone: nobody reads so slowly that a large file is cut.
func aPartOfAFile(t *testing.T, w *world, _ publish.ClosedMonth) {
	whole := w.get(closedFile("statement.xlsx"), tokenAll).Body.String()
	r := httptest.NewRequest(http.MethodGet, Root+closedFile("statement.xlsx"), nil)
	r.Header.Set("Authorization", "Bearer "+tokenAll)
	r.Header.Set("Range", "bytes=100-299")
	d := &timed{ResponseRecorder: httptest.NewRecorder()}
	w.site.ServeHTTP(d, r)
	if d.Code != http.StatusPartialContent || d.Body.String() != whole[100:300] || len(d.deadlines) == 0 {
		t.Errorf("a part: %d, %d bytes, %d deadlines", d.Code, d.Body.Len(), len(d.deadlines))
	}
	d = &timed{ResponseRecorder: httptest.NewRecorder()}
	before := time.Now()
	if n, err := (&patient{d}).Write(make([]byte, 3*part+1)); n != 3*part+1 || err != nil || d.Body.Len() != n {
		t.Errorf("%d are written: %v", n, err)
	}
	if len(d.deadlines) != 4 || d.most != part || d.deadlines[0].Before(before.Add(patience)) {
		t.Errorf("%d deadlines, at the most %d bytes to each", len(d.deadlines), d.most)
	}
}

func namesAreNoPaths(t *testing.T, w *world, c publish.ClosedMonth) {
	for _, name := range []string{"../../usagelake.yaml", "/etc/passwd", filepath.Join(c.Dir, "statement.csv"),
		"./statement.csv", "statement.csv\x00", "cost-centers/", "cost-centers/../statement.csv", "..", "%2e%2e"} {
		if rec := w.get(closedFile(name), tokenAll); rec.Code != 404 {
			t.Errorf("%s: %d", name, rec.Code)
		}
	}
	for path, code := range map[string]int{"closed?period=2026-11": 404, "closed?period=2026-13": 400,
		"closed?period=2026-Q4": 404, "closed?from=2026-10-01": 404, "closed?colour=red": 400,
		"closed?period=2026-10&cost_center=cc-2": 400, "closed?model=model-own&file=statement.csv": 400,
		"closed?period=2026-10&file=a&file=b": 400} {
		if rec := w.get(path, tokenAll); rec.Code != code {
			t.Errorf("%s: %d, want %d", path, rec.Code, code)
		}
	}
}
