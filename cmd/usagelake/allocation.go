package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) allocationCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "allocation",
		Short: "Who pays for what: check the rules, explain a record, apply changed rules",
		Long: `allocation works on the allocation rules that the config names (allocation.rules): which cost centre, team,
project … each record's cost goes to. See docs/allocation.md.`,
		Example: `  usagelake allocation check           is the file right, and what does each rule catch?
  usagelake allocation init            tables of all tokens and users with cost, to fill in
  usagelake allocation explain 7300012  which rule assigned this record, and why?
  usagelake allocation apply           publish anew with the rules as they are now; fetches nothing`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return config.Usage("usagelake allocation --help", "allocation needs one of init, check, explain, apply")
		},
	}
	c.AddCommand(a.allocationInit(), a.allocationCheck(), a.allocationExplain(), a.allocationApply())
	return c
}

func (a *app) allocationInit() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Write tables of all tokens and users with cost, to fill in",
		Long: `init writes tokens.csv and users.csv: every token and user of the published usage that has cost, the largest
first, with empty columns for who pays. They go beside the rules that the config names (allocation.rules), else beside
the config, else here. What is there already stays as it is. Columns whose name begins with # are for those who fill
them in.

` + exitHelp,
		Example: "  usagelake allocation init",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			tables, err := jobs.InitAllocation(c.Context(), cfg)
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(map[string]any{"tables": tables})
			}
			for _, t := range tables {
				switch {
				case t.There:
					fmt.Fprintf(a.Stdout, "kept       %s: it is there already\n", t.Path)
				case t.LeftOut > 0:
					fmt.Fprintf(a.Stdout, "written    %s: %d rows, without %d ids that a spreadsheet would take for formulas: "+
						"match them by rules\n", t.Path, t.Rows, t.LeftOut)
				default:
					fmt.Fprintf(a.Stdout, "written    %s: %d rows, the largest cost first\n", t.Path, t.Rows)
				}
			}
			if cfg.Allocation.Rules == "" {
				fmt.Fprint(a.Stdout,
					`next       fill in who pays, and name the table in a rules file, allocation.yaml, which the config names
           (allocation: {rules: allocation.yaml}):
             tables: {tokens: {file: tokens.csv, key: token_id}}
             rules: [{id: by-token, lookup: [tokens]}]
           then usagelake allocation check
`)
			}
			return nil
		},
	}
}

