package finance

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// The tokens of the viewers of a world.
const (
	tokenAll    = "controller-0123456789"
	tokenSearch = "search-team-0123456789"
	tokenAcme   = "acme-owner-0123456789"
)

// world is a lake of two accounts whose usage belongs to several cost centres, and a site that shows it.
type world struct {
	t       testing.TB
	w       *publishtest.Writer
	finance publish.Finance
	site    *Site
	viewers []Viewer
	now     time.Time
	people  map[string]query.Scope
}

// hiddenOfSearch is what the cost centre cc-2 must never learn: whatever names somebody else, and what only
// others have.
var hiddenOfSearch = []string{"cc-6", "team-6", "cc-0", "team-0", "cc-4", "cc-moved", "hiddenacct",
	"tk_hidden", "model-hidden", "rec-hidden", "Hidden", "777.77", "888.88", "INV-", "controller"}

// hiddenOfAcme is what the owner of the account acme must never learn.
var hiddenOfAcme = []string{"hiddenacct", "tk_hidden0", "model-hidden0", "rec-hidden-other", "Hidden Account", "888.88",
	"INV-2", "controller", "cc-0", "team-0"}

func newWorld(t testing.TB) *world {
	w := publishtest.New(t, load.Options{})
	day := func(account, date string) schemas.Partition {
		return schemas.Partition{Account: account, Date: schemastest.Date(date)}
	}
	for _, d := range []string{"2026-10-30", "2026-11-02", "2026-11-03"} {
		w.Day(day("acme", d), [4]string{"rec-own-" + d, "tk_own2", "model-own", "12.345678901234"},
			[4]string{"rec-own-b-" + d, "tk_own2", "model-both", "0.000000000001"},
			[4]string{"rec-pool-" + d, "tk_pool5", "model-1", "9"},
			[4]string{"rec-hidden-" + d, "tk_hidden6", "model-hidden", "777.77"},
			[4]string{"rec-hidden-b-" + d, "tk_hidden4", "model-both", "100"})
		w.Day(day("hiddenacct", d), [4]string{"rec-hidden-other-" + d, "tk_hidden0", "model-hidden0", "888.88"})
	}
	w.Balance(day("hiddenacct", "2026-11-03"), "888.88")
	money := func(text string) schemas.Money {
		m, err := schemas.ParseMoney(text)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	f := publishtest.Ruled("2026-12-01", "cc-2", "cc-6")
	f.Accounts = []string{"acme", "hiddenacct"}
	f.Budgets = []schemas.Budget{
		{Name: "Own budget", Scope: "cost_center", Value: "cc-2", Period: schemas.BudgetMonth, Amount: money("30"),
			Currency: "USD"},
		{Name: "Hidden budget", Scope: "cost_center", Value: "cc-6", Period: schemas.BudgetMonth, Amount: money("30"),
			Currency: "USD"},
		{Name: "Hidden of all", Period: schemas.BudgetMonth, Amount: money("30"), Currency: "USD"},
	}
	f.Names = []schemas.Name{{Kind: "cost_center", ID: "cc-2", Name: "Own centre"},
		{Kind: "cost_center", ID: "cc-6", Name: "Hidden centre"}, {Kind: "account", ID: "hiddenacct", Name: "Hidden Account"},
		{Kind: "token", ID: "tk_hidden6", Name: "Hidden token"}}
	f.Invoices = []schemas.InvoiceLine{
		{Invoice: "INV-1", Account: "acme", From: schemastest.Date("2026-10-01"), To: schemastest.Date("2026-11-01"),
			Amount: money("777.77"), Currency: "USD", Source: "invoices.csv:1"},
		{Invoice: "INV-2", Account: "hiddenacct", From: schemastest.Date("2026-10-01"), To: schemastest.Date("2026-11-01"),
			Amount: money("888.88"), Currency: "USD", Source: "invoices.csv:2"}}
	out := &world{t: t, w: w, finance: f, now: noon, people: map[string]query.Scope{
		"ann@example.com": {CostCenters: []string{"cc-2"}}}}
	w.Publish(publish.PublishOptions{Finance: f})
	token := func(s string) func() (string, error) { return func() (string, error) { return s, nil } }
	out.viewers = []Viewer{
		{Name: "controller", Token: token(tokenAll), All: true},
		{Name: "search", Token: token(tokenSearch), Scope: query.Scope{CostCenters: []string{"cc-2"}}},
		{Name: "acme-owner", Token: token(tokenAcme), Scope: query.Scope{Accounts: []string{"acme"}}},
		{Name: "people", Header: "X-Forwarded-Email", Trust: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")},
			People: func() (map[string]query.Scope, error) { return out.people, nil }},
	}
	out.site = New(Options{Lake: func() (*publish.Lake, error) { return publish.Open(w.Lake.Dir(), publish.Options{}) },
		Viewers:  func() ([]Viewer, error) { return out.viewers, nil },
		Operator: "/", Version: "test", Now: func() time.Time { return out.now }})
	t.Cleanup(out.site.Close)
	return out
}

// get asks for an address below Root.
func (w *world) get(path, token string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodGet, Root+path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, c := range change {
		c(r)
	}
	rec := httptest.NewRecorder()
	w.site.ServeHTTP(rec, r)
	return rec
}

// post sends a form, as a page of the site itself does.
func (w *world) post(path string, form url.Values, change ...func(*http.Request)) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, Root+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, c := range change {
		c(r)
	}
	rec := httptest.NewRecorder()
	w.site.ServeHTTP(rec, r)
	return rec
}

// texts is all that an answer says: headers, body, and what is in it where it is an archive.
func texts(t testing.TB, rec *httptest.ResponseRecorder) string {
	t.Helper()
	var b strings.Builder
	_ = rec.Result().Header.Write(&b)
	body := rec.Body.Bytes()
	b.Write(body)
	if z, err := zip.NewReader(bytes.NewReader(body), int64(len(body))); err == nil {
		for _, f := range z.File {
			r, err := f.Open()
			content, err2 := io.ReadAll(r)
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			b.Write(content)
		}
	}
	return b.String()
}

func sqlPath(statement string) string { return "sql?" + url.Values{"q": {statement}}.Encode() }
