package publish

import (
	"context"
	"errors"
	"fmt"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// Carve makes the published file of l, a lake of its own that has none, out of a part of another lake's. fill is told
// where a file with all tables and views stands, each empty, and puts the rows in, by an instance of its own. Nothing
// refers to the other lake then: what fill leaves out can't be asked for.
func (l *Lake) Carve(ctx context.Context, layout schemas.SQLLayout, fill func(path string) error) error {
	layout.Outside = false
	spill, done, err := l.Scratch()
	if err != nil {
		return err
	}
	defer done()
	d, err := openDatabase(ctx, l.engineFor(spill), l.Database(), false)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Exec(ctx, layout.Schema()), d.detach(ctx), d.Close()); err != nil {
		return fmt.Errorf("make the tables of %s: %w", l.Database(), err)
	}
	if err := fill(l.Database()); err != nil {
		return err
	}
	mark, err := l.mark(l.Database())
	if err != nil {
		return err
	}
	return l.AddMark(load.PublishedMark{Mark: mark, Records: schemas.AllRecords.String()})
}
