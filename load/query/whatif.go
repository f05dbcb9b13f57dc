package query

import (
	"context"
	"fmt"

	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// MarkUp has the snapshot reckon with other mark-ups than those in force, once: a table markups of the session stands
// before the file's, so that markup_monthly, by its one arithmetic, says what these would come to. The file stays as it
// is.
func (s *Snapshot) MarkUp(ctx context.Context, markups []schemas.Markup) error {
	if err := s.fresh(ctx); err != nil {
		return err
	}
	if _, err := s.conn.ExecContext(ctx, "CREATE TEMP TABLE markups AS FROM "+publish.Catalog+".markups LIMIT 0",
		nil); err != nil {
		return fmt.Errorf("other mark-ups: %w", err)
	}
	return publish.AppendMarkups(s.conn, markups)
}
