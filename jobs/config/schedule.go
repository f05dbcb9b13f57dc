package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/calendar"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// Kinds of jobs.
const (
	KindExport   = "export"   // fetch what is missing, and the lookback
	KindLookback = "lookback" // ask again for days that are covered; fetch nothing that isn't
	KindBalance  = "balance"  // ask for the balance
	KindReport   = "report"   // write a report to a file
	KindClose    = "close"    // close the months that are over
	KindVerify   = "verify"   // check the whole lake
	KindPrune    = "prune"    // delete what retention allows
	KindDeliver  = "deliver"  // deliver the lake to object stores
	KindPackage  = "package"  // make and deliver the packages of closed months
)

// Kinds lists them.
func Kinds() []string {
	return []string{KindExport, KindLookback, KindBalance, KindReport, KindClose, KindVerify, KindPrune,
		KindDeliver, KindPackage}
}

// Defaults of a Schedule.
const (
	DefaultListen  = "127.0.0.1:9464"
	DefaultGrace   = 30 * time.Second
	DefaultTimeout = 12 * time.Hour
	// A job that failed is tried again after this, then after twice as long, and so on up to the second.
	DefaultRetryAfter = time.Minute
	DefaultRetryMost  = time.Hour

	ListenNone = "none" // serves nothing
)

// Schedule says what runs when.
type Schedule struct {
	Zone       string   `yaml:"zone"`        // IANA, of jobs that name none; UTC
	Listen     string   `yaml:"listen"`      // host:port, unix:/path, or ListenNone
	TokenEnv   string   `yaml:"token_env"`   // the variable that holds the bearer token of who asks
	TokenFile  string   `yaml:"token_file"`  // or the file
	Grace      Duration `yaml:"grace"`       // how long a run may take to end when it is told to
	RetryAfter Duration `yaml:"retry_after"` // first pause after a failure
	RetryMost  Duration `yaml:"retry_most"`  // longest
	Jobs       []Job    `yaml:"jobs"`
}

// Job is a job: what it does, when, and within what.
type Job struct {
	Name     string   `yaml:"name"`
	Kind     string   `yaml:"kind"`
	Cron     string   `yaml:"cron"`
	Zone     string   `yaml:"zone"`     // "": the schedule's
	Jitter   Duration `yaml:"jitter"`   // it begins up to this much later, always as much for one time
	Timeout  Duration `yaml:"timeout"`  // then it is stopped, and has failed
	Accounts []string `yaml:"accounts"` // of export, lookback, balance; nil: all

	Lookback Duration `yaml:"lookback"` // of export and lookback; 0: the export's own
	// Of report.
	Report string   `yaml:"report"` // its name
	By     []string `yaml:"by"`
	Format string   `yaml:"format"`
	Month  string   `yaml:"month"` // this or last, as seen from the time the job is for
	Out    string   `yaml:"out"`   // directory
	// Of the report focus, as its flags.
	Grain    string   `yaml:"grain"`
	Columns  []string `yaml:"columns"`
	MaxRows  int64    `yaml:"max_rows"`
	MaxBytes string   `yaml:"max_bytes"`
	// Of close: the first month that it may close, 2026-11.
	From string `yaml:"from"`
	// Of deliver: which deliveries; nil: all.
	Deliver []string `yaml:"deliver"`

	Calendar *calendar.Calendar `yaml:"-"` // of cron and zone, as Validate has made it
}

