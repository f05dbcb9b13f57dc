package doctor

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/schedule"
	"github.com/usagelake/usagelake/schemas/words"
)

// maxOverdue is how late a job may begin before it seems that no daemon runs.
const maxOverdue = time.Hour

// checkSchedule tells whether the jobs of the config run, and whether somebody is told when they don't. It asks a
// scheduler that is never run: what is due it reads off the lake, as the daemon does, and so both come to the same.
// That a daemon runs isn't looked for: what is long overdue shows that none does.
func (d *doctor) checkSchedule(context.Context) {
	s := d.cfg.Schedule
	if len(s.Jobs) == 0 {
		return
	}
	env := d.env
	env.Logger = slog.New(slog.DiscardHandler)
	scheduler, err := schedule.New(env, schedule.Options{Load: func() (*config.Config, error) { return d.cfg, nil }})
	if err != nil {
		d.failure("jobs", "usagelake verify", err)
		return
	}
	for _, j := range scheduler.State().Jobs {
		late := d.now.Sub(j.NextAt)
		switch {
		case j.Attempts > 0:
			d.warn(j.Name, "usagelake status shows why; usagelake schedule --once "+j.Name+" tries it now",
				"failed %d times in a row, tried again at %s", j.Attempts, words.MinuteUTC(j.NextAt))
		case late > maxOverdue && j.Last == nil:
			d.warn(j.Name, "start the daemon: usagelake schedule (systemctl status usagelake)", "never ran; it was due for %s",
				j.Logical.Format("2006-01-02 15:04 MST"))
		case late > maxOverdue:
			d.warn(j.Name, "does the daemon run? usagelake schedule (systemctl status usagelake)", "due since %s and not begun",
				words.MinuteUTC(j.NextAt))
		default:
			d.ok(j.Name, "%s, next at %s (%s)", j.Kind, words.MinuteUTC(j.NextAt),
				j.NextAt.In(jobZone(d.cfg, j.Name)).Format("15:04 MST"))
		}
	}
	if !slices.ContainsFunc(s.Jobs, func(j config.Job) bool { return j.Kind == config.KindExport }) {
		d.warn("export", "add a job of kind export, or run usagelake export from a timer", "no job fetches what is new")
	}
	if _, err := s.Token(d.env.Getenv); err != nil {
		d.failure("token", "openssl rand -hex 32 makes one", err)
	} else if strings.HasPrefix(s.Listen, "unix:") || s.Listen == config.ListenNone || s.TokenEnv != "" ||
		s.TokenFile != "" {
		d.ok("listen", "%s", s.Listen)
	} else {
		d.ok("listen", "%s, for everybody on this machine: no token is set", s.Listen)
	}
	if !d.cfg.Alerts.Set() {
		d.warn("alerts", "write alerts: into the config: docs/alerts.md", "nobody is told when a job fails")
	}
}

// jobZone is the zone of a job of the schedule.
func jobZone(c *config.Config, name string) *time.Location {
	if j, err := c.Schedule.Job(name); err == nil {
		return j.Calendar.Location()
	}
	return time.UTC
}
