// Package compat reads a lake's Parquet with readers of another make and compares what they see with what the program's
// own queries say. It is a module of its own, so that these readers weigh on nobody else. make compat runs it.
package compat

import (
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/xitongsys/parquet-go-source/local"
	"github.com/xitongsys/parquet-go/reader"
)

// figures are what is compared: exact, in units of 10⁻¹² where they are money.
type figures struct {
	rows, withID, nullCustom, inputTokens, extItems int64
	amount, discount, price, extAmount              big.Int
	firstTime, lastTime                             int64 // microseconds
}

func lake(t *testing.T) (dir string, files []string) {
	dir = os.Getenv("USAGELAKE_COMPAT_LAKE")
	if dir == "" {
		t.Fatal("USAGELAKE_COMPAT_LAKE names no lake: run make compat")
	}
	files, err := filepath.Glob(filepath.Join(dir, "usage", "*", "*", "*.parquet"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Parquet in %s: %v", dir, err)
	}
	return dir, files
}

// published asks the program itself.
func published(t *testing.T, dir string) figures {
	c := exec.Command(os.Getenv("USAGELAKE_COMPAT_BIN"), "query", "--lake", dir, "--format", "json", `
		SELECT count(*) AS "rows", count(id) AS ids, count(*) FILTER (custom_user_id IS NULL) AS null_custom,
		       sum(input_tokens)::BIGINT AS input, coalesce(sum(len(ext_items)), 0)::BIGINT AS items,
		       sum(amount)::VARCHAR AS amount, sum(discount_amount)::VARCHAR AS discount, sum(input_price)::VARCHAR AS price,
		       (SELECT sum(e.amount) FROM (SELECT unnest(ext_items) AS e FROM usage))::VARCHAR AS ext_amount,
		       epoch_us(min(request_time)) AS first, epoch_us(max(request_time)) AS last
		FROM usage`)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Rows       int64 `json:"rows"`
		IDs        int64 `json:"ids"`
		NullCustom int64 `json:"null_custom"`
		Input      int64
		Items      int64
		Amount     string
		Discount   string
		Price      string
		ExtAmount  string `json:"ext_amount"`
		First      int64
		Last       int64
	}
	if err := json.Unmarshal(out, &rows); err != nil || len(rows) != 1 {
		t.Fatalf("%v in %s", err, out)
	}
	r := rows[0]
	f := figures{rows: r.Rows, withID: r.IDs, nullCustom: r.NullCustom, inputTokens: r.Input, extItems: r.Items,
		firstTime: r.First, lastTime: r.Last}
	for _, e := range []struct {
		text string
		to   *big.Int
	}{{r.Amount, &f.amount}, {r.Discount, &f.discount}, {r.Price, &f.price}, {r.ExtAmount, &f.extAmount}} {
		whole, frac, _ := strings.Cut(e.text, ".")
		if len(frac) != 12 {
			t.Fatalf("%q has no 12 decimals", e.text)
		}
		if _, ok := e.to.SetString(whole+frac, 10); !ok {
			t.Fatalf("%q is no decimal", e.text)
		}
	}
	return f
}

func (f *figures) equal(t *testing.T, want figures) {
	t.Helper()
	if f.rows != want.rows || f.withID != want.withID || f.nullCustom != want.nullCustom ||
		f.inputTokens != want.inputTokens || f.extItems != want.extItems || f.firstTime != want.firstTime ||
		f.lastTime != want.lastTime {
		t.Errorf("counts and times: %+v, want %+v", f, want)
	}
	for _, c := range []struct {
		name      string
		got, want *big.Int
	}{{"amount", &f.amount, &want.amount}, {"discount_amount", &f.discount, &want.discount},
		{"input_price", &f.price, &want.price}, {"ext_items.amount", &f.extAmount, &want.extAmount}} {
		if c.got.Cmp(c.want) != 0 {
			t.Errorf("Σ %s: %s × 10⁻¹², want %s", c.name, c.got, c.want)
		}
	}
	t.Logf("%d rows, %d ext items, net %s × 10⁻¹²: as the program says", f.rows, f.extItems, &f.amount)
}

