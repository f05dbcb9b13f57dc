package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// seal puts a window of p into the raw archive, from one hour of the day to another.
func (w *dayWriter) seal(p schemas.Partition, from, to int) {
	w.T.Helper()
	start, end := p.Date.Start().Add(time.Duration(from)*time.Hour), p.Date.Start().Add(time.Duration(to)*time.Hour)
	s := schemastest.Seal(start, end)
	s.Account = p.Account
	if _, err := w.lake.Seal(context.Background(), s, schemastest.Pages(start)); err != nil {
		w.T.Fatal(err)
	}
}

// sealBalance puts a balance of p into the raw archive and derives its file.
func (w *dayWriter) sealBalance(p schemas.Partition, amounts ...string) {
	w.T.Helper()
	at := p.Date.Start()
	s := schemastest.Seal(at, at.Add(time.Second))
	s.Kind, s.Account, s.Announced, s.Records, s.Proof, s.AskedStart, s.AskedEnd = schemas.KindBalance, p.Account, nil, 0,
		"", 0, 0
	s.RequestIDs = s.RequestIDs[:1]
	if _, err := w.lake.Seal(context.Background(), s, schemastest.Pages(at)[:1]); err != nil {
		w.T.Fatal(err)
	}
	raws, err := w.lake.Balances(p)
	if err != nil {
		w.T.Fatal(err)
	}
	w.Digest = load.DayDigest(1, raws)
	w.Balance(p, amounts...)
}

// derived writes the day file of p as derived from what is sealed, with n rows and some quarantined records.
func (w *dayWriter) derived(p schemas.Partition, query string, quarantined int, change func(*schemas.DayFooter)) {
	w.T.Helper()
	source, err := w.lake.Source(p)
	if err != nil {
		w.T.Fatal(err)
	}
	w.Digest = load.DayDigest(1, source.Windows)
	w.DayFrom(p, query, w.Digest, func(f *schemas.DayFooter) {
		f.Quarantined = int64(quarantined)
		f.Windows = nil
		for _, r := range source.Windows {
			announced := f.Rows
			f.Windows = append(f.Windows, schemas.DayWindow{Seq: r.Seq, Start: r.Window.Start, End: r.Window.End,
				Announced: &announced, Records: f.Rows, Pages: 3, Requests: 4,
				Proof: schemas.ProofTotal, FetchedAt: p.Date.End(), RunID: "run-1", Owns: true})
		}
		if change != nil {
			change(f)
		}
	})
	if quarantined > 0 {
		w.Quarantine(p, quarantined)
	}
}

// soundLake is a published lake in which nothing is wrong.
func soundLake(t testing.TB) (*dayWriter, []schemas.Partition) {
	t.Helper()
	w := newDayWriter(t, load.Options{})
	var days []schemas.Partition
	for _, account := range []string{"acme", "zeta-2"} {
		for i := range 3 {
			p := schemas.Partition{Account: account, Date: schemastest.Date("2026-10-30") + schemas.Date(i)}
			w.seal(p, 0, 24)
			if i == 1 {
				w.seal(p, 6, 12)
			}
			w.derived(p, loadtest.UsageSQL(p, 200+i, int64(i)), i, nil)
			days = append(days, p)
		}
	}
	w.sealBalance(days[1], "10.5", "9.000000000001")
	if err := w.lake.AppendRun(schemas.Run{RunID: "run-1", Command: "export", Status: schemas.StatusDone,
		StartedAt: time.Unix(1, 0).UTC()}); err != nil {
		t.Fatal(err)
	}
	w.publish(PublishOptions{})
	return w, days
}

func (w *dayWriter) verify() VerifyReport {
	w.T.Helper()
	r, err := w.lake.Verify(context.Background(), VerifyOptions{TransformVersion: 1})
	if err != nil {
		w.T.Fatal(err)
	}
	return r
}

