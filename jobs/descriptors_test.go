package jobs

import (
	"errors"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
)

func TestARunDoesWithTheDescriptorsThereAre(t *testing.T) {
	for _, x := range []struct {
		accounts, asked int
		limit           uint64
		want            int // 0: an error
	}{
		{1, 0, 1024, 20}, {1, 0, 0, 20}, {5000, 50, 0, 50}, {40, 0, 1024, 20}, {200, 0, 1024, 3}, {400, 20, 1024, 1},
		{448, 0, 1024, 1}, {449, 0, 1024, 0}, {1500, 0, 1024, 0}, {1500, 0, 65536, 20},
		{1, 1, 131, 1}, {1, 0, 129, 0}, {10, 2, 4096, 2},
	} {
		got, err := connections(x.accounts, x.asked, x.limit)
		if got != x.want || (err != nil) != (x.want == 0) || err != nil &&
			(!errors.Is(err, config.ErrUsage) || !strings.Contains(kit.HintOf(err), "ulimit -n")) {
			t.Errorf("%+v: %d, %v", x, got, err)
		}
		if err == nil && x.limit > 0 && uint64(filesOfRun+x.accounts*(got+filesOfAccount)) > x.limit {
			t.Errorf("%+v: %d connections each are too many", x, got)
		}
	}
}
