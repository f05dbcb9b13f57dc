package finance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/serve/library"
	"github.com/usagelake/usagelake/jobs/serve/library/librarytest"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
)

// Whatever a viewer asks for, by whatever way, names nobody else and has no figure of anybody else.
func TestAViewerIsAnsweredWithNothingOfOthers(t *testing.T) {
	w := newWorld(t)
	for token, never := range map[string][]string{tokenSearch: librarytest.HiddenOfSearch,
		tokenAcme: librarytest.HiddenOfAcme} {
		var paths []string
		add := func(p ...string) { paths = append(paths, p...) }
		add("", "records", "records.csv", "questions", "sql", "nope", "chargeback.exe", "sign-in")
		if token == tokenAcme { // its file differs in which tables have rows, and these reports show them
			add("chargeback", "reconciliation", "quality", "budget", "prepaid")
			attacks := []string{"FROM usage.main.balance", "FROM usage.main.invoice_lines", "FROM usage.main.names",
				"FROM usage.main.allocation_keys", "FROM usage.main.coverage", "FROM usage.main.unit_prices",
				"FROM bi.charges_daily", "FROM usage.bi.records", "FROM bi.invoices", "FROM bi.prepaid", "FROM bi.freshness",
				"FROM bi.prices", "FROM bi.months"}
			for _, a := range attacks {
				add(sqlPath(a))
			}
		} else {
			for _, r := range report.Reports() {
				add(r.Name)
			}
			for _, a := range librarytest.Attacks {
				add(sqlPath(strings.ReplaceAll(a, "{lake}", w.w.Lake.Dir())))
			}
			for _, q := range library.Questions {
				add(sqlPath(q.Statement()))
			}
			add("sql.csv?" + url.Values{"q": {"FROM chargeback_daily"}}.Encode())
		}
		add("statement.xlsx?period=2026-11", "chargeback.html", "statement.json", "chargeback.csv?by=token,user,model,day",
			"chargeback?from=2026-10-01&to=2026-12-01",
			"chargeback?cost_center=zz", "chargeback?account=zz", "chargeback?model=zz", "records?model=zz",
			"chargeback?period=1999-01", "records?period=2026-10", "records?token_id=zz", "top?top=1000")
		seen := map[string]bool{}
		links := regexp.MustCompile(`href="/finance/([^"]*)"`)
		for n := 0; n < len(paths); n++ {
			path := paths[n]
			if seen[path] {
				continue
			}
			seen[path] = true
			rec := w.get(path, token)
			if rec.Code >= 500 {
				t.Errorf("%s: %d", path, rec.Code)
			}
			text := texts(t, rec)
			for _, h := range never {
				if at := strings.Index(text, h); at >= 0 {
					t.Errorf("%s: %s of somebody else: …%s…", path, h, text[max(0, at-120):min(len(text), at+80)])
				}
			}
			// What the first page and a chargeback link to, too: the rest is more of the same.
			if path == "chargeback" && token == tokenSearch {
				for _, m := range links.FindAllStringSubmatch(text, 12) {
					add(strings.ReplaceAll(m[1], "&amp;", "&"))
				}
			}
		}
		// The same names to who sees all, so that the search can find something.
		if token == tokenSearch {
			all := texts(t, w.get("chargeback?by=cost_center,token,model", tokenAll))
			for _, h := range []string{"cc-6", "tk_hidden6", "model-hidden0", "777.77", "Hidden centre"} {
				if !strings.Contains(all, h) {
					t.Errorf("who sees all doesn't see %s", h)
				}
			}
			mine := texts(t, w.get(sqlPath("SELECT DISTINCT cost_center_name, net_cost FROM bi.charges_daily"), tokenSearch))
			if !strings.Contains(mine, "Own centre") || !strings.Contains(mine, "12.345678901234") {
				t.Errorf("the viewer doesn't see his own in the semantic layer: %s", mine)
			}
		}
	}
}

