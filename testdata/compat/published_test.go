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

// seenObjects is what a DuckDB sees of a published file: of each table and view its columns, rows and their digest, or
// why it can't be read.
type seenObjects struct {
	Version string
	Error   string
	Objects map[string][3]any
	Errors  map[string]string
}

// duckDBs are the environments of DuckDB, from one that is too old to the newest; the program is built with ownDuckDB.
var duckDBs = []string{"duckdb-1.3", "duckdb-1.4", ownDuckDB, "readers"}

const ownDuckDB = "duckdb-1.5"

// seeAll reads all of a published file with the DuckDB of an environment. lake is where the session says the lake is.
func seeAll(t *testing.T, name, file string, lake ...string) (s seenObjects) {
	t.Helper()
	args := append([]string{"python/published.py", file}, lake...)
	if err := json.Unmarshal(output(t, environment(t, name), args...), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// against says how what one DuckDB sees differs from what another does.
func (s seenObjects) against(own seenObjects) string {
	if s.Error != "" {
		return "refuses: " + s.Error
	}
	differ := map[string]bool{}
	for _, o := range slices.Concat(slices.Collect(maps.Keys(own.Objects)), slices.Collect(maps.Keys(s.Objects))) {
		if s.Objects[o] != own.Objects[o] {
			differ[o] = true
		}
	}
	if len(differ) == 0 {
		return "every table and view, the same"
	}
	return "others in " + strings.Join(slices.Sorted(maps.Keys(differ)), ", ")
}

// The published file opens in each DuckDB from the oldest that the docs promise to the newest, lists what it has, and
// every table and view answers the same.
func TestThePublishedFileOpensInEachDuckDB(t *testing.T) {
	dir, want := accountsLake(t)
	own := seeAll(t, ownDuckDB, filepath.Join(dir, "usage.duckdb"))
	if len(own.Objects) < 60 || len(own.Errors) > 0 {
		t.Fatalf("%+v", own)
	}
	var table strings.Builder
	table.WriteString("| client | version | what it sees |\n| --- | --- | --- |\n")
	for _, name := range duckDBs {
		s := seeAll(t, name, filepath.Join(dir, "usage.duckdb"))
		fmt.Fprintf(&table, "| DuckDB | %s | %s |\n", s.Version, s.against(own))
	}

	readByJDBC(t, dir, want, len(own.Objects))
	fmt.Fprintf(&table,
		"| JDBC, in a JVM of Asia/Tokyo | %s | lists all; money is BigDecimal, exact; a TIMESTAMPTZ is the right instant in "+
			"the JVM's zone |\n", jdbcDriver)
	inDocs(t, "readers", "published", table.String())
}

const jdbcDriver = "2.0.0.0"

// readByJDBC asks the published file of a lake for its tables, money and times, as BI tools do.
func readByJDBC(t *testing.T, dir string, want expected, objects int) {
	t.Helper()
	jar := filepath.Join(filepath.Dir(os.Getenv("USAGELAKE_COMPAT_BIN")), "compat-java",
		"duckdb_jdbc-"+jdbcDriver+".jar")
	if _, err := os.Stat(jar); err != nil {
		output(t, "mvn", "-q", "-B", "dependency:copy", "-Dartifact=org.duckdb:duckdb_jdbc:"+jdbcDriver,
			"-DoutputDirectory="+filepath.Dir(jar))
	}
	got := string(output(t, "java", "-Duser.timezone=Asia/Tokyo", "-cp", jar, "java/Published.java",
		filepath.Join(dir, "usage.duckdb")))
	sum := want.Sum[:len(want.Sum)-12] + "." + want.Sum[len(want.Sum)-12:]
	for _, line := range []string{fmt.Sprintf("listed %d\n", objects), "sum " + sum + "\n",
		"first 2026-10-01T00:00:00Z in +09:00\n", "as text, in UTC 2026-10-01 00:00:00+00, 2026-10-01\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("JDBC says %q, and not %q", got, line)
		}
	}
}

// Records that stand outside of the published file are the same in each DuckDB: where the lake is in its place, and
// where it was moved and the session says so. A copy of the file alone has every table, and says of views over records
// that their files aren't there.
func TestRecordsOutsideAreReadByEachDuckDB(t *testing.T) {
	accounts := someAccounts()
	l := changingLake(t, accounts)
	file := filepath.Join(l.lake(), "usage.duckdb")
	inside := seeAll(t, ownDuckDB, file)
	config := filepath.Join(l.dir, "usagelake.yaml")
	text, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, append(text, "publish: {records: none}\n"...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.run(t, "rebuild", "--quiet")
	own := seeAll(t, ownDuckDB, file)
	if len(own.Errors) > 0 || own.Objects["usage_recent"][1] != float64(0) {
		t.Fatalf("%+v", own)
	}
	// What a publish says of itself is another's; all else is what it was with all records inside.
	itself := []string{"meta", "partitions", "published", "runs", "run_accounts", "focus_billing_period", "bi.freshness"}
	for name, o := range inside.Objects {
		if !slices.Contains(itself, name) && own.Objects[name] != o {
			t.Errorf("%s is %v with its records outside, and %v with them inside", name, own.Objects[name], o)
		}
	}
	readByJDBC(t, l.lake(), expectedOf(t, accounts), len(own.Objects))

	moved := filepath.Join(l.dir, "it's elsewhere")
	alone := filepath.Join(t.TempDir(), "usage.duckdb")
	var table strings.Builder
	table.WriteString("| client | version | the lake in its place | moved, and the session says where | " +
		"the file alone |\n| --- | --- | --- | --- | --- |\n")
	rows := map[string][]string{}
	note := func(name, told string) { rows[name] = append(rows[name], told) }
	for _, name := range duckDBs {
		note(name, seeAll(t, name, file).against(own))
	}
	b, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(alone, b, 0o600)
	}
	if err == nil {
		err = os.Rename(l.lake(), moved)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range duckDBs {
		note(name, seeAll(t, name, filepath.Join(moved, "usage.duckdb"), moved).against(own))
		s := seeAll(t, name, alone)
		told := s.against(own)
		for view, says := range s.Errors {
			if !strings.Contains(says, "No files found that match the pattern") || !strings.Contains(says, l.lake()) {
				t.Errorf("DuckDB %s says of %s in the file alone: %s", s.Version, view, says)
			}
			if own.Objects[view] == s.Objects[view] {
				t.Errorf("%s has an answer and an error", view)
			}
		}
		if s.Error == "" {
			told = fmt.Sprintf("%d tables and views, the same; the %d over records say that their files aren't there",
				len(s.Objects), len(s.Errors))
			for name, o := range s.Objects {
				if own.Objects[name] != o {
					t.Errorf("DuckDB %s sees %v of %s in the file alone, and %v of the lake", s.Version, o, name, own.Objects[name])
				}
			}
			if s.Errors["usage"] == "" || s.Errors["usage_line_items"] == "" || s.Errors["chargeback_monthly"] != "" {
				t.Errorf("the errors of DuckDB %s: %q", s.Version, s.Errors)
			}
		}
		fmt.Fprintf(&table, "| DuckDB | %s | %s | %s |\n", s.Version, strings.Join(rows[name], " | "), told)
	}
	inDocs(t, "readers", "records", table.String())
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
