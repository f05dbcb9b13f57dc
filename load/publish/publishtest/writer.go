// Package publishtest writes lakes, publishes them and closes their months, for tests of what reads published files.
package publishtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// Writer writes a lake's files, and publishes them.
type Writer struct {
	*loadtest.Writer
	Lake *publish.Lake
}

// New makes a lake and a writer of its files.
func New(t testing.TB, opts load.Options) *Writer {
	t.Helper()
	l, err := publish.Create(filepath.Join(t.TempDir(), "lake"), publish.Options{Options: opts})
	if err != nil {
		t.Fatal(err)
	}
	return &Writer{loadtest.NewWriter(t, l.Lake), l}
}

// Publish publishes the lake.
func (w *Writer) Publish(opts publish.PublishOptions) publish.Published {
	w.T.Helper()
	if opts.Now == nil {
		opts.Now = loadtest.TickingClock()
	}
	opts.Version = "test"
	done, err := w.Lake.Publish(context.Background(), opts)
	if err != nil {
		w.T.Fatal(err)
	}
	return done
}

// CloseMonth closes a month with the rules that are published, and publishes.
func (w *Writer) CloseMonth(month string, f publish.Finance) (publish.ClosedMonth, error) {
	w.T.Helper()
	m, err := schemas.ParseMonth(month)
	if err != nil {
		w.T.Fatal(err)
	}
	c, err := w.Lake.CloseMonth(context.Background(), publish.CloseOptions{Month: m, RunID: "run-c", Version: "test",
		Now: loadtest.TickingClock(), Books: f.Books, Rates: f.Rates,
		Rules:       []publish.RuleFile{{Name: "rules.yaml", Content: []byte(f.Rules.Digest())}},
		RulesDigest: f.Rules.Digest(),
		Write: func(_ context.Context, dir string, _ int) error {
			return os.WriteFile(filepath.Join(dir, "statement.csv"), []byte("x\n"), 0o644)
		}})
	if err == nil {
		w.Publish(publish.PublishOptions{Finance: f})
	}
	return c, err
}

// Archived gives rules by what closeMonth kept of them.
func Archived(all ...publish.Allocator) func([]publish.RuleFile) (publish.Allocator, error) {
	return func(files []publish.RuleFile) (publish.Allocator, error) {
		for _, a := range all {
			if string(files[0].Content) == a.Digest() {
				return a, nil
			}
		}
		return nil, fmt.Errorf("unknown rules %s", files[0].Content)
	}
}

// Day writes a day file of charges: id, token, model and amount of each, in USD.
func (w *Writer) Day(p schemas.Partition, rows ...[4]string) {
	w.T.Helper()
	var out []string
	for _, r := range rows {
		out = append(out, loadtest.Charge(p, r[0], r[1], r[2], r[3], "USD"))
	}
	if len(out) == 0 {
		out = append(out, "FROM ("+loadtest.Charge(p, "none", "tk_0", "m", "0", "USD")+") WHERE false")
	}
	w.Charges(p, out...)
}

// Charged is a record as a test writes it.
type Charged struct {
	ID, Token, Model, Amount, Currency string
	Hour                               int // of the day, at which it was used
}

// Images writes a day file of charges, as Day does, each of which is for one image.
func (w *Writer) Images(p schemas.Partition, rows ...[4]string) {
	w.T.Helper()
	var out []string
	for _, r := range rows {
		out = append(out, loadtest.Charge(p, r[0], r[1], r[2], r[3], "USD",
			fmt.Sprintf(`ext_items=[{category: 'image', item: 'out', unit: 'each', price: %s::DECIMAL(18,12), "usage": `+
				`1::DECIMAL(18,12), amount: %[1]s::DECIMAL(18,12)}]`, r[3])))
	}
	w.Charges(p, out...)
}

// PartOfDay writes a day file of charges of which the first hours were fetched.
func (w *Writer) PartOfDay(p schemas.Partition, hours int, rows ...Charged) {
	w.T.Helper()
	out := []string{"FROM (" + loadtest.Charge(p, "none", "tk_0", "m", "0", "USD") + ") WHERE false"}
	for _, r := range rows {
		out = append(out, loadtest.Charge(p, r.ID, r.Token, r.Model, r.Amount, r.Currency,
			fmt.Sprintf("request_time=request_time + INTERVAL %d HOUR", r.Hour)))
	}
	query := strings.Join(out, " UNION ALL ")
	w.DayFrom(p, query, fmt.Sprintf("d-%s-%d", p, len(query)), func(f *schemas.DayFooter) {
		if hours < 24 {
			f.Windows = f.Windows[1:]
			f.Windows[0].End = p.Date.Start().Add(time.Duration(hours) * time.Hour)
		}
	})
}

// Close closes a month.
func (w *Writer) Close(month string, f publish.Finance) {
	w.T.Helper()
	f.Archived = Archived(f.Rules)
	if _, err := w.CloseMonth(month, f); err != nil {
		w.T.Fatal(err)
	}
}

// Ruled is the finance of the test rules, whose owner of team 4 changes on a day, with the pool that the centres bear.
func Ruled(since string, pool ...string) publish.Finance {
	f := publish.Finance{Rules: loadtest.Rules{Name: "a", Since: schemastest.Date(since), Pool: pool}}
	f.Archived = Archived(f.Rules)
	return f
}
