package compat

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func output(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	c := exec.Command(name, args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, stderr.String())
	}
	return out
}

// The published file opens in each DuckDB from the oldest that the docs promise to the newest, lists what it has, and
// every table and view answers the same.
func TestThePublishedFileOpensInEachDuckDB(t *testing.T) {
	dir, want := accountsLake(t)
	type seen struct {
		Version string
		Error   string
		Objects map[string][3]any
	}
	read := func(environmentName string) (s seen) {
		if err := json.Unmarshal(output(t, environment(t, environmentName), "python/published.py",
			filepath.Join(dir, "usage.duckdb")), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	own := read("duckdb-1.5") // what the program itself is built with
	if len(own.Objects) < 60 {
		t.Fatalf("%+v", own)
	}
	var table strings.Builder
	table.WriteString("| client | version | what it sees |\n| --- | --- | --- |\n")
	for _, name := range []string{"duckdb-1.3", "duckdb-1.4", "duckdb-1.5", "readers"} {
		s := read(name)
		said := "every table and view, the same"
		if s.Error != "" {
			said = "refuses: " + s.Error
		} else if !maps.Equal(s.Objects, own.Objects) {
			var differ []string
			for _, o := range slices.Sorted(maps.Keys(own.Objects)) {
				if s.Objects[o] != own.Objects[o] {
					differ = append(differ, o)
				}
			}
			said = "others in " + strings.Join(differ, ", ")
		}
		fmt.Fprintf(&table, "| DuckDB | %s | %s |\n", s.Version, said)
	}

	const driver = "2.0.0.0"
	jar := filepath.Join(filepath.Dir(os.Getenv("USAGELAKE_COMPAT_BIN")), "compat-java", "duckdb_jdbc-"+driver+".jar")
	if _, err := os.Stat(jar); err != nil {
		output(t, "mvn", "-q", "-B", "dependency:copy", "-Dartifact=org.duckdb:duckdb_jdbc:"+driver,
			"-DoutputDirectory="+filepath.Dir(jar))
	}
	got := string(output(t, "java", "-Duser.timezone=Asia/Tokyo", "-cp", jar, "java/Published.java",
		filepath.Join(dir, "usage.duckdb")))
	sum := want.Sum[:len(want.Sum)-12] + "." + want.Sum[len(want.Sum)-12:]
	for _, line := range []string{fmt.Sprintf("listed %d\n", len(own.Objects)), "sum " + sum + "\n",
		"first 2026-10-01T00:00:00Z in +09:00\n", "as text, in UTC 2026-10-01 00:00:00+00, 2026-10-01\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("JDBC says %q, and not %q", got, line)
		}
	}
	fmt.Fprintf(&table,
		"| JDBC, in a JVM of Asia/Tokyo | %s | lists all; money is BigDecimal, exact; a TIMESTAMPTZ is the right instant in "+
			"the JVM's zone |\n", driver)
	inDocs(t, "readers", "published", table.String())
}

// What docs/readers.md tells people to type does what it says there.
func TestRecipesOfThePublishedFile(t *testing.T) {
	dir, _ := accountsLake(t)
	var table strings.Builder
	table.WriteString("| for | type | and get |\n| --- | --- | --- |\n")
	out := output(t, environment(t, "readers"), "python/recipes.py", filepath.Join(dir, "usage.duckdb"))
	for line := bufio.NewScanner(bytes.NewReader(out)); line.Scan(); {
		var r struct{ What, Code, Seen string }
		if err := json.Unmarshal(line.Bytes(), &r); err != nil {
			t.Fatalf("%v in %s", err, line.Bytes())
		}
		fmt.Fprintf(&table, "| %s | `%s` | %s |\n", r.What, r.Code, r.Seen)
	}
	inDocs(t, "readers", "recipes", table.String())
}
