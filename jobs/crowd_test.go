package jobs

import (
	"fmt"
	"sync"
	"testing"

	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

func TestWindowsAreShorterWhereManyAreUnderWay(t *testing.T) {
	for accounts, want := range map[int]int{1: 20000, 250: 20000, 251: 19920, 500: 10000, 1000: 5000, 5000: 5000} {
		if got := windowRecords(accounts); got != want {
			t.Errorf("%d accounts: %d records, want %d", accounts, got, want)
		}
	}
}

func TestAThousandAccountsThatBeginAtOnceAreJournaledTogether(t *testing.T) {
	lake, err := publish.Create(t.TempDir(), publish.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const accounts = 1000
	announce := announcer(lake, schemas.Run{RunID: "r", Status: schemas.StatusRunning})
	var wg sync.WaitGroup
	for i := range accounts {
		wg.Go(func() {
			name := fmt.Sprintf("org-%d", i)
			if err := announce(schemas.RunAccount{Account: name, Status: schemas.StatusRunning, From: kit.Day(10)}); err != nil {
				t.Error(err)
				return
			}
			if i%100 == 0 { // it stands there before its first request goes out
				if runs, err := lake.Runs(); err != nil || len(runs) != 1 || pasts(runs)[name].began.IsZero() {
					t.Errorf("%s isn't in the journal: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	runs, err := lake.Runs()
	if err != nil || len(runs) != 1 || len(runs[0].Accounts) != accounts {
		t.Fatalf("%d runs: %v", len(runs), err)
	}
}
