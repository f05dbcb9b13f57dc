package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// The exit codes. Scripts rely on them.
const (
	exitDone    = 0
	exitFailed  = 1 // the disk, the lake, or nothing could be fetched
	exitUsage   = 2 // bad usage or config
	exitRefused = 3 // the key was refused
	exitPartial = 4 // some windows failed, the rest is committed
	exitHeld    = 5 // another process holds the lake
	// exitIncomplete is that of report --strict where the period isn't whole.
	exitIncomplete = 6
	exitInt        = 130 // stopped by SIGINT
	exitTerm       = 143 // stopped by SIGTERM
)

const exitHelp = `Exit codes:
  0 done   1 failed   2 bad usage or config   3 the key was refused   4 done in part
  5 another process holds the lake   6 report --strict: the period isn't complete
  130, 143 stopped by a signal, cleanly   134, or ended by SIGABRT: the program crashed`

// streams is what a command has of the process.
type streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Now            func() time.Time
	Terminal       bool       // Stderr is one
	FS             durable.FS // the lake's files; nil is the system's
}

// app is the state of one invocation: the common flags and the streams. It is one goroutine's, but for log and the
// streams, which may be written to by several.
type app struct {
	streams
	overrides config.Overrides
	output    string // text or json
	logFormat string // text or json
	quiet     bool
	verbose   bool
	printed   bool // the one document of --output json
	log       *slog.Logger
	logOut    io.Writer // where the log goes; progress bars put themselves in between
}

// errFailed is an outcome that the command has told about already: only the exit code is left.
type errFailed struct{ code int }

func (e errFailed) Error() string { return fmt.Sprintf("exit %d", e.code) }

// run is the program as a function of its inputs; it returns the exit code. What failed is told here, unless the
// command has said so itself (errFailed): on stderr in words, and on stdout where --output json was asked for and the
// command had not printed its one document.
func run(ctx context.Context, args []string, s streams) int {
	a := &app{streams: s, logOut: s.Stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(s.Stdin)
	root.SetOut(s.Stdout)
	root.SetErr(s.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if stopped := (*signalError)(nil); errors.As(context.Cause(ctx), &stopped) && !errors.As(err, new(*signalError)) {
		err = stopped // whatever it broke off is its doing
	}
	var done errFailed
	if errors.As(err, &done) {
		return done.code
	}
	// The flags may not have been parsed, so that the arguments are looked at, too.
	if !a.printed && (a.json() || slices.Contains(args, "--output=json") || slices.Contains(args, "json") &&
		slices.Contains(args, "--output")) {
		_ = a.printJSON(runDocument(nil, err)) // a command that failed before it had anything to say
	}
	a.report(err)
	return exitCode(err)
}

// exitCode maps an error to the exit code: the one place that does. An error may be several of these at once. A signal
// goes before all, for what it broke off looks like a failure; what the user has to put right before what came of it; a
// refused key before windows that failed with it.
func exitCode(err error) int {
	var (
		stopped *signalError
		held    *load.HeldError
		done    errFailed
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &done):
		return done.code
	case errors.As(err, &stopped):
		if stopped.signal == syscall.SIGTERM {
			return exitTerm
		}
		return exitInt
	case errors.Is(err, config.ErrUsage), errors.Is(err, load.ErrPath):
		return exitUsage
	case jobs.StatusOf(err) == schemas.StatusRefused:
		return exitRefused
	case jobs.StatusOf(err) == schemas.StatusPartial:
		return exitPartial
	case errors.As(err, &held), errors.Is(err, load.ErrStateHeld):
		return exitHeld
	}
	return exitFailed
}

// report tells a person what happened and what to do next.
func (a *app) report(err error) {
	message, hints := explain(err)
	fmt.Fprintf(a.Stderr, "usagelake: %s\n", words.Printable(message))
	for _, h := range hints {
		fmt.Fprintf(a.Stderr, "hint: %s\n", words.Printable(h))
	}
}

// hintLine begins a line of an error's text that says what to do next.
const hintLine = "hint: "

// explain parts an error into what happened and what to do next: the hint lines of its text, and the *config.Hint
// in it.
func explain(err error) (message string, hints []string) {
	add := func(h string) {
		if !slices.Contains(hints, h) {
			hints = append(hints, h)
		}
	}
	var lines []string
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimRight(line, "\n")
		if h, ok := strings.CutPrefix(line, hintLine); ok {
			add(h)
			continue
		}
		lines = append(lines, line)
	}
	var walk func(error)
	walk = func(err error) {
		if h, ok := err.(*config.Hint); ok { // each level is looked at by itself
			add(h.Hint)
		}
		switch u := err.(type) {
		case interface{ Unwrap() error }:
			walk(u.Unwrap())
		case interface{ Unwrap() []error }:
			for _, e := range u.Unwrap() {
				walk(e)
			}
		}
	}
	walk(err)
	// A key that was given in place of something else must not come back.
	for i := range hints {
		hints[i] = keys.Blank(hints[i])
	}
	return keys.Blank(strings.Join(lines, "\n")), hints
}

