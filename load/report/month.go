package report

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// MonthOptions say how the documents of a month that is being closed are written.
type MonthOptions struct {
	Books   *schemas.Books
	Edition int // of the statements: above 1 the month was closed before
	Now     time.Time
	Version string // of the program
	// Progress is told how many statements of cost centres are made, of how many; nil: nobody is.
	Progress func(done, total int)
	// Posting says how the journal is posted, and Formats (of posting.Names) as which ledgers import it.
	Posting posting.Settings
	Formats []string
}

// WriteMonth writes the documents of a month that is being closed into a new directory: what each owner is charged, the
// statement of all and that of each cost centre, FOCUS, and the journal to post. They are as durable as
// publish.CloseOptions asks of Write: not yet.
func WriteMonth(ctx context.Context, lake *publish.Lake, month schemas.Month, dir string, opts MonthOptions) error {
	out := lake.Out()
	out.New, out.Loose = true, true // publish.CloseMonth makes all of it durable
	period := opts.Books.Period(month, month)
	common := Options{Name: "statement", Period: &period, Now: opts.Now, Version: opts.Version, Closing: true,
		Dir: dir, Edition: opts.Edition, Pictures: true}
	chargeback := common
	chargeback.Name, chargeback.By = "chargeback", []string{"cost_center", "team", "model"}
	// As many at once as there are processors: what is asked of the file is little, so most of the time goes into making
	// the documents. FOCUS and those of all cost centres, which take longest, come first.
	g, inGroup := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	g.Go(func() (err error) {
		defer schemas.Guard(&err)
		return query.ExportClosing(inGroup, lake, month, dir)
	})
	write := func(path string, doc *Document) {
		g.Go(func() (err error) {
			defer schemas.Guard(&err)
			return writeDocument(path, doc, out)
		})
	}
	documents := func() error {
		for _, o := range []Options{chargeback, common} {
			doc, err := Build(inGroup, lake, o)
			if errors.Is(err, ErrNothing) {
				continue
			}
			if err != nil {
				return err
			}
			write(filepath.Join(dir, o.Name), doc)
		}
		return writeOwners(inGroup, lake, common, dir, out, opts.Progress, write)
	}
	err := documents()
	if err := cmp.Or(g.Wait(), err); err != nil {
		return err
	}
	err = durable.WriteOut(filepath.Join(dir, "journal.csv"), out, func(w io.Writer) error {
		return JournalCSV(ctx, lake, month, nil, w)
	})
	if err != nil || len(opts.Formats) == 0 {
		return err
	}
	files, err := Postings(ctx, lake, month, opts.Posting, opts.Formats)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := out.Bytes(filepath.Join(dir, f.Name), f.Content); err != nil {
			return err
		}
	}
	return nil
}

// writeOwners has write write each cost centre's statement into the folder cost-centers; what they ask is asked once
// for all of them.
func writeOwners(ctx context.Context, lake *publish.Lake, opts Options, dir string, out durable.Out,
	progress func(done, total int), write func(path string, doc *Document)) error {
	s, err := query.OpenSnapshot(ctx, lake)
	if err != nil {
		return err
	}
	centers, err := StatementsOf(ctx, s, opts.Period.First)
	if err = cmp.Or(err, s.Close()); err != nil {
		return err
	}
	// Which file is whose: the letters of a name that a file's name can have may tell nobody.
	index := bytes.NewBufferString("cost_center,files\n")
	names := csv.NewWriter(index)
	for _, center := range centers {
		_ = names.Write([]string{query.NoFormula(center), StatementPath(center) + ".*"})
	}
	names.Flush() // without an error: a buffer takes it
	if err := out.Bytes(filepath.Join(dir, folder+".csv"), index.Bytes()); err != nil || len(centers) == 0 {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
		return err
	}
	i := 0
	for doc, err := range Statements(ctx, lake, opts, centers) {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		if progress != nil {
			progress(i, len(centers))
		}
		write(filepath.Join(dir, filepath.FromSlash(StatementPath(centers[i]))), doc)
		i++
	}
	if progress != nil {
		progress(len(centers), len(centers))
	}
	return nil
}

// StatementsOf are the cost centres that have a statement of a month, by name: those that are charged in it or have a
// mark-up of it.
func StatementsOf(ctx context.Context, s *query.Snapshot, month schemas.Month) (centers []string, err error) {
	err = s.Each(ctx, fmt.Sprintf(`SELECT cost_center FROM chargeback_daily WHERE billing_month = DATE '%[1]s'
		UNION SELECT cost_center FROM markup_monthly WHERE "month" = DATE '%[1]s' ORDER BY 1`, month.First()),
		func(row []query.Value) error {
			centers = append(centers, row[0].Text)
			return nil
		})
	return centers, err
}

// folder is where the statements of the cost centres stand, and folder.csv says whose is which.
const folder = "cost-centers"

// StatementFile is the name of the files of a cost centre's statement, without their extension. It is the same in every
// month, whoever else is charged then.
func StatementFile(costCenter string) string { return words.FileName(costCenter, "cost-center") }

// StatementPath is where they stand in the folder of a closed month, with slashes.
func StatementPath(costCenter string) string { return folder + "/" + StatementFile(costCenter) }

// writeDocument writes a document in the formats that are handed out: path.csv, path.xlsx, path.html.
func writeDocument(path string, doc *Document, out durable.Out) error {
	for ext, render := range map[string]func(io.Writer) error{".csv": doc.CSV, ".xlsx": doc.XLSX, ".html": doc.HTML} {
		if err := durable.WriteOut(path+ext, out, render); err != nil {
			return fmt.Errorf("%s%s: %w", filepath.Base(path), ext, err)
		}
	}
	return nil
}

// answer is the answer of the published file to a query.
func answer(ctx context.Context, lake *publish.Lake, sql string) (*Table, error) {
	s, err := query.OpenSnapshot(ctx, lake)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return ask(ctx, s, "query", "", sql)
}
