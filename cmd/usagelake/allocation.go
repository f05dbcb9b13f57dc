package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
)

func (a *app) allocationCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "allocation",
		Short: "Who pays for what: check the rules, explain a record, apply changed rules",
		Long: `allocation works on the allocation rules that the config names (allocation.rules): which cost centre, team, project …
each record's cost goes to. See docs/allocation.md.`,
		Example: `  usagelake allocation check           is the file right, and what does each rule catch?
  usagelake allocation explain 7300012  which rule assigned this record, and why?
  usagelake allocation apply           publish anew with the rules as they are now; fetches nothing`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return jobs.Usage("usagelake allocation --help", "allocation needs one of check, explain, apply")
		},
	}
	c.AddCommand(a.allocationApply())
	return c
}

func (a *app) allocationApply() *cobra.Command {
	var wait bool
	c := &cobra.Command{
		Use:   "apply",
		Short: "Publish anew with the rules as they are now",
		Long: `apply publishes usage.duckdb with the allocation rules, budgets and invoices as they are now. It fetches nothing and
needs no key. Closed months keep the rules they were closed with.

` + exitHelp,
		Example: "  usagelake allocation apply",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			res, err := jobs.Allocate(c.Context(), cfg, a.env(), wait)
			return a.ended(res, err, func(res *jobs.Result) {
				if res.Publish.Unchanged {
					fmt.Fprintf(a.Stdout, "unchanged  %s holds these rules already\n", res.Database)
					return
				}
				fmt.Fprintf(a.Stdout, "published  %s in %.1f s\n", res.Database, res.Publish.Elapsed.Seconds())
			})
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait for a lake that another process holds")
	return c
}
