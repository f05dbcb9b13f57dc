package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) packageCommand() *cobra.Command {
	var opts jobs.PackageOptions
	var month string
	c := &cobra.Command{
		Use:   "package --month MONTH",
		Short: "What each cost centre is handed of a closed month, and its delivery",
		Long: `package makes a folder and a zip of the same files for each cost centre that is charged in a closed month: its
statement (XLSX, HTML, CSV), the records that it is charged for with its parts of shared pools (Parquet, CSV), the
lines of the journal that debit it, and manifest.json with names, sizes, digests and totals. A package has nothing of
another cost centre's, and what it has sums to the statement to the last digit: else there is none, and it ends with 1.

They stand in LAKE/packages/MONTH, and are delivered to the receivers of the config (packages: deliver): folders,
commands and webhooks. What was delivered is remembered, so that the next run delivers what lacks; what couldn't be
ends it with 4. The same month gives the same bytes, and packages that are there aren't made anew.

A month that isn't closed has no packages: usagelake report statement shows what it comes to until now.`,
		Example: `  usagelake package --month 2026-10
  usagelake package --month last --cost-center CC-1010 --out handed
  usagelake package --month 2026-10 --cost-center CC-1010 --again`,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case month == "":
				return config.Usage("usagelake package --month last", "of which closed month? Give --month")
			case opts.Out != "" && (opts.Again || opts.NoDeliver):
				return config.Usage("", "--out delivers nothing: leave --again and --no-deliver out")
			case opts.Again && opts.NoDeliver:
				return config.Usage("", "--again delivers once more, and --no-deliver doesn't deliver: leave one out")
			}
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			if _, opts.Month, err = a.monthOf(cfg, month); err != nil {
				return err
			}
			phase, done := a.phases()
			opts.Phase = phase
			if phase != nil {
				opts.Progress = func(done, total int) { phase(fmt.Sprintf("package %d of %d", min(done+1, total), total)) }
			}
			packed, err := jobs.Pack(c.Context(), cfg, a.env(), opts)
			done()
			if packed == nil {
				return err
			}
			if a.json() {
				return errors.Join(a.printJSON(packed), err)
			}
			a.packedSummary(packed)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&month, "month", "", "closed `month` of the books: 2026-10 or last; of a fiscal calendar 2026-P07")
	f.StringArrayVar(&opts.CostCenters, "cost-center", nil,
		"deliver or copy the package of this `cost centre` alone; repeat it for several")
	f.StringVar(&opts.Out, "out", "", "copy the packages into this `folder`, and deliver nothing")
	f.BoolVar(&opts.NoDeliver, "no-deliver", false, "make them, and deliver nothing")
	f.BoolVar(&opts.Again, "again", false, "deliver also what was delivered already")
	a.complete(c, "month", `SELECT period_of("month") FROM closed_months ORDER BY 1 DESC`, "last")
	a.complete(c, "cost-center", "SELECT DISTINCT cost_center FROM chargeback_daily ORDER BY 1")
	return c
}

// packedSummary tells a person what became of the packages of a month.
func (a *app) packedSummary(p *jobs.Packed) {
	what, count := "made", words.Plural(p.All, "package", "packages")
	if !p.Made {
		what = "there already,"
	}
	if len(p.Packages) < p.All {
		count = fmt.Sprintf("%s of %s", words.Count(len(p.Packages)), count)
	}
	fmt.Fprintf(a.Stdout, "packages   %s: %s, %s in %s\n", p.Month, count, what, words.Printable(p.Folder))
	if p.Out != "" {
		fmt.Fprintf(a.Stdout, "written    %s\n", words.Printable(p.Out))
		return
	}
	if n := len(p.Delivered); n > 0 || p.Before > 0 {
		fmt.Fprintf(a.Stdout, "delivered  %s", words.Count(n))
		if p.Before > 0 {
			fmt.Fprintf(a.Stdout, "; %s before", words.Count(p.Before))
		}
		fmt.Fprintln(a.Stdout)
	}
	for _, d := range p.Undelivered {
		fmt.Fprintf(a.Stdout, "undelivered  %s: %s: %s\n", words.Cell(d.Receiver), words.Cell(d.CostCenter),
			words.Printable(d.Error))
	}
}
