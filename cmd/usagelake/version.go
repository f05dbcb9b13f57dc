package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
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
	if rev, _ := commit(); rev != "" {
		return "dev-" + rev
	}
	return "dev"
}

// commit is the first digits of the commit that the program was built from, with a + if files differed from it, and
// when it was made: a build has no time of its own, so that the same sources give the same file. Both are empty where
// the build knew no repository, as in a container that was given the sources alone.
func commit() (rev string, at time.Time) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", time.Time{}
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			rev = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+"
		case s.Key == "vcs.time":
			at, _ = time.Parse(time.RFC3339, s.Value)
		}
	}
	if rev == "" {
		return "", time.Time{}
	}
	return rev + dirty, at
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the program and of what it writes",
		Long: "version prints the program's version and commit, DuckDB's version, and those of the formats: a lake of a " +
			"newer one is refused, of an older one read or rebuilt.",
		Example: "  usagelake version --output json",
		RunE: func(*cobra.Command, []string) error {
			rev, at := commit()
			v := map[string]any{
				"version": version(), "commit": rev, "commit_time": nil, "go": runtime.Version(), "os": runtime.GOOS,
				"arch":   runtime.GOARCH,
				"duckdb": publish.DuckDBVersion(), "lake_format": load.Format, "raw_format": schemas.RawFormat,
				"schema": schemas.SchemaVersion, "transform": transform.Version,
			}
			built := ""
			if rev != "" {
				v["commit_time"] = at
				built = fmt.Sprintf("commit %s of %s, ", rev, at.Format(time.DateOnly))
			}
			if a.json() {
				return a.printJSON(v)
			}
			_, err := fmt.Fprintf(a.Stdout,
				"usagelake %s (%s%s, %s/%s)\nDuckDB %s\nlake format %d, raw format %d, schema %d, transform %d\n",
				v["version"], built, v["go"], v["os"], v["arch"], v["duckdb"], v["lake_format"], v["raw_format"], v["schema"],
				v["transform"])
			return err
		},
	}
}
