package query

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/load/durable"
)

// FocusError says that what stands where an export of FOCUS goes, or what its limits ask for, rules it out. No file has
// changed.
type FocusError struct {
	Err  error
	Hint string // what to ask for instead
}

func (e *FocusError) Error() string { return e.Err.Error() }
func (e *FocusError) Unwrap() error { return e.Err }

func focusRefused(hint, format string, args ...any) error {
	return &FocusError{fmt.Errorf(format, args...), hint}
}

// focusPlace is where the files of an export go, and what stands there already. An importer that takes every file of
// the name must find this export alone, and nobody's file may go for that: which files are ours the metadata of the
// export before says.
//
//	all files, under temporary names · the list of the numbered ones, old and new · their renames · the old ones go · the
//	metadata
//
// Whatever is cut short in between, the metadata lists each numbered file that is there, and the next export goes on
// from it.
type focusPlace struct {
	path     string
	metadata string      // "" beside a pipe or a device, where there is no place for a file
	schema   string      // SchemaId of the metadata that stands there; "" if there is none
	old      []focusFile // data that is ours, beside the path itself
}

// place looks at where the export goes.
func (o FocusOptions) place() (p focusPlace, err error) {
	p = focusPlace{path: o.Path}
	if o.Path == "" {
		return p, nil
	}
	info, err := os.Stat(o.Path)
	switch there := err == nil; {
	case there && !info.Mode().IsRegular() && o.split():
		return p, focusRefused("name a file, or ask for one without limits",
			"%s is no file, and several files can't be written in its place", o.Path)
	case there && !info.Mode().IsRegular():
		return p, nil
	}
	p.metadata = p.stem() + ".metadata.json"
	before, err := readFocusMetadata(p.metadata)
	if err != nil {
		return p, err
	}
	if before != nil {
		p.schema = before.SchemaID
		for _, f := range before.DataLocation {
			if p.names(f.Path) {
				p.old = append(p.old, f)
			}
		}
	}
	plain := filepath.Base(o.Path)
	if !o.split() || info == nil || p.ours(plain) {
		return p, nil
	}
	// The metadata of a single file doesn't name it, for it is that of Parquet and CSV. The columns do.
	if before == nil || !beginsWith(o.Path, before.header()) {
		return p, focusRefused("move it away, or choose another name",
			"%s stands there, and no export of FOCUS that is known of wrote it: who takes it together with the numbered files "+
				"would count twice", o.Path)
	}
	p.old = append(p.old, focusFile{Path: plain, Bytes: info.Size()})
	return p, nil
}

// readFocusMetadata reads the metadata of an export before; nil if there is none.
func readFocusMetadata(path string) (*focusMetadata, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := &focusMetadata{}
	if info.Mode().IsRegular() {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if json.Unmarshal(b, m) == nil && m.DataGenerator == focusGenerator {
			return m, nil
		}
	}
	return nil, focusRefused("choose another name", "%s stands where the metadata goes, and is none of this program's",
		path)
}

// header is the first line of a CSV of the columns.
func (m *focusMetadata) header() string {
	names := make([]string, len(m.ColumnDefinition))
	for i, c := range m.ColumnDefinition {
		names[i] = c.Name
	}
	return strings.Join(names, ",") + "\n"
}

func beginsWith(path, text string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, len(text))
	_, err = io.ReadFull(f, b)
	return err == nil && string(b) == text
}

func (p focusPlace) stem() string { return strings.TrimSuffix(p.path, filepath.Ext(p.path)) }

// part is the path of a numbered file.
func (p focusPlace) part(n int) string {
	return fmt.Sprintf("%s-%04d%s", p.stem(), n, filepath.Ext(p.path))
}

var focusPart = regexp.MustCompile(`^(-[0-9]{4,})?$`)

// names says whether the export, or one of its numbered files, could have the name: whatever a list says, no other is
// touched.
func (p focusPlace) names(name string) bool {
	ext := filepath.Ext(name)
	number, ok := strings.CutPrefix(strings.TrimSuffix(name, ext), filepath.Base(p.stem()))
	return ok && focusPart.MatchString(number) && slices.Contains([]string{".csv", ".parquet", filepath.Ext(p.path)}, ext)
}

func (p focusPlace) ours(name string) bool {
	return slices.ContainsFunc(p.old, func(f focusFile) bool { return f.Path == name })
}

// free refuses a numbered file that stands there and isn't ours.
func (p focusPlace) free(path string) error {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !p.ours(filepath.Base(path)) || !info.Mode().IsRegular():
		return focusRefused("move it away, or choose another name",
			"%s stands in the way, and no export of FOCUS that is known of wrote it", path)
	}
	return nil
}

