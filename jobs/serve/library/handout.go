package library

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/pack"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
)

// ErrChanged says that a file of a closed month isn't what the month was closed with.
var ErrChanged = errors.New("it isn't what the month was closed with")

// Handout is what may be handed to a reader of the folders of closed months, which stand beside the published file:
// everything, or what is of some cost centres alone. A team's or an account's part in a month has no files there.
type Handout struct {
	reader  *Reader
	lake    *publish.Lake
	all     bool
	centers []string
}

// Handout is the reader's.
func (r *Reader) Handout() Handout {
	h := Handout{reader: r, lake: r.of.lake, all: r.SeesAll(), centers: r.Scope.CostCenters}
	for _, d := range query.ScopeDimensions {
		if d != "cost_center" && len(*r.Scope.Values(d)) > 0 {
			h.centers = nil
		}
	}
	return h
}

// Any says whether anything of a closed month can be the reader's.
func (h Handout) Any() bool { return h.all || len(h.centers) > 0 }

// Closing is a closed month as it is handed to a reader.
type Closing struct {
	publish.ClosedMonth // of who sees all; else what is in every statement: month, when, and which version
	Files               []Handed
}

// Handed is a file of a closed month. Name is what who asks calls it; it is looked for among the month's files, and no
// part of a path.
type Handed struct {
	Name   string
	path   string
	Size   int64
	SHA256 string // "" of a signature
	Center string // the cost centre whose package it is; "" else
}

// Closing is that of one of Months. The files are those that its manifest names, and packages that were made of this
// very manifest.
func (h Handout) Closing(c publish.ClosedMonth) (*Closing, error) {
	out := &Closing{ClosedMonth: c}
	if !h.all {
		out.ClosedMonth = publish.ClosedMonth{Manifest: publish.Manifest{Month: c.Month, ClosedAt: c.ClosedAt,
			Edition: c.Edition}}
	}
	var mine []string // the beginnings of their names
	for _, center := range h.centers {
		mine = append(mine, report.StatementPath(center)+".")
	}
	for _, f := range c.Files {
		own := func(start string) bool { return strings.HasPrefix(f.Path, start) }
		if filepath.IsLocal(f.Path) && (h.all || slices.ContainsFunc(mine, own)) {
			out.Files = append(out.Files, Handed{Name: f.Path, path: filepath.Join(c.Dir, filepath.FromSlash(f.Path)),
				Size: f.Bytes, SHA256: f.SHA256})
		}
	}
	if h.all {
		for name, digest := range map[string]string{publish.ManifestName: c.Digest, publish.SignatureFile: ""} {
			path := filepath.Join(c.Dir, name)
			if info, err := h.lake.FS.Stat(path); err == nil {
				out.Files = append(out.Files, Handed{Name: name, path: path, Size: info.Size(), SHA256: digest})
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	packages, err := pack.Read(h.lake, c.Month)
	if err != nil || packages == nil || packages.Closed != c.Digest {
		return out, err
	}
	for _, p := range packages.Packages {
		if filepath.IsLocal(p.Name) && (h.all || slices.Contains(h.centers, p.CostCenter)) {
			out.Files = append(out.Files, Handed{Name: p.Name + ".zip", path: packages.Zip(p), Size: p.Bytes, SHA256: p.SHA256,
				Center: p.CostCenter})
		}
	}
	return out, nil
}

// Find is the file of a name.
func (c *Closing) Find(name string) (Handed, bool) {
	i := slices.IndexFunc(c.Files, func(f Handed) bool { return f.Name == name })
	if i < 0 {
		return Handed{}, false
	}
	return c.Files[i], true
}

// Open opens a file of a closed month, if it is what its digest says. The caller closes it. Who asks for it part by
// part asks often: a file that stays the same by its place, time and size is read for its digest once a publish.
func (h Handout) Open(ctx context.Context, f Handed) (_ durable.File, err error) {
	file, err := h.lake.FS.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", f.path, errors.Join(err, file.Close()))
		}
	}()
	if f.SHA256 == "" {
		return file, nil
	}
	info, err := file.Stat()
	if err != nil || h.reader.of.isProved(f, info) {
		return file, err
	}
	_, err = h.reader.once(ctx, Making, proveLimit, "prove "+f.path, func(ctx context.Context) (any, error) {
		return nil, h.prove(ctx, f)
	})
	if err == nil && !h.reader.of.isProved(f, info) {
		err = ErrChanged // since it was opened
	}
	return file, err
}

// prove reads a file, and notes which it was if it is what its digest says.
func (h Handout) prove(ctx context.Context, f Handed) (err error) {
	file, err := h.lake.FS.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	sum := sha256.New()
	for n := int64(1); n > 0; {
		if n, err = io.CopyN(sum, file, provePart); err != nil && err != io.EOF {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	if hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
		return ErrChanged
	}
	h.reader.of.mu.Lock()
	defer h.reader.of.mu.Unlock()
	h.reader.of.proved[f.path] = proof{f.SHA256, info}
	return nil
}

const (
	// proveLimit is how long a file may be read for its digest, of which provePart is read at once.
	proveLimit = 5 * time.Minute
	provePart  = 4 << 20
)

// proof is which file it was that had the digest.
type proof struct {
	sha256 string
	info   fs.FileInfo
}

func (e *edition) isProved(f Handed, info fs.FileInfo) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, ok := e.proved[f.path]
	return ok && p.sha256 == f.SHA256 && durable.Unchanged(p.info, info)
}

// Months are those that are closed, the last first.
func (h Handout) Months() ([]publish.ClosedMonth, error) {
	if !h.Any() {
		return nil, nil
	}
	closed, err := h.lake.Closed()
	slices.Reverse(closed)
	return closed, err
}
