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

	"github.com/usagelake/usagelake/jobs/serve/library/librarytest"
	"github.com/usagelake/usagelake/load/query"
)

// The tokens of the viewers of a world.
const (
	tokenAll    = "controller-0123456789"
	tokenSearch = "search-team-0123456789"
	tokenAcme   = "acme-owner-0123456789"
)

// world is a lake, and a site that shows it.
type world struct {
	t       testing.TB
	w       *librarytest.World
	site    *Site
	viewers []Viewer
	now     time.Time
	people  map[string]query.Scope
}

func newWorld(t testing.TB) *world {
	w := librarytest.New(t)
	out := &world{t: t, w: w, now: librarytest.Noon, people: map[string]query.Scope{"ann@example.com": librarytest.Search}}
	token := func(s string) func() (string, error) { return func() (string, error) { return s, nil } }
	out.viewers = []Viewer{
		{Name: "controller", Token: token(tokenAll), All: true},
		{Name: "search", Token: token(tokenSearch), Scope: librarytest.Search},
		{Name: "acme-owner", Token: token(tokenAcme), Scope: librarytest.Acme},
		{Name: "people", Header: "X-Forwarded-Email", Trust: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")},
			People: func() (map[string]query.Scope, error) { return out.people, nil }},
	}
	out.site = New(Options{Lake: w.Open,
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
