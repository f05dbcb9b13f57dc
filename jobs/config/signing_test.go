package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The key that signs closed months is its owner's alone, and in no copy of the lake.
func TestTheSigningKeyIsPrivateAndOutsideOfTheLake(t *testing.T) {
	dir := t.TempDir()
	lake := filepath.Join(dir, "lake")
	if err := os.MkdirAll(filepath.Join(lake, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("a key\nof lines\n"), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	within := file("lake/keys/close", 0o600)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(within, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, want string }{
		{"none", "", ""},
		{"private", file("close", 0o600), ""},
		{"open to all", file("open", 0o644), "others can read the signing key file"},
		{"in the lake", within, "lies in the lake"},
		{"a link into the lake", link, "lies in the lake"},
		{"gone", filepath.Join(dir, "gone"), "read the signing key"},
	} {
		cfg := Config{Lake: lake, Close: Close{SSHKey: c.path}}
		key, err := cfg.SigningKey(func(string) string { return "" })
		switch {
		case c.want == "" && (err != nil || (string(key) == "a key\nof lines\n") != (c.path != "")):
			t.Errorf("%s: %q, %v", c.name, key, err)
		case c.want != "" && (!errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v doesn't say %q, or is no usage error", c.name, err, c.want)
		}
	}
}