func (a *app) allocationApply() *cobra.Command {
	var wait bool
	c := &cobra.Command{
		Use:   "apply",
		Short: "Publish anew with the rules as they are now",
		Long: `apply publishes usage.duckdb with the allocation rules, budgets and invoices as they are now. It fetches
nothing and needs no key. Closed months keep the rules they were closed with.

` + exitHelp,
		Example: "  usagelake allocation apply",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			res, changes, err := jobs.Allocate(c.Context(), cfg, a.env(), wait)
			if a.json() {
				return a.closeDocument(res, err, map[string]any{"cost_centers": changes})
			}
			return a.ended(res, err, func(res *jobs.Result) {
				if err == nil && res.Publish.Unchanged {
					fmt.Fprintf(a.Stdout, "unchanged  %s holds these rules already\n", res.Database)
					return
				}
				if err == nil {
					fmt.Fprintf(a.Stdout, "published  %s in %.1f s\n", res.Database, res.Publish.Elapsed.Seconds())
					a.printChanges("before", "now", changes, nil)
				}
			})
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait for a lake that another process holds")
	return c
}

func (a *app) allocationCheck() *cobra.Command {
	var month, compare, markups, prices string
	c := &cobra.Command{
		Use:   "check",
		Short: "Is the rules file right, and what does each rule catch?",
		Long: `check reads the allocation rules and their tables, and tells of mistakes with their lines. Against the
published usage it says what each rule catches of the open months, what every cost centre is charged now and would be
by the file, to the last digit, month by month and what changes most first; what would be charged to nobody and why;
which rules are shadowed by others or match nothing, and where versions leave gaps. With --compare it looks at another
file than the config's: who would pay more, and who less, before anybody changes a rule. It changes nothing. Findings
don't make it fail; mistakes in the file end it with 2.

Of money it asks the same, one file at a time: --markups says what every cost centre would be charged on top of its
cost by other mark-ups; --prices what it would be charged by other prices, where the file has one, with discounts in
proportion and pools split anew. What they stand against is what is published; closed months are left out.

` + exitHelp,
		Example: `  usagelake allocation check
  usagelake allocation check --month 2026-10
  usagelake allocation check --compare new.yaml   who would pay more or less by these rules?
  usagelake allocation check --markups new.yaml   and by these mark-ups?
  usagelake allocation check --prices new.csv     and by these prices?`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			given := slices.DeleteFunc([]string{"compare", "markups", "prices"},
				func(name string) bool { return !c.Flags().Changed(name) })
			if len(given) > 1 {
				return config.Usage("usagelake allocation check --help", "--%s: each is a question of its own: ask one at a time",
					strings.Join(given, " and --"))
			}
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			var m *schemas.Month
			if month != "" {
				_, d, err := a.monthOf(cfg, month)
				if err != nil {
					return err
				}
				m = &d
			}
			switch {
			case c.Flags().Changed("markups"):
				return a.whatIf(jobs.CheckMarkups(c.Context(), cfg, markups, m))
			case c.Flags().Changed("prices"):
				return a.whatIf(jobs.CheckPrices(c.Context(), cfg, prices, m))
			}
			check, err := jobs.CheckAllocation(c.Context(), cfg, compare, m)
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(check)
			}
			a.printCheck(check)
			return nil
		},
	}
	c.Flags().StringVar(&month, "month", "", "only this `month`: 2026-10, this or last (default: every open one)")
	c.Flags().StringVar(&compare, "compare", "", "look at the rules in this `file`, and the tables beside it that "+
		"it names, in place of the config's")
	c.Flags().StringVar(&markups, "markups", "", "what would be charged on top by the markups: of this `file`, a YAML "+
		"as the config")
	c.Flags().StringVar(&prices, "prices", "", "what would be charged by the prices in this `file`: a table of model, "+
		"line and price")
	return c
}

func (a *app) printCheck(check *jobs.AllocationCheck) {
	fmt.Fprintf(a.Stdout, "ok         %s   (digest %.12s)\n", check.Rules, check.Digest)
	if check.Month == "" {
		fmt.Fprintln(a.Stdout, "           nothing is published yet that the rules could be asked of")
	} else {
		t := a.newTable(table.Row{"rule", "version", "matches", "assigns", "requests",
			"net cost of " + monthsOf(check.Months)})
		t.SetColumnConfigs([]table.ColumnConfig{{Number: 5, Align: text.AlignRight, AlignHeader: text.AlignRight},
			{Number: 6, Align: text.AlignRight, AlignHeader: text.AlignRight}})
		for _, r := range check.Costs {
			id, v := r.RuleID, fmt.Sprint(r.Version)
			if id == "" {
				id, v = schemas.Unallocated, ""
			}
			t.AppendRow(table.Row{words.Cell(id), v, words.Cell(words.Clip(r.Matches, 60)),
				words.Cell(words.Clip(r.Assigns, 60)), words.Count(r.Requests), costs(r.NetCost)})
		}
		fmt.Fprintf(a.Stdout, "\n%s\n\n", t.Render())
		for _, m := range check.ByMonth {
			if len(check.ByMonth) > 1 {
				fmt.Fprintln(a.Stdout, m.Month)
			}
			a.printChanges("published", "by the file", m.Centers, nil)
		}
	}
	a.printNotes(check.Findings)
}

func (a *app) printNotes(findings []jobs.Finding) {
	for _, f := range findings {
		rule := ""
		if f.RuleID != "" {
			rule = "rule " + f.RuleID + ": "
		}
		source := words.Cell(f.Source)
		if source != "" {
			source += ": "
		}
		fmt.Fprintf(a.Stdout, "%-10s %s%s%s\n", f.Severity, source, words.Cell(rule), words.Cell(f.Message))
	}
	if len(findings) == 0 {
		fmt.Fprintln(a.Stdout, "findings   none")
	}
}

// monthsOf names months that follow each other.
func monthsOf(months []string) string {
	if len(months) > 2 {
		return months[0] + " … " + months[len(months)-1]
	}
	return strings.Join(months, ", ")
}

