package load

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// What stands outside of the lake is neither emptied nor cut off nor written to, whatever leads there.
func TestNothingIsFollowedOutOfTheLake(t *testing.T) {
	precious := func(t *testing.T) (dir, file string) {
		dir = t.TempDir()
		file = filepath.Join(dir, "precious")
		must(t, os.WriteFile(file, []byte("precious"), 0o600))
		return dir, file
	}
	for name, plant := range map[string]func(t *testing.T, l *Lake, dir, file string){
		".tmp": func(t *testing.T, l *Lake, dir, _ string) {
			must(t, os.RemoveAll(l.Path(durable.TempDir)))
			must(t, os.Symlink(dir, l.Path(durable.TempDir)))
		},
		".tmp, to a folder of the lake": func(t *testing.T, l *Lake, _, _ string) {
			must(t, os.RemoveAll(l.Path(durable.TempDir)))
			must(t, os.Symlink(UsageDir, l.Path(durable.TempDir)))
		},
		".tmp, a file": func(t *testing.T, l *Lake, _, _ string) {
			must(t, os.RemoveAll(l.Path(durable.TempDir)))
			must(t, os.WriteFile(l.Path(durable.TempDir), nil, 0o600))
		},
		"raw": func(t *testing.T, l *Lake, dir,
			_ string) {
			must(t, os.Symlink(dir, l.Path(RawDir)))
		},
		"usage": func(t *testing.T, l *Lake, dir,
			_ string) {
			must(t, os.Symlink(dir, l.Path(UsageDir)))
		},
		"journal": func(t *testing.T, l *Lake, dir,
			_ string) {
			must(t, os.Symlink(dir, l.Path(journalDir)))
		},
		"statements, leading nowhere": func(t *testing.T, l *Lake, dir,
			_ string) {
			must(t, os.Symlink(dir+"/nothing", l.Path(StatementsDir)))
		},
		".lock": func(t *testing.T, l *Lake, _,
			file string) {
			must(t, os.Symlink(file, l.Path(lockFile)))
		},
		".lock, another name of a file": func(t *testing.T, l *Lake, _, file string) {
			if err := os.Link(file, l.Path(lockFile)); err != nil {
				t.Skip(err)
			}
		},
		".lock, a pipe": func(t *testing.T, l *Lake, _, _ string) { must(t, syscall.Mkfifo(l.Path(lockFile), 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLake(t, Options{})
			dir, file := precious(t)
			plant(t, l, dir, file)
			unlock, err := l.Lock(t.Context(), "export", false)
			if err == nil {
				_ = unlock()
			}
			if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "hint: ") {
				t.Errorf("Lock: %v", err)
			}
			if !strings.HasPrefix(name, ".lock") {
				if _, err := Open(l.Dir(), Options{}); !errors.Is(err, ErrForeign) {
					t.Errorf("Open: %v", err)
				}
			}
			if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	t.Run("the journal, a link", func(t *testing.T) {
		l := newTestLake(t, Options{})
		_, file := precious(t)
		must(t, os.MkdirAll(l.Path(journalDir), 0o700))
		must(t, os.Symlink(file, l.journalPath()))
		if err := l.AppendRun(schemas.Run{RunID: "a"}); err == nil {
			t.Error("written through a link")
		}
		if b, _ := os.ReadFile(file); string(b) != "precious" {
			t.Errorf("%q", b)
		}
	})
	t.Run("a state's lock, a link", func(t *testing.T) {
		l := newTestLake(t, Options{})
		_, file := precious(t)
		must(t, os.MkdirAll(l.Path(journalDir), 0o700))
		must(t, os.Symlink(file, l.statePath("alerts", ".lock")))
		if _, err := l.LockState(t.Context(), "alerts"); !errors.Is(err, ErrForeign) {
			t.Errorf("%v", err)
		}
	})
	t.Run("what is left in .tmp, a link", func(t *testing.T) {
		l := newTestLake(t, Options{})
		dir, file := precious(t)
		must(t, os.Symlink(dir, l.Path(durable.TempDir, "left")))
		unlock, err := l.Lock(t.Context(), "export", false)
		must(t, err)
		must(t, unlock())
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(l.Path(durable.TempDir, "left")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the link itself is left: %v", err)
		}
	})
	t.Run("the lake itself may be a link", func(t *testing.T) {
		l := newTestLake(t, Options{})
		link := filepath.Join(t.TempDir(), "lake")
		must(t, os.Symlink(l.Dir(), link))
		through, err := Open(link, Options{})
		must(t, err)
		unlock, err := through.Lock(t.Context(), "export", false)
		must(t, err)
		must(t, unlock())
	})
}

// Whoever lost the lock file commits nothing, for another may hold the lake.
func TestNothingIsCommittedUnderALostLock(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"removed":  os.Remove,
		"replaced": func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
		"moved":    func(path string) error { return os.Rename(path, path+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLake(t, Options{})
			sealHours(t, l, 0, 24)
			deriveRows(t, l, 3)
			unlock, err := l.Lock(t.Context(), "export", false)
			must(t, err)
			must(t, l.WriteBalance(schemastest.Day, "before", nil, nil))
			must(t, lose(l.Path(lockFile)))
			other, err := Open(l.Dir(), Options{})
			must(t, err)
			unlockOther, err := other.Lock(t.Context(), "export", false)
			must(t, err) // which is how two come in
			before := listing(t, l.Path(UsageDir)) + listing(t, l.Path(RawDir)) + listing(t, l.Path(BalanceDir))
			if _, err := l.Seal(t.Context(), schemastest.Seal(schemastest.Day.Date.Start(), schemastest.Day.Date.End()),
				schemastest.Pages(schemastest.Day.Date.Start())); !errors.Is(err, ErrLockLost) {
				t.Errorf("Seal: %v", err)
			}
			if err := l.WriteBalance(schemastest.Day, "after", nil, nil); !errors.Is(err, ErrLockLost) {
				t.Errorf("WriteBalance: %v", err)
			}
			if err := l.RemoveDay(schemastest.Day); !errors.Is(err, ErrLockLost) {
				t.Errorf("RemoveDay: %v", err)
			}
			if err := l.SetAsideDay(schemastest.Day); !errors.Is(err, ErrLockLost) {
				t.Errorf("SetAsideDay: %v", err)
			}
			if _, _, err := l.deleteFiles([]string{l.UsagePath(schemastest.Day)}, false); !errors.Is(err, ErrLockLost) {
				t.Errorf("deleteFiles: %v", err)
			}
			if after := listing(t, l.Path(UsageDir)) + listing(t, l.Path(RawDir)) +
				listing(t, l.Path(BalanceDir)); after != before {
				t.Errorf("something was committed:\n%s\nwas\n%s", after, before)
			}
			if left, _ := l.list(l.Path(durable.TempDir)); len(left) != 0 {
				t.Errorf("half-done files are left: %v", left)
			}
			must(t, other.WriteBalance(schemastest.Day, "other", nil, nil))
			must(t, errors.Join(unlock(), unlockOther()))
		})
	}
}

// stubbornFS refuses what some file systems do.
type stubbornFS struct {
	durable.System
	chmod, syncDir error
}

func (f stubbornFS) Chmod(string, fs.FileMode) error { return f.chmod }
func (f stubbornFS) SyncDir(name string) error       { return f.syncDir }

// A file system without fsync of directories, or that refuses to set the mode a file has already, is no reason to fail.
func TestAFileSystemThatCanLessIsEnough(t *testing.T) {
	for _, err := range []error{syscall.EINVAL, syscall.ENOTSUP, syscall.EOPNOTSUPP,
		&fs.PathError{Op: "sync", Path: "x", Err: syscall.EINVAL}} {
		l := newTestLake(t, Options{FS: stubbornFS{syncDir: err}})
		deriveRows(t, l, 1)
		must(t, durable.TryCommit(stubbornFS{syncDir: err}, t.TempDir(), false))
	}
	l := newTestLake(t, Options{})
	bad, err := Open(l.Dir(), Options{FS: stubbornFS{syncDir: syscall.EIO}})
	must(t, err)
	if err := bad.WriteBalance(schemastest.Day, "x", nil, nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("a disk that fails passes: %v", err)
	}
	stubborn, err := Open(l.Dir(), Options{FS: stubbornFS{chmod: syscall.EPERM}})
	must(t, err)
	name := l.Path("file")
	must(t, os.WriteFile(name, nil, 0o600))
	if err := stubborn.Chmod(name, 0o600); err != nil {
		t.Errorf("the mode is right: %v", err)
	}
	if err := stubborn.Chmod(name, 0o640); !errors.Is(err, syscall.EPERM) {
		t.Errorf("the mode is wrong: %v", err)
	}
	if err := durable.TryCommit(stubbornFS{syncDir: syscall.EIO}, t.TempDir(), false); !errors.Is(err, syscall.EIO) {
		t.Errorf("doctor would not see it: %v", err)
	}
	if err := durable.TryCommit(stubbornFS{chmod: syscall.EPERM}, t.TempDir(), true); !errors.Is(err, syscall.EPERM) {
		t.Errorf("doctor would not see it: %v", err)
	}
}

// A scratch is private, is not taken away from whoever uses it, and goes once nobody does.
func TestAScratchIsPrivateAndSwept(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for _, readOnly := range []bool{false, true} {
		l := newTestLake(t, Options{})
		base := l.Path(durable.TempDir)
		if readOnly {
			base = temp
			must(t, os.RemoveAll(l.Path(durable.TempDir)))
		}
		dir, done, err := l.Scratch()
		must(t, err)
		if filepath.Dir(filepath.Dir(dir)) != base {
			t.Errorf("%s is not in %s", dir, base)
		}
		for _, d := range []string{dir, filepath.Dir(dir)} {
			if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%s: %v, %v", d, info.Mode(), err)
			}
		}
		left := filepath.Join(base, durable.ScratchPrefix+"left") // by a process that was killed
		must(t, os.Mkdir(left, 0o700))
		must(t, os.WriteFile(filepath.Join(left, "lock"), nil, 0o600))
		must(t, os.WriteFile(filepath.Join(left, "spill"), []byte("usage"), 0o600))
		making := filepath.Join(base, durable.ScratchPrefix+"making") // by a process that is about to lock it
		must(t, os.Mkdir(making, 0o700))
		if !readOnly {
			unlock, err := l.Lock(t.Context(), "export", false)
			must(t, err)
			must(t, unlock())
		}
		_, done2, err := l.Scratch()
		must(t, err)
		for path, want := range map[string]bool{dir: true, making: true, left: false} {
			if _, err := os.Stat(path); (err == nil) != want {
				t.Errorf("%s is there: %v, want %v", path, err == nil, want)
			}
		}
		done()
		done2()
		if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a scratch is left: %v", err)
		}
	}
}

