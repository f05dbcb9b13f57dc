package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) proveCommand() *cobra.Command {
	var opts jobs.ProveOptions
	var month string
	c := &cobra.Command{
		Use:   "prove --month MONTH --cost-center NAME",
		Short: "Evidence of what a cost centre is charged: a folder that an auditor checks offline",
		Long: `prove writes a folder with what a cost centre is charged in a month and all that it comes of: the records, the
rules that gave them to it, its parts of shared pools, the ledger, the journal's lines, the month's manifest with its
chain and signature, the sealed files with their digests, and README.md, which says how it is checked. That takes
sha256sum, DuckDB and ssh-keygen, and neither this program nor a network.

The records are derived anew from the sealed windows: of a closed month from those that it was closed with and by its
rules, whatever came since. Every check is run before the folder is there: one that fails ends it with 1. Of a month
that is open it is provisional, and says so. The same state gives the same bytes.`,
		Example: `  usagelake prove --month 2026-10 --cost-center CC-1010
  usagelake prove --month last --cost-center CC-1010 --pages --out /tmp/evidence
  cd evidence-2026-10-cc-1010-* && sha256sum -c --quiet SHA256SUMS && duckdb < check.sql`,
		RunE: func(c *cobra.Command, _ []string) error {
			if month == "" || opts.CostCenter == "" {
				return config.Usage("usagelake prove --month last --cost-center CC-1010",
					"what is to be proven? Give --month and --cost-center")
			}
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			books, m, err := a.monthOf(cfg, month)
			if err != nil {
				return err
			}
			opts.Month = m
			if a.Now().Before(books.Starts(books.First(opts.Month))) {
				return config.Usage("", "--month %s has not begun", books.Name(opts.Month))
			}
			phase, done := a.phases()
			opts.Phase = phase
			proof, err := jobs.Prove(c.Context(), cfg, a.env(), opts)
			done()
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(proof)
			}
			for _, f := range proof.Figures {
				fmt.Fprintf(a.Stdout, "posted     %s to %s, exactly %s, of %s\n",
					money(f.Posted, words.Printable(orWithout(f.Currency))), words.Printable(f.GLCode), f.Net,
					words.Plural(proof.Records, "record", "records"))
			}
			if len(proof.Figures) == 0 {
				fmt.Fprintln(a.Stdout, "posted     nothing")
			}
			if proof.ClosedAt == nil {
				fmt.Fprintf(a.Stdout, "status     provisional: %s is not closed\n", books.Name(opts.Month))
			} else {
				fmt.Fprintf(a.Stdout, "status     closed %s, manifest %s\n", words.Stamp(*proof.ClosedAt), proof.Manifest)
			}
			fmt.Fprintf(a.Stdout, "proven     every check holds\nwritten    %s: README.md says how it is checked\n",
				words.Printable(proof.Dir))
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&month, "month", "", "`month` of the books: 2026-10, this or last; of a fiscal calendar 2026-P07")
	f.StringVar(&opts.CostCenter, "cost-center", "", "the `cost centre`; (unallocated) for what goes to nobody")
	f.StringVar(&opts.Out, "out", "",
		"write into this `folder`, which must not be there (default evidence-MONTH-NAME here)")
	f.BoolVar(&opts.Pages, "pages", false,
		"with the sealed files: everything that the gateway answered, of all cost centres")
	a.complete(c, "month", "SELECT DISTINCT period_of(billing_month) FROM chargeback_daily ORDER BY 1 DESC",
		"this", "last")
	a.complete(c, "cost-center", "SELECT DISTINCT cost_center FROM chargeback_daily ORDER BY 1")
	return c
}
