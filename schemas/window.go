package schemas

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Date is a UTC calendar day, as days since 1970-01-01 (the encoding of Arrow's date32).
type Date int32

const secondsPerDay = 86400

// DateOf returns the UTC day that holds t.
func DateOf(t time.Time) Date {
	s := t.Unix()
	// Go divides toward zero: the last second of 1969 would be of the first day of 1970.
	d := s / secondsPerDay
	if s%secondsPerDay < 0 {
		d--
	}
	return Date(d)
}

// ParseDate reads the form 2026-11-01.
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a date like 2026-11-01", s)
	}
	return DateOf(t), nil
}

// Start is the first instant of the day, UTC.
func (d Date) Start() time.Time { return time.Unix(int64(d)*secondsPerDay, 0).UTC() }

// End is the first instant of the next day, UTC: a day is [Start, End).
func (d Date) End() time.Time { return (d + 1).Start() }

// String gives 2026-11-01.
func (d Date) String() string { return d.Start().Format(time.DateOnly) }

// Window is the half-open UTC interval [Start, End) of one account. Both ends are whole seconds, the resolution of
// the API's request_time. A window that is fetched and sealed lies within one UTC day.
type Window struct {
	Account string
	Start   time.Time
	End     time.Time
}

// Date is the UTC day of the window's start.
func (w Window) Date() Date { return DateOf(w.Start) }

// Partition is the account and day the window belongs to.
func (w Window) Partition() Partition { return Partition{Account: w.Account, Date: w.Date()} }

// Seconds is the window's length in whole seconds.
func (w Window) Seconds() int64 { return w.End.Unix() - w.Start.Unix() }

// Contains reports whether t lies in [Start, End).
func (w Window) Contains(t time.Time) bool { return !t.Before(w.Start) && t.Before(w.End) }

// Validate reports every reason why w can't be fetched and sealed.
func (w Window) Validate() error {
	var errs []error
	if err := ValidateAccount(w.Account); err != nil {
		errs = append(errs, err)
	}
	if !w.Start.Before(w.End) {
		errs = append(errs, fmt.Errorf("the window starts at %s, not before its end %s", stamp(w.Start), stamp(w.End)))
	} else if DateOf(w.Start) != DateOf(w.End.Add(-time.Second)) {
		errs = append(errs, fmt.Errorf("the window %s/%s spans more than one UTC day", stamp(w.Start), stamp(w.End)))
	}
	if w.Start.Nanosecond() != 0 || w.End.Nanosecond() != 0 {
		errs = append(errs, errors.New("the window's ends are not whole seconds"))
	}
	return errors.Join(errs...)
}

