package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load/durable"
)

// lockPoll is how often a waiting Lock asks again.
const lockPoll = 100 * time.Millisecond

// lockTries is how often Lock without wait asks, a tenth of lockPoll apart: Holder takes the lock for a moment too.
const lockTries = 4

// Lock makes the caller the only writer of the lake until unlock is called, and drops what half-done files an earlier
// one left; a lake of an older format becomes one of this. A lake whose raw archive is gone is refused with ErrNoRaw.
// doing names the command, for a *HeldError elsewhere. If another holds the lake, Lock waits for it until ctx is done,
// or without wait returns a *HeldError at once. Two callers in one process exclude each other too.
//
// The lock is flock(2) on the file .lock: the kernel drops it with the process, however that ends, so a dead process is
// never in the way. It holds among the processes of one machine, and among those of several where the file system
// carries flock over (NFS from version 4 does); one that has no locks at all gives ErrNoLocks. Reading needs no lock.
func (l *Lake) Lock(ctx context.Context, doing string, wait bool) (unlock func() error, err error) {
	return l.LockRun(ctx, doing, "", wait)
}

// LockRun is Lock for a run that has an id.
func (l *Lake) LockRun(ctx context.Context, doing, runID string, wait bool) (unlock func() error, err error) {
	if err := l.CheckRaw(); err != nil {
		return nil, err
	}
	unlock, err = l.lock(ctx, doing, runID, wait)
	if err != nil {
		return nil, durable.Full(fmt.Errorf("lock lake: %w", err), l.Dir())
	}
	return unlock, nil
}

func (l *Lake) lock(ctx context.Context, doing, runID string, wait bool) (func() error, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := l.checkFolders(true); err != nil {
		return nil, err
	}
	// Not through l.FS: locking needs the kernel's own file.
	var f *os.File
	for {
		var err error
		if f, err = openLock(l.Path(lockFile)); err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err == nil && info.Size() == 0 {
			if err := l.Share(f.Name()); err != nil { // so that others see who holds it
				_ = f.Close()
				return nil, err
			}
		}
		if err := l.acquire(ctx, f, wait); err != nil {
			_ = f.Close()
			return nil, err
		}
		if l.isLockFile(f) {
			break
		}
		_ = f.Close() // it was removed meanwhile: whoever comes now locks another
	}
	l.held.Store(f)
	unlock := func() error {
		// Emptied first, while the lock is held still: whoever takes it next must not find its predecessor's name there.
		l.held.CompareAndSwap(f, nil)
		// The file stays: removing it would let two processes lock two files of one name.
		return errors.Join(f.Truncate(0), f.Close())
	}
	// In this order, each under the lock. What stands in .tmp now, readers' scratches aside, is of nobody: who writes
	// there holds the lock, or is gone.
	if err := errors.Join(writeHolder(f, doing, runID), l.emptyTemp(), l.moveAccounts()); err != nil {
		_ = unlock()
		return nil, err
	}
	return unlock, nil
}

func (l *Lake) acquire(ctx context.Context, f *os.File, wait bool) error {
	for try := 1; ; try++ {
		err := durable.TryLock(f, true)
		if !errors.Is(err, durable.ErrLocked) {
			return err
		}
		held := l.heldError(f)
		pause := lockPoll
		if !wait {
			if try == lockTries {
				return held
			}
			pause /= 10
		} else if try == 1 {
			l.Log.Info("waiting for the lake", "lake", l.Dir(), "holder_pid", held.PID, "holder_host", held.Host, "doing",
				held.Doing, "since", held.Since)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(context.Cause(ctx), held)
		case <-timer.C:
		}
	}
}

// ErrLockLost says that the lock file was removed or replaced while this process held it, so that another process may
// hold the lake, too.
var ErrLockLost = errors.New("the lake's lock file was removed or replaced while this run held it, so another run " +
	"may be writing: nothing more is committed")

// CheckHeld returns ErrLockLost if the lock is held in vain. Whoever holds none answers for it himself.
func (l *Lake) CheckHeld() error {
	if f := l.held.Load(); f != nil && !l.isLockFile(f) {
		return fmt.Errorf("%s: %w\nhint: leave that file alone; what is committed stays, and the same command goes on from "+
			"there", l.Path(lockFile), ErrLockLost)
	}
	return nil
}

// isLockFile says whether f is the file that stands under the lock's name.
func (l *Lake) isLockFile(f *os.File) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(l.Path(lockFile))
	return err == nil && os.SameFile(mine, there)
}

// Holder tells who holds the lake, nil if nobody does or it can't be told.
func (l *Lake) Holder() *HeldError {
	f, err := durable.OpenNoLink(l.Path(lockFile), os.O_RDONLY, 0)
	if err != nil {
		return nil
	}
	defer f.Close() // which drops the lock, if it was free
	// What a holder that was killed wrote stands in the file still: it counts only while the lock is taken.
	if err := durable.TryLock(f, false); !errors.Is(err, durable.ErrLocked) {
		return nil
	}
	return l.heldError(f)
}

// heldError reads who holds the lock. What can't be read, because it is being written, is left out.
func (l *Lake) heldError(f *os.File) *HeldError {
	e := &HeldError{Lake: l.Dir()}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<16))
	if err != nil {
		return e
	}
	if json.Unmarshal(b, e) != nil {
		return &HeldError{Lake: l.Dir()}
	}
	return e
}

func writeHolder(f *os.File, doing, runID string) error {
	host, _ := os.Hostname() // for a person; may be unknown
	// The wall clock, and not one that is handed in: the text is for people who look while the process lives.
	b, err := json.Marshal(HeldError{PID: os.Getpid(), Host: host, Since: time.Now().UTC().Truncate(time.Second),
		Doing: doing, RunID: runID})
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(append(b, '\n'), 0)
	return err
}

// emptyTemp drops the files that earlier holders began and never committed, but not what readers use. It goes through
// no link.
func (l *Lake) emptyTemp() error {
	if err := l.checkFolder(durable.TempDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	names, err := l.list(l.Path(durable.TempDir))
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, durable.ScratchPrefix) && durable.UsedScratch(l.Path(durable.TempDir, name)) {
			continue
		}
		l.Log.Debug("dropping a half-done file", "name", name)
		if err := l.FS.RemoveAll(l.Path(durable.TempDir, name)); err != nil {
			return err
		}
	}
	return nil
}
