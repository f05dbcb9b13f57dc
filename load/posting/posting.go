package posting

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Journal is what is charged in a period, in a currency.
type Journal struct {
	Period   schemas.Period
	Currency string // ISO 4217; "" is not known, and can't be written
	// Credit is the code of the account that is credited, with Credited: whole minor units of the currency, below 0 where
	// something was used.
	Credit   string
	Credited schemas.Money
	Debits   []Debit
}

// Debit is what a cost centre is debited.
type Debit struct {
	Account    string // code of the general ledger
	CostCenter string
	Corrects   schemas.Month // the closed month that it corrects; 0: none
	Amount     schemas.Money // whole minor units of the currency; below 0 for refunds
	Exact      schemas.Money // what Amount is rounded from
	Charged    string        // what that is converted from, with its currency and rate: 12.5 USD at 0.92; "" if it isn't
}

// Kind is what an entry is for.
type Kind string

// The kinds of entries.
const (
	Charge   Kind = "charge"   // what a closed period is charged
	Accrual  Kind = "accrual"  // what a period has come to that isn't closed
	Reversal Kind = "reversal" // takes an accrual back, on the first day after its period
)

// letter is what the kind adds to the number of an entry.
func (k Kind) letter() string { return map[Kind]string{Accrual: "A", Reversal: "R"}[k] }

// Entry is one document of a ledger. Its lines sum to 0, and none of them is 0.
type Entry struct {
	ID        string // of the document, in every ledger
	Number    string // for people: UL202610USD; capitals and digits, and a dash where it is a part of several
	Kind      Kind
	Date      schemas.Date // posting date
	Period    schemas.Period
	Currency  string
	Narration string
	Credited  string  // code of the account that is credited, whether or not anything is left for it
	Lines     []Line  // the credit of the whole is the last
	of        *string // the cost centre whose lines it has; nil: everybody's
}

// Line is one line of an entry.
type Line struct {
	// ID is the same on every run: of the series, the period, the currency, the account, the cost centre, the kind of
	// entry and what it corrects, and not of the amount.
	ID         string
	Account    string
	CostCenter string // "" of the credit
	Credit     bool   // that it is the credit of the whole
	Corrects   schemas.Month
	corrects   string        // what the books call it
	Amount     schemas.Money // debits above 0, credits below
	Exact      schemas.Money
	Charged    string // as of the Debit
}

// Entries are those of a journal: the charge, or with accrual that and its reversal; none where everything is 0. A
// journal that doesn't balance is an Error.
func Entries(j Journal, s Settings, accrual bool) ([]Entry, error) {
	sum := j.Credited
	for _, d := range j.Debits {
		sum = sum.Add(d.Amount)
	}
	if sum.Sign() != 0 {
		return nil, refuse("usagelake verify", "the journal of %s doesn't balance: %s is left over", j.Period.Title(),
			sum.In(j.Currency).Exact())
	}
	if !accrual {
		return s.entry(j, Charge, s.postedOn(j.Period)), nil
	}
	last := j.Period.To - 1
	return append(s.entry(j, Accrual, last), s.entry(j.negated(), Reversal, j.Period.To)...), nil
}

// negated is the journal with its sides swapped.
func (j Journal) negated() Journal {
	j.Credited, j.Debits = j.Credited.Neg(), slices.Clone(j.Debits)
	for i, d := range j.Debits {
		j.Debits[i].Amount, j.Debits[i].Exact = d.Amount.Neg(), d.Exact.Neg()
	}
	return j
}

// entry makes an entry of a journal; none if nothing is left of it.
func (s Settings) entry(j Journal, kind Kind, date schemas.Date) []Entry {
	e := Entry{Number: s.series() + strings.ReplaceAll(j.Period.Name(), "-", "") + j.Currency + kind.letter(), Kind: kind,
		Date: date, Period: j.Period, Currency: j.Currency, Credited: j.Credit}
	e.ID = s.id(e, "entry")
	e.Narration = map[Kind]string{Accrual: "Accrual: ", Reversal: "Reversal of accrual: "}[kind] +
		words.Line(strings.ReplaceAll(cmp.Or(s.Narration, DefaultNarration), "{period}", j.Period.Title()))
	for _, d := range j.Debits {
		if d.Amount.Sign() == 0 { // a ledger takes no line of nothing, and its exact amount is below half a cent
			continue
		}
		l := Line{Account: d.Account, CostCenter: d.CostCenter, Corrects: d.Corrects, Amount: d.Amount.In(j.Currency),
			Exact: d.Exact.In(j.Currency), Charged: d.Charged}
		corrects := ""
		if d.Corrects != 0 {
			l.corrects = j.Period.NameOf(d.Corrects)
			corrects = l.corrects
		}
		l.ID = s.id(e, "debit", d.Account, d.CostCenter, corrects)
		e.Lines = append(e.Lines, l)
	}
	e.credit(s)
	if len(e.Lines) == 0 {
		return nil
	}
	return []Entry{e}
}

