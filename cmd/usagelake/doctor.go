package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs/doctor"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) doctorCommand() *cobra.Command {
	var offline bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check key, clock, disk and limits",
		Long: `doctor checks the set-up and says what to do about each thing that is wrong: the config and what it may not
mean, the keys and what they may do, the clock and the rate limit (six small requests an account), the lake, who holds
it, who may read it, for how long there is room, how fresh it is, and the time zone. It changes nothing.

Each line is ok, a warning, or FAILED: something can't work. The exit code is that of the failures: 0 if there are none,
warnings or not.`,
		Example: `  usagelake doctor
  usagelake doctor --offline                       without asking the API
  usagelake doctor --account acme --output json | jq '.checks[] | select(.verdict != "ok")'`,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := a.config(); err != nil { // the account that is asked for, too
				return err
			}
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			checks := doctor.Examine(c.Context(), cfg, a.env(), doctor.Options{Account: a.overrides.Account, Offline: offline})
			if c.Context().Err() != nil {
				return context.Cause(c.Context())
			}
			// Only what failed decides the exit code; a refusal among it (3) goes before the rest (1).
			n, refused := map[string]int{}, false
			for i, k := range checks {
				n[k.Verdict]++
				refused = refused || k.Refused && k.Verdict == doctor.CheckFailed
				// Details quote errors, the config and other people's files.
				checks[i].Detail = keys.Blank(k.Detail)
				checks[i].Hint = keys.Blank(k.Hint)
			}
			if a.json() {
				if err := a.printJSON(map[string]any{"checks": checks, "ok": n[doctor.CheckOK], "warnings": n[doctor.CheckWarning],
					"failed": n[doctor.CheckFailed]}); err != nil {
					return err
				}
			} else {
				a.printChecks(checks, n)
			}
			switch {
			case refused:
				return errFailed{exitRefused}
			case n[doctor.CheckFailed] > 0:
				return errFailed{exitFailed}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&offline, "offline", false, "ask the API nothing")
	return c
}

// printChecks prints the checks by section, and what they come to.
func (a *app) printChecks(checks []doctor.Check, n map[string]int) {
	names, width := make([]string, len(checks)), 0
	for i, k := range checks {
		names[i] = words.Printable(k.Name)
		if subject, rest, ok := strings.Cut(names[i], ": "); ok &&
			(subject == k.Section || doctor.SectionAccount+subject == k.Section) {
			names[i] = rest // the heading says it
		}
		width = max(width, len(names[i]))
	}
	indent := strings.Repeat(" ", len("  warning  ")+width+1) // of the details
	section := ""
	for i, k := range checks {
		if k.Section != section {
			if section != "" {
				fmt.Fprintln(a.Stdout)
			}
			section = k.Section
			fmt.Fprintln(a.Stdout, words.Printable(section))
		}
		fmt.Fprintf(a.Stdout, "  %-8s %-*s %s\n", k.Verdict, width, names[i],
			strings.ReplaceAll(words.Printable(k.Detail), "\n", "\n"+indent))
		if k.Hint != "" {
			fmt.Fprintf(a.Stdout, "%s→ %s\n", indent, strings.ReplaceAll(words.Printable(k.Hint), "\n", "\n"+indent+"  "))
		}
	}
	fmt.Fprintf(a.Stdout, "\n%s: %d failed, %s, %d ok\n", words.Plural(len(checks), "check", "checks"),
		n[doctor.CheckFailed], words.Plural(n[doctor.CheckWarning], "warning", "warnings"), n[doctor.CheckOK])
}
