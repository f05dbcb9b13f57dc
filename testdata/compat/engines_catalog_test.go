package compat

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// catalogInDocs is where the catalog is that the docs read from.
const catalogInDocs = "http://127.0.0.1:8181"

// startCatalog starts the REST catalog of `make stores`, with a namespace finance.
func startCatalog(t *testing.T, properties ...string) string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(os.Getenv("USAGELAKE_COMPAT_BIN")), "catalog")
	c := exec.Command("java", append([]string{"-cp", filepath.Join(dir, "classes") + ":" + filepath.Join(dir, "jars", "*"),
		"Catalog", "warehouse=/nowhere"}, properties...)...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatalf("%v: run make stores", err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = c.Wait()
	})
	port := bufio.NewScanner(stdout)
	if !port.Scan() {
		t.Fatalf("the catalog doesn't start: %s", stderr.String())
	}
	at := "http://127.0.0.1:" + port.Text()
	resp, err := http.Post(at+"/v1/namespaces", "application/json",
		strings.NewReader(`{"namespace":["finance"],"properties":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return at
}

// delivers adds a delivery with a table in a catalog to a lake's config, and returns what makes it.
func (l *changing) delivers(t *testing.T, name, to, catalog string) func() {
	t.Helper()
	path := filepath.Join(l.dir, "usagelake.yaml")
	config, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(config), "\ndeliver:\n") {
		config = append(config, "deliver:\n"...)
	}
	config = fmt.Appendf(config, "  - {name: %s, %s, tables: [iceberg], iceberg: {catalog: %q, table: finance.usage}}\n",
		name, to, catalog)
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	return func() { l.run(t, "deliver", "--quiet", name) }
}

// TestEnginesReadATableInACatalog: engines find each version of a table through its catalog.
func TestEnginesReadATableInACatalog(t *testing.T) {
	l := changingLake(t, deliveredAccounts())
	e := startEngines(t, []string{"pyiceberg-catalog", "polars-catalog", "ClickHouse-catalog", "DuckDB-catalog"},
		[]string{"Spark-catalog"})
	told := &told{rows: map[string][]string{}}
	catalog := startCatalog(t)
	place := filepath.Join(t.TempDir(), "delivered")
	deliver := l.delivers(t, "folder", "to: 'file://"+place+"'", catalog)

	deliver()
	a := asked{Table: "finance.usage", Catalog: catalog}
	told.reads(t, e, l, "as it was exported", a)

	const day = 5
	some := slices.DeleteFunc(slices.Clone(l.of["acme"]), func(c call) bool { return c.at.Day() != day })
	name, content := l.onDay(t, "acme", day, some[:3]...)
	replace(t, name, content)
	deliver()
	told.reads(t, e, l, "fewer rows", a)

	name, content = l.onDay(t, "acme", day)
	replace(t, name, content)
	deliver()
	told.reads(t, e, l, "none", a)
	ran := runBlocks(t, place, l.truth(t).total(t), func(block string) string {
		if !strings.Contains(block, catalogInDocs) {
			return ""
		}
		return strings.ReplaceAll(block, catalogInDocs, catalog)
	})
	if ran < 3 {
		t.Errorf("%d blocks of the docs read through a catalog", ran)
	}

	s3 := startS3(t)
	l.env = append(l.env, "AWS_ACCESS_KEY_ID="+s3.Key, "AWS_SECRET_ACCESS_KEY="+s3.Secret)
	catalog = startCatalog(t, "io-impl=org.apache.iceberg.aws.s3.S3FileIO", "s3.endpoint="+s3.Endpoint,
		"s3.path-style-access=true", "client.region=us-east-1", "http-client.type=urlconnection",
		"s3.access-key-id="+s3.Key, "s3.secret-access-key="+s3.Secret)
	deliver = l.delivers(t, "store", "to: s3://finance-lake/usage, endpoint: '"+s3.Endpoint+"', region: us-east-1",
		catalog)
	deliver()
	name, content = l.onDay(t, "2026", day+2, call{at: at(day+2, 60), amount: "-0.000000000001"})
	replace(t, name, content)
	deliver()
	told.reads(t, e, l, "over S3", asked{Table: "finance.usage", Catalog: catalog, S3: s3})

	table := markdown([]string{"engine", "version", "reads", "as it was exported", "fewer rows", "none", "over S3"})
	for _, name := range told.names {
		table.row(told.rows[name])
	}
	inDocs(t, "engines", "engines through a catalog", table.String())
}
