package extract

import (
	"context"

	"github.com/usagelake/usagelake/schemas"
)

// Sample asks once for the first page of w, as it comes: to look at what the API holds, not to fetch it. w may span days.
func (c *Client) Sample(ctx context.Context, w schemas.Window, size int) (schemas.Page, error) {
	page, _, _, err := c.usagePage(ctx, ask{window: w, start: w.Start.Unix() - Margin, end: w.End.Unix()}, 1, size, nil)
	return page, err
}
