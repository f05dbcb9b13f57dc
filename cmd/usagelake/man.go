package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/durable"
)

// manCommand writes the manual, for the release build and for packagers. It is hidden: whoever installs a release has
// the pages already.
func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIRECTORY",
		Short:  "Write the manual pages",
		Hidden: true,
		Long: `man writes a manual page for the program and one for each command into a directory, which it makes if need be:
usagelake.1, usagelake-export.1, … They are made from the same text as --help. The date in them is that of
$SOURCE_DATE_EPOCH, or else of the commit, so that the same program gives the same pages.`,
		Example: "  usagelake man dist/man && man dist/man/usagelake-export.1",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			date, err := a.manDate()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("write the manual: %w", err)
			}
			n := 0
			for _, page := range manCommands(c.Root()) {
				path := filepath.Join(args[0], manName(page)+".1")
				if err := (durable.Out{Mode: 0o644}).Bytes(path, []byte(manPage(page, date))); err != nil {
					return fmt.Errorf("write the manual: %w", err)
				}
				n++
			}
			if a.json() {
				return a.printJSON(map[string]any{"directory": args[0], "pages": n})
			}
			_, err = fmt.Fprintf(a.Stdout, "wrote %d pages into %s\n", n, args[0])
			return err
		},
	}
}

// manDate is the date of the pages: never the clock's where something steadier is known.
func (a *app) manDate() (time.Time, error) {
	if s := a.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return time.Time{}, config.Usage("", "SOURCE_DATE_EPOCH is %q, not a number of seconds", s)
		}
		return time.Unix(n, 0).UTC(), nil
	}
	if _, t := commit(); !t.IsZero() {
		return t, nil
	}
	return a.Now().UTC(), nil
}

// manCommands is root and every command below it that help shows, but help itself.
func manCommands(root *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			list = append(list, manCommands(c)...)
		}
	}
	return list
}

func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manPage renders the page of c in the man macros, which groff and mandoc both read.
func manPage(c *cobra.Command, date time.Time) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	name := manName(c)
	line(`.TH %s 1 %s "usagelake %s" "usagelake manual"`, roff(strings.ToUpper(name)), date.Format(time.DateOnly),
		roff(version()))
	line(".SH NAME")
	line(`%s \- %s`, roff(name), roff(c.Short))
	line(".SH SYNOPSIS")
	line(".B %s", roff(c.CommandPath()))
	if rest := strings.TrimPrefix(c.UseLine(), c.CommandPath()); rest != "" {
		line("%s", roff(strings.TrimSpace(rest)))
	}
	line(".SH DESCRIPTION")
	b.WriteString(manText(strings.TrimSuffix(c.Long, exitHelp)))
	var below []*cobra.Command
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			below = append(below, sub)
		}
	}
	if len(below) > 0 {
		line(".SH COMMANDS")
		for _, sub := range below {
			line(".TP\n.BR %s (1)\n%s", roff(manName(sub)), roff(sub.Short))
		}
	}
	c.InitDefaultHelpFlag()
	for _, s := range []struct {
		title string
		flags *pflag.FlagSet
	}{{"OPTIONS", c.NonInheritedFlags()}, {"COMMON OPTIONS", c.InheritedFlags()}} {
		if !s.flags.HasAvailableFlags() {
			continue
		}
		line(".SH %s", s.title)
		s.flags.VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Deprecated == "" {
				b.WriteString(manFlag(f))
			}
		})
	}
	if c.Example != "" {
		line(".SH EXAMPLES")
		b.WriteString(manText(c.Example))
	}
	line(".SH EXIT STATUS")
	for _, entry := range exitEntries() {
		line(".TP\n.B %s\n%s", roff(entry[0]), roff(entry[1]))
	}
	if !c.HasParent() {
		b.WriteString(manProgram)
		return b.String()
	}
	line(".SH SEE ALSO")
	line(".BR %s (1)", roff(manName(c.Parent())))
	return b.String()
}