// commit gives the files their names, and the metadata last.
func (p focusPlace) commit(out durable.Out, files []*durable.OutFile, meta focusMetadata) error {
	if p.metadata == "" {
		for _, f := range files {
			if err := f.Commit(); err != nil {
				return err
			}
		}
		return nil
	}
	parts := meta.DataLocation
	var gone []string
	// claim is every numbered file that will stand there at some moment: the new ones, and those of before. It is listed
	// before the first rename, if any new name isn't listed already: a kill in between leaves no file that the next export
	// doesn't know for its own.
	claim := slices.Clone(parts)
	unlisted := false
	for _, f := range parts {
		unlisted = unlisted || !p.ours(f.Path)
	}
	for _, f := range p.old {
		// A new file takes its place by the rename.
		if slices.ContainsFunc(files, func(n *durable.OutFile) bool { return filepath.Base(n.Path) == f.Path }) {
			continue
		}
		claim = append(claim, f)
		// Of the same columns there may be a CSV in several files beside a Parquet file: they share the metadata.
		if filepath.Ext(f.Path) != filepath.Ext(p.path) && p.schema == meta.SchemaID {
			meta.DataLocation = append(meta.DataLocation, f)
		} else {
			gone = append(gone, filepath.Join(filepath.Dir(p.path), f.Path))
		}
	}
	last, err := p.draftMetadata(out, meta)
	if err != nil {
		return err
	}
	defer last.Abort()
	if unlisted {
		meta.DataLocation = claim
		first, err := p.draftMetadata(out, meta)
		if err != nil {
			return err
		}
		if err := first.Commit(); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := f.Commit(); err != nil {
			return err
		}
	}
	// Only now, when all that is new stands: who reads in between may see a file too many, which the metadata of then
	// lists, and never one too few.
	for _, name := range gone {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s, which an export before left: %w", name, err)
		}
	}
	return last.Commit()
}

func (p focusPlace) draftMetadata(out durable.Out, meta focusMetadata) (*durable.OutFile, error) {
	b, err := json.MarshalIndent(meta, "", "  ")
	if err != nil {
		return nil, err
	}
	return out.Draft(p.metadata, func(w io.Writer) error {
		_, err := w.Write(append(b, '\n'))
		return err
	})
}

// splitCSV writes the rows into as many files as the limits ask for, at least one. They are for commit or abort, with
// an error too.
func (r *Rows) splitCSV(ctx context.Context, out durable.Out, opts FocusOptions,
	place focusPlace) (files []*durable.OutFile, parts []focusFile, err error) {
	// part is of the file that is being written, and asked for anew after begin, which may have moved the list.
	form := CSVForm{Raw: opts.Raw}
	head, line := r.csvHead(form), r.csvLines(form)
	var w *bufio.Writer
	finish := func() error {
		if w == nil {
			return nil
		}
		f := files[len(files)-1]
		if err := errors.Join(w.Flush(), f.Settle()); err != nil {
			return durable.Full(fmt.Errorf("write %s: %w", f.Path, err), filepath.Dir(f.Path))
		}
		return nil
	}
	begin := func() error {
		if err := finish(); err != nil {
			return err
		}
		name := place.part(len(files) + 1)
		if err := place.free(name); err != nil {
			return err
		}
		f, err := out.Create(name)
		if err != nil {
			return err
		}
		files = append(files, f)
		w = bufio.NewWriterSize(f.File, 1<<16)
		_, _ = w.Write(head) // Flush has the error
		parts = append(parts, focusFile{Path: filepath.Base(name), Bytes: int64(len(head))})
		return nil
	}
	if err := begin(); err != nil {
		return files, nil, err
	}
	least := int64(len(head)) // what a file must hold
	tooSmall := func() bool { return opts.MaxBytes > 0 && least > opts.MaxBytes }
	for values, err := range r.All(ctx) {
		if err != nil {
			return files, nil, err
		}
		row := line(values)
		size := int64(len(row))
		if least = max(least, int64(len(head))+size); tooSmall() {
			continue // to know how much is needed
		}
		part := &parts[len(parts)-1]
		// A file may be exactly as long as it may be. The next row, if there is one, begins another: so none but the first
		// can have a header alone.
		if opts.MaxRows > 0 && part.Rows == opts.MaxRows || opts.MaxBytes > 0 && part.Bytes+size > opts.MaxBytes {
			if err := begin(); err != nil {
				return files, nil, err
			}
			part = &parts[len(parts)-1]
		}
		if _, err := w.Write(row); err != nil {
			return files, nil, err
		}
		part.Rows++
		part.Bytes += size
	}
	if tooSmall() {
		return files, nil, focusRefused(fmt.Sprintf("allow %d bytes, or ask for fewer columns", least),
			"the header and the longest row have %d bytes: no file of %d holds them", least, opts.MaxBytes)
	}
	return files, parts, finish()
}
