package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/usagelake/usagelake/load/durable"
)

// Mark tells a published file from what becomes of it when DuckDB writes into it: each checkpoint counts up in the
// headers. The size is part of it: a file that was cut off behind its headers has the same headers.
type Mark struct {
	Headers string `json:"headers"` // SHA-256 of the first headerSize bytes
	Bytes   int64  `json:"bytes"`
}

// PublishedMark is the mark of a published file, and where its records are.
type PublishedMark struct {
	Mark
	Records string `json:"records,omitempty"` // the schemas.Records that it was published with; "" isn't known
	Outside int    `json:"outside,omitempty"` // days whose records it reads from RecordsDir
}

const (
	marksKind  = 1       // of MarksFile
	marksKept  = 100     // so that a file of before, put back from a backup, is known for what it is
	headerSize = 3 << 12 // of a DuckDB file: its main header, and the two that its checkpoints write in turns
)

// marks is the content of MarksFile: of the files that were published last, the newest first.
type marks struct {
	Format int             `json:"format"`
	Files  []PublishedMark `json:"files"`
}

// MarkOf is the mark of a file that is open.
func MarkOf(f durable.File) (Mark, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, headerSize)); err != nil {
		return Mark{}, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	info, err := f.Stat()
	if err != nil {
		return Mark{}, err
	}
	return Mark{hex.EncodeToString(sum.Sum(nil)), info.Size()}, nil
}

// Marks are those of the files that were published last, the newest first; none if MarksFile isn't there, or can't be
// read as such.
func (l *Lake) Marks() ([]PublishedMark, error) {
	b, err := l.FS.ReadFile(l.Path(MarksFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ParseMarks(b), nil
}

// ParseMarks reads the content of MarksFile; nil if it is none.
func ParseMarks(b []byte) []PublishedMark {
	var m marks
	if json.Unmarshal(b, &m) != nil || m.Format != marksKind {
		return nil
	}
	return m.Files
}

// FindMark finds a file among those that were published; false if it is none of them.
func FindMark(known []PublishedMark, m Mark) (PublishedMark, bool) {
	for _, k := range known {
		if k.Mark == m {
			return k, true
		}
	}
	return PublishedMark{}, false
}

// AddMark makes MarksFile know a file, as the newest. The oldest falls off.
func (l *Lake) AddMark(next PublishedMark) error {
	known, err := l.Marks()
	if err != nil {
		return err
	}
	known = append([]PublishedMark{next}, slices.DeleteFunc(known, func(k PublishedMark) bool {
		return k.Mark == next.Mark
	})...)
	b, err := json.Marshal(marks{Format: marksKind, Files: known[:min(len(known), marksKept)]})
	if err != nil {
		return err
	}
	return l.Replace(l.Path(MarksFile), bytes.NewReader(append(b, '\n')))
}
