package scan

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

const depth = 10

var (
	odd = []string{``, `-`, `1.`, `.1`, `1e`, `01`, `tru`, `nul`, `"`, `"\u12"`, `"\x"`, `[1,]`, `{"a"}`, `{"a":1,}`,
		"\"\x01\"", "\"\x7f\"", `[[]`,
		`{"a":[{}]}`, "\x00", "1\x00", `{"a":1}}`, `[1]]`, `{,}`, `[,]`, `{"a":1 "b":2}`, `[1 2]`}
	pieces = rapid.SliceOf(rapid.SampledFrom([]string{
		`{`, `}`, `[`, `]`, `,`, `:`, `"`, `"a"`, `"\u00e9"`, `\`, `1`, `-`, `.5`, `e3`, `true`, `null`, ` `, "\n", "\x00",
		"é", "\xff",
	}))
)

func TestTheScannerAcceptsWhatJSONIs(t *testing.T) {
	check := func(t interface{ Fatalf(string, ...any) }, s string) {
		b := Pad([]byte(s))
		i := Value(b, Space(b, 0), depth)
		if ok := i >= 0 && Space(b, i) == len(s); ok != json.Valid([]byte(s)) {
			t.Fatalf("%q accepted %v, is JSON %v", s, ok, !ok)
		}
	}
	for _, s := range odd {
		check(t, s)
	}
	rapid.Check(t, func(t *rapid.T) { check(t, strings.Join(pieces.Draw(t, "pieces"), "")) })
}

func TestNestingIsBounded(t *testing.T) {
	for _, of := range []string{`[]`, `{"a":}`} {
		at := len(of) - 1
		nest := func(n int) []byte { return Pad([]byte(strings.Repeat(of[:at], n) + `1` + strings.Repeat(of[at:], n))) }
		if Value(nest(depth), 0, depth) < 0 {
			t.Errorf("%s nested %d deep is refused", of, depth)
		}
		if Value(nest(depth+1), 0, depth) >= 0 {
			t.Errorf("%s nested %d deep is taken", of, depth+1)
		}
	}
}

func TestMembersAndElementsAreThoseOfTheValue(t *testing.T) {
	check := func(t interface{ Fatalf(string, ...any) }, s string) {
		b := Pad([]byte(s))
		got := map[string]string{}
		members := Members(b, 0, func(key []byte, i int) int {
			end := Value(b, i, depth)
			if end >= 0 {
				got[string(key)] = string(b[i:end])
			}
			return end
		})
		var want map[string]json.RawMessage
		if err := json.Unmarshal([]byte(s), &want); (err == nil && want != nil) != (members >= 0 &&
			Space(b, members) == len(s)) {
			t.Fatalf("%q as an object ends at %d: %v", s, members, err)
		} else if err == nil && want != nil {
			for key, value := range want {
				if got[key] != string(value) {
					t.Fatalf("%q: %q is %q, want %q", s, key, got[key], value)
				}
			}
			if len(got) != len(want) {
				t.Fatalf("%q: %d members, want %d", s, len(got), len(want))
			}
		}

		var list []string
		elements := Elements(b, 0, func(i int) int {
			end := Value(b, i, depth)
			if end >= 0 {
				list = append(list, string(b[i:end]))
			}
			return end
		})
		var all []json.RawMessage
		if err := json.Unmarshal([]byte(s), &all); (err == nil && all != nil) != (elements >= 0 &&
			Space(b, elements) == len(s)) {
			t.Fatalf("%q as an array ends at %d: %v", s, elements, err)
		} else if err == nil && all != nil {
			if len(list) != len(all) {
				t.Fatalf("%q: %d elements, want %d", s, len(list), len(all))
			}
			for i := range all {
				if list[i] != string(all[i]) {
					t.Fatalf("%q: element %d is %q, want %q", s, i, list[i], all[i])
				}
			}
		}
	}
	for _, s := range append(odd, `{"a":1,"b":[2, {"c":3}] , "a" : 4}`, `{"\u0061":1,"\n":2}`, `{}`, `[]`,
		`[ 1 , "x",{"a":1},null ]`, "{\"\xff\":1}") {
		check(t, s)
	}
	rapid.Check(t, func(t *rapid.T) {
		inside := strings.Join(pieces.Draw(t, "pieces"), "")
		check(t, rapid.SampledFrom([]string{inside, `{"a":` + inside + `}`, `[` + inside + `]`}).Draw(t, "value"))
	})
}

func TestStringsAreUnquotedAsEncodingJSONDoes(t *testing.T) {
	parts := rapid.SliceOf(rapid.SampledFrom([]string{
		`a`, `long plain text`, `\n`, `\/`, `\"`, `\\`, `\u0041`, `\u0000`, `\ud83d`, `\ude00`, `\ud83d\ude00`, `\u20AC`, "é",
		"😀", "\xff", "\xed\xa0\x80", "\xc3",
	}))
	rapid.Check(t, func(t *rapid.T) {
		inside := strings.Join(parts.Draw(t, "parts"), "")
		b := Pad([]byte(`"` + inside + `"`))
		end, plain := String(b, 1)
		var want string
		if err := json.Unmarshal(b[:len(inside)+2], &want); err != nil || end != len(inside)+1 {
			t.Fatalf("%q ends at %d, %v", inside, end, err)
		}
		if got := string(AppendUnquoted(nil, b[1:end])); got != want || !utf8.ValidString(got) {
			t.Fatalf("%q is %q, want %q", inside, got, want)
		}
		if plain && inside != want {
			t.Fatalf("%q taken as it stands", inside)
		}
	})
}
