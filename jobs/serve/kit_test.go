package serve

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/schedule"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/schemas"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 11, 24, 12, 30, 0, 0, time.UTC)

// world is a set-up that a Server is asked about.
type world struct {
	state    schedule.State
	status   *jobs.Status
	readErr  error
	balances []Balance
	alerts   []Alert
	accounts []string
	called   map[string]string
	token    func() (string, error)
	asked    int // times that the lake was read
}

func (w *world) options() Options {
	return Options{
		State: func() schedule.State { return w.state },
		Status: func(context.Context) (*jobs.Status, error) {
			w.asked++
			return w.status, w.readErr
		},
		Balances: func(context.Context) ([]Balance, error) { return w.balances, nil },
		Alerts:   func() ([]Alert, error) { return w.alerts, nil },
		Accounts: func() []string { return w.accounts },
		Called:   func() map[string]string { return w.called },
		Every: func(j schedule.JobState) time.Duration {
			if j.Cron == "0 * * * *" {
				return time.Hour
			}
			return 24 * time.Hour
		},
		Token:   w.token,
		Version: "v1.2.3",
		Now:     func() time.Time { return noon },
	}
}

func (w *world) server() *Server { return New(w.options()) }

// account is a status of days up to To, each whole unless change says otherwise.
func account(name string, from, to time.Time, change func(*jobs.Day)) jobs.AccountStatus {
	a := jobs.AccountStatus{Account: name, From: from, To: to, Behind: noon.Sub(to).String()}
	for d := schemas.DateOf(from); d.Start().Before(to); d++ {
		day := jobs.Day{Date: d.String(), Covered: 1, Records: 1000 + int64(d)%700, Windows: 1}
		if end := (d + 1).Start(); end.After(to) {
			day.Covered = to.Sub(d.Start()).Hours() / 24
		}
		if change != nil {
			change(&day)
		}
		a.Records += day.Records
		a.Quarantined += day.Quarantined
		a.Days = append(a.Days, day)
	}
	return a
}

// well is a set-up in which all is well.
func well() *world {
	done := schemas.Run{RunID: "20261124T003000Z-01", Command: "export", Job: "nightly",
		StartedAt: noon.Add(-12 * time.Hour), EndedAt: noon.Add(-12*time.Hour + 262*time.Second), Status: schemas.StatusDone,
		RunCounts: schemas.RunCounts{Records: 48_211, Requests: 497, Windows: 1}}
	return &world{
		state: schedule.State{StartedAt: noon.Add(-90 * time.Hour), ConfigLoadedAt: noon.Add(-90 * time.Hour),
			Jobs: []schedule.JobState{
				{Name: "nightly", Kind: config.KindExport, Cron: "30 1 * * *", Zone: "Europe/Berlin",
					NextAt: noon.Add(12 * time.Hour), Last: &done, LastDone: done.EndedAt},
			}},
		status: &jobs.Status{Lake: "/srv/lake", Format: 1, CheckedAt: noon, Runs: []schemas.Run{done},
			Database: jobs.DatabaseStatus{Path: "/srv/lake/usage.duckdb", Exists: true, Bytes: 183_500_800,
				PublishedAt: noon.Add(-11 * time.Hour)},
			Accounts: []jobs.AccountStatus{account("acme", noon.AddDate(0, -2, -7).Truncate(24*time.Hour),
				noon.Add(-12*time.Hour-10*time.Minute), nil)}},
		balances: []Balance{{Account: "acme", Currency: "USD", ObservedAt: noon.Add(-12 * time.Hour),
			Balance: "3155.675734891059", DaysLeft: "41.4"}},
		accounts: []string{"acme"},
	}
}

// hostile is what the API or the world may have us show.
const hostile = "<script>alert(1)</script>\"'&\u202egnp.exe\x1b[31m"