// exitEntries parts exitHelp into codes and what they mean: entries stand three spaces apart, and a code is all that
// stands before the first letter, such as 130, 143.
func exitEntries() (entries [][2]string) {
	_, table, _ := strings.Cut(exitHelp, "\n")
	for l := range strings.Lines(table) {
		for entry := range strings.SplitSeq(strings.TrimSpace(l), "   ") {
			means := strings.TrimLeft(entry, "0123456789, ")
			entries = append(entries, [2]string{strings.TrimSpace(strings.TrimSuffix(entry, means)), means})
		}
	}
	return entries
}

// manProgram is what only the program's own page has.
const manProgram = `.SH ENVIRONMENT
A flag beats the environment, the environment the config, the config the default.
.TP
.B ` + config.EnvKey + `
the management key of a set\-up without a config
.TP
.B ` + config.EnvBaseURL + `
base URL of the Manager API, for every account
.TP
.B ` + config.EnvLake + `
the lake directory
.TP
.BR HTTPS_PROXY ", " NO_PROXY
a proxy in between; the key passes through it encrypted
.TP
.BR SSL_CERT_FILE ", " SSL_CERT_DIR
certificates to trust
.TP
.B TMPDIR
where queries put what doesn\(aqt fit into memory
.TP
.B NO_COLOR
no colour on a terminal
.SH FILES
.TP
.I usagelake.yaml
the config, if it stands in the working directory and
.B \-\-config
names no other
.TP
.I lake/raw/
the answers as they came: what has to be backed up, with
.I lake/statements/
.TP
.I lake/usage/
one Parquet file per account and UTC day
.TP
.I lake/usage.duckdb
the published database
`

func manFlag(f *pflag.Flag) string {
	value, usage := pflag.UnquoteUsage(f)
	var b strings.Builder
	b.WriteString(".TP\n.B ")
	if f.Shorthand != "" {
		b.WriteString(roff("-"+f.Shorthand) + ", ")
	}
	b.WriteString(roff("--" + f.Name))
	if value != "" {
		b.WriteString(" " + `\fI` + roff(value) + `\fR`)
	}
	b.WriteString("\n" + roff(usage))
	switch f.DefValue {
	case "", "false", "0", "0s", "[]":
	default:
		b.WriteString(roff(fmt.Sprintf(" (default %s)", f.DefValue)))
	}
	b.WriteString("\n")
	return b.String()
}

// manText renders a text of --help: paragraphs are filled, but lines that are indented, as commands and tables are,
// stand as they are. verbatim is that such lines are being written, between .nf and .fi; start that the next line of
// prose begins a paragraph; blank that an empty line came before.
func manText(s string) string {
	var b strings.Builder
	verbatim, start := false, true // start of a paragraph
	set := func(v bool) {
		if v && !verbatim {
			b.WriteString(".PP\n.nf\n")
		}
		if !v && verbatim {
			b.WriteString(".fi\n")
			start = true
		}
		verbatim = v
	}
	blank := false
	for l := range strings.Lines(strings.Trim(s, "\n")) {
		l = strings.ReplaceAll(strings.TrimRight(l, " \t\n"), "\t", "  ")
		if l == "" {
			blank = true
			continue
		}
		indented := l[0] == ' '
		switch {
		case indented:
			if blank && verbatim {
				b.WriteString(".sp\n")
			}
			set(true)
		default:
			set(false)
			if start || blank {
				b.WriteString(".PP\n")
			}
			start = false
		}
		blank = false
		b.WriteString(roff(l) + "\n")
	}
	set(false)
	return strings.TrimPrefix(b.String(), ".PP\n")
}

// roff escapes one line of text: what a formatter would take for a request, an escape, or typeset as another
// character than the one that must be typed.
func roff(s string) string {
	var b strings.Builder
	for i, r := range strings.ReplaceAll(s, "\n", " ") {
		switch {
		case i == 0 && r == '.':
			b.WriteString(`\&.`)
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r == '\'':
			b.WriteString(`\(aq`)
		case r == '"':
			b.WriteString(`\(dq`)
		case r == '`':
			b.WriteString(`\(ga`)
		case r == '^':
			b.WriteString(`\(ha`)
		case r == '~':
			b.WriteString(`\(ti`)
		case r > '~':
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
