package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check key, clock, disk and limits",
		Long: `doctor checks the set-up and says what to do about each thing that is wrong: the config, the keys and what they may do
(two small requests an account), the clock, the lake, its disk and who holds it. It changes nothing.`,
		Example: "  usagelake doctor\n  usagelake doctor --account acme --output json",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			checks := jobs.Doctor(c.Context(), cfg, a.env())
			failed, refused := 0, false
			for _, k := range checks {
				if k.Verdict == jobs.CheckFailed {
					failed++
					refused = refused || k.Refused
				}
			}
			if a.json() {
				if err := a.printJSON(map[string]any{"checks": checks, "failed": failed}); err != nil {
					return err
				}
			} else {
				for _, k := range checks {
					fmt.Fprintf(a.Stdout, "%-8s %-24s %s\n", k.Verdict, k.Name, printable(k.Detail))
					if k.Hint != "" {
						fmt.Fprintf(a.Stdout, "%-8s %-24s → %s\n", "", "", printable(k.Hint))
					}
				}
			}
			switch {
			case refused:
				return errFailed{exitRefused}
			case failed > 0:
				return errFailed{exitFailed}
			}
			return nil
		},
	}
}
