package doctor

import (
	"slices"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// checkTopUps looks at the files of top-ups, and for prepaid accounts that have none.
func (d *doctor) checkTopUps() {
	topUps, billing, err := jobs.ReadTopUps(d.cfg)
	if err != nil {
		d.failure("topups", "correct the file, or topups: in the config; "+stops, err)
		return
	}
	if len(topUps) > 0 {
		d.ok("topups", "%s", words.Plural(len(topUps), "top-up", "top-ups"))
	}
	for _, b := range billing {
		if b.Billing == schemas.Prepaid &&
			!slices.ContainsFunc(topUps, func(t schemas.TopUp) bool { return t.Account == b.Account }) {
			d.warn("topups", "write what was paid ahead into a CSV file and name it as topups: of the account, or write "+
				"billing: postpaid", "the account %s is prepaid and has no top-ups: all that it uses is overdrawn", b.Account)
		}
	}
}
