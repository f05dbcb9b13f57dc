package main

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// awkward are amounts that a double can't hold.
var awkward = []string{"98765.432109876543", "54321.098765432101", "999999.999999999999"}

// childExact derives a record with each awkward amount, and lets DuckDB read the same page.
func childExact(ctx context.Context, args []string, out *answer) error {
	var records []string
	at := lastDay().Unix()
	for i, v := range awkward {
		records = append(records,
			fmt.Sprintf(`{"id":"%d","request_time":%d,"model":"m","input_token":1,"output_token":1,"cached_token":0,`+
				`"total_amount":%s,"discount_amount":0,"amount":%s,"ext":{}}`, i, at, v, v))
	}
	lake, err := publish.Create(args[0], publish.Options{})
	if err != nil {
		return err
	}
	n := int64(len(awkward))
	if _, err := lake.Seal(ctx, schemas.Seal{Kind: schemas.KindUsage, Account: account, Start: lastDay(),
		End: lastDay().Add(time.Hour), AskedStart: at - 1, AskedEnd: at + 3600,
		PageSize: 100, Announced: &n, Records: n, Proof: schemas.ProofTotal, Requests: 1, FetchedAt: clock, RunID: "bench-1",
		Version: "bench", Currency: "USD"},
		[]schemas.Page{{Number: 1, FetchedAt: clock,
			Body: []byte(`{"data":{"list":[` + strings.Join(records, ",") + `],"total":3}}`)}}); err != nil {
		return err
	}
	if _, err := jobs.Rebuild(ctx, setUp(args[0], "", ""), environment(time.Now, "", nil),
		jobs.RebuildOptions{}); err != nil {
		return err
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer db.Close()
	for i, v := range awkward {
		name := filepath.Join(args[0]+".page", "flat", "1.ndjson")
		f, err := create(name)
		if err != nil {
			return err
		}
		fmt.Fprintln(f, records[i])
		if err := f.Flush(); err != nil {
			return err
		}
		f.Close()
		var ours, theirs string
		if err := db.QueryRowContext(ctx,
			"SELECT amount::VARCHAR FROM read_parquet("+schemas.SQLString(filepath.Join(args[0], "usage", "*", "*",
				"*.parquet"))+") WHERE id = ?", fmt.Sprint(i)).Scan(&ours); err != nil {
			return err
		}
		if err := db.QueryRowContext(ctx,
			"SELECT amount::VARCHAR FROM read_json("+schemas.SQLString(name)+", format = 'newline_delimited', columns = "+
				duckColumnMap+")").Scan(&theirs); err != nil {
			theirs = "fails to load it"
		}
		out.S[fmt.Sprint("in", i)], out.S[fmt.Sprint("ours", i)], out.S[fmt.Sprint("theirs", i)] = v, ours, theirs
	}
	return nil
}

// childCompare holds a lake's day files against the Parquet that DuckDB made of the same pages, record by record, and
// against the Portal's own sum.
func childCompare(ctx context.Context, args []string, out *answer) error {
	t, err := readTruth(args[0])
	if err != nil {
		return err
	}
	db, err := sql.Open("duckdb", "?threads=2")
	if err != nil {
		return err
	}
	defer db.Close()
	lake := "read_parquet(" + schemas.SQLString(filepath.Join(args[0], "usage", "*", "*", "*.parquet")) + ")"
	// windows overlap by a second
	duck := "(SELECT DISTINCT ON (id) * FROM read_parquet(" + schemas.SQLString(args[1]) + "))"
	var ours, theirs string
	var n, differ float64
	if err := db.QueryRowContext(ctx,
		`SELECT count(*), count(*) FILTER (a.amount <> b.amount OR a.total_amount <> b.total_amount
			OR a.discount_amount <> b.discount_amount
OR a.input_price <> b.input_price OR a.output_price <> b.output_price OR a.cached_price <> b.cached_price),
sum(a.amount)::VARCHAR, sum(b.amount)::VARCHAR
FROM `+lake+` a JOIN `+duck+` b USING (id)`).Scan(&n, &differ, &ours, &theirs); err != nil {
		return err
	}
	out.V["records"], out.V["differ"] = n, differ
	out.S["ours"], out.S["theirs"] = ours, theirs
	if trimmed(ours) != trimmed(t.Net) || int(n) != t.Records {
		out.V["wrong"] = max(1, float64(t.Records)-n)
	}
	return nil
}

// trimmed is a decimal without zeros at its end.
func trimmed(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}
