package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/schemas"
)

// Plan is what a delivery would do, as far as it can be told without reading: a file that was written anew with the
// same content is among those that would be sent.
type Plan struct {
	Name    string      `json:"name"`
	URL     string      `json:"url"`
	Number  int64       `json:"number"` // of the manifest that is there
	Files   int64       `json:"files"`  // of the lake
	Bytes   int64       `json:"bytes"`
	Send    int64       `json:"send"`
	Size    int64       `json:"send_bytes"`
	Retire  int64       `json:"retire"`
	Dropped int64       `json:"dropped,omitempty"` // of those, what is given up by name
	Tables  []TablePlan `json:"tables"`
	Lost    []string    `json:"lost,omitempty"`
	changed bool        // there is something to deliver, and not only what goes along with others
	days    bool        // a day file with rows is among what changes
}

// TablePlan is what a delivery would make of a table over the day files.
type TablePlan struct {
	Table   string `json:"table"`             // delta, iceberg
	Does    string `json:"does"`              // TableBegun and the others
	Version *int64 `json:"version,omitempty"` // that is there; nil of none
}

// What becomes of a table.
const (
	TableBegun   = "begun"       // there is none: the first version
	TableVersion = "new_version" // day files change; what an earlier delivery left out is in it
	TableMadeUp  = "made_up"     // the version, or its hint, that an earlier delivery left out
	TableAnew    = "made_anew"   // it was there, and is gone
	TableSame    = "unchanged"
	TableStopped = "stopped" // another program changed it, and the files alone are delivered
)

