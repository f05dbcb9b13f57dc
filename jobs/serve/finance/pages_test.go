package finance

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/serve/library"
	"github.com/usagelake/usagelake/jobs/serve/library/librarytest"
	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// They only look, and share a lake.
func TestPages(t *testing.T) {
	w := newWorld(t)
	for name, f := range map[string]func(*testing.T, *world){"every report has its page": everyReportHasItsPage,
		"bad input is a page": badInputIsAPage, "records sum to the figure": recordsSumToTheFigure,
		"a row leads to what is behind it":      aRowLeadsToWhatIsBehindIt,
		"a journal is posted as is set now":     aJournalIsPostedAsIsSetNow,
		"a change of rules is for who sees all": aChangeOfRulesIsForWhoSeesAll} {
		t.Run(name, func(t *testing.T) { f(t, w) })
	}
}

// commands are what a page doesn't name: who looks at it has an address, and no command line.
var commands = regexp.MustCompile(`--[a-z_-]+|usagelake [a-z]+ `)

// said is what a page says, without its style.
func said(rec *httptest.ResponseRecorder) string {
	_, body, _ := strings.Cut(rec.Body.String(), "<body>")
	return body
}

func everyReportHasItsPage(t *testing.T, w *world) {
	for _, r := range report.Reports() {
		rec := w.get(r.Name, tokenAll)
		if rec.Code != http.StatusOK {
			t.Errorf("%s: %d", r.Name, rec.Code)
			continue
		}
		for _, want := range []string{`aria-current="page"`, "Completeness:", "Published ", `class="skip"`} {
			if !strings.Contains(rec.Body.String(), want) {
				t.Errorf("%s lacks %q", r.Name, want)
			}
		}
		if m := commands.FindString(said(rec)); m != "" {
			t.Errorf("%s names %q, which its reader can't type", r.Name, m)
		}
		if strings.Contains(rec.Body.String(), "<script") || strings.Contains(rec.Body.String(), " style=") {
			t.Errorf("%s has a script or a style that its policy refuses", r.Name)
		}
	}
}

// Each mistake is a page that says so, and shows no figure.
func badInputIsAPage(t *testing.T, w *world) {
	for path, want := range map[string]struct {
		code int
		say  string
	}{
		"nope":                      {404, "There is no such page"},
		"chargeback.exe":            {404, "There is no such page"},
		"chargeback?period=2026-13": {400, "There is no such period"},
		"chargeback?period=2026-10&from=2026-10-01": {400, "period and days are said, both"},
		"chargeback?from=2026-10-05&to=2026-10-01":  {400, "is not before"},
		"records?from=2026-10-05&to=2026-10-01":     {400, "It ends before it begins"},
		"budget?from=2026-10-05":                    {400, "takes whole months (period=2026-10"},
		"chargeback?cost_center=cc-9":               {400, `cost_center=&#34;cc-9&#34;: nothing in the published file`},
		"forecast?period=2026-10":                   {400, "takes no period"},
		"chargeback?by=nothing":                     {400, "o dimension"},
		"reconciliation?team=team-2":                {400, "be narrowed by team=:"},
		"chargeback?colour=red":                     {400, "means nothing here"},
		"chargeback?period=2026-10&period=2026-11":  {400, "more than once"},
		"?cost_center=cc-2":                         {400, "means nothing here"},
		"questions?period=2026-10":                  {400, "means nothing here"},
		sqlPath("FROM usage") + "&cost_center=cc-2": {400, "means nothing here"},
		"top?top=x":                             {400, "no number"},
		"records?page=0":                        {400, "no number"},
		"records?token_id=typo":                 {400, "you can see no record of that"},
		"chargeback.csv?table=nope":             {400, "has no table"},
		sqlPath("SELECT nonsense FROM nowhere"): {400, "nowhere"},
		sqlPath("DROP TABLE usage"):             {400, "one statement that reads"},
		sqlPath(strings.Repeat("-", 9000)):      {400, "too long"},
	} {
		rec := w.get(path, tokenAll)
		text := strings.ReplaceAll(rec.Body.String(), "&#39;", "'")
		if rec.Code != want.code || !strings.Contains(text, want.say) {
			t.Errorf("%s: %d, want %d and %q", path, rec.Code, want.code, want.say)
		}
		if m := commands.FindString(said(rec)); m != "" {
			t.Errorf("%s: it names %q", path, m)
		}
		if strings.Contains(text, "777.77") {
			t.Errorf("%s shows figures", path)
		}
	}
}

