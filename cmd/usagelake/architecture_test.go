package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/usagelake/usagelake/"

// may says which packages of the project each one may import: stages meet in schemas, jobs composes them, cmd prints.
var may = map[string][]string{
	"schemas":                  {"schemas/words"},
	"schemas/words":            {},
	"schemas/scan":             {},
	"extract/portal":           {},
	"jobs/calendar":            {},
	"extract":                  {"schemas", "schemas/words", "schemas/scan"},
	"transform":                {"schemas", "schemas/words", "schemas/scan"},
	"transform/allocate":       {"schemas", "schemas/words"},
	"transform/books":          {"schemas"},
	"load/durable":             {},
	"load/durable/durabletest": {"load/durable"},
	"load/page":                {},
	"load/bucket":              {"load/durable", "schemas/words"},
	"load/bucket/storetest":    {"load/bucket"},
	"load/catalog":             {"schemas", "schemas/words"},
	"load/catalog/catalogtest": {},
	"load":                     {"schemas", "schemas/words", "schemas/scan", "load/durable", "load/page"},
	"load/deliver":             {"schemas", "schemas/words", "load", "load/bucket", "load/catalog", "load/durable"},
	"load/deliver/delivertest": {"load/deliver"},
	"load/publish":             {"schemas", "schemas/words", "load", "load/durable"},
	"load/query":               {"schemas", "schemas/words", "load", "load/durable", "load/publish"},
	"load/posting":             {"schemas", "schemas/words"},
	"load/report": {"schemas", "schemas/words", "load", "load/durable", "load/posting", "load/publish",
		"load/query"},
	"load/pack": {"schemas", "schemas/words", "load", "load/durable", "load/posting", "load/publish", "load/query",
		"load/report"},
	"load/evidence":            {"schemas", "schemas/words", "load", "load/durable", "load/publish", "load/query"},
	"load/loadtest":            {"schemas", "schemas/schemastest", "load", "load/durable"},
	"load/publish/publishtest": {"schemas", "schemas/schemastest", "load", "load/loadtest", "load/publish"},
	"schemas/schemastest":      {"schemas"},
	"jobs/alert":               {"schemas", "schemas/words"},
	"jobs/config": {"schemas", "schemas/words", "extract", "transform/allocate", "load", "load/posting",
		"load/publish", "load/query",
		"load/report", "load/bucket", "load/catalog", "load/deliver", "jobs/calendar",
		"jobs/alert"},
	"jobs": {"schemas", "load/durable", "schemas/words", "extract", "transform", "transform/allocate",
		"transform/books", "load",
		"load/posting", "load/publish", "load/query", "load/report", "load/bucket", "load/catalog", "load/deliver",
		"load/evidence", "load/pack",
		"jobs/alert", "jobs/config"},
	"jobs/watch": {"schemas", "schemas/words", "load", "load/deliver", "load/pack", "load/publish", "load/query", "jobs",
		"jobs/config", "jobs/alert"},
	"jobs/schedule": {"schemas", "load", "load/durable", "load/publish", "load/query", "jobs", "jobs/config"},
	"jobs/doctor": {"schemas", "load/durable", "schemas/words", "extract", "transform", "transform/allocate", "load",
		"load/publish", "load/query",
		"jobs",
		"jobs/config", "jobs/schedule"},
	"jobs/internal/kit": {"schemas", "extract", "extract/portal", "load", "load/publish", "load/query", "jobs/calendar",
		"jobs/config"},
	"jobs/serve": {"schemas", "schemas/words", "load", "load/deliver", "load/publish", "load/query", "jobs", "jobs/config",
		"jobs/schedule", "jobs/serve/finance", "jobs/watch"},
	"jobs/serve/finance": {"schemas", "schemas/words", "load/durable", "load/posting", "load/publish", "load/query",
		"load/report", "jobs/serve/library"},
	"jobs/serve/assist": {"schemas", "schemas/words", "load/posting", "load/publish", "load/query", "load/report",
		"jobs/serve/library"},
	"jobs/serve/library": {"schemas", "schemas/words", "load/durable", "load/pack", "load/publish", "load/query",
		"load/report"},
	"jobs/serve/library/librarytest": {"schemas", "schemas/schemastest", "load", "load/publish",
		"load/publish/publishtest", "load/query"},
	"deploy/release": {},
	"cmd/usagelake": {"schemas", "load/durable", "schemas/words", "extract", "extract/portal", "transform", "load",
		"load/posting", "load/publish", "load/query", "load/report", "load/bucket", "load/deliver", "jobs",
		"jobs/alert", "jobs/config", "jobs/doctor", "jobs/schedule", "jobs/serve", "jobs/serve/assist",
		"jobs/serve/finance", "jobs/serve/library", "jobs/watch"},
}

// never says which packages of others a stage must not reach, itself or through somebody else.
var never = map[string][]string{
	"schemas":   {"net/http", "database/sql", "os/exec"},
	"transform": {"net/http", "database/sql", "os/exec", "log/slog"},
	"load":      {"github.com/spf13/cobra", "database/sql", "github.com/duckdb/duckdb-go/v2"},
	"extract":   {"github.com/duckdb/duckdb-go/v2", "github.com/apache/arrow-go/v18/parquet/file"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

func goList(t *testing.T, args ...string) []goPackage {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Standard"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func TestStagesMeetInSchemasAlone(t *testing.T) {
	for _, p := range goList(t, module+"...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := may[name]
		if !known {
			t.Errorf("package %s is not drawn in the architecture: say here what it may import", name)
		}
		for _, i := range p.Imports {
			if own, ok := strings.CutPrefix(i, module); ok && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s", name, own)
			}
		}
	}
}

func TestTheSimulatedPortalIsMadeOfTheStandardLibrary(t *testing.T) {
	for _, p := range goList(t, "-deps", module+"extract/portal") {
		if !p.Standard && p.ImportPath != module+"extract/portal" {
			t.Errorf("extract/portal reaches %s: it could share a bug with the client", p.ImportPath)
		}
	}
}

func TestStagesStayInTheirOwnWorld(t *testing.T) {
	for name, forbidden := range never {
		direct := goList(t, module+name)[0].Imports
		for _, f := range forbidden {
			if slices.Contains(direct, f) {
				t.Errorf("%s imports %s", name, f)
			}
		}
	}
}
