package report

import (
	"archive/zip"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Formats are the names that Render knows.
func Formats() []string { return []string{"table", "csv", "json", "xlsx", "html", "parquet"} }

// OneTable says that a file of the format holds one table alone.
func OneTable(format string) bool { return format == "csv" || format == "parquet" }

// Render writes the document in one of Formats; of those that hold one table, its main one.
func (d *Document) Render(w io.Writer, format string) error {
	switch format {
	case "table":
		return d.Text(w)
	case "csv":
		return d.CSV(w)
	case "json":
		return d.JSON(w)
	case "xlsx":
		return d.XLSX(w)
	case "html":
		return d.HTML(w)
	case "parquet":
		return d.Parquet(w)
	}
	return &OptionsError{fmt.Sprintf("format %q is none of %s", format, strings.Join(Formats(), ", "))}
}

// Main is the name of the table that a file of one holds; "" if there is none.
func (d *Document) Main() string {
	if t := d.data(); t != nil {
		return t.Name
	}
	return ""
}

// Others are the names of the tables that a file of one table leaves out.
func (d *Document) Others() []string {
	var out []string
	for _, t := range d.Tables {
		if t != d.data() {
			out = append(out, t.Name)
		}
	}
	return out
}

// Choose makes a table the main one. The error, of a name that no table has, is an OptionsError.
func (d *Document) Choose(name string) error {
	i := slices.IndexFunc(d.Tables, func(t *Table) bool { return t.Name == name })
	if i < 0 {
		var names []string
		for _, t := range d.Tables {
			names = append(names, t.Name)
		}
		return &OptionsError{fmt.Sprintf("the report %s has no table %q: it has %s", d.Name, name, strings.Join(names, ", "))}
	}
	d.Data = d.Tables[i]
	return nil
}

// Each gives the document once for each of its tables, with that as the main one, and the table's name.
func (d *Document) Each(do func(one *Document, table string) error) error {
	for _, t := range d.Tables {
		// The rest is shared: nothing that renders a document writes to it.
		one := *d
		one.Data = t
		if err := do(&one, t.Name); err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	return nil
}

// Zip writes an archive with a file of the format for each table.
func (d *Document) Zip(w io.Writer, format string) error {
	z := zip.NewWriter(w)
	err := d.Each(func(one *Document, table string) error {
		// The document's own time: the same document gives the same archive.
		f, err := z.CreateHeader(&zip.FileHeader{Name: table + "." + format, Method: zip.Deflate, Modified: d.Generated})
		if err != nil {
			return err
		}
		return one.Render(f, format)
	})
	if err != nil {
		return err
	}
	return z.Close()
}
