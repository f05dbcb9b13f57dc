package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Key reads the account's management key, anew each time, so that a key can be replaced while a daemon runs.
func (a Account) Key(getenv func(string) string) (string, error) {
	if a.KeyEnv != "" {
		key := strings.TrimSpace(getenv(a.KeyEnv))
		if err := soundSecret("account "+a.Name, "key", "the environment variable "+a.KeyEnv, key); err != nil {
			return "", err
		}
		if key == "" {
			return "", Usage(fmt.Sprintf("export %s=sk_mg_…   (the Portal: Settings > API Keys > Management API Keys), or try "+
				"it without a key: usagelake demo", a.KeyEnv),
				"account %s: no key: the environment variable %s is not set", a.Name, a.KeyEnv)
		}
		return key, nil
	}
	return secretFile("account "+a.Name, "key", a.KeyFile, getenv)
}

// secretFile reads a secret from a file that nobody but its owner can read. whose and what name it for errors. Files of
// systemd's credentials are handed over by an access list, which shows as a right of the group: from version 254 on
// their mode is 0440, in a directory that nobody else can enter.
//
// A key that is being replaced may be read half: a rename puts it there whole. What is half doesn't pass at the Portal,
// the run is refused, and the next one reads it anew.
func secretFile(whose, what, path string, getenv func(string) string) (string, error) {
	b, err := privateFile(whose, what, path, getenv)
	if err != nil {
		return "", err
	}
	s := strings.TrimSpace(string(b)) // line ends of any system are no part of it
	if s == "" {
		return "", Usage("", "%s: the %s file %s is empty", whose, what, path)
	}
	if err := soundSecret(whose, what, "the file "+path, s); err != nil {
		return "", err
	}
	return s, nil
}

// privateFile reads a file that nobody but its owner can read, as secretFile does.
func privateFile(whose, what, path string, getenv func(string) string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, Usage("", "%s: read the %s: %w", whose, what, err)
	}
	others := os.FileMode(0o077)
	if dir := getenv("CREDENTIALS_DIRECTORY"); dir != "" && filepath.Dir(path) == filepath.Clean(dir) {
		others = 0o037
	}
	if info.Mode().Perm()&others != 0 {
		return nil, Usage("chmod 600 "+path, "%s: others can read the %s file %s (its mode is %04o)", whose, what, path,
			info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, Usage("", "%s: read the %s: %w", whose, what, err)
	}
	return b, nil
}

// SigningKey reads the private key that signs the manifests of closed months; nil if none is set. It is refused within
// the lake, which is backed up, delivered and shown to auditors.
func (c *Config) SigningKey(getenv func(string) string) ([]byte, error) {
	path := c.Close.SSHKey
	if path == "" {
		return nil, nil
	}
	at, err1 := filepath.EvalSymlinks(path)
	lake, err2 := filepath.EvalSymlinks(c.Lake)
	if err1 == nil && err2 == nil {
		at, err1 = filepath.Abs(at)
		lake, err2 = filepath.Abs(lake)
		if rel, err := filepath.Rel(lake, at); err1 == nil && err2 == nil && err == nil && filepath.IsLocal(rel) {
			return nil, Usage("move it elsewhere", "close.ssh_key: %s lies in the lake, which others get copies of", path)
		}
	}
	return privateFile("close.ssh_key", "signing key", path, getenv)
}

// assigned is a secret with the name of its variable before it, as in a file of the environment. The equals signs at
// the end of Base64 are none of these: eight characters that are no equals sign have to follow.
var assigned = regexp.MustCompile(`^(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=[^=]{8}`)

// soundSecret refuses what is more than a secret, without showing it. An empty one is for the caller to tell of.
func soundSecret(whose, what, where, s string) error {
	const quotes = `"'` + "`“”‘’„«»"
	first, _ := utf8.DecodeRuneInString(s)
	last, _ := utf8.DecodeLastRuneInString(s)
	begins, ends := strings.ContainsRune(quotes, first), strings.ContainsRune(quotes, last)
	says := ""
	switch {
	case s == "":
		return nil
	case strings.HasPrefix(s, "\ufeff"):
		says = "begins with a byte order mark, as some editors write it: save it as UTF-8 without one"
	case strings.HasPrefix(s, "\xff\xfe"), strings.HasPrefix(s, "\xfe\xff"), strings.ContainsRune(s, 0):
		says = "is in UTF-16: save it as UTF-8 without a byte order mark"
	case strings.ContainsAny(s, "\r\n"):
		says = "has more than one line"
	case assigned.MatchString(s):
		says = "has the name of a variable before it, as NAME=…"
	// Another secret may begin or end with a quote; a key never does.
	case begins && ends, what == "key" && (begins || ends):
		says = "stands in quotes"
	case len(s) > 7 && strings.EqualFold(s[:7], "bearer "):
		says = `begins with "Bearer"`
	default:
		return nil
	}
	return Usage("write the "+what+" alone there, and nothing around it", "%s: the %s in %s %s", whose, what, where, says)
}

// Secret reads a secret from the environment variable env, or from file.
func Secret(whose, what, env, file string, getenv func(string) string) (string, error) {
	if env == "" {
		return secretFile(whose, what, file, getenv)
	}
	s := strings.TrimSpace(getenv(env))
	if err := soundSecret(whose, what, "the environment variable "+env, s); err != nil {
		return "", err
	}
	if s == "" {
		return "", Usage("", "%s: no %s: the environment variable %s is not set", whose, what, env)
	}
	return s, nil
}

// Token reads the bearer token that whoever asks the daemon must have; "" if none is set. It is read anew each time.
func (s Schedule) Token(getenv func(string) string) (string, error) {
	if s.TokenEnv == "" && s.TokenFile == "" {
		return "", nil
	}
	token, err := Secret("schedule", "token", s.TokenEnv, s.TokenFile, getenv)
	if err == nil && len(token) < 16 {
		err = errors.New("schedule: the token is shorter than 16 characters: openssl rand -hex 32 makes a good one")
	}
	return token, err
}

// SecretVariables are the names of the environment's variables that hold secrets.
func (c *Config) SecretVariables() []string {
	names := []string{EnvKey, c.Schedule.TokenEnv, c.EndUsers.KeyEnv}
	for _, a := range c.Accounts {
		names = append(names, a.KeyEnv)
	}
	for _, r := range c.Alerts.Receivers {
		names = append(names, r.WebhookEnv, r.HMACEnv)
	}
	for _, r := range c.Packages.Deliver {
		names = append(names, r.WebhookEnv, r.HMACEnv)
	}
	for _, v := range c.Serve.Viewers {
		names = append(names, v.TokenEnv)
	}
	for _, d := range c.Deliver {
		names = append(names, d.Iceberg.TokenEnv, d.Iceberg.ClientSecretEnv)
	}
	return names
}
