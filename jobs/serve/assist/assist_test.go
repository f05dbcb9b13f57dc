package assist

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/usagelake/usagelake/jobs/serve/library"
	"github.com/usagelake/usagelake/jobs/serve/library/librarytest"
	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

// client is an assistant's client, of one viewer.
type client struct {
	t       testing.TB
	session *mcp.ClientSession
	log     *bytes.Buffer
}

func connect(t testing.TB, w *librarytest.World, sight library.Sight, change ...func(*Options)) *client {
	out := &client{t: t, log: &bytes.Buffer{}}
	opts := Options{Lake: w.Open, Sight: func() (library.Sight, error) { return sight, nil }, Version: "test",
		Now: func() time.Time { return librarytest.Noon }, Logger: slog.New(slog.NewTextHandler(out.log, nil))}
	for _, c := range change {
		c(&opts)
	}
	s := New(opts)
	here, there := mcp.NewInMemoryTransports()
	ended := make(chan error, 1)
	go func() { ended <- s.serve(context.WithoutCancel(t.Context()), here) }()
	var err error
	out.session, err = mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), there, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := out.session.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return out
}

type args = map[string]any

// call is an answer: all that it says, its structured content, and whether it is an error.
func (c *client) call(tool string, in args) (all string, structured args, wrong bool) {
	c.t.Helper()
	res, err := c.session.CallTool(c.t.Context(), &mcp.CallToolParams{Name: tool, Arguments: in})
	if err != nil {
		c.t.Fatalf("%s %v: %v", tool, in, err)
	}
	b, err := json.Marshal(res)
	if err != nil {
		c.t.Fatal(err)
	}
	structured, _ = res.StructuredContent.(args)
	return string(b), structured, res.IsError
}

// text is what a client hands on that knows no structured content.
func (c *client) text(tool string, in args) string {
	c.t.Helper()
	res, err := c.session.CallTool(c.t.Context(), &mcp.CallToolParams{Name: tool, Arguments: in})
	if err != nil {
		c.t.Fatalf("%s %v: %v", tool, in, err)
	}
	return res.Content[0].(*mcp.TextContent).Text
}

// rows are those of an answer's first table.
func (c *client) rows(tool string, in args) [][]any {
	c.t.Helper()
	all, structured, wrong := c.call(tool, in)
	if wrong {
		c.t.Fatalf("%s %v: %s", tool, in, all)
	}
	var out [][]any
	for _, r := range structured["tables"].([]any)[0].(args)["rows"].([]any) {
		out = append(out, r.([]any))
	}
	return out
}

var (
	everything = library.Sight{All: true}
	search     = library.Sight{Scope: librarytest.Search}
	acme       = library.Sight{Scope: librarytest.Acme}
)

// What only looks shares a lake.
func TestAnswers(t *testing.T) {
	w := librarytest.New(t)
	for name, f := range map[string]func(*testing.T, *librarytest.World){
		"a viewer is answered with nothing of others": aViewerIsAnsweredWithNothingOfOthers,
		"every answer says how complete it is":        everyAnswerSaysHowCompleteItIs,
		"figures are those of the report":             figuresAreThoseOfTheReport,
		"a journal is posted as the config says":      aJournalIsPostedAsTheConfigSays,
		"nothing charged isn't complete":              nothingChargedIsntComplete,
		"cells are exact":                             cellsAreExact,
		"answers have an end":                         answersHaveAnEnd,
		"a mistake says what to do":                   aMistakeSaysWhatToDo,
		"a question that is given up stops":           aQuestionThatIsGivenUpStops,
		"who isn't on the map is told so":             whoIsntOnTheMapIsToldSo,
	} {
		t.Run(name, func(t *testing.T) { f(t, w) })
	}
}