// Another's name is answered as one that nobody has.
func TestAnothersNameIsNobodys(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"chargeback?cost_center=", "records?cost_center=", "top?account=", "prices?model="} {
		real := map[string]string{"chargeback?cost_center=": "cc-6", "records?cost_center=": "cc-6",
			"top?account=": "hiddenacct", "prices?model=": "model-hidden"}[path]
		a, b := w.get(path+real, tokenSearch), w.get(path+"zz", tokenSearch)
		hide := func(s, name string) string { return strings.ReplaceAll(s, name, "NAME") }
		if a.Code != http.StatusBadRequest || b.Code != a.Code {
			t.Errorf("%s: %d and %d", path, a.Code, b.Code)
		}
		// The nearest names differ by what was asked for; that they are the viewer's own, the test above holds.
		if cut := func(s, name string) string {
			before, _, _ := strings.Cut(hide(s, name), "the nearest are")
			return before
		}; cut(a.Body.String(), real) != cut(b.Body.String(), "zz") {
			t.Errorf("%s: the two answers differ", path)
		}
	}
}

// What a viewer is told of his is what a report of who sees all says of him.
func TestAViewersFiguresAreThoseOfTheReport(t *testing.T) {
	w := newWorld(t)
	for token, scope := range map[string]query.Scope{tokenSearch: librarytest.Search,
		tokenAcme: librarytest.Acme} {
		for _, c := range []struct{ path, table, by string }{{path: "chargeback.csv?"}, {path: "top.csv?"},
			{path: "unit-cost.csv?"}, {path: "chargeback.csv?by=token", by: "token"},
			{path: "statement.csv?table=journal", table: "journal"}} {
			name, _, _ := strings.Cut(c.path, ".")
			opts := report.Options{Name: name, Scope: scope, Now: librarytest.Noon, Version: "test"}
			if c.by != "" {
				opts.By = []string{c.by}
			}
			doc, err := report.Build(context.Background(), w.w.Lake, opts)
			if err != nil {
				t.Fatal(err)
			}
			if c.table != "" && doc.Choose(c.table) != nil { // of an account there is no journal
				if rec := w.get(c.path, token); rec.Code != http.StatusBadRequest {
					t.Errorf("%s of %+v: %d", c.path, scope, rec.Code)
				}
				continue
			}
			var told strings.Builder
			if err := doc.CSV(&told); err != nil {
				t.Fatal(err)
			}
			rec := w.get(c.path, token)
			// How complete a viewer's month is, is said of his accounts.
			lacking := regexp.MustCompile(`"[0-9]+ of 720 hours[^"]*"`)
			got, want := lacking.ReplaceAllString(rec.Body.String(), ""), lacking.ReplaceAllString(told.String(), "")
			if token == tokenSearch { // who sees no token with a name, and has no column for it
				want = regexp.MustCompile(`(?m)^(token|tk_own2|\(shared\)),(token_name)?,`).ReplaceAllString(want, "$1,")
			}
			if rec.Code != http.StatusOK || got != want {
				t.Errorf("%s of %+v: %d\n%s\nwant\n%s", c.path, scope, rec.Code, got, want)
			}
		}
	}
}

// A viewer may have a cost centre that has no usage yet: it closes nothing that he has beside it.
func anOwnNameWithoutUsageClosesNothing(t *testing.T, w *world, _ publish.ClosedMonth) {
	paths := []string{"", "records", "records?cost_center=cc-new", "closed", "chargeback", "chargeback?cost_center=cc-new",
		"statement"}
	ask := func(path string) *httptest.ResponseRecorder {
		return w.get(path, "", func(r *http.Request) {
			r.Header.Set("X-Forwarded-Email", "ann@example.com")
			r.RemoteAddr = "192.0.2.1:9"
		})
	}
	w.people["ann@example.com"] = query.Scope{CostCenters: []string{"cc-2", "cc-new"}}
	for _, path := range paths {
		rec := ask(path)
		if rec.Code != http.StatusOK {
			t.Errorf("%s: %d", path, rec.Code)
		}
		if m := commands.FindString(said(rec)); m != "" {
			t.Errorf("%s names %q", path, m)
		}
	}
	if own, both := w.get("chargeback.csv", tokenSearch), ask("chargeback.csv"); own.Body.String() != both.Body.String() {
		t.Errorf("the figures differ:\n%s\n%s", own.Body, both.Body)
	}
	if rec := ask("records?cost_center=cc-6"); rec.Code != http.StatusBadRequest {
		t.Errorf("a name of others: %d", rec.Code)
	}
	w.people["ann@example.com"] = query.Scope{CostCenters: []string{"cc-new"}}
	for _, path := range paths {
		rec := ask(path)
		if rec.Code != http.StatusOK && (rec.Code != http.StatusNotFound || !strings.Contains(said(rec), "Nothing yet")) {
			t.Errorf("of nothing but it, %s: %d", path, rec.Code)
		}
	}
}

