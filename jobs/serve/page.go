package serve

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/schedule"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"printable": line,
	"count": words.Count[int64]}).Parse(pageText))

// contentPolicy lets the page have its own style and nothing else: no script, no frame, no other host.
var contentPolicy = func() string {
	digest := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) +
		"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

const (
	maxCalendars = 20 // on one page
	maxProblems  = 15
	longestText  = 600 // characters of a text at the most
)

// pageData is what the page shows, in words.
type pageData struct {
	Version, Lake, Checked string
	Style                  template.CSS
	Headline               string
	Well                   bool
	Problems               []Problem
	MoreProblems           int // that the page doesn't list
	Figures                []figure
	Only, OnlyLabel        string // the account that the page is about, and with its name; "": all
	Accounts               []accountRow
	Calendars              []calendar
	More                   []moreRow // accounts without a calendar here
	Jobs                   []jobRow
	Runs                   []runRow
	Alerts                 []alertRow
	Notes                  []string
}

type figure struct {
	Label, Value, Detail string
	Alarm                bool
}

// moreRow is an account, and what it is called.
type moreRow struct{ Name, Label string }

type accountRow struct {
	Name, Label         string // Label has what people call it, too
	Fresh, Behind       string
	Late, Departed      bool
	Records             int64
	Quarantined, Issues int64
	Gaps                int
	GapTitle            string
	Balances            []balanceText
}

type balanceText struct{ Text, Exact, DaysLeft string }

type jobRow struct {
	Name, Kind, Cron, Accounts string
	Next, NextUTC, In          string
	Now                        string // what it does at the moment, "" if it waits
	Last, LastAt, Done         string
	Bad                        bool
}

type runRow struct {
	Started, Job, Command, Status, Took, Error string
	Bad                                        bool
	Records, Requests, Throttled               int64
}

type alertRow struct {
	Rule, Severity, Subject, Summary, Since, Undelivered string
	Critical                                             bool
}