// Whatever a viewer asks, by whatever tool, names nobody else and has no figure of anybody else.
func aViewerIsAnsweredWithNothingOfOthers(t *testing.T, w *librarytest.World) {
	for _, v := range []struct {
		name  string
		sight library.Sight
		never []string
	}{{"search", search, librarytest.HiddenOfSearch}, {"acme", acme, librarytest.HiddenOfAcme}} {
		c := connect(t, w, v.sight, func(o *Options) { o.Viewer = v.name })
		check := func(tool string, in args) {
			t.Helper()
			all, _, _ := c.call(tool, in)
			for _, h := range v.never {
				if at := strings.Index(all, h); at >= 0 {
					t.Errorf("%s: %s %v: %s of somebody else: …%s…", v.name, tool, in, h,
						all[max(0, at-120):min(len(all), at+80)])
				}
			}
		}
		check("list_views", nil)
		check("list_views", args{"names": []string{"usage", "chargeback_journal", "names", "completeness"}})
		check("list_views", args{"search": "cost"})
		check("list_questions", nil)
		check("list_reports", nil)
		// The file of an account differs in which tables have rows: what shows these is enough.
		questions, reports, attacks := []int{7, 8, 9, 20}, []string{"reconciliation", "quality", "budget", "prepaid"},
			[]string{"FROM usage.main.balance", "FROM usage.main.invoice_lines", "FROM usage.main.names",
				"FROM usage.main.allocation_keys", "FROM usage.main.coverage", "FROM usage.main.unit_prices"}
		if v.name == "search" {
			questions, reports, attacks = nil, nil, librarytest.Attacks
			for n := range library.Questions {
				questions = append(questions, n+1)
			}
			for _, r := range report.Reports() {
				reports = append(reports, r.Name)
			}
		}
		for _, n := range questions {
			check("ask_question", args{"question": n})
		}
		check("ask_question", args{"question": 6, "record_id": "rec-pool-2026-11-02"})
		check("ask_question", args{"question": 1, "period": "2026-11"})
		check("ask_question", args{"question": 1, "where": args{"cost_center": "zz"}})
		for _, name := range reports {
			check("report", args{"name": name})
		}
		check("report", args{"name": "chargeback", "by": []string{"token", "user", "model", "day"}, "from": "2026-10-01",
			"to": "2026-12-01"})
		for _, d := range query.ScopeDimensions {
			check("report", args{"name": "chargeback", d: []string{"zz"}})
		}
		for _, a := range attacks {
			check("query", args{"sql": strings.ReplaceAll(a, "{lake}", w.Lake.Dir())})
		}
	}
	// The same names to who sees all, so that the search can find something.
	all, _, _ := connect(t, w, everything).call("report", args{"name": "chargeback",
		"by": []string{"cost_center", "token", "model"}})
	for _, h := range []string{"cc-6", "tk_hidden6", "model-hidden0", "1555.54", "Hidden centre"} {
		if !strings.Contains(all, h) {
			t.Errorf("who sees all doesn't see %s", h)
		}
	}
	// Another's name is answered as one that nobody has.
	c := connect(t, w, search)
	real, _, _ := c.call("report", args{"name": "chargeback", "cost_center": []string{"cc-6"}})
	none, _, _ := c.call("report", args{"name": "chargeback", "cost_center": []string{"zz-6"}})
	if strings.ReplaceAll(real, "cc-6", "zz-6") != none {
		t.Errorf("%s\nof a name that nobody has:\n%s", real, none)
	}
}

func aJournalIsPostedAsTheConfigSays(t *testing.T, w *librarytest.World) {
	c := connect(t, w, everything, func(o *Options) {
		o.Posting = posting.Settings{Series: "ZZZ", PostingDate: posting.NextMonth}
	})
	all, _, wrong := c.call("report", args{"name": "journal", "period": "2026-10"})
	if wrong || !strings.Contains(all, "ZZZ202610") || !strings.Contains(all, "2026-11-01") {
		t.Errorf("%.3000s", all)
	}
}

