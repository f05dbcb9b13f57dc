package query

import (
	"strings"
	"testing"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	numbers "golang.org/x/text/number"
)

func TestACSVForExcelHasTheSignsOfItsCountryAndTextAsText(t *testing.T) {
	rows := &Rows{Columns: []ResultColumn{{"id", "VARCHAR", false}, {"amount", "DECIMAL(18,12)", true},
		{"at", "TIMESTAMP WITH TIME ZONE", false}, {"day", "DATE", false}}}
	write := func(form CSVForm, row ...Value) string {
		return string(rows.csvHead(form)) + string(rows.csvLines(form)(row))
	}
	row := []Value{{Text: "0042"}, {Text: "-1234.5"}, {Text: "2026-11-01T10:00:00.25Z"}, {Text: "2026-11-01"}}
	for locale, want := range map[string]string{
		"de-DE":       "\ufeffid;amount;at;day\n\"=\"\"0042\"\"\";-1234,5;2026-11-01 10:00:00,25;2026-11-01\n",
		"en_US.UTF-8": "\ufeffid,amount,at,day\n\"=\"\"0042\"\"\",-1234.5,2026-11-01 10:00:00.25,2026-11-01\n",
		"de-ch":       "\ufeffid;amount;at;day\n\"=\"\"0042\"\"\";-1234.5;2026-11-01 10:00:00.25;2026-11-01\n",
		"":            "id,amount,at,day\n0042,-1234.5,2026-11-01T10:00:00.25Z,2026-11-01\n",
	} {
		signs, known := SignsOf(locale)
		if got := write(CSVForm{Excel: signs}, row...); got != want || known != (locale != "") {
			t.Errorf("%s: %q", locale, got)
		}
	}
	german := CSVForm{Excel: Signs{';', ','}}
	for text, want := range map[string]string{
		"0042": `"=""0042"""`, "1234567890123456789": `"=""1234567890123456789"""`, "1-2": `"=""1-2"""`,
		".5": `"="".5"""`, "(5)": `"=""(5)"""`, "$5": `"=""$5"""`, "5 €": `"=""5 €"""`, "TRUE": `"=""TRUE"""`,
		"truer": "truer",
		"1E5":   `"=""1E5"""`, "10-Mar-26": `"=""10-Mar-26"""`, "3 PM": `"=""3 PM"""`, "12%": `"=""12%"""`,
		"2026-10": `"=""2026-10"""`, "1,5": `"=""1,5"""`, "o3": "o3", "gpt-5": "gpt-5", "CC-1010": "CC-1010", "": `""`,
		`1"&A1&"`: `"1""&A1&"""`, "=1+1": "'=1+1", "-1": "'-1", "+49": "'+49", "a;b": `"a;b"`, "a,b": `"a,b"`,
		" 1":   `"="" 1"""`,
		"1\n2": "\"1\n2\"", "４２": "４２", strings.Repeat("1", 256): strings.Repeat("1", 256),
	} {
		if got := string(german.AppendText(nil, text)); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	for time, want := range map[string]string{"2026-11-01T10:00:00": "2026-11-01 10:00:00",
		`["2026-11-01","2026-11-02"]`: `"[""2026-11-01"",""2026-11-02""]"`, "=1": "'=1", "infinity": "infinity"} {
		if got := string(german.AppendTime(nil, time)); got != want {
			t.Errorf("%s is %s, want %s", time, got, want)
		}
	}
	for number, want := range map[string]string{
		"1.125": "1,1250", "1234567.8": "1234567,8", "1e-07": "1e-07", "1.5e+20": "1,5e+20", "0": "0",
		"123456789012345": "123456789012345", "-1234567890123456": `"=""-1234567890123456"""`,
	} {
		if got := string(german.AppendNumber(nil, number)); got != want {
			t.Errorf("%s is %s, want %s", number, got, want)
		}
	}
}

// The decimal signs of locales are those of the Unicode consortium.
func TestLocalesHaveTheirDecimalSigns(t *testing.T) {
	for _, locale := range Locales() {
		signs, known := SignsOf(locale)
		printed := message.NewPrinter(language.MustParse(locale)).Sprint(numbers.Decimal(1.5))
		if !known || printed != "1"+string(signs.Decimal)+"5" || signs.Separator == signs.Decimal {
			t.Errorf("%s: %+v, and 1.5 is %s", locale, signs, printed)
		}
	}
	for locale, want := range map[string]bool{"C": true, "POSIX": true, "C.UTF-8": true, "de_DE@euro": true,
		"xx-YY": false, "": false, "de": false, "en-US": true} {
		if _, known := SignsOf(locale); known != want {
			t.Errorf("%q: %v", locale, known)
		}
	}
}
