package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform"
)

// release is set by the build of a release: -ldflags "-X main.release=v1.2.3".
var release = ""

// version is the release, or for another build "dev" with the commit where it is known.
func version() string {
	if release != "" {
		return release
	}
	if commit := commit(); commit != "" {
		return "dev-" + commit
	}
	return "dev"
}

func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	rev, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			rev = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+"
		}
	}
	if rev == "" {
		return ""
	}
	return rev + dirty
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of the program and of what it writes",
		Long:    "version prints the program's version, DuckDB's, and those of the formats: a lake of a newer one is refused, of an older one read or rebuilt.",
		Example: "  usagelake version --output json",
		RunE: func(*cobra.Command, []string) error {
			v := map[string]any{
				"version": version(), "commit": commit(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
				"duckdb": load.DuckDBVersion(), "lake_format": load.Format, "raw_format": schemas.RawFormat,
				"schema": schemas.SchemaVersion, "transform": transform.Version,
			}
			if a.json() {
				return a.printJSON(v)
			}
			_, err := fmt.Fprintf(a.Stdout, "usagelake %s (%s, %s/%s)\nDuckDB %s\nlake format %d, raw format %d, schema %d, transform %d\n",
				v["version"], v["go"], v["os"], v["arch"], v["duckdb"], v["lake_format"], v["raw_format"], v["schema"], v["transform"])
			return err
		},
	}
}