// keys finds management keys. Nothing that is printed may hold one, whoever put it into an error.
var keys = schemas.NewSecrets()

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "usagelake",
		Short: "Own your LLM usage: from the Portal's Manager API to Parquet and DuckDB",
		Long: `usagelake fetches every usage record of your accounts from the Portal's Manager API, as fast as its rate limit
allows, archives the answers as they came, and writes Parquet files and a DuckDB file to allocate costs with.

` + exitHelp,
		Example: `  usagelake demo                                  everything, on a simulated Portal: no key, no network
  USAGELAKE_API_KEY=sk_mg_… usagelake export      the last 30 days of your account into ./lake
  usagelake query "SELECT model, sum(amount) FROM usage GROUP BY ALL ORDER BY 2 DESC"`,
		SilenceUsage:               true,
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		Version:                    version(),
	}
	root.SetVersionTemplate("usagelake {{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		// Cobra's error has no type: its text is all there is. A flag of the set-up is no typing mistake, but one that this
		// command can't use.
		if name, ok := strings.CutPrefix(err.Error(), "unknown flag: --"); ok && slices.Contains(setupFlags[""], name) {
			return config.Usage(c.CommandPath()+" --help", "%s has no use for --%s",
				strings.TrimPrefix(c.CommandPath(), "usagelake "), name)
		}
		return config.Usage(c.CommandPath()+" --help", "%w", err)
	})
	root.CompletionOptions.HiddenDefaultCmd = false
	f := root.PersistentFlags()
	f.StringVar(&a.output, "output", "text", "text or json: with json, one JSON document on stdout")
	f.StringVar(&a.logFormat, "log-format", "text", "text or json: how the log on stderr is written")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "errors only on stderr")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "a log of every window and retry on stderr")
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if err := emptyFlag(c); err != nil {
			return err
		}
		switch {
		case a.output != "text" && a.output != "json":
			return config.Usage("", "--output %q is neither text nor json", a.output)
		case a.logFormat != "text" && a.logFormat != "json":
			return config.Usage("", "--log-format %q is neither text nor json", a.logFormat)
		case a.quiet && a.verbose:
			return config.Usage("", "--quiet and --verbose exclude each other")
		}
		a.log = slog.New(a.logHandler(a.logOut))
		return nil
	}
	for _, c := range []*cobra.Command{
		a.demoCommand(), a.exportCommand(), a.rebuildCommand(), a.verifyCommand(), a.statusCommand(), a.queryCommand(),
		a.balanceCommand(), a.reportCommand(), a.allocationCommand(), a.closeCommand(), a.scheduleCommand(), a.alertCommand(),
		a.serveCommand(), a.mcpCommand(), a.proveCommand(), a.packageCommand(), a.ownersCommand(), a.diffCommand(),
		a.pruneCommand(), a.deliverCommand(), a.restoreCommand(),
		a.simulateCommand(), a.initCommand(), a.doctorCommand(), a.versionCommand(), a.manCommand(),
	} {
		c.Long += "\n\n" + exitHelp
		a.setup(c)
		root.AddCommand(c)
	}
	root.SetHelpCommand(helpCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		checkArgs(c)
	}
	root.Args = func(c *cobra.Command, given []string) error {
		if len(given) == 0 {
			return nil
		}
		hint := "usagelake --help"
		if near := c.SuggestionsFor(given[0]); len(near) > 0 {
			hint = "usagelake " + near[0]
		}
		return config.Usage(hint, "unknown command %q", given[0])
	}
	root.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	return root
}

// setupFlags are the flags of the set-up that each command takes, by its name; cobra refuses the others. Those of ""
// are all there are.
var setupFlags = map[string][]string{
	"":       {"config", "lake", "account", "base-url"},
	"demo":   {"lake"},
	"export": {"config", "lake", "account", "base-url"}, "balance": {"config", "lake", "account", "base-url"},
	"doctor": {"config", "lake", "account", "base-url"},
	"close":  {"config", "lake", "base-url"}, "schedule": {"config", "lake", "base-url"}, "serve": {"config", "lake"},
	"mcp":     {"config", "lake"},
	"rebuild": {"config", "lake", "account"}, "status": {"config", "lake", "account"},
	"prune":  {"config", "lake", "account"},
	"verify": {"config", "lake"}, "query": {"config", "lake"}, "report": {"config", "lake"},
	"allocation": {"config", "lake"}, "alert": {"config", "lake"},
	"diff": {"config", "lake", "account"}, "prove": {"config", "lake"}, "package": {"config", "lake"},
	"owners":  {"config", "lake"},
	"deliver": {"config", "lake"}, "restore": {"config", "lake"},
	"init": {"config"},
}