func nothingChargedIsntComplete(t *testing.T, w *librarytest.World) {
	c := connect(t, w, library.Sight{Scope: query.Scope{CostCenters: []string{"cc-nothing"}}})
	all, structured, wrong := c.call("query", args{"sql": "SELECT sum(net_cost) FROM chargeback_daily"})
	if of := structured["completeness"].(args); wrong || of["complete"] != false || of["period"] != "all" {
		t.Errorf("%.3000s", all)
	}
	// One name of his own without usage closes nothing to him.
	own := append([]string{"cc-nothing"}, librarytest.Search.CostCenters...)
	c = connect(t, w, library.Sight{Scope: query.Scope{CostCenters: own}})
	if all, _, wrong := c.call("report", args{"name": "chargeback", "period": "2026-10"}); wrong {
		t.Errorf("%.3000s", all)
	}
}

func everyAnswerSaysHowCompleteItIs(t *testing.T, w *librarytest.World) {
	var schema jsonschema.Schema
	if err := json.Unmarshal([]byte(outputSchema), &schema); err != nil {
		t.Fatal(err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, w, everything)
	for _, one := range []struct {
		tool   string
		in     args
		period string
	}{
		{"list_views", nil, "2026-10 to 2026-11"}, {"list_questions", nil, "2026-10 to 2026-11"},
		{"list_reports", nil, "2026-10 to 2026-11"},
		{"ask_question", args{"question": 1}, "2026-10 to 2026-11"},
		{"ask_question", args{"question": "spend_by_cost_center_month", "period": "2026-10"}, "2026-10"},
		{"report", args{"name": "chargeback"}, "2026-11"},
		{"report", args{"name": "chargeback", "period": "2026-Q4"}, "2026-Q4"},
		{"query", args{"sql": "SELECT 1"}, "2026-10 to 2026-11"},
	} {
		_, structured, wrong := c.call(one.tool, one.in)
		if wrong {
			t.Errorf("%s %v fails", one.tool, one.in)
			continue
		}
		if err := resolved.Validate(structured); err != nil {
			t.Errorf("%s %v: %v", one.tool, one.in, err)
		}
		of := structured["completeness"].(args)
		if of["period"] != one.period || of["complete"] != false || of["missing_seconds"].(float64) < 3600 ||
			!strings.Contains(of["text"].(string), "lacks") {
			t.Errorf("%s %v: %v", one.tool, one.in, of)
		}
		if structured["published_at"] == "" || structured["as_of"] != "2026-11-04T00:00:00Z" {
			t.Errorf("%s %v: published %v, as of %v", one.tool, one.in, structured["published_at"], structured["as_of"])
		}
		text := c.text(one.tool, one.in)
		for _, want := range []string{"Completeness of " + one.period + ": ", "Published 20", "Currencies: USD."} {
			if !strings.Contains(text, want) {
				t.Errorf("%s %v: no %q in\n%s", one.tool, one.in, want, text)
			}
		}
	}
	if _, a, _ := c.call("report", args{"name": "chargeback"}); !strings.Contains(fmt.Sprint(a["basis"]), "as charged") {
		t.Errorf("basis %v", a["basis"])
	}
	if _, a, _ := c.call("query", args{"sql": "SELECT sum(net_cost) FROM chargeback_daily"}); !strings.Contains(
		fmt.Sprint(a["basis"]), "chargeback_daily: What each owner is charged") {
		t.Errorf("basis %v", a["basis"])
	}
}

// What an assistant is told is what the report says, to the same digit.
func figuresAreThoseOfTheReport(t *testing.T, w *librarytest.World) {
	c := connect(t, w, everything)
	for _, by := range []string{"cost_center", "token"} {
		doc, err := report.Build(t.Context(), w.Lake, report.Options{Name: "chargeback", By: []string{by},
			Now: librarytest.Noon})
		if err != nil {
			t.Fatal(err)
		}
		net := slices.IndexFunc(doc.Tables[0].Columns, func(c report.Column) bool { return c.Name == "net_cost" })
		_, structured, _ := c.call("report", args{"name": "chargeback", "by": []string{by}, "tables": []string{
			doc.Tables[0].Name}})
		table := structured["tables"].([]any)[0].(args)
		at := slices.IndexFunc(table["columns"].([]any), func(c any) bool { return c.(args)["name"] == "net_cost" })
		rows := table["rows"].([]any)
		if len(rows) != len(doc.Tables[0].Rows) || len(rows) == 0 {
			t.Fatalf("by %s: %d rows, the report has %d", by, len(rows), len(doc.Tables[0].Rows))
		}
		for i, r := range rows {
			if got, want := r.([]any)[at], doc.Tables[0].Rows[i][net].Text; got != want {
				t.Errorf("by %s, row %d: %v, the report has %s", by, i, got, want)
			}
		}
		if got, want := fmt.Sprint(table["totals"].([]any)[0].(args)["sums"].(args)["net_cost"]),
			doc.Tables[0].Totals()[0].Sums[net].String(); got != want {
			t.Errorf("by %s: in all %s, the report has %s", by, got, want)
		}
	}
	sum := c.rows("query", args{"sql": "SELECT sum(amount) FROM usage WHERE token_id = 'tk_own2'"})[0][0]
	if sum != "37.037036703705" {
		t.Errorf("a sum of twelve decimals: %v", sum)
	}
}

func cellsAreExact(t *testing.T, w *librarytest.World) {
	c := connect(t, w, everything)
	for sql, want := range map[string]any{
		"NULL": nil, "true": true, "3": 3.0, "-7::BIGINT": -7.0, "0.5::DOUBLE": 0.5, "1e300::DOUBLE": 1e300,
		"'NaN'::DOUBLE":            "NaN",
		"9007199254740993":         "9007199254740993", // what a double would make …992 of
		"1.10::DECIMAL(18,12)":     "1.100000000000",
		"[1.5::DECIMAL(4,2)]":      `["1.50"]`,
		"{'a': 1.5::DECIMAL(4,2)}": `{"a":"1.50"}`,
		"DATE '2026-11-01'":        "2026-11-01", "''": "",
		"'a' || chr(10) || chr(27) || chr(8238) || '|'": `a\n\u001b\u202e|`,
		"repeat('x', 2000)":                             strings.Repeat("x", longestCell-1) + "…",
	} {
		if got := c.rows("query", args{"sql": "SELECT " + sql + " AS x"})[0][0]; got != want {
			t.Errorf("%s: %#v, want %#v", sql, got, want)
		}
	}
	if text := c.text("query", args{"sql": "SELECT 'a|b' AS x, NULL AS y, 1.10 AS z"}); !strings.Contains(text,
		"x | y | z\na\\|b | NULL | 1.10\n(1 row)") {
		t.Errorf("as text:\n%s", text)
	}
}

func answersHaveAnEnd(t *testing.T, w *librarytest.World) {
	c := connect(t, w, everything)
	for _, one := range []struct {
		sql       string
		limit     int
		rows      int
		truncated bool
	}{
		{"FROM range(100)", 0, 100, false}, {"FROM range(101)", 0, 100, true}, {"FROM range(5)", 3, 3, true},
		{"FROM range(1000)", 1000, 1000, false}, {"SELECT repeat('x', 900) FROM range(1000)", 1000, 36, true},
	} {
		all, structured, _ := c.call("query", args{"sql": one.sql, "limit": one.limit})
		table := structured["tables"].([]any)[0].(args)
		if n := len(table["rows"].([]any)); n != one.rows || table["truncated"] != one.truncated {
			t.Errorf("%s: %d rows, truncated %v", one.sql, n, table["truncated"])
		}
		if one.truncated && !strings.Contains(all, "there are more") {
			t.Errorf("%s: the text doesn't say that there is more", one.sql)
		}
	}
	_, structured, _ := c.call("report", args{"name": "chargeback", "by": []string{"token", "model", "day"}, "limit": 1})
	table := structured["tables"].([]any)[0].(args)
	if len(table["rows"].([]any)) != 1 || table["truncated"] != true ||
		!strings.HasPrefix(table["totals"].([]any)[0].(args)["sums"].(args)["net_cost"].(string), "3") {
		t.Errorf("a report's total is of all rows: %v", table)
	}
}

func aMistakeSaysWhatToDo(t *testing.T, w *librarytest.World) {
	c := connect(t, w, everything)
	for _, one := range []struct {
		tool string
		in   args
		say  string
	}{
		{"query", args{"sql": "SELECT nonsense FROM usage"}, "Candidate bindings"},
		{"query", args{"sql": "FROM usages"}, "Did you mean"},
		{"query", args{"sql": "DROP TABLE usage"}, "one statement that reads"},
		{"query", args{"sql": "SELECT 1; SELECT 2"}, "one statement that reads"},
		{"query", args{"sql": ""}, "the query is empty"},
		{"query", args{"sql": strings.Repeat("-", 9000)}, "too long"},
		{"query", args{"sql": "SELECT 1", "limit": 1001}, "1 to 1,000 rows"},
		{"query", args{"sql": "SELECT 1", "limit": -1}, "1 to 1,000 rows"},
		{"query", args{}, "sql"},
		{"query", args{"sql": "SELECT 1", "colour": "red"}, "colour"},
		{"ask_question", args{"question": 21}, "numbered 1 to 20"},
		{"ask_question", args{"question": "top_spender"}, "did you mean top_spenders?"},
		{"ask_question", args{"question": args{"a": 1}}, "numbered 1 to 20"},
		{"ask_question", args{"question": 20, "period": "2026-11"}, "has no period"},
		{"ask_question", args{"question": 1, "period": "2026-13"}, "2026-13"},
		{"ask_question", args{"question": 1, "where": args{"cost_centre": "x"}}, "did you mean cost_center?"},
		{"ask_question", args{"question": 1, "record_id": "x"}, "question 6"},
		{"ask_question", args{"question": 6, "period": "2026-11"}, "takes record_id"},
		{"list_views", args{"names": []string{"usag"}}, "did you mean usage?"},
		{"list_views", args{"search": "kangaroo"}, "list_views without search"},
		{"report", args{"name": "charges"}, "chargeback"},
		{"report", args{"name": "chargeback", "by": []string{"colour"}}, "cost_center"},
		{"report", args{"name": "chargeback", "period": "2026-13"}, "2026-13"},
		{"report", args{"name": "chargeback", "period": "2026-10", "from": "2026-10-01"}, "leave one out"},
		{"report", args{"name": "chargeback", "from": "2026-10-05", "to": "2026-10-01"}, "is not before"},
		{"report", args{"name": "budget", "from": "2026-10-05"}, "takes whole months (period 2026-10"},
		{"report", args{"name": "reconciliation", "team": []string{"x"}}, "can't be narrowed by team"},
		{"report", args{"name": "chargeback", "cost_center": []string{"cc-9"}}, `cost_center "cc-9": nothing`},
		{"report", args{"name": "chargeback", "tables": []string{"owner"}}, "has no table"},
		{"report", args{"name": "top", "top": -3}, "give how many"},
	} {
		all, structured, wrong := c.call(one.tool, one.in)
		if !wrong || structured != nil || !strings.Contains(strings.ReplaceAll(all, `\"`, `"`), one.say) {
			t.Errorf("%s %v: no %q: %s", one.tool, one.in, one.say, all)
		}
		if strings.Contains(all, " --") || strings.Contains(all, w.Lake.Dir()) || strings.Contains(all, "777.77") {
			t.Errorf("%s %v: a flag, a path or a figure: %s", one.tool, one.in, all)
		}
	}
	for _, right := range []args{{"question": 10, "period": "2026-Q4"}, {"question": 4, "period": "2026-11"},
		{"question": 18, "period": "this"}, {"question": "3", "where": args{"token_id": "a'b"}}} {
		if all, _, wrong := c.call("ask_question", right); wrong {
			t.Errorf("%v is refused: %s", right, all)
		}
	}
	if _, a, _ := c.call("list_views", args{"names": []string{"completeness"}}); a == nil || !strings.Contains(
		fmt.Sprint(a["views"]), "completeness(first_day, end_day)") {
		t.Errorf("a macro by its name: %v", a["views"])
	}
}

// As many as are asked at once are given up: were they to run on, the next one would have no place before they end.
func aQuestionThatIsGivenUpStops(t *testing.T, w *librarytest.World) {
	ctx, cancel := context.WithCancel(t.Context())
	c := connect(t, w, everything)
	c.call("query", args{"sql": "SELECT 1"})
	ended := make(chan error)
	for _, n := range []string{"7", "11"} {
		go func() {
			_, err := c.session.CallTool(ctx, &mcp.CallToolParams{Name: "query", Arguments: args{
				"sql": "SELECT sum(a.range * b.range % " + n + ") FROM range(10000000) a, range(10000000) b"}})
			ended <- err
		}()
	}
	time.AfterFunc(200*time.Millisecond, cancel)
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
	}
	began := time.Now()
	if got := c.rows("query", args{"sql": "SELECT 2 AS x"}); got[0][0] != 2.0 || time.Since(began) > library.SQLLimit/2 {
		t.Errorf("afterwards: %v, after %s", got, time.Since(began))
	}
}

