package allocate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/usagelake/usagelake/schemas"
)

// Days of workbooks are counted from these. Excel has a February 29 in 1900, so that numbers below firstDay are of
// other days in other programs.
var (
	days1900 = mustDate("1899-12-30")
	days1904 = mustDate("1904-01-01")
)

const firstDay = 61 // March 1, 1900

func mustDate(s string) schemas.Date {
	d, err := schemas.ParseDate(s)
	if err != nil {
		panic(err)
	}
	return d
}

// cell is a cell as its spreadsheet shows it, with all of its digits.
func (w *workbook) cell(c *stored) cell {
	if c.formula && c.value == "" && c.kind != "str" {
		return cell{bad: errors.New("it is a formula that was never computed: open the file in a spreadsheet and save it")}
	}
	switch c.kind {
	case "s":
		n, err := strconv.Atoi(strings.TrimSpace(c.value))
		if err != nil || n < 0 || n >= len(w.shared) {
			return cell{bad: errors.New("its text isn't in the file: save it anew")}
		}
		return cell{text: w.shared[n], kind: isLocal}
	case "inlineStr":
		return cell{text: c.inside.text, kind: isLocal}
	case "str":
		return cell{text: unescaped(c.value), kind: isLocal}
	case "b":
		return cell{bad: errors.New("it is a logical value, TRUE or FALSE: format the column as text and enter it anew")}
	case "e":
		return cell{bad: fmt.Errorf("%s is a formula that failed: mend it in the spreadsheet, or empty the cell",
			shown(c.value))}
	case "d":
		day, clock, _ := strings.Cut(c.value, "T")
		if _, err := schemas.ParseDate(day); err != nil || strings.Trim(clock, "0:.Z") != "" {
			return cell{bad: fmt.Errorf("%s is no day: write one, without a time", shown(c.value))}
		}
		return cell{text: day, kind: isDay}
	case "", "n":
		if strings.TrimSpace(c.value) == "" {
			return cell{}
		}
		return w.number(strings.TrimSpace(c.value), c.format)
	}
	return cell{bad: fmt.Errorf("it is of a kind that isn't known, %s: save the file anew", shown(c.kind))}
}

// number is a number as it is shown: by its format it may be a date.
func (w *workbook) number(value, format string) cell {
	digits, err := shownDigits(value)
	if err != nil {
		return cell{bad: err}
	}
	f := readFormat(format)
	switch {
	case f.percent:
		return cell{bad: fmt.Errorf("it is %s, shown as a percentage: format the column as a number, and see that "+
			"it is the one you mean", digits)}
	case f.day || f.month || f.clock:
		n, err := strconv.Atoi(digits)
		if err != nil || !f.day && !f.month {
			return cell{bad: fmt.Errorf("it is the number %s, shown as a time: write a day without a time", digits)}
		}
		day := w.days + schemas.Date(n)
		if n < 0 || w.days == days1900 && n < firstDay || n > lastDay {
			return cell{bad: fmt.Errorf("it is the number %s, shown as a date that isn't one", digits)}
		}
		if !f.day {
			return cell{text: day.String(), kind: isMonth}
		}
		return cell{text: day.String(), kind: isDay}
	}
	whole, _, _ := strings.Cut(strings.TrimPrefix(digits, "-"), ".")
	if len(whole) < f.zeros {
		return cell{text: digits, kind: isPadded}
	}
	return cell{text: digits, kind: isNumber}
}

// lastDay is the last that Excel has, December 31, 9999.
const lastDay = 2958465

var numberText = regexp.MustCompile(`^(-?)([0-9]+)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,3}))?$`)

// spreadsheetDigits is how many digits spreadsheets keep of a number.
const spreadsheetDigits = 15

