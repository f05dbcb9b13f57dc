package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

// Every grain has the same sums, and NULL for what it leaves out.
func focusGrains(t *testing.T, w *dayWriter) {
	file := filepath.Join(t.TempDir(), "focus.parquet")
	rows := map[string]int64{}
	const sums = "SELECT BillingPeriodStart, BillingCurrency, x_Model, sum(ListCost), sum(BilledCost), sum(ConsumedQuantity), sum(x_RequestCount)::BIGINT FROM %s GROUP BY ALL ORDER BY ALL"
	whole := w.ask(fmt.Sprintf(sums, "focus"))
	for _, grain := range schemas.FocusGrains()[1:] {
		done, err := w.lake.ExportFocus(t.Context(), FocusOptions{Path: file, Grain: grain})
		if err != nil {
			t.Fatal(err)
		}
		rows[grain] = done.Rows
		from := "read_parquet(" + schemas.SQLString(file) + ")"
		if got := w.ask(fmt.Sprintf(sums, from)); len(got) < 20 || !slices.EqualFunc(got, whole, sameValues) {
			t.Errorf("%s: %s", grain, firstDifference(strings.Join(got, "\n"), strings.Join(whole, "\n")))
		}
		for rule, wrong := range map[string]string{
			"a product": "ListUnitPrice * PricingQuantity <> ListCost",
			"an owner":  map[string]string{"cost_center": "x_Team IS NOT NULL OR x_Project IS NOT NULL OR SubAccountId IS NOT NULL", "team": "x_Project IS NOT NULL", "model": "Tags IS NOT NULL OR x_Pool IS NOT NULL", "user": "x_CredentialId IS NOT NULL"}[grain],
		} {
			if wrong != "" && w.one("SELECT count(*) AS n FROM "+from+" WHERE "+wrong) != "{'n': 0}" {
				t.Errorf("%s: %s", grain, rule)
			}
		}
	}
	if !(rows["day"] > rows["token"] && rows["token"] > rows["team"] && rows["team"] >= rows["cost_center"] && rows["cost_center"] > rows["model"]) {
		t.Errorf("rows: %v", rows)
	}
}

func focusColumnsAsked(t *testing.T, w *dayWriter) {
	var out, all bytes.Buffer
	opts := FocusOptions{Format: FocusCSV, Out: &out, Columns: []string{"x_Model", "BilledCost", "BillingCurrency"}}
	if _, err := w.lake.ExportFocus(t.Context(), opts); err != nil || !strings.HasPrefix(out.String(), "x_Model,BilledCost,BillingCurrency\n") {
		t.Errorf("%v: %.80q", err, out.String())
	}
	opts.Out, opts.Columns = &all, nil
	if _, err := w.lake.ExportFocus(t.Context(), opts); err != nil || strings.Count(all.String(), "\n") != strings.Count(out.String(), "\n") {
		t.Errorf("the rows are %d, and %d with all columns: %v", strings.Count(out.String(), "\n"), strings.Count(all.String(), "\n"), err)
	}
}

