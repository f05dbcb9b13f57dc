package load

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/usagelake/usagelake/schemas"
)

// JournalMended is what MendJournal did.
type JournalMended struct {
	Lines  int      // that were set aside
	Months []string // whose files were set aside, and written anew with what could be read of them
	Kept   []string // the files in damaged/
}

// MendJournal takes what can't be read out of the journal, into damaged/, where nothing is ever thrown away, and works
// out anew what is kept of archived runs. A journal that is whole is left as it is. The caller holds the lock.
func (l *Lake) MendJournal(ctx context.Context, keep Keep) (JournalMended, error) {
	done, err := l.mendJournal(ctx, keep)
	if err != nil {
		return done, fmt.Errorf("mend journal: %w", err)
	}
	return done, nil
}

func (l *Lake) mendJournal(ctx context.Context, keep Keep) (done JournalMended, err error) {
	months, err := l.JournalMonths()
	if err != nil {
		return done, err
	}
	for _, month := range months {
		lines, whole, err := l.readable(month)
		if err != nil {
			return done, err
		}
		if whole {
			continue
		}
		// The copy is there before the month changes. After a crash between the two the month is damaged still, and mended
		// again: the copy has a name of its content, and is there once.
		to, err := l.copyAside("journal_"+month, monthSuffix, l.monthPath(month))
		if err != nil {
			return done, err
		}
		done.Kept = append(done.Kept, to)
		done.Months = append(done.Months, month)
		if len(lines) == 0 {
			if err := l.remove(l.monthPath(month)); err != nil {
				return done, err
			}
			continue
		}
		if err := l.rewriteMonth(month, lines); err != nil {
			return done, err
		}
	}

	j, err := l.live(true)
	if err != nil {
		return done, err
	}
	defer j.close()
	var bad bytes.Buffer
	var stay []lineAt
	aside := j.bad
	for _, a := range j.runs {
		if _, err := j.run(a); errors.Is(err, ErrUnknownLine) {
			aside = append(aside, a)
		} else if err != nil {
			return done, err
		} else if !a.kept {
			stay = append(stay, a)
		}
	}
	if len(aside) == 0 {
		return done, nil
	}
	for _, a := range aside {
		line, err := j.bytes(a)
		if err != nil {
			return done, err
		}
		bad.Write(append(line, '\n'))
	}
	to := l.Path(DamagedDir, "journal_runs_"+shortDigest(bad.Bytes())+".jsonl")
	// As with the months: aside first, then out of the journal.
	if err := l.Replace(to, &bad); err != nil {
		return done, err
	}
	done.Lines, done.Kept = len(aside), append(done.Kept, to)
	// What is kept of archived runs may have stood in one of these lines: the months have it.
	live := map[string]bool{}
	for _, a := range stay {
		live[a.run] = true
	}
	var failed error
	kept := keep(func(yield func(schemas.Run) bool) {
		for r, err := range l.AllRuns(ctx) {
			if err != nil {
				failed = err
				return
			}
			if !live[r.RunID] && !yield(r) {
				return
			}
		}
	})
	if failed != nil {
		return done, failed
	}
	return done, l.rewriteJournal(j, nil, kept, stay)
}

// readable reads what can be read of a month, and says whether that is all of it.
func (l *Lake) readable(month string) (lines [][]byte, whole bool, err error) {
	var damaged *DamagedError
	if err := l.checkMonth(month); errors.As(err, &damaged) {
		whole = false
	} else if err != nil {
		return nil, false, err
	} else {
		whole = true
	}
	for line, err := range l.monthLines(month) {
		if errors.As(err, &damaged) {
			whole = false
			break
		}
		if err != nil {
			return nil, false, err
		}
		if _, err := decodeLine(line); err != nil {
			whole = false
			continue
		}
		lines = append(lines, bytes.Clone(line))
	}
	return lines, whole, nil
}

// rewriteMonth replaces a month by these lines.
func (l *Lake) rewriteMonth(month string, lines [][]byte) error {
	t, err := l.CreateTemp(month + ".*")
	if err != nil {
		return err
	}
	defer t.Abort()
	w, err := newMonthWriter(t)
	if err != nil {
		return err
	}
	defer w.rows.Release()
	for _, line := range lines {
		run, err := decodeLine(line)
		if err != nil {
			return err
		}
		if err := w.add(run.Run, line); err != nil {
			return err
		}
	}
	if err := w.close(); err != nil {
		return err
	}
	return t.Commit(l.monthPath(month))
}

// copyAside copies a file to damaged/, under a name of its content: done twice it is there once.
func (l *Lake) copyAside(name, suffix, from string) (string, error) {
	b, err := l.FS.ReadFile(from)
	if err != nil {
		return "", err
	}
	to := l.Path(DamagedDir, name+"_"+shortDigest(b)+suffix)
	return to, l.Replace(to, bytes.NewReader(b))
}

func shortDigest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:4])
}
