package schedule

import (
	"fmt"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
)

func TestWhatIsRememberedMakesJobsDueAsAllOfIt(t *testing.T) {
	kit.HoldRemembered(t, jobs.Remember, func(cfg *config.Config, runs []schemas.Run, now time.Time) (out []string) {
		for _, c := range cfg.Schedule.Jobs {
			j := &scheduled{Job: c}
			j.look(lakeState{runs: runs}, cfg, now)
			last := "none"
			if j.last != nil {
				last = j.last.RunID
			}
			out = append(out, fmt.Sprintf("job %s: done %s last done %s attempts %d failed %s tried %s last %s",
				j.Name, j.done, j.lastDone, j.attempts, j.failedAt, j.tried, last))
		}
		return out
	})
}
