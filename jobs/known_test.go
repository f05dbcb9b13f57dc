package jobs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/report"
)

// asked is a report of a lake at a time, with nothing of the asking in it.
func (w *world) asked(lake *publish.Lake, name string, at time.Time) string {
	w.Helper()
	doc, err := report.Build(w.Context(), lake, report.Options{Name: name, Now: at, Version: "test",
		Posting: w.Cfg.Journal.Posting()})
	if errors.Is(err, report.ErrNothing) {
		return "nothing"
	}
	if err != nil {
		w.Fatal(err)
	}
	var b bytes.Buffer
	if err := doc.Render(&b, "json"); err != nil {
		w.Fatal(err)
	}
	return b.String()
}

// Exports, refetches, closes and reopenings follow one another at a Portal that changes its records. Whenever a report
// is asked for as of one of these times, it is the report that was given then, to the last byte.
func TestAReportAsOfThenIsTheReportOfThen(t *testing.T) {
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 15, Faults: "late=0.3,late-by=40h,corrected=0.2,corrected-by=60h",
			At: time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC)})
		w.rules(twoRules)
		anew := octoberSpan()
		anew.From, anew.Anew = anew.To.AddDate(0, 0, -5), true
		steps := []struct {
			name string
			do   func() error
		}{
			{"export", func() error { w.export(octoberSpan()); return nil }},
			{"refetch", func() error { w.export(anew); return nil }},
			{"close", func() error { w.mustClose(october); return nil }},
			{"refetch after the close", func() error { w.export(anew); return nil }},
			{"november", func() error { w.export(Span{From: kit.Day(1), To: kit.Day(8)}); return nil }},
			{"reopen", func() error {
				_, _, err := Reopen(t.Context(), w.Cfg, w.env, october, "a test", false)
				return err
			}},
			{"close again", func() error { w.mustClose(october); return nil }},
		}
		names := []string{"chargeback", "statement", "journal"}
		type answer struct {
			at   time.Time
			said []string
		}
		var answers []answer
		open := func() *publish.Lake {
			lake, err := publish.Open(w.Cfg.Lake, w.env.LakeOptions(w.Cfg))
			if err != nil {
				t.Fatal(err)
			}
			return lake
		}
		for _, s := range steps {
			if err := s.do(); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			w.Pass(time.Minute)
			a := answer{at: w.Now()}
			for _, name := range names {
				a.said = append(a.said, w.asked(open(), name, a.at))
			}
			answers = append(answers, a)
			w.Pass(30 * time.Hour)
		}
		was := w.Files()
		for i, a := range answers {
			lake, done, err := AsOf(t.Context(), w.Cfg, w.env, a.at, nil)
			if err != nil {
				t.Fatalf("as of the %s: %v", steps[i].name, err)
			}
			for n, name := range names {
				// The statement of a closed month names its version, which the lake of then doesn't know, and the run that
				// closed it.
				if got := w.asked(lake, name, a.at); got != a.said[n] {
					t.Errorf("the %s as of the %s is\n%.3000s\nand was\n%.3000s", name, steps[i].name, got, a.said[n])
				}
			}
			done()
		}
		for _, name := range kit.Changed(was, w.Files()) {
			t.Errorf("%s was changed by asking", name)
		}
		if _, err := os.Stat(filepath.Join(w.Cfg.Lake, ".tmp")); err == nil {
			left, _ := filepath.Glob(filepath.Join(w.Cfg.Lake, ".tmp", "*"))
			if len(left) > 0 {
				t.Errorf("left over: %v", left)
			}
		}
		if answers[0].said[0] == answers[1].said[0] || answers[2].said[0] == answers[4].said[0] {
			t.Error("nothing had changed in between, so that nothing is shown")
		}
	})
}
