package compat

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/readers.md and docs/engines.md anew")

// environment makes a Python environment of the packages in python/NAME.txt, pinned there, and returns its interpreter.
// It is kept beside the program until the list changes.
func environment(t *testing.T, name string) string {
	t.Helper()
	list, err := os.ReadFile(filepath.Join("python", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(list)
	dir := filepath.Join(filepath.Dir(os.Getenv("USAGELAKE_COMPAT_BIN")), "compat-"+name+"-"+hex.EncodeToString(sum[:4]))
	python := filepath.Join(dir, "bin", "python")
	whole := filepath.Join(dir, "whole")
	if _, err := os.Stat(whole); err == nil {
		return python
	}
	_ = os.RemoveAll(dir)
	for _, args := range [][]string{{"python3", "-m", "venv", dir},
		{python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
			filepath.Join("python", name+".txt")}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	if err := os.WriteFile(whole, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return python
}

// answer is a line of python/readers.py, or of another script that reads a lake.
type answer struct {
	Reader, Version, Call, Error, Says string
	Figures                            *struct {
		expected
		Types map[string]string
	}
}

// told is what a reader told of a lake, in a word or two.
func (a answer) told(want expected, items bool) string {
	if a.Error != "" {
		return "refuses: " + a.Error
	}
	f := a.Figures
	var wrong []string
	for _, c := range []struct {
		what string
		same bool
	}{{"count", f.Count == want.Count}, {"sum", f.Sum == want.Sum}, {"accounts", maps.Equal(f.By, want.By)},
		{"days", maps.Equal(f.Days, want.Days)},
		{"items", !items || f.Items == want.Items && f.ItemSum == want.ItemSum},
		{"NULLs", f.Null == want.Null && f.Empty == want.Empty}} {
		if !c.same {
			wrong = append(wrong, c.what)
		}
	}
	if kind := f.Types["amount"]; len(wrong) > 0 && (kind == "float" || kind == "number") && f.Count == want.Count &&
		f.Null == want.Null && f.Empty == want.Empty &&
		near(f.Sum, want.Sum) && (!items || f.Items == want.Items && near(f.ItemSum, want.ItemSum)) &&
		maps.EqualFunc(f.By, want.By, near) && maps.EqualFunc(f.Days, want.Days, near) {
		return "to a billionth"
	}
	if len(wrong) > 0 {
		return "wrong: " + strings.Join(wrong, ", ")
	}
	return "exact"
}

// near says that two sums differ by a billionth at the most.
func near(a, b string) bool {
	x, ok1 := new(big.Int).SetString(a, 10)
	y, ok2 := new(big.Int).SetString(b, 10)
	return ok1 && ok2 && x.Sub(x, y).CmpAbs(big.NewInt(1000)) <= 0
}

// Every reader reads three lakes to the last digit, by the call that people type, or the table of docs/readers.md says
// what happens.
func TestReadersReadTheSame(t *testing.T) {
	python := environment(t, "readers")
	node := filepath.Join(filepath.Dir(os.Getenv("USAGELAKE_COMPAT_BIN")), "compat-node")
	const hyparquet, compressors = "1.31.5", "1.1.2"
	if _, err := os.Stat(filepath.Join(node, "node_modules", "hyparquet-compressors")); err != nil {
		if err := os.MkdirAll(node, 0o755); err != nil {
			t.Fatal(err)
		}
		output(t, "npm", "install", "--prefix", node, "--no-save", "--silent", "hyparquet@"+hyparquet,
			"hyparquet-compressors@"+compressors)
	}
	script, err := os.ReadFile("node/readers.mjs")
	if err == nil { // where it finds the packages
		err = os.WriteFile(filepath.Join(node, "readers.mjs"), script, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		answer
		cells []string
	}
	var rows []*row
	byCall := map[string]*row{}
	for i, make := range []func(*testing.T) (string, expected){demoLake, accountsLake, edgesLake} {
		dir, want := make(t)
		for _, command := range [][]string{{python, "python/readers.py", dir},
			{"node", filepath.Join(node, "readers.mjs"), dir, hyparquet}} {
			out := output(t, command[0], command[1:]...)
			for line := bufio.NewScanner(bytes.NewReader(out)); line.Scan(); {
				var a answer
				if !bytes.HasPrefix(line.Bytes(), []byte("{")) { // some readers print what they are doing
					continue
				}
				if err := json.Unmarshal(line.Bytes(), &a); err != nil {
					t.Fatalf("%v in %s", err, line.Bytes())
				}
				key := a.Reader + a.Call
				if byCall[key] == nil {
					byCall[key] = &row{answer: a}
					rows = append(rows, byCall[key])
				}
				told := a.told(want, !strings.Contains(a.Call, "columns="))
				if told != "exact" {
					t.Logf("%s %s, lake %d: %s: %s %+v, want %+v", a.Reader, a.Call, i+1, told, a.Says, a.Figures, want)
				}
				byCall[key].cells = append(byCall[key].cells, told)
				if a.Figures != nil {
					byCall[key].Figures = a.Figures
				}
			}
		}
	}
	if len(rows) < 20 {
		t.Fatalf("%d readers", len(rows))
	}
	var table strings.Builder
	table.WriteString("| reader | version | call | the demo | accounts `acme`, `2026`, `0042` | refunds, NULLs, all " +
		"digits | an amount is |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range rows {
		kind := "–"
		if r.Figures != nil {
			kind = r.Figures.Types["amount"]
		}
		fmt.Fprintf(&table, "| %s | %s | `%s` | %s | %s |\n", r.Reader, r.Version, r.Call, strings.Join(r.cells, " | "), kind)
	}
	inDocs(t, "readers", "readers", table.String())
}

// inDocs holds a table against the one between the marks of its name in a page of docs, or writes it there.
func inDocs(t *testing.T, page, name, table string) {
	t.Helper()
	page = "../../docs/" + page + ".md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+": written by make compat -->\n\n", "\n<!-- end of "+name+" -->"
	before, rest, ok1 := strings.Cut(string(b), begin)
	have, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no marks of %s", page, name)
	}
	if have == table {
		return
	}
	if !*update {
		t.Errorf("%s has another table of %s than this run gives; if that is right: make compat UPDATE=-update\n%s", page,
			name, table)
		return
	}
	if err := os.WriteFile(page, []byte(before+begin+table+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
