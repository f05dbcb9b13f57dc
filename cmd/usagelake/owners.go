package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) ownersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "owners [NAME]...",
		Short: "A file of his own for each owner: a DuckDB file and workbooks of what is his",
		Long: `owners makes the files of the owners that the config names (owners: files), or of some of them: usage.duckdb,
which has what is theirs and nothing else, and a workbook of the chargeback of each of the last two months. Each owner
has a folder, readable by the group that the config says. With after: publish in the config every run that publishes
makes them, with after: close every close; files of what is published now stay as they are.`,
		Example: "  usagelake owners\n  usagelake owners search",
		Args:    cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, names []string) error {
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			if len(cfg.Owners.Files) == 0 {
				return config.Usage("docs/packages.md says how", "no owner is named: write one into the config, owners: files")
			}
			if len(names) == 0 {
				names = nil
			}
			made, err := jobs.Owners(c.Context(), cfg, a.env(), names)
			if made == nil {
				return err
			}
			if a.json() {
				return errors.Join(a.printJSON(made), err)
			}
			a.ownedSummary(made)
			return err
		},
	}
	return c
}

// ownedSummary tells a person what became of the files of owners.
func (a *app) ownedSummary(made []jobs.OwnedFiles) {
	for _, f := range made {
		what := "there already,"
		if f.Made {
			what = "made,"
		}
		if f.Error != "" {
			fmt.Fprintf(a.Stdout, "owner      %s: %s\n", f.Name, words.Printable(f.Error))
			continue
		}
		fmt.Fprintf(a.Stdout, "owner      %s: %s %s in %s\n", f.Name, words.Plural(len(f.Files), "file", "files"), what,
			words.Printable(f.Folder))
	}
}
