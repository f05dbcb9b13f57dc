package query

import (
	"flag"
	"strconv"
	"testing"

	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/schemas"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var testFinance = publishtest.Ruled("2026-10-18", "cc-0", "cc-2", "cc-new")

func money(s string) schemas.Money {
	v, err := schemas.ParseMoney(s)
	if err != nil {
		panic(err)
	}
	return v
}

// few sets how many cases the properties of a test draw.
func few(t *testing.T, n int) {
	t.Helper()
	for name, value := range map[string]string{"rapid.checks": strconv.Itoa(n), "rapid.shrinktime": "20s"} {
		f := flag.Lookup(name)
		was := f.Value.String()
		if err := f.Value.Set(value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Value.Set(was) })
	}
}
