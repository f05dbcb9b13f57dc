package load

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func sealWindow(t testing.TB, l *Lake, from, to time.Duration) Raw {
	t.Helper()
	start := schemastest.Day.Date.Start()
	r, err := l.Seal(t.Context(), schemastest.Seal(start.Add(from), start.Add(to)),
		schemastest.Pages(schemastest.Day.Date.End()))
	must(t, err)
	return r
}

// collect reads all pages, with bodies of their own.
func collect(ctx context.Context, s schemas.Sealed) ([]schemas.Page, error) {
	var pages []schemas.Page
	for p, err := range s.Pages(ctx) {
		if err != nil {
			return pages, err
		}
		p.Body = bytes.Clone(p.Body)
		pages = append(pages, p)
	}
	return pages, nil
}

func TestSealedWindowComesBackAsItWas(t *testing.T) {
	l := newTestLake(t, Options{})
	seal := schemastest.Seal(schemastest.Day.Date.Start().Add(6*time.Hour), schemastest.Day.Date.End())
	pages := schemastest.Pages(schemastest.Day.Date.End())
	slices.Reverse(pages) // as they may have come
	r, err := l.Seal(t.Context(), seal, pages)
	must(t, err)
	slices.Reverse(pages)
	s, err := l.OpenRaw(t.Context(), schemastest.Day, r)
	must(t, err)
	for range 2 { // as often as one likes
		got, err := collect(t.Context(), s)
		must(t, err)
		if !reflect.DeepEqual(got, pages) {
			t.Errorf("pages came back as %v, want %v", got, pages)
		}
	}
	seal.Format, seal.Pages, seal.Digest = schemas.RawFormat, 2, s.Seal.Digest
	if !reflect.DeepEqual(s.Seal, seal) || s.Seq != 1 {
		t.Errorf("seal %d came back as\n%+v, want\n%+v", s.Seq, s.Seal, seal)
	}
	if want := "000001_060000-240000_" + s.Seal.Digest[:16] + ".pages.zst"; r.Name != want || r.Window != seal.Window() {
		t.Errorf("the file is %+v, want the name %s", r, want)
	}
}

func TestSequenceCountsOverBothKindsAndAscends(t *testing.T) {
	l := newTestLake(t, Options{})
	a := sealWindow(t, l, 0, time.Hour)
	seal := schemastest.Seal(schemastest.Day.Date.Start(), schemastest.Day.Date.Start())
	seal.Kind = schemas.KindBalance
	b, err := l.Seal(t.Context(), seal, schemastest.Pages(schemastest.Day.Date.End())[:1])
	must(t, err)
	c := sealWindow(t, l, 0, time.Hour) // the same once more
	source, err := l.Source(schemastest.Day)
	must(t, err)
	balances, err := l.Balances(schemastest.Day)
	must(t, err)
	if !slices.Equal(source.Windows, []Raw{a, c}) || !slices.Equal(balances, []Raw{b}) || a.Seq != 1 || b.Seq != 2 ||
		c.Seq != 3 {
		t.Errorf("windows %v, balances %v", source.Windows, balances)
	}
	if b.Window.Seconds() != 1 || b.Window.Start != schemastest.Day.Date.Start() {
		t.Errorf("the balance is of %v", b.Window)
	}
	must(t, readRaw(t, l, b))
	must(t, os.Remove(filepath.Join(l.Partition(RawDir, schemastest.Day), b.Name)))
	if d := sealWindow(t, l, 0, time.Hour); d.Seq != 4 {
		t.Errorf("after a removal the next is %d", d.Seq)
	}
	if DayDigest(1, source.Windows) == DayDigest(2, source.Windows) || DayDigest(1, source.Windows) == DayDigest(1,
		source.Windows[:1]) ||
		len(DayDigest(1, nil)) != 64 {
		t.Error("the day's digest doesn't tell apart what it should")
	}
}