// Of are the entries with the lines of a cost centre alone, each with the ID that it has in the whole, and a credit for
// them. The documents and their credits are others than those of the whole, and have IDs of their own: whoever imports
// both has the cost centre's lines twice, and his ledger says so if it takes an ID once.
func Of(entries []Entry, costCenter string, s Settings) []Entry {
	var out []Entry
	for _, e := range entries {
		one := e
		one.Lines = slices.DeleteFunc(slices.Clone(e.Lines), func(l Line) bool {
			return l.Credit || l.CostCenter != costCenter
		})
		if len(one.Lines) == 0 {
			continue
		}
		one.of = &costCenter
		one.ID = s.id(one, "entry")
		one.Narration += ", " + words.Line(costCenter)
		one.credit(s)
		out = append(out, one)
	}
	return out
}

// credit adds the line that balances the others, unless they do by themselves.
func (e *Entry) credit(s Settings) {
	none := schemas.Money{}.In(e.Currency)
	l := Line{Account: e.Credited, Credit: true, Amount: none, Exact: none}
	for _, d := range e.Lines {
		l.Amount, l.Exact = l.Amount.Sub(d.Amount), l.Exact.Sub(d.Exact)
	}
	if l.Amount.Sign() != 0 {
		l.ID = s.id(*e, "credit", e.Credited)
		e.Lines = append(e.Lines, l)
	}
}

// id is that of a part of an entry: 64 bits of a digest, so that of a million lines no two are likely to share one.
func (s Settings) id(e Entry, parts ...string) string {
	h := sha256.New()
	if e.of != nil {
		parts = append(parts, *e.of)
	}
	for _, p := range append([]string{s.series(), e.Number, e.Period.Name(), e.Currency, string(e.Kind)}, parts...) {
		fmt.Fprintf(h, "%d:%s", len(p), p) // with lengths, so that no two lists of parts read alike
	}
	return fmt.Sprintf("ul-%x", h.Sum(nil)[:8])
}

// split parts an entry into some of at most so many lines, each with a credit of its own and so in balance by itself.
// 0 is any number.
func (e Entry) split(most int, s Settings) []Entry {
	if most == 0 || len(e.Lines) <= most {
		return []Entry{e}
	}
	var out []Entry
	for part := range slices.Chunk(e.debits(), most-1) {
		one := e
		one.Number += "-" + strconv.Itoa(len(out)+1)
		one.ID = s.id(one, "entry")
		one.Narration += fmt.Sprintf(", part %d", len(out)+1)
		one.Lines = slices.Clone(part)
		one.credit(s)
		out = append(out, one)
	}
	return out
}

// debits are the lines without the credit of the whole.
func (e Entry) debits() []Line {
	if last := e.Lines[len(e.Lines)-1]; last.Credit {
		return e.Lines[:len(e.Lines)-1]
	}
	return e.Lines
}

// balance is an error unless the lines sum to 0.
func (e Entry) balance() error {
	sum := schemas.Money{}.In(e.Currency)
	for _, l := range e.Lines {
		sum = sum.Add(l.Amount)
	}
	if sum.Sign() != 0 {
		return refuse("usagelake verify", "the entry %s doesn't balance: %s is left over", e.Number, sum.Exact())
	}
	return nil
}

// text is what a line says of itself, in at most so many characters (0: any number): whom it is for, the exact amount,
// what it is converted from, its id. Where there is no room the latter goes first, then the exact amount; of a long
// name the end; never the id. It begins with a word of ours, so that no spreadsheet computes it, whatever a cost centre
// is called.
func (l Line) text(most int) string {
	whom := "Credit of the whole"
	if !l.Credit {
		whom = "For " + words.Line(l.CostCenter)
		if l.Corrects != 0 {
			whom = "Corrects " + l.corrects + " for " + words.Line(l.CostCenter)
		}
	}
	amount := whom + "; exact " + l.Exact.Exact()
	texts := []string{amount + "; " + l.ID}
	if l.Charged != "" {
		texts = slices.Insert(texts, 0, amount+" of "+l.Charged+"; "+l.ID)
	}
	for _, t := range texts {
		if most == 0 || len([]rune(t)) <= most {
			return t
		}
	}
	return words.Clip(whom, most-len(l.ID)-2) + "; " + l.ID
}

// Error is what can't be posted, and what to do about it.
type Error struct{ Message, Hint string }

func (e *Error) Error() string { return e.Message }

func refuse(hint, format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...), hint}
}
