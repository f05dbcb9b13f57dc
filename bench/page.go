package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/usagelake/usagelake/jobs/serve/finance"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// people are how many look at finance's page at once.
const people = 20

// pageAsked are the pages that are measured, by what they are, and the figure of each as one statement asked of the
// file by DuckDB itself.
func pageAsked(month, center string) []struct{ name, path, floor string } {
	of := "WHERE billing_month = DATE '" + month + "-01'"
	address := func(path string, pairs ...string) string {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return path + "?" + v.Encode()
	}
	whose := "cost_center = " + schemas.SQLString(center)
	return []struct{ name, path, floor string }{
		{"months", "", `SELECT billing_month, currency, sum(requests), sum(net_cost) FROM chargeback_daily GROUP BY ALL`},
		{"chargeback", address("chargeback", "period", month),
			"SELECT cost_center, currency, sum(requests), sum(net_cost) FROM chargeback_daily " + of + " GROUP BY ALL"},
		{"a cost centre, by team and model",
			address("chargeback", "period", month, "cost_center", center, "by", "team,model"),
			"SELECT team, model, currency, sum(net_cost) FROM chargeback_daily " + of + " AND " + whose + " GROUP BY ALL"},
		{"its records", address("records", "period", month, "cost_center", center),
			"SELECT request_time, token_id, model, amount FROM allocated_usage WHERE usage_date >= DATE '" + month +
				"-01' AND usage_date < DATE '" + month + "-01' + INTERVAL 1 MONTH AND " + whose +
				" ORDER BY request_time, account, id LIMIT 100"},
	}
}

// childPage asks finance's page of a lake: pages that nobody has asked for yet, kept ones, and twenty people at once.
func childPage(ctx context.Context, args []string, out *answer) error {
	lake, turns := args[0], atoi(args[1])
	db, err := sql.Open("duckdb", "?threads=2")
	if err != nil {
		return err
	}
	defer db.Close()
	month := truthMonth()
	floor := func(statement string, to ...any) (float64, error) {
		start := time.Now()
		c, err := db.Conn(ctx)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		if _, err := c.ExecContext(ctx, "ATTACH IF NOT EXISTS "+schemas.SQLString(filepath.Join(lake, "usage.duckdb"))+
			" AS usage (READ_ONLY); USE usage"); err != nil {
			return 0, err
		}
		if len(to) == 0 {
			var n, sum any
			statement, to = "SELECT count(*), bit_xor(hash(r)) FROM ("+statement+") r", []any{&n, &sum}
		}
		err = c.QueryRowContext(ctx, statement).Scan(to...)
		return time.Since(start).Seconds(), err
	}
	var center string
	if _, err := floor("SELECT cost_center FROM chargeback_daily WHERE cost_center <> '(unallocated)' GROUP BY ALL "+
		"ORDER BY sum(net_cost) DESC LIMIT 1", &center); err != nil {
		return err
	}
	asked := pageAsked(month, center)
	for _, p := range asked {
		var took sample
		for range max(3, turns) {
			v, err := floor(p.floor)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			took = append(took, v)
		}
		out.V["floor."+p.name] = took.median()
	}
	resetPeak()
	open := func() (*httptest.Server, func()) {
		site := finance.New(finance.Options{Now: func() time.Time { return clock }, Version: "bench",
			Lake: func() (*publish.Lake, error) { return publish.Open(lake, publish.Options{}) }})
		server := httptest.NewServer(site)
		return server, func() { server.Close(); site.Close() }
	}
	get := func(server *httptest.Server, path string) (float64, error) {
		start := time.Now()
		res, err := server.Client().Get(server.URL + finance.Root + path)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return 0, err
		}
		if res.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("%s: %s", path, res.Status)
		}
		return time.Since(start).Seconds(), nil
	}
	took := map[string]sample{}
	for range turns {
		server, done := open()
		for _, kind := range []string{"cold", "kept", "kept", "kept", "kept", "kept"} {
			for _, p := range asked {
				v, err := get(server, p.path)
				if err != nil {
					done()
					return err
				}
				took[kind+"."+p.name] = append(took[kind+"."+p.name], v)
			}
		}
		kept, err := atOnce(func(i int) (float64, error) { return get(server, asked[i%len(asked)].path) }, 10)
		done()
		if err != nil {
			return err
		}
		took["crowd.kept"] = append(took["crowd.kept"], kept...)
		// Each a page of his own that nobody has asked for: another number of those who cost most.
		server, done = open()
		cold, err := atOnce(func(i int) (float64, error) {
			return get(server, "top?"+url.Values{"period": {month}, "top": {strconv.Itoa(i + 1)}}.Encode())
		}, 1)
		done()
		if err != nil {
			return err
		}
		took["crowd.cold"] = append(took["crowd.cold"], cold...)
	}
	for name, s := range took {
		out.V[name], out.V[name+".p95"] = s.median(), s.part(0.95)
	}
	return nil
}

// atOnce has people ask at once, each so many times one after the other, and gives how long each waited.
func atOnce(get func(i int) (float64, error), times int) (sample, error) {
	var mu sync.Mutex
	var out sample
	var first error
	var wg sync.WaitGroup
	for i := range people {
		wg.Go(func() {
			for n := range times {
				v, err := get(i*times + n)
				mu.Lock()
				if out = append(out, v); err != nil {
					first = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return out, first
}

// part is the value that so much of the sample isn't above.
func (s sample) part(of float64) float64 {
	t := slices.Sorted(slices.Values(s))
	return t[max(0, int(math.Ceil(of*float64(len(t))))-1)]
}

// paging measures finance's page on a month of many records.
func (b *bench) paging(s *section) error {
	const days = 30
	lake, truth, err := b.built(b.size.month, days, false)
	if err != nil {
		return err
	}
	b.say("ask finance's page of %s records", thousands(float64(truth.Records)))
	r, err := b.child("page", lake, strconv.Itoa(min(b.size.turns, 3)))
	if err != nil {
		return err
	}
	ms := func(name string) string { return fmt.Sprintf("%.0f", r.V[name]*1000) }
	t := s.table(fmt.Sprintf("%s records, %d days", thousands(float64(truth.Records)), days), "kept, ms", "kept, p95, ms",
		"made anew, ms", "its figure by one statement in DuckDB, ms", "made anew ÷ the statement")
	for _, p := range pageAsked("", "") {
		t.row(p.name, ms("kept."+p.name), ms("kept."+p.name+".p95"), ms("cold."+p.name), ms("floor."+p.name),
			fmt.Sprintf("%.1f", r.V["cold."+p.name]/r.V["floor."+p.name]))
		most := 100.0
		if p.name == "its records" {
			most = 300
		}
		s.atMost(p.name+", kept, p95, ms", most, r.V["kept."+p.name+".p95"]*1000, "%.0f")
		s.atMost(p.name+", made anew, ms", most, r.V["cold."+p.name]*1000, "%.0f")
	}
	t = s.table(fmt.Sprintf("%d people at once", people), "median, ms", "p95, ms")
	t.row("pages that are kept", ms("crowd.kept"), ms("crowd.kept.p95"))
	t.row("a page each that nobody has asked for", ms("crowd.cold"), ms("crowd.cold.p95"))
	s.atMost(fmt.Sprintf("%d people at once, kept pages, p95, ms", people), 100, r.V["crowd.kept.p95"]*1000, "%.0f")
	s.fact("The process that serves had %s at the most. The first page that is made has what all pages say of the file, "+
		"too.", mib(r.RSS))
	return nil
}
