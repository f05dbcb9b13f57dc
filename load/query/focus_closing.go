package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// ExportClosing writes the FOCUS files of a month that is being closed, whose directory is dir, from its ledger: what
// ExportFocus gives of the month, in the order of the ledger. So the charges are computed once, for the ledger; their
// columns once, for the Parquet file; and the CSV is that file in text.
func ExportClosing(ctx context.Context, l *publish.Lake, month schemas.Month, dir string) error {
	opts := FocusOptions{Path: filepath.Join(dir, "focus-"+schemas.Focus12+"."+FocusParquet)}
	if err := exportClosing(ctx, l, month, dir, opts); err != nil {
		return fmt.Errorf("export FOCUS %s: %w", opts.version(), err)
	}
	return nil
}

func exportClosing(ctx context.Context, l *publish.Lake, month schemas.Month, dir string, opts FocusOptions) error {
	place, err := opts.place()
	if err != nil {
		return err
	}
	ledger, err := filepath.Abs(publish.FocusLedger(dir))
	if err != nil {
		return err
	}
	// On one thread: each has a row group of wide rows in memory, and two would spill.
	draft, s, err := draftParquetFrom(ctx, l, opts.Path, []string{ledger, publish.Glob(ledger)}, "SET threads = 1")
	if err != nil {
		return err
	}
	defer draft.Abort()
	defer s.Close()
	missing, err := s.missingHours(ctx, month)
	if err != nil {
		return err
	}
	if err := s.viewLedger(ctx, ledger); err != nil {
		return err
	}
	prepaid, err := s.prepaid(ctx)
	if err != nil {
		return err
	}
	// What accounts were topped up with isn't kept with the charges, but in the ledger of prepaid credit.
	charges := fmt.Sprintf("(FROM %s UNION ALL FROM focus_prepaid WHERE billing_month = DATE '%s')", FocusLedger,
		month.First())
	if len(prepaid) == 0 {
		charges = FocusLedger
	}
	query := schemas.FocusSelectClosing(opts.version(), charges, missing, prepaid)
	meta, err := opts.metadata(ctx, s, query)
	if err != nil {
		return err
	}
	if _, err := s.copyTo(ctx, draft, query, meta.copyOption()+closingRows); err != nil {
		return err
	}
	if err := place.commit(l.Out(), []*durable.OutFile{draft}, meta); err != nil {
		return err
	}
	rows, err := openParquet(opts.Path)
	if err != nil {
		return err
	}
	defer rows.Close()
	return durable.WriteOut(place.stem()+"."+FocusCSV, l.Out(), func(w io.Writer) error {
		_, err := rows.WriteCSV(ctx, w, CSVForm{})
		return err
	})
}

// FocusLedger is the view of a snapshot of OpenClosing that has the ledger's rows of FOCUS.
const FocusLedger = "focus_ledger"

// OpenClosing is OpenSnapshot while a month is being closed whose directory is dir: the view FocusLedger has the
// month's rows of focus_charges, which take a second for each hundred thousand records to be made from these.
func OpenClosing(ctx context.Context, l *publish.Lake, dir string) (*Snapshot, error) {
	ledger, err := filepath.Abs(publish.FocusLedger(dir))
	if err != nil {
		return nil, err
	}
	s, err := openSnapshot(ctx, l, allow(ledger, publish.Glob(ledger)))
	if err != nil {
		return nil, err
	}
	if err := s.viewLedger(ctx, ledger); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// viewLedger gives the ledger a name, for a query can't name a file.
func (s *Snapshot) viewLedger(ctx context.Context, ledger string) error {
	_, err := s.conn.ExecContext(ctx, "CREATE TEMP VIEW "+FocusLedger+" AS FROM read_parquet("+publish.SqlGlob(ledger)+
		", hive_partitioning = false)", nil)
	return err
}

// closingRows is how many rows a row group of the Parquet file has: they are wide, and a whole row group is in memory.
const closingRows = ", ROW_GROUP_SIZE 40960"

// prepaid are the accounts that are prepaid.
func (s *Snapshot) prepaid(ctx context.Context) (accounts []string, err error) {
	err = s.Each(ctx, "SELECT account FROM account_billing WHERE billing = 'prepaid' ORDER BY 1", func(row []Value) error {
		accounts = append(accounts, row[0].Text)
		return nil
	})
	return accounts, err
}

// missingHours is how many hours each account lacks of a month, if any, as x_MissingHours has it.
func (s *Snapshot) missingHours(ctx context.Context, month schemas.Month) (map[string]string, error) {
	hours := map[string]string{}
	err := s.Each(ctx, fmt.Sprintf(`SELECT account, (missing_seconds / 3600)::DECIMAL(18,12)
		FROM completeness_monthly WHERE "month" = DATE '%s'`, month.First()), func(row []Value) error {
		if !row[1].Null {
			hours[row[0].Text] = row[1].Text
		}
		return nil
	})
	return hours, err
}
