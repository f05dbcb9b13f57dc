package doctor

import (
	"fmt"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
)

func TestWhatIsRememberedIsToldAsAllOfIt(t *testing.T) {
	kit.HoldRemembered(t, jobs.Remember, func(_ *config.Config, runs []schemas.Run, now time.Time) (out []string) {
		d := &doctor{checklist: checklist{}, status: &jobs.Status{}, now: now}
		d.checkRuns(runs)
		for _, c := range d.out {
			out = append(out, fmt.Sprintf("doctor %+v", c))
		}
		return out
	})
}
