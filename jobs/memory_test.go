package jobs

import "testing"

func TestWindowsAreShorterWhereManyAreUnderWay(t *testing.T) {
	for accounts, want := range map[int]int{1: 200, 250: 200, 251: 199, 500: 100, 1000: 50, 5000: 50} {
		if got := windowPages(accounts); got != want {
			t.Errorf("%d accounts: %d pages, want %d", accounts, got, want)
		}
	}
}
