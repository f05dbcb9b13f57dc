package publish

import (
	"context"
	"fmt"
	"sync"

	"github.com/usagelake/usagelake/load"
)

// blanks are published files without a row, by the SQL that made them: []byte by string. They depend on nothing else,
// and a process needs few. DuckDB takes a second for one, since each comment of a view's column binds the view anew,
// and a fiftieth to copy it into a file of its own.
var blanks sync.Map

// makeTables makes the tables and views of an empty published file.
//
// It copies them rather than the bytes of a blank: each file has an identity of its own, by which DuckDB refuses the
// log of another.
func (p *publisher) makeTables(ctx context.Context, d *Database) error {
	blank, err := p.blank(ctx)
	if err != nil {
		return err
	}
	t, err := p.lake.CreateTemp(load.DatabaseFile + ".*")
	if err != nil {
		return err
	}
	defer t.Abort()
	if _, err := t.Write(blank); err != nil {
		return err
	}
	return d.Exec(ctx, "ATTACH "+SqlPath(t.Name())+" AS blank (READ_ONLY)",
		"COPY FROM DATABASE blank TO "+Catalog+" (SCHEMA)", "DETACH blank")
}

// blank is the bytes of a published file without a row.
func (p *publisher) blank(ctx context.Context) ([]byte, error) {
	sql := p.layout().Schema()
	if b, ok := blanks.Load(sql); ok {
		return b.([]byte), nil
	}
	name, err := p.reserve()
	if err != nil {
		return nil, err
	}
	defer p.discard(name)
	d, err := openDatabase(ctx, p.engine(), name, false)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if err := d.transaction(ctx, func() error { return d.Exec(ctx, sql) }); err != nil {
		return nil, fmt.Errorf("make the tables: %w", err)
	}
	if err := d.detach(ctx); err != nil {
		return nil, err
	}
	b, err := p.lake.FS.ReadFile(name)
	if err != nil {
		return nil, err
	}
	blanks.Store(sql, b)
	return b, nil
}
