package main

import (
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) rebuildCommand() *cobra.Command {
	var wait bool
	c := &cobra.Command{
		Use:   "rebuild",
		Short: "Parquet and DuckDB anew from the raw archive, without a request",
		Long: `rebuild derives every day file and the DuckDB file anew from the raw archive. It sends no request and needs no
key. The same version of the program gives the same Parquet files, byte for byte. A day whose raw files are gone can't
be derived: it stays as it is, and the rebuild ends with 4.`,
		Example: "  usagelake rebuild --lake ./lake\n  usagelake rebuild --account acme",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			phase, done := a.phases()
			res, err := jobs.Rebuild(c.Context(), cfg, a.env(), jobs.RebuildOptions{Wait: wait, Phase: phase,
				Account: a.overrides.Account})
			done()
			return a.ended(res, err, a.rebuildSummary)
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait for a lake that another process holds")
	return c
}

func (a *app) rebuildSummary(res *jobs.Result) {
	fmt.Fprintf(a.Stdout, "rebuild %s in %s   run %s\n\n", res.Status, words.Took(res.Elapsed), res.RunID)
	t := a.newTable(table.Row{"account", "days", "records", "quarantined"})
	for _, acc := range res.Accounts {
		t.AppendRow(table.Row{acc.Account, words.Count(acc.DaysWritten), words.Count(acc.Records),
			words.Count(acc.Quarantined)})
	}
	rightAlign(t, 2, 4)
	fmt.Fprintln(a.Stdout, t.Render())
	if res.Status == schemas.StatusDone || res.Published {
		fmt.Fprintf(a.Stdout, "\npublished  %s (%s rows of usage, %s)\n", res.Database, words.Count(res.Publish.Rows),
			words.Bytes(res.Publish.Bytes))
	}
}

// phases shows on a terminal what a run is doing, in one line that is wiped at the end; elsewhere nothing, for a run
// without requests is quick.
func (a *app) phases() (phase func(string), done func()) {
	if !a.Terminal || a.quiet || a.verbose {
		return nil, func() {}
	}
	return func(what string) { fmt.Fprintf(a.Stderr, "\r\x1b[K%s …", what) },
		func() { fmt.Fprint(a.Stderr, "\r\x1b[K") }
}