// maxUnchanged is how many cost centres that stay as they are a table of changes lists.
const maxUnchanged = 20

// printChanges prints what cost centres are charged before and after, exactly, and the sums that there are; many that
// don't change are counted.
func (a *app) printChanges(before, after string, changes []jobs.CenterChange, sums []jobs.CurrencyChange) {
	if len(changes) == 0 {
		return
	}
	same := func(c jobs.CenterChange) bool { return c.Difference == "0" }
	unchanged := 0
	for _, c := range changes {
		if same(c) {
			unchanged++
		}
	}
	t := a.newTable(table.Row{"cost centre", "currency", before, after, "difference"})
	rightAlign(t, 3, 5)
	for _, c := range changes {
		// All of them, or of many those that change.
		if unchanged <= maxUnchanged || !same(c) {
			t.AppendRow(table.Row{words.Cell(c.CostCenter), words.Cell(c.Currency), c.Before, c.After, c.Difference})
		}
	}
	for _, c := range sums {
		t.AppendFooter(table.Row{"sum", words.Cell(c.Currency), c.Before, c.After, c.Difference})
	}
	fmt.Fprintf(a.Stdout, "\n%s\n", t.Render())
	if unchanged > maxUnchanged {
		fmt.Fprintf(a.Stdout, "and %d that don't change\n", unchanged)
	}
	fmt.Fprintln(a.Stdout)
}

// costs are amounts by currency.
func costs(by map[string]string) string {
	var out []string
	for _, currency := range slices.Sorted(maps.Keys(by)) {
		out = append(out, money(by[currency], currency))
	}
	if len(out) == 0 {
		return "0"
	}
	return strings.Join(out, ", ")
}

func (a *app) allocationExplain() *cobra.Command {
	return &cobra.Command{
		Use:   "explain ID",
		Short: "Which rule and version assigned this record, and why?",
		Long: `explain shows a record by its id: who pays for it in the published file, by which rule, version and row of a
table; and rule by rule what the file says of it now.

` + exitHelp,
		Example: "  usagelake allocation explain 7300000012",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			found, err := jobs.Explain(c.Context(), cfg, args[0])
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(map[string]any{"records": found})
			}
			for i, e := range found {
				if i > 0 {
					fmt.Fprintln(a.Stdout)
				}
				a.printExplanation(e)
			}
			return nil
		},
	}
}

func (a *app) printExplanation(e jobs.Explanation) {
	out := a.Stdout
	fmt.Fprintf(out, "record     %s of %s, %s, %s\n", words.Cell(e.ID), words.Cell(e.Account), e.Time,
		strings.TrimSpace(orWithout(e.Amount)+" "+orWithout(e.Currency)))
	for _, f := range e.Fields[1:] {
		fmt.Fprintf(out, "           %-15s %s\n", f[0], words.Cell(f[1]))
	}
	p := e.Published
	owner := func(pool, center, team, project string) string {
		switch {
		case pool != "":
			return "shared pool " + words.Cell(pool)
		case center == "" && team == "" && project == "":
			return schemas.Unallocated
		}
		return strings.Join(slices.DeleteFunc([]string{words.Cell(center), words.Cell(team), words.Cell(project)},
			func(s string) bool { return s == "" }), ", ")
	}
	if p.RuleID == "" {
		fmt.Fprintf(out, "published  %s: no rule matched (rules %s)\n", owner(p.Pool, p.CostCenter, p.Team, p.Project),
			p.Ruleset)
	} else {
		fmt.Fprintf(out, "published  %s: rule %s, version %s, %s (rules %s)\n",
			owner(p.Pool, p.CostCenter, p.Team, p.Project), words.Cell(p.RuleID), p.Version, words.Cell(p.Source), p.Ruleset)
	}
	fmt.Fprintf(out, "now        %s\n", owner(e.Now.Pool, e.Now.CostCenter, e.Now.Team, e.Now.Project))
	for _, s := range e.Steps {
		mark := "no "
		if s.Matches {
			mark = "yes"
		}
		fmt.Fprintf(out, "           %s %s, version %d, %s: %s\n", mark, words.Cell(s.RuleID), s.Version,
			words.Cell(s.Source), words.Cell(s.Why))
	}
}
