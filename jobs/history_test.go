package jobs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/calendar"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas"
)

// answersOf is everything that is asked of past runs, in words.
func answersOf(t *testing.T, cfg *config.Config, runs []schemas.Run, now time.Time) string {
	t.Helper()
	runs = slices.Clone(runs)
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if len(runs) > 0 {
		say("first run %s", runs[0].StartedAt)
	}
	for account, p := range pasts(runs) {
		if p != (past{}) {
			say("past of %s: %+v", account, p)
		}
	}
	for _, c := range cfg.Schedule.Jobs {
		j := &scheduled{Job: c}
		j.look(lakeState{runs: slices.Clone(runs)}, cfg, now)
		last := "none"
		if j.last != nil {
			last = j.last.RunID
		}
		say("job %s: done %s last done %s attempts %d failed %s tried %s last %s", j.Name, j.done, j.lastDone, j.attempts, j.failedAt, j.tried, last)
	}
	d := &doctor{checklist: checklist{}, status: &Status{}, now: now}
	d.checkRuns(runs)
	for i := range runs {
		if runs[i].Status == schemas.StatusRunning {
			runs[i].Status = schemas.StatusInterrupted
		}
	}
	g := &gatherer{cfg: cfg, now: now, today: schemas.DateOf(now)}
	g.ofJournal([]config.Rule{{Name: "failed", Kind: config.AlertFailed}, {Name: "key", Kind: config.AlertKey}},
		slices.Clone(runs), []JobFailure{{Job: "nightly", Attempts: 1, At: now.AddDate(0, 0, -3)}})
	for _, f := range g.found {
		say("alert %s %s: %s %v", f.Rule, f.Subject, f.Summary, f.Details)
	}
	for _, c := range d.out {
		say("doctor %+v", c)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// Whatever ran, and however often the journal was compacted meanwhile: what is remembered answers as all of it does.
func TestWhatIsRememberedAnswersAsAllOfIt(t *testing.T) {
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
		want, got := answersOf(t, cfg, runs, at), answersOf(t, cfg, read, at)
		if want != got {
			t.Fatalf("seed %d, %d runs, %d remembered: all of it says\n%s\nand what is remembered\n%s", seed, len(runs), len(read), diffLines(want, got), diffLines(got, want))
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

// randomRuns makes a history: jobs and typed commands that are done, fail for long, are stopped and killed, of accounts that come
// and go. It returns when the history ends, too.
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
		ends := []string{schemas.StatusFailed, schemas.StatusPartial, schemas.StatusRefused, schemas.StatusRunning, schemas.StatusFailed, schemas.StatusFailed, schemas.StatusFailed, schemas.StatusFailed, schemas.StatusStopped}[:8+min(1, rnd.IntN(6))]
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
