package serve

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/schedule"
	"github.com/usagelake/usagelake/schemas"
)

func TestThePageIsAsItWasReadInReview(t *testing.T) {
	for name, w := range map[string]*world{"well.html": well(), "busy.html": busy()} {
		t.Run(name, func(t *testing.T) {
			s := w.server()
			s.look(t.Context())
			s.bytes.get(t.Context()) // no request waits for it
			r := ask(s, "/")
			if r.Code != http.StatusOK {
				t.Fatal(r.Code, r.Body)
			}
			golden(t, name, r.Body.Bytes())
		})
	}
}

func TestThePageRunsNothingAndLoadsNothing(t *testing.T) {
	body := ask(busy().server(), "/").Body.String()
	for _, never := range []string{"<script", "javascript:", "<iframe", "<form", "style=\"", " onerror", "\u202e",
		"src="} {
		if strings.Contains(body, never) {
			t.Errorf("the page has %q", never)
		}
	}
	for _, link := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		if !strings.HasPrefix(link[1], "/") && link[1] != "data:," {
			t.Errorf("the page links to %s", link[1])
		}
	}
	if !strings.Contains(body, "&lt;script&gt;alert(1)") {
		t.Error("the text from outside isn't shown")
	}
}

func TestThePolicyAllowsTheStyleOfThePage(t *testing.T) {
	r := ask(well().server(), "/")
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(r.Body.String())
	if style == nil {
		t.Fatal("no style")
	}
	digest := sha256.Sum256([]byte(style[1]))
	if want := "'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) +
		"'"; !strings.Contains(r.Header().Get("Content-Security-Policy"), want) {
		t.Errorf("policy %s lacks %s", r.Header().Get("Content-Security-Policy"), want)
	}
}

func TestTheHeadlineSaysWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		change             func(*world)
		headline, command  string
		departed, notReady bool
	}{
		"well": {func(*world) {}, "All is well", "", false, false},
		"no lake": {func(w *world) { w.status, w.readErr = nil, errNoLake }, "There is no lake yet: nothing was exported",
			"usagelake doctor", false, false},
		"unreadable": {func(w *world) { w.status, w.readErr = nil, http.ErrBodyNotAllowed }, "The lake can't be read",
			"usagelake doctor", false, true},
		"late": {func(w *world) {
			w.status.Accounts = []jobs.AccountStatus{account("acme", noon.AddDate(0, 0, -9), noon.Add(-49*time.Hour), nil)}
		}, "Account acme is late: 2 days behind, expected within 2 days", "usagelake export --account acme", false, false},
		"nothing yet": {func(w *world) { w.accounts = append(w.accounts, "new") }, "Account new: nothing is exported yet",
			"usagelake export --account new", false, false},
		"gap": {func(w *world) {
			w.status.Accounts[0].Gaps = []jobs.Gap{{Start: noon.AddDate(0, 0, -3),
				End: noon.AddDate(0, 0, -2).Truncate(24 * time.Hour)}}
		}, "Account acme has a gap from 2026-11-21 12:30 to 2026-11-22 00:00 UTC",
			"usagelake export --account acme --from 2026-11-21T12:30:00Z --to 2026-11-22", false, false},
		"departed": {func(w *world) { w.accounts = []string{}; w.status.Accounts[0].To = noon.AddDate(-1, 0, 0) },
			"All is well", "", true, false},
		"stale": {func(w *world) { w.status.Accounts[0].Stale = 2 },
			"Account acme: 2 days are fetched and not yet in the tables", "usagelake rebuild", false, false},
		"stale, and something runs": {func(w *world) { w.status.Accounts[0].Stale = 2; w.state.Jobs[0].Running = true },
			"All is well", "", false, false},
		"overdue": {func(w *world) { w.state.Jobs[0].NextAt = noon.Add(-11 * time.Minute) },
			"The scheduler is stuck: job nightly was due 11m ago and doesn't run", "systemctl restart usagelake", false, true},
		"config": {func(w *world) { w.state.ConfigError = "line 3" },
			"The last change of the config was refused; the one before it is in force", "usagelake doctor", false, false},
		"two": {func(w *world) { w.state.ConfigError = "line 3"; w.status.Accounts[0].Stale = 1 },
			"2 things need attention", "usagelake doctor", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := well()
			c.change(w)
			r := ask(w.server(), "/status.json")
			var got struct {
				Headline string
				Problems []Problem
			}
			if err := json.Unmarshal(r.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			command := ""
			if len(got.Problems) > 0 {
				command = got.Problems[0].Command
			}
			if got.Headline != c.headline || command != c.command {
				t.Errorf("got %q, type %q; want %q, type %q", got.Headline, command, c.headline, c.command)
			}
			page := ask(w.server(), "/").Body.String()
			if strings.Contains(page, "not in the config") != c.departed {
				t.Error("departed accounts aren't told")
			}
			if code := ask(w.server(), "/readyz").Code; (code == http.StatusServiceUnavailable) != c.notReady {
				t.Errorf("readyz answers %d", code)
			}
			if code := ask(w.server(),
				"/readyz?strict").Code; (code == http.StatusServiceUnavailable) != (len(got.Problems) > 0) {
				t.Errorf("strict readyz answers %d", code)
			}
		})
	}
}

