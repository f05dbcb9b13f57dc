// Package storetest starts real object stores on this machine, for tests: versitygw for S3, Azurite for Azure,
// fake-gcs-server for Google. Each is a process of its own on a port of its own, with an empty bucket; it ends with the
// test, or with the test's process, and leaves nothing. `make stores` installs them: a test without them fails.
package storetest

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/usagelake/usagelake/load/bucket"
)

// Store is a bucket that is there, and empty, with all that it takes to open it.
type Store struct {
	Name    string // s3, gs, az, file
	URL     string // with a prefix: other names of the bucket aren't the test's
	Options bucket.Options
	// Env has the credentials, which Options.Getenv gives, for programs that are run: NAME → value.
	Env map[string]string
	// Secrets are what must be in no error, log or file.
	Secrets []string
	// Dir is where the store keeps what it was given: "" in memory. Its layout is the store's own.
	Dir string
}

// Bucket opens the store.
func (s Store) Bucket(t testing.TB) bucket.Bucket {
	t.Helper()
	b, err := bucket.Open(context.Background(), s.URL, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Under is the same store, further down: what was put above it isn't seen there.
func (s Store) Under(t testing.TB, name string) Store {
	t.Helper()
	if s.Name == "file" { // whose bucket is made by its first put, and the directory that it is in by nobody
		if err := os.MkdirAll(s.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s.Dir = filepath.Join(s.Dir, name)
	}
	s.URL += "/" + name
	return s
}

// All are the stores, to be started where they are tested.
func All() map[string]func(testing.TB) Store {
	return map[string]func(testing.TB) Store{"s3": S3, "gs": GCS, "az": Azure, "file": File}
}

const prefix = "lake/usage"

// File is a directory.
func File(t testing.TB) Store {
	dir := filepath.Join(t.TempDir(), "bucket")
	return Store{Name: "file", URL: "file://" + filepath.ToSlash(dir), Dir: dir}.with(nil)
}

// S3 starts versitygw over a directory.
func S3(t testing.TB) Store {
	t.Helper()
	const key, secret = "usagelaketest", "notasecretbutmustnotbeseen1234567890"
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "finance-lake"), 0o755); err != nil {
		t.Fatal(err)
	}
	at := start(t, "/", func(port string) *exec.Cmd {
		cmd := exec.Command(binary(t, "versitygw"), "--port", "127.0.0.1:"+port, "--keep-alive", "--quiet", "posix", dir)
		cmd.Env = []string{"ROOT_ACCESS_KEY=" + key, "ROOT_SECRET_KEY=" + secret}
		return cmd
	})
	return Store{
		Name: "s3", URL: "s3://finance-lake/" + prefix, Dir: filepath.Join(dir, "finance-lake"),
		Options: bucket.Options{Endpoint: "http://" + at, Region: "us-east-1"}, Secrets: []string{secret},
	}.with(map[string]string{"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret})
}

// GCS starts fake-gcs-server, in memory.
func GCS(t testing.TB) Store {
	t.Helper()
	at := start(t, "/_internal/healthcheck", func(port string) *exec.Cmd {
		return exec.Command(binary(t, "fake-gcs-server"), "-scheme", "http", "-host", "127.0.0.1", "-port", port,
			"-backend", "memory", "-log-level", "error", "-public-host", "127.0.0.1:"+port,
			"-external-url", "http://127.0.0.1:"+port)
	})
	resp, err := http.Post("http://"+at+"/storage/v1/b?project=test", "application/json",
		strings.NewReader(`{"name":"finance-lake"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("make a bucket: %s", resp.Status)
	}
	return Store{
		Name: "gs", URL: "gs://finance-lake/" + prefix, Options: bucket.Options{Endpoint: "http://" + at},
	}.with(map[string]string{"STORAGE_EMULATOR_HOST": at})
}

// Azure starts Azurite, over a directory.
func Azure(t testing.TB) Store {
	t.Helper()
	const account = "usagelaketest"
	key := base64.StdEncoding.EncodeToString([]byte("notasecretbutmustnotbeseen1234567890"))
	dir := t.TempDir()
	at := start(t, "/", func(port string) *exec.Cmd {
		cmd := exec.Command("node", filepath.Join(stores(t), "node_modules", "azurite", "dist", "src", "blob", "main.js"),
			"--blobHost", "127.0.0.1", "--blobPort", port, "--location", dir, "--silent", "--disableTelemetry",
			"--skipApiVersionCheck", "--disableProductStyleUrl")
		cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+account+":"+key)
		return cmd
	})
	host := "http://" + at + "/" + account
	cred, err := container.NewSharedKeyCredential(account, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := container.NewClientWithSharedKeyCredential(host+"/finance-lake", cred, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	return Store{
		Name: "az", URL: "az://" + account + "/finance-lake/" + prefix, Options: bucket.Options{Endpoint: host},
		Dir: dir, Secrets: []string{key},
	}.with(map[string]string{"AZURE_STORAGE_ACCOUNT": account, "AZURE_STORAGE_KEY": key})
}

func (s Store) with(env map[string]string) Store {
	s.Env = env
	s.Options.Getenv = func(name string) string { return env[name] }
	return s
}

// stores is where `make stores` puts them.
func stores(t testing.TB) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "..", "..", "..", "bin", "stores")
	if _, err := os.Stat(filepath.Join(dir, "versions")); err != nil {
		t.Fatalf("the stores that tests start aren't installed: run `make stores` (%v)", err)
	}
	return dir
}

func binary(t testing.TB, name string) string { return filepath.Join(stores(t), name) }

// start runs a server on a free port of this machine until the test ends, and returns its address once it answers
// path.
func start(t testing.TB, path string, command func(port string) *exec.Cmd) string {
	t.Helper()
	var failed []string
	for range 3 { // somebody else may have taken the port meanwhile
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at := l.Addr().String()
		_, port, _ := net.SplitHostPort(at)
		_ = l.Close()
		cmd := command(port)
		var said locked
		cmd.Stdout, cmd.Stderr = &said, &said
		end, err := run(cmd)
		if err != nil {
			t.Fatal(err)
		}
		if answers("http://"+at+path, end) {
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				<-end
			})
			return at
		}
		_ = cmd.Process.Kill()
		<-end
		failed = append(failed, said.String())
	}
	t.Fatalf("%s doesn't start: %s", filepath.Base(command("0").Path), strings.Join(failed, "\n"))
	return ""
}

// run starts a process that ends with this one, however that ends, where the system can see to it. The channel is
// closed when the process has ended.
func run(cmd *exec.Cmd) (<-chan struct{}, error) {
	started, end := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the system watches the thread that started it
		defer close(end)
		endWithParent(cmd)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it was killed
		}
	}()
	return end, <-started
}

// answers waits until a server answers anything, or has ended, or for half a minute.
func answers(url string, end <-chan struct{}) bool {
	client := &http.Client{Timeout: time.Second}
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); {
		resp, err := client.Get(url)
		if err == nil {
			_ = resp.Body.Close()
			return true
		}
		select {
		case <-end:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

// locked is what a server says, from two pipes.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// String is for messages of tests.
func (s Store) String() string { return fmt.Sprintf("%s (%s)", s.Name, s.URL) }
