package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	_ "github.com/duckdb/duckdb-go/v2"
	"go.yaml.in/yaml/v3"

	"github.com/usagelake/usagelake/jobs/config"
)

// page is one of the docs: its prose, and the blocks between fences. Both keep the numbers of their lines.
type page struct {
	name   string // from the root of the project, such as docs/finance.md
	prose  []string
	blocks []block
}

type block struct {
	line       int
	kind, text string
	output     string // what is pasted below it
	elsewhere  bool   // of another lake than the demo's, says the page
}

func (b block) at(p page) string { return fmt.Sprintf("%s:%d", p.name, b.line) }

// elsewhere stands before a block that was taken from another lake, or whose commands need more than a demo.
const elsewhere = "<!-- elsewhere -->"

func pages(t *testing.T) []page {
	t.Helper()
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	above, err := filepath.Glob("../../*.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []page
	for _, path := range slices.Concat(above, names) {
		name, _ := filepath.Rel("../..", path)
		p := page{name: name}
		var open *block
		last := "" // line of prose, blank ones aside, since the last block
		for i, line := range strings.Split(strings.TrimSuffix(read(t, name), "\n"), "\n") {
			fence, isFence := strings.CutPrefix(line, "```")
			switch {
			case open == nil && isFence:
				open = &block{line: i + 1, kind: fence, elsewhere: last == elsewhere}
			case open != nil && line == "```":
				if n := len(p.blocks) - 1; open.kind == "" && last == "" && n >= 0 && p.blocks[n].kind != "" {
					p.blocks[n].output = open.text
				}
				p.blocks = append(p.blocks, *open)
				open, last, line = nil, "", ""
			case open != nil:
				open.text += line + "\n"
			case line != "":
				last = line
			}
			if open != nil {
				line = ""
			}
			p.prose = append(p.prose, line)
		}
		if open != nil {
			t.Errorf("%s: the block does not end", open.at(p))
		}
		list = append(list, p)
	}
	return list
}

var code = regexp.MustCompile("`[^`]*`")

// anchors are those that GitHub gives to the headings of a page.
func (p page) anchors() map[string]bool {
	out := map[string]bool{}
	for _, line := range p.prose {
		title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !ok || !strings.HasPrefix(line, "#") {
			continue
		}
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, title)
		for n, name := 0, slug; ; n, name = n+1, fmt.Sprintf("%s-%d", slug, n+1) {
			if !out[name] {
				out[name] = true
				break
			}
		}
	}
	return out
}

func TestEveryLinkOfTheDocsLeadsSomewhere(t *testing.T) {
	all := pages(t)
	anchors := map[string]map[string]bool{}
	for _, p := range all {
		anchors[p.name] = p.anchors()
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, p := range all {
		for i, line := range p.prose {
			for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(line, "`"), -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				file, anchor, _ := strings.Cut(m[1], "#")
				target := p.name
				if file != "" {
					target = filepath.Join(filepath.Dir(p.name), file)
				}
				if _, err := os.Stat(filepath.Join("../..", target)); err != nil {
					t.Errorf("%s:%d: %s is not there", p.name, i+1, m[1])
				} else if anchor != "" && !anchors[target][anchor] {
					t.Errorf("%s:%d: %s has no heading %s", p.name, i+1, target, anchor)
				}
			}
		}
	}
}

// A row that has lost its table, or has a cell too many, is shown as text or not at all.
func TestEveryTableOfTheDocsIsOne(t *testing.T) {
	bar := regexp.MustCompile(`\\\|`)
	rule := regexp.MustCompile(`^\|( ?:?-+:? ?\|)+$`)
	cells := func(row string) int { return strings.Count(bar.ReplaceAllString(row, ""), "|") - 1 }
	for _, p := range pages(t) {
		for i := 0; i < len(p.prose); i++ {
			if !strings.HasPrefix(p.prose[i], "|") {
				continue
			}
			head := i
			if i+1 == len(p.prose) || !rule.MatchString(p.prose[i+1]) {
				t.Errorf("%s:%d: a row of no table", p.name, i+1)
			}
			for ; i < len(p.prose) && strings.HasPrefix(p.prose[i], "|"); i++ {
				if !strings.HasSuffix(p.prose[i], "|") || cells(p.prose[i]) != cells(p.prose[head]) {
					t.Errorf("%s:%d: %d cells below a head of %d", p.name, i+1, cells(p.prose[i]), cells(p.prose[head]))
				}
			}
		}
	}
}