// busy is a set-up in which everything happens at once.
func busy() *world {
	w := well()
	w.status.Database.Records, w.status.Database.Outside = "90d", 640
	w.accounts = []string{"acme", "beta-labs", "new"}
	w.status.Deliveries = []deliver.Outcome{
		{Name: "offsite", At: noon.Add(-time.Hour), Delivered: noon.Add(-time.Hour), Number: 12},
		{Name: "warehouse", At: noon.Add(-time.Hour), Since: noon.Add(-3 * time.Hour), Delivered: noon.Add(-5 * time.Hour),
			Number: 7, Error: "put s3://x/y: not allowed " + hostile},
	}
	acme := account("acme", noon.AddDate(-2, 0, 0), noon.Add(-70*time.Minute), func(d *jobs.Day) {
		switch d.Date {
		case "2026-03-14", "2026-10-02":
			d.Quarantined = 3
		case "2026-11-23":
			d.Stale = true
		case "2026-08-08":
			d.Covered = 0.75
		}
	})
	acme.Gaps, acme.Issues, acme.Stale = []jobs.Gap{{Account: "acme", Start: time.Date(2026, 8, 8, 18, 0, 0, 0, time.UTC),
		End: time.Date(2026, 8, 9, 0, 0, 0, 0, time.UTC)}}, 12, 1
	beta := account("beta-labs", noon.AddDate(0, 0, -40), noon.AddDate(0, 0, -4), func(d *jobs.Day) {
		switch d.Date {
		case "2026-11-01":
			d.Covered = 0.25
		case "2026-11-02", "2026-11-03":
			*d = jobs.Day{Date: d.Date}
		case "2026-11-10":
			d.Records, d.Error = 0, "read day beta-labs 2026-11-10: the footer is damaged"
		}
	})
	beta.Gaps = []jobs.Gap{{Account: "beta-labs", Start: time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC),
		End: time.Date(2026, 11, 4, 0, 0, 0, 0, time.UTC)}}
	gone := account("old-team", noon.AddDate(0, -5, 0), noon.AddDate(0, -3, 0), nil)
	w.status.Accounts = []jobs.AccountStatus{acme, beta, gone}

	failed := schemas.Run{RunID: "20261124T120000Z-02", Command: "export", Job: "hourly",
		StartedAt: noon.Add(-30 * time.Minute), EndedAt: noon.Add(-29 * time.Minute), Status: schemas.StatusRefused,
		Error: "account beta-labs: the key was refused (401): " + hostile,
		Accounts: []schemas.RunAccount{{Account: "acme", Status: schemas.StatusDone},
			{Account: "beta-labs", Status: schemas.StatusRefused}},
		RunCounts: schemas.RunCounts{Records: 1204, Requests: 31, Retries: 2, Throttled: 1}}
	manual := schemas.Run{RunID: "20261123T090000Z-03", Command: "rebuild", StartedAt: noon.Add(-27 * time.Hour),
		EndedAt: noon.Add(-26 * time.Hour), Status: schemas.StatusDone}
	partial := schemas.Run{RunID: "20261122T090000Z-04", Command: "export", Job: "hourly",
		StartedAt: noon.Add(-51 * time.Hour), EndedAt: noon.Add(-50 * time.Hour), Status: schemas.StatusPartial,
		Error:     "2 windows of acme failed: 503 after 7 attempts; run it again to fetch what is missing",
		RunCounts: schemas.RunCounts{Records: 112_903, Requests: 1377, Retries: 58, Throttled: 4}}
	stopped := schemas.Run{RunID: "20261121T090000Z-05", Command: "verify", Job: "weekly-verify",
		StartedAt: noon.Add(-75 * time.Hour), Status: schemas.StatusInterrupted}
	w.status.Runs = []schemas.Run{failed, w.status.Runs[0], manual, partial, stopped}
	w.state.ConfigError = "config usagelake.yaml: line 12: unknown key schedule.job: did you mean jobs?"
	w.state.Jobs = append([]schedule.JobState{{Name: "hourly", Kind: config.KindExport, Cron: "0 * * * *", Zone: "UTC",
		NextAt: noon.Add(4 * time.Minute), Attempts: 3, Missed: 1, Last: &failed, LastDone: noon.Add(-4 * time.Hour)}},
		w.state.Jobs...)
	w.state.Jobs = append(w.state.Jobs,
		schedule.JobState{Name: "weekly-verify", Kind: config.KindVerify, Cron: "0 4 * * 0", Zone: "America/New_York",
			Running: true, StartedAt: noon.Add(-17 * time.Minute), NextAt: noon.AddDate(0, 0, 5)},
		schedule.JobState{Name: "month-end", Kind: config.KindClose, Cron: "0 6 3 * *", Zone: "Asia/Kolkata",
			Accounts: []string{"acme"}, NextAt: time.Date(2026, 12, 3, 0, 30, 0, 0, time.UTC)})
	w.balances = append(w.balances, Balance{Account: "beta-labs", Currency: "EUR", ObservedAt: noon.Add(-96 * time.Hour),
		Balance: "-12.005", DaysLeft: "0.0"},
		Balance{Account: "old-team", Currency: "USD", ObservedAt: noon.AddDate(0, -3, 0), Balance: "0"})
	w.alerts = []Alert{
		{Rule: "late", Severity: "critical", Subject: "beta-labs", Summary: "beta-labs has not been exported for 4 days",
			Since: noon.Add(-50 * time.Hour), Undelivered: "receiver ops: 502 " + hostile,
			Waiting: map[string]string{"ops": "receiver ops: 502 " + hostile}},
		{Rule: "spike", Severity: "warning", Subject: hostile,
			Summary: "cost of " + hostile + " is 9 times that of the days before", Since: noon.Add(-5 * time.Hour)},
	}
	return w
}

// ask sends a request to a Server's handler, as if to loopback.
func ask(s *Server, path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:9464"+path, nil)
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got) {
		t.Errorf("%s differs: %s", path, firstDifference(string(want), string(got)))
	}
}

func firstDifference(want, got string) string {
	i := 0
	for i < min(len(want), len(got)) && want[i] == got[i] {
		i++
	}
	cut := func(s string) string { return s[max(0, min(i, len(s))-40):min(len(s), i+80)] }
	return fmt.Sprintf("at byte %d:\nwant …%q\ngot  …%q", i, cut(want), cut(got))
}
