package deliver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

// restoringFile stands in a directory that is becoming a lake, so that the same restore goes on there.
const restoringFile = "restoring.json"

// markerPath is what makes a directory a lake: it comes last.
const markerPath = "lake.json"

// Errors of a restore.
var (
	ErrNoRaw    = errors.New("what is delivered there has no raw archive: a lake can't be made of it")
	ErrNotEmpty = errors.New("the directory is not empty")
	ErrReplaced = errors.New("it is not what was delivered")
)

// Restored is what a restore made.
type Restored struct {
	URL    string `json:"url"`
	Lake   string `json:"lake"`   // the directory
	Number int64  `json:"number"` // of the manifest
	Files  int64  `json:"files"`
	Bytes  int64  `json:"bytes"`
	Here   int64  `json:"here"`   // files that an earlier try had brought
	Tables int64  `json:"tables"` // files of the delivery that are no part of a lake
}

// Restore makes the lake that was delivered to b in dir, which isn't there, is empty, or holds a restore of the same
// that was broken off. What it brings has the digests of the manifest. The lake goes on as the one that delivered: the
// older one is refused by the next delivery. as is Target.As.
func Restore(ctx context.Context, b bucket.Bucket, as, dir string, group bool, watch func(Progress)) (
	*Restored, error) {
	out := &Restored{URL: b.URL(), Lake: dir}
	if err := restore(ctx, b, as, dir, group, watch, out); err != nil {
		return out, fmt.Errorf("restore %s from %s: %w", dir, b.URL(), err)
	}
	return out, nil
}

func restore(ctx context.Context, b bucket.Bucket, as, dir string, group bool, watch func(Progress),
	out *Restored) error {
	r, err := fetchRoot(ctx, b, manifestKey(as))
	if errors.Is(err, bucket.ErrAbsent) {
		return hint(fmt.Errorf("%w: there is no %s", ErrNothing, manifestKey(as)),
			"is it the prefix that was delivered to? With `as: NAME` in the delivery: --as NAME")
	}
	if err != nil {
		return err
	}
	m := &r.Manifest
	out.Number = m.Number
	if !slices.Contains(m.What, WhatRaw) {
		return hint(fmt.Errorf("%w (it has %s)", ErrNoRaw, strings.Join(m.What, ", ")),
			"a delivery with raw in its `what` is one that a lake is restored from")
	}
	tree := durable.NewTree(dir, nil, group, nil)
	if err := prepare(tree, r.URL); err != nil {
		return err
	}
	w := &restorer{tree: tree, b: b, out: out, watch: watch,
		progress: Progress{Doing: "restore", All: m.Count, Size: m.Bytes}}
	work, workCtx := errgroup.WithContext(ctx)
	work.SetLimit(uploads)
	var marker *File
	var stopped error
	for _, g := range m.Groups {
		files, err := filesOf(workCtx, b, g)
		if err != nil {
			stopped = err
			break
		}
		for _, f := range files {
			if f.Path == markerPath {
				marker = &f
				continue
			}
			if strings.HasPrefix(f.Path, "finance/") {
				out.Tables++
				continue
			}
			work.Go(func() (err error) {
				defer schemas.Guard(&err)
				return w.bring(workCtx, f)
			})
		}
	}
	if err := errors.Join(work.Wait(), stopped); err != nil {
		return err
	}
	if marker == nil {
		return fmt.Errorf("the manifest lists no %s: %w", markerPath, ErrReplaced)
	}
	b1, err := json.Marshal(self{Identity: m.Lake, Base: m.Lake.Generation})
	if err != nil {
		return err
	}
	if err := tree.Replace(tree.Path(Dir, markerPath), strings.NewReader(string(b1)+"\n")); err != nil {
		return err
	}
	if err := w.bring(ctx, *marker); err != nil {
		return err
	}
	return errors.Join(os.Remove(tree.Path(restoringFile)), tree.SyncDir(dir))
}

// prepare makes the directory, and says in it what it is going to be.
func prepare(tree *durable.Tree, url string) error {
	type restoring struct {
		From string `json:"from"`
	}
	entries, err := os.ReadDir(tree.Dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		var was restoring
		b, err := os.ReadFile(tree.Path(restoringFile))
		if err == nil {
			err = json.Unmarshal(b, &was)
		}
		if err != nil || was.From != url {
			return hint(fmt.Errorf("%w, and holds no restore from there that was broken off (it has %s)", ErrNotEmpty,
				entries[0].Name()), "name a directory that isn't there: usagelake restore --from … --lake DIR")
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(tree.Dir()), durable.DirMode); err != nil {
		return err
	}
	if err := tree.MakeDir(tree.Dir()); err != nil {
		return err
	}
	b, err := json.Marshal(restoring{url})
	if err != nil {
		return err
	}
	return tree.Replace(tree.Path(restoringFile), strings.NewReader(string(b)+"\n"))
}

// restorer brings files, side by side.
type restorer struct {
	tree  *durable.Tree
	b     bucket.Bucket
	watch func(Progress)

	mu       sync.Mutex
	out      *Restored
	progress Progress
}

// bring makes a file what the manifest says. One that an earlier try brought stays.
func (w *restorer) bring(ctx context.Context, f File) error {
	target := w.tree.Path(filepath.FromSlash(f.Path))
	here := false
	if info, err := os.Lstat(target); err == nil && info.Mode().IsRegular() && info.Size() == f.Bytes {
		sum, err := w.tree.Digest(target)
		if err != nil {
			return err
		}
		here = sum == f.SHA256
	}
	if !here {
		// A body that is cut on its way is asked for again; what is asked for and refused is the bucket's to try.
		err := w.fetch(ctx, f, target)
		for try := 1; errors.Is(err, errCut) && context.Cause(ctx) == nil && try < restoreTries; try++ {
			err = w.fetch(ctx, f, target)
		}
		if err != nil {
			return durable.Full(fmt.Errorf("%s (%s): %w", f.Path, f.Key, err), w.tree.Dir())
		}
	}
	w.mu.Lock()
	w.out.Files++
	w.out.Bytes += f.Bytes
	if here {
		w.out.Here++
	}
	w.progress.Files, w.progress.Bytes = w.progress.Files+1, w.progress.Bytes+f.Bytes
	p := w.progress
	w.mu.Unlock()
	if w.watch != nil {
		w.watch(p)
	}
	return nil
}

func (w *restorer) fetch(ctx context.Context, f File, target string) error {
	body, _, err := w.b.Get(ctx, f.Key)
	if err != nil {
		return err
	}
	defer body.Close()
	t, err := w.tree.CreateTemp("restore.*")
	if err != nil {
		return err
	}
	defer t.Abort()
	sum := sha256.New()
	from := &cutReader{Reader: body}
	n, err := io.Copy(io.MultiWriter(t, sum), io.LimitReader(from, f.Bytes+1))
	if err != nil {
		return errors.Join(err, from.err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != f.Bytes || got != f.SHA256 {
		return hint(fmt.Errorf("%w: SHA-256 %s in place of %s", ErrReplaced, got, f.SHA256),
			"usagelake deliver --verify --deep tells of every object; the store may have an older version of this one")
	}
	return t.Commit(target)
}

// errCut says that it was the reading that failed, and not the writing.
var errCut = errors.New("the object was cut on its way")

// restoreTries is how often an object is asked for that is cut on its way.
const restoreTries = 5

// cutReader notes that reading failed.
type cutReader struct {
	io.Reader
	err error
}

func (r *cutReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = errCut
	}
	return n, err
}
