package transform

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/schemas"
)

// told is a record as Compare tells of it.
func told(k *Known) string {
	amount := "NULL"
	if k.Amount != nil {
		amount = k.Amount.Rat().FloatString(12) + " " + k.Amount.Currency()
	}
	return fmt.Sprintf("%s@%s %s", k.ID, k.Time.Format("15:04:05"), amount)
}

// rowsOf are the records that windows give, as told writes them, with how often each stands.
func rowsOf(t *testing.T, windows ...schemas.Sealed) (rows map[string]int, result result) {
	rows = map[string]int{}
	result = derive(t, Options{}, windows...)
	for _, r := range result.rows {
		amount := "NULL"
		if a, ok := r["amount"].(string); ok {
			amount = rat(a).FloatString(12) + " USD"
		}
		rows[fmt.Sprintf("%v@%s %s", r["id"], r["request_time"].(string)[len("2026-11-01T"):len("2026-11-01T15:04:05")],
			amount)]++
	}
	return rows, result
}

// Whatever came when: what the day held, and what is said to have come, gone and changed, is what it holds. Nothing is
// said of a record that is the same, and no id came and went at once.
func TestADayIsWhatItWasAndWhatChanged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var windows []schemas.Sealed
		for i, w := range drawWindows(rt) {
			windows = append(windows, w.sealed(i+1))
		}
		then := rapid.IntRange(0, len(windows)).Draw(rt, "known then")
		held, before := rowsOf(t, windows[:then]...)
		want, after := rowsOf(t, windows...)

		came, went := map[string]bool{}, map[string]bool{}
		sum := schemas.Money{}
		opts := Options{BatchRows: rapid.IntRange(1, 8).Draw(rt, "batch")}
		out, err := Compare(context.Background(), NewDay(part, windows[:then], opts), NewDay(part, windows, opts),
			func(c Change) error {
				if c.Before != nil {
					if held[told(c.Before)]--; held[told(c.Before)] == 0 {
						delete(held, told(c.Before))
					}
					sum = sum.Sub(c.Before.Amount.In(""))
				}
				if c.After != nil {
					if held[told(c.After)]++; held[told(c.After)] == 0 {
						delete(held, told(c.After))
					}
					sum = sum.Add(c.After.Amount.In(""))
				}
				switch {
				case c.Before == nil:
					came[c.After.ID] = true
				case c.After == nil:
					went[c.Before.ID] = true
				case c.Before.ID != c.After.ID:
					rt.Fatalf("%s is said to have become %s", told(c.Before), told(c.After))
				}
				return nil
			})
		if err != nil {
			rt.Fatal(err)
		}
		if fmt.Sprint(held) != fmt.Sprint(want) {
			rt.Fatalf("with what changed the day holds %v, and it holds %v", held, want)
		}
		for id := range came {
			if went[id] {
				rt.Fatalf("%s came and went", id)
			}
		}
		if out.Before["USD"].Records != before.footer.Rows || out.After["USD"].Records != after.footer.Rows ||
			out.Before["USD"].Amount.Add(sum).Cmp(out.After["USD"].Amount) != 0 ||
			out.After["USD"].Amount.Rat().Cmp(rat(after.footer.Amount)) != 0 {
			rt.Fatalf("%+v does not tie out, of %+v and %+v", out, before.footer.DayStats, after.footer.DayStats)
		}
		if out.RejectsBefore != before.footer.Quarantined || out.RejectsAfter != after.footer.Quarantined ||
			out.RejectsBefore+out.RejectsCame-out.RejectsWent != out.RejectsAfter {
			rt.Fatalf("in quarantine: %+v, of %d and %d", out, before.footer.Quarantined, after.footer.Quarantined)
		}
		if then == len(windows) && len(came)+len(went)+int(out.RejectsCame+out.RejectsWent) > 0 {
			rt.Fatalf("%v came and %v went of a day that is the same", came, went)
		}
	})
}

// changes are all that Compare tells of a day fetched twice, as came, went, and before → after.
func changes(t *testing.T, before, after []schemas.Sealed) (out []string) {
	t.Helper()
	_, err := Compare(context.Background(), NewDay(part, before, Options{}), NewDay(part, after, Options{}),
		func(c Change) error {
			switch {
			case c.Before == nil:
				out = append(out, "came "+told(c.After))
			case c.After == nil:
				out = append(out, "went "+told(c.Before))
			default:
				out = append(out, fmt.Sprint(told(c.Before), " → ", told(c.After), " ", c.Fields()))
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatCountsAsAChange(t *testing.T) {
	at := dayStart
	was := detailed(1, at+10)
	for _, c := range []struct {
		name     string
		is       []string
		want     string // USD is "$"
		currency string
	}{
		{"the same", []string{was}, "[]", ""},
		{"the same, with its keys in another order", []string{oneForm(was)}, "[]", ""},
		{"deleted", []string{detailed(2, at+10)}, "[came 2@00:00:10 0.003503 $ went 1@00:00:10 0.003503 $]", ""},
		{"another amount", []string{detailed(1, at+10, `"amount":0.5`)},
			"[1@00:00:10 0.003503 $ → 1@00:00:10 0.5 $ [amount]]", ""},
		{"another model, for the same amount", []string{detailed(1, at+10, `"model":"other"`)},
			"[1@00:00:10 0.003503 $ → 1@00:00:10 0.003503 $ [model]]", ""},
		{"another time", []string{detailed(1, at+20)},
			"[1@00:00:10 0.003503 $ → 1@00:00:20 0.003503 $ [request_time]]", ""},
		{"an earlier time", []string{detailed(1, at+5)},
			"[1@00:00:10 0.003503 $ → 1@00:00:05 0.003503 $ [request_time]]", ""},
		{"no amount any more", []string{detailed(1, at+10, "-amount")},
			"[1@00:00:10 0.003503 $ → 1@00:00:10 NULL [amount]]", ""},
		{"an unknown field", []string{detailed(1, at+10, `"new":1`)},
			"[1@00:00:10 0.003503 $ → 1@00:00:10 0.003503 $ [extra]]", ""},
		{"twice, of other content", []string{was, detailed(1, at+10, `"amount":7`)}, "[came 1@00:00:10 7 $]", ""},
		{"in another currency", []string{was}, "[1@00:00:10 0.003503 $ → 1@00:00:10 0.003503 EUR [currency]]", "EUR"},
	} {
		now := sealed(2, 0, 86400, listing(c.is...))
		if c.currency != "" {
			now.Seal.Currency = c.currency
		}
		first := sealed(1, 0, 86400, listing(was))
		got := fmt.Sprint(changes(t, []schemas.Sealed{first}, []schemas.Sealed{first, now}))
		got = strings.NewReplacer(".003503000000", ".003503", ".500000000000", ".5", ".000000000000", "",
			"USD", "$").Replace(got)
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestCompareEndsWithTheFirstError(t *testing.T) {
	day := func(n int) *Day {
		return NewDay(part, []schemas.Sealed{sealed(1, 0, 86400, listing(detailed(n, noon)))}, Options{})
	}
	stop := errors.New("stop")
	if _, err := Compare(context.Background(), day(1), day(2), func(Change) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("it ended with %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Compare(ctx, day(1), day(2), func(Change) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
