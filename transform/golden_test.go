package transform

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each testdata/*.page.json is derived alone; its golden file holds the rows, the rejects, the sums and the findings.
func TestPagesGiveTheirGoldenRows(t *testing.T) {
	pages, err := filepath.Glob("testdata/*.page.json")
	if err != nil || len(pages) == 0 {
		t.Fatal("no pages", err)
	}
	for _, path := range pages {
		t.Run(filepath.Base(path), func(t *testing.T) {
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			decodeBoth(t, string(body))
			r := derive(t, Options{}, wholeDay(string(body)))
			type reject struct{ Reason, Field, Raw string }
			out := struct {
				Rows    []row
				Rejects []reject
				Stats   any
				Issues  any
			}{Rows: r.rows, Stats: r.footer.DayStats, Issues: r.footer.Issues}
			for _, j := range r.rejects {
				out.Rejects = append(out.Rejects, reject{j.Reason, j.Field, string(j.Raw)})
			}
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(out); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(path, ".page.json") + ".golden.json"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("differs from %s (go test -update writes it anew, if that is what is meant):\n%s", golden, got.Bytes())
			}
		})
	}
}
