package load

import (
	"io/fs"
	"os"
	"path/filepath"
)

// DatabaseInfo describes the published file; an error that is fs.ErrNotExist if there is none yet.
func (l *Lake) DatabaseInfo() (fs.FileInfo, error) { return l.FS.Stat(l.Database()) }

// HasRaw says whether dir holds a raw archive, which is all that a rebuild needs.
func HasRaw(dir string) bool {
	entries, err := os.ReadDir(filepath.Join(dir, RawDir))
	return err == nil && len(entries) > 0
}
