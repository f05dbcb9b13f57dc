package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzConfig gives any bytes as a config: it is read, or refused as bad usage.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{
		"lake: x\naccounts:\n  - name: a\n    key_env: B\n    rate: 1.9\nexport: {settle: 10m, lookback: 3d}\n",
		"accounts: [{name: a, key_file: k}]\n", "a: &a [*a]\n", "a: 1\n---\nb: 2\n", "export: {settle: -1h}\n",
		"accounts: 3\n", "\xff", "? {}\n: x\n", "accounts:\n- <<: {name: x}\n",
	} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "usagelake.yaml")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(Overrides{ConfigFile: path}, func(string) string { return "" })
		if err != nil {
			if !errors.Is(err, ErrUsage) {
				t.Fatalf("%q: %v is not bad usage", b, err)
			}
			return
		}
		if len(c.Accounts) == 0 || c.Lake == "" || c.Export.Settle < 0 {
			t.Fatalf("%q gives %+v", b, c)
		}
	})
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2026-11-01", "-7d", "-12h", "yesterday", "2026-11-01T06:00:00+02:00", "-999999999d",
		"-9e9h", "now"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTime(s, time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))
		if err == nil && got.Nanosecond() != 0 {
			t.Fatalf("%q gives %v", s, got)
		}
		if err != nil && !errors.Is(err, ErrUsage) {
			t.Fatalf("%q: %v", s, err)
		}
	})
}