// demoTime is when the demo of the docs was made: by its clock a demo has the same records.
var demoTime = time.Date(2026, 11, 29, 11, 0, 0, 0, time.UTC)

// demo makes the demo in a directory of its own, which becomes the working directory, and returns how to run a command
// beside it.
func demo(t *testing.T) func(stdin string, args ...string) (int, string) {
	t.Helper()
	t.Chdir(t.TempDir())
	began := time.Now()
	command := func(stdin string, args ...string) (int, string) {
		var out bytes.Buffer
		code := run(t.Context(), args, streams{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &out,
			Getenv: func(name string) string { return map[string]string{"USAGELAKE_LAKE": "usagelake-demo"}[name] },
			Now:    func() time.Time { return demoTime.Add(time.Since(began)) }})
		return code, out.String()
	}
	if code, out := command("", "demo", "--lake", "usagelake-demo"); code != exitDone {
		t.Fatalf("exit %d: %s", code, out)
	}
	return command
}

// Whatever stands in a block is held to the program, so a block of a new kind needs a line here. Queries, and commands
// that only look, are run on the demo's lake; an answer that is pasted below one has its columns. Of other commands the
// flags and arguments are checked.
func TestEveryBlockOfTheDocsHolds(t *testing.T) {
	all := pages(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	command := demo(t)
	for _, p := range all {
		t.Run(strings.TrimSuffix(filepath.Base(p.name), ".md"), func(t *testing.T) {
			for _, b := range p.blocks {
				if err := holds(t.Context(), command, root, b); err != nil {
					t.Errorf("%s: %v", b.at(p), err)
				}
			}
		})
	}
}

func holds(ctx context.Context, command func(string, ...string) (int, string), root string, b block) error {
	switch b.kind {
	case "":
		return isOutput(b.text)
	case "sql":
		return runQuery(ctx, command, b)
	case "sh":
		return runCommands(command, b)
	case "yaml":
		return readYAML(command, root, b)
	case "json":
		if strings.Contains(b.text, "…") {
			return nil
		}
		return json.Unmarshal([]byte(b.text), new(any))
	case "python":
		return parsePython(b.text)
	case "ini":
		for line := range strings.Lines(b.text) {
			if !regexp.MustCompile(`^(\[[A-Z]\w+\]|[A-Z]\w+=.+)\n$`).MatchString(line) {
				return fmt.Errorf("no line of a unit: %s", line)
			}
		}
		return nil
	case "mermaid":
		if !strings.HasPrefix(b.text, "flowchart ") {
			return fmt.Errorf("no drawing that is known")
		}
		return nil
	}
	return fmt.Errorf("a block of kind %q: say in this test how it is checked", b.kind)
}

var toType = regexp.MustCompile(`^(SELECT|FROM|WITH|ATTACH) |^usagelake (export|query|report|close|status|verify) `)

// isOutput refuses what somebody would paste, in a block that says nothing of its kind; but for a prompt's line, which
// is read.
func isOutput(text string) error {
	for line := range strings.Lines(text) {
		if typed, ok := strings.CutPrefix(line, "$ "); ok {
			for _, c := range commandsOf(typed) {
				if err := parses(c.args); err != nil && !strings.Contains(text, "\nhint: ") {
					return fmt.Errorf("%s%w", line, err)
				}
			}
		}
		if toType.MatchString(line) {
			return fmt.Errorf("something to type, in a block without a kind: %s", line)
		}
	}
	return nil
}

// runQuery runs a query as usagelake does, or in DuckDB itself where its first line says so.
func runQuery(ctx context.Context, command func(string, ...string) (int, string), b block) error {
	head, _, _ := strings.Cut(b.output, "\n")
	if strings.HasPrefix(b.text, "-- in DuckDB") {
		db, err := sql.Open("duckdb", "")
		if err != nil {
			return err
		}
		defer db.Close()
		rows, err := db.QueryContext(ctx, b.text)
		if err != nil {
			return err
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		return sameColumns(columns, head)
	}
	code, csv := command("", "query", "--quiet", "--format", "csv", b.text)
	if code != exitDone {
		return fmt.Errorf("%sexit %d: %s", b.text, code, csv)
	}
	columns, _, _ := strings.Cut(csv, "\n")
	if err := sameColumns(strings.Split(strings.TrimSpace(columns), ","), head); err != nil || b.elsewhere {
		return err
	}
	_, answer := command("", "query", "--quiet", "--rows", "0", b.text)
	if strings.Contains(head, ",") {
		answer = csv
	}
	return shows(answer, b.output)
}

// instant is what two runs of the demo differ in.
var instant = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z|\d\d:\d\d(:\d\d)?`)

// shows says whether an answer has the lines that are pasted, in their order: between two of them there may be others
// where … stands.
func shows(answer, pasted string) error {
	plain := func(line string) string {
		return strings.Join(strings.Fields(instant.ReplaceAllString(line, "T")), " ")
	}
	lines := strings.Split(answer, "\n")
	cut := false
	for line := range strings.Lines(pasted) {
		want := plain(line)
		if want == "…" {
			cut = true
		}
		if want == "" || want == "…" || strings.HasPrefix(want, "─") {
			continue
		}
		n := slices.IndexFunc(lines, func(l string) bool {
			start, isStart := strings.CutSuffix(want, "…")
			return plain(l) == want || isStart && strings.HasPrefix(plain(l), start)
		})
		between := func(l string) bool { l = plain(l); return l != "" && !strings.HasPrefix(l, "─") }
		if n < 0 || !cut && slices.ContainsFunc(lines[:n], between) {
			return fmt.Errorf("the answer has no line %q in this place:\n%s", want, answer)
		}
		lines, cut = lines[n+1:], false
	}
	return nil
}

func sameColumns(columns []string, pasted string) error {
	want := strings.FieldsFunc(pasted, func(r rune) bool { return r == ' ' || r == ',' })
	if len(want) > 0 && !slices.Equal(want, columns) {
		return fmt.Errorf("it answers with %v, below it stands %v", columns, want)
	}
	return nil
}

// runCommands parses each usagelake command of a block, and runs those that only look. One whose pasted output is an
// error must fail.
func runCommands(command func(string, ...string) (int, string), b block) error {
	all := commandsOf(b.text)
	for _, c := range all {
		if err := parses(c.args); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(c.args, " "), err)
		}
		if b.elsewhere || !looks(c.args) {
			continue
		}
		code, out := command(c.stdin, c.args...)
		refused := strings.Contains(b.output, "usagelake: ")
		if refused != (code != exitDone) {
			return fmt.Errorf("%s: exit %d: %s", strings.Join(c.args, " "), code, out)
		}
		if len(all) == 1 && b.output != "" {
			if err := shows(out, b.output); err != nil {
				return fmt.Errorf("%s: %w", strings.Join(c.args, " "), err)
			}
		}
	}
	return nil
}

// looks says whether a command can be run on the demo: it changes nothing, and asks no Portal.
func looks(args []string) bool {
	switch args[0] {
	case "query", "status", "version", "diff", "prove":
		return true
	case "report":
		return !slices.Contains(args, "record") // a row for each of 250,000 charges takes a minute
	case "verify":
		return !slices.Contains(args, "--repair")
	case "close":
		return slices.Contains(args, "--list")
	case "allocation":
		return args[1] == "check" || args[1] == "explain"
	}
	return false
}

// parses says whether a command, its flags and its number of arguments are known.
func parses(args []string) error {
	root := (&app{streams: streams{Stdout: io.Discard, Stderr: io.Discard, Getenv: os.Getenv, Now: time.Now}}).root()
	c, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if !c.Runnable() && !slices.Contains(rest, "--help") && len(rest) == 0 {
		return fmt.Errorf("%s needs a command of its own", c.CommandPath())
	}
	if err := c.ParseFlags(rest); err != nil {
		if slices.Contains(rest, "--help") {
			return nil
		}
		return err
	}
	return c.ValidateArgs(c.Flags().Args())
}

// typed is a usagelake command as somebody types it, without the program's name, and what a pipe gives it.
type typed struct {
	args  []string
	stdin string
}

// commandsOf finds the program's commands in lines of a shell: after variables and runuser, in a pipe, in a container.
func commandsOf(text string) []typed {
	var out []typed
	stdin := ""
	for _, words := range simpleCommands(text) {
		for len(words) > 0 && regexp.MustCompile(`^[A-Z_]+=`).MatchString(words[0]) {
			words = words[1:]
		}
		if len(words) == 0 {
			continue
		}
		if i := slices.Index(words, "--"); words[0] == "runuser" && i >= 0 {
			words = words[i+1:]
		}
		if i := slices.Index(words, "usagelake"); len(words) > 1 && words[0] == "docker" && words[1] == "run" && i >= 0 {
			words = words[i:]
		}
		switch words[0] {
		case "usagelake", "bin/usagelake", "./usagelake", "/usr/local/bin/usagelake":
			if len(words) > 1 {
				out = append(out, typed{words[1:], stdin})
			}
		}
		if stdin = ""; words[0] == "echo" && len(words) == 2 {
			stdin = words[1]
		}
	}
	return out
}

// simpleCommands splits lines of a shell into commands of words: quotes, comments, continued lines, redirections, and
// what stands between commands. It knows no more than the docs need.
func simpleCommands(text string) [][]string {
	var (
		all   [][]string
		words []string
		word  strings.Builder
		in    bool // a word has begun
		skip  bool // the next word is where output goes
	)
	endWord := func() {
		if in && !skip {
			words = append(words, word.String())
		}
		if in {
			skip = false
		}
		word.Reset()
		in = false
	}
	end := func() {
		endWord()
		if len(words) > 0 {
			all = append(all, words)
		}
		words = nil
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			if i++; text[i] != '\n' {
				word.WriteByte(text[i])
				in = true
			}
		case c == '\'' || c == '"':
			in = true
			for i++; i < len(text) && text[i] != c; i++ {
				if c == '"' && text[i] == '\\' && i+1 < len(text) {
					i++
				}
				word.WriteByte(text[i])
			}
		case c == '#' && !in:
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case c == '>' || c == '<':
			if strings.Trim(word.String(), "0123456789") == "" {
				word.Reset()
				in = false
			}
			endWord()
			for i+1 < len(text) && (text[i+1] == '>' || text[i+1] == '&') {
				i++
			}
			skip = true
		case c == '\n' || c == ';' || c == '|' || c == '&':
			end()
		case c == ' ' || c == '\t':
			endWord()
		default:
			word.WriteByte(c)
			in = true
		}
	}
	end()
	return all
}

// readYAML takes a block for a config, which must hold as it stands or below what init writes; for allocation rules; or
// for a part of a manifest.
func readYAML(command func(string, ...string) (int, string), root string, b block) error {
	var top map[string]any
	if err := yaml.Unmarshal([]byte(b.text), &top); err != nil {
		return err
	}
	keys := slices.Sorted(maps.Keys(top))
	dir, err := os.MkdirTemp(".", "yaml")
	if err != nil {
		return err
	}
	switch {
	case slices.Contains(keys, "rules"):
		tables, err := filepath.Glob(filepath.Join(root, "transform/allocate/testdata/*.csv"))
		if err != nil {
			return err
		}
		for _, path := range tables {
			table, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), table, 0o600); err != nil {
				return err
			}
		}
		config := filepath.Join(dir, "usagelake.yaml")
		names := "accounts: [{name: demo}]\nallocation: {rules: allocation.yaml}\n"
		if err := os.WriteFile(config, []byte(names), 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "allocation.yaml"), []byte(b.text), 0o600); err != nil {
			return err
		}
		if code, out := command("", "allocation", "check", "--config", config, "--lake", "usagelake-demo"); code != exitDone {
			return fmt.Errorf("exit %d: %s", code, out)
		}
		return nil
	case slices.Equal(keys, []string{"livenessProbe", "readinessProbe"}):
		return nil
	}
	written := string(template)
	if top["accounts"] != nil || top["lake"] != nil || top["export"] != nil {
		written = ""
	}
	path := filepath.Join(dir, "usagelake.yaml")
	if err := os.WriteFile(path, []byte(written+"\n"+b.text), 0o600); err != nil {
		return err
	}
	_, err = config.Load(config.Overrides{ConfigFile: path}, func(string) string { return "" })
	return err
}

// parsePython is left out where there is no Python.
func parsePython(text string) error {
	python, err := exec.LookPath("python3")
	if err != nil {
		return nil
	}
	c := exec.Command(python, "-c", "import ast, sys; ast.parse(sys.stdin.read())")
	c.Stdin = strings.NewReader(text)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// A newcomer goes where the developers' page sends him: each file and folder that it names is there.
func TestTheDevelopersPageNamesWhatIsThere(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "developers.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:bench|cmd|deploy|docs|extract|jobs|load|schemas|testdata|transform)/[\\w./*-]*)`")
	found := named.FindAllStringSubmatch(string(page), -1)
	for _, m := range found {
		if files, err := filepath.Glob(filepath.Join(root, m[1])); err != nil || len(files) == 0 {
			t.Errorf("docs/developers.md names %s, which isn't there", m[1])
		}
	}
	if len(found) < 40 {
		t.Errorf("%d names", len(found))
	}
}
