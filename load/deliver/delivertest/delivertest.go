// Package delivertest reads a delivery as an outsider does, for tests: from files of a directory, by what
// docs/deliver.md says of the manifest, with none of the code that wrote it.
package delivertest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/usagelake/usagelake/load/deliver"
)

// Manifest is the manifest, as far as tests look at it.
type Manifest struct {
	Number  int64         `json:"number"`
	Count   int64         `json:"count"`
	Rows    int64         `json:"rows"`
	Sums    []deliver.Sum `json:"sums"`
	Groups  []Part        `json:"groups"`
	Retired []struct {
		Key string `json:"key"`
	} `json:"retired"`
	Tables *deliver.Tables `json:"tables"`
}

// Part is a group of the manifest.
type Part struct {
	Key   string         `json:"key"`
	Files []deliver.File `json:"files"`
}

// Unzip reads JSON that is packed.
func Unzip(b []byte, v any) error {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	return json.NewDecoder(z).Decode(v)
}

// ReadAll reads a manifest and every file of it, and holds each against its digest. None is no error.
func ReadAll(dir, name string) (map[string]deliver.File, *Manifest, error) {
	b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	m := &Manifest{}
	if err := Unzip(b, m); err != nil {
		return nil, nil, err
	}
	out := map[string]deliver.File{}
	for _, g := range m.Groups {
		if g.Key != "" {
			part, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(g.Key)))
			if err != nil {
				return nil, nil, err
			}
			if err := Unzip(part, &g.Files); err != nil {
				return nil, nil, err
			}
		}
		for _, f := range g.Files {
			content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Key)))
			if err != nil {
				return nil, nil, fmt.Errorf("manifest %d: %w", m.Number, err)
			}
			if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != f.SHA256 {
				return nil, nil, fmt.Errorf("manifest %d: %s isn't what it says", m.Number, f.Path)
			}
			out[f.Path] = f
		}
	}
	if int64(len(out)) != m.Count {
		return nil, nil, fmt.Errorf("manifest %d counts %d files and has %d", m.Number, m.Count, len(out))
	}
	return out, m, nil
}
