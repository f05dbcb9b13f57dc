package load

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// ErrPath says that a lake can't be where it is said to be.
var ErrPath = errors.New("a lake can't be there")

var urlLike = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// checkPath refuses a path that DuckDB, or this program, would take for something else. Every other character is
// quoted.
func checkPath(dir string) error {
	abs, err := filepath.Abs(dir)
	switch {
	case err != nil:
		return err
	case urlLike.MatchString(dir):
		return fmt.Errorf("%w: %q is a URL, and a lake is a directory of this machine\nhint: name a directory with lake: or "+
			"--lake", ErrPath, dir)
	case strings.Contains(abs, "?"):
		return fmt.Errorf("%w: %q has a question mark, and DuckDB takes what follows it for parameters\nhint: name another "+
			"directory with lake: or --lake", ErrPath, abs)
	case !utf8.ValidString(abs) || strings.ContainsRune(abs, 0):
		return fmt.Errorf("%w: %q is no UTF-8, as DuckDB wants it\nhint: name another directory with lake: or --lake",
			ErrPath, abs)
	}
	return nil
}
