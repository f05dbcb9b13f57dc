package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// report is what a run found.
type report struct {
	Date, Size                    string
	CPU, Kernel, Memory, Disk, Go string
	Cores                         int
	Versions                      [][2]string
	Sections                      []section
}

// put takes a section, in the place of an older one of its name.
func (r *report) put(s section) {
	if i := slices.IndexFunc(r.Sections, func(o section) bool { return o.Name == s.Name }); i >= 0 {
		r.Sections[i] = s
		return
	}
	r.Sections = append(r.Sections, s)
}

// goOn takes over the sections of the run before, if there was one: a run of some parts renews these.
func (r *report) goOn(results string) error {
	text, err := os.ReadFile(results)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var before report
	if err == nil {
		err = json.Unmarshal(text, &before)
	}
	r.Sections = before.Sections
	return err
}

func (r *report) minutes() (n float64) {
	for _, s := range r.Sections {
		n += s.Seconds / 60
	}
	return n
}

// section is what a part found.
type section struct {
	Name, Title string
	Tables      []table
	Facts       []string
	Bounds      []bound
	Seconds     float64
}

type table struct {
	Head []string
	Rows [][]string
}

// bound is a figure that was promised.
type bound struct {
	What, Bound, Got string
	Kept             bool
}

func (s *section) table(head ...string) *table {
	s.Tables = append(s.Tables, table{Head: head})
	return &s.Tables[len(s.Tables)-1]
}

func (t *table) row(cells ...string) { t.Rows = append(t.Rows, cells) }

func (s *section) fact(format string, args ...any) {
	s.Facts = append(s.Facts, fmt.Sprintf(format, args...))
}

// atMost notes a figure that must not be larger than its bound.
func (s *section) atMost(what string, most, got float64, format string) {
	s.Bounds = append(s.Bounds, bound{what, "≤ " + fmt.Sprintf(format, most), fmt.Sprintf(format, got), got <= most})
}

// atLeast notes one that must not be smaller.
func (s *section) atLeast(what string, least, got float64, format string) {
	s.Bounds = append(s.Bounds, bound{what, "≥ " + fmt.Sprintf(format, least), fmt.Sprintf(format, got), got >= least})
}

func (s *section) markdown(size string) string {
	var b strings.Builder
	for _, t := range s.Tables {
		t.markdown(&b)
		b.WriteByte('\n')
	}
	for _, f := range s.Facts {
		fmt.Fprintf(&b, "- %s\n", f)
	}
	if len(s.Facts) > 0 {
		b.WriteByte('\n')
	}
	option := ""
	if size == full.name {
		option = " BENCH=full"
	}
	fmt.Fprintf(&b, "`make bench%s ONLY=%s`, %.0f s.\n", option, s.Name, s.Seconds)
	return b.String()
}

func (t *table) markdown(b *strings.Builder) {
	line := func(cells []string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.Head)
	rule := make([]string, len(t.Head))
	for i := range rule {
		rule[i] = "---"
		if i > 0 {
			rule[i] = "---:"
		}
	}
	line(rule)
	for _, r := range t.Rows {
		line(r)
	}
}

// verdicts lists every bound, and whether it was kept.
func (r *report) verdicts() string {
	var b strings.Builder
	t := table{Head: []string{"what", "bound", "measured", ""}}
	for _, s := range r.Sections {
		for _, v := range s.Bounds {
			word := "kept"
			if !v.Kept {
				word = "**falls short**"
			}
			t.row(v.What, v.Bound, v.Got, word)
		}
	}
	t.markdown(&b)
	return b.String()
}

func (r *report) machine() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, size %s: %d cores of %s, %s of memory, Linux %s, lake on %s.\n", r.Date, r.Size, r.Cores, r.CPU,
		r.Memory, r.Kernel, r.Disk)
	fmt.Fprintf(&b, "%s", r.Go)
	for _, v := range r.Versions {
		fmt.Fprintf(&b, ", %s", strings.TrimSpace(v[0]+" "+v[1]))
	}
	fmt.Fprintf(&b, ". The parts below took %.0f minutes together.\n", r.minutes())
	return b.String()
}

// machine describes where the run takes place.
func (b *bench) machine() (*report, error) {
	r := &report{Date: time.Now().UTC().Format(time.DateOnly), Size: b.size.name, Cores: runtime.NumCPU(),
		Go: runtime.Version()}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				r.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	r.Memory = fmt.Sprintf("%.0f GiB", procValue("/proc/meminfo", "MemTotal")/(1<<30))
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		r.Kernel, _, _ = strings.Cut(strings.TrimSpace(string(text)), "-") // what follows is the distributor's
	}
	r.Disk = b.fileSystem()
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			switch d.Path {
			case "github.com/duckdb/duckdb-go/v2", "github.com/apache/arrow-go/v18", "github.com/parquet-go/parquet-go",
				"github.com/xitongsys/parquet-go":
				r.Versions = append(r.Versions, [2]string{strings.TrimPrefix(d.Path, "github.com/"), d.Version})
			}
		}
	}
	out, err := exec.CommandContext(b.ctx, b.usagelake, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s version: %w (make build makes it)", b.usagelake, err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	r.Versions = append(r.Versions, [2]string{"", strings.TrimSpace(first)})
	return r, nil
}

func (r *report) save(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmark\n\n%s\n%s\n", r.machine(), r.verdicts())
	for _, s := range r.Sections {
		fmt.Fprintf(&b, "## %s\n\n%s\n", s.Title, s.markdown(r.Size))
	}
	return os.WriteFile(strings.TrimSuffix(path, filepath.Ext(path))+".md", []byte(b.String()), 0o600)
}

// writeDocs puts the tables of a run between the marks of a document:
//
//	<!-- bench:NAME --> … <!-- /bench -->
func writeDocs(document, results string) error {
	text, err := os.ReadFile(results)
	if err != nil {
		return fmt.Errorf("%w (make bench makes it)", err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%s: %w", results, err)
	}
	doc, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	fill := map[string]string{}
	if r.Size == full.name { // has a place of its own
		var b strings.Builder
		fmt.Fprintf(&b, "%s\n%s", r.machine(), r.verdicts())
		for _, s := range r.Sections {
			fmt.Fprintf(&b, "\n### %s, of the full size\n\n%s", s.Title, s.markdown(r.Size))
		}
		fill["full"] = b.String()
	} else {
		fill["machine"], fill["bounds"] = r.machine(), r.verdicts()
		for _, s := range r.Sections {
			fill[s.Name] = s.markdown(r.Size)
		}
	}
	for name, content := range fill {
		begin, end := []byte("<!-- bench:"+name+" -->\n"), []byte("<!-- /bench -->")
		at := bytes.Index(doc, begin)
		if at < 0 {
			return fmt.Errorf("%s has no mark %s", document, bytes.TrimSpace(begin))
		}
		at += len(begin)
		n := bytes.Index(doc[at:], end)
		if n < 0 {
			return fmt.Errorf("%s: the mark of %s doesn't end", document, name)
		}
		doc = append(append(append([]byte{}, doc[:at]...), "\n"+content+"\n"...), doc[at+n:]...)
	}
	return os.WriteFile(document, doc, 0o644)
}
