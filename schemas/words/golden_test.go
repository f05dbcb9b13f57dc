package words

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// testdata/words.golden has every form that people read, over its range and at its edges.
func TestEveryFormReadsAsItsGolden(t *testing.T) {
	var b bytes.Buffer
	form := func(name string) { fmt.Fprintf(&b, "\n%s\n", name) }
	show := func(in any, out string) {
		fmt.Fprintf(&b, "  %-34s %q\n", strings.Trim(strconv.Quote(fmt.Sprint(in)), `"`), out)
	}

	const second, minute, hour, day = time.Second, time.Minute, time.Hour, 24 * time.Hour
	const ms = time.Millisecond
	lengths := []time.Duration{math.MinInt64, -minute, 0, 1, 49 * ms, 50 * ms, 999 * ms, second, 1250 * ms,
		9949 * ms, 9950 * ms, 10 * second, minute - 1, minute, 2*minute + 5*second,
		hour - 1, hour, hour + 5*minute, 3*hour + 59*second, day,
		2*day - minute, 2*day - 1, 2 * day, 3*day - 1, 400 * day, math.MaxInt64}
	form("Span")
	for _, d := range lengths {
		show(d, Span(d))
	}
	form("Took")
	for _, d := range lengths {
		show(d, Took(d))
	}
	form("Days")
	for _, d := range []float64{0, 0.9, 1, 1.9, 2, 60, 730, 731, 1094, 1095, 3650, 3651, math.MaxFloat64} {
		show(d, Days(d))
	}
	form("Bytes")
	for _, n := range []int64{math.MinInt64, -1536, -1, 0, 1, 1023, 1024, 1536, 1<<20 - 53, 1<<20 - 51, 1<<20 - 1, 1 << 20,
		300_000_000, 1<<30 - 1, 1 << 30, 1<<40 - 1, 1 << 40, 1 << 50, 1 << 60, math.MaxInt64} {
		show(n, Bytes(n))
	}
	counts := []int64{math.MinInt64, -1_000_000, -1000, -999, -1, 0, 1, 2, 999, 1000, 999_999, 1_000_000, 1_234_567,
		math.MaxInt64}
	form("Count")
	for _, n := range counts {
		show(n, Count(n))
	}
	form("Grouped")
	for _, s := range []string{"", "0", "-0", "-1234", "999", "1000", "123456.789", "1234567.000000000001", "-1234567.5"} {
		show(s, Grouped(s))
	}
	form("Plural window")
	for _, n := range counts {
		show(n, Plural(n, "window", "windows"))
	}
	form("Times")
	for _, n := range counts[5:] {
		show(n, Times(n))
	}

	at := time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC)
	cet := time.FixedZone("CET", 3600)
	times := []time.Time{{}, at, at.Add(5*minute + 59*second), at.Add(second - 1), at.Add(-6 * hour), at.Add(-6*hour + 1),
		at.Add(-6*hour - 1), at.Add(-6 * hour).In(cet), at.Add(-7 * hour).In(cet), time.Date(1, 2, 3, 4, 5, 6, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}
	for _, f := range []struct {
		name string
		of   func(time.Time) string
	}{{"Minute", Minute}, {"MinuteUTC", MinuteUTC}, {"Stamp", Stamp}, {"Instant", Instant}, {"Typed", Typed}} {
		form(f.name)
		for _, x := range times {
			show(x, f.of(x))
		}
	}

	texts := []string{"", "plain, Grüße, 日本語", "two\nlines", "a\r\n\tb", "para\u2028graph\u2029", "\x1b[31mred",
		"byte \x9b", "ad\u200dmin", "👩\u200d💻", "soft\u00adhyphen", "\ufffd"}
	for _, f := range []struct {
		name string
		of   func(string) string
	}{{"Printable", Printable}, {"Line", Line}, {"Cell", Cell}} {
		form(f.name)
		for _, x := range texts {
			show(x, f.of(x))
		}
	}
	form("Clip to 5")
	for _, s := range []string{"", "four", "five5", "sixsix", "日本語日本", "日本語日本語", "\xff\xff\xff\xff\xff",
		"\xff\xff\xff\xff\xff\xff"} {
		show(s, Clip(s, 5))
	}
	form("Clip to 1")
	show("ab", Clip("ab", 1))
	form("Some of 3")
	for _, list := range [][]string{nil, {"a"}, {"a", "b", "c"}, {"a", "b", "c", "d"}, {"a", "b", "c", "d", "e"}} {
		show(list, Some(list, 3))
	}
	show([]int{7, 8, 9, 10}, Some([]int{7, 8, 9, 10}, 3))

	known := []string{"account", "cost_center", "model", "team"}
	form("Nearest of account, cost_center, model, team")
	for _, s := range []string{"", "acount", "costcenter", "cost center", "modle", "MODEL", "tem", "xyzzy", "日本語",
		strings.Repeat("a", 101)} {
		show(s, Nearest(s, known))
	}
	form("Nearest of none, and of too many")
	show("x", Nearest("x", nil))
	show("xyzzy", Nearest("xyzzy", strings.Fields(strings.Repeat("aaaaaaaaaaaa ", 21))))
	form("EditDistance from model")
	for _, s := range []string{"", "model", "modl", "models", "modle", "MODEL", "mödel"} {
		show(s, fmt.Sprint(EditDistance("model", s)))
	}
	form("FileName, otherwise cost-center")
	for _, s := range []string{"", "CC-100", "cc-100", "Größe & Co.", "日本", "con", "../etc/passwd",
		strings.Repeat("long ", 20)} {
		show(s, FileName(s, "cost-center"))
	}
	form("OfHTTP put x: no")
	show("0, no request, no hint", OfHTTP("put x: no", 0, "", ""))
	show("503", OfHTTP("put x: no", 503, "", ""))
	show("no answer, request 4f, a hint", OfHTTP("put x: no", 0, "4f", "wait"))
	show("503, request 4f, a hint", OfHTTP("put x: no", 503, "4f", "wait"))

	const golden = "testdata/words.golden"
	got := bytes.TrimPrefix(b.Bytes(), []byte("\n"))
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s (go test -update writes it anew, if that is what is meant):\n%s", golden, got)
	}
}