// Each file of a split CSV has the header and is within both limits; together they are the whole. What an export before left goes.
func focusSplits(t *testing.T, w *dayWriter) {
	var whole bytes.Buffer
	november := testDate(t, "2026-11-01")
	if _, err := w.lake.ExportFocus(t.Context(), FocusOptions{Format: FocusCSV, Out: &whole, From: &november}); err != nil {
		t.Fatal(err)
	}
	head, rows, _ := strings.Cut(whole.String(), "\n")
	longest := 0
	for line := range strings.Lines(rows) {
		longest = max(longest, len(line))
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "focus.csv")
	before := 1 << 30
	for _, limit := range []FocusOptions{{MaxRows: 100}, {MaxRows: 300, MaxBytes: 100_000}, {MaxBytes: int64(len(head) + 1 + 5*longest)}, {MaxRows: 1 << 40}} {
		limit.Path, limit.From = path, &november
		done, err := w.lake.ExportFocus(t.Context(), limit)
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "focus-*.csv"))
		if err != nil || !slices.Equal(files, done.Files[:len(done.Files)-1]) {
			t.Errorf("%+v: there are %d files, and it wrote %d: %v", limit, len(files), len(done.Files)-1, err)
		}
		if limit.MaxRows == 1<<40 && len(files) != 1 || limit.MaxRows < 1<<40 && len(files) < 3 {
			t.Errorf("%+v: %d files", limit, len(files))
		}
		before = len(files)
		var together strings.Builder
		var meta struct {
			Files []struct {
				Path  string `json:"filepath"`
				Bytes int    `json:"total_bytes"`
				Rows  int64  `json:"total_rows"`
			} `json:"data_location"`
		}
		b, err := os.ReadFile(filepath.Join(dir, "focus.metadata.json"))
		must(t, err)
		must(t, json.Unmarshal(b, &meta))
		for i, file := range files {
			b, err := os.ReadFile(file)
			must(t, err)
			first, rest, _ := strings.Cut(string(b), "\n")
			n := int64(strings.Count(rest, "\n"))
			if first != head || filepath.Base(file) != fmt.Sprintf("focus-%04d.csv", i+1) || n == 0 || limit.MaxRows > 0 && n > limit.MaxRows || limit.MaxBytes > 0 && int64(len(b)) > limit.MaxBytes {
				t.Errorf("%+v: %s has %d bytes and %d rows", limit, filepath.Base(file), len(b), n)
			}
			if x := meta.Files[i]; x.Path != filepath.Base(file) || x.Bytes != len(b) || x.Rows != n {
				t.Errorf("the metadata says %+v of %s, which has %d bytes and %d rows", x, file, len(b), n)
			}
			together.WriteString(rest)
		}
		if together.String() != rows {
			t.Errorf("%+v: together they aren't the whole", limit)
		}
	}
	if before != 1 {
		t.Errorf("the last export left %d files", before)
	}
	none := filepath.Join(t.TempDir(), "none.csv")
	if _, err := w.lake.ExportFocus(t.Context(), FocusOptions{Path: none, MaxBytes: int64(len(head) + longest)}); err == nil || !strings.Contains(err.Error(), "no file of") {
		t.Errorf("a row that fits nowhere: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(none)); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
	late := testDate(t, "2030-01-01")
	if done, err := w.lake.ExportFocus(t.Context(), FocusOptions{Path: none, MaxRows: 5, From: &late}); err != nil || done.Rows != 0 || len(done.Files) != 2 {
		t.Errorf("of nothing: %+v, %v", done, err)
	}
}

// The metadata beside a file, and in Parquet itself, says version, dataset and columns with their types, and is the same of the same
// columns, be it CSV or Parquet.
func focusMetadataTells(t *testing.T, w *dayWriter) {
	dir := t.TempDir()
	// If a schema has changed, FocusSchemaDate is to be the day of the change.
	if schemas.FocusSchemaDate != "2026-11-29T00:00:00Z" {
		t.Fatal("give the schemas below anew")
	}
	for name, opts := range map[string]FocusOptions{
		"12":      {},
		"14":      {Version: schemas.Focus14},
		"record":  {Grain: schemas.FocusByRecord, From: new(testDate(t, "2026-11-01"))},
		"period":  {Dataset: schemas.FocusBillingPeriod},
		"invoice": {Dataset: schemas.FocusInvoiceDetail},
	} {
		var texts [2]string
		var id string
		for i, format := range []string{FocusParquet, FocusCSV} {
			opts.Path = filepath.Join(dir, "focus."+format)
			if _, err := w.lake.ExportFocus(t.Context(), opts); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, "focus.metadata.json"))
			must(t, err)
			texts[i] = string(b)
			var meta struct {
				SchemaID string `json:"SchemaId"`
				Columns  []struct {
					Name      string `json:"ColumnName"`
					Type      string `json:"DataType"`
					Precision int    `json:"NumericPrecision"`
					Scale     int    `json:"NumberScale"`
					Encoding  string `json:"StringEncoding"`
				} `json:"ColumnDefinition"`
			}
			must(t, json.Unmarshal(b, &meta))
			id = meta.SchemaID
			columns := opts.columns()
			if len(meta.Columns) != len(columns) {
				t.Errorf("%s: %d columns, want %d", name, len(meta.Columns), len(columns))
			}
			for i, c := range meta.Columns {
				if c.Name != columns[i].Name || c.Type == "" || (c.Type == "DECIMAL") != (c.Precision > c.Scale && c.Scale >= 12) || (c.Type == "STRING" || c.Type == "JSON") != (c.Encoding == "UTF-8") {
					t.Errorf("%s: %+v", name, c)
				}
			}
		}
		if texts[0] != texts[1] {
			t.Errorf("%s: the metadata of Parquet and CSV differ: %s", name, firstDifference(texts[0], texts[1]))
		}
		if want := focusSchemas[name]; id != want {
			t.Errorf("%s: the schema is %s, was %s: set schemas.FocusSchemaDate to the day on which it changed", name, id, want)
		}
		got := w.value("SELECT string_agg(key::VARCHAR || '=' || value::VARCHAR, ' ' ORDER BY key) FROM parquet_kv_metadata(" + schemas.SQLString(filepath.Join(dir, "focus.parquet")) + ")")
		dataset := map[string]string{"period": "BillingPeriod", "invoice": "InvoiceDetail"}[name]
		if dataset == "" {
			dataset = "CostAndUsage"
		}
		if want := "CreationDate=2026-11-29T00:00:00Z DataGenerator=usagelake FocusVersion=" + opts.version() + " SchemaId=" + id + " x_DatasetId=" + dataset; got != want {
			t.Errorf("%s: Parquet has %s, want %s", name, got, want)
		}
	}
	if _, err := w.lake.ExportFocus(t.Context(), FocusOptions{Path: os.DevNull, Format: FocusCSV}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/dev/null.metadata.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("there is metadata beside a device")
	}
}

// focusSchemas are the schemas of each dataset as of schemas.FocusSchemaDate.
var focusSchemas = map[string]string{
	"12":      "750c3fa0-cd3e-8574-bedb-394ed34c46a0",
	"14":      "1ffa155d-88b0-86a9-bc43-7748b7aae899",
	"record":  "7250fe57-64a8-8b14-85f7-41b253ca3096",
	"period":  "a504973d-3ce6-86a6-9e31-6fefa6187050",
	"invoice": "4e0a0205-8a23-89b2-b4e2-a44536589015",
}
