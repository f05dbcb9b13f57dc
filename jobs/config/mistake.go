package config

import (
	"errors"
	"fmt"
	"strings"
)

// mistake is something wrong with the config. Its text names the place; path is for the line of it.
type mistake struct {
	error
	path string // accounts[0], export.settle
}

func (m mistake) Unwrap() error { return m.error }

// at is a mistake at a path of the file. The text is whole: path isn't put before it.
func at(path, format string, args ...any) error { return mistake{fmt.Errorf(format, args...), path} }

// line is the line of a path, or of the nearest thing around it that the file has; 0 if it has none. A key that is
// missing has no line of its own: of export.settle it is that of export, of accounts[0].name that of accounts[0].
func (c *Config) line(path string) int {
	for path != "" {
		if n := c.lines[path]; n > 0 {
			return n
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 0
}

// refused is every mistake, each with its line, as ErrUsage; nil if there is none.
func (c *Config) refused(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	for i, err := range errs {
		var m mistake
		if errors.As(err, &m) {
			if n := c.line(m.path); n > 0 {
				errs[i] = fmt.Errorf("line %d: %w", n, err)
			}
		}
	}
	what := "the environment"
	if c.Path != "" {
		what = "config " + c.Path
	}
	return Usage("", "%s: %w", what, errors.Join(errs...))
}
