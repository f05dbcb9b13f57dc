package load

import (
	"context"
	"slices"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// Sealing is a sealed window of a day, and when it came into the lake.
type Sealing struct {
	Raw
	FetchedAt time.Time
	// Gone says that its raw file can't be read any more: retention deleted it (Raw.Pruned), or it is missing and the day
	// file alone tells of it.
	Gone bool
}

// Sealings lists the windows of p that the lake has had, in order of Seq, with the instant each was fetched: what the
// lake knew of the day at any instant are those fetched by then. Of a day whose file is up to date its footer tells; of
// another each raw file's first line does. What was set aside as damaged is no longer among them.
func (l *Lake) Sealings(ctx context.Context, p schemas.Partition) ([]Sealing, error) {
	s, err := l.State(p)
	if err != nil {
		return nil, err
	}
	told := map[int]schemas.DayWindow{} // by Seq, which is never given twice
	upToDate := s.Derived && s.Footer.Digest == dayDigest(s.Footer.Schema, s.Footer.Transform, s.Windows)
	for _, w := range s.Footer.Windows {
		if known := slices.ContainsFunc(s.Windows, func(r Raw) bool { return r.Seq == w.Seq }); upToDate || !known {
			told[w.Seq] = w
		}
	}
	if s.Pruned != nil {
		for _, w := range s.Pruned.Windows {
			told[w.Seq] = w
		}
	}
	out := make([]Sealing, 0, len(s.Windows))
	for _, r := range s.Windows {
		w, ok := told[r.Seq]
		if delete(told, r.Seq); !ok {
			sealed, err := l.OpenRaw(ctx, p, r)
			if err != nil {
				return nil, err
			}
			w.FetchedAt = sealed.Seal.FetchedAt
		}
		out = append(out, Sealing{Raw: r, FetchedAt: w.FetchedAt, Gone: r.Pruned})
	}
	for _, w := range told {
		out = append(out, Sealing{FetchedAt: w.FetchedAt, Gone: true, Raw: Raw{Kind: schemas.KindUsage, Seq: w.Seq,
			Window: schemas.Window{Account: p.Account, Start: w.Start, End: w.End}}})
	}
	slices.SortFunc(out, func(a, b Sealing) int { return compareRaw(a.Raw, b.Raw) })
	return out, nil
}