func whoIsntOnTheMapIsToldSo(t *testing.T, w *librarytest.World) {
	c := connect(t, w, everything, func(o *Options) {
		o.Viewer, o.Sight = "ann@example.com", func() (library.Sight, error) { return library.Sight{}, ErrNobody }
	})
	for _, tool := range []string{"list_views", "report", "query"} {
		in := map[string]args{"report": {"name": "chargeback"}, "query": {"sql": "FROM usage"}}[tool]
		if all, _, wrong := c.call(tool, in); !wrong || !strings.Contains(all, "may be seen by ann@example.com") {
			t.Errorf("%s: %s", tool, all)
		}
	}
}

// A publish is answered from at once, and a lake that is gone is said, without its place.
func TestAPublishIsSeenAtOnce(t *testing.T) {
	w := librarytest.New(t)
	c := connect(t, w, search)
	count := func() any { return c.rows("query", args{"sql": "SELECT count(*) FROM usage"})[0][0] }
	if n := count(); n != 6.0 {
		t.Errorf("%v records", n)
	}
	w.PublishMore()
	if n := count(); n != 7.0 {
		t.Errorf("after a publish: %v records", n)
	}
	if err := os.Remove(w.Lake.Database()); err != nil {
		t.Fatal(err)
	}
	if all, _, wrong := c.call("list_views", nil); !wrong || !strings.Contains(all, "The published file isn't there") ||
		strings.Contains(all, w.Lake.Dir()) {
		t.Errorf("without a file: %s", all)
	}
	if err := os.Rename(w.Lake.Dir(), w.Lake.Dir()+"-moved"); err != nil {
		t.Fatal(err)
	}
	if all, _, wrong := c.call("query", args{"sql": "SELECT 1"}); !wrong || strings.Contains(all, w.Lake.Dir()) {
		t.Errorf("without a lake: %s", all)
	}
	if !strings.Contains(c.log.String(), w.Lake.Dir()) {
		t.Error("the log doesn't say where")
	}
}

