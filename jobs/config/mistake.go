package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mistake is something wrong with the config. Its text names the place; path is for the line of it.
type mistake struct {
	error
	path    string // accounts[0], export.settle
	line    int    // 0: that of path
	unknown bool   // it is a key that there isn't
}

func (m mistake) Unwrap() error { return m.error }

// at is a mistake at a path of the file. The text is whole: path isn't put before it.
func at(path, format string, args ...any) error {
	return mistake{error: fmt.Errorf(format, args...), path: path}
}

// line is the line of a path, or of the nearest thing around it that the file has; 0 if it has none. A key that is
// missing has no line of its own: of export.settle it is that of export, of accounts[0].name that of accounts[0].
func (c *Config) line(path string) int {
	for path != "" {
		if n := c.lines[path]; n > 0 {
			return n
		}
		path = around(path)
	}
	return 0
}

// around is what a path stands in: accounts[0] of accounts[0].rate, accounts of accounts[0]; "" of a key of the file.
func around(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

// judged says whether what the values of a path mean can be told, given the mistakes in reading the file: not of what
// stands beside a key that is misspelt or a value of another type, for what was meant there isn't known; and of jobs
// and alerts, which go by the names of other things, only where no such name may have been lost.
func judged(path string, unread []mistake) bool {
	within := func(path, of string) bool {
		rest, ok := strings.CutPrefix(path, of)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	}
	return !slices.ContainsFunc(unread, func(m mistake) bool {
		beside := cmp.Or(around(m.path), m.path)
		lost := around(m.path) == "" || strings.HasSuffix(m.path, ".name") || m.unknown && strings.HasSuffix(beside, "]")
		refers := func(section string) bool { return lost && within(path, section) && !within(m.path, section) }
		return within(path, beside) || refers("schedule") || refers("alerts")
	})
}

// refused is every mistake in order of the file, each with its line, as ErrUsage; nil if there is none.
func (c *Config) refused(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	lineOf := func(err error) int {
		var m mistake
		if errors.As(err, &m) {
			return cmp.Or(m.line, c.line(m.path))
		}
		return 0
	}
	slices.SortStableFunc(errs, func(a, b error) int { return cmp.Compare(lineOf(a), lineOf(b)) })
	for i, err := range errs {
		if n := lineOf(err); n > 0 {
			errs[i] = fmt.Errorf("line %d: %w", n, err)
		}
	}
	what := "the environment"
	if c.Path != "" {
		what = "config " + c.Path
	}
	return Usage("", "%s: %w", what, errors.Join(errs...))
}

var (
	lineText  = regexp.MustCompile(`(?s)^line (\d+): (.*)$`)
	otherType = regexp.MustCompile("(?s)^cannot unmarshal !!\\S+(?: `.*`)? into (\\S+)$")
	quoted    = regexp.MustCompile("(?s)`(.*)`|\"(.*?)\"")
)

// mistyped is a mistake of a value that the decoder couldn't take, as it words it ("line 6: cannot unmarshal !!str
// `fast` into float64") or a type of this package does (`line 6: "soon" is not a duration`).
func (r *reader) mistyped(text string) mistake {
	m := mistake{error: errors.New(text)}
	parts := lineText.FindStringSubmatch(text)
	if parts == nil {
		return m
	}
	m.line, _ = strconv.Atoi(parts[1])
	text = parts[2]
	value, cut := "", false
	if q := quoted.FindStringSubmatch(text); q != nil {
		if value = q[2]; q[1] != "" {
			value, cut = strings.CutSuffix(q[1], "...")
		}
	}
	t := otherType.FindStringSubmatch(text)
	m.path = r.path(m.line, func(path string) bool {
		v := r.values[path]
		return (v == value || cut && strings.HasPrefix(v, value)) && (t == nil || r.types[path] == t[1])
	})
	if t != nil {
		what := "it"
		if value != "" { // no more of it than the decoder shows: it may be a secret in the wrong place
			what = strconv.Quote(value + map[bool]string{true: "…"}[cut])
		}
		text = what + " is not " + kindOf(t[1])
	}
	m.error = errors.New(strings.TrimPrefix(m.path+": "+text, ": "))
	return m
}

// path is that of what fits on a line of the file; "" if that is nothing, or may be one of several.
func (r *reader) path(line int, fits func(path string) bool) string {
	var found []string
	for path, n := range r.lines {
		if n == line && fits(path) {
			found = append(found, path)
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

// kindOf says of a type of Go what a person is to write.
func kindOf(goType string) string {
	switch {
	case goType == "float64":
		return "a number"
	case strings.HasPrefix(goType, "int"):
		return "a whole number"
	case goType == "bool":
		return "true or false"
	case goType == "string":
		return "a text"
	case strings.HasPrefix(goType, "[]"):
		return "a list: write [a, b], or a line for each that begins with -"
	}
	return "a section with keys of its own"
}
