package publish

import (
	"fmt"
	"slices"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Unproven is a window of which the lake may not hold what the Portal has: one that could not be shown to be whole
// (schemas.ProofNone), or one of which much of what is held didn't come when it was looked at last (Doubt). It stands
// until a fetch shows the window whole, or its month is closed.
type Unproven struct {
	Window  schemas.Window
	Records int64       // that the lake holds of it
	Lacking int64       // that were announced and did not come, or are held and did not come; 0 if it isn't known how many
	Doubt   *load.Doubt // nil if it could not be shown to be whole
}

// String: "acme 2026-11-20T08:00:00Z/2026-11-20T08:00:01Z: 40 records came and are kept, 20 are lacking by what the API
// announces".
func (u Unproven) String() string { return u.Window.String() + ": " + u.Why() }

// Why says what is known of it.
func (u Unproven) Why() string {
	switch {
	case u.Doubt != nil:
		return fmt.Sprintf("%d of the %d records that are held were not listed on %s: they stay until a look at another "+
			"time finds the same",
			u.Lacking, u.Records, words.Instant(u.Doubt.SeenAt))
	case u.Lacking > 0:
		return fmt.Sprintf("%d records came and are kept, %d are lacking by what the API announces", u.Records, u.Lacking)
	}
	return fmt.Sprintf("%d records came and are kept, and can't be shown to be all", u.Records)
}

// Hint is what to do about it.
func (u Unproven) Hint() string {
	if u.Doubt != nil {
		return "the next export looks once more, an hour later at the earliest"
	}
	return hintFetch(u.Window) + " --refetch   (or close its month with a --reason)"
}

// UnprovenError says that a lake holds windows that are Unproven.
type UnprovenError struct{ Windows []Unproven } // one at least, in order

func (e *UnprovenError) Error() string {
	what := "a window is"
	if n := len(e.Windows); n > 1 {
		what = fmt.Sprintf("%d windows are", n)
	}
	return fmt.Sprintf("%s not shown to be whole; the first: %s", what, e.Windows[0])
}

// Hint is what to do about the first.
func (e *UnprovenError) Hint() string {
	return e.Windows[0].Hint() + "; usagelake status lists all of them"
}

// Unproven are the windows of a day with that footer which are not shown to be whole, in order; none if all of
// it lies in closed months.
func (l *Lake) Unproven(p schemas.Partition, f schemas.DayFooter, closed []ClosedMonth) ([]Unproven, error) {
	if len(ClosedWhole(closed, p.Date)) > 0 {
		return nil, nil
	}
	var out []Unproven
	for _, w := range f.Windows {
		// A window that later ones own whole says nothing of what the lake has.
		if w.Owns && w.Proof == schemas.ProofNone {
			out = append(out, Unproven{Window: schemas.Window{Account: p.Account, Start: w.Start, End: w.End},
				Records: w.Records, Lacking: w.Lacking})
		}
	}
	doubts, err := l.Doubts(p)
	if err != nil {
		return nil, err
	}
	for _, d := range doubts {
		out = append(out, Unproven{Window: schemas.Window{Account: p.Account, Start: d.Start, End: d.End}, Records: d.Held,
			Lacking: d.Gone, Doubt: &d})
	}
	slices.SortStableFunc(out, func(a, b Unproven) int { return a.Window.Start.Compare(b.Window.Start) })
	return out, nil
}