func TestVerifyFindsNothingInASoundLake(t *testing.T) {
	w, _ := soundLake(t)
	steps := 0
	r, err := w.lake.Verify(context.Background(),
		VerifyOptions{TransformVersion: 1, Progress: func(string, int, int) { steps++ }})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
	r.RawBytes, r.Findings = 0, nil
	want := VerifyReport{Accounts: 2, Windows: 8, RawFiles: 9, RawPages: 17, DayFiles: 6, Rows: 1206, QuarantineFiles: 4,
		Quarantined: 6, BalanceFiles: 1,
		Runs: 1, DatabaseDays: 6, DatabaseRows: 1206}
	if fmt.Sprint(r) != fmt.Sprint(want) {
		t.Errorf("looked at %+v\nwant      %+v", r, want)
	}
	if steps != 7 {
		t.Errorf("%d steps of progress", steps)
	}
}

func TestVerifyFindsEachKindOfDamage(t *testing.T) {
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		damage func(*testing.T, *dayWriter, []schemas.Partition)
		want   []string // the checks of the findings
	}{
		{"a sealed window gone", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			source, err := w.lake.Source(days[1])
			must(t, err)
			must(t, os.Remove(filepath.Join(w.lake.Partition(load.RawDir, days[1]), source.Windows[0].Name)))
		}, []string{FoundOrphan, FoundGap, FoundGap}},
		{"a day without windows", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			must(t, os.RemoveAll(w.lake.Partition(load.RawDir, days[0])))
		}, []string{FoundOrphan}},
		{"a day file gone", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			must(t, os.Remove(w.lake.UsagePath(days[0])))
		}, []string{FoundMissing, FoundBehind}},
		{"a window sealed and not derived", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.seal(days[0], 3, 4)
		}, []string{FoundStale}},
		{"a window that holds other than was announced", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			s := schemastest.Seal(days[0].Date.Start(), days[0].Date.End())
			s.Records = 1
			_, err := w.lake.Seal(context.Background(), s, schemastest.Pages(s.Start))
			if err != nil {
				t.Skip("Seal refuses it: ", err)
			}
			w.derived(days[0], loadtest.UsageSQL(days[0], 200, 0), 0, nil)
			w.publish(PublishOptions{})
		}, []string{FoundAnnounced}},
		{"a day fetched long ago", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			p := schemas.Partition{Account: "acme", Date: days[0].Date - 10}
			w.seal(p, 0, 24)
			w.derived(p, loadtest.UsageSQL(p, 10, 1), 0, nil)
			w.publish(PublishOptions{})
		}, []string{FoundGap}},
		{"a footer that says more rows", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.derived(days[0], loadtest.UsageSQL(days[0], 200, 0), 0, func(f *schemas.DayFooter) { f.Rows++ })
		}, []string{FoundTotals, FoundChanged, FoundDiffers}},
		{"a footer that says another amount", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.derived(days[0], loadtest.UsageSQL(days[0], 200, 0), 0, func(f *schemas.DayFooter) { f.Amount = "1.000000000001" })
		}, []string{FoundTotals, FoundChanged, FoundDiffers}},
		{"rows of another day", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.derived(days[0],
				"SELECT * REPLACE (request_time + INTERVAL 1 DAY AS request_time) FROM ("+loadtest.UsageSQL(days[0], 200, 0)+")", 0,
				nil)
		}, []string{FoundMisplaced, FoundChanged, FoundDiffers}},
		{"rows of another account", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.derived(days[0], "SELECT * REPLACE ('other' AS account) FROM ("+loadtest.UsageSQL(days[0], 200, 0)+")", 0, nil)
		}, []string{FoundMisplaced, FoundChanged, FoundDiffers}},
		{"rows in another order", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.derived(days[0], loadtest.UsageSQL(days[0], 200, 0)+" ORDER BY id DESC", 0, nil)
		}, []string{FoundOrder, FoundChanged}},
		{"one text changed", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.derived(days[0],
				"SELECT * REPLACE (CASE id WHEN 'r207560000007' THEN 'other' ELSE model END AS model) FROM ("+
					loadtest.UsageSQL(days[0], 200, 0)+")", 0, nil)
		}, []string{FoundChanged, FoundDiffers}},
		{"an id on two days", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.derived(days[0],
				"SELECT * REPLACE (CASE WHEN row_number() OVER () = 200 THEN (SELECT min(id) FROM ("+loadtest.UsageSQL(days[1], 3,
					1)+")) ELSE id END AS id) FROM ("+loadtest.UsageSQL(days[0], 200, 0)+")", 0, nil)
			w.publish(PublishOptions{Full: true})
		}, nil},
		{"several of one id and second", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.derived(days[0],
				"SELECT * REPLACE (TIMESTAMPTZ '"+days[0].Date.String()+" 10:00:00+00' AS request_time, 'None' AS id, "+
					"row_number() OVER () AS ordinal) FROM ("+loadtest.UsageSQL(days[0], 200, 0)+")", 0, nil)
			w.publish(PublishOptions{Full: true})
		}, nil},
		{"a record twice", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.derived(days[0], "SELECT * FROM ("+loadtest.UsageSQL(days[0], 200,
				0)+" UNION ALL SELECT * FROM ("+loadtest.UsageSQL(days[0], 200,
				0)+") WHERE id LIKE '%7') ORDER BY request_time, id", 0, nil)
			w.publish(PublishOptions{Full: true})
		}, slices.Concat([]string{FoundOrder}, slices.Repeat([]string{FoundDuplicate}, 20))},
		{"a quarantined record gone", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.Digest = load.DayDigest(1, mustWindows(t, w.lake, days[2]))
			w.Quarantine(days[2], 1)
		}, []string{FoundQuarantine, FoundChanged}},
		{"the quarantine gone", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			must(t, os.Remove(w.lake.QuarantinePath(days[2])))
		}, []string{FoundQuarantine, FoundChanged}},
		{"a quarantine of other windows", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.Digest = "another"
			w.Quarantine(days[2], 2)
		}, []string{FoundStale, FoundChanged}},
		{"a balance file gone", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			must(t, os.Remove(w.lake.BalancePath(days[1])))
		}, []string{FoundMissing, FoundBehind}},
		{"a balance that nobody sealed", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.Balance(days[0], "1")
		}, []string{FoundOrphan, FoundBehind}},
		{"strays", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			must(t, os.WriteFile(filepath.Join(w.lake.Partition(load.UsageDir, days[0]), "usage (copy).parquet"), nil, 0o600))
			must(t, os.WriteFile(filepath.Join(w.lake.Partition(load.RawDir, days[0]), "notes.txt"), nil, 0o600))
			must(t, os.MkdirAll(w.lake.Path(load.UsageDir, "acct=acme", "date=2026-13-01"), 0o700))
			must(t, os.MkdirAll(w.lake.Path(load.BalanceDir, "acct=ACME"), 0o700))
		}, []string{FoundStray, FoundStray, FoundStray, FoundStray}},
		{"a torn journal line", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			must(t, os.WriteFile(w.lake.Path("journal", "runs.jsonl"), []byte("{\"run_id\":\n"), 0o600))
		}, []string{FoundJournal}},
		{"the published file gone", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			must(t, os.Remove(w.lake.Database()))
		}, []string{FoundDatabase}},
		{"the published file cut off", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			must(t, os.Truncate(w.lake.Database(), 300_000))
		}, []string{FoundDatabase}},
		{"another file in its place", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			must(t, os.WriteFile(w.lake.Database(), []byte("hello"), 0o600))
		}, []string{FoundDatabase}},
		{"a published file of a newer version", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.tamper("UPDATE meta SET schema_version = 99")
		}, []string{FoundVersion}},
		{"a row deleted from the published file", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.tamper("DELETE FROM usage WHERE id = (SELECT min(id) FROM usage)")
		}, []string{FoundDiffers, FoundDiffers}},
		{"a text changed in the published file", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.tamper("UPDATE usage SET model = 'other' WHERE account = 'acme' AND id = (SELECT min(id) FROM usage)")
		}, []string{FoundDiffers}},
		{"a rollup changed in the published file", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.tamper("UPDATE usage_daily SET amount = amount + 0.000000000001 WHERE rowid = 0")
		}, []string{FoundDiffers}},
		{"coverage, quarantine and issues deleted from the published file",
			func(t *testing.T, w *dayWriter, days []schemas.Partition) {
				w.tamper("DELETE FROM coverage WHERE account = 'acme' AND usage_date = '2026-10-30'; DELETE FROM day_issues " +
					"WHERE account = 'zeta-2' AND usage_date = '2026-10-30'; DELETE FROM quarantine WHERE account = 'zeta-2' AND " +
					"window_start >= '2026-11-01 00:00:00+00'")
			}, []string{FoundDiffers, FoundDiffers, FoundDiffers}},
		{"a balance changed in the published file", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.tamper("UPDATE balance SET balance = 11")
		}, []string{FoundDiffers}},
		{"a view that fails", func(t *testing.T, w *dayWriter, days []schemas.Partition) {
			w.tamper("DROP TABLE unit_prices")
		}, []string{FoundDatabase}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, days := soundLake(t)
			c.damage(t, w, days)
			_ = os.Remove(w.lake.Path(load.MarksFile)) // what it tells has a test of its own: here the content is looked at
			var got []string
			r := w.verify()
			for _, f := range r.Findings {
				got = append(got, f.Check)
				if f.Detail == "" || f.Hint == "" && f.Check != FoundJournal || filepath.IsAbs(f.Path) || f.Path == "" &&
					f.Account == "" {
					t.Errorf("not enough is said: %+v", f)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("found %q, want %q\n%+v", got, c.want, r.Findings)
			}
		})
	}
}