// shownDigits is a stored number in plain digits, rounded to the fifteen that spreadsheets show. What is stored may
// have two more, which are those of a binary fraction: 0.1+0.2 is stored as 0.30000000000000004. A whole number of
// more than fifteen digits has lost some.
func shownDigits(value string) (string, error) {
	m := numberText.FindStringSubmatch(value)
	if m == nil {
		return "", fmt.Errorf("%s is no number: save the file anew", shown(value))
	}
	exponent := 0
	if m[4] != "" {
		exponent, _ = strconv.Atoi(m[4]) // three digits at the most
	}
	// The number is 0.DIGITS × 10^point.
	digits := []byte(m[2] + m[3])
	point := len(m[2]) + exponent
	for len(digits) > 0 && digits[0] == '0' {
		digits = digits[1:]
		point--
	}
	if len(digits) > spreadsheetDigits {
		up := digits[spreadsheetDigits] >= '5'
		digits = digits[:spreadsheetDigits]
		for i := len(digits) - 1; up; i-- {
			if i < 0 {
				digits = append([]byte{'1'}, digits...)
				point++
				break
			}
			digits[i]++
			if up = digits[i] > '9'; up {
				digits[i] = '0'
			}
		}
	}
	for len(digits) > 0 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
	}
	if len(digits) == 0 {
		return "0", nil
	}
	if point > spreadsheetDigits {
		return "", fmt.Errorf("it is a number of %d digits, of which a spreadsheet keeps %d: format the column as "+
			"text and enter it anew", point, spreadsheetDigits)
	}
	text := string(digits)
	switch {
	case point <= 0:
		text = "0." + strings.Repeat("0", -point) + text
	case point >= len(digits):
		text += strings.Repeat("0", point-len(digits))
	default:
		text = text[:point] + "." + text[point:]
	}
	return m[1] + text, nil
}

// numberFormat is what a format makes of a number.
type numberFormat struct {
	percent           bool
	day, month, clock bool // it shows the day of a date; its month or year; a time
	zeros             int  // digits that it shows before the point at least
}

// unshown are the parts of a format that stand for themselves, or say a colour, a country or a width; and spans of
// hours, minutes and seconds.
var unshown = regexp.MustCompile(`"[^"]*"|\\.|[_*].|\[[^\]]*\]|(?i:am/pm|a/p|general)`)

// readFormat reads the first section of a format's code, in which d, m, y, h and s show parts of a date. An m beside h
// or s is a minute.
func readFormat(code string) numberFormat {
	code = unshown.ReplaceAllStringFunc(strings.ToLower(code), func(part string) string {
		if span := strings.Trim(part, "[]"); part[0] == '[' && strings.Trim(span, span[:min(1, len(span))]) == "" {
			return strings.Trim(span, "$") // [h], [mm], [s]
		}
		return ""
	})
	code, _, _ = strings.Cut(code, ";")
	var f numberFormat
	f.percent = strings.Contains(code, "%")
	f.clock = strings.ContainsAny(code, "hs")
	f.day = strings.Contains(code, "d")
	f.month = strings.ContainsAny(code, "y") || strings.Contains(code, "m") && !f.clock
	whole, _, _ := strings.Cut(code, ".")
	if strings.Count(whole, "0") > 1 && !strings.Contains(code, "e") {
		f.zeros = strings.Count(whole, "0")
	}
	return f
}

// builtIn is the code of a format that every workbook has; "" of those that show a number as it is. Of those that
// countries have of their own, from 27 on, it says that they are dates.
func builtIn(id string) string {
	n, _ := strconv.Atoi(id)
	switch {
	case n == 9 || n == 10:
		return "0%"
	case slices.Contains([]int{14, 15, 16, 22}, n), n >= 27 && n <= 36, n >= 50 && n <= 58:
		return "yyyy-mm-dd"
	case n == 17:
		return "mmm-yy"
	case n >= 18 && n <= 21, n >= 45 && n <= 47:
		return "h:mm"
	}
	return ""
}

var escapedUnit = regexp.MustCompile(`_x[0-9A-Fa-f]{4}_`)

// unescaped reads a text in which characters that XML doesn't take are written as _x000D_.
func unescaped(s string) string {
	if !strings.Contains(s, "_x") {
		return s
	}
	return escapedUnit.ReplaceAllStringFunc(s, func(m string) string {
		n, _ := strconv.ParseUint(m[2:6], 16, 32)
		if r := rune(n); r < 0xd800 || r > 0xdfff {
			return string(r)
		}
		return string(unicode.ReplacementChar)
	})
}
