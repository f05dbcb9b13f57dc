package load

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// The bytes of a day file are part of schemas.SchemaVersion: prune compares them, and days of old are derived anew
// where it rises. So whoever writes them in another way has the same come out, or raises it and puts the new digests
// here.
func TestDayFilesOfASchemaVersionHaveTheSameBytes(t *testing.T) {
	for _, x := range []struct {
		rows   int
		seed   uint64
		digest string
	}{
		{1, 1, "40e59ffec9ef75542b90f89246b462d7fb747ce17e9f462a5e6bd9288161ab43"},
		{3_000, 2, "2e66a15573ea6f929f0df786038c73ea7700b36a9eb17d18dcbb37d54e7e2173"},
		{40_000, 3, "6d0633ecacebbe34c9af3d9ea35bd49f91f4dc9f8f2cdbd708347330e676527f"},
		// Two row groups, and ids of several pages.
		{schemas.MaxRowGroup + 2_000, 4, "43ba7a7713ed9671f96eb165185e93810b0e9f710a9ae21c691681e6b441520e"},
	} {
		rec := schemastest.UsageRows(memory.DefaultAllocator, x.rows, x.seed)
		if got := dayDigestOf(t, rec); got != x.digest {
			t.Errorf("%d rows of schema %d have the digest %s, not %s", x.rows, schemas.SchemaVersion, got, x.digest)
		}
		rec.Release()
	}

	// More items than a page holds, of few and of many quantities.
	m := newRowMaker(memory.DefaultAllocator)
	for i := range int64(60_000) {
		few, many := i*i%7, i*1_000_003
		row := make([]*item, 3)
		for k := range row {
			row[k] = &item{decimal: [3]*int64{&few, &many, nil}}
		}
		m.items(row)
		m.end()
	}
	rec := m.batch(t)
	defer rec.Release()
	if got, want := dayDigestOf(t, rec), "a9b68256efaceba3a63e54f65fceaa0a25ad89deb5847122c491fda11620c7be"; got != want {
		t.Errorf("many items of schema %d have the digest %s, not %s", schemas.SchemaVersion, got, want)
	}
}

// dayDigestOf is the SHA-256 of the day file of rec.
func dayDigestOf(t *testing.T, rec arrow.RecordBatch) string {
	t.Helper()
	l := newTestLake(t, Options{})
	writeDay(t, l, nil, rec)
	digest, err := l.Digest(l.UsagePath(schemastest.Day))
	must(t, err)
	return digest
}