// page answers the status page, with ?account=NAME of one account.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	v := s.look(r.Context())
	data, ok := v.page(r.URL.Query().Get("account"))
	if !ok {
		http.Error(w, "there is no such account", http.StatusNotFound)
		return
	}
	// Into memory first: a page that can't be made is an error, and not half a page.
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, data); err != nil {
		s.log.Error("the status page can't be made", "error", err)
		http.Error(w, "the status page can't be made: see the log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = b.WriteTo(w)
}

// statusJSON answers the same for programs.
func (s *Server) statusJSON(w http.ResponseWriter, r *http.Request) {
	v := s.look(r.Context())
	problems := v.problems()
	writeJSON(w, http.StatusOK, struct {
		Version   string           `json:"version"`
		At        time.Time        `json:"at"`
		Headline  string           `json:"headline"`
		Problems  []Problem        `json:"problems"`
		Scheduler schedule.State   `json:"scheduler"`
		Lake      *jobs.Status     `json:"lake"` // null: not read yet
		LakeBytes map[string]int64 `json:"lake_bytes,omitempty"`
		Balances  []Balance        `json:"balances"`
		Alerts    []Alert          `json:"alerts"`
	}{v.version, v.now, headline(problems), problems, v.state.Value, v.status.Value, v.bytes.Value,
		append([]Balance{}, v.balances.Value...), append([]Alert{}, v.alerts.Value...)})
}

// page puts the view in words. false: there is no account of that name. Every part copes with what isn't known yet: the
// page of a daemon that has just begun is short, and not an error.
func (v *view) page(only string) (*pageData, bool) {
	d := &pageData{Version: v.version, Style: template.CSS(pageStyle), Checked: words.Minute(v.now), Only: only,
		OnlyLabel: v.label(only)}
	d.Problems = v.problems()
	d.Headline, d.Well = headline(d.Problems), len(d.Problems) == 0
	if n := len(d.Problems); n > maxProblems {
		d.Problems, d.MoreProblems = d.Problems[:maxProblems], n-maxProblems
	}
	// An account is known if the lake holds it or the config has it: one that was taken out of the config shows what is
	// left of it, one that is new shows that there is nothing yet.
	known := only == ""
	if st := v.status.Value; st != nil {
		d.Lake = st.Lake
		if abs, err := filepath.Abs(st.Lake); err == nil {
			d.Lake = abs
		}
		for _, a := range st.Accounts {
			if only != "" && a.Account != only {
				continue
			}
			known = true
			d.Accounts = append(d.Accounts, v.accountRow(a))
			switch {
			case a.From.IsZero():
			case len(d.Calendars) < maxCalendars:
				// The days of an account that has ended are drawn up to its last, and not as gaps up to today.
				until := v.now
				if !v.isConfigured(a.Account) {
					until = a.To.Add(-time.Second)
				}
				d.Calendars = append(d.Calendars, drawCalendar(a, v.label(a.Account), until))
			default:
				d.More = append(d.More, moreRow{a.Account, v.label(a.Account)})
			}
		}
		for _, r := range st.Runs {
			d.Runs = append(d.Runs, runRowOf(r, v.now))
		}
	}
	for _, name := range v.configured {
		if !slices.ContainsFunc(d.Accounts, func(a accountRow) bool { return a.Name == name }) &&
			(only == "" || only == name) {
			known = true
			d.Accounts = append(d.Accounts, accountRow{Name: name, Label: v.label(name), Behind: "nothing yet"})
		}
	}
	for _, j := range v.state.Value.Jobs {
		d.Jobs = append(d.Jobs, v.jobRowOf(j))
	}
	for _, a := range v.alerts.Value {
		d.Alerts = append(d.Alerts, alertRow{a.Rule, a.Severity, a.Subject, a.Summary, words.Minute(a.Since), a.Undelivered,
			a.Severity == "critical"})
	}
	d.Figures = v.figures()
	d.Notes = v.notes()
	return d, known
}

// figures are the few numbers on top. What runs now stands in the place of what runs next.
func (v *view) figures() []figure {
	var out []figure
	if st := v.status.Value; st != nil {
		fresh := figure{Label: "Furthest behind", Value: "nothing yet"}
		var oldest time.Time
		var records int64
		for _, a := range st.Accounts {
			records += a.Records
			if v.isConfigured(a.Account) && !a.To.IsZero() && (oldest.IsZero() || a.To.Before(oldest)) {
				oldest = a.To
				fresh.Value, fresh.Detail = words.Span(v.now.Sub(a.To)), v.label(a.Account)+", fresh to "+words.Minute(a.To)
				fresh.Alarm, _ = v.late(a)
			}
		}
		out = append(out, fresh, figure{Label: "Records", Value: words.Count(records),
			Detail: words.Plural(len(st.Accounts), "account", "accounts")})
		file := figure{Label: "Published file", Value: "none yet", Detail: "usagelake export, or usagelake rebuild"}
		if st.Database.Exists {
			file.Value, file.Detail = words.Bytes(st.Database.Bytes), "published "+words.Minute(st.Database.PublishedAt)
			if where := st.Database.WhereRecords(); where != "" {
				file.Detail += "; " + where
			}
			if st.Database.Intruded != "" {
				file.Value, file.Detail, file.Alarm = "intruded", st.Database.Intruded, true
			}
		}
		out = append(out, file)
	}
	next := figure{Label: "Next run", Value: "none"}
	var soonest time.Time
	for _, j := range v.state.Value.Jobs {
		switch {
		case j.Running:
			return append(out, figure{Label: "Running now", Value: j.Name, Detail: "since " + words.Minute(j.StartedAt)})
		case !j.NextAt.IsZero() && (soonest.IsZero() || j.NextAt.Before(soonest)):
			soonest = j.NextAt
			next.Value, next.Detail = "in "+words.Span(j.NextAt.Sub(v.now)), j.Name+", "+words.Minute(j.NextAt)
		}
	}
	return append(out, next)
}

// notes say how old what is shown is.
func (v *view) notes() []string {
	var out []string
	if !v.status.At.IsZero() {
		out = append(out, fmt.Sprintf("The lake was read %s ago.", words.Span(v.now.Sub(v.status.At))))
	}
	if st := v.state.Value; !st.StartedAt.IsZero() {
		out = append(out, fmt.Sprintf("The scheduler runs since %s; its config was read %s.", words.Minute(st.StartedAt),
			words.Minute(st.ConfigLoadedAt)))
	}
	if st := v.status.Value; st != nil && st.Holder != nil {
		out = append(out, "The lake is held by "+st.Holder.Holder()+".")
	}
	if n := v.bytes.Value; n != nil {
		out = append(out, fmt.Sprintf("On the disk: raw archive %s, Parquet %s, database %s.", words.Bytes(n["raw"]),
			words.Bytes(n["usage"]+n["balance"]+n["quarantine"]), words.Bytes(n["database"])))
	}
	return out
}

func (v *view) accountRow(a jobs.AccountStatus) accountRow {
	row := accountRow{Name: a.Account, Label: v.label(a.Account), Fresh: words.Minute(a.To), Behind: "nothing yet",
		Departed: !v.isConfigured(a.Account),
		Records:  a.Records, Quarantined: a.Quarantined, Issues: a.Issues, Gaps: len(a.Gaps)}
	if !a.To.IsZero() {
		row.Behind = words.Span(v.now.Sub(a.To))
		row.Late, _ = v.late(a)
		row.Late = row.Late && !row.Departed
	}
	if len(a.Gaps) > 0 {
		row.GapTitle = words.Minute(a.Gaps[0].Start) + " to " + words.Minute(a.Gaps[0].End)
	}
	for _, b := range v.balances.Value {
		if b.Account == a.Account {
			row.Balances = append(row.Balances, balanceText{amount(b.Balance, b.Currency),
				b.Balance + " " + b.Currency + ", " + words.Minute(b.ObservedAt), days(b.DaysLeft)})
		}
	}
	return row
}

// jobRowOf has the next time twice, in the job's zone and in UTC, in which all else on the page is.
func (v *view) jobRowOf(j schedule.JobState) jobRow {
	now := v.now
	row := jobRow{Name: j.Name, Kind: j.Kind, Cron: j.Cron, Accounts: v.labels(j.Accounts)}
	if kind := j.Kind; j.Accounts == nil &&
		(kind == config.KindExport || kind == config.KindLookback || kind == config.KindBalance) {
		row.Accounts = "all accounts"
	}
	if zone, err := time.LoadLocation(j.Zone); err == nil && zone != time.UTC && !j.NextAt.IsZero() {
		row.Next = j.NextAt.In(zone).Format("Mon 2 Jan 15:04") + " " + j.Zone
	}
	row.NextUTC = words.Minute(j.NextAt)
	switch {
	case j.Running:
		row.Now = "running for " + words.Span(now.Sub(j.StartedAt))
	case j.Attempts > 0:
		row.Now = "failed " + words.Times(j.Attempts) + ", tried again"
		row.In = "in " + words.Span(j.NextAt.Sub(now))
	case !j.NextAt.IsZero():
		row.In = "in " + words.Span(j.NextAt.Sub(now))
	}
	// "failed 2 times, tried again, 3 missed runs with it", or the latter alone.
	if j.Missed > 0 {
		row.Now = strings.TrimPrefix(row.Now+", "+words.Plural(j.Missed, "missed run", "missed runs")+" with it", ", ")
	}
	if j.Last != nil {
		row.Last, row.LastAt = j.Last.Status, words.Minute(j.Last.EndedAt)
		row.Bad = bad(j.Last.Status)
		if row.Bad && !j.LastDone.IsZero() {
			row.Done = "done last " + words.Minute(j.LastDone)
		}
	}
	return row
}

func runRowOf(r schemas.Run, now time.Time) runRow {
	row := runRow{Started: words.Minute(r.StartedAt), Job: r.Job, Command: r.Command, Status: r.Status, Error: r.Error,
		Bad:     bad(r.Status),
		Records: r.Records, Requests: r.Requests, Throttled: r.Throttled}
	switch {
	case !r.EndedAt.IsZero():
		row.Took = words.Took(r.EndedAt.Sub(r.StartedAt))
	case r.Status == schemas.StatusRunning:
		row.Took = words.Span(now.Sub(r.StartedAt)) + " so far"
	}
	return row
}

// bad says that a run of that status didn't do all it should have.
func bad(status string) bool {
	switch status {
	case schemas.StatusDone, schemas.StatusRunning, schemas.StatusStopped:
		return false
	}
	return true
}

// amount is an exact decimal in a currency, for reading.
func amount(s, currency string) string {
	m, err := schemas.ParseMoney(s)
	if err != nil {
		return s + " " + currency
	}
	return m.In(currency).Text()
}

// days rounds how long a balance lasts.
func days(s string) string {
	m, err := schemas.ParseMoney(s)
	if err != nil {
		return ""
	}
	return m.Fixed(0)
}

// line is text from outside on one line, cut.
func line(s string) string { return words.Clip(words.Line(s), longestText) }