func TestSealsFromManyGoroutinesEachGetANumber(t *testing.T) {
	l := newTestLake(t, Options{})
	const n = 16
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			start := schemastest.Day.Date.Start().Add(time.Duration(i) * time.Hour)
			_, errs[i] = l.Seal(t.Context(), schemastest.Seal(start, start.Add(time.Hour)),
				schemastest.Pages(schemastest.Day.Date.End()))
		})
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	source, err := l.Source(schemastest.Day)
	must(t, err)
	if len(source.Windows) != n || source.Windows[n-1].Seq != n {
		t.Errorf("%d windows, the last is %+v", len(source.Windows), source.Windows[len(source.Windows)-1])
	}
}

func TestEqualSealsGiveEqualBytes(t *testing.T) {
	var files [][]byte
	for range 2 {
		l := newTestLake(t, Options{})
		r := sealWindow(t, l, 0, time.Hour)
		b, err := os.ReadFile(filepath.Join(l.Partition(RawDir, schemastest.Day), r.Name))
		must(t, err)
		files = append(files, b)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("two lakes hold different bytes for the same window")
	}
}

func TestSealRefusesWhatItCouldNotKeep(t *testing.T) {
	start, end := schemastest.Day.Date.Start(), schemastest.Day.Date.End()
	tests := []struct {
		name   string
		change func(*schemas.Seal, *[]schemas.Page)
	}{
		{"no page", func(_ *schemas.Seal, p *[]schemas.Page) { *p = nil }},
		{"a number twice", func(_ *schemas.Seal, p *[]schemas.Page) { (*p)[1].Number = 1 }},
		{"page 0", func(_ *schemas.Seal, p *[]schemas.Page) { (*p)[0].Number = 0 }},
		{"a body beyond the bound", func(_ *schemas.Seal, p *[]schemas.Page) { (*p)[0].Body = make([]byte, MaxPage+1) }},
		{"two days", func(s *schemas.Seal, _ *[]schemas.Page) { s.End = s.End.Add(time.Second) }},
		{"no length", func(s *schemas.Seal, _ *[]schemas.Page) { s.End = s.Start }},
		{"parts of a second", func(s *schemas.Seal, _ *[]schemas.Page) { s.Start = s.Start.Add(1) }},
		{"an account that is a path", func(s *schemas.Seal, _ *[]schemas.Page) { s.Account = "../x" }},
		{"an unknown kind", func(s *schemas.Seal, _ *[]schemas.Page) { s.Kind = "usages" }},
		{"no run", func(s *schemas.Seal, _ *[]schemas.Page) { s.RunID = "" }},
		{"no time of fetching", func(s *schemas.Seal, _ *[]schemas.Page) { s.FetchedAt = time.Time{} }},
		{"a balance of an hour", func(s *schemas.Seal, _ *[]schemas.Page) {
			s.Kind, s.End = schemas.KindBalance, s.Start.Add(time.Hour)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newTestLake(t, Options{})
			seal, pages := schemastest.Seal(start, end), schemastest.Pages(end)
			tt.change(&seal, &pages)
			if _, err := l.Seal(t.Context(), seal, pages); err == nil {
				t.Error("it was sealed")
			}
			if left, _ := filepath.Glob(l.Path("raw/*/*/*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
	l := newTestLake(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Seal(ctx, schemastest.Seal(start, end), schemastest.Pages(end)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestNamesSealDidNotGiveAreStrays(t *testing.T) {
	l := newTestLake(t, Options{})
	r := sealWindow(t, l, 0, time.Hour)
	dir := l.Partition(RawDir, schemastest.Day)
	strays := []string{
		"notes.txt", "1_000000-010000_0123456789abcdef.pages.zst", "000000_000000-010000_0123456789abcdef.pages.zst",
		"000002_010000-010000_0123456789abcdef.pages.zst", "000002_020000-010000_0123456789abcdef.pages.zst",
		"000002_000000-240001_0123456789abcdef.pages.zst", "000002_000000-006000_0123456789abcdef.pages.zst",
		"000002_000000-010000_0123456789ABCDEF.pages.zst", "000002_000000-010000_0123456789abcdef.pages.zst.tmp",
		"000002_240000_0123456789abcdef.balance.zst", "000002_000000_0123456789abcdef.pages.zst",
		strings.Replace(r.Name, "010000", "020000", 1), // its number is taken
	}
	slices.Sort(strays)
	for _, name := range strays {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, durable.FileMode))
	}
	got, err := l.Strays(schemastest.Day)
	must(t, err)
	if !slices.Equal(got, strays) {
		t.Errorf("strays\n%v\nwant\n%v", got, strays)
	}
}

func TestAccountsAndPartitionsAreReadOffTheDirectories(t *testing.T) {
	l := newTestLake(t, Options{})
	for _, dir := range []string{
		"raw/acct=beta/date=2026-11-02", "raw/acct=beta/date=2026-10-31", "usage/acct=beta/date=2026-11-01",
		"balance/acct=acme/date=2026-11-03", "usage/acct=beta/date=2026-11-02", "raw/acct=.hidden/date=2026-11-02",
		"raw/acct=beta/date=2026-11-32", "raw/acct=beta/date=2026-1-1", "raw/acct=beta/x", "raw/other",
	} {
		must(t, os.MkdirAll(l.Path(dir), durable.DirMode))
	}
	accounts, err := l.Accounts()
	must(t, err)
	if !slices.Equal(accounts, []string{"acme", "beta"}) {
		t.Errorf("accounts %v", accounts)
	}
	days, err := l.Partitions("beta")
	must(t, err)
	if got := fmt.Sprint(days); got != "[beta 2026-10-31 beta 2026-11-01 beta 2026-11-02]" {
		t.Errorf("days %s", got)
	}
}

// rewrite changes what a raw file holds, keeping its frame, digest line and trailer right as far as change leaves them.
func rewrite(t testing.TB, path string, change func(content []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	dec, err := zstd.NewReader(bytes.NewReader(b))
	must(t, err)
	defer dec.Close()
	var content bytes.Buffer
	_, err = content.ReadFrom(dec) // the trailer is passed over
	must(t, err)
	var out bytes.Buffer
	must(t, writeRaw(t.Context(), new(coders), &out, change(content.Bytes()), nil, nil))
	must(t, os.WriteFile(path, out.Bytes(), durable.FileMode))
}

func TestDamageIsFoundAndNamed(t *testing.T) {
	replace := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte {
			if !bytes.Contains(b, []byte(old)) {
				panic("no " + old)
			}
			return bytes.Replace(b, []byte(old), []byte(new), 1)
		}
	}
	tests := []struct {
		name   string
		change func([]byte) []byte
		want   string
	}{
		{"a body changed", replace(`{"id":1}`, `{"id":7}`), "digest"},
		{"a body shortened", replace(`{"id":1}`, `{"id":`), "longer than its line says"},
		{"a page missing", func(b []byte) []byte { return b[:bytes.Index(b, []byte(`{"page":2`))] }, "ends too early"},
		{"a page cut off", func(b []byte) []byte { return b[:len(b)-5] }, "ends too early"},
		{"something behind", func(b []byte) []byte { return append(b, '\n') }, "follows its 2 pages"},
		{"pages in another order", replace(`{"page":2`, `{"page":1`), "page 1 comes after page 1"},
		{"another window", replace(`"end":"2026-11-01T01:`, `"end":"2026-11-01T02:`), "of another file"},
		{"another account", replace(`"account":"acme"`, `"account":"beta"`), "of another file"},
		{"another digest", func(b []byte) []byte {
			i := bytes.Index(b, []byte(`"digest":"`)) + 10
			b[i] ^= 1
			return b
		}, "of another file"},
		{"no seal", func([]byte) []byte { return []byte("hello\n") }, "is no seal"},
		{"no first line", func([]byte) []byte { return nil }, "damaged"},
		{"format 0", replace(`"format":1`, `"format":0`), "format"},
		{"a length that lies", replace(`"length":53`, `"length":999999`), "ends too early"},
		{"a length beyond bounds", replace(`"length":53`, `"length":99999999999`), "at most"},
		{"a negative length", replace(`"length":53`, `"length":-1`), "at most"},
		{"a page's line", replace(`{"page":1,`, `{"page":x,`), "page's line"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newTestLake(t, Options{})
			r := sealWindow(t, l, 0, time.Hour)
			path := filepath.Join(l.Partition(RawDir, schemastest.Day), r.Name)
			rewrite(t, path, tt.change)
			var damaged *DamagedError
			err, atOnce := readBoth(t, l, r)
			for _, err := range []error{atOnce, err} {
				if !errors.As(err, &damaged) || damaged.Path != path || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("reading gives %v, want a DamagedError with %q", err, tt.want)
				}
			}
			if !strings.Contains(damaged.Hint,
				"usagelake verify --repair; then the next export fetches acme 2026-11-01T00:00:00Z/2026-11-01T01:00:00Z") {
				t.Errorf("the hint is %q", damaged.Hint)
			}
		})
	}

	l := newTestLake(t, Options{})
	r := sealWindow(t, l, 0, time.Hour)
	rewrite(t, filepath.Join(l.Partition(RawDir, schemastest.Day), r.Name), replace(`"format":1`, `"format":2`))
	if err := readRaw(t, l, r); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer format gives %v", err)
	}
	must(t, os.Remove(filepath.Join(l.Partition(RawDir, schemastest.Day), r.Name)))
	if err := readRaw(t, l, r); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
}

func TestAFlippedBitAnywhereIsFound(t *testing.T) {
	l := newTestLake(t, Options{})
	r := sealWindow(t, l, 0, time.Hour)
	path := filepath.Join(l.Partition(RawDir, schemastest.Day), r.Name)
	good, err := os.ReadFile(path)
	must(t, err)
	for i := range good {
		for _, bit := range []byte{1, 8, 128} {
			bad := bytes.Clone(good)
			bad[i] ^= bit
			must(t, os.WriteFile(path, bad, durable.FileMode))
			if err := readRaw(t, l, r); err == nil {
				t.Errorf("byte %d of %d, bit %d: not found", i, len(good), bit)
			}
		}
	}
	for n := range good {
		must(t, os.WriteFile(path, good[:n], durable.FileMode))
		var damaged *DamagedError
		if err := readRaw(t, l, r); !errors.As(err, &damaged) {
			t.Errorf("cut to %d of %d bytes: %v", n, len(good), err)
		}
	}
	must(t, os.WriteFile(path, append(bytes.Clone(good), 0), durable.FileMode))
	if err := readRaw(t, l, r); err == nil {
		t.Error("a byte behind: not found")
	}
}

// The golden file was written by the first release of format 1. It is read for ever.
func TestGoldenRawFileOfFormat1(t *testing.T) {
	const name = "000001_000000-010000_d777d0e416e58f41.pages.zst"
	golden := filepath.Join("testdata", "raw-format-1", name)
	if *update {
		l := newTestLake(t, Options{})
		r := sealWindow(t, l, 0, time.Hour)
		if r.Name != name {
			t.Fatalf("the name is %s now", r.Name)
		}
		b, err := os.ReadFile(filepath.Join(l.Partition(RawDir, schemastest.Day), r.Name))
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(golden), 0o755))
		must(t, os.WriteFile(golden, b, 0o644))
	}
	b, err := os.ReadFile(golden)
	must(t, err)
	l := newTestLake(t, Options{})
	dir := l.Partition(RawDir, schemastest.Day)
	must(t, os.MkdirAll(dir, durable.DirMode))
	must(t, os.WriteFile(filepath.Join(dir, name), b, durable.FileMode))
	source, err := l.Source(schemastest.Day)
	must(t, err)
	if len(source.Windows) != 1 || source.Windows[0].Name != name {
		t.Fatalf("windows %v", source.Windows)
	}
	s, err := l.OpenRaw(t.Context(), schemastest.Day, source.Windows[0])
	must(t, err)
	pages, err := collect(t.Context(), s)
	must(t, err)
	seal := schemastest.Seal(schemastest.Day.Date.Start(), schemastest.Day.Date.Start().Add(time.Hour))
	seal.Format, seal.Pages, seal.Digest = 1, 2, s.Seal.Digest
	if !reflect.DeepEqual(s.Seal, seal) || !reflect.DeepEqual(pages, schemastest.Pages(schemastest.Day.Date.End())) {
		t.Errorf("the golden window reads as\n%+v\n%v", s.Seal, pages)
	}
}

func TestSealAndOpenAreInverse(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		l, err := Create(filepath.Join(dir, fmt.Sprint(n)), Options{})
		if err != nil {
			rt.Fatal(err)
		}
		from := rapid.IntRange(0, 86399).Draw(rt, "from")
		to := rapid.IntRange(from+1, 86400).Draw(rt, "to")
		seal := schemastest.Seal(schemastest.Day.Date.Start().Add(time.Duration(from)*time.Second),
			schemastest.Day.Date.Start().Add(time.Duration(to)*time.Second))
		seal.RequestIDs = rapid.SliceOfN(rapid.String(), 0, 3).Draw(rt, "ids")
		if rapid.Bool().Draw(rt, "unannounced") {
			seal.Announced = nil
		}
		var pages []schemas.Page
		for i, body := range rapid.SliceOfN(rapid.SliceOf(rapid.Byte()), 1, 5).Draw(rt, "bodies") {
			pages = append(pages, schemas.Page{Number: i + 1, RequestID: rapid.String().Draw(rt, "request"),
				Body:      append([]byte{}, body...),
				FetchedAt: time.Unix(0, rapid.Int64Range(0, 1<<61).Draw(rt, "at")).UTC()})
		}
		r, err := l.Seal(t.Context(), seal, pages)
		if err != nil {
			rt.Fatal(err)
		}
		source, err := l.Source(schemastest.Day)
		if err != nil || len(source.Windows) != 1 || source.Windows[0] != r {
			rt.Fatalf("windows %v, %v; want %v", source.Windows, err, r)
		}
		s, err := l.OpenRaw(t.Context(), schemastest.Day, r)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := collect(t.Context(), s)
		if err != nil || !reflect.DeepEqual(got, pages) {
			rt.Fatalf("pages came back as %v, %v", got, err)
		}
		seal.Format, seal.Pages, seal.Digest = schemas.RawFormat, len(pages), s.Seal.Digest
		if !reflect.DeepEqual(s.Seal, seal) {
			rt.Fatalf("seal came back as %+v, want %+v", s.Seal, seal)
		}
	})
}

