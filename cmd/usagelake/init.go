package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/durable"
)

// template is the commented config that init writes.
//
//go:embed usagelake.yaml
var template []byte

func (a *app) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "init",
		Short:   "Write a commented config",
		Long:    "init writes a commented usagelake.yaml (or the file that --config names). It never overwrites one.",
		Example: "  usagelake init\n  usagelake init --config /etc/usagelake/usagelake.yaml",
		RunE: func(*cobra.Command, []string) error {
			path := a.overrides.ConfigFile
			if path == "" {
				path = config.DefaultFile
			}
			err := durable.Out{New: true}.Bytes(path, template)
			if errors.Is(err, fs.ErrExist) {
				return config.Usage("usagelake doctor   (checks it)", "%s is there already, and init never overwrites", path)
			}
			if err != nil {
				return fmt.Errorf("init: %w", err)
			}
			if a.json() {
				return a.printJSON(map[string]string{"config": path})
			}
			fmt.Fprintf(a.Stdout,
				"%s is written. Next: put the key into the environment (export %s=sk_mg_…), then\n"+
					"  usagelake doctor\n  usagelake export\n", path, config.EnvKey)
			return nil
		},
	}
}
