package schemas

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// made are books of settings that are right.
func made(t *testing.T, s BookSettings) *Books {
	t.Helper()
	b, err := MakeBooks(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestX(t *testing.T) {
	b := made(t, BookSettings{Zone: "America/New_York", FiscalYear: 4, Calendar: "4-4-5"})
	began := time.Now()
	for d := Date(0); d < 65000; d++ {
		_ = b.Starts(d)
		if time.Since(began) > 5*time.Second {
			t.Fatal(d)
		}
	}
	fmt.Println(time.Since(began))
	for d := Date(0); d < 65000; d++ {
		_ = b.Month(d)
	}
	fmt.Println(time.Since(began))
	_ = slices.Max([]int{1})
	_ = strings.ToLower
	_ = rapid.Int
}
