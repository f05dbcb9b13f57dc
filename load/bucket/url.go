package bucket

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// address is a bucket's URL, taken apart.
type address struct {
	scheme  string // s3, gs, az, file
	account string // az
	bucket  string // or container; of a file, the directory
	prefix  string // "" or without slashes at its ends; "" for files
}

func (a address) String() string {
	parts := []string{a.account, a.bucket, a.prefix}
	if a.scheme == "file" {
		return "file://" + a.bucket
	}
	out := a.scheme + ":/"
	for _, p := range parts {
		if p != "" {
			out += "/" + p
		}
	}
	return out
}

// key is the whole key of a relative one.
func (a address) key(relative string) string {
	if a.prefix == "" {
		return relative
	}
	return a.prefix + "/" + relative
}

// relative is a key of a listing without the prefix.
func (a address) relative(key string) string {
	if a.prefix == "" {
		return key
	}
	return strings.TrimPrefix(key, a.prefix+"/")
}

// parse takes a URL apart. Its errors repeat nothing of a URL's user part, query or fragment.
func parse(url string) (address, error) {
	scheme, rest, ok := strings.Cut(url, "://")
	a := address{scheme: scheme}
	switch {
	case !ok || scheme != "s3" && scheme != "gs" && scheme != "az" && scheme != "file":
		return a, errors.New("not s3://, gs://, az:// or file://")
	case strings.Contains(authority(rest), "@"):
		return a, &Error{Err: errors.New("a user or password stands in it"),
			Hint: "take it out: credentials come from the environment, a profile or the machine's identity"}
	case strings.ContainsAny(rest, "?#%"):
		return a, errors.New("it holds ?, # or %: a bucket's URL has no query, and nothing in it is encoded")
	}
	if scheme == "file" {
		if !strings.HasPrefix(rest, "/") {
			return a, errors.New("a file:// URL is an absolute path: file:///srv/usage")
		}
		a.bucket = path.Clean(rest)
		if a.bucket == "/" {
			return a, errors.New("the root of the file system is no bucket")
		}
		return a, checkText(rest)
	}
	parts := strings.Split(strings.TrimRight(rest, "/"), "/")
	if scheme == "az" {
		a.account, parts = parts[0], parts[1:]
		if len(parts) == 0 || !isName(a.account) {
			return a, errors.New("not az://ACCOUNT/CONTAINER[/PREFIX]")
		}
	}
	a.bucket = parts[0]
	a.prefix = strings.Join(parts[1:], "/")
	if !isName(a.bucket) {
		return a, fmt.Errorf("it names no bucket: %s://BUCKET[/PREFIX], a name of letters, digits, dots and dashes", scheme)
	}
	if a.prefix == "" {
		return a, nil
	}
	if err := CheckKey(a.prefix); err != nil {
		return a, fmt.Errorf("its prefix: %w", err)
	}
	return a, nil
}

func authority(rest string) string {
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// hideUser is a URL with what may be secret in it left out.
func hideUser(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return "…"
	}
	if i := strings.LastIndexByte(authority(rest), '@'); i >= 0 {
		rest = "…" + rest[i:]
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i] + "…"
	}
	return scheme + "://" + rest
}

// isName says whether s is a name of a bucket, container or account, as far as this package must know: what it is put
// into a host name or a path for can't be led astray.
func isName(s string) bool {
	if s == "" || strings.Trim(s, ".") == "" {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// maxKey is the longest key of S3 and Google, in bytes; Azure's may have 1,024 characters.
const maxKey = 1024

// CheckKey says why a key can't be used in any bucket, or nil: one that could lead outside of the prefix, that stores
// read differently, or that a directory can't have. Keys of a manifest are as foreign as the bucket they were read
// from.
func CheckKey(key string) error {
	switch {
	case key == "":
		return errors.New("a key is empty")
	case len(key) > maxKey:
		return fmt.Errorf("a key of %d bytes: 1,024 at most", len(key))
	case strings.HasPrefix(key, "/"):
		return fmt.Errorf("key %q begins with a slash", key)
	}
	if err := checkText(key); err != nil {
		return err
	}
	for i, e := range strings.Split(key, "/") {
		switch {
		case e == "":
			return fmt.Errorf("key %q has an empty part", key)
		case strings.HasSuffix(e, "."): // . and .. go somewhere else; Azure and Windows drop the others' dots
			return fmt.Errorf("key %q has a part that ends with a dot", key)
		case i == 0 && e == tempDir:
			return fmt.Errorf("key %q lies in %s, where half-done files are", key, tempDir)
		}
	}
	return nil
}

func checkText(key string) error {
	if !utf8.ValidString(key) {
		return fmt.Errorf("key %q is no UTF-8", key)
	}
	for _, r := range key {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\\' {
			return fmt.Errorf("key %q holds a backslash or a control character", key)
		}
	}
	return nil
}
