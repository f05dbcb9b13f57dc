package watch

import (
	"fmt"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
)

func TestWhatIsRememberedIsFoundAsAllOfIt(t *testing.T) {
	rules := []config.Rule{{Name: "failed", Kind: config.AlertFailed}, {Name: "key", Kind: config.AlertKey}}
	kit.HoldRemembered(t, jobs.Remember, func(cfg *config.Config, runs []schemas.Run, now time.Time) (out []string) {
		for i := range runs {
			if runs[i].Status == schemas.StatusRunning {
				runs[i].Status = schemas.StatusInterrupted
			}
		}
		g := &gatherer{cfg: cfg, now: now, today: schemas.DateOf(now)}
		g.ofJournal(rules, runs, []Failure{{Job: "nightly", Attempts: 1, At: now.AddDate(0, 0, -3)}})
		for _, f := range g.found {
			out = append(out, fmt.Sprintf("alert %s %s: %s %v", f.Rule, f.Subject, f.Summary, f.Details))
		}
		return out
	})
}
