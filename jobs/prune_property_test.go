package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// Whatever is sealed, closed and pruned when, in whatever order: nothing of an open month is deleted or changed, every
// day derives to the bytes it had, what is covered stays covered, and a day goes only by the policy.
func TestPruneKeepsWhateverIsNotClosedAndOld(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { pruneProperty(t, rt) })
}

func pruneProperty(t *testing.T, rt *rapid.T) {
	dir, err := os.MkdirTemp("", "prune")
	if err != nil {
		rt.Fatal(err)
	}
	defer os.RemoveAll(dir)
	w := &world{World: &kit.World{TB: t, Cfg: &config.Config{Lake: filepath.Join(dir, "lake")}, Logs: &kit.Buffer{}}}
	w.env = Env{Now: w.Now, Getenv: func(string) string { return "" }, Version: "test",
		Logger: slog.New(slog.DiscardHandler)}
	w.At(kit.Start)
	lake, err := publish.Create(w.Cfg.Lake, publish.Options{})
	if err != nil {
		rt.Fatal(err)
	}
	june := schemas.DateOf(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC))
	months := []schemas.Date{june, (june.Month() + 1).First(), (june.Month() + 2).First()}
	borders := []schemas.Date{months[0], months[0] + 14, months[1] - 1, months[1], months[1] + 14, months[2] - 1,
		months[2], months[2] + 14}
	seal := func(d schemas.Date, from, to int) {
		start, end := d.Start().Add(time.Duration(from)*time.Hour), d.Start().Add(time.Duration(to)*time.Hour)
		n := int64(1)
		body := fmt.Sprintf(`{"meta":{"code":0},"data":{"list":[{"id":"%d-%d-%d","request_time":%d,"model":"m",`+
			`"amount":%d.5}],"total":1}}`, d, from, to, start.Unix()+5, to)
		if rapid.IntRange(0, 4).Draw(rt, "bad") == 0 {
			body = `{"meta":{"code":0},"data":{"list":[{"model":"no id"}],"total":1}}`
		}
		_, err := lake.Seal(context.Background(), schemas.Seal{Kind: schemas.KindUsage, Account: "acme", Start: start,
			End: end, AskedStart: start.Unix() - 1, AskedEnd: end.Unix(),
			PageSize: 20, Announced: &n, Records: 1, Proof: schemas.ProofTotal, Requests: 1, FetchedAt: end, RunID: "r",
			Version: "test", Currency: "USD"},
			[]schemas.Page{{Number: 1, FetchedAt: end, Body: []byte(body)}})
		if err != nil {
			rt.Fatal(err)
		}
	}
	for _, d := range borders {
		switch rapid.IntRange(0, 3).Draw(rt, "day") {
		case 0:
		case 1:
			seal(d, 0, 12)
		default:
			seal(d, 0, 24)
			if rapid.Bool().Draw(rt, "twice") {
				seal(d, rapid.IntRange(0, 11).Draw(rt, "from"), rapid.IntRange(12, 24).Draw(rt, "to"))
			}
		}
	}
	derived := func() {
		if _, err := derive(context.Background(), lake, "acme", w.env.Logger, nil); err != nil {
			rt.Fatal(err)
		}
	}
	derived()
	covered := func() string {
		s, err := sealedOf(lake, "acme")
		if err != nil {
			rt.Fatal(err)
		}
		return fmt.Sprint(s.windows())
	}
	ends := map[schemas.Date]bool{}
	for _, m := range months {
		if rapid.IntRange(0, 3).Draw(rt, "close") == 0 {
			continue
		}
		ends[m] = true
		at := filepath.Join(w.Cfg.Lake, "statements", m.Month().String())
		if err := errors.Join(os.MkdirAll(at, 0o700),
			os.WriteFile(filepath.Join(at, "manifest.json"), fmt.Appendf(nil, `{"format":1,"month":%q}`, m.Month()),
				0o600)); err != nil {
			rt.Fatal(err)
		}
	}
	was, cover := w.Files(), covered()
	for range rapid.IntRange(1, 3).Draw(rt, "prunes") {
		w.At(june.Start().AddDate(0, 0, rapid.IntRange(20, 130).Draw(rt, "now")))
		age := time.Duration(rapid.IntRange(1, 60).Draw(rt, "age")) * days
		before := w.Files()
		report := &PruneReport{}
		if _, report, err = Prune(context.Background(), w.Cfg, w.env,
			PruneOptions{Raw: age, DryRun: rapid.Bool().Draw(rt, "dry")}); err != nil {
			rt.Fatal(err)
		}
		gone := 0
		for _, name := range kit.Changed(before, w.Files()) {
			if strings.HasSuffix(name, "/pruned.jsonl") || name == "lake.json" || strings.HasPrefix(name, "journal/") {
				continue
			}
			d, err := schemas.ParseDate(strings.TrimPrefix(filepath.Base(filepath.Dir(name)), "date="))
			if err != nil || !strings.HasPrefix(name, "raw/") || report.DryRun {
				rt.Fatalf("%s has changed (%v)", name, err)
			}
			month := d.Month().First()
			if !ends[month] || w.Now().Before((month.Month() + 1).First().Start().Add(age)) {
				rt.Fatalf("%s is gone at %s by an age of %s; closed: %v", name, w.Now(), age, ends)
			}
			gone++
		}
		if !report.DryRun && gone != report.Files {
			rt.Fatalf("%d files are gone, %d were reported", gone, report.Files)
		}
	}
	derived()
	partitions, err := lake.Partitions("acme")
	if err != nil {
		rt.Fatal(err)
	}
	for _, p := range partitions { // as a rebuild does
		if _, _, err := deriveDay(context.Background(), lake, p); err != nil {
			rt.Fatal(err)
		}
		source, err := lake.Source(p)
		if err == nil && source.Frozen() {
			err = lake.CheckFrozen(source)
		}
		if err != nil {
			rt.Fatal(err)
		}
	}
	after := w.Files()
	for _, tree := range []string{"usage/", "quarantine/", "statements/"} {
		if c := kit.Changed(below(was, tree), below(after, tree)); len(c) != 0 {
			rt.Fatalf("%v changed", c)
		}
	}
	if got := covered(); got != cover {
		rt.Fatalf("covered is %s, was %s", got, cover)
	}
}