// What is written outside of the lake is there whole, or as it was.
func TestWriteOut(t *testing.T) {
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	was := syscall.Umask(0o027)
	t.Cleanup(func() { syscall.Umask(was) })
	dir := t.TempDir()
	path := filepath.Join(dir, "a.csv")
	for _, c := range []struct{ mode, want fs.FileMode }{{0, 0o600}, {0o600, 0o600}, {0o640, 0o640}, {0o644, 0o640}} {
		must(t, durable.WriteOut(path, durable.Out{Mode: c.mode}, text("new")))
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != c.want {
			t.Errorf("mode %o: %v %v", c.mode, info.Mode(), err)
		}
	}
	broken := errors.New("broken")
	if err := durable.WriteOut(path, durable.Out{},
		func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if err := durable.WriteOut(path, durable.Out{New: true}, text("other")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	link := filepath.Join(dir, "link.csv")
	must(t, os.Symlink("a.csv", link))
	must(t, durable.WriteOut(link, durable.Out{}, text("through")))
	if b, _ := os.ReadFile(path); string(b) != "through" {
		t.Errorf("%q", b)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	must(t, durable.WriteOut(os.DevNull, durable.Out{}, text("nothing")))
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Errorf("%s is a file now: %v", os.DevNull, err)
	}
	if err := durable.WriteOut(dir, durable.Out{}, text("x")); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("%v", err)
	}
	must(t, durable.WriteOut(filepath.Join(dir, "new"), durable.Out{New: true}, text("new")))
	names, err := os.ReadDir(dir)
	must(t, err)
	if len(names) != 3 {
		t.Errorf("left behind: %v", names)
	}
}

func TestALakeIsRefusedWhereItCanNotBe(t *testing.T) {
	for _, dir := range []string{"s3://bucket/lake", "http://host/lake", "file:///lake", t.TempDir() + "/a?b",
		t.TempDir() + "/\xff"} {
		if _, err := Create(dir, Options{}); !errors.Is(err, ErrPath) || !strings.Contains(err.Error(), "hint: ") {
			t.Errorf("%s: %v", dir, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s was made", dir)
		}
	}
}
