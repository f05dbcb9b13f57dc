package query

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

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// Every grain has the same sums, and NULL for what it leaves out.
func focusGrains(t *testing.T, w *publishtest.Writer) {
	file := filepath.Join(t.TempDir(), "focus.parquet")
	rows := map[string]int64{}
	const sums = "SELECT BillingPeriodStart, BillingCurrency, x_Model, sum(ListCost), sum(BilledCost), " +
		"sum(ConsumedQuantity), sum(x_RequestCount)::BIGINT FROM %s GROUP BY ALL ORDER BY ALL"
	whole := w.Ask(fmt.Sprintf(sums, "focus"))
	for _, grain := range schemas.FocusGrains()[1:] {
		done, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Path: file, Grain: grain})
		if err != nil {
			t.Fatal(err)
		}
		rows[grain] = done.Rows
		from := "read_parquet(" + schemas.SQLString(file) + ")"
		if got := w.Ask(fmt.Sprintf(sums, from)); len(got) < 20 || !slices.EqualFunc(got, whole, loadtest.SameValues) {
			t.Errorf("%s: %s", grain, schemastest.FirstDifference(strings.Join(got, "\n"), strings.Join(whole, "\n")))
		}
		for rule, wrong := range map[string]string{
			"a product": "ListUnitPrice * PricingQuantity <> ListCost",
			"an owner": map[string]string{"cost_center": "x_Team IS NOT NULL OR x_Project IS NOT NULL OR SubAccountId IS " +
				"NOT NULL", "team": "x_Project IS NOT NULL",
				"model": "Tags IS NOT NULL OR x_Pool IS NOT NULL", "user": "x_CredentialId IS NOT NULL"}[grain],
		} {
			if wrong != "" && w.One("SELECT count(*) AS n FROM "+from+" WHERE "+wrong) != "{'n': 0}" {
				t.Errorf("%s: %s", grain, rule)
			}
		}
	}
	if !(rows["day"] > rows["token"] && rows["token"] > rows["team"] && rows["team"] >= rows["cost_center"] &&
		rows["cost_center"] > rows["model"]) {
		t.Errorf("rows: %v", rows)
	}
}

func focusColumnsAsked(t *testing.T, w *publishtest.Writer) {
	var out, all bytes.Buffer
	opts := FocusOptions{Format: FocusCSV, Out: &out, Columns: []string{"x_Model", "BilledCost", "BillingCurrency"}}
	if _, err := ExportFocus(t.Context(), w.Lake, opts); err != nil ||
		!strings.HasPrefix(out.String(), "x_Model,BilledCost,BillingCurrency\n") {
		t.Errorf("%v: %.80q", err, out.String())
	}
	opts.Out, opts.Columns = &all, nil
	if _, err := ExportFocus(t.Context(), w.Lake, opts); err != nil ||
		strings.Count(all.String(), "\n") != strings.Count(out.String(), "\n") {
		t.Errorf("the rows are %d, and %d with all columns: %v", strings.Count(out.String(), "\n"),
			strings.Count(all.String(), "\n"), err)
	}
}

// Each file of a split CSV has the header and is within both limits; together they are the whole. What an export before
// left goes.
func focusSplits(t *testing.T, w *publishtest.Writer) {
	var whole bytes.Buffer
	november := schemastest.Date("2026-11-01").Month()
	if _, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Format: FocusCSV, Out: &whole,
		From: &november}); err != nil {
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
	for _, limit := range []FocusOptions{{MaxRows: 100}, {MaxRows: 300, MaxBytes: 100_000},
		{MaxBytes: int64(len(head) + 1 + 5*longest)}, {MaxRows: 1 << 40}} {
		limit.Path, limit.From = path, &november
		done, err := ExportFocus(t.Context(), w.Lake, limit)
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "focus-*.csv"))
		if err != nil || !slices.Equal(files, done.Files) {
			t.Errorf("%+v: there are %d files, and it wrote %d: %v", limit, len(files), len(done.Files), err)
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
			if first != head || filepath.Base(file) != fmt.Sprintf("focus-%04d.csv", i+1) || n == 0 || limit.MaxRows > 0 &&
				n > limit.MaxRows || limit.MaxBytes > 0 && int64(len(b)) > limit.MaxBytes {
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
	if _, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Path: none, MaxBytes: int64(len(head) + longest),
		From: &november}); err == nil || !strings.Contains(err.Error(), "no file of") {
		t.Errorf("a row that fits nowhere: %v", err)
	}
	// What is said to be needed is enough, and no byte less is.
	needed := int64(len(head) + 1 + longest)
	var small *FocusError
	if _, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Path: none, MaxBytes: 1, From: &november}); !errors.As(err,
		&small) || !strings.Contains(small.Hint, fmt.Sprintf("allow %d bytes", needed)) {
		t.Errorf("a limit below the header: %v", err)
	}
	if _, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Path: filepath.Join(t.TempDir(), "x.csv"), MaxBytes: needed,
		From: &november}); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(none)); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
	late := schemastest.Date("2030-01-01").Month()
	if _, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Path: none, MaxBytes: int64(len(head)),
		From: &late}); !errors.As(err, &small) {
		t.Errorf("a header beyond the limit, without rows: %v", err)
	}
	if done, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Path: none, MaxRows: 5, From: &late}); err != nil ||
		done.Rows != 0 || len(done.Files) != 1 || done.Metadata != filepath.Join(filepath.Dir(none), "none.metadata.json") {
		t.Errorf("of nothing: %+v, %v", done, err)
	}
}

