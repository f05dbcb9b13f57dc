package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/durable/durabletest"
	"github.com/usagelake/usagelake/schemas"
)

// accountBefore began the name of an account's folder before format 3.
const accountBefore = "account="

// makeOld gives a lake the layout of before format 3.
func makeOld(t *testing.T, dir string, format int) {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(dir, "*", "acct="+"*"))
	must(t, err)
	for _, f := range folders {
		must(t, os.Rename(f,
			filepath.Join(filepath.Dir(f), accountBefore+strings.TrimPrefix(filepath.Base(f), "acct="))))
	}
	must(t, os.WriteFile(filepath.Join(dir, "lake.json"), fmt.Appendf(nil, "{\"format\":%d}\n", format),
		durable.FileMode))
}

// contents are the files of the trees by path, with the folders of either name as one.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, tree := range []string{load.UsageDir, load.BalanceDir, load.QuarantineDir, load.RawDir} {
		must(t, filepath.WalkDir(filepath.Join(dir, tree), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			name, _ := filepath.Rel(dir, path)
			name = strings.Replace(name, "/"+accountBefore, "/"+"acct=", 1)
			if _, twice := out[name]; twice {
				t.Errorf("%s stands there twice", name)
			}
			out[name] = string(b)
			return err
		}))
	}
	return out
}

func sameFiles(t *testing.T, when string, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %s is %d bytes, want %d", when, name, len(got[name]), len(want[name]))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %s came from nowhere", when, name)
		}
	}
}

// A lake of before is read as it is, and moved by whoever takes its lock first: without a change to any file, or to a
// finding.
func TestALakeOfTheLayoutOfBeforeIsReadAndMoved(t *testing.T) {
	w, days := soundLake(t)
	dir := w.lake.Dir()
	want := contents(t, dir)
	for _, format := range []int{1, 2} {
		makeOld(t, dir, format)
		l, err := open(dir, load.Options{})
		must(t, err)
		look := func(when string) {
			t.Helper()
			if accounts, err := l.Accounts(); err != nil || !slices.Equal(accounts, []string{"acme", "zeta-2"}) {
				t.Errorf("%s: accounts %v %v", when, accounts, err)
			}
			for _, account := range []string{"acme", "zeta-2"} {
				if found, err := l.Partitions(account); err != nil || len(found) != 3 {
					t.Errorf("%s: days %v %v", when, found, err)
				}
			}
			for _, p := range days {
				if _, ok, err := l.Day(p); !ok || err != nil {
					t.Errorf("%s: %s: %v %v", when, p, ok, err)
				}
			}
			r, err := l.Verify(context.Background(), VerifyOptions{TransformVersion: 1})
			if err != nil || len(r.Findings) > 0 || r.RawFiles != 9 || r.DayFiles != 6 {
				t.Errorf("%s: %v %+v", when, err, r)
			}
		}
		look("as it was")
		other, err := open(dir, load.Options{}) // a process that only reads, while another one moves the lake
		must(t, err)
		unlock, err := l.Lock(t.Context(), "test", false)
		must(t, err)
		look("moved")
		must(t, unlock())
		if left, _ := filepath.Glob(filepath.Join(dir, "*", accountBefore+"*")); len(left) > 0 {
			t.Errorf("not moved: %v", left)
		}
		if got := mustRead(t, l.Path("lake.json")); got != "{\"format\":3}\n" || l.Format() != load.Format {
			t.Errorf("the marker is %s, the format %d", got, l.Format())
		}
		l = other
		look("opened before")
		sameFiles(t, "moved", contents(t, dir), want)
	}
}

