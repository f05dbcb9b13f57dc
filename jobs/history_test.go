package jobs

import (
	"fmt"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
)

func TestWhatIsRememberedAnswersAsAllOfIt(t *testing.T) {
	kit.HoldRemembered(t, Remember, func(_ *config.Config, runs []schemas.Run, _ time.Time) (out []string) {
		if len(runs) > 0 {
			out = append(out, fmt.Sprintf("first run %s", runs[0].StartedAt))
		}
		for account, p := range pasts(runs) {
			if p != (past{}) {
				out = append(out, fmt.Sprintf("past of %s: %+v", account, p))
			}
		}
		return out
	})
}
