package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/watch"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) alertCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "alert",
		Short: "Who is told of what: try the receivers, check the rules, list what fires",
		Long: `alert works on the config's section alerts: rules that say what people should know of, and receivers that are
told: webhooks, commands, the log. See docs/alerts.md. The daemon (usagelake schedule) checks after each run and every
minute.`,
		Example: `  usagelake alert test                 does every receiver get a message?
  usagelake alert check                check now and tell; for those who run export from a timer of their own
  usagelake alert list                 what fires?`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return config.Usage("usagelake alert --help", "alert needs one of test, check, list")
		},
	}
	c.AddCommand(a.alertTest(), a.alertCheck(), a.alertList())
	return c
}

func (a *app) alertTest() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "test",
		Short: "Send a test message to each receiver",
		Long: `test sends a message to each receiver of the config, or to one of them, and says what came of it. It ends with
1 if a receiver didn't take it. It needs no lake.

` + exitHelp,
		Example: "  usagelake alert test\n  usagelake alert test --to slack",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			deliveries, err := watch.TryReceivers(c.Context(), cfg, a.env(), to)
			if err != nil {
				return err
			}
			if a.json() {
				err = a.printJSON(map[string]any{"deliveries": deliveries})
			} else {
				a.printDeliveries(deliveries)
			}
			return errors.Join(err, undelivered(deliveries))
		},
	}
	c.Flags().StringVar(&to, "to", "", "only this `receiver`")
	return c
}

// undelivered is exit code 1 if a receiver didn't take what it was sent. What was printed says which, so that no error
// follows.
func undelivered(deliveries []alert.Delivery) error {
	if slices.ContainsFunc(deliveries, func(d alert.Delivery) bool { return d.Error != "" }) {
		return errFailed{exitFailed}
	}
	return nil
}

func (a *app) printDeliveries(deliveries []alert.Delivery) {
	for _, d := range deliveries {
		switch {
		case d.Error != "":
			fmt.Fprintf(a.Stdout, "FAILED   %-20s %s\n", d.Receiver, words.Cell(d.Error))
		case d.Waiting > 0:
			fmt.Fprintf(a.Stdout, "waiting  %-20s %d sent, %d to be sent\n", d.Receiver, d.Sent, d.Waiting)
		default:
			fmt.Fprintf(a.Stdout, "ok       %-20s %d sent\n", d.Receiver, d.Sent)
		}
	}
}

func (a *app) alertCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the rules now and tell the receivers",
		Long: `check reads what the lake holds, without a key and without the lake's lock, and tells the receivers of what
began since the last check, what goes on for as long as its interval, and what is over. What a receiver didn't take
waits in the lake and is sent by later checks; then check ends with 1. Alerts that fire don't make it fail.

Beside the daemon it is not needed, and harmless: the two keep out of each other's way.

` + exitHelp,
		Example: "  usagelake export; usagelake alert check\n  usagelake alert check --output json | jq '.firing[].summary'",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.alertConfig()
			if err != nil {
				return err
			}
			// Without a Memory: what can't be written into the lake is forgotten when this ends, and told anew by the next
			// check.
			report, err := watch.Check(c.Context(), cfg, a.env(), watch.Input{})
			if err != nil {
				return err
			}
			if a.json() {
				return errors.Join(a.printJSON(report), undelivered(report.Deliveries))
			}
			if report.Held {
				fmt.Fprintln(a.Stdout, "another process is checking the alerts: nothing is left to do here")
				return nil
			}
			if !a.quiet {
				for _, n := range report.Notifications {
					fmt.Fprintf(a.Stdout, "%-12s %-8s %s: %s\n", n.State, n.Severity, n.Rule, words.Cell(n.Summary))
				}
				a.printDeliveries(report.Deliveries)
				fmt.Fprintf(a.Stdout, "%d alerts fire, %d notifications were made\n", len(report.Firing), len(report.Notifications))
			}
			return undelivered(report.Deliveries)
		},
	}
}

// alertConfig is a set-up that has alerts.
func (a *app) alertConfig() (*config.Config, error) {
	cfg, err := a.lakeConfig()
	if err == nil && !cfg.Alerts.Set() {
		err = config.Usage("docs/alerts.md shows some", "the config has no alerts")
	}
	return cfg, err
}

func (a *app) alertList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "What fires, as the last check found it",
		Long: `list shows the alerts that fire, as the last check left them: since when, when they were told last, and what
could not be delivered. It asks nothing and sends nothing.

` + exitHelp,
		Example: "  usagelake alert list\n  usagelake alert list --output json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.alertConfig()
			if err != nil {
				return err
			}
			active, err := watch.Active(cfg)
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(map[string]any{"firing": active})
			}
			if len(active) == 0 {
				fmt.Fprintf(a.Stdout, "nothing fires (%d rules, %d receivers)\n", len(cfg.Alerts.Rules), len(cfg.Alerts.Receivers))
				return nil
			}
			t := a.newTable(table.Row{"severity", "rule", "since (UTC)", "told (UTC)", "summary"})
			for _, v := range active {
				t.AppendRow(table.Row{v.Severity, v.Rule, words.Stamp(v.Since), words.Stamp(v.ToldAt),
					words.Clip(words.Cell(v.Summary), 120)})
			}
			fmt.Fprintln(a.Stdout, t.Render())
			waiting, why := map[string][]string{}, map[string]string{}
			for _, v := range active {
				for to, reason := range v.Undelivered {
					waiting[to], why[to] = append(waiting[to], v.Rule), reason
				}
			}
			for _, to := range slices.Sorted(maps.Keys(waiting)) { // a receiver that is broken is broken once
				rules := slices.Compact(slices.Sorted(slices.Values(waiting[to])))
				fmt.Fprintf(a.Stdout, "not delivered yet: %s to %s: %s\n", strings.Join(rules, ", "), to, words.Cell(why[to]))
			}
			return nil
		},
	}
}