func TestWhoMayLook(t *testing.T) {
	w := newWorld(t)
	sees := func(all bool, centers ...string) bool {
		return w.site.holds(library.Sight{All: all, Scope: query.Scope{CostCenters: centers}})
	}
	if !sees(true) || !sees(false, "cc-2") || sees(false, "cc-6") || sees(false) {
		t.Error("nobody sees what a viewer does, or somebody what none does")
	}
	viewers := w.viewers
	w.viewers = slices.Delete(slices.Clone(viewers), 0, 2)
	if sees(true) || !sees(false, "cc-2") {
		t.Error("who is on the map sees nothing, or all")
	}
	w.people = map[string]query.Scope{"ann@example.com": {CostCenters: []string{"cc-6"}}}
	if sees(false, "cc-2") || !sees(false, "cc-6") {
		t.Error("the map is another, and who saw what before does so still")
	}
	if w.viewers = nil; !sees(true) || sees(false, "cc-6") {
		t.Error("without viewers all is seen")
	}
	w.viewers, w.people["ann@example.com"] = viewers, librarytest.Search
	header := func(value, from string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("X-Forwarded-Email", value)
			r.RemoteAddr = from
		}
	}
	both := func(r *http.Request) { r.Header.Add("X-Forwarded-Email", "other@example.com") }
	for _, c := range []struct {
		name, token string
		change      []func(*http.Request)
		want        int
	}{
		{"nobody", "", nil, 401},
		{"the controller", tokenAll, nil, 200},
		{"a wrong token", "no-such-token-012345", nil, 401},
		{"a header", "", []func(*http.Request){header("Ann@Example.com ", "192.0.2.1:9")}, 200},
		{"a header of an untrusted address", "", []func(*http.Request){header("ann@example.com", "192.0.2.2:9")}, 401},
		{"a header of nobody on the map", "", []func(*http.Request){header("bob@example.com", "192.0.2.1:9")}, 403},
		{"two headers", "", []func(*http.Request){header("ann@example.com", "192.0.2.1:9"), both}, 403},
		{"a wrong token and a good header", "no-such-token-012345", []func(*http.Request){header("ann@example.com",
			"192.0.2.1:9")}, 401},
		{"a cookie that nobody has, and a good header", "", []func(*http.Request){header("ann@example.com", "192.0.2.1:9"),
			func(r *http.Request) { r.AddCookie(&http.Cookie{Name: sessionCookie, Value: "x"}) }}, 200},
		{"a cookie that nobody has", "", []func(*http.Request){func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: sessionCookie, Value: "x"})
		}}, 401},
	} {
		if rec := w.get("questions", c.token, c.change...); rec.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, rec.Code, c.want)
		} else if c.want == 401 && !strings.Contains(rec.Body.String(), `action="/finance/sign-in"`) {
			t.Errorf("%s: no form", c.name)
		}
	}
	if w.site.Wrong() != 2 {
		t.Errorf("%d wrong tokens", w.site.Wrong())
	}
}

