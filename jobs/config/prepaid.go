package config

import (
	"fmt"

	"github.com/usagelake/usagelake/schemas"
)

// checkBilling lists what can't be meant of how an account is billed.
func (a Account) checkBilling() []error {
	var errs []error
	either := func(key, value, a, b string) {
		if value != "" && value != a && value != b {
			errs = append(errs, fmt.Errorf("%s: %q is neither %s nor %s", key, value, a, b))
		}
	}
	either("billing", a.Billing, schemas.Postpaid, schemas.Prepaid)
	either("draw", a.Draw, schemas.DrawFIFO, schemas.DrawCouponsFirst)
	if a.Draw != "" && a.Billing != schemas.Prepaid {
		errs = append(errs, fmt.Errorf("draw: a postpaid account draws on no credit: write billing: %s, or leave draw out",
			schemas.Prepaid))
	}
	return errs
}

// checkTopUps lists the files of top-ups that are named twice: what they say would count twice.
func (c *Config) checkTopUps() []error {
	var errs []error
	seen := map[string]string{}
	name := func(path, file string) {
		if file == "" {
			return
		}
		if other, ok := seen[file]; ok {
			errs = append(errs, at(path, "%s: %s names %s, too, so that each line would count twice: name it once", path, other,
				file))
		}
		seen[file] = path
	}
	for i, file := range c.TopUps {
		name(fmt.Sprintf("topups[%d]", i), file)
	}
	for i, a := range c.Accounts {
		name(fmt.Sprintf("accounts[%d].topups", i), a.TopUps)
	}
	return errs
}