// FuzzRaw reads what may be no raw file: as it stands, and as the content of one whose checksums are right.
func FuzzRaw(f *testing.F) {
	dir := f.TempDir()
	l, err := Create(dir, Options{})
	must(f, err)
	r := sealWindow(f, l, 0, time.Hour)
	path := filepath.Join(l.Partition(RawDir, schemastest.Day), r.Name)
	good, err := os.ReadFile(path)
	must(f, err)
	f.Add(good, false)
	dec, err := zstd.NewReader(bytes.NewReader(good))
	must(f, err)
	var content bytes.Buffer
	_, err = content.ReadFrom(dec)
	must(f, err)
	f.Add(content.Bytes(), true)
	f.Fuzz(func(t *testing.T, b []byte, wrap bool) {
		same := !wrap && bytes.Equal(b, good) || wrap && bytes.Equal(b, content.Bytes())
		if wrap {
			var out bytes.Buffer
			must(t, writeRaw(t.Context(), new(coders), &out, b, nil, nil))
			b = out.Bytes()
		}
		must(t, os.WriteFile(path, b, durable.FileMode))
		err := readRaw(t, l, r)
		var damaged *DamagedError
		switch {
		case same && err != nil:
			t.Fatalf("the good file gives %v", err)
		case err != nil && !errors.As(err, &damaged) && !errors.Is(err, ErrNewer):
			t.Fatalf("an error of another kind: %v", err)
		}
	})
}
