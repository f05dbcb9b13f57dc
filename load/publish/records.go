package publish

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// Where publish.records says that not all records are to stand in usage.duckdb, usage is a view: over the table
// usage_recent, and over the day files of the other days. Three things make that exact:
//
//   - The view names each file that was published, and no pattern. A day that came since isn't in it, and one that is
//     gone is an error.
//   - A file's name has the digest of its content (load.RecordsDir), so that a day that was replaced since is there as
//     it was. What was published before the last publish is removed; who still has that open is told so by an error.
//   - What is derived from records, here, is derived of the days that changed: in the publisher's session a view of the
//     same name, usage, has these alone (see). So a publish costs what changed.

// recordsFile is a day file that usage reads.
type recordsFile struct {
	digest string // of its content
	schema int    // schemas.SchemaVersion
}

// lakeVariable is what a session sets to read the records of a lake that is elsewhere than it was when it was
// published.
const lakeVariable = "usagelake_lake"

// chooseRecords decides what the file is to hold of the records, and says whether it must be built anew for it.
func (p *publisher) chooseRecords(have *published) (anew bool) {
	p.records, p.files = p.lake.records, map[schemas.Partition]recordsFile{}
	p.findNewest()
	if have == nil || have.schema < schemas.SQLVersion {
		return false
	}
	p.files, p.before, p.led = maps.Clone(have.files), have.files, have.lake
	switch {
	case have.records == p.records:
		return false
	case p.alone():
		p.lake.Log.Warn("publish.records is another than it was, and usage.duckdb is the last to have some days, so that it "+
			"can't be built anew: it stays as it was", "records", have.records.String(), "hint", p.orphanHint())
		p.records = have.records
		return false
	}
	p.lake.Log.Info("publish.records is another than it was: usage.duckdb is built anew from all day files, once", "was",
		have.records.String(), "records", p.records.String())
	return true
}

// orphanHint is what to do about what the published file alone has.
func (p *publisher) orphanHint() string {
	if len(p.last) > 0 {
		return p.last[0].Hint()
	}
	return "usagelake rebuild"
}

// outside says whether the records of a day are to be read from its file. A day whose day file is gone stays where it
// is.
func (p *publisher) outside(d schemas.Partition) bool {
	if !p.derived[d] {
		_, is := p.files[d]
		return is
	}
	return p.rows[d] > 0 && !p.records.Holds(d.Date, p.newest)
}

// findNewest finds the newest day of the lake, which publish.records counts from.
func (p *publisher) findNewest() {
	p.newest = 0
	for _, d := range p.days {
		p.newest = max(p.newest, d.Date)
	}
}

// movedRecords are the days whose records are to be read from elsewhere than by the published file: those that grew too
// old for it, and those whose files are gone or no more what they were.
func (p *publisher) movedRecords() ([]schemas.Partition, error) {
	var moved []schemas.Partition
	for _, d := range p.days {
		f, is := p.files[d]
		if is != p.outside(d) {
			moved = append(moved, d)
			continue
		}
		if !is {
			continue
		}
		kept, err := p.lake.KeepRecords(d, f.digest)
		if err != nil {
			return nil, err
		}
		if !kept {
			moved = append(moved, d)
		}
	}
	return moved, nil
}

// placeRecords notes where the records of a day that is published now are, and sees to it that they are there. The
// records of others are the file's own.
func (p *publisher) placeRecords(g day) (outside bool, err error) {
	delete(p.files, g.Partition)
	if !p.outside(g.Partition) {
		return false, nil
	}
	if err := p.lake.LinkRecords(g.Partition, g.usage); err != nil {
		return false, fmt.Errorf("keep the records of %s: %w", g.Partition, err)
	}
	p.files[g.Partition] = recordsFile{g.usage, g.footer.Schema}
	return true, nil
}

// reads says that usage reads day files, for not all records stand in the file itself.
func (p *publisher) reads() bool { return p.records != schemas.AllRecords }

// recordsTable is the table that the file's own records are in.
func (p *publisher) recordsTable() string { return schemas.SQLRecordsTable(p.reads()) }

// see lets usage, and all that is made of it, have the records of some days in this session, and those of usage_recent.
func (p *publisher) see(ctx context.Context, d *Database, days []schemas.Partition) error {
	if !p.reads() {
		return nil // the table has them
	}
	return d.Exec(ctx, "CREATE OR REPLACE TEMP VIEW usage AS "+schemas.SQLRecords(true,
		p.recordsOf(days, func(_ bool, names []string) string {
			for i, name := range names {
				names[i] = SqlGlob(p.lake.Path(filepath.FromSlash(name)))
			}
			return "[" + strings.Join(names, ", ") + "]"
		})...))
}

