package doctor

import (
	"context"
	"strings"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/schemas/words"
)

// checkRates says into which currency amounts are converted, and what is charged that no rate is there for.
func (d *doctor) checkRates(ctx context.Context, published bool) {
	const name = "rates"
	rates, err := d.cfg.ReadRates()
	if err != nil {
		d.failure(name, "correct the file; "+stops, err)
		return
	}
	if rates.Currency() == "" {
		return // nothing is said of it
	}
	if published {
		missing, err := jobs.Texts(ctx, d.lake, `SELECT format('{}, {} days from {} to {}: {}', period, days, first_day,
			last_day, lacks) FROM missing_rates ORDER BY ALL`)
		if err != nil {
			return // an older version's file, or one that can't be read: both are told elsewhere
		}
		if len(missing) > 0 {
			d.warn(name, "add the rates to the file that books.rates names, then usagelake allocation apply",
				"what is charged of these is converted nowhere, and its month can't be closed:\n%s",
				strings.Join(missing[:min(len(missing), maxFindings)], "\n"))
			return
		}
	}
	used, others := rates.Lines()
	text := "into " + rates.Currency() + " by " + strings.ReplaceAll(rates.By(), "_", "'s ") + ", " +
		words.Plural(used, "rate", "rates")
	if others > 0 {
		text += "; " + words.Plural(others, "other line is", "other lines are") + " of other pairs"
	}
	d.ok(name, "%s", text)
}
