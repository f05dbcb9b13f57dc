package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// gomod is the tool that lists what a Go program is made of, of a fixed version: go checks it against the checksum
// database.
const gomod = "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0"

// module is a module that is linked into a program.
type module struct {
	Path, Version string
	Dir           string // in the module cache
}

// modules lists what is linked into a program, as the program itself says.
func modules(ctx context.Context, program string) ([]module, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var list []module
	for _, d := range info.Deps {
		if d.Replace != nil {
			return nil, fmt.Errorf("%s is replaced by %s: a release is built of published modules", d.Path, d.Replace.Path)
		}
		out, err := output(ctx, nil, "go", "mod", "download", "-json", d.Path+"@"+d.Version)
		if err != nil {
			return nil, err
		}
		m := module{Path: d.Path, Version: d.Version}
		if err := json.Unmarshal([]byte(out), &m); err != nil {
			return nil, fmt.Errorf("go mod download -json %s: %w", d.Path, err)
		}
		list = append(list, m)
	}
	return list, nil
}

// licenceName is what files with licences and notices are called.
var licenceName = regexp.MustCompile(`(?i)^((un)?licen[cs]e|copying|notice|patents)(_\w+|[-.].*)?$`)

// licenceFiles finds the licences and notices of modules, and Go's own, by their names in the archive. A module without
// any is an error: it could not be published.
func licenceFiles(ctx context.Context, list []module) (map[string]string, error) {
	root, err := output(ctx, nil, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, m := range append(list, module{Path: "go", Version: runtime.Version(), Dir: root}) {
		entries, err := os.ReadDir(m.Dir)
		if err != nil {
			return nil, err
		}
		found := false
		for _, e := range entries {
			if e.Type().IsRegular() && licenceName.MatchString(e.Name()) {
				files[path.Join("licenses", m.Path, e.Name())] = filepath.Join(m.Dir, e.Name())
				found = true
			}
		}
		if !found {
			return nil, fmt.Errorf("no licence is found in module %s %s", m.Path, m.Version)
		}
	}
	return files, nil
}

// sbom is the list of what is linked into program, in CycloneDX's JSON: the modules by cyclonedx-gomod, with the hashes
// of go.sum, and DuckDB, which is no module. What depends on the machine is taken out of it.
func (b *build) sbom(ctx context.Context, program, native string) ([]byte, error) {
	list := filepath.Join(b.tmp, "list.cdx.json")
	if _, err := output(ctx, []string{"GOFLAGS="}, "go", "run", gomod, "bin", "-json", "-std", "-licenses", "-noserial",
		"-notimestamp",
		"-version", b.version, "-output", list, program); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(list)
	if err != nil {
		return nil, err
	}
	out, err := output(ctx, nil, native, "version", "--output", "json")
	if err != nil {
		return nil, err
	}
	var versions struct{ DuckDB string }
	if err := json.Unmarshal([]byte(out), &versions); err != nil {
		return nil, fmt.Errorf("usagelake version: %w", err)
	}
	return completeSBOM(raw, versions.DuckDB, b.epoch)
}

// completeSBOM adds DuckDB to a list of cyclonedx-gomod's, and takes out the hashes of the tool itself, which depend on
// where it was built.
func completeSBOM(raw []byte, duckdb string, at time.Time) ([]byte, error) {
	var bom map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&bom); err != nil {
		return nil, fmt.Errorf("cyclonedx-gomod: %w", err)
	}
	metadata, _ := bom["metadata"].(map[string]any)
	components, _ := bom["components"].([]any)
	dependencies, _ := bom["dependencies"].([]any)
	tools, _ := metadata["tools"].([]any)
	if metadata == nil || components == nil || dependencies == nil {
		return nil, errors.New("cyclonedx-gomod's list has no metadata, components or dependencies")
	}
	metadata["timestamp"] = at.Format(time.RFC3339)
	for _, t := range tools {
		if tool, ok := t.(map[string]any); ok {
			delete(tool, "hashes")
		}
	}
	ref := "pkg:github/duckdb/duckdb@" + duckdb
	bom["components"] = append(components, map[string]any{
		"bom-ref": ref, "type": "library", "name": "duckdb", "version": duckdb, "purl": ref,
		"description": "C++ library, linked statically from the archives in the module " +
			"github.com/duckdb/duckdb-go-bindings/lib; it brings libraries of its own (its third_party directory)",
		"licenses": []any{map[string]any{"license": map[string]any{"id": "MIT"}}},
	})
	linked := false
	for _, d := range dependencies {
		dependency, _ := d.(map[string]any)
		if on, _ := dependency["ref"].(string); strings.HasPrefix(on,
			"pkg:golang/github.com/duckdb/duckdb-go-bindings/lib/") {
			dependency["dependsOn"] = []any{ref}
			linked = true
		}
	}
	if !linked {
		return nil, errors.New("cyclonedx-gomod's list has no module that DuckDB comes with")
	}
	bom["dependencies"] = append(dependencies, map[string]any{"ref": ref})
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(bom)
	return out.Bytes(), err
}