func (f *figures) at(us int64) {
	if f.firstTime == 0 || us < f.firstTime {
		f.firstTime = us
	}
	f.lastTime = max(f.lastTime, us)
}

func add(sum *big.Int, units *int64) {
	if units != nil {
		sum.Add(sum, big.NewInt(*units))
	}
}

func TestParquetGoReadsTheSame(t *testing.T) {
	type item struct {
		Category *string `parquet:"category,optional"`
		Amount   *int64  `parquet:"amount,optional"`
	}
	type row struct {
		ID          string  `parquet:"id"`
		RequestTime int64   `parquet:"request_time"`
		CustomUser  *string `parquet:"custom_user_id,optional"`
		Input       *int64  `parquet:"input_tokens,optional"`
		InputPrice  *int64  `parquet:"input_price,optional"`
		Discount    *int64  `parquet:"discount_amount,optional"`
		Amount      *int64  `parquet:"amount,optional"`
		Ext         []item  `parquet:"ext_items,list"`
	}
	dir, files := lake(t)
	var got figures
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		file, err := parquet.OpenFile(f, info.Size())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r := parquet.NewGenericReader[row](file)
		for field := range strings.SplitSeq("amount discount_amount input_price", " ") {
			leaf, ok := file.Schema().Lookup(field)
			if !ok || leaf.Node.Type().String() != "DECIMAL(18,12)" {
				t.Fatalf("%s: %s is %v, want DECIMAL(18,12)", name, field, leaf.Node)
			}
		}
		buf := make([]row, 1000)
		for {
			n, err := r.Read(buf)
			for _, x := range buf[:n] {
				got.rows++
				if x.ID != "" {
					got.withID++
				}
				if x.CustomUser == nil {
					got.nullCustom++
				}
				if x.Input != nil {
					got.inputTokens += *x.Input
				}
				got.at(x.RequestTime)
				add(&got.amount, x.Amount)
				add(&got.discount, x.Discount)
				add(&got.price, x.InputPrice)
				got.extItems += int64(len(x.Ext))
				for _, e := range x.Ext {
					add(&got.extAmount, e.Amount)
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			clear(buf)
		}
		_ = r.Close()
		_ = f.Close()
	}
	got.equal(t, published(t, dir))
}

func TestXitongsysReadsTheSame(t *testing.T) {
	dir, files := lake(t)
	var got figures
	for _, name := range files {
		f, err := local.NewLocalFileReader(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := reader.NewParquetColumnReader(f, 1)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		n := r.GetNumRows()
		got.rows += n
		column := func(path string) []any {
			values, _, _, err := r.ReadColumnByPath(r.SchemaHandler.GetRootInName()+"\x01"+path, 100*n)
			if err != nil {
				t.Fatalf("%s: %s: %v", name, path, err)
			}
			return values
		}
		for _, v := range column("Id") {
			if v.(string) != "" {
				got.withID++
			}
		}
		for _, v := range column("Custom_user_id") {
			if v == nil {
				got.nullCustom++
			}
		}
		for _, v := range column("Request_time") {
			got.at(v.(int64))
		}
		for _, v := range column("Input_tokens") {
			if v != nil {
				got.inputTokens += v.(int64)
			}
		}
		for path, sum := range map[string]*big.Int{"Amount": &got.amount, "Discount_amount": &got.discount,
			"Input_price":                            &got.price,
			"Ext_items\x01List\x01Element\x01Amount": &got.extAmount} {
			for _, v := range column(path) {
				if v != nil {
					units := v.(int64)
					add(sum, &units)
					if path[0] == 'E' {
						got.extItems++
					}
				}
			}
		}
		r.ReadStop()
		_ = f.Close()
	}
	got.equal(t, published(t, dir))
}
