package jobs

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/schemas"
)

// check asks of each day of the lookback whether the API still holds as much as the lake, and adds those that differ
// to what is missing.
func (x *exporter) check(ctx context.Context) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var stop error
	footers := make([]*schemas.DayFooter, len(x.plan.Check))
	for i, day := range x.plan.Check {
		footer, ok, err := x.lake.Day(day)
		if err != nil {
			return err
		}
		if ok {
			footers[i] = &footer
		}
	}
	for i, day := range x.plan.Check {
		var footer schemas.DayFooter
		ok := footers[i] != nil
		if ok {
			footer = *footers[i]
		}
		wg.Go(func() {
			c, err := x.count(ctx, day.Window())
			same := err == nil && ok && agrees(c, footer)
			var api *extract.APIError
			refusesDays := errors.As(err, &api) && api.Status == http.StatusBadRequest
			if ok && (refusesDays || err == nil && footer.MaybeTwice > 0) {
				same, err = x.unchanged(ctx, footer)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				x.checked++
			}
			switch {
			case same:
				return
			case err == nil:
				x.log.Info("a day of the lookback differs, it is fetched anew", "day", day.Date.String(), "api", c.String(), "lake", held(footer))
				x.plan.Missing = append(x.plan.Missing, day.Window())
			case errors.Is(err, extract.ErrRefused) || ctx.Err() != nil || errors.As(err, new(*schemas.PanicError)):
				stop = cmp.Or(stop, err)
			default: // the day stays as it is, and the run says that it could not be checked
				w := day.Window()
				x.out.Failed = append(x.out.Failed, schemas.FailedWindow{Start: w.Start, End: w.End, Error: "lookback: " + err.Error()})
			}
		})
	}
	wg.Wait()
	slices.SortFunc(x.plan.Missing, func(a, b schemas.Window) int { return a.Start.Compare(b.Start) })
	slices.SortFunc(x.out.Failed, func(a, b schemas.FailedWindow) int { return a.Start.Compare(b.Start) })
	return stop
}

// count is the fetcher's, in which a panic is an error.
func (x *exporter) count(ctx context.Context, w schemas.Window) (c extract.Counted, err error) {
	defer schemas.Guard(&err)
	return x.fetcher.Count(ctx, w)
}

// unchanged asks window by window, where the day's count tells nothing: is each announced as it was when it was fetched?
func (x *exporter) unchanged(ctx context.Context, f schemas.DayFooter) (bool, error) {
	for _, w := range f.Windows {
		if !w.Owns {
			continue
		}
		c, err := x.count(ctx, schemas.Window{Account: x.account.Name, Start: w.Start, End: w.End})
		if err != nil || c.Records == nil || w.Announced == nil || *c.Records != *w.Announced {
			return false, err
		}
	}
	return true, nil
}

// held is how many records the API would announce for the day, if it holds what the lake does.
func held(f schemas.DayFooter) int64 { return f.Rows + f.Quarantined + f.Before + f.After }

// agrees compares like with like: the day was fetched with the same margins as it is counted with. Where the API
// announces nothing, nothing agrees, and the day is fetched anew.
func agrees(c extract.Counted, f schemas.DayFooter) bool {
	switch {
	case c.Records != nil:
		return *c.Records == held(f)
	case c.Tokens != nil:
		return f.SummaryTokens != nil && *c.Tokens == *f.SummaryTokens
	}
	return false
}