// String names the window in messages: "acme 2026-11-01T00:00:00Z/2026-11-01T06:00:00Z".
func (w Window) String() string {
	return fmt.Sprintf("%s %s/%s", w.Account, stamp(w.Start), stamp(w.End))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Split cuts w into n windows of nearly equal length that tile it, or fewer if it has fewer seconds. n < 2 gives w.
func (w Window) Split(n int) []Window {
	secs := w.Seconds()
	n = int(min(int64(n), secs))
	if n < 2 {
		return []Window{w}
	}
	out := make([]Window, 0, n)
	at := w.Start
	for i := 1; i <= n; i++ {
		// Each end is reckoned from the start, so that the last is w's own and no rest adds up: 10 seconds in 3 are 3, 3 and
		// 4.
		end := w.Start.Add(time.Duration(secs*int64(i)/int64(n)) * time.Second)
		out = append(out, Window{Account: w.Account, Start: at, End: end})
		at = end
	}
	return out
}

// Days cuts w at UTC midnights into windows that each lie within one day and together tile w.
func (w Window) Days() []Window {
	var out []Window
	for at := w.Start; at.Before(w.End); {
		end := DateOf(at).End()
		if end.After(w.End) {
			end = w.End
		}
		out = append(out, Window{Account: w.Account, Start: at, End: end})
		at = end
	}
	return out
}

// MaxLag is how far a record's request_time may lie outside of what was asked for without being at fault. Gateways
// filter by when a call was settled and show when it began, so a window also lists what began before it. Such a record
// is of another window, which owns its instant. No call to a model is known to take as long; what lies further off
// answers another question than the one that was asked.
const MaxLag = 6 * time.Hour

// Uncovered returns the parts of want that no window of have covers, in time order and as long as can be. Accounts
// are not compared: have is taken to be of want's account.
func Uncovered(want Window, have []Window) []Window {
	sorted := slices.Clone(have)
	slices.SortFunc(sorted, func(a, b Window) int { return a.Start.Compare(b.Start) })
	var out []Window
	// at is up to where want is covered. A window that ends before it adds nothing: one before it, by start, reached
	// further.
	at := want.Start
	for _, h := range sorted {
		if !h.End.After(at) {
			continue
		}
		if !h.Start.Before(want.End) {
			break
		}
		if h.Start.After(at) {
			out = append(out, Window{Account: want.Account, Start: at, End: h.Start})
		}
		at = h.End
	}
	if at.Before(want.End) {
		out = append(out, Window{Account: want.Account, Start: at, End: want.End})
	}
	return out
}

// Segment is a stretch of time and the sealed window that owns it: Index counts in the slice given to Own.
type Segment struct {
	Start, End time.Time
	Index      int
}

// Own decides which sealed window contributes the records of each instant: the one with the highest sequence
// number among those that cover it. It returns the owned stretches in time order, neighbours of one owner merged,
// disjoint, and together exactly the union of the windows. Sequence numbers are unique within a partition.
func Own(windows []Window, seq []int) []Segment {
	if len(windows) != len(seq) {
		panic("schemas.Own: a sequence number for each window")
	}
	// A sweep over all starts and ends in order: from one cut to the next the same windows cover all of it, or none does.
	cuts := make([]int64, 0, 2*len(windows))
	for _, w := range windows {
		cuts = append(cuts, w.Start.Unix(), w.End.Unix())
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)

	byStart := make([]int, len(windows))
	for i := range byStart {
		byStart[i] = i
	}
	slices.SortFunc(byStart, func(a, b int) int { return cmp.Compare(windows[a].Start.Unix(), windows[b].Start.Unix()) })

	var out []Segment
	var open []int // the windows that cover the current stretch
	next := 0
	for i := 0; i+1 < len(cuts); i++ {
		from, to := cuts[i], cuts[i+1]
		for next < len(byStart) && windows[byStart[next]].Start.Unix() <= from {
			open = append(open, byStart[next])
			next++
		}
		open = slices.DeleteFunc(open, func(w int) bool { return windows[w].End.Unix() <= from })
		if len(open) == 0 {
			continue
		}
		owner := slices.MaxFunc(open, func(a, b int) int { return cmp.Compare(seq[a], seq[b]) })
		if n := len(out); n > 0 && out[n-1].Index == owner && out[n-1].End.Unix() == from {
			out[n-1].End = time.Unix(to, 0).UTC()
			continue
		}
		out = append(out, Segment{Start: time.Unix(from, 0).UTC(), End: time.Unix(to, 0).UTC(), Index: owner})
	}
	return out
}

// Partition is one account's UTC day: the unit that is derived, committed and replaced as a whole.
type Partition struct {
	Account string
	Date    Date
}

// Window is the whole day as an interval.
func (p Partition) Window() Window {
	return Window{Account: p.Account, Start: p.Date.Start(), End: p.Date.End()}
}

// String names the partition in messages: "acme 2026-11-01".
func (p Partition) String() string { return p.Account + " " + p.Date.String() }

// Compare orders partitions by account, then by date.
func (p Partition) Compare(q Partition) int {
	return cmp.Or(cmp.Compare(p.Account, q.Account), cmp.Compare(p.Date, q.Date))
}

var accountName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// ValidateAccount checks that an account's name can stand in a path and in a partition key.
func ValidateAccount(name string) error {
	if !accountName.MatchString(name) {
		return fmt.Errorf("%q is not an account name: use 1 to 64 of a-z, 0-9, _ and -, starting with a letter or digit",
			name)
	}
	return nil
}