// focusFolder is a folder that exports go to.
type focusFolder struct {
	t   *testing.T
	w   *publishtest.Writer
	dir string
}

func (f focusFolder) write(name, text string) {
	f.t.Helper()
	must(f.t, os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600))
}

func (f focusFolder) export(name string, opts FocusOptions) error {
	november := schemastest.Date("2026-11-01").Month()
	opts.Path, opts.From = filepath.Join(f.dir, name), &november
	_, err := ExportFocus(f.t.Context(), f.w.Lake, opts)
	return err
}

// holds says which files are there, parts by their first and last.
func (f focusFolder) holds(after string, want ...string) {
	f.t.Helper()
	entries, err := os.ReadDir(f.dir)
	must(f.t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		f.t.Errorf("after %s: %q, want %q", after, got, want)
	}
}

// listed are the files that the metadata names.
func (f focusFolder) listed(name string) (out []string) {
	f.t.Helper()
	m, err := readFocusMetadata(filepath.Join(f.dir, name))
	must(f.t, err)
	for _, x := range m.DataLocation {
		out = append(out, x.Path)
	}
	return out
}

func (f focusFolder) refused(err error, what string) {
	f.t.Helper()
	var refused *FocusError
	if !errors.As(err, &refused) || refused.Hint == "" || !strings.Contains(err.Error(), what) {
		f.t.Errorf("want it refused for %q: %v", what, err)
	}
}

