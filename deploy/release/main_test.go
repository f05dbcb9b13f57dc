package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, path, text string, mode os.FileMode, at time.Time) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600),
		os.Chmod(path, mode), os.Chtimes(path, at, at))
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnArchiveDependsOnNamesAndContentsAlone(t *testing.T) {
	epoch := time.Unix(1_700_000_000, 0)
	var archives [2]bytes.Buffer
	for i, at := range []time.Time{time.Unix(1, 0), time.Unix(1_600_000_000, 500)} {
		dir := t.TempDir()
		files := map[string]string{}
		for name, mode := range map[string]os.FileMode{"usagelake": 0o700 | os.FileMode(i)*0o055,
			"docs/a.md": 0o600 | os.FileMode(i)*0o064, "docs/deep/b.md": 0o644, "LICENSE": 0o444} {
			files[name] = filepath.Join(dir, name)
			write(t, files[name], "text of "+name, mode, at)
		}
		if err := pack(&archives[i], "usagelake-v1", files, epoch); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0].Bytes(), archives[1].Bytes()) {
		t.Error("the same files, with other times and modes, give another archive")
	}
	z, err := gzip.NewReader(&archives[0])
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if !h.ModTime.Equal(epoch) || h.Uid != 0 || h.Gid != 0 || h.Uname != "root" {
			t.Errorf("%s: %+v", h.Name, h)
		}
		if want := int64(0o644); h.Typeflag == tar.TypeReg && h.Name != "usagelake-v1/usagelake" && h.Mode != want {
			t.Errorf("%s has mode %o", h.Name, h.Mode)
		}
	}
	want := []string{"usagelake-v1/", "usagelake-v1/LICENSE", "usagelake-v1/docs/", "usagelake-v1/docs/a.md",
		"usagelake-v1/docs/deep/", "usagelake-v1/docs/deep/b.md", "usagelake-v1/usagelake"}
	if !slices.Equal(names, want) {
		t.Errorf("the archive holds %v, want %v", names, want)
	}
}

func TestAModuleWithoutALicenceIsNotPublished(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	write(t, filepath.Join(dir, "a/LICENSE.txt"), "", 0o644, now)
	write(t, filepath.Join(dir, "a/NOTICE"), "", 0o644, now)
	write(t, filepath.Join(dir, "a/licenses.go"), "", 0o644, now)
	write(t, filepath.Join(dir, "a/LICENSE_MIT"), "", 0o644, now)
	write(t, filepath.Join(dir, "a/license_check.go"), "", 0o644, now)
	write(t, filepath.Join(dir, "b/UNLICENSE"), "", 0o644, now)
	write(t, filepath.Join(dir, "c/README"), "", 0o644, now)
	a, b, c := module{Path: "x/a", Dir: filepath.Join(dir, "a")}, module{Path: "x/b", Dir: filepath.Join(dir, "b")},
		module{Path: "x/c", Version: "v1", Dir: filepath.Join(dir, "c")}
	files, err := licenceFiles(t.Context(), []module{a, b})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"licenses/x/a/LICENSE.txt", "licenses/x/a/NOTICE", "licenses/x/a/LICENSE_MIT",
		"licenses/x/b/UNLICENSE", "licenses/go/LICENSE"} {
		if files[name] == "" {
			t.Errorf("%s is missing in %v", name, files)
		}
	}
	if files["licenses/x/a/licenses.go"]+files["licenses/x/a/license_check.go"] != "" {
		t.Error("a source file is taken for a licence")
	}
	if _, err := licenceFiles(t.Context(), []module{a, c}); err == nil || !strings.Contains(err.Error(), "x/c v1") {
		t.Errorf("a module without a licence: %v", err)
	}
}

func TestAVersionThatIsNoNameIsRefused(t *testing.T) {
	for v, want := range map[string]bool{
		"v1.2.3": true, "v0.1.0-rc.1+x": true, "9e64de1-dirty": true, "": false, "-x": false, "..": false, "v1/2": false,
		"v1 -X main.release=2": false, "v1\n": false,
	} {
		if safeName(v) != want {
			t.Errorf("%q: %t, want %t", v, !want, want)
		}
	}
}

func TestTheListOfWhatIsLinkedNamesDuckDBAndNoMachine(t *testing.T) {
	const lib = "pkg:golang/github.com/duckdb/duckdb-go-bindings/lib/linux-amd64@v0.1.0?type=module"
	raw := `{"metadata":{"tools":[{"name":"cyclonedx-gomod","hashes":[{"alg":"MD5","content":"0"}]}]},` +
		`"components":[{"bom-ref":"` + lib + `"}],"dependencies":[{"ref":"` + lib + `"}]}`
	out, err := completeSBOM([]byte(raw), "v1.5.6", time.Unix(1_700_000_000, 0).UTC())
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(out) || strings.Contains(string(out), "hashes") {
		t.Errorf("the list is %s", out)
	}
	for _, want := range []string{`"purl": "pkg:github/duckdb/duckdb@v1.5.6"`, `"timestamp": "2023-11-14T22:13:20Z"`,
		`"dependsOn": [`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the list doesn't have %s:\n%s", want, out)
		}
	}
	for name, bad := range map[string]string{"nothing": "", "no members": "{}",
		"without DuckDB": strings.ReplaceAll(raw, "duckdb-go-bindings/lib", "x")} {
		if _, err := completeSBOM([]byte(bad), "v1.5.6", time.Now()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
