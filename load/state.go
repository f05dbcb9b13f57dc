package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load/durable"
)

// A state is a small JSON document that a job keeps in the lake from one time to the next: journal/NAME.json. Nothing
// in the lake is derived from it. It is replaced by one rename, and has a lock of its own, journal/NAME.lock, so that
// who keeps it needs not wait for the lake's.

// stateName is what a state may be named.
var stateName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

func (l *Lake) statePath(name, ext string) string { return l.Path(journalDir, name+ext) }

// ErrStateHeld says that another process (or another caller in this one) holds a state's lock.
var ErrStateHeld = errors.New("another process holds it")

// ReadState reads the state of that name into v, and says whether there is one. A state that can't be read as JSON is a
// *DamagedError.
func (l *Lake) ReadState(name string, v any) (bool, error) {
	path := l.statePath(name, ".json")
	b, err := l.FS.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the state %s: %w", name, err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, &DamagedError{Path: path, Detail: "it is not the JSON that was written there", Err: err}
	}
	return true, nil
}

// WriteState replaces the state of that name, and returns when it is on the disk. The caller holds its lock. After an
// error the old one is there or the new one, whole in either case.
func (l *Lake) WriteState(name string, v any) error {
	if err := l.writeState(name, v); err != nil {
		return fmt.Errorf("write the state %s: %w", name, err)
	}
	return nil
}

func (l *Lake) writeState(name string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	// The temp file is not made in the lake's temp directory: whoever takes the lake's lock empties that.
	t, err := l.CreateIn(l.Path(journalDir), name+".*.tmp")
	if err != nil {
		return err
	}
	defer t.Abort()
	if _, err := bytes.NewReader(append(b, '\n')).WriteTo(t); err != nil {
		return err
	}
	// A crash before the rename leaves the temp file, for the next LockState of this name to drop.
	return t.Commit(l.statePath(name, ".json"))
}

// LockState makes the caller the only one who writes the state of that name until unlock is called, and drops what
// half-done files an earlier one left. If another holds it, LockState tries for a moment and returns ErrStateHeld. As
// with the lake's own lock, the kernel drops it with the process.
func (l *Lake) LockState(ctx context.Context, name string) (unlock func() error, err error) {
	unlock, err = l.lockState(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("lock the state %s: %w", name, err)
	}
	return unlock, nil
}

func (l *Lake) lockState(ctx context.Context, name string) (func() error, error) {
	if !stateName.MatchString(name) {
		return nil, fmt.Errorf("%q is no name of a state", name)
	}
	if err := l.MakeDirs(l.Path(journalDir)); err != nil {
		return nil, err
	}
	f, err := openLock(l.statePath(name, ".lock"))
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		if err = durable.TryLock(f, true); !errors.Is(err, durable.ErrLocked) {
			break
		}
		if err = ErrStateHeld; try == lockTries {
			break
		}
		timer := time.NewTimer(lockPoll / 10)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-timer.C:
		}
	}
	if err == nil {
		err = l.dropHalfDone(name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

// dropHalfDone removes what a process that died left of a state that it was writing.
func (l *Lake) dropHalfDone(name string) error {
	names, err := l.list(l.Path(journalDir))
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n, name+".") && strings.HasSuffix(n, ".tmp") {
			if err := l.FS.Remove(l.Path(journalDir, n)); err != nil {
				return err
			}
		}
	}
	return nil
}