// Beside an export there is no file of the one before, whatever shape it had, and nobody else's file goes or changes.
func focusReplaces(t *testing.T, w *publishtest.Writer) {
	n := int64(0)
	{
		var all bytes.Buffer
		november := schemastest.Date("2026-11-01").Month()
		done, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Format: FocusCSV, Out: &all, From: &november})
		must(t, err)
		n = done.Rows
	}
	two := FocusOptions{MaxRows: (n + 1) / 2}
	few := []string{"BilledCost", "BillingCurrency"}
	folder := func() focusFolder { return focusFolder{t, w, t.TempDir()} }

	f := folder()
	must(t, f.export("x.csv", FocusOptions{}))
	must(t, f.export("x.csv", two))
	f.holds("one file, then two", "x-0001.csv", "x-0002.csv", "x.metadata.json")
	must(t, f.export("x.csv", FocusOptions{Columns: few, MaxRows: n}))
	f.holds("two, then one by number", "x-0001.csv", "x.metadata.json")
	must(t, f.export("x.csv", FocusOptions{}))
	f.holds("then one", "x.csv", "x.metadata.json")
	must(t, f.export("x.csv", two))
	// Parquet and CSV of the same columns share the metadata; of others it could tell of one alone.
	must(t, f.export("x.parquet", FocusOptions{}))
	f.holds("two, and Parquet", "x-0001.csv", "x-0002.csv", "x.metadata.json", "x.parquet")
	if got := f.listed("x.metadata.json"); !slices.Equal(got, []string{"x-0001.csv", "x-0002.csv"}) {
		t.Errorf("listed beside Parquet: %q", got)
	}
	must(t, f.export("x.parquet", FocusOptions{Columns: few}))
	f.holds("Parquet of other columns", "x.metadata.json", "x.parquet")

	f = folder()
	f.write("x-0002.csv", "mine")
	f.refused(f.export("x.csv", two), "x-0002.csv stands in the way")
	f.holds("a file in the way", "x-0002.csv")
	f.write("x-0003.csv", "mine")
	must(t, f.export("x.csv", FocusOptions{MaxRows: n}))
	must(t, f.export("x.csv", FocusOptions{}))
	f.holds("files beyond the last", "x-0002.csv", "x-0003.csv", "x.csv", "x.metadata.json")

	f = folder()
	f.write("x.csv", "mine")
	f.refused(f.export("x.csv", two), "x.csv stands there")
	f.holds("somebody's x.csv", "x.csv")
	must(t, f.export("x.csv", FocusOptions{})) // as each report does

	for what, text := range map[string]string{"another's": `{"DataGenerator": "billing", "data_location": []}`,
		"no JSON": "mine", "a folder": ""} {
		f = folder()
		f.write("x.csv", "before")
		if f.write("x.metadata.json", text); what == "a folder" {
			must(t, os.Remove(filepath.Join(f.dir, "x.metadata.json")))
			must(t, os.Mkdir(filepath.Join(f.dir, "x.metadata.json"), 0o700))
		}
		for _, opts := range []FocusOptions{{}, two} {
			f.refused(f.export("x.csv", opts), "none of this program's")
		}
		f.holds("metadata that is "+what, "x.csv", "x.metadata.json")
		if b, err := os.ReadFile(filepath.Join(f.dir, "x.csv")); err != nil || string(b) != "before" {
			t.Errorf("%s: x.csv is changed: %v", what, err)
		}
	}

	// A list names what it likes.
	f = folder()
	must(t, os.Mkdir(filepath.Join(f.dir, "in"), 0o700))
	for _, name := range []string{"out-0001.csv", "in/y-0001.csv", "in/x-0001.json", "in/x-1.csv", "in/x-0001.csv"} {
		f.write(name, "mine")
	}
	f.write("in/x.metadata.json",
		`{"DataGenerator": "usagelake", "data_location": [{"filepath": "../out-0001.csv"}, {"filepath": "y-0001.csv"}, `+
			`{"filepath": "x-0001.json"}, {"filepath": "x-1.csv"}, {"filepath": "x-0001.csv"}, {"filepath": ""}]}`)
	must(t, f.export("in/x.csv", FocusOptions{}))
	f.holds("a list", "in", "out-0001.csv")
	f.dir = filepath.Join(f.dir, "in")
	f.holds("a list", "x-0001.json", "x-1.csv", "x.csv", "x.metadata.json", "y-0001.csv")

	f = folder()
	must(t, os.Mkdir(filepath.Join(f.dir, "d.csv"), 0o700))
	f.refused(f.export("d.csv", two), "is no file")
	_, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Path: os.DevNull, Format: FocusCSV, MaxRows: 5})
	f.refused(err, "is no file")
	if _, err := os.Stat("/dev/null-0001"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("there is a file beside a device")
	}
	done, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Path: os.DevNull, Format: FocusCSV})
	if err != nil || !slices.Equal(done.Files, []string{os.DevNull}) || done.Metadata != "" {
		t.Errorf("to a device: %+v, %v", done, err)
	}
}

// Wherever the renames are cut short, the next export goes on, and leaves its own files alone.
func TestFocusFilesThatWereCutShortAreReplaced(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-11-01")}
	w.DayFrom(p, oddUsageSQL(p, 50, 1), "x", nil)
	w.Publish(publish.PublishOptions{Finance: testFinance})
	for _, before := range []FocusOptions{{}, {MaxRows: 10}} {
		for _, after := range []FocusOptions{{}, {MaxRows: 20}, {MaxRows: 5, Columns: []string{"BilledCost"}}} {
			for lost := range 2 {
				f := focusFolder{t, w, t.TempDir()}
				must(t, f.export("x.csv", before))
				opts := after
				opts.Path = filepath.Join(f.dir, "x.csv")
				place, err := opts.place()
				must(t, err)
				s, err := OpenSnapshot(t.Context(), w.Lake)
				must(t, err)
				meta, err := opts.metadata(t.Context(), s, opts.query())
				must(t, err)
				files, _, err := focusData(t.Context(), w.Lake, s, nil, opts, place, &meta)
				must(t, errors.Join(err, s.Close()))
				must(t, os.Remove(files[min(lost, len(files)-1)].Name())) // its rename fails
				if err := place.commit(w.Lake.Out(), files, meta); err == nil {
					t.Fatal("a lost file is committed")
				}
				for _, file := range files {
					file.Abort()
				}
				names, err := filepath.Glob(filepath.Join(f.dir, "x-*.csv"))
				must(t, err)
				for _, name := range names {
					if !slices.Contains(f.listed("x.metadata.json"), filepath.Base(name)) {
						t.Errorf("%+v, then %+v: %s is not listed", before, after, name)
					}
				}
				must(t, f.export("x.csv", FocusOptions{MaxRows: 1 << 40}))
				f.holds("a cut", "x-0001.csv", "x.metadata.json")
			}
		}
	}
}

