package schemas

import "time"

// Statuses of a run, and of an account within one.
const (
	StatusRunning     = "running"     // started, and not ended yet
	StatusDone        = "done"        // everything asked for is committed and published
	StatusPartial     = "partial"     // some windows failed; the rest is committed and published
	StatusRefused     = "refused"     // the key was refused; what was fetched before is committed and published
	StatusFailed      = "failed"      // nothing could be fetched, or the lake could not be written
	StatusStopped     = "stopped"     // by a signal, cleanly
	StatusInterrupted = "interrupted" // it never ended: killed, or the machine went down
)

// Run is what the journal says of a run. It is history: nothing is derived from it.
type Run struct {
	RunID   string `json:"run_id"`
	Command string `json:"command"` // export, rebuild, …
	// Job and Logical are of a run that the schedule began: the job's name, and the occurrence it is for (UTC). The run
	// stands for the occurrences before it that had been missed, too.
	Job       string       `json:"job,omitempty"`
	Logical   time.Time    `json:"logical,omitzero"`
	Version   string       `json:"version"`
	PID       int          `json:"pid"`
	StartedAt time.Time    `json:"started_at"`          // UTC
	EndedAt   time.Time    `json:"ended_at,omitzero"`   // UTC; zero while it runs
	Status    string       `json:"status"`              // one of the Status constants
	Error     string       `json:"error,omitempty"`     // why it did not end as done
	Accounts  []RunAccount `json:"accounts,omitempty"`  // in order of name
	Published bool         `json:"published,omitempty"` // usage.duckdb was replaced
	// Repeats is how many runs of the same job or command failed before it and are left out of where it stands: of a
	// failed run that is remembered when those before it are archived. Counted: it is among those that a later one stands
	// for.
	Repeats int `json:"repeats,omitempty"`
	RunCounts
}

// Counted is the Repeats of a failed run that another one's Repeats counts.
const Counted = -1

// RunAccount is an account's part of a run.
type RunAccount struct {
	Account string         `json:"account"`
	Status  string         `json:"status"`
	Error   string         `json:"error,omitempty"`
	Failed  []FailedWindow `json:"failed,omitempty"`
	// From is where the range began, of an export that was not told where: what it could not fetch at its start is
	// thereby known to the next one.
	From time.Time `json:"from,omitzero"`
	// Horizon is where the Portal's records begin: it refused to answer for what lies before. Zero if it didn't.
	Horizon time.Time `json:"horizon,omitzero"`
	// Refetched says that the days of the lookback were fetched anew, whatever their counts.
	Refetched bool `json:"refetched,omitempty"`
	RunCounts
}

// RunCounts are the figures of a run or of an account's part of it.
type RunCounts struct {
	Records     int64 `json:"records"`      // that were fetched and sealed, of owned windows
	Quarantined int64 `json:"quarantined"`  // in the days written
	Requests    int64 `json:"requests"`     // sent to the Portal, retries and /balance included
	Retries     int64 `json:"retries"`      // of Requests, those that repeat a failed one
	Throttled   int64 `json:"throttled"`    // of Requests, those answered by 429
	Windows     int64 `json:"windows"`      // sealed
	DaysWritten int64 `json:"days_written"` // day files replaced
}

// Add sums d into c.
func (c *RunCounts) Add(d RunCounts) {
	c.Records += d.Records
	c.Quarantined += d.Quarantined
	c.Requests += d.Requests
	c.Retries += d.Retries
	c.Throttled += d.Throttled
	c.Windows += d.Windows
	c.DaysWritten += d.DaysWritten
}

// FailedWindow is a window that a run could not fetch.
type FailedWindow struct {
	Start time.Time `json:"start"` // [Start, End), UTC
	End   time.Time `json:"end"`
	Error string    `json:"error"`
}