func TestASessionBeginsAndEnds(t *testing.T) {
	w := newWorld(t)
	form := url.Values{"token": {tokenSearch}, "next": {"/finance/top?top=3"}}
	crossSite := func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }
	if rec := w.post("sign-in", form, crossSite); rec.Code != 403 {
		t.Errorf("another site's form: %d", rec.Code)
	}
	signIn := func(next string) (*http.Cookie, string) {
		rec := w.post("sign-in", url.Values{"token": {tokenSearch}, "next": {next}})
		cookies := rec.Result().Cookies()
		if rec.Code != http.StatusSeeOther || len(cookies) != 1 {
			t.Fatalf("sign in: %d", rec.Code)
		}
		return cookies[0], rec.Header().Get("Location")
	}
	c, to := signIn("/finance/top?top=3")
	if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || to != "/finance/top?top=3" ||
		strings.Contains(c.String(), "search") {
		t.Errorf("cookie %v, to %s", c, to)
	}
	for _, evil := range []string{"//evil.example/finance/", "https://evil.example/finance/", "/\\evil.example",
		"javascript:x"} {
		if _, to := signIn(evil); to != Root {
			t.Errorf("after signing in: %s", to)
		}
	}
	with := func(c *http.Cookie) func(*http.Request) { return func(r *http.Request) { r.AddCookie(c) } }
	code := func(c *http.Cookie) int { return w.get("questions", "", with(c)).Code }
	if got := w.get("questions", "", with(c)); got.Code != 200 || !strings.Contains(got.Body.String(), "Sign out") {
		t.Errorf("signed in: %d", got.Code)
	}
	w.post("sign-out", nil, with(c))
	if code(c) != 401 {
		t.Error("it goes on after signing out")
	}
	c, _ = signIn(Root)
	w.now = w.now.Add(sessionFor)
	if code(c) != 401 {
		t.Error("it goes on for ever")
	}
	c, _ = signIn(Root)
	w.viewers[1].Token = func() (string, error) { return "another-token-0123456789", nil }
	if code(c) != 401 {
		t.Error("it outlives its token")
	}
}

// Without viewers whoever can ask sees all, as it is without a token.
func TestWithoutViewersAllIsSeen(t *testing.T) {
	w := newWorld(t)
	w.viewers = nil
	if rec := w.get("chargeback", ""); rec.Code != 200 || !strings.Contains(rec.Body.String(), "cc-6") {
		t.Errorf("%d", rec.Code)
	}
}

// A publish is seen by the next request, and what was carved out of the file before it goes.
func TestAPublishIsSeenAtOnce(t *testing.T) {
	w := newWorld(t)
	old := w.get("chargeback.csv", tokenSearch).Body.String()
	scratch := func() []string {
		dirs, err := filepath.Glob(filepath.Join(w.w.Lake.Dir(), ".tmp", "*", "*", "lake"))
		if err != nil {
			t.Fatal(err)
		}
		return dirs
	}
	before := scratch()
	if len(before) != 1 {
		t.Fatalf("carved: %v", before)
	}
	if info, err := os.Stat(filepath.Dir(before[0])); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others can read it: %v %v", info.Mode(), err)
	}
	w.w.PublishMore()
	if now := w.get("chargeback.csv", tokenSearch).Body.String(); now == old || !strings.Contains(now, "cc-2") {
		t.Errorf("after a publish:\n%s", now)
	}
	if after := scratch(); len(after) != 1 || after[0] == before[0] {
		t.Errorf("carved after a publish: %v", after)
	}
	w.site.Close()
	if left := scratch(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestGuessesAreAnsweredOneAfterTheOther(t *testing.T) {
	w := newWorld(t)
	codes := make(chan int, 12)
	began := time.Now()
	for range cap(codes) {
		go func() { codes <- w.get("questions", "no-such-token-012345").Code }()
	}
	count := map[int]int{}
	for range cap(codes) {
		count[<-codes]++
	}
	if count[401] == 0 || count[429] == 0 || count[200] > 0 || time.Since(began) < wrongAnswer {
		t.Errorf("%v in %s", count, time.Since(began))
	}
}
