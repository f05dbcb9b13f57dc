package storetest_test

import (
	"testing"

	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/bucket/storetest"
)

func TestStoresStartAndCanDoWhatIsNeeded(t *testing.T) {
	for name, start := range storetest.All() {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			if err := bucket.Probe(t.Context(), s.Bucket(t)); err != nil {
				t.Fatal(err)
			}
			for o, err := range s.Bucket(t).List(t.Context(), "") {
				t.Errorf("left: %v, %v", o, err)
			}
		})
	}
}
