package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/usagelake/usagelake/schemas/words"
)

// parse reads the file, in two goes: as it is written, for keys that aren't known, which the decoder would pass over
// without a word; then by the decoder, for values of the wrong type. Both are left in c.unread for Validate, which says
// what else is wrong; where no account could be read there is nothing more to say, and they are refused at once.
func (c *Config) parse(b []byte, path string) error {
	more, err := c.decode(b, path)
	if err != nil {
		return err
	}
	if c.lines == nil {
		return Usage("usagelake init", "config %s is empty", path)
	}
	if len(c.unread) > 0 && len(c.Accounts) == 0 {
		return c.Validate()
	}
	if more {
		return errMore(path)
	}
	if len(c.Accounts) == 0 {
		return Usage("usagelake init", "config %s has no accounts", path)
	}
	return nil
}

// decode reads the first document of a file, if there is one: else c.lines stays nil. What can't be read of it is left
// in c.unread; more says that something stands behind it: a second document, as after a stray ---, would be ignored,
// and whoever wrote it would not know.
func (c *Config) decode(b []byte, path string) (more bool, err error) {
	c.Path = path
	var root yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&root); err != nil && !errors.Is(err, io.EOF) {
		return false, Usage("", "config %s: %w", path, err)
	}
	if len(root.Content) == 0 {
		return false, nil
	}
	r := reader{lines: map[string]int{}, values: map[string]string{}, types: map[string]string{}}
	r.keys(root.Content[0], reflect.TypeFor[Config](), "")
	c.lines = r.lines
	if !r.twice { // else the decoder says it again
		var wrong *yaml.TypeError
		switch err := root.Decode(c); {
		case errors.As(err, &wrong):
			for _, text := range wrong.Errors {
				r.errs = append(r.errs, r.mistyped(text))
			}
		case err != nil:
			r.errs = append(r.errs, mistake{error: err})
		}
	}
	c.unread = r.errs
	return !errors.Is(dec.Decode(new(yaml.Node)), io.EOF), nil
}

func errMore(path string) error { return Usage("", "config %s holds more than one document", path) }

// reader goes over the file as it is written. lines fills up on the way; it is what mistakes that are found later look
// their lines up in.
type reader struct {
	errs   []mistake
	twice  bool              // a key stands twice
	lines  map[string]int    // by path
	values map[string]string // by path, as they are written; "" of lists and sections
	types  map[string]string // by path: those that the values are to be of
}

// keys finds the keys that t has no field for, and says of each which one may be meant.
func (r *reader) keys(n *yaml.Node, t reflect.Type, at string) {
	// One may stand for what it is itself a part of. This ends all the same, for each step takes a level off t.
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!float" &&
		(t == reflect.TypeFor[int]() || t == reflect.TypeFor[int64]()):
		// The decoder cuts 2.5 down to 2.
		if f, err := strconv.ParseFloat(n.Value, 64); err == nil && f != math.Trunc(f) {
			r.errs = append(r.errs, mistake{path: at, line: n.Line,
				error: fmt.Errorf("%s: %q is not %s", at, n.Value, kindOf("int"))})
		}
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for i, e := range n.Content {
			name := fmt.Sprintf("%s[%d]", at, i)
			r.lines[name], r.values[name], r.types[name] = e.Line, e.Value, t.Elem().String()
			r.keys(e, t.Elem(), name)
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		known := map[string]reflect.Type{}
		for i := range t.NumField() {
			if tag := t.Field(i).Tag.Get("yaml"); tag != "" && tag != "-" {
				known[tag] = t.Field(i).Type
			}
		}
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, line := n.Content[i].Value, n.Content[i].Line
			name := strings.TrimPrefix(at+"."+key, ".")
			ft, ok := known[key]
			switch {
			case !ok:
				r.errs = append(r.errs, mistake{path: name, line: line, unknown: true, error: fmt.Errorf("unknown key %s%s", name,
					words.Nearest(key, slices.Sorted(maps.Keys(known))))})
			case seen[key]:
				r.twice = true
				r.errs = append(r.errs, mistake{path: name, line: line, error: fmt.Errorf("%s stands twice", name)})
			default:
				r.lines[name], r.values[name], r.types[name] = line, n.Content[i+1].Value, ft.String()
				r.keys(n.Content[i+1], ft, name)
			}
			seen[key] = true
		}
	}
}

// Keys lists every key a config may have, such as accounts.key_env, sorted.
func Keys() []string {
	var keys []string
	var walk func(t reflect.Type, at string)
	walk = func(t reflect.Type, at string) {
		for i := range t.NumField() {
			tag := t.Field(i).Tag.Get("yaml")
			if tag == "" || tag == "-" {
				continue
			}
			keys = append(keys, at+tag)
			ft := t.Field(i).Type
			if ft.Kind() == reflect.Slice {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Struct {
				walk(ft, at+tag+".")
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
	slices.Sort(keys)
	return keys
}
