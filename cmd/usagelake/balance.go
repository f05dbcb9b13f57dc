package main

import (
	"errors"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) balanceCommand() *cobra.Command {
	var below string
	var wait bool
	c := &cobra.Command{
		Use:   "balance",
		Short: "Ask for the balance, keep it, warn under a threshold",
		Long: `balance asks for each account's balance, seals the answer in the raw archive and publishes it in the table
balance. With --warn-below it warns on stderr, and its JSON says "below": true.`,
		Example: `  usagelake balance
  usagelake balance --warn-below 100 --output json`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			opts := jobs.BalanceOptions{Wait: wait}
			if below != "" {
				v, err := schemas.ParseDecimal([]byte(below))
				if err != nil {
					return config.Usage("", "--warn-below %q: %w", below, err)
				}
				opts.Below = &v
			}
			res, readings, err := jobs.Balance(c.Context(), cfg, a.env(), opts)
			if a.json() {
				doc := map[string]any{"run": runDocument(res, err), "balances": readings}
				return errors.Join(a.printJSON(doc), err)
			}
			if res == nil {
				return err
			}
			t := a.newTable(table.Row{"account", "balance", "currency", "at (UTC)"})
			for _, r := range readings {
				if r.Error != "" {
					continue
				}
				t.AppendRow(table.Row{r.Account, words.Printable(r.Balance), words.Printable(r.Currency),
					words.Stamp(r.ObservedAt)})
				if r.Below {
					fmt.Fprintf(a.Stderr, "warning: the balance of account %s is %s %s, below %s\n", r.Account,
						words.Printable(r.Balance), words.Printable(r.Currency), below)
				}
			}
			rightAlign(t, 2, 2)
			if t.Length() > 0 && !a.quiet {
				fmt.Fprintln(a.Stdout, t.Render())
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&below, "warn-below", "", "warn if a balance is less than this `amount`")
	f.BoolVar(&wait, "wait", false, "wait for a lake that another process holds")
	return c
}
