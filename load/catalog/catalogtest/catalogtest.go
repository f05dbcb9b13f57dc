// Package catalogtest starts a real Iceberg REST catalog on this machine, for tests: Apache Iceberg's own
// implementation of the protocol, the one that its clients are tested against, over a database in memory. It ends with
// the test, or with the test's process, and leaves nothing but what it was told to write. `make stores` installs it: a
// test without it fails.
package catalogtest

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Start starts a catalog with a namespace, and returns its address. Properties are those of Iceberg's JdbcCatalog,
// NAME=VALUE; without any, its tables are in directories.
func Start(t testing.TB, namespace string, properties ...string) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "..", "..", "..", "bin", "catalog")
	if _, err := os.Stat(filepath.Join(dir, "version")); err != nil {
		t.Fatalf("the catalog that tests start isn't installed: run `make stores` (%v)", err)
	}
	cmd := exec.Command("java", append([]string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp",
		filepath.Join(dir, "classes") + ":" + filepath.Join(dir, "jars", "*"), "Catalog", "warehouse=" + t.TempDir()},
		properties...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe() // which ends with this process, and the catalog with it
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the catalog: %v\n%s", err, stderr.String())
		}
	})
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		_ = stdin.Close()
		_ = cmd.Wait()
		t.Fatalf("the catalog doesn't start: %s", stderr.String())
	}
	at := "http://127.0.0.1:" + lines.Text()
	Namespace(t, at, namespace)
	return at
}

// Namespace makes a namespace.
func Namespace(t testing.TB, at, name string) {
	t.Helper()
	resp, err := http.Post(at+"/v1/namespaces", "application/json",
		strings.NewReader(fmt.Sprintf(`{"namespace":[%q],"properties":{}}`, name)))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("make the namespace %s: %s", name, resp.Status)
	}
}
