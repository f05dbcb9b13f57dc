package query

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// refusedFunctions are functions of DuckDB that a query can't call though it reads, by why. They are those of version
// 1.5.6: a SELECT may call them, whatever enable_external_access and lock_configuration say.
// TestTheRefusedFunctionsAreDuckDBs looks at the version that is built in.
var refusedFunctions = func() map[string]string {
	out := map[string]string{}
	for why, names := range map[string]string{
		"it writes to the terminal or to files": "enable_logging disable_logging write_log truncate_duckdb_logs " +
			"enable_profiling disable_profiling",
		"it writes to the published file":   "checkpoint force_checkpoint",
		"it reads memory by its address":    "arrow_scan arrow_scan_dumb seq_scan",
		"it runs SQL that stands in a text": "query json_execute_serialized_sql",
		"it is there to test DuckDB":        "test_all_types test_vector_types check_peg_parser repeat_row",
		"it only waits":                     "sleep_ms pg_sleep",
	} {
		for _, name := range strings.Fields(names) {
			out[name] = why
		}
	}
	return out
}()

// refuseFunctions says which refused function a query calls; nil if none. It goes by the words of the query: a name
// that an opening parenthesis follows, quoted or not, with a schema before it or not. Texts and comments are passed
// over.
func refuseFunctions(query string) error {
	// White space and comments leave it as it is, for they may stand between a name and its parenthesis: query /* */ (…).
	// Whatever else comes takes it away.
	name := "" // that stands right before
	for i := 0; i < len(query); {
		rest := query[i:]
		r, size := utf8.DecodeRuneInString(rest)
		skip := size
		switch {
		case unicode.IsSpace(r):
			i += size
			continue
		case strings.HasPrefix(rest, "--"):
			if skip = strings.IndexAny(rest, "\r\n"); skip < 0 {
				skip = len(rest)
			}
			i += skip
			continue
		case strings.HasPrefix(rest, "/*"):
			i += comment(rest)
			continue
		case r == '(':
			if why, ok := refusedFunctions[name]; ok {
				return fmt.Errorf("%w\nhint: the function %s can't be called here: %s", ErrNotReading, name, why)
			}
			name = ""
		case r == '\'':
			skip, name = quoted(rest, '\'', false), ""
		case (r == 'e' || r == 'E') && strings.HasPrefix(rest[1:], "'"):
			skip, name = 1+quoted(rest[1:], '\'', true), ""
		// U&"\0071uery" is the name query: what it spells can't be told without reading its escapes as DuckDB does.
		case (r == 'u' || r == 'U') && strings.HasPrefix(rest[1:], `&"`):
			return fmt.Errorf("%w\nhint: write the name of a column as it is, not with escapes", ErrNotReading)
		case r == '"':
			skip = quoted(rest, '"', false)
			name = strings.ToLower(strings.ReplaceAll(strings.Trim(rest[:skip], `"`), `""`, `"`))
		case r == '$':
			skip, name = dollars(rest), ""
		case inName(r):
			skip = len(rest) - len(strings.TrimLeftFunc(rest, func(r rune) bool { return inName(r) || r == '$' }))
			name = strings.ToLower(rest[:skip])
		default:
			name = ""
		}
		i += skip
	}
	return nil
}

func inName(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || r >= 0x80 && !unicode.IsSpace(r)
}

// comment is how long the comment is that text begins with; they nest.
func comment(text string) int {
	// A comment that isn't ended takes all that follows, as do quotes: DuckDB refuses such a query anyway.
	depth := 0
	for i := 0; i < len(text)-1; i++ {
		switch text[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			i++
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

// quoted is how long the quoted text is that text begins with; a quote in it stands twice, or behind a backslash.
func quoted(text string, quote byte, escapes bool) int {
	for i := 1; i < len(text); i++ {
		switch {
		case escapes && text[i] == '\\':
			i++
		case text[i] == quote && i+1 < len(text) && text[i+1] == quote:
			i++
		case text[i] == quote:
			return i + 1
		}
	}
	return len(text)
}

// dollars is how long the text between $tag$ and $tag$ is that text begins with, or the dollar alone.
func dollars(text string) int {
	end := strings.IndexByte(text[1:], '$')
	// $1 is a parameter, and no quote: a tag begins with no digit. $$ has an empty tag.
	if end < 0 || strings.ContainsFunc(text[1:1+end], func(r rune) bool { return !inName(r) }) || end > 0 &&
		text[1] >= '0' && text[1] <= '9' {
		return 1
	}
	tag := text[:end+2]
	if i := strings.Index(text[len(tag):], tag); i >= 0 {
		return len(tag) + i + len(tag)
	}
	return len(text)
}
