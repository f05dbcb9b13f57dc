package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// Parts is the answer to a query, kept to be asked again and again: it is the table parts. What would take a scan of
// all usage for each of some hundred owners takes one.
type Parts struct {
	s       *Snapshot
	scratch string
}

// OpenParts asks the published file. scratch is a path for files of its own, of which it has one at a time. Ids of end
// users in the answer are what users makes of them; it has a column custom_user_id.
func OpenParts(ctx context.Context, l *publish.Lake, query, scratch string, users EndUsers) (*Parts, error) {
	abs, err := filepath.Abs(scratch)
	if err != nil {
		return nil, err
	}
	s, err := openSnapshot(ctx, l, allow(abs))
	if err != nil {
		return nil, err
	}
	err = users.gather(ctx, s, []string{"usage"})
	if err == nil {
		_, err = s.conn.ExecContext(ctx, "CREATE TEMP TABLE parts AS "+users.in(subquery(query), false), nil)
	}
	if err != nil {
		return nil, errors.Join(ctx.Err(), s.d.Spilled(err), s.Close())
	}
	return &Parts{s, abs}, nil
}

// Query is as Snapshot.Query.
func (p *Parts) Query(ctx context.Context, query string) (*Rows, error) { return p.s.Query(ctx, query) }

// Parquet writes the answer to a query as WriteParquet does.
func (p *Parts) Parquet(ctx context.Context, query, path string, out durable.Out) error {
	defer func() { _ = os.Remove(p.scratch) }()
	if _, err := p.s.conn.ExecContext(ctx, fmt.Sprintf("COPY (%s) TO %s (FORMAT parquet, COMPRESSION zstd, "+
		"USE_TMP_FILE false)", subquery(query), schemas.SQLString(p.scratch)), nil); err != nil {
		return errors.Join(ctx.Err(), durable.Full(p.s.d.Spilled(err), filepath.Dir(p.scratch)))
	}
	return out.Copy(p.scratch, path)
}

// CSV writes the answer to a query as WriteCSV does.
func (p *Parts) CSV(ctx context.Context, query, path string, out durable.Out) error {
	rows, err := p.s.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	return durable.WriteOut(path, out, func(w io.Writer) error {
		_, err := rows.WriteCSV(ctx, w, CSVForm{})
		return err
	})
}

// Close lets go of the file.
func (p *Parts) Close() error { return p.s.Close() }
