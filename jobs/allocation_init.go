package jobs

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
)

// InitTable is a table for allocation rules that InitAllocation wrote, or found.
type InitTable struct {
	Path    string `json:"path"`
	Rows    int    `json:"rows"`
	There   bool   `json:"there"`    // it was there already, and is as it was
	LeftOut int    `json:"left_out"` // ids that a spreadsheet would take for a formula: a rule has to match them
}

// initTables are the tables: the file, and the column of usage that it is looked up by.
var initTables = [][2]string{{"tokens.csv", "token_id"}, {"users.csv", "user_id"}}

// InitAllocation writes tokens.csv and users.csv with all that has cost, the largest first, and empty columns to fill
// in. They go beside the allocation rules that the config names, else beside the config file, else where the program
// runs; what is there already stays as it is.
func InitAllocation(ctx context.Context, cfg *config.Config) ([]InitTable, error) {
	lake, err := publish.Open(cfg.Lake, Env{}.LakeOptions(cfg))
	if err != nil {
		return nil, NoLake(err)
	}
	beside := cfg.Path
	if cfg.Allocation.Rules != "" {
		beside = cfg.Allocation.Rules
	}
	var out []InitTable
	for _, t := range initTables {
		made, err := initTable(ctx, lake, filepath.Join(filepath.Dir(beside), t[0]), t[1])
		if err != nil {
			return out, err
		}
		out = append(out, made)
	}
	return out, nil
}

func initTable(ctx context.Context, lake *publish.Lake, path, key string) (InitTable, error) {
	out := InitTable{Path: path}
	rows, err := query.Run(ctx, lake, fmt.Sprintf(`
		WITH costs AS (
			SELECT %[1]s AS id, currency, sum(amount) AS cost, max(usage_date) AS last FROM usage_daily
			WHERE %[1]s IS NOT NULL AND %[1]s <> '' GROUP BY ALL HAVING sum(amount) <> 0
		)
		SELECT id, string_agg(trim(cost || ' ' || coalesce(currency, '')), '; ' ORDER BY currency), max(last)
		FROM costs GROUP BY id ORDER BY max(abs(cost)) DESC, id`, key))
	if err != nil {
		return out, err
	}
	defer rows.Close()
	var file bytes.Buffer
	w := csv.NewWriter(&file)
	write := func(cells ...string) { _ = w.Write(cells) } // a buffer takes it
	write(key, "cost_center", "team", "project", "environment", "gl_code", "# net cost", "# last used")
	for row, err := range rows.All(ctx) {
		if err != nil {
			return out, err
		}
		id := row[0].Text
		if query.NoFormula(id) != id || strings.TrimSpace(id) != id { // it would not be found as a spreadsheet saves it
			out.LeftOut++
			continue
		}
		write(id, "", "", "", "", "", row[1].Text, row[2].Text)
		out.Rows++
	}
	w.Flush()
	to := lake.Out()
	to.New = true
	if err = to.Bytes(path, file.Bytes()); errors.Is(err, fs.ErrExist) {
		return InitTable{Path: path, There: true}, nil
	}
	return out, err
}
