package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas"
)

// LiveRuns are the runs of the live journal that no month has, by their ids. Lines that can't be read are left out,
// with a warning: CheckJournal finds them.
func (l *Lake) LiveRuns() (map[string]schemas.Run, error) {
	j, err := l.live(false)
	if err != nil {
		return nil, err
	}
	defer j.close()
	l.warnBad(j.bad)
	live := map[string]schemas.Run{}
	for _, a := range j.runs {
		if a.kept {
			continue
		}
		line, err := j.run(a)
		if errors.Is(err, ErrUnknownLine) {
			l.warnBad([]lineAt{a})
			continue
		}
		if err != nil {
			return nil, err
		}
		live[a.run] = line.Run
	}
	return live, nil
}

// CheckJournal reads all of the journal, counts its runs, and calls found for what of it can't be read.
func (l *Lake) CheckJournal(ctx context.Context, found func(path, detail string)) (runs int, err error) {
	const lost = "what they said of past runs is lost, no usage is"
	j, err := l.live(true)
	if err != nil {
		return 0, err
	}
	defer j.close()
	var bad []int
	seen := map[string]bool{}
	for _, a := range j.bad {
		bad = append(bad, a.line)
	}
	for _, a := range j.runs {
		switch _, err := j.run(a); {
		case errors.Is(err, ErrUnknownLine):
			bad = append(bad, a.line)
		case err != nil:
			return 0, fmt.Errorf("read journal: %w", err)
		case !a.kept:
			seen[a.run] = true
		}
	}
	if len(bad) > 0 {
		slices.Sort(bad)
		found(l.journalPath(), fmt.Sprintf("lines %s can't be read; %s", strings.Trim(fmt.Sprint(bad), "[]"), lost))
	}
	months, err := l.JournalMonths()
	if err != nil {
		return 0, err
	}
	for _, month := range months {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		path := l.monthPath(month)
		damaged := (*DamagedError)(nil)
		whole := true
		if err := l.checkMonth(month); errors.As(err, &damaged) {
			found(path, damaged.Detail)
			whole = false
		} else if err != nil {
			return 0, err
		}
		lines := 0
		for run, err := range l.MonthRuns(month) {
			switch {
			case errors.Is(err, ErrUnknownLine):
				lines++
			case errors.As(err, &damaged):
				if whole {
					found(path, damaged.Detail)
				}
				whole = false
			case err != nil:
				return 0, err
			default:
				seen[run.RunID] = true
			}
		}
		if lines > 0 && whole {
			found(path, fmt.Sprintf("%d lines can't be read; %s", lines, lost))
		}
	}
	return len(seen), nil
}
