package main

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/report"
)

// reportFormat is the format of a report's answer, as outFormat says; of a form that a ledger imports the file may be
// called anything, for most of them are some CSV. A file that ends in .beancount is one.
func (a *app) reportFormat(f reportFlags, r report.Report, fallback string) (string, error) {
	if !r.Ledgers {
		return outFormat(f.format, f.out, fallback, report.Formats())
	}
	if _, ok := posting.Find(f.format); ok {
		return f.format, nil
	}
	ending := strings.TrimPrefix(filepath.Ext(f.out), ".")
	if _, ok := posting.Find(ending); ok && f.format == "" {
		return ending, nil
	}
	return outFormat(f.format, f.out, fallback, append(report.Formats(), posting.Names()...))
}

// writePostings writes a journal as a ledger imports it: one file to where it is said, or several into an archive. A
// file is there whole or not at all.
func (a *app) writePostings(lake *publish.Lake, doc *report.Document, format, out string) error {
	files, err := doc.Post(format)
	var refused *posting.Error
	var wrong *report.OptionsError
	switch {
	case errors.As(err, &refused):
		return config.Usage(refused.Hint, "report journal: %w", err)
	case errors.As(err, &wrong):
		return config.Usage("", "%w", err)
	case err != nil:
		return err
	case len(files) == 0:
		return fmt.Errorf("%w: nothing is charged in %s, and there is nothing to post", report.ErrNothing, doc.Period)
	case len(files) > 1 && out == "":
		out = "journal-" + doc.Period + "-" + format + ".zip"
	case out == "":
		out = files[0].Name
	}
	if len(files) > 1 && !isZip(out) {
		return config.Usage("name an archive: --out journal.zip",
			"the journal of %s is %d files for %s, the first of them %s", doc.Period, len(files), format, files[0].Name)
	}
	if out == "-" {
		if a.json() {
			return config.Usage("", "--output json is for one JSON document on stdout, --format %s would write something else "+
				"there: add --out FILE", format)
		}
		_, err := a.Stdout.Write(files[0].Content)
		return err
	}
	size := counter{}
	err = durable.WriteOut(out, lake.Out(), func(w io.Writer) error {
		w = io.MultiWriter(w, &size)
		if !isZip(out) {
			_, err := w.Write(files[0].Content)
			return err
		}
		z := zip.NewWriter(w)
		for _, f := range files {
			// The document's own time: the same journal gives the same archive.
			in, err := z.CreateHeader(&zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: doc.Generated})
			if err != nil {
				return err
			}
			if _, err := in.Write(f.Content); err != nil {
				return err
			}
		}
		return z.Close()
	})
	if err != nil {
		return err
	}
	if a.json() {
		names := []string{}
		for _, f := range files {
			names = append(names, f.Name)
		}
		return a.printJSON(map[string]any{"report": doc.Name, "format": format, "out": out, "bytes": size.n, "files": names,
			"completeness": doc.Completeness.Text, "complete": doc.Completeness.Complete})
	}
	if !a.quiet {
		fmt.Fprintf(a.Stderr, "%s is written.\n", out)
		for _, w := range doc.Warnings {
			fmt.Fprintf(a.Stderr, "warning: %s\n", w)
		}
	}
	return nil
}