// asking is a connection that one question comes by, and then the end.
type asking struct {
	mcp.Connection
	asked bool
}

func (c *asking) Read(context.Context) (jsonrpc.Message, error) {
	if c.asked {
		return nil, io.EOF
	}
	c.asked = true
	id, err := jsonrpc.MakeID("1")
	return &jsonrpc.Request{ID: id, Method: "tools/call"}, err
}

func (c *asking) Write(context.Context, jsonrpc.Message) error { return nil }

func (c *asking) Connect(context.Context) (mcp.Connection, error) { return c, nil }

// An answer that waits for its places is written after the end of the input, too; one that never comes is given up.
func TestASlowAnswerIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, takes := range []time.Duration{2 * library.MakeLimit, 2 * library.AnswerLimit} {
			c, err := drained{&asking{}}.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m, err := c.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			answer := time.AfterFunc(takes, func() {
				_ = c.Write(t.Context(), &jsonrpc.Response{ID: m.(*jsonrpc.Request).ID})
			})
			if _, err := c.Read(t.Context()); !errors.Is(err, io.EOF) || time.Since(began) != min(takes, library.AnswerLimit) {
				t.Errorf("an answer after %s: the end after %s, %v", takes, time.Since(began), err)
			}
			answer.Stop()
		}
	})
}

