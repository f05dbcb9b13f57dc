package schemas

import (
	"fmt"
	"regexp"
	"strconv"
)

// Records says of which days the published file holds the records itself; those of the others are read from the day
// files (see SQLLayout.Outside). A number above 0 is so many UTC days: the newest one of the lake, and those before it.
type Records int

// The other values of Records. The zero value is all of them.
const (
	AllRecords Records = 0
	NoRecords  Records = -1
)

// maxRecordDays is a hundred years: who writes more means all.
const maxRecordDays = 36_525

var recordDays = regexp.MustCompile(`^[1-9][0-9]{0,4}d$`)

// ParseRecords reads all, none, or a number of days such as 90d.
func ParseRecords(s string) (Records, error) {
	switch s {
	case "all":
		return AllRecords, nil
	case "none":
		return NoRecords, nil
	}
	if recordDays.MatchString(s) {
		if n, _ := strconv.Atoi(s[:len(s)-1]); n <= maxRecordDays {
			return Records(n), nil
		}
	}
	return 0, fmt.Errorf("%q is neither all, none nor a number of days from 1d to %dd: write 90d for the last 90", s,
		maxRecordDays)
}

// String is as ParseRecords reads it.
func (r Records) String() string {
	switch r {
	case AllRecords:
		return "all"
	case NoRecords:
		return "none"
	}
	return fmt.Sprintf("%dd", int(r))
}

// Holds says whether the records of a day are the file's own, by the newest day of the lake: by that and not by the
// clock, so that a lake that didn't change is published as it was.
func (r Records) Holds(day, newest Date) bool {
	return r == AllRecords || r > 0 && day > newest-Date(r)
}