// DryRun tells what Deliver would do. It reads the manifest and the tables that are there, and writes nothing: neither
// there nor into the lake. Of a table that stops the delivery the error comes with the plan.
func DryRun(ctx context.Context, lake *load.Lake, t Target, opts Options) (*Plan, error) {
	d, _, err := begin(ctx, lake, t, opts, true)
	if err != nil {
		return nil, err
	}
	remote, err := fetchRoot(ctx, t.Bucket, d.manifestKey())
	switch {
	case err == nil:
		err = d.adopt(ctx, remote)
	case errors.Is(err, bucket.ErrAbsent):
		err = d.survey(ctx)
	}
	var p *Plan
	if err == nil {
		p, err = d.plan(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("plan the delivery to %s (%s): %w", t.Name, t.Bucket.URL(), err)
	}
	if err := d.planTables(ctx, p); err != nil {
		return p, fmt.Errorf("plan the delivery to %s (%s): %w", t.Name, t.Bucket.URL(), err)
	}
	return p, nil
}

// plan goes through the lake without reading a file.
func (d *delivery) plan(ctx context.Context) (*Plan, error) {
	d.watch(Progress{Doing: "look at the lake"})
	out := &Plan{Name: d.t.Name, URL: d.t.Bucket.URL(), Tables: []TablePlan{}, changed: d.root == nil}
	if d.root != nil {
		out.Number = d.root.Manifest.Number
		out.changed = !slices.Equal(d.root.Manifest.What, d.what) ||
			slices.ContainsFunc(d.root.Manifest.Groups, func(g Group) bool { return d.opts.Anew[g.Key] })
	}
	err := d.groups(ctx, func(p groupPlan) error {
		for _, l := range p.files {
			out.Files++
			out.Bytes += l.size
		}
		for _, l := range p.anew {
			out.Send++
			out.Size += l.size
			out.changed = out.changed || !minor(l.path)
			out.days = out.days || d.hasRows(l)
		}
		out.Retire += int64(len(p.retire))
		out.Dropped += p.dropped
		out.changed = out.changed || slices.ContainsFunc(p.retire, func(f File) bool { return !minor(f.Path) })
		out.days = out.days || slices.ContainsFunc(p.retire, inTable)
		for _, f := range p.lost {
			out.Lost = append(out.Lost, f.Path)
			known := func(h File) bool { return h.Path == f.Path && h.Lost }
			out.changed = out.changed || !slices.ContainsFunc(p.had.Files, known)
		}
		return nil
	})
	return out, err
}

// hasRows says whether a file of the lake is one of the tables'. One that can't be read may be.
func (d *delivery) hasRows(l local) bool {
	date, err := schemas.ParseDate(l.date)
	if err != nil || !strings.HasPrefix(l.path, load.UsageDir+"/") {
		return false
	}
	footer, ok, err := d.lake.Day(schemas.Partition{Account: l.account, Date: date})
	return err != nil || ok && footer.Rows > 0
}

// planTables adds to a plan what becomes of the tables that are asked for or there. The delivery looks for one only if
// the manifest changes, or if it isn't known to hold the files of the one that is there; and so does this.
func (d *delivery) planTables(ctx context.Context, p *Plan) error {
	var errs []error
	add := func(table string, plan func(context.Context, *Plan) (TablePlan, error)) {
		t, err := plan(ctx, p)
		if errors.Is(err, ErrTable) {
			t.Does = TableStopped
		}
		t.Table = table
		p.Tables = append(p.Tables, t)
		errs = append(errs, err)
	}
	if d.deltaNow() != nil {
		add("delta", d.planDelta)
	}
	if d.icebergNow() != nil {
		add("iceberg", d.planIcebergTable)
	}
	return errors.Join(errs...)
}

func (d *delivery) planDelta(ctx context.Context, p *Plan) (out TablePlan, err error) {
	if d.root == nil {
		return TablePlan{Does: TableBegun}, nil
	}
	state := *d.deltaNow()
	if d.root.Delta != nil && state.Number == p.Number && !p.changed {
		return TablePlan{Does: TableSame, Version: &state.Version}, nil
	}
	was, renewed := state.Version, state.Version >= 0 && state.Schema != digestText(deltaSchema())
	if was >= 0 {
		_, there, err := d.deltaRead(ctx, was)
		if err != nil {
			return out, err
		}
		if !there {
			return TablePlan{Does: TableAnew}, nil
		}
	}
	for { // versions that other lakes wrote, or this one, its answer lost
		mine, there, err := d.deltaRead(ctx, state.Version+1)
		if err != nil {
			return out, err
		}
		if !there {
			break
		}
		if state.Version++; mine >= 0 {
			state.Number, renewed = mine, false
		}
	}
	if state.Version < 0 {
		return TablePlan{Does: TableBegun}, nil
	}
	out, err = d.planVersion(ctx, p, state.Number, renewed)
	out.Version = &state.Version
	return out, err
}

func (d *delivery) planIcebergTable(ctx context.Context, p *Plan) (out TablePlan, err error) {
	if d.root == nil {
		return TablePlan{Does: TableBegun}, nil
	}
	was := d.icebergNow()
	if held := d.root.Iceberg; held != nil && !held.Begun && held.Number == p.Number && !p.changed {
		return TablePlan{Does: TableSame, Version: &was.Version}, nil
	}
	t, err := d.findIceberg(ctx)
	switch {
	case err != nil:
		return out, err
	case t.version == 0 && was.Version > 0:
		return TablePlan{Does: TableAnew}, nil
	case t.version == 0:
		return TablePlan{Does: TableBegun}, nil
	}
	renewed, err := d.nextVersion(t).evolve()
	if err != nil {
		return out, err
	}
	out, err = d.planVersion(ctx, p, d.numberIn(t.meta), renewed)
	if out.Version = &t.version; out.Does == TableSame && t.hintAt != t.version {
		out.Does = TableMadeUp
	}
	return out, err
}

// planVersion is what becomes of a table that is there, and that holds the files of manifest number. renewed says that
// its columns are others now.
func (d *delivery) planVersion(ctx context.Context, p *Plan, number int64, renewed bool) (TablePlan, error) {
	if p.days || renewed && p.changed {
		return TablePlan{Does: TableVersion}, nil
	}
	if number == p.Number {
		return TablePlan{Does: TableSame}, nil
	}
	for _, err := range d.deltaActions(ctx, number) { // a file that the table lacks, or has too many
		return TablePlan{Does: TableMadeUp}, err
	}
	if renewed {
		return TablePlan{Does: TableMadeUp}, nil
	}
	return TablePlan{Does: TableSame}, nil
}