// What is asked before the input ends is answered, and stdout has nothing but answers.
func TestTheEndOfTheInputIsWaitedFor(t *testing.T) {
	w := librarytest.New(t)
	s := New(Options{Lake: w.Open, Sight: func() (library.Sight, error) { return everything, nil }, Version: "test",
		Now: func() time.Time { return librarytest.Noon }})
	defer s.Close()
	var in, out bytes.Buffer
	fmt.Fprintln(&in, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18",`+
		`"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	fmt.Fprintln(&in, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	for id := 2; id < 6; id++ {
		fmt.Fprintf(&in, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"query","arguments":`+
			`{"sql":"SELECT %d AS x"}}}`+"\n", id, id)
	}
	if err := s.Serve(t.Context(), &in, &out); err != nil {
		t.Fatal(err)
	}
	got := map[float64]bool{}
	for line := range strings.Lines(out.String()) {
		var m struct {
			ID     float64
			Result struct{ Content []struct{ Text string } }
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got[m.ID] = m.ID == 1 || strings.Contains(m.Result.Content[0].Text, fmt.Sprintf("\nx\n%v\n(1 row)", m.ID))
	}
	for id := range 5 {
		if !got[float64(id+1)] {
			t.Errorf("no answer to %d:\n%s", id+1, out.String())
		}
	}
	var none bytes.Buffer
	if err := s.Serve(t.Context(), strings.NewReader("hello\n"), &none); err == nil {
		t.Error("what is no JSON is taken")
	}
}

