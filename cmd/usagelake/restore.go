package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) restoreCommand() *cobra.Command {
	var from config.Delivery
	c := &cobra.Command{
		Use:   "restore --from URL",
		Short: "Make a lake of what was delivered to an object store",
		Long: `restore makes an empty directory the lake that was delivered: every file with the digest that the manifest has,
then usage.duckdb, built anew. It takes a delivery with raw in its what; of another a lake can't be made. A restore that
was stopped goes on with the same command. The next export goes on where the last one ended.

The restored lake is the one that delivered: if the old one turns up again, its deliveries are refused.`,
		Example: `  usagelake restore --from s3://finance-lake/usage --lake ./lake
  usagelake restore --from file:///mnt/nas/usagelake --lake ./lake`,
		RunE: func(c *cobra.Command, _ []string) error {
			const help = "usagelake restore --help"
			if from.To == "" {
				return config.Usage(help, "--from says from where")
			}
			if err := bucket.Check(from.To, bucket.Options{Endpoint: from.Endpoint}); err != nil {
				return config.Usage(help, "--from: %w", err)
			}
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			env := a.env()
			p := a.newProgress(c.Context(), cfg)
			env.Logger = p.logger()
			restored, res, err := jobs.Restore(c.Context(), cfg, env, from, func(g deliver.Progress) {
				p.work(g.Doing, int(g.Files), int(g.All))
			}, p.phase)
			p.close()
			if a.json() {
				d := struct {
					outcome
					RunID    string            `json:"run_id,omitempty"`
					Database string            `json:"database,omitempty"`
					Restored *deliver.Restored `json:"restored"`
				}{outcome: outcomeOf(err), Restored: restored}
				if res != nil {
					d.RunID, d.Database = res.RunID, res.Database
				}
				return errors.Join(a.printJSON(d), err)
			}
			if err == nil && !a.quiet {
				fmt.Fprintf(a.Stdout, "restored   %s of manifest %d: %s, %s\n", words.Printable(restored.Lake), restored.Number,
					words.Plural(restored.Files, "file", "files"), words.Bytes(restored.Bytes))
				fmt.Fprintf(a.Stdout, "published  %s (%s rows of usage, %s)\n", res.Database, words.Count(res.Publish.Rows),
					words.Bytes(res.Publish.Bytes))
				fmt.Fprintf(a.Stdout, "next       usagelake verify --lake %s\n", restored.Lake)
			}
			return err
		},
	}
	placeFlags(c, &from, "from", "the `URL` that was delivered to: s3://BUCKET/PREFIX, gs://…, az://…, file:///DIR")
	return c
}
