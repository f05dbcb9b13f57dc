package load

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// The bytes of a day file are part of schemas.SchemaVersion: prune compares them, and days of old are derived anew where
// it rises. So whoever writes them in another way has the same come out, or raises it and puts the new digests here.
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
		l := newTestLake(t, Options{})
		writeDay(t, l, nil, rec)
		rec.Release()
		got, err := l.Digest(l.UsagePath(schemastest.Day))
		must(t, err)
		if got != x.digest {
			t.Errorf("%d rows of schema %d have the digest %s, not %s", x.rows, schemas.SchemaVersion, got, x.digest)
		}
	}
}
