package schedule

import (
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/schemas"
)

// State is the scheduler as it stands, for people and for metrics.
type State struct {
	StartedAt      time.Time `json:"started_at"`
	ConfigLoadedAt time.Time `json:"config_loaded_at"`
	// why the last reload was refused; the set-up before it goes on
	ConfigError string     `json:"config_error,omitempty"`
	Stopping    bool       `json:"stopping"`
	Jobs        []JobState `json:"jobs"` // in the order of the config
}

// JobState is a job of the schedule as it stands: a copy, but for Accounts and Last, which nobody writes to.
type JobState struct {
	Name      string    `json:"name"`
	Kind      string    `json:"kind"` // one of the Kind constants
	Cron      string    `json:"cron"`
	Zone      string    `json:"zone"`               // IANA
	Accounts  []string  `json:"accounts,omitempty"` // nil: all
	Running   bool      `json:"running"`
	StartedAt time.Time `json:"started_at,omitzero"` // of the run that is under way
	// the occurrence that is due or under way, in Zone; zero if none is
	Logical  time.Time    `json:"logical,omitzero"`
	Missed   int          `json:"missed,omitempty"`   // occurrences before Logical that are due with it
	Attempts int          `json:"attempts,omitempty"` // failed tries at what is due
	NextAt   time.Time    `json:"next_at"`            // when it runs next; jitter and backoff included
	Last     *schemas.Run `json:"last,omitempty"`     // the last run that ended
	LastDone time.Time    `json:"last_done,omitzero"` // end of the last one that was done
}

// RunEvent is a scheduled run that has ended.
type RunEvent struct {
	Job     JobState     // as it was while the run was under way
	Result  *jobs.Result // nil if the run failed before it began
	Err     error        // nil if it was done
	Started time.Time
	Elapsed time.Duration
}
