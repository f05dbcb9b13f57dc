package schemas

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func at(s int64) time.Time { return time.Unix(s, 0).UTC() }

func genWindow(t *rapid.T, most int64) Window {
	start := rapid.Int64Range(0, most-1).Draw(t, "start")
	return Window{Account: "a", Start: at(start), End: at(rapid.Int64Range(start+1, most).Draw(t, "end"))}
}

// tiles fails unless parts are in order, without gap or overlap, and together w.
func tiles(t *rapid.T, w Window, parts []Window) {
	next := w.Start
	for _, p := range parts {
		if !p.Start.Equal(next) || !p.Start.Before(p.End) {
			t.Fatalf("%v begins at %v, want %v", p, p.Start, next)
		}
		next = p.End
	}
	if !next.Equal(w.End) {
		t.Fatalf("the parts end at %v, want %v", next, w.End)
	}
}

func TestSplitTilesTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := genWindow(t, 200_000)
		n := rapid.IntRange(-1, 300).Draw(t, "n")
		parts := w.Split(n)
		tiles(t, w, parts)
		if int64(len(parts)) > max(1, min(int64(n), w.Seconds())) {
			t.Fatalf("%d parts of %d seconds, asked for %d", len(parts), w.Seconds(), n)
		}
	})
}

func TestDaysTileTheWindowAndEachLiesWithinOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := genWindow(t, 5_000_000)
		days := w.Days()
		tiles(t, w, days)
		for _, d := range days {
			if err := d.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestUncoveredAndCoveredTogetherAreTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 60
		want := genWindow(t, most)
		have := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Window { return genWindow(t, most) }), 0, 8).Draw(t, "have")
		gaps := Uncovered(want, have)
		for s := int64(0); s < most; s++ {
			covered, missing := false, false
			for _, h := range have {
				covered = covered || h.Contains(at(s))
			}
			for _, g := range gaps {
				missing = missing || g.Contains(at(s))
			}
			if wanted := want.Contains(at(s)); missing != (wanted && !covered) {
				t.Fatalf("second %d: wanted %t, covered %t, reported missing %t", s, wanted, covered, missing)
			}
		}
		for i := 1; i < len(gaps); i++ {
			if !gaps[i-1].End.Before(gaps[i].Start) {
				t.Fatalf("gaps %v and %v are one", gaps[i-1], gaps[i])
			}
		}
	})
}

func TestEachInstantIsOwnedByTheLatestWindowThatCoversIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 60
		windows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Window { return genWindow(t, most) }), 0, 8).Draw(t,
			"windows")
		seq := rapid.Permutation(make([]int, len(windows))).Draw(t, "order")
		for i := range seq {
			seq[i] = i + 1
		}
		seq = rapid.Permutation(seq).Draw(t, "seq")
		segments := Own(windows, seq)
		for s := int64(0); s < most; s++ {
			want, best := -1, 0
			for i, w := range windows {
				if w.Contains(at(s)) && seq[i] > best {
					want, best = i, seq[i]
				}
			}
			got := -1
			for _, seg := range segments {
				if !at(s).Before(seg.Start) && at(s).Before(seg.End) {
					if got != -1 {
						t.Fatalf("second %d has two owners", s)
					}
					got = seg.Index
				}
			}
			if got != want {
				t.Fatalf("second %d is owned by %d, want %d", s, got, want)
			}
		}
	})
}

func TestDateIsTheUTCDay(t *testing.T) {
	for _, c := range []struct{ time, date string }{
		{"1969-12-31T23:59:59Z", "1969-12-31"},
		{"1970-01-01T00:00:00Z", "1970-01-01"},
		{"2024-02-29T23:59:59.999999999Z", "2024-02-29"},
		{"2026-03-29T01:30:00+02:00", "2026-03-28"},
		{"2026-12-31T23:00:00-05:00", "2027-01-01"},
	} {
		tm, err := time.Parse(time.RFC3339Nano, c.time)
		if err != nil {
			t.Fatal(err)
		}
		if got := DateOf(tm).String(); got != c.date {
			t.Errorf("%s is of %s, want %s", c.time, got, c.date)
		}
	}
	d, err := ParseDate("2024-02-29")
	if err != nil || d.String() != "2024-02-29" || d.End().Sub(d.Start()) != 24*time.Hour {
		t.Errorf("ParseDate: %v %v", d, err)
	}
	if _, err := ParseDate("2026-02-30"); err == nil {
		t.Error("2026-02-30 is accepted")
	}
}

func TestAccountNamesAreFitForAPath(t *testing.T) {
	for _, good := range []string{"a", "acme", "acme-eu_2", "0", strings.Repeat("x", 64)} {
		if err := ValidateAccount(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "..", "../x", "a/b", `a\b`, "A", "-a", "_a", "a b", "a=b", "ä", "a\x00", "a\n",
		strings.Repeat("x", 65)} {
		if ValidateAccount(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestValidateReportsEverything(t *testing.T) {
	err := Window{Account: "../x", Start: time.Unix(10, 5), End: time.Unix(5, 0)}.Validate()
	for _, want := range []string{"not an account name", "not before its end", "not whole seconds"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v doesn't say %q", err, want)
		}
	}
	if err := (Window{Account: "a", Start: at(86399), End: at(86401)}).Validate(); err == nil ||
		!strings.Contains(err.Error(), "more than one UTC day") {
		t.Errorf("two days: %v", err)
	}
}
