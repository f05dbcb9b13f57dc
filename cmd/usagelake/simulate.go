package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs/config"
)

func (a *app) simulateCommand() *cobra.Command {
	var listen, kind, shape, retryAfter string
	var seed uint64
	var perDay, rate float64
	var concurrency, orgs int
	var faults []string
	var anywhere bool
	c := &cobra.Command{
		Use:   "simulate",
		Short: "Serve the simulated Portal, to develop and test against without a key",
		Long: `simulate serves a Portal with the Manager API: /usage, /balance and the management of keys, at the documented
limits. Its data is made up from a seed, on demand: the same seed gives the same records, keys and prices. Faults can
be switched on, here and while it runs (see GET /sim/). What a perfect export would hold is told by GET /sim/truth.

Faults (--fault NAME=VALUE, many times or joined by commas; shares are from 0 to 1):
` + faultHelp(),
		Example: `  usagelake simulate
  usagelake simulate --listen 127.0.0.1:8080 --limit-kind bucket --fault latency=200ms,status-500=0.05
  usagelake simulate --fault order=newest --fault total=absent`,
		RunE: func(c *cobra.Command, _ []string) error {
			k, err := portal.ParseLimitKind(kind)
			if err != nil {
				return config.Usage("", "--limit-kind: %w", err)
			}
			f, err := portal.ParseFaults(strings.Join(faults, ","))
			if err != nil {
				return config.Usage("usagelake simulate --help", "--fault: %w", err)
			}
			o := portal.Options{Seed: seed, Faults: f, Limit: portal.LimitOptions{Rate: rate, Concurrency: concurrency, Kind: k,
				RetryAfter: retryAfter}}
			if orgs < 1 || orgs > 10_000 {
				return config.Usage("", "--orgs %d is not between 1 and 10000", orgs)
			}
			for i := range orgs {
				org := portal.OrgOptions{ID: fmt.Sprint(i), RecordsPerDay: perDay}
				switch shape {
				case "detailed":
				case "summary":
					org.Shape = portal.Summary
				default:
					return config.Usage("", "--shape %q is neither detailed nor summary", shape)
				}
				o.Orgs = append(o.Orgs, org)
			}
			p, err := portal.New(o)
			if err != nil {
				return config.Usage("", "%w", err)
			}
			s, err := portal.Listen(listen, p, anywhere)
			if err != nil {
				return fmt.Errorf("simulate: %w", err)
			}
			if err := a.announce(p, s); err != nil {
				return err
			}
			select {
			case <-s.Done():
				return s.Err()
			case <-c.Context().Done():
			}
			// The command's own context has ended, by the signal.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), 2*time.Second)
			defer cancel()
			if s.Shutdown(ctx) != nil {
				_ = s.Close()
			}
			return context.Cause(c.Context())
		},
	}
	fl := c.Flags()
	fl.StringVar(&listen, "listen", "127.0.0.1:8787", "`address` to listen on; port 0 takes any")
	fl.BoolVar(&anywhere, "listen-anywhere", false,
		"allow an address that is not loopback: the simulated keys are no secret")
	fl.Uint64Var(&seed, "seed", 1, "what the data is made from")
	fl.Float64Var(&perDay, "records-per-day", 4000, "records a day and organisation, about")
	fl.IntVar(&orgs, "orgs", 1, "organisations, each with a key of its own")
	fl.StringVar(&shape, "shape", "detailed", "answer shape: detailed or summary")
	fl.Float64Var(&rate, "rate", 2, "requests a second and key")
	fl.IntVar(&concurrency, "concurrency", 20, "requests at once and key")
	fl.StringVar(&kind, "limit-kind", "sliding", "how the limit counts: sliding, fixed, bucket or off")
	fl.StringVar(&retryAfter, "retry-after", "", "what a 429 carries: seconds, date, or nothing")
	fl.StringArrayVar(&faults, "fault", nil, "switch a fault on: `NAME=VALUE`")
	return c
}

func faultHelp() string {
	var b strings.Builder
	for _, f := range portal.FaultNames() {
		fmt.Fprintf(&b, "  %-18s %s\n", f.Name, f.Help)
	}
	return strings.TrimRight(b.String(), "\n")
}

// announce says where the Portal is and how to use it.
func (a *app) announce(p *portal.Portal, s *portal.Server) error {
	type org struct {
		ID  string `json:"id"`
		Key string `json:"key"`
	}
	var list []org
	for _, id := range p.Orgs() {
		list = append(list, org{id, p.Key(id)})
	}
	if a.json() {
		return a.printJSON(map[string]any{"base_url": s.BaseURL(), "admin_url": s.URL() + "/sim/", "orgs": list})
	}
	w := a.Stdout
	fmt.Fprintf(w, "The simulated Portal listens. Its keys open nothing but this simulation.\n\n")
	fmt.Fprintf(w, "  export USAGELAKE_BASE_URL=%s\n  export USAGELAKE_API_KEY=%s\n  usagelake export --from -3d\n\n",
		s.BaseURL(), list[0].Key)
	if len(list) > 1 {
		fmt.Fprintf(w, "The keys of all %d organisations: %s/sim/keys\n", len(list), s.URL())
	}
	fmt.Fprintf(w, "Truth, faults, keys, clock: %s/sim/\nCtrl-C stops it.\n", s.URL())
	return nil
}
