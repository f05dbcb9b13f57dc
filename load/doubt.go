package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// Doubt is a look at the Portal that found much of what the lake holds of a window lacking. What is held stays, until a
// look at another time finds the same.
type Doubt struct {
	Start  time.Time `json:"start"` // [Start, End), UTC
	End    time.Time `json:"end"`
	Held   int64     `json:"held"`    // records that the lake holds
	Gone   int64     `json:"gone"`    // of these, those that the Portal did not list
	Came   int64     `json:"came"`    // records that it listed
	Digest string    `json:"digest"`  // of these
	SeenAt time.Time `json:"seen_at"` // UTC, when it was first seen so
	RunID  string    `json:"run_id"`
}

// doubtsDir holds a file for each day with doubts: doubts/acme/2026-11-01.json.
const doubtsDir = "doubts"

func (l *Lake) doubtsPath(p schemas.Partition) string {
	return l.Path(doubtsDir, p.Account, p.Date.String()+".json")
}

// Doubts are those of a day, in order of time; none is no error.
func (l *Lake) Doubts(p schemas.Partition) ([]Doubt, error) {
	path := l.doubtsPath(p)
	b, err := l.FS.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read doubts of %s: %w", p, err)
	}
	var out []Doubt
	if err := json.Unmarshal(b, &out); err != nil { // it costs another look, and nothing else
		l.Log.Warn("what is doubted of a day can't be read, it is looked at anew", "path", path, "error", err)
		return nil, nil
	}
	return out, nil
}

// Doubted lists the days of an account that have doubts.
func (l *Lake) Doubted(account string) ([]schemas.Partition, error) {
	names, err := l.list(l.Path(doubtsDir, account))
	if err != nil {
		return nil, fmt.Errorf("list doubts of %s: %w", account, err)
	}
	var out []schemas.Partition
	for _, name := range names {
		if d, err := schemas.ParseDate(strings.TrimSuffix(name, filepath.Ext(name))); err == nil {
			out = append(out, schemas.Partition{Account: account, Date: d})
		}
	}
	slices.SortFunc(out, schemas.Partition.Compare)
	return out, nil
}

// SetDoubts replaces the doubts of a day; none removes them.
func (l *Lake) SetDoubts(p schemas.Partition, doubts []Doubt) error {
	path := l.doubtsPath(p)
	if len(doubts) == 0 {
		// The directory isn't synced: a doubt that comes back after a crash costs another look.
		if err := l.FS.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove doubts of %s: %w", p, err)
		}
		return nil
	}
	b, err := json.MarshalIndent(doubts, "", " ")
	if err != nil {
		return err
	}
	return l.Replace(path, bytes.NewReader(append(b, '\n')))
}