// testdata/tools.golden.json is what a client is told of the tools, and of how to use them.
func TestTheToolsAreThoseOfTheGolden(t *testing.T) {
	c := connect(t, &librarytest.World{}, everything, func(o *Options) {
		o.Lake = func() (*publish.Lake, error) { return nil, errors.New("isn't asked") }
	})
	tools, err := c.session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range tools.Tools {
		a := one.Annotations
		if !a.ReadOnlyHint || a.DestructiveHint == nil || *a.DestructiveHint || a.OpenWorldHint == nil || *a.OpenWorldHint {
			t.Errorf("%s: %+v", one.Name, a)
		}
	}
	b, err := json.MarshalIndent(map[string]any{"instructions": strings.Split(instructions, "\n"), "tools": tools.Tools},
		"", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "tools.golden.json")
	if *update {
		if err := os.WriteFile(golden, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(append(b, '\n'), want) {
		t.Errorf("the tools differ from %s: go test ./jobs/serve/assist -update", golden)
	}
	// Whatever gives rows of the usage says that texts in them are data.
	for _, one := range tools.Tools {
		if regexp.MustCompile("^(ask_question|report|query)$").MatchString(one.Name) !=
			strings.HasSuffix(one.Description, data) {
			t.Errorf("%s: %s", one.Name, one.Description)
		}
	}
}