// Validate checks the schedule, fills in defaults, and lists every mistake. Two jobs that write the same file would
// each replace what the other has written: they are refused, by what the names fold to, for there are file systems to
// which Month and month are one.
func (s *Schedule) Validate(accounts []string) []error {
	var errs []error
	bad := func(path, format string, args ...any) {
		errs = append(errs, at("schedule."+path, "schedule."+format, args...))
	}
	if _, err := calendar.Zone(s.Zone); err != nil {
		bad("zone", "%w", err)
	}
	if s.TokenEnv != "" && s.TokenFile != "" {
		bad("token_env", "token_env, token_file: give one of them, not both")
	}
	if s.Listen == "" {
		s.Listen = DefaultListen
	}
	for _, d := range []struct {
		to    *Duration
		value time.Duration
	}{{&s.Grace, DefaultGrace}, {&s.RetryAfter, DefaultRetryAfter}, {&s.RetryMost, DefaultRetryMost}} {
		if *d.to == 0 {
			*d.to = Duration(d.value)
		}
	}
	if s.RetryMost < s.RetryAfter {
		bad("retry_most", "retry_most: it is shorter than retry_after")
	}
	names, files, metadata := map[string]bool{}, map[string]string{}, map[string]*Job{}
	for i := range s.Jobs {
		j := &s.Jobs[i]
		bad := func(format string, args ...any) {
			path := fmt.Sprintf("jobs[%d]", i)
			bad(path, "%s (%s): %w", path, j.Name, fmt.Errorf(format, args...))
		}
		for _, err := range j.Validate(s.Zone, accounts) {
			bad("%w", err)
		}
		if names[j.Name] {
			bad("name: another job has it too")
		}
		if j.Kind == KindReport {
			name := j.Report
			if j.Report == ReportFocus {
				opts, _ := j.Focus() // its mistakes are listed
				opts.Format = ""
				name = opts.Name("")
				// Parquet and CSV share the metadata, which has one list of columns.
				beside := schemas.Fold(strings.Join([]string{filepath.Clean(j.Out), name, j.Month}, " "))
				if other := metadata[beside]; other != nil && other.Format != j.Format && !slices.Equal(other.Columns, j.Columns) {
					bad("columns: job %s writes its metadata into the same file: "+
						"give it the same columns, or another out", other.Name)
				}
				metadata[beside] = j
			}
			file := schemas.Fold(strings.Join([]string{filepath.Clean(j.Out), name, j.Format, j.Month}, " "))
			if other, ok := files[file]; ok {
				bad("job %s writes the same file: give it another out, format or month", other)
			}
			files[file] = j.Name
		}
		names[j.Name] = true
	}
	return errs
}

// Validate checks a job, fills in defaults, and lists every mistake. zone is the schedule's.
func (j *Job) Validate(zone string, accounts []string) []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs, named(j.Name)...)
	if !slices.Contains(Kinds(), j.Kind) {
		bad("kind: %q is none of %s", j.Kind, strings.Join(Kinds(), ", "))
		return errs
	}
	if j.Zone == "" {
		j.Zone = zone
	}
	if j.Zone == "" {
		j.Zone = "UTC"
	}
	var err error
	if j.Calendar, err = calendar.Parse(j.Cron, j.Zone); err != nil {
		errs = append(errs, err)
	}
	if j.Timeout == 0 {
		j.Timeout = Duration(DefaultTimeout)
	}
	// Kinds that need accounts and keys. What a kind has no use for is refused, as with rules of alerts.
	asks := j.Kind == KindExport || j.Kind == KindLookback || j.Kind == KindBalance
	if j.Accounts != nil && len(j.Accounts) == 0 {
		bad("accounts: the list is empty: name some, or leave it out for all")
	}
	for _, a := range j.Accounts {
		if !slices.Contains(accounts, a) {
			bad("accounts: no account %q in the config: it has %s", a, strings.Join(accounts, ", "))
		}
	}
	for _, own := range []struct {
		key   string
		given bool
		of    bool
	}{
		{"accounts", j.Accounts != nil, asks},
		{"lookback", j.Lookback != 0, j.Kind == KindExport || j.Kind == KindLookback},
		{"report", j.Report != "", j.Kind == KindReport}, {"by", j.By != nil, j.Kind == KindReport},
		{"format", j.Format != "", j.Kind == KindReport},
		{"month", j.Month != "", j.Kind == KindReport}, {"out", j.Out != "", j.Kind == KindReport},
		{"grain", j.Grain != "", j.Kind == KindReport}, {"columns", j.Columns != nil, j.Kind == KindReport},
		{"max_rows", j.MaxRows != 0, j.Kind == KindReport}, {"max_bytes", j.MaxBytes != "", j.Kind == KindReport},
		{"from", j.From != "", j.Kind == KindClose}, {"deliver", j.Deliver != nil, j.Kind == KindDeliver},
	} {
		if own.given && !own.of {
			bad("%s: a job of kind %s has no use for it", own.key, j.Kind)
		}
	}
	switch j.Kind {
	case KindReport:
		errs = append(errs, j.validateReport()...)
	case KindClose:
		// By the books it is read when the job runs; here it is seen to be a period at all.
		_, err := (*schemas.Books)(nil).ParseMonth(j.From, time.Time{})
		if err != nil || j.From == "this" || j.From == "last" {
			bad("from: name the first month that the job closes, such as from: 2026-11; earlier ones are closed by hand")
		}
	}
	return errs
}

