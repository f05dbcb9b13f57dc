package kit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/calendar"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// HoldRemembered fails unless what is remembered of past runs answers as all of them do, whatever ran and however often
// the journal was compacted meanwhile. remember is that of the accounts of a config; answers are all that somebody asks
// of past runs, in words.
func HoldRemembered(t *testing.T, remember func(accounts []string) load.Keep,
	answers func(cfg *config.Config, runs []schemas.Run, now time.Time) []string) {
	t.Helper()
	answersOf := func(cfg *config.Config, runs []schemas.Run, now time.Time) string {
		out := answers(cfg, slices.Clone(runs), now)
		slices.Sort(out)
		return strings.Join(out, "\n")
	}
	cfg := &config.Config{Accounts: []config.Account{{Name: "acme"}, {Name: "bee"}, {Name: "cow"}}}
	for _, j := range []config.Job{{Name: "nightly", Kind: config.KindExport, Cron: "30 2 * * *"},
		{Name: "hourly", Kind: config.KindLookback, Cron: "5 * * * *"},
		{Name: "balance", Kind: config.KindBalance, Cron: "*/30 * * * *"},
		{Name: "close", Kind: config.KindClose, Cron: "0 7 5 * *", From: "2026-01"},
		{Name: "rare", Kind: config.KindExport, Cron: "0 0 1 1 *"}} {
		c, err := calendar.Parse(j.Cron, "")
		if err != nil {
			t.Fatal(err)
		}
		j.Calendar = c
		cfg.Schedule.Jobs = append(cfg.Schedule.Jobs, j)
	}
	seeds := 400
	if testing.Short() {
		seeds = 50
	}
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(uint64(seed), 3))
		runs, at := randomRuns(rnd, cfg, 20+rnd.IntN(200))
		var read []schemas.Run // as the journal has them: remembered, then of late
		most, least := 3+rnd.IntN(40), rnd.IntN(3)
		kept := 0
		for _, r := range runs {
			read = append(read, r)
			if len(read)-kept > most {
				old := remember(cfg.AccountNames())(slices.Values(read[:len(read)-least]))
				kept = len(old)
				read = append(old, read[len(read)-least:]...)
			}
		}
		// The run that is under way or was killed comes last, and is remembered never while it goes on.
		want, got := answersOf(cfg, runs, at), answersOf(cfg, read, at)
		if want != got {
			t.Fatalf("seed %d, %d runs, %d remembered: all of it says\n%s\nand what is remembered\n%s", seed, len(runs),
				len(read), diffLines(want, got), diffLines(got, want))
		}
		if bound := 1 + 30*len(cfg.Schedule.Jobs) + 60*len(cfg.Accounts); kept > bound {
			t.Errorf("seed %d: %d are remembered", seed, kept)
		}
	}
}

func diffLines(a, b string) string {
	have := strings.Split(b, "\n")
	var out []string
	for _, l := range strings.Split(a, "\n") {
		if !slices.Contains(have, l) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

// randomRuns makes a history: jobs and typed commands that are done, fail for long, are stopped and killed, of accounts
// that come and go. It returns when the history ends, too.
func randomRuns(rnd *rand.Rand, cfg *config.Config, n int) ([]schemas.Run, time.Time) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var runs []schemas.Run
	bad := rnd.Float64()
	typed, commands := 0.2, []string{"export", "balance", "rebuild", "close", "close --reopen", "lookback"}
	if rnd.IntN(2) == 0 { // somebody is at it by hand
		typed, commands = 0.6, commands[:1+rnd.IntN(2)]
	}
	lasting := rnd.IntN(4) == 0 // all fails, for long
	most := 1 + rnd.IntN(len(cfg.Schedule.Jobs))
	step := 600 * (1 + rnd.IntN(180))
	for i := range n {
		at = at.Add(time.Duration(rnd.IntN(step)) * time.Second)
		r := schemas.Run{RunID: fmt.Sprintf("r%04d", i), StartedAt: at, EndedAt: at.Add(time.Minute)}
		if rnd.Float64() < typed {
			r.Command = commands[rnd.IntN(len(commands))]
		} else {
			j := cfg.Schedule.Jobs[rnd.IntN(most)]
			r.Command, r.Job, r.Logical = j.Kind, j.Name, j.Calendar.Last(at)
			if rnd.IntN(40) == 0 {
				r.Logical = time.Time{}
			}
		}
		if rnd.IntN(10) == 0 {
			bad = rnd.Float64() * rnd.Float64()
		}
		if lasting {
			bad = 0.98
		}
		ends := []string{schemas.StatusFailed, schemas.StatusPartial, schemas.StatusRefused, schemas.StatusRunning,
			schemas.StatusFailed, schemas.StatusFailed, schemas.StatusFailed, schemas.StatusFailed,
			schemas.StatusStopped}[:8+min(1, rnd.IntN(6))]
		r.Status = schemas.StatusDone
		if rnd.Float64() < bad {
			r.Status, r.Error = ends[rnd.IntN(len(ends))], fmt.Sprintf("error %d", i)
		}
		if r.Status == schemas.StatusRunning {
			r.EndedAt = time.Time{}
		}
		for _, name := range []string{"acme", "bee", "cow", "gone"} {
			if rnd.IntN(3) == 0 || r.Status == schemas.StatusRunning {
				continue
			}
			a := schemas.RunAccount{Account: name, Status: r.Status, Error: r.Error}
			if r.Status != schemas.StatusDone && rnd.IntN(2) == 0 {
				a.Status, a.Error = schemas.StatusDone, ""
			}
			a.Windows, a.Requests = int64(rnd.IntN(2)), int64(rnd.IntN(3))
			a.Refetched = rnd.IntN(4) == 0
			if rnd.IntN(3) == 0 {
				a.From = at.AddDate(0, 0, -rnd.IntN(40))
			}
			if rnd.IntN(9) == 0 {
				a.Horizon = at.AddDate(0, 0, -90)
			}
			r.Accounts = append(r.Accounts, a)
		}
		runs = append(runs, r)
	}
	return runs, at.Add(time.Duration(rnd.IntN(50)) * time.Hour)
}
