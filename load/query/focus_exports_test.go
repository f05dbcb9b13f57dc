package query

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// The files have what the views have: Parquet as decimals and UTC timestamps, CSV in FOCUS's formats.
func focusExports(t *testing.T, w *publishtest.Writer) {
	dir := t.TempDir()
	september, november := schemastest.Date("2026-09-01").Month(), schemastest.Date("2026-11-01").Month()
	for _, version := range schemas.FocusVersions() {
		view := schemas.FocusView(version)
		file := filepath.Join(dir, view+".parquet")
		done, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Version: version, From: &september, To: &november,
			Path: file})
		if err != nil {
			t.Fatal(err)
		}
		w.Exec("CREATE OR REPLACE TABLE exported AS FROM read_parquet(" + schemas.SQLString(file) + ")")
		where := " WHERE BillingPeriodStart >= '2026-09-01 00:00:00+00' AND BillingPeriodStart < '2026-11-01 00:00:00+00'"
		if want := w.One("SELECT count(*) AS n, sum(BilledCost)::VARCHAR AS b FROM " + view +
			where); want != fmt.Sprintf("{'n': %d, 'b': %s}", done.Rows,
			value(w, "SELECT sum(BilledCost)::VARCHAR FROM exported")) || done.Rows < 300 {
			t.Errorf("FOCUS %s: %d rows, want %s", version, done.Rows, want)
		}
		if got := fmt.Sprintf("{'n': %d}",
			done.Omitted); got != w.One("SELECT sum(requests)::BIGINT AS n FROM focus_omitted WHERE billing_month IN "+
			"('2026-09-01', '2026-10-01')") || done.Omitted == 0 {
			t.Errorf("omitted %s", got)
		}
		if got := value(w,
			"SELECT string_agg(DISTINCT column_type, ', ' ORDER BY column_type) FROM (DESCRIBE exported)"); got !=
			"BIGINT, DECIMAL(18,12), DECIMAL(38,12), DECIMAL(38,18), INTEGER, TIMESTAMP WITH TIME ZONE, VARCHAR" {
			t.Errorf("types: %s", got)
		}
		if got := value(w,
			"SELECT count(*)::VARCHAR FROM exported WHERE ListUnitPrice * PricingQuantity <> ListCost"); got != "0" {
			t.Errorf("%s rows of the Parquet file aren't their price times their quantity", got)
		}
		out := filepath.Join(dir, view+".csv")
		same, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Version: version, From: &september, To: &november,
			Path: out})
		if err != nil || same.Rows != done.Rows || same.Omitted != done.Omitted {
			t.Fatalf("%+v %v", same, err)
		}
		if want := filepath.Join(dir, view+".metadata.json"); !slices.Equal(same.Files, []string{out}) ||
			same.Metadata != want {
			t.Errorf("it wrote %v and %s, want %s and %s", same.Files, same.Metadata, out, want)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		checkFocusCSV(t, version, b, done.Rows)
	}
	var raw, again bytes.Buffer
	if _, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Format: FocusCSV, Out: &raw, Raw: true}); err != nil ||
		!strings.Contains(raw.String(), ",=1+1,") {
		t.Errorf("raw: %v", err)
	}
	if _, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Format: FocusCSV, Out: &again, Raw: true}); err != nil ||
		again.String() != raw.String() {
		t.Errorf("the same again differs: %v", err)
	}
	var records, parquet bytes.Buffer
	if done, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Format: FocusCSV, Out: &records,
		Grain: schemas.FocusByRecord, From: &november}); err != nil || done.Rows < 300 ||
		!strings.Contains(records.String(), ",x_RequestId,x_RequestTime,x_RequestOrdinal\n") ||
		strings.Contains(records.String(), ",2026-10-") {
		t.Errorf("records: %+v %v", done, err)
	}
	if _, err := ExportFocus(t.Context(), w.Lake, FocusOptions{Format: FocusParquet, Out: &parquet}); err != nil ||
		!bytes.HasPrefix(parquet.Bytes(), []byte("PAR1")) {
		t.Errorf("Parquet to a writer: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 6 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

// value is the single text a query on the test's own database gives.
func value(w *publishtest.Writer, query string) (s string) {
	w.T.Helper()
	if err := w.Db.QueryRow(query).Scan(&s); err != nil {
		w.T.Fatalf("%s\n%v", query, err)
	}
	return s
}

func checkFocusCSV(t *testing.T, version string, b []byte, rows int64) {
	t.Helper()
	lines, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(lines)-1) != rows {
		t.Errorf("%d lines, want %d", len(lines)-1, rows)
	}
	number, when := regexp.MustCompile(`^-?(0|[1-9][0-9]*)\.([0-9]{12}|[0-9]{18})$`),
		regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`)
	whole := regexp.MustCompile(`^-?\d+$`)
	columns := schemas.FocusColumns(version)
	guarded := false
	for _, line := range lines[1:] {
		var price, quantity, list string
		for i, c := range columns {
			v := line[i]
			if thousands.MatchString(v) {
				t.Errorf("%s is %s", c.Name, v)
			}
			if lines[0][i] != c.Name {
				t.Fatalf("column %d is %s, want %s", i, lines[0][i], c.Name)
			}
			switch {
			case v == "":
				if !c.Nullable {
					t.Errorf("%s is empty", c.Name)
				}
			case c.Type == schemas.FocusInteger:
				if !whole.MatchString(v) {
					t.Errorf("%s is %q", c.Name, v)
				}
			case c.Type == schemas.FocusDecimal: // in the column's scale, whatever the value
				if !number.MatchString(v) {
					t.Errorf("%s is %q", c.Name, v)
				}
			case c.Type == schemas.FocusDateTime:
				if !when.MatchString(v) {
					t.Errorf("%s is %q", c.Name, v)
				}
			case strings.ContainsAny(v[:1], "=+-@"):
				t.Errorf("%s is %q, a formula", c.Name, v)
			}
			guarded = guarded || v == "'=1+1"
			switch c.Name {
			case "ListUnitPrice":
				price = v
			case "PricingQuantity":
				quantity = v
			case "ListCost":
				list = v
			}
		}
		if price == "" {
			continue
		}
		p, _ := new(big.Rat).SetString(price)
		q, _ := new(big.Rat).SetString(quantity)
		if l, _ := new(big.Rat).SetString(list); new(big.Rat).Mul(p, q).Cmp(l) != 0 {
			t.Errorf("%s × %s is not %s", price, quantity, list)
		}
	}
	if !guarded {
		t.Error("no formula was kept from computing")
	}
}
