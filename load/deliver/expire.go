package deliver

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// deletesAtOnce bounds, with twice as many as it retires, how many objects whose time is over one delivery deletes.
const deletesAtOnce = 500

// expire deletes objects that no reader can hold any more, and leaves them out of the manifest.
func (d *delivery) expire(ctx context.Context, m *Manifest) error {
	over := m.WrittenAt.Add(-d.t.Keep)
	// More than come: what waits doesn't grow from night to night.
	most := deletesAtOnce + 2*int(d.report.Retired)
	var gone, stays []Retired
	for _, r := range m.Retired {
		if len(gone) < most && r.Since.Before(over) && m.Tables.without(r) {
			gone = append(gone, r)
		} else {
			stays = append(stays, r)
		}
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(uploads)
	for _, r := range gone {
		if _, _, ok := numberOf(r.Key); !ok {
			return fmt.Errorf("the manifest retires %q, which is no object of a delivery", r.Key)
		}
		work.Go(func() error { return d.t.Bucket.Delete(ctx, r.Key) })
	}
	if err := work.Wait(); err != nil {
		return err
	}
	m.Retired, d.report.Deleted = stays, int64(len(gone))
	return nil
}

// without says that the tables are known to be without an object: until then it is theirs.
func (t *Tables) without(r Retired) bool {
	return t == nil || !r.inTable() ||
		(t.Delta == nil || r.By <= t.Delta.Number) && (t.Iceberg == nil || r.By <= t.Iceberg.Since)
}