// Whichever step of the move fails, dead or alive: every file stands there once, of its bytes, the lake reads the same,
// and the next run goes on.
func TestAMoveMayBeKilledAnywhere(t *testing.T) {
	w, days := soundLake(t)
	dir := w.lake.Dir()
	want := contents(t, dir)
	for _, how := range []durabletest.Fault{durabletest.NotDone, durabletest.Lost} {
		for _, down := range []bool{false, true} {
			for at := 0; ; at++ {
				makeOld(t, dir, 1)
				ffs := &durabletest.FS{At: -1, How: how, Down: down}
				l, err := open(dir, load.Options{FS: ffs})
				must(t, err)
				ffs.At, ffs.Steps = at, nil
				unlock, err := l.Lock(t.Context(), "test", false)
				if err == nil {
					must(t, unlock())
				}
				steps := len(ffs.Steps)
				when := fmt.Sprintf("step %d of %d (%v, down %v)", at, steps, how, down)
				sameFiles(t, when, contents(t, dir), want)
				again, err := open(dir, load.Options{})
				must(t, err)
				for _, p := range days {
					source, err := again.Source(p)
					footer, ok, err2 := again.Day(p)
					if err := errors.Join(err, err2); err != nil || !ok || footer.Digest != load.DayDigest(1, source.Windows) {
						t.Errorf("%s: %s: %d windows, %v, %v", when, p, len(source.Windows), ok, err)
					}
				}
				unlock, err = again.Lock(t.Context(), "test", false)
				must(t, err)
				must(t, unlock())
				if left, _ := filepath.Glob(filepath.Join(dir, "*", accountBefore+"*")); len(left) > 0 {
					t.Errorf("%s: not moved: %v", when, left)
				}
				if at >= steps {
					if at < 10 {
						t.Errorf("the move has %d steps", steps)
					}
					break
				}
			}
		}
	}
}

// What a backup of before brings back into a lake of now is found by verify, and taken by the next run as far as its
// place is free; what isn't is kept outside of the trees, so that no reader sees a record twice.
func TestABackupOfBeforeIsTakenIn(t *testing.T) {
	w, days := soundLake(t)
	dir := w.lake.Dir()
	l := w.lake
	want := contents(t, dir)
	lost := days[1]
	raws := mustWindows(t, l, lost)
	back := filepath.Join(dir, load.RawDir, accountBefore+lost.Account, "date="+lost.Date.String())
	must(t, os.MkdirAll(back, durable.DirMode))
	must(t, os.Rename(filepath.Join(l.Partition(load.RawDir, lost), raws[0].Name), filepath.Join(back, raws[0].Name)))
	must(t, os.WriteFile(filepath.Join(back, raws[1].Name), []byte("another"), durable.FileMode))
	other := schemas.Partition{Account: lost.Account, Date: days[0].Date}
	old := filepath.Join(dir, load.UsageDir, accountBefore+other.Account, "date="+other.Date.String())
	must(t, os.MkdirAll(old, durable.DirMode))
	must(t, os.WriteFile(filepath.Join(old, load.UsageFile), []byte(mustRead(t, l.UsagePath(other))), durable.FileMode))

	r := w.verify()
	strays := 0
	for _, f := range r.Findings {
		if f.Check == FoundStray && strings.Contains(f.Path, accountBefore) {
			strays++
		}
	}
	if strays != 2 {
		t.Errorf("two folders stand there by both names: %+v", r.Findings)
	}
	unlock, err := l.Lock(t.Context(), "test", false)
	must(t, err)
	must(t, unlock())
	sameFiles(t, "taken in", contents(t, dir), want)
	// What differs is kept; a day file of the same bytes isn't, and the same backup may be put back once more.
	kept, err := filepath.Glob(l.Path(load.DamagedDir, "*", "*", "*", "*"))
	if err != nil || len(kept) != 1 || mustRead(t, kept[0]) != "another" || !strings.HasSuffix(kept[0], "_"+raws[1].Name) {
		t.Errorf("kept %v %v", kept, err)
	}
	must(t, os.MkdirAll(back, durable.DirMode))
	must(t, os.WriteFile(filepath.Join(back, raws[1].Name), []byte("another"), durable.FileMode))
	unlock, err = l.Lock(t.Context(), "test", false)
	must(t, err)
	must(t, unlock())
	sameFiles(t, "taken in twice", contents(t, dir), want)
	if r := w.verify(); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
}