func aChangeOfRulesIsForWhoSeesAll(t *testing.T, w *world) {
	is := func(token string, code int, say string) {
		t.Helper()
		rec := w.get("compare", token)
		if rec.Code != code || !strings.Contains(rec.Body.String(), say) {
			t.Errorf("%d, want %d and %q", rec.Code, code, say)
		}
	}
	is(tokenAll, 404, "no such page") // nobody names rules
	changes, err := &Changes{File: "new.yaml", Findings: []string{"nobody's: 3"}, Months: []ChangedMonth{{"2026-11",
		[]ChangedCenter{{"cc-6", "USD", "10.125", "12", "1.875"}, {"cc-2", "USD", "7", "7", "0"},
			{"cc-of-these", "USD", "0", "3", "3"}}}}}, error(nil)
	digest, made, goesOn := "1", 0, make(chan bool)
	w.site.opts.Compare = func() []Comparison {
		make := func(context.Context) (*Changes, error) {
			made++
			<-goesOn
			return changes, err
		}
		prices := &Changes{File: "new.csv",
			Unpriced: []Unpriced{{"model-6", "input", "USD", "1234", "1.875", "no row names it"}}}
		return []Comparison{{Of: OfRules, Digest: func() (string, error) { return digest, nil }, Make: make},
			{Of: OfPrices, Digest: func() (string, error) { return digest, nil },
				Make: func(context.Context) (*Changes, error) { return prices, nil }}}
	}
	defer func() { w.site.opts.Compare, w.site.longWait = nil, library.LongWait }()
	w.site.longWait = time.Millisecond
	is(tokenAll, 503, "being worked out")
	w.site.longWait = library.LongWait
	close(goesOn)
	if is(tokenAll, 200, "new.yaml"); made != 1 {
		t.Errorf("what goes on is begun %d times", made)
	}
	if rec := w.get("compare", tokenAll); strings.Contains(rec.Body.String(), "cost_center=cc-of-these") {
		t.Error("a cost centre of these rules alone leads to nothing")
	}
	for _, say := range []string{">1.88<", ">17.13<", "2 of 3 change", "nobody&#39;s: 3", "new.yaml",
		`href="/finance/chargeback?by=token%2Cmodel&amp;cost_center=cc-6&amp;period=2026-11"`} {
		is(tokenAll, 200, say)
	}
	for _, token := range []string{tokenSearch, tokenAcme} {
		is(token, 404, "no such page")
		if rec := w.get("", token); strings.Contains(rec.Body.String(), "Change of rules") {
			t.Error("who doesn't see all is led to it")
		}
	}
	for _, more := range []string{"?period=2026-11", "?cost_center=cc-6"} {
		if rec := w.get("compare"+more, tokenAll); rec.Code != 400 || strings.Contains(rec.Body.String(), "1.88") {
			t.Errorf("compare%s: %d", more, rec.Code)
		}
	}
	if made != 1 {
		t.Errorf("the same rules are compared %d times", made)
	}
	// The same digest of another kind of file is another page.
	for _, say := range []string{"Change of prices", "by the prices in new.csv", "1,234", "no row names it"} {
		if rec := w.get("compare-prices", tokenAll); rec.Code != 200 || !strings.Contains(rec.Body.String(), say) {
			t.Errorf("prices: %d, without %q", rec.Code, say)
		}
	}
	if rec := w.get("compare-markups", tokenAll); rec.Code != 404 {
		t.Errorf("mark-ups that nobody names: %d", rec.Code)
	}
	digest, err = "2", context.DeadlineExceeded
	is(tokenAll, 503, "stopped after 5 minutes")
	err = &MistakeError{errors.New("new.yaml:3: no such field\nhint: usagelake allocation check")}
	is(tokenAll, 409, "new.yaml:3: no such field.")
	if rec := w.get("compare", tokenAll); strings.Contains(rec.Body.String(), "hint") {
		t.Error("it says what to type")
	}
}

// A page that is kept is as its files are, whatever was set when it was made.
func aJournalIsPostedAsIsSetNow(t *testing.T, w *world) {
	defer func() { w.site.opts.Posting = nil }()
	for _, date := range []string{posting.MonthEnd, posting.NextMonth} {
		w.site.opts.Posting = func() posting.Settings { return posting.Settings{PostingDate: date, Series: date + "-"} }
		for _, path := range []string{"journal?period=2026-10", "journal.json?period=2026-10"} {
			if rec := w.get(path, tokenAll); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), date+"-") {
				t.Errorf("%s isn't as is set: %d", path, rec.Code)
			}
		}
	}
}

// A page that is kept is of its day: the same address means another month tomorrow.
func TestThisMonthIsAnotherTomorrow(t *testing.T) {
	w := newWorld(t)
	noon := librarytest.Noon
	for now, want := range map[time.Time]string{noon: "November 2026", noon.AddDate(0, 0, 11): "December 2026"} {
		w.now = now
		if rec := w.get("chargeback?period=this", tokenAll); !strings.Contains(rec.Body.String(), want) {
			t.Errorf("on %s this month isn't %s", now, want)
		}
	}
}

