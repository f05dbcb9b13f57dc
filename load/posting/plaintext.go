package posting

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"unicode"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// path is the account of a line in a plain-text ledger: above it what the settings say, then the code, then the cost
// centre. A name from the settings that has a colon is the account itself. No two codes, and no two cost centres, are
// one account.
func (s Settings) path(l Line) string {
	above := cmp.Or(s.PlainText.Debit, "Expenses")
	if l.Credit {
		above = cmp.Or(s.PlainText.Credit, "Liabilities")
	}
	name, given := s.named(l.Account)
	parts := []string{above}
	if given && strings.Contains(name, ":") {
		parts = strings.Split(name, ":")
		for i, p := range parts {
			parts[i] = component(p)
		}
	} else {
		parts = append(parts, component(name))
	}
	if !l.Credit {
		parts = append(parts, component(l.CostCenter))
	}
	return strings.Join(parts, ":")
}

// component is a part of an account's name that hledger, ledger and beancount read as such: letters, digits and single
// dashes, beginning with a capital or digit. Other texts are spelt, so that no two of them read alike: a character is
// --HEX-, with its code point, and a text that begins with neither capital nor digit, or with an X, has an X before it.
//
//	CC-1010  CC-1010      research  Xresearch      R&D  R--26-D
func component(s string) string {
	if s == schemas.Unallocated {
		return "X-unallocated" // none is spelt so: a dash at the beginning of a text is --2d-
	}
	runes := []rune(s)
	plain := func(i int) bool {
		return i >= 0 && i < len(runes) && (unicode.IsLetter(runes[i]) || unicode.Is(unicode.Nd, runes[i]))
	}
	var b strings.Builder
	for i, r := range runes {
		if plain(i) || r == '-' && plain(i-1) && plain(i+1) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "--%x-", r)
		}
	}
	if len(runes) == 0 || runes[0] == 'X' || !unicode.IsUpper(runes[0]) && !unicode.Is(unicode.Nd, runes[0]) {
		return "X" + b.String()
	}
	return b.String()
}

// flag says of an entry whether it stands: an accrual is marked as pending.
func (e Entry) flag() string {
	if e.Kind == Charge {
		return "*"
	}
	return "!"
}

// note is text from outside in a comment: what could be read there as a date, a tag or an amount is an underscore.
func note(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(" -.,/&+#()", r) {
			return r
		}
		return '_'
	}, words.Line(s))
}

// plainText writes what hledger and ledger read. Amounts have the decimals of their currency alone: beside the exact
// ones every amount of the currency would be shown with twelve. Those, and the ids, are tags.
func plainText(f Format, entries []Entry, s Settings) ([]byte, error) {
	var b bytes.Buffer
	if f.Name == "hledger" {
		fmt.Fprintln(&b, "decimal-mark .")
	}
	for _, e := range entries {
		fmt.Fprintf(&b, "\n%s %s (%s) %s\n    ; id: %s\n    ; period: %s\n", e.Date, e.flag(), e.Number, note(e.Narration),
			e.ID, e.Period.Name())
		for _, l := range e.Lines {
			if err := s.coded(f, l); err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "    %s  %s %s\n    ; id: %s\n    ; exact: %s\n", s.path(l), l.Amount.Posted(), e.Currency, l.ID,
				l.Exact.Exact())
			if l.Charged != "" {
				fmt.Fprintf(&b, "    ; charged: %s\n", l.Charged)
			}
			if !l.Credit {
				fmt.Fprintf(&b, "    ; cost_center: %s\n", note(l.CostCenter))
			}
			if l.Corrects != 0 {
				fmt.Fprintf(&b, "    ; corrects: %s\n", l.corrects)
			}
		}
	}
	return b.Bytes(), nil
}

// beancount writes what Beancount reads. It opens no account: months are included side by side, and an account is
// opened once, by whoever includes them.
func beancount(f Format, entries []Entry, s Settings) ([]byte, error) {
	text := func(s string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(words.Line(s)) + `"`
	}
	var b bytes.Buffer
	for i, e := range entries {
		if i > 0 {
			fmt.Fprintln(&b)
		}
		fmt.Fprintf(&b, "%s %s %s ^%s\n  id: %s\n  period: %s\n", e.Date, e.flag(), text(e.Narration), e.Number, text(e.ID),
			text(e.Period.Name()))
		for _, l := range e.Lines {
			if err := s.coded(f, l); err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "  %s  %s %s\n    id: %s\n    exact: %s\n", s.path(l), l.Amount.Posted(), e.Currency, text(l.ID),
				text(l.Exact.Exact()))
			if l.Charged != "" {
				fmt.Fprintf(&b, "    charged: %s\n", text(l.Charged))
			}
			if !l.Credit {
				fmt.Fprintf(&b, "    cost_center: %s\n", text(l.CostCenter))
			}
			if l.Corrects != 0 {
				fmt.Fprintf(&b, "    corrects: %s\n", text(l.corrects))
			}
		}
	}
	return b.Bytes(), nil
}

// coded says that a line has an account of the general ledger.
func (s Settings) coded(f Format, l Line) error {
	if name, _ := s.named(l.Account); strings.HasPrefix(name, "(") {
		return column{head: "account"}.takes(f, name, l)
	}
	return nil
}
