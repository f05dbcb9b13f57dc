package schemas

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// sqlStatement is a statement of a .sql file. The files are plain SQL, as DuckDB runs it, and what there is to say of a
// table, a view, a macro or a column stands where that does, behind --| :
//
//	--| What the table is.
//	CREATE TABLE t (
//	    account VARCHAR NOT NULL,  --| What the column is. It goes on
//	                               --| where the next line begins so, too.
//	);
//
// A view has a list of its columns for that, whatever its query is. The list is for readers and for the comments, and
// no part of sql: DuckDB would name the columns by their place in it, so that two that change places would bear each
// other's name without a word.
type sqlStatement struct {
	sql     string // what DuckDB is given
	kind    string // TABLE, VIEW, MACRO or MACRO TABLE, as COMMENT ON says it; "" of what makes none of these
	name    string // with its schema, if that is named
	comment string
	columns []sqlColumn
}

// sqlColumn is a column of a table or a view.
type sqlColumn struct{ name, comment string }

// parseSQL reads the statements of a .sql file. A comment behind --| that belongs to nothing is an error.
func parseSQL(file string) ([]sqlStatement, error) {
	tokens, err := sqlTokens(file)
	if err != nil {
		return nil, err
	}
	var out []sqlStatement
	for {
		head, rest := sqlComment(tokens)
		if len(rest) == 0 {
			if head != "" {
				return nil, fmt.Errorf("nothing follows the comment %q", head)
			}
			return out, nil
		}
		n := 0
		for n < len(rest) && rest[n].text != ";" {
			n++
		}
		if n == len(rest) {
			return nil, fmt.Errorf("the last statement has no semicolon")
		}
		s := sqlStatement{sql: file[rest[0].at:rest[n].at], comment: head}
		if err := s.parse(rest[:n]); err != nil {
			return nil, fmt.Errorf("%s: %w", firstLine(s.sql), err)
		}
		out, tokens = append(out, s), rest[n+1:]
	}
}

// parse reads what a statement makes off its tokens.
func (s *sqlStatement) parse(tokens []sqlToken) error {
	begin, rest := tokens[0].at, tokens
	take := func(words ...string) string {
		for _, w := range words {
			if len(rest) > 0 && strings.EqualFold(rest[0].text, w) {
				rest = rest[1:]
				return w
			}
		}
		return ""
	}
	if take("CREATE") != "" {
		for take("OR", "REPLACE", "TEMP") != "" {
		}
		s.kind = take("TABLE", "VIEW", "MACRO")
	}
	if s.kind == "" {
		if s.comment != "" {
			return fmt.Errorf("the comment %q is about nothing that can have one", s.comment)
		}
		return noComment(rest)
	}
	schema := ""
	if len(rest) > 2 && rest[1].text == "." {
		schema, rest = sqlName(rest[0])+".", rest[2:]
	}
	if len(rest) < 2 || rest[1].text != "(" {
		return fmt.Errorf("no list of columns or parameters follows the name")
	}
	if s.kind == "MACRO" {
		if err := noComment(rest); err != nil {
			return err
		}
	}
	s.name = schema + sqlName(rest[0])
	open := rest[1].at
	for depth, named := 0, true; ; {
		if len(rest) == 1 {
			return fmt.Errorf("a parenthesis is not closed")
		}
		rest = rest[1:]
		switch t := rest[0]; {
		case strings.HasPrefix(t.text, sqlCommentMark):
			if len(s.columns) == 0 || depth == 0 {
				return noComment(rest)
			}
			last := &s.columns[len(s.columns)-1]
			last.comment = strings.TrimSpace(last.comment + " " + t.comment())
		case t.text == "(":
			if depth++; depth == 1 {
				named = false
			}
		case t.text == ")":
			depth--
		case t.text == "," && depth == 1:
			named = false
		case depth == 1 && !named:
			s.columns, named = append(s.columns, sqlColumn{name: sqlName(t)}), true
		}
		if depth == 0 {
			break
		}
	}
	after := rest[0].at + 1
	rest = rest[1:]
	switch s.kind {
	case "MACRO":
		s.columns = nil // they are parameters
		if take("AS") != "" && take("TABLE") != "" {
			s.kind = "MACRO TABLE"
		}
	// The list is cut out, from its parenthesis to the one that closes it; places are those of the file, sql begins at
	// begin.
	case "VIEW":
		s.sql = strings.TrimSpace(s.sql[:open-begin]) + s.sql[after-begin:]
	}
	return noComment(rest)
}

// noComment is an error if a comment is among tokens that it can't be about.
func noComment(tokens []sqlToken) error {
	for _, t := range tokens {
		if strings.HasPrefix(t.text, sqlCommentMark) {
			return fmt.Errorf("the comment %q is about no column", t.comment())
		}
	}
	return nil
}

// sqlCommentMark begins a comment that is kept.
const sqlCommentMark = "--|"

// sqlToken is a word, a quoted name, a string, a sign, or a comment that is kept, with its place in the file.
type sqlToken struct {
	text string
	at   int
}

func (t sqlToken) comment() string {
	return strings.TrimSpace(strings.TrimPrefix(t.text, sqlCommentMark))
}

// sqlName is a name without its quotes.
func sqlName(t sqlToken) string { return strings.Trim(t.text, `"`) }

// sqlComment joins the comments that tokens begin with, and gives what follows them.
func sqlComment(tokens []sqlToken) (string, []sqlToken) {
	var lines []string
	for len(tokens) > 0 && strings.HasPrefix(tokens[0].text, sqlCommentMark) {
		lines, tokens = append(lines, tokens[0].comment()), tokens[1:]
	}
	return strings.Join(lines, " "), tokens
}

// sqlTokens cuts a file into its tokens. Space and comments that aren't kept are left out.
func sqlTokens(file string) ([]sqlToken, error) {
	var out []sqlToken
	for at := 0; at < len(file); {
		rest := file[at:]
		n, keep := 1, true
		until := func(begin, end string) error {
			i := strings.Index(rest[len(begin):], end)
			if i < 0 {
				return fmt.Errorf("%s is not closed", firstLine(rest))
			}
			n = len(begin) + i + len(end)
			return nil
		}
		var err error
		switch c := rest[0]; {
		case c == ' ' || c == '\n' || c == '\t':
			keep = false
		case strings.HasPrefix(rest, "--"):
			keep = strings.HasPrefix(rest, sqlCommentMark)
			n = len(firstLine(rest))
		case strings.HasPrefix(rest, "/*"):
			keep, err = false, until("/*", "*/")
		case c == '\'' || c == '"': // a doubled quote within ends one and begins the next, which comes to the same
			err = until(rest[:1], rest[:1])
		case sqlWord(c):
			for n < len(rest) && sqlWord(rest[n]) {
				n++
			}
		default:
			_, n = utf8.DecodeRuneInString(rest)
		}
		if err != nil {
			return nil, err
		}
		if keep {
			out = append(out, sqlToken{rest[:n], at})
		}
		at += n
	}
	return out, nil
}

func sqlWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