func mustWindows(t testing.TB, l *Lake, p schemas.Partition) []load.Raw {
	t.Helper()
	source, err := l.Source(p)
	if err != nil {
		t.Fatal(err)
	}
	return source.Windows
}

// tamper changes the published file behind the lake's back, and behind that of published.json.
func (w *dayWriter) tamper(statements string) {
	w.T.Helper()
	ctx := context.Background()
	d, err := openDatabase(ctx, engine{}, w.lake.Database(), false)
	if err != nil {
		w.T.Fatal(err)
	}
	defer d.Close()
	if err := errors.Join(d.Exec(ctx, statements), d.detach(ctx), os.Remove(w.lake.Path(load.MarksFile))); err != nil {
		w.T.Fatal(err)
	}
}

// Whatever byte of whatever file is flipped, verify finds it, or it is one that says nothing.
func TestVerifyFindsAFlippedByteInEachKindOfFile(t *testing.T) {
	w, days := soundLake(t)
	raws := mustWindows(t, w.lake, days[2])
	balances, err := w.lake.Balances(days[1])
	if err != nil {
		t.Fatal(err)
	}
	content := w.Dump()
	tries := 12
	if testing.Short() {
		tries = 3
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, path := range []string{
		filepath.Join(w.lake.Partition(load.RawDir, days[2]), raws[0].Name),
		filepath.Join(w.lake.Partition(load.RawDir, days[1]), balances[0].Name),
		w.lake.UsagePath(days[2]),
		w.lake.QuarantinePath(days[2]),
		w.lake.BalancePath(days[1]),
		w.lake.Database(),
	} {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for range tries {
			at := rnd.IntN(len(whole))
			broken := bytes.Clone(whole)
			broken[at] ^= 1 << rnd.IntN(8)
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			if r := w.verify(); len(r.Findings) > 0 {
				continue
			}
			if path == w.lake.Database() && w.Dump() == content {
				continue // free space, or the header that isn't in use
			}
			t.Errorf("%s: byte %d of %d flipped, and nothing found", strings.TrimPrefix(path, w.lake.Dir()), at, len(whole))
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.verify(); len(r.Findings) > 0 {
		t.Errorf("mended, and still %+v", r.Findings)
	}
}

// But for what DuckDB spills, of which nothing is left.
func TestVerifyWritesNothingIntoTheLake(t *testing.T) {
	w, _ := soundLake(t)
	list := func() string {
		var b strings.Builder
		err := filepath.WalkDir(w.lake.Dir(), func(path string, e os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if path == w.lake.Path(durable.TempDir) {
				fmt.Fprintln(&b, path)
				return err
			}
			fmt.Fprintln(&b, path, info.Size(), info.ModTime())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	before := list()
	w.verify()
	if after := list(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

func TestVerifyEndsWhenCancelled(t *testing.T) {
	w, _ := soundLake(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err := w.lake.Verify(ctx, VerifyOptions{Progress: func(_ string, done, _ int) {
		if done == 2 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