// Exports of different rows have names of their own, of characters that every file system has.
func TestFocusNamesDiffer(t *testing.T) {
	seen := map[string]string{}
	for what, opts := range map[string]FocusOptions{
		"all": {}, "1.4": {Version: schemas.Focus14}, "grain": {Grain: "cost_center"},
		"invoices":          {Dataset: schemas.FocusInvoiceDetail},
		"a cost center":     {Scope: Scope{CostCenters: []string{"CC-1010"}}},
		"its other case":    {Scope: Scope{CostCenters: []string{"cc-1010"}}},
		"a team":            {Scope: Scope{Teams: []string{"CC-1010"}}},
		"two teams":         {Scope: Scope{Teams: []string{"a", "b"}}},
		"one of both names": {Scope: Scope{Teams: []string{"a b"}}},
		"quotes":            {Scope: Scope{Teams: []string{`a" "b`}}},
		"paths":             {Scope: Scope{Teams: []string{"../../con:\x00"}, Models: []string{strings.Repeat("ü/x", 200)}}},
	} {
		opts.Format = FocusCSV
		name := opts.Name("2026-11")
		if other, ok := seen[strings.ToLower(name)]; ok {
			t.Errorf("%s and %s are both %s", what, other, name)
		}
		seen[strings.ToLower(name)] = what
		if len(name) > 120 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" ||
			!strings.HasPrefix(name, "focus-1.") {
			t.Errorf("%s: %q", what, name)
		}
	}
	for want, opts := range map[string]FocusOptions{
		"focus-1.2-2026-11.csv":                {},
		"focus-1.2-team-2026-11.csv":           {Grain: "team"},
		"focus-1.4-invoice_detail-2026-11.csv": {Dataset: schemas.FocusInvoiceDetail},
	} {
		if opts.Format = FocusCSV; opts.Name("2026-11") != want {
			t.Errorf("%s, want %s", opts.Name("2026-11"), want)
		}
	}
	a, b := FocusOptions{Scope: Scope{Teams: []string{"b", "a", "b"}}, Format: FocusCSV},
		FocusOptions{Scope: Scope{Teams: []string{"a", "b"}}, Format: FocusCSV}
	if a.Name("2026-11") != b.Name("2026-11") {
		t.Error("the order of a scope's values changes the name")
	}
}

// The metadata beside a file, and in Parquet itself, says version, dataset and columns with their types, and is the
// same of the same columns, be it CSV or Parquet.
func focusMetadataTells(t *testing.T, w *publishtest.Writer) {
	dir := t.TempDir()
	// If a schema has changed, FocusSchemaDate is to be the day of the change.
	if schemas.FocusSchemaDate != "2026-11-29T00:00:00Z" {
		t.Fatal("give the schemas below anew")
	}
	for name, opts := range map[string]FocusOptions{
		"12":      {},
		"14":      {Version: schemas.Focus14},
		"record":  {Grain: schemas.FocusByRecord, From: new(schemastest.Date("2026-11-01").Month())},
		"period":  {Dataset: schemas.FocusBillingPeriod},
		"invoice": {Dataset: schemas.FocusInvoiceDetail},
	} {
		var texts [2]string
		var id string
		for i, format := range []string{FocusParquet, FocusCSV} {
			opts.Path = filepath.Join(dir, "focus."+format)
			if _, err := ExportFocus(t.Context(), w.Lake, opts); err != nil {
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
				if c.Name != columns[i].Name || c.Type == "" || (c.Type == "DECIMAL") != (c.Precision > c.Scale && c.Scale >= 12) ||
					(c.Type == "STRING" || c.Type == "JSON") != (c.Encoding == "UTF-8") {
					t.Errorf("%s: %+v", name, c)
				}
			}
		}
		if texts[0] != texts[1] {
			t.Errorf("%s: the metadata of Parquet and CSV differ: %s", name, schemastest.FirstDifference(texts[0], texts[1]))
		}
		if want := focusSchemas[name]; id != want {
			t.Errorf("%s: the schema is %s, was %s: set schemas.FocusSchemaDate to the day on which it changed", name, id, want)
		}
		got := value(w, "SELECT string_agg(key::VARCHAR || '=' || value::VARCHAR, ' ' ORDER BY key) FROM "+
			"parquet_kv_metadata("+schemas.SQLString(filepath.Join(dir, "focus.parquet"))+")")
		dataset := map[string]string{"period": "BillingPeriod", "invoice": "InvoiceDetail"}[name]
		if dataset == "" {
			dataset = "CostAndUsage"
		}
		if want := "CreationDate=2026-11-29T00:00:00Z DataGenerator=usagelake FocusVersion=" + opts.version() + " SchemaId=" +
			id + " x_DatasetId=" + dataset; got != want {
			t.Errorf("%s: Parquet has %s, want %s", name, got, want)
		}
	}
	if _, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Path: os.DevNull, Format: FocusCSV}); err != nil {
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
