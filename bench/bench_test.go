package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the test's own binary serve as the children that a bench starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		main()
		return
	}
	os.Exit(m.Run())
}

func build(t *testing.T, dir, pkg, to string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-o", to, pkg)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
}

func TestEveryPartRunsAndFillsTheDocument(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "usagelake")
	build(t, "..", "./cmd/usagelake", program)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	build(t, ".", "./empty", filepath.Join(filepath.Dir(self), "bench-empty"))
	if err := measureAll([]string{"-tiny", "-usagelake", program, "-dir", dir}); err != nil {
		t.Fatal(err)
	}
	var r report
	text, err := os.ReadFile(filepath.Join(dir, "report-tiny.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Sections) != len(parts) {
		t.Errorf("%d of %d parts", len(r.Sections), len(parts))
	}
	for _, s := range r.Sections {
		for _, b := range s.Bounds {
			if strings.HasPrefix(b.What, "records with a figure") && !b.Kept {
				t.Errorf("%s: %s", b.What, b.Got)
			}
		}
	}

	doc, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "performance.md")
	if err := os.WriteFile(copied, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // filled twice, the marks are still there
		if err := measureAll([]string{"-tiny", "-usagelake", program, "-dir", dir, "-docs", copied}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Sections {
		if n := strings.Count(string(got), s.markdown(r.Size)); n != 1 {
			t.Errorf("the tables of %s stand %d times in the document", s.Name, n)
		}
	}
}