// setup adds the flags of the set-up that a command takes, for it and those below it.
func (a *app) setup(c *cobra.Command) {
	f := c.PersistentFlags()
	for _, name := range setupFlags[c.Name()] {
		switch name {
		case "config":
			f.StringVar(&a.overrides.ConfigFile, name, "", "config `file` (default usagelake.yaml, if it stands here)")
		case "lake":
			f.StringVar(&a.overrides.Lake, name, "", "lake `directory` (default $USAGELAKE_LAKE, the config's, or ./lake)")
		case "account":
			f.StringVar(&a.overrides.Account, name, "", "only this account of the config")
		case "base-url":
			f.StringVar(&a.overrides.BaseURL, name, "",
				"the Manager API's `URL` (default $USAGELAKE_BASE_URL, the config's, or the Portal's)")
		}
	}
}

// checkArgs makes a wrong argument of c, or of a command below it, bad usage, with the command's help named. Cobra's
// own errors are of no kind, and would end with 1.
func checkArgs(c *cobra.Command) {
	args := c.Args
	if args == nil {
		args = cobra.NoArgs
	}
	c.Args = func(c *cobra.Command, given []string) error {
		if err := args(c, given); err != nil {
			return config.Usage(c.CommandPath()+" --help", "%w", err)
		}
		return nil
	}
	if c.HasSubCommands() && !c.Runnable() {
		// Cobra shows help for whatever stands behind such a command, and calls it a success.
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
}

// helpCommand is cobra's, but that a topic which isn't there is bad usage.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command",
		Args:  cobra.ArbitraryArgs,
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			at, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, sub := range at.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, sub.Name()+"\t"+sub.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			at, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return config.Usage("usagelake --help", "no help about %q: there is no such command", strings.Join(args, " "))
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}

// emptyFlag refuses a common flag that is given and empty, as "$LAKE" is where LAKE isn't set: taken as not given, it
// would have the command work on another lake or account than was meant.
func emptyFlag(c *cobra.Command) error {
	for _, f := range []struct{ name, what string }{
		{"config", "a file"}, {"lake", "a directory"}, {"account", "a name"}, {"base-url", "a URL"},
	} {
		if flag := c.Flag(f.name); flag != nil && flag.Changed && strings.TrimSpace(flag.Value.String()) == "" {
			return config.Usage(c.CommandPath()+" --help", "--%s is empty: give %s or leave it out", f.name, f.what)
		}
	}
	return nil
}

// logHandler writes the log, as text or JSON: everything with --verbose; on a terminal, where bars and summaries tell
// the course, warnings only.
func (a *app) logHandler(w io.Writer) slog.Handler {
	level := slog.LevelInfo
	switch {
	case a.verbose:
		level = slog.LevelDebug
	case a.quiet:
		level = slog.LevelError
	case a.Terminal:
		level = slog.LevelWarn
	}
	opts := &slog.HandlerOptions{Level: level}
	if a.logFormat == "json" {
		opts.ReplaceAttr = func(_ []string, at slog.Attr) slog.Attr { // the text's own quotes do it
			switch v := at.Value.Any().(type) {
			case string:
				at.Value = slog.StringValue(words.Printable(v))
			case error:
				at.Value = slog.StringValue(words.Printable(v.Error()))
			}
			return at
		}
		return slog.NewJSONHandler(w, opts)
	}
	return slog.NewTextHandler(w, opts)
}

// env is what jobs get of the world.
func (a *app) env() jobs.Env {
	return jobs.Env{Now: a.Now, Getenv: a.Getenv, Logger: a.log, Version: version(), FS: a.FS}
}

// config loads the set-up.
func (a *app) config() (*config.Config, error) { return config.Load(a.overrides, a.Getenv) }

// lakeConfig is the set-up for commands that need a lake, but no key and none of the config's accounts. --account names
// one of the lake's there, which may have left the config long ago.
func (a *app) lakeConfig() (*config.Config, error) {
	o := a.overrides
	o.Account = ""
	return config.Load(o, a.Getenv)
}

func (a *app) json() bool { return a.output == "json" }

// printJSON prints the one document of a command. Whatever fails after it prints no second one; the exit code tells.
func (a *app) printJSON(v any) error {
	a.printed = true
	enc := json.NewEncoder(a.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
