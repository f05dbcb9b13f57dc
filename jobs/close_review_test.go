package jobs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// A limit is an amount in each currency, or a share; what is beyond it refuses a close, and a reason overrides that. 0
// allows nothing.
func TestLimitsOfWhatNobodyPaysRefuseAClose(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 5, At: time.Date(2026, 11, 2, 6, 0, 0, 0, time.UTC)})
		w.rules("rules:\n- {id: gpt, match: {model: \"gpt-*\"}, assign: {cost_center: A, gl_code: \"6100\"}}\n- {id: " +
			"claude, match: {model: \"claude-*\"}, assign: {cost_center: B}}\n")
		w.export(octoberSpan())
		w.At(kit.Day(7))
		// What it would do is said, and nothing is written.
		w.Cfg.Close = config.Close{MaxUnallocated: "0", MaxWithoutGLCode: "100%"}
		invoices := filepath.Join(w.TempDir(), "i.csv")
		if err := os.WriteFile(invoices, []byte("invoice,period,amount,currency\nA,2026-10,1000,USD\nB,2026-10,-10,USD\n"),
			0o600); err != nil {
			t.Fatal(err)
		}
		w.Cfg.Invoices = []string{invoices}
		if _, _, err := Allocate(t.Context(), w.Cfg, w.env, false); err != nil {
			t.Fatal(err)
		}
		w.Requests()
		review, err := ReviewClose(t.Context(), w.Cfg, w.env, CloseOptions{Month: october, Retry: kit.Retry})
		if err != nil {
			t.Fatal(err)
		}
		asked := len(w.Requests())
		if len(review.Plans) != 1 || review.Requests < 31 || review.Seconds <= 0 || len(review.Charges) < 3 ||
			len(review.Loose) != 1 || len(review.Invoices) != 3 {
			t.Errorf("%d requests; %+v", asked, review)
		}
		if all := strings.Join(review.Objections, "\n"); !strings.Contains(all,
			"is charged to (unallocated), more than close.max_unallocated (0)") || strings.Contains(all, "general ledger") {
			t.Errorf("%s", all)
		}
		res, closed, err := w.close(CloseOptions{})
		var refused *ObjectionsError
		if !errors.As(err, &refused) || closed != nil || res.Status != schemas.StatusFailed || len(refused.Objections) != 1 {
			t.Errorf("%v, %v", closed, err)
		}
		w.Cfg.Close = config.Close{MaxUnallocated: "99.9%", MaxWithoutGLCode: "1%"}
		if _, _, err := w.close(CloseOptions{}); !errors.As(err, &refused) || len(refused.Objections) != 1 ||
			!strings.Contains(refused.Objections[0],
				"has no code of the general ledger, more than close.max_without_gl_code (1%): ") {
			t.Errorf("%v", err)
		}
		_, closed, err = w.close(CloseOptions{Reason: "agreed"})
		if err != nil || closed == nil || closed.Reason != "agreed" || closed.By == nil || closed.By.User == "" ||
			closed.Edition != 1 {
			t.Fatalf("%+v %v", closed, err)
		}
		if _, err := ReviewClose(t.Context(), w.Cfg, w.env, CloseOptions{Month: october, Retry: kit.Retry}); err == nil ||
			!strings.Contains(err.Error(), "the month is closed") {
			t.Errorf("%v", err)
		}
		// What was said is what was charged, and journal and statement have the same cents.
		r := w.Read()
		for _, c := range review.Charges {
			if got := r.One("SELECT sum(posted)::DECIMAL(38,2)::VARCHAR FROM chargeback_journal WHERE \"month\" = " +
				"'2026-10-01' AND entry = 'debit' AND cost_center = " + schemas.SQLString(c.CostCenter)); got != c.Posted {
				t.Errorf("%s: %s is posted, the review said %s", c.CostCenter, got, c.Posted)
			}
		}
		r.Close()
		first := statementOf(t, closed.Dir)
		if strings.Contains(first, "Forecast") || strings.Contains(first, "version 2") ||
			!strings.Contains(first, ">Posted<") {
			t.Errorf("a forecast, or no posted cents, in the statement: %.3000s", first)
		}
		if _, _, err := Reopen(t.Context(), w.Cfg, w.env, october, "wrong", false); err != nil {
			t.Fatal(err)
		}
		_, closed, err = w.close(CloseOptions{Reason: "agreed again"})
		if err != nil || closed.Edition != 2 {
			t.Fatalf("%+v %v", closed, err)
		}
		if second := statementOf(t, closed.Dir); !strings.Contains(second, "version 2") ||
			!strings.Contains(second, "replaces version 1") {
			t.Errorf("it doesn't say that it is version 2: %.3000s", second)
		}
	})
}

func statementOf(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "statement.html"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A month that is closed while the data ends with it says nothing of what is to come.
func TestAClosedStatementCarriesNoForecast(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 5, At: time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC)})
		w.Cfg.Budgets = []config.Budget{{Name: "all", Amount: "100", Currency: "USD"}}
		w.export(octoberSpan())
		_, closed, err := w.close(CloseOptions{Reason: "because", NoFetch: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"statement.html", "chargeback.html",
			"cost-centers/" + report.StatementFile(schemas.Unallocated) + ".html"} {
			b, err := os.ReadFile(filepath.Join(closed.Dir, filepath.FromSlash(name)))
			if err != nil || strings.Contains(strings.ToLower(string(b)), "forecast") {
				t.Errorf("%s: a forecast, %v", name, err)
			}
		}
	})
}
