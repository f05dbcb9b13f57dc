package bucket_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/bucket/storetest"
	"github.com/usagelake/usagelake/load/durable/durabletest"
)

// Whichever step of a put fails, and however: a reader sees the object as it was or as it is to be, and whoever is told
// that it wasn't written can rely on it.
func TestEachStepOfAPutIntoADirectoryFails(t *testing.T) {
	for _, c := range []struct {
		key string
		on  func(bucket.Tag) bucket.On
	}{
		{"new/er", func(bucket.Tag) bucket.On { return bucket.On{Absent: true} }},
		{"old", func(tag bucket.Tag) bucket.On { return bucket.On{Match: tag} }},
		{"old", func(bucket.Tag) bucket.On { return bucket.On{} }},
	} {
		for _, how := range []durabletest.Fault{durabletest.NotDone, durabletest.Lost, durabletest.Torn} {
			for _, down := range []bool{false, true} {
				for at := 0; ; at++ {
					s := storetest.File(t)
					tag := put(t, s.Bucket(t), "old", "as it was", bucket.On{})
					disk := &durabletest.FS{At: at, How: how, Down: down}
					b := s.Bucket(t)
					bucket.SetFS(b, disk, func(from, to string) error {
						return disk.Step("link", func() error { return os.Link(from, to) })
					})
					_, err := b.Put(t.Context(), c.key, bucket.Bytes([]byte("as it is to be")), c.on(tag))
					name := fmt.Sprintf("%s, step %d of %q %v, down %v: %v", c.key, at, disk.Steps, how, down, err)
					if len(disk.Steps) <= at {
						if err != nil {
							t.Error(name)
						}
						break
					}
					now := "nothing"
					if r, _, err := s.Bucket(t).Get(t.Context(), c.key); err == nil {
						_ = r.Close()
						now, _ = read(t, s.Bucket(t), c.key)
					}
					was := map[string]string{"old": "as it was", "new/er": "nothing"}[c.key]
					switch {
					case now != was && now != "as it is to be", err == nil && now == was,
						err != nil && now != was && !errors.Is(err, bucket.ErrUnsure), errors.Is(err, bucket.ErrTaken):
						t.Errorf("%s: there is %q", name, now)
					}
					put(t, s.Bucket(t), c.key, "again", bucket.On{}) // and nothing stands in the way afterwards
				}
			}
		}
	}
}

func TestADirectoryWithoutLinks(t *testing.T) {
	s := storetest.File(t)
	b := s.Bucket(t)
	put(t, b, "other", "x", bucket.On{})
	bucket.SetFS(b, &durabletest.FS{At: -1}, func(from, to string) error {
		return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EPERM}
	})
	put(t, b, "k", "first", bucket.On{Absent: true})
	_, err := b.Put(t.Context(), "k", bucket.Bytes([]byte("second")), bucket.On{Absent: true})
	is(t, err, bucket.ErrTaken)
	if body, _ := read(t, b, "k"); body != "first" {
		t.Errorf("%q", body)
	}
}

func TestADirectoryHoldsWhatWasPutAlone(t *testing.T) {
	s := storetest.File(t)
	b := s.Bucket(t)
	put(t, b, "a/k", "x", bucket.On{Absent: true})
	temps := filepath.Join(s.Dir, ".tmp")
	left, goesOn := filepath.Join(temps, "put-123"), filepath.Join(temps, "put-456")
	for _, name := range []string{left, goesOn, filepath.Join(temps, "of somebody else")} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yesterday := time.Now().Add(-25 * time.Hour)
	for _, name := range []string{left, filepath.Join(temps, "of somebody else")} {
		if err := os.Chtimes(name, yesterday, yesterday); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s.Bucket(t), "a/k", "y", bucket.On{})
	var names []string
	entries, err := os.ReadDir(temps)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if fmt.Sprint(names) != "[lock of somebody else put-456]" {
		t.Errorf("half-done: %q", names)
	}
	// What isn't a file is no object; nothing leads out of the directory.
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(s.Dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(s.Dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all := keysOf(list(t, b, "")); fmt.Sprint(all) != "[a/k]" {
		t.Errorf("listed %q", all)
	}
	for _, key := range []string{"link", "pipe"} {
		if _, _, err := b.Get(t.Context(), key); err == nil || errors.Is(err, bucket.ErrAbsent) {
			t.Errorf("%s: %v", key, err)
		}
	}
	put(t, b, "link", "an object", bucket.On{})
	if b, err := os.ReadFile(outside); err != nil || string(b) != "secret" {
		t.Errorf("%q, %v", b, err)
	}
	// A key can't be a folder of another, and says so.
	_, err = b.Put(t.Context(), "a/k/below", bucket.Bytes(nil), bucket.On{Absent: true})
	if err == nil || errors.Is(err, bucket.ErrUnsure) || errors.Is(err, bucket.ErrTaken) {
		t.Errorf("below a file: %v", err)
	}
	_, _, err = b.Get(t.Context(), "a/k/below")
	is(t, err, bucket.ErrAbsent)
	_, _, err = b.Get(t.Context(), "a")
	is(t, err, bucket.ErrAbsent)
}

func TestWhoMayReadADirectory(t *testing.T) {
	modes := func(s storetest.Store, want map[string]fs.FileMode) {
		t.Helper()
		put(t, s.Bucket(t), "a/k", "x", bucket.On{Absent: true})
		put(t, s.Bucket(t), "a/k", "y", bucket.On{})
		for name, mode := range want {
			info, err := os.Stat(filepath.Join(s.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode() & (fs.ModePerm | fs.ModeSetgid); got != mode {
				t.Errorf("%s: %v, not %v", name, got, mode)
			}
		}
	}
	modes(storetest.File(t), map[string]fs.FileMode{".": 0o700, "a": 0o700, "a/k": 0o600, ".tmp": 0o700})
	s := storetest.File(t) // one that an administrator has made for a group
	if err := os.Mkdir(s.Dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.Dir, 0o750|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	modes(s, map[string]fs.FileMode{".": 0o750 | fs.ModeSetgid, "a": 0o750 | fs.ModeSetgid, "a/k": 0o640})
	s = storetest.File(t)
	if err := os.WriteFile(s.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Open(t.Context(), s.URL, s.Options); !errors.Is(err, syscall.ENOTDIR) {
		t.Error(err)
	}
}
