package serve

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/serve/finance"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
)

// With viewers the operators' pages are for those who see all, on loopback too, where a proxy asks from.
func TestTheStatusPageIsForThoseWhoSeeAll(t *testing.T) {
	token := func(s string) func() (string, error) { return func() (string, error) { return s, nil } }
	site := finance.New(finance.Options{Now: func() time.Time { return noon },
		Lake: func() (*publish.Lake, error) { return nil, errors.New("gone") },
		Viewers: func() ([]finance.Viewer, error) {
			return []finance.Viewer{{Name: "controller", Token: token("all-0123456789abcdef"), All: true},
				{Name: "search", Token: token("own-0123456789abcdef"), Scope: query.Scope{CostCenters: []string{"cc"}}}}, nil
		}})
	w := well()
	opts := w.options()
	opts.Finance = site
	s := New(opts)
	for _, c := range []struct {
		token, path string
		want        int
	}{
		{"", "/", 401}, {"", "/metrics", 401}, {"", "/status.json", 401}, {"", "/healthz", 200}, {"", "/finance/", 401},
		{"own-0123456789abcdef", "/", 303}, {"own-0123456789abcdef", "/metrics", 401},
		{"own-0123456789abcdef", "/status.json", 401}, {"own-0123456789abcdef", "/nope", 401},
		{"all-0123456789abcdef", "/", 200}, {"all-0123456789abcdef", "/metrics", 200},
		{"all-0123456789abcdef", "/finance/", 503}, {"own-0123456789abcdef", "/finance/", 503},
		{"", "/finance", 301},
	} {
		rec := ask(s, c.path, func(r *http.Request) {
			if c.token != "" {
				r.Header.Set("Authorization", "Bearer "+c.token)
			}
		})
		if rec.Code != c.want {
			t.Errorf("%s as %q: %d, want %d", c.path, c.token, rec.Code, c.want)
		}
	}
}
