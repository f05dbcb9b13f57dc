package watch

import (
	"fmt"
	"time"

	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/load/pack"
	"github.com/usagelake/usagelake/schemas/words"
)

// delivered asks what the last delivery to each place of the config came to: one that failed, and one that is too long
// ago; and what packages of closed months came to. A delivery that never was made counts from when it was first tried;
// one that nobody asked for yet says nothing.
func (g *gatherer) delivered(rules []config.Rule) error {
	for _, d := range g.cfg.Deliver {
		o, ok, err := deliver.Last(g.lake.Lake, d.Name)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		for _, r := range rules {
			details := map[string]string{"delivery": d.Name, "to": o.URL, "delivered_at": words.Instant(o.Delivered)}
			limit := time.Duration(r.OlderThan)
			switch {
			case o.Error != "":
				details["error"] = clip(o.Error, 2000)
				details["failing_since"] = words.Instant(o.Since)
				g.add(r, alert.Finding{Subject: d.Name, Details: details,
					Summary: fmt.Sprintf("delivery %s fails since %s: %s", d.Name, words.MinuteUTC(o.Since), brief(o.Error))})
			case limit > 0 && g.now.Sub(o.Delivered) > limit:
				details["older_than"] = limit.String()
				g.add(r, alert.Finding{Subject: d.Name, Details: details,
					Summary: fmt.Sprintf("delivery %s was made %s ago (more than %s)", d.Name, words.Span(g.now.Sub(o.Delivered)),
						words.Span(limit))})
			}
		}
	}
	return g.packed(rules)
}

// packed asks which packages of closed months are to be made up.
func (g *gatherer) packed(rules []config.Rule) error {
	months, err := pack.Remembered(g.lake.Lake)
	if err != nil {
		return err
	}
	for _, m := range months {
		problem := m.Problem()
		if problem == "" {
			continue
		}
		for _, r := range rules {
			g.add(r, alert.Finding{Subject: "packages " + m.Name(), Details: map[string]string{"month": m.Name(),
				"error": clip(problem, 2000), "tried_at": words.Instant(m.TriedAt)},
				Summary: fmt.Sprintf("packages of %s: %s", m.Name(), brief(problem))})
		}
	}
	return nil
}