func TestALakeThatIsGoneIsAPage(t *testing.T) {
	w := newWorld(t)
	if err := os.Rename(w.w.Lake.Dir(), w.w.Lake.Dir()+"-moved"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", "chargeback", "records", sqlPath("FROM usage"), "chargeback.csv"} {
		rec := w.get(path, tokenAll)
		if rec.Code != http.StatusServiceUnavailable || !strings.Contains(rec.Body.String(), "being moved") ||
			strings.Contains(rec.Body.String(), w.w.Lake.Dir()) {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
}

// The records behind a figure sum to it.
func recordsSumToTheFigure(t *testing.T, w *world) {
	text := w.get("records?period=2026-11&token_id=tk_hidden6", tokenAll).Body.String()
	for _, want := range []string{"1,555.54", "rec-hidden-2026-11-02", "rec-hidden-2026-11-03", "page 1 of 1"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(text, "rec-own") || strings.Contains(text, "2026-10-30") {
		t.Error("other records, too")
	}
}

// What a cell leads to is what is behind it.
func aRowLeadsToWhatIsBehindIt(t *testing.T, w *world) {
	for path, want := range map[string][]string{
		"chargeback?period=2026-11": {`/finance/chargeback?by=team%2Cmodel&amp;cost_center=cc-6&amp;period=2026-11"`},
		"chargeback?period=2026-11&cost_center=cc-6&by=team,token": {
			`/finance/records?cost_center=cc-6&amp;period=2026-11&amp;team=team-6&amp;token_id=tk_hidden6"`},
		"chargeback?period=2026-11&by=day": {`/finance/records?from=2026-11-02&amp;to=2026-11-03"`},
		"":                                 {`/finance/chargeback?period=2026-10"`},
	} {
		text := strings.ReplaceAll(w.get(path, tokenAll).Body.String(), "&#43;", "+")
		for _, l := range want {
			if !strings.Contains(text, l) {
				t.Errorf("%s lacks a link to %s", path, l)
			}
			if rec := w.get(strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(l, Root), `"`), "&amp;", "&"),
				tokenAll); rec.Code != 200 {
				t.Errorf("%s: %d", l, rec.Code)
			}
		}
	}
}

// What is spent of a budget is behind it for the budget's own days, whatever the books call them.
func TestABudgetLeadsToItsOwnDays(t *testing.T) {
	books := func(s schemas.BookSettings) *schemas.Books {
		b, err := schemas.MakeBooks(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	april, weeks := schemas.BookSettings{FiscalYear: 4}, schemas.BookSettings{Calendar: "4-4-5", FiscalYear: 2}
	listed := schemas.BookSettings{Calendar: schemas.CalendarFile, Periods: []schemas.BookPeriod{
		{Name: "2026-P10", From: schemastest.Date("2026-09-27"), To: schemastest.Date("2026-10-25")},
		{Name: "2026-P11", From: schemastest.Date("2026-10-25"), To: schemastest.Date("2026-11-22")}}}
	quarter := books(weeks).Period(schemastest.Date("2026-02-01").Month(), schemastest.Date("2026-04-01").Month())
	for _, c := range []struct {
		name         string
		books        schemas.BookSettings
		from, to     string
		period, days string // what the address says
	}{
		{"a quarter", schemas.BookSettings{}, "2026-10-01", "2027-01-01", "2026-Q4", ""},
		{"a fiscal quarter", april, "2026-10-01", "2027-01-01", "2026-Q3", ""},
		{"a year", schemas.BookSettings{}, "2026-01-01", "2027-01-01", "FY2026", ""},
		{"a fiscal year", april, "2026-04-01", "2027-04-01", "FY2026", ""},
		{"a month", april, "2026-10-01", "2026-11-01", "2026-10", ""},
		{"once, of months", april, "2026-11-01", "2027-01-01", "2026-11,2026-12", ""},
		{"once, of days", april, "2026-11-05", "2027-01-01", "", "2026-11-05 2027-01-01"},
		{"a quarter of weeks", weeks, quarter.From.String(), quarter.To.String(), "2026-Q1", ""},
		{"a listed period", listed, "2026-10-25", "2026-11-22", "2026-P11", ""},
		{"more than is listed", listed, "2026-10-25", "2026-12-20", "", "2026-10-25 2026-12-20"},
	} {
		b := books(c.books)
		a := asked{"budget", query.Scope{}, url.Values{"period": {"2026-01"}}, b}
		row := map[string]string{"budget": "Own", "scope": "team", "scope_value": "team-2", "period_start": c.from,
			"period_end": c.to}
		for _, column := range []string{"budget", "scope_value"} {
			address := a.link(column, func(column string) query.Value {
				return query.Value{Null: row[column] == "", Text: row[column]}
			})
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			v := u.Query()
			if days := strings.TrimSpace(v.Get("from") + " " + v.Get("to")); v.Get("period") != c.period || days != c.days ||
				v.Get("team") != "team-2" {
				t.Errorf("%s, %s: %s", c.name, column, address)
			}
			p, err := library.Period(b, librarytest.Noon, v.Get("period"), v.Get("from"), v.Get("to"))
			if err != nil || p.From.String() != c.from || p.To.String() != c.to {
				t.Errorf("%s: %s is %+v, %v", c.name, address, p, err)
			}
		}
	}
}