// seeSummed is see of the days in the temporary table summed_days.
func (p *publisher) seeSummed(ctx context.Context, d *Database) error {
	if !p.reads() {
		return nil
	}
	rows, err := d.conn.QueryContext(ctx, "SELECT account, usage_date FROM temp.summed_days ORDER BY ALL")
	if err != nil {
		return err
	}
	defer rows.Close()
	var days []schemas.Partition
	for rows.Next() {
		var account string
		var date time.Time
		if err := rows.Scan(&account, &date); err != nil {
			return err
		}
		days = append(days, schemas.Partition{Account: account, Date: schemas.DateOf(date)})
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return p.see(ctx, d, days)
}

// recordsOf are the files of some days, by kind, whose names within the lake list makes an expression of.
func (p *publisher) recordsOf(days []schemas.Partition, list func(before bool,
	names []string) string) []schemas.SQLRecordFiles {
	var kinds [2][]string
	for _, d := range days {
		if f, ok := p.files[d]; ok {
			kind := 0
			if f.schema < schemas.SchemaOrdinal {
				kind = 1
			}
			kinds[kind] = append(kinds[kind], load.RecordsName(d, f.digest))
		}
	}
	var out []schemas.SQLRecordFiles
	for kind, names := range kinds {
		if len(names) > 0 {
			out = append(out, schemas.SQLRecordFiles{Schema: [...]int{schemas.SchemaVersion, 1}[kind],
				Paths: list(kind == 1, names)})
		}
	}
	return out
}

// replaceRecords makes the view usage of the file list the day files as they are now.
func (p *publisher) replaceRecords(ctx context.Context, d *Database) error {
	if !p.reads() {
		return nil
	}
	const folder = load.RecordsDir + "/"
	macro := func(name string, names []string) string {
		return "CREATE OR REPLACE MACRO " + name + " AS list_transform(string_split(" +
			schemas.SQLString(strings.Join(names, "\n")) + ", chr(10)), lambda f: " +
			"replace(replace(replace(lake_dir(), '[', '[[]'), '*', '[*]'), '?', '[?]') || '/" + folder + "' || f)"
	}
	// The names stand in macros, as one text: DuckDB takes ten times as long over a list. Each comment of the view binds
	// it anew, so the macros list one file for as long.
	var first, all []string
	files := p.recordsOf(p.days, func(before bool, names []string) string {
		name := "record_files()"
		if before {
			name = "record_files_before()"
		}
		for i := range names {
			names[i] = strings.TrimPrefix(names[i], folder)
		}
		first, all = append(first, macro(name, names[:1])), append(all, macro(name, names))
		return name
	})
	recent := p.alone() || slices.ContainsFunc(p.days, func(d schemas.Partition) bool {
		return p.rows[d] > 0 && !p.outside(d)
	})
	return d.Exec(ctx, slices.Concat([]string{"DROP VIEW IF EXISTS temp.usage", "DROP MACRO IF EXISTS record_files",
		"DROP MACRO IF EXISTS record_files_before",
		fmt.Sprintf("CREATE OR REPLACE MACRO lake_dir() AS coalesce(getvariable('%s')::VARCHAR, %s)", lakeVariable,
			schemas.SQLString(p.lakeDir()))},
		first, []string{schemas.SQLUsageView(schemas.SQLRecords(recent, files...))}, all)...)
}

// lakeDir is the path by which usage finds the day files: the one of the published file as long as it leads here, for
// commands may name one directory differently.
func (p *publisher) lakeDir() string {
	if p.led != "" && p.leadsHere() {
		return p.led
	}
	return absolute(p.lake.Dir())
}

// leadsHere says whether the path in the published file leads to this lake, or there is none in it.
func (p *publisher) leadsHere() bool {
	if p.led == "" {
		return true
	}
	there, err1 := os.Stat(p.led)
	here, err2 := os.Stat(p.lake.Dir())
	return err1 == nil && err2 == nil && os.SameFile(there, here)
}

// sweepRecords removes the day files that neither the published file reads nor the one before it, which somebody may
// have open.
func (p *publisher) sweepRecords() error {
	keep := map[string]bool{}
	for _, files := range []map[schemas.Partition]recordsFile{p.files, p.before} {
		for d, f := range files {
			keep[load.RecordsName(d, f.digest)] = true
		}
	}
	return p.lake.SweepRecords(func(name string) bool { return keep[name] })
}

// recordsOutside reads which day files usage reads.
func (d *Database) recordsOutside(ctx context.Context) (map[schemas.Partition]recordsFile, error) {
	rows, err := d.conn.QueryContext(ctx,
		"SELECT account, usage_date, file_sha256, schema_version FROM partitions WHERE records_file IS NOT NULL")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	files := map[schemas.Partition]recordsFile{}
	for rows.Next() {
		var p schemas.Partition
		var f recordsFile
		var date time.Time
		if err := rows.Scan(&p.Account, &date, &f.digest, &f.schema); err != nil {
			return nil, err
		}
		p.Date = schemas.DateOf(date)
		files[p] = f
	}
	return files, rows.Err()
}
