// Package catalogtest starts a real Iceberg REST catalog on this machine, for tests: Apache Iceberg's own
// implementation of the protocol, the one that its clients are tested against, over a database in memory. It ends with
// the test's process, and leaves nothing but what it was told to write. `make stores` installs it: a test without it
// fails.
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
	"sync"
	"testing"
)

// Namespace makes a namespace in a catalog that the tests of a process share, and returns the catalog's address. Its
// tables are in directories.
func Namespace(t testing.TB, name string) string {
	t.Helper()
	at, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return at.with(t, name)
}

// Start starts a catalog with a namespace, for one test. Properties are those of Iceberg's JdbcCatalog, NAME=VALUE.
func Start(t testing.TB, namespace string, properties ...string) string {
	t.Helper()
	at, err := start(properties...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(at.end)
	return at.with(t, namespace)
}

// catalog is one that runs.
type catalog struct {
	at  string
	end func()
}

var shared = sync.OnceValues(func() (catalog, error) { return start() })

func start(properties ...string) (catalog, error) {
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "..", "..", "..", "bin", "catalog")
	if _, err := os.Stat(filepath.Join(dir, "version")); err != nil {
		return catalog{}, fmt.Errorf("the catalog that tests start isn't installed: run `make stores` (%w)", err)
	}
	cmd := exec.Command("java", append([]string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp",
		filepath.Join(dir, "classes") + ":" + filepath.Join(dir, "jars", "*"), "Catalog", "warehouse=/nowhere"},
		properties...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe() // which ends with this process, and the catalog with it
	if err != nil {
		return catalog{}, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return catalog{}, err
	}
	if err := cmd.Start(); err != nil {
		return catalog{}, err
	}
	end := func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		end()
		return catalog{}, fmt.Errorf("the catalog doesn't start: %s", stderr.String())
	}
	return catalog{"http://127.0.0.1:" + lines.Text(), end}, nil
}

func (c catalog) with(t testing.TB, namespace string) string {
	t.Helper()
	resp, err := http.Post(c.at+"/v1/namespaces", "application/json",
		strings.NewReader(fmt.Sprintf(`{"namespace":[%q],"properties":{}}`, namespace)))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("make the namespace %s: %s", namespace, resp.Status)
	}
	return c.at
}
