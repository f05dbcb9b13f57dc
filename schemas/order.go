package schemas

import "bytes"

// The rows of a day are in the order of request_time, then id (CompareIDs), then ordinal. The order doesn't depend on
// how they arrived.

// CompareIDs orders ids: digit-only ones first, by value (shorter first, then by their digits), then all others by
// their bytes. It is 0 for equal ids alone.
func CompareIDs(a, b []byte) int {
	da, db := digitsOnly(a), digitsOnly(b)
	switch {
	case da && db:
		if len(a) != len(b) {
			return len(a) - len(b)
		}
	case da:
		return -1
	case db:
		return 1
	}
	return bytes.Compare(a, b)
}

func digitsOnly(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}