// A receiver that takes nothing is one thing that needs attention, whatever waits for it.
func TestABrokenReceiverIsOneProblem(t *testing.T) {
	w := well()
	for _, rule := range []string{"a", "b", "c", "d", "e"} {
		w.alerts = append(w.alerts, Alert{Rule: rule, Summary: "x", Waiting: map[string]string{"ops": "it answered 502"}})
	}
	var got struct{ Problems []Problem }
	if err := json.Unmarshal(ask(w.server(), "/status.json").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	var of []string
	for _, p := range got.Problems {
		if strings.Contains(p.Summary+p.Detail, "502") || strings.Contains(p.Summary, "deliver") {
			of = append(of, p.Summary+" | "+p.Detail+" | "+p.Command)
		}
	}
	want := []string{"Receiver ops can't be told of 5 alerts | it answered 502 | usagelake alert test --to ops"}
	if len(got.Problems) != 6 || !slices.Equal(of, want) {
		t.Errorf("%d problems, of the receiver %q", len(got.Problems), of)
	}
}

func TestWhatWaitsForTheStartOrForAnotherJobIsNotStuck(t *testing.T) {
	for name, change := range map[string]func(*world){
		"just started": func(w *world) {
			w.state.StartedAt, w.state.ConfigLoadedAt = noon.Add(-time.Second), noon.Add(-time.Second)
		},
		"another ran": func(w *world) { w.state.Jobs[0].Last.EndedAt = noon.Add(-time.Second) },
		"another runs": func(w *world) {
			w.state.Jobs = append(w.state.Jobs,
				schedule.JobState{Name: "x", Running: true})
		},
		"it is tried again": func(w *world) { w.state.Jobs[0].Attempts, w.state.Jobs[0].NextAt = 3, noon.Add(time.Minute) },
		"it stops":          func(w *world) { w.state.Stopping = true },
	} {
		w := well()
		w.state.Jobs[0].NextAt = noon.AddDate(0, 0, -3) // it was down for days
		change(w)
		if r := ask(w.server(), "/healthz"); r.Code != http.StatusOK {
			t.Errorf("%s: %d %s", name, r.Code, r.Body)
		}
	}
}

func TestAJobThatCannotBeginIsToldOf(t *testing.T) {
	w := well()
	s := w.server()
	s.RunEnded(schedule.RunEvent{Job: w.state.Jobs[0], Err: errors.New("account acme: no key: set ACME_KEY")})
	body := ask(s, "/").Body.String()
	if !strings.Contains(body, "</span> Job nightly can&#39;t begin</h1>") || !strings.Contains(body, "set ACME_KEY") {
		t.Error(body)
	}
	e := ended(schemas.StatusDone, nil)
	e.Job.Name = "nightly"
	s.RunEnded(e)
	if body := ask(s, "/").Body.String(); !strings.Contains(body, "All is well") {
		t.Error(body)
	}
}

func TestAPageOfOneAccount(t *testing.T) {
	s := busy().server()
	body := ask(s, "/?account=beta-labs").Body.String()
	if !strings.Contains(body, "<h3>beta-labs</h3>") || strings.Contains(body, "<h3>acme</h3>") {
		t.Error("the page of an account shows others or not it")
	}
	if r := ask(s, "/?account=nobody"); r.Code != http.StatusNotFound || strings.Contains(r.Body.String(), "nobody") {
		t.Error(r.Code, r.Body)
	}
	if r := ask(s, "/?account=new"); r.Code != http.StatusOK {
		t.Error("an account of the config without data has no page", r.Code)
	}
}

// Wherever the page shows an account it shows what people call it, and the id that commands and links take.
func TestThePageCallsAccountsByNameAndID(t *testing.T) {
	w := busy()
	plain := ask(w.server(), "/").Body.String()
	w.called = map[string]string{"beta-labs": "Beta <Laboratories>"}
	page := ask(w.server(), "/").Body.String()
	const label = "Beta &lt;Laboratories&gt; (beta-labs)"
	for _, want := range []string{`<a href="/?account=beta-labs">` + label + "</a>", "<h3>" + label + "</h3>",
		"Account " + label + " has a gap", "--account beta-labs", `<a href="/?account=acme">acme</a>`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(plain, label) ||
		!strings.Contains(ask(w.server(), "/?account=beta-labs").Body.String(), "account "+label+" ·") {
		t.Error("the page of one account doesn't say what it is called")
	}
}

func TestAPageOfManyAccountsStaysAPage(t *testing.T) {
	w := well()
	w.accounts, w.status.Accounts = nil, nil
	for i := range 100 {
		name := fmt.Sprintf("team-%03d", i)
		w.accounts = append(w.accounts, name)
		w.status.Accounts = append(w.status.Accounts, account(name, noon.AddDate(-1, 0, 0), noon.AddDate(0, 0, -5), nil))
	}
	body := ask(w.server(), "/").Body.String()
	if n := strings.Count(body, "<article>"); n != maxCalendars {
		t.Errorf("%d calendars", n)
	}
	if n := strings.Count(body, `<li class="warn">`); n != maxProblems+1 || !strings.Contains(body, "and 85 more") ||
		!strings.Contains(body, "100 things need attention") {
		t.Errorf("%d problems", n)
	}
	if !strings.Contains(body, `<a href="/?account=team-099">team-099</a>.</p>`) {
		t.Error("the others have no link")
	}
	if len(body) > 3<<20 {
		t.Errorf("%d bytes", len(body))
	}
}

func TestTheCalendarShowsAYearAndEachStateByShape(t *testing.T) {
	c := drawCalendar(busy().status.Accounts[0], "a", noon)
	if n := len(c.Cells); n < 365 || n > 371 {
		t.Errorf("%d days", n)
	}
	if last := c.Cells[len(c.Cells)-1]; last.X+cellSize > c.Width ||
		!strings.HasPrefix(last.Title, "2026-11-24: 47 % of it") {
		t.Errorf("%+v in %d", last, c.Width)
	}
	b := drawCalendar(busy().status.Accounts[1], "a", noon)
	if b.Summary != "2026-10-15 to 2026-11-24: 32 days whole, 2 days in part, 6 days not at all, 1 day unreadable" {
		t.Error(b.Summary)
	}
	shapes := map[string]bool{}
	for _, cell := range append(c.Cells, b.Cells...) {
		if cell.State == dayPart && (cell.FillH < 3 || cell.FillH > cellSize-3) {
			t.Errorf("a day in part looks like another: %+v", cell)
		}
		shapes[cell.State] = true
	}
	if len(shapes) != 4 {
		t.Error(shapes)
	}
	days := 0
	for _, s := range b.Stretches {
		days += s.Days
	}
	if days != len(b.Cells) {
		t.Errorf("the words tell of %d days, the drawing of %d", days, len(b.Cells))
	}
}

func TestAmountsAreRoundedForReadingWithoutFloats(t *testing.T) {
	for _, c := range [][3]string{{"3155.675734891059", "USD", "3,155.68 USD"}, {"-12.005", "EUR", "-12.01 EUR"},
		{"0", "USD", "0.00 USD"},
		{"-0.3", "USD", "-0.30 USD"}, {"1234.5", "JPY", "1,235 JPY"},
		{"12345678901234567890.1", "USD", "12,345,678,901,234,567,890.10 USD"},
		{"1", "", "1.00"}, {"?", "USD", "? USD"}} {
		if got := amount(c[0], c[1]); got != c[2] {
			t.Errorf("amount(%s, %s) = %s, want %s", c[0], c[1], got, c[2])
		}
	}
}