// Focus is what the job exports, but for the month and the file.
func (j *Job) Focus() (query.FocusOptions, error) {
	opts := query.FocusOptions{Format: j.Format, Grain: j.Grain, Columns: j.Columns, MaxRows: j.MaxRows}
	if j.MaxBytes != "" {
		var err error
		if opts.MaxBytes, err = ParseSize(j.MaxBytes); err != nil {
			return opts, fmt.Errorf("max_bytes: %w", err)
		}
	}
	check := opts
	check.Path = ReportFocus + "." + j.Format
	return opts, check.Validate()
}

func (j *Job) validateReport() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	focus := j.Report == ReportFocus
	named, known := report.Find(j.Report)
	if !known && !focus {
		bad("report: %q is no report: usagelake report --help lists them", j.Report)
	}
	if j.Format == "" {
		j.Format = "html"
		if focus {
			j.Format = query.FocusParquet
		}
	}
	formats := report.Formats()
	if focus {
		formats = []string{query.FocusCSV, query.FocusParquet}
	}
	if !slices.Contains(formats, j.Format) {
		bad("format: %q is none of %s", j.Format, strings.Join(formats, ", "))
	}
	switch {
	case focus && j.By != nil:
		bad("by: of FOCUS it is the grain: %s", strings.Join(schemas.FocusGrains(), ", "))
	case focus && slices.Contains(formats, j.Format):
		if _, err := j.Focus(); err != nil {
			errs = append(errs, err)
		}
	case known && (j.Grain != "" || j.Columns != nil || j.MaxRows != 0 || j.MaxBytes != ""):
		bad("grain, columns, max_rows, max_bytes: they are for the report %s", ReportFocus)
	}
	switch {
	case known:
		if err := named.Check(report.Options{By: j.By}); err != nil {
			bad("by: %w", err)
		}
		if named.Spans == report.Running && j.Month != "" {
			bad("month: the report %s takes no period: %s", j.Report, named.NoPeriod)
		}
	}
	if j.Month == "" {
		j.Month = "this"
	}
	if j.Month != "this" && j.Month != "last" {
		bad("month: %q is neither this nor last", j.Month)
	}
	if j.Out == "" {
		bad("out: name the directory that the report is written to")
	}
	return errs
}

// Job is the job of a name.
func (s *Schedule) Job(name string) (Job, error) {
	i := slices.IndexFunc(s.Jobs, func(j Job) bool { return j.Name == name })
	if i < 0 {
		var names []string
		for _, j := range s.Jobs {
			names = append(names, j.Name)
		}
		if len(names) == 0 {
			return Job{}, Usage(noJobsHint, "no job %q: the config has no jobs", name)
		}
		return Job{}, Usage("usagelake schedule --list", "no job %q in the config: it has %s",
			name, strings.Join(names, ", "))
	}
	return s.Jobs[i], nil
}

const noJobsHint = "write schedule: jobs: into the config: usagelake init prints an example"

// Next lists the next n times the job is for after t, in its zone, without jitter.
func (j Job) Next(t time.Time, n int) []time.Time {
	var out []time.Time
	for range n {
		if t = j.Calendar.Next(t); t.IsZero() {
			break
		}
		out = append(out, t)
	}
	return out
}

// Of is cfg for the job: its accounts alone, its lookback. cfg itself stays as it is, and shares what isn't changed.
func (j Job) Of(cfg *Config) *Config {
	c := *cfg
	if j.Accounts != nil {
		c.Accounts = slices.DeleteFunc(slices.Clone(cfg.Accounts),
			func(a Account) bool { return !slices.Contains(j.Accounts, a.Name) })
	}
	if j.Lookback != 0 {
		c.Export.Lookback = j.Lookback
	}
	return &c
}

// Schedulable refuses a config without jobs.
func (c *Config) Schedulable() error {
	if len(c.Schedule.Jobs) == 0 {
		where := "the config " + c.Path
		if c.Path == "" {
			return Usage("usagelake init", "there is no config file, and jobs stand in one")
		}
		return Usage(noJobsHint, "%s has no jobs", where)
	}
	return nil
}

// ReportFocus is the report that is a dataset and no document.
const ReportFocus = "focus"
