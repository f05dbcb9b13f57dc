package load

import (
	"slices"

	"github.com/usagelake/usagelake/schemas"
)

// Source is what the figures of a day come from, asked in one place:
//
//	raw      its day file is derived from the windows that are sealed, and can be derived again
//	pruned   raw files were deleted by retention: the day file is the source, until later windows cover the whole day
//	         (Frozen, see Pruned)
//	missing  raw files that the day file was made from are gone, and nobody deleted them on purpose: it stays as it is
//	         (DayState.Orphans, see Orphan). To tell this, the footer of the day file is read as well: Lake.State.
type Source struct {
	schemas.Partition
	Windows []Raw   // the sealed usage windows in order of Seq; those that the tombstone names are among them
	Pruned  *Pruned // the tombstone, nil of a day that wasn't pruned
}

// Source lists what p is derived from: names of files, and the tombstone if there is one. No window is no error. A
// tombstone that can't be read is one, a *DamagedError or ErrNewer: what the day was derived from isn't known then, and
// nothing may be made of it.
func (l *Lake) Source(p schemas.Partition) (Source, error) {
	s, _, err := l.sources(p)
	return s, err
}

// sources is Source, and all sealed files of p of both kinds in order of Seq.
func (l *Lake) sources(p schemas.Partition) (s Source, all []Raw, err error) {
	all, others, err := l.readRaws(p)
	if err != nil {
		return s, nil, err
	}
	s.Partition = p
	if slices.Contains(others, prunedFile) {
		if s.Pruned, err = l.tombstoneOf(p); err != nil {
			return s, nil, err
		}
	}
	if s.Pruned != nil { // else it was moved away since it was listed
		if all, err = s.Pruned.among(p, all); err != nil {
			return s, nil, err
		}
	}
	s.Windows = ofKind(all, schemas.KindUsage)
	return s, all, nil
}

func ofKind(all []Raw, kind string) []Raw {
	return slices.DeleteFunc(slices.Clone(all), func(r Raw) bool { return r.Kind != kind })
}

// Live are the windows that can be read: what a day that isn't frozen is derived from.
func (s Source) Live() []Raw {
	return slices.DeleteFunc(slices.Clone(s.Windows), func(r Raw) bool { return r.Pruned })
}

// Frozen says whether the day file is the source: raw files were pruned, and what came later doesn't cover the whole
// day.
func (s Source) Frozen() bool {
	return s.Pruned != nil && len(schemas.Uncovered(s.Window(), windows(s.Live()))) > 0
}

// Thawing says of a frozen day that it is being fetched anew, and not all of it is there yet.
func (s Source) Thawing() bool { return s.Frozen() && len(s.Live()) > 0 }

// Digest is what the footer of the day file says if it is what this source gives by a version of the transformation.
// Of a day that is thawing no file says it: the file is stale until the rest is there.
func (s Source) Digest(transform int) string {
	if s.Frozen() && !s.Thawing() {
		return s.Pruned.Digest
	}
	return DayDigest(transform, s.Windows)
}

// Silent are the windows of the tombstone as the footer of a day has them that later windows own whole; none of a day
// that wasn't pruned.
func (s Source) Silent() []schemas.DayWindow {
	if s.Pruned == nil {
		return nil
	}
	out := slices.Clone(s.Pruned.Windows)
	for i := range out {
		if s.Pruned.Schema < schemas.SchemaOrdinal { // Records was that
			out[i].Listed = out[i].Records
		}
		out[i].Records, out[i].Owns = out[i].Listed, false
	}
	return out
}
