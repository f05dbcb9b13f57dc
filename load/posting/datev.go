package posting

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/encoding/charmap"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// datevColumns are the 125 of a posting batch of format 13, as DATEV's own sample file has them, its uneven dashes
// included.
func datevColumns() []string {
	out := strings.Split("Umsatz (ohne Soll/Haben-Kz);Soll/Haben-Kennzeichen;WKZ Umsatz;Kurs;Basis-Umsatz;"+
		"WKZ Basis-Umsatz;Konto;Gegenkonto (ohne BU-Schlüssel);BU-Schlüssel;Belegdatum;Belegfeld 1;Belegfeld 2;Skonto;"+
		"Buchungstext;Postensperre;Diverse Adressnummer;Geschäftspartnerbank;Sachverhalt;Zinssperre;Beleglink", ";")
	for i := 1; i <= 8; i++ {
		out = append(out, fmt.Sprintf("Beleginfo - Art %d", i), fmt.Sprintf("Beleginfo - Inhalt %d", i))
	}
	out = append(out, strings.Split("KOST1 - Kostenstelle;KOST2 - Kostenstelle;Kost-Menge;EU-Land u. UStID (Bestimmung);"+
		"EU-Steuersatz (Bestimmung);Abw. Versteuerungsart;Sachverhalt L+L;Funktionsergänzung L+L;BU 49 Hauptfunktionstyp;"+
		"BU 49 Hauptfunktionsnummer;BU 49 Funktionsergänzung", ";")...)
	for i := 1; i <= 20; i++ {
		out = append(out, fmt.Sprintf("Zusatzinformation - Art %d", i), fmt.Sprintf("Zusatzinformation- Inhalt %d", i))
	}
	return append(out, strings.Split("Stück;Gewicht;Zahlweise;Forderungsart;Veranlagungsjahr;Zugeordnete Fälligkeit;"+
		"Skontotyp;Auftragsnummer;Buchungstyp;USt-Schlüssel (Anzahlungen);EU-Land (Anzahlungen);"+
		"Sachverhalt L+L (Anzahlungen);EU-Steuersatz (Anzahlungen);Erlöskonto (Anzahlungen);Herkunft-Kz;Buchungs GUID;"+
		"KOST-Datum;SEPA-Mandatsreferenz;Skontosperre;Gesellschaftername;Beteiligtennummer;Identifikationsnummer;"+
		"Zeichnernummer;Postensperre bis;Bezeichnung SoBil-Sachverhalt;Kennzeichen SoBil-Buchung;Festschreibung;"+
		"Leistungsdatum;Datum Zuord. Steuerperiode;Fälligkeit;Generalumkehr (GU);Steuersatz;Land;Abrechnungsreferenz;"+
		"BVV-Position;EU-Land u. UStID (Ursprung);EU-Steuersatz (Ursprung);Abw. Skontokonto", ";")...)
}

// datevNumbers are the columns that hold no text, and so stand without quotation marks; an empty text has them.
func datevNumbers() []string {
	return strings.Split("Umsatz (ohne Soll/Haben-Kz);Kurs;Basis-Umsatz;Konto;Gegenkonto (ohne BU-Schlüssel);Belegdatum;"+
		"Skonto;Postensperre;Geschäftspartnerbank;Sachverhalt;Zinssperre;Kost-Menge;EU-Steuersatz (Bestimmung);"+
		"Sachverhalt L+L;BU 49 Hauptfunktionstyp;BU 49 Hauptfunktionsnummer;BU 49 Funktionsergänzung;Stück;Gewicht;"+
		"Zahlweise;Veranlagungsjahr;Zugeordnete Fälligkeit;Skontotyp;USt-Schlüssel (Anzahlungen);"+
		"Sachverhalt L+L (Anzahlungen);EU-Steuersatz (Anzahlungen);Erlöskonto (Anzahlungen);KOST-Datum;Skontosperre;"+
		"Beteiligtennummer;Postensperre bis;Kennzeichen SoBil-Buchung;Festschreibung;Leistungsdatum;"+
		"Datum Zuord. Steuerperiode;Fälligkeit;Steuersatz;BVV-Position;EU-Steuersatz (Ursprung);Abw. Skontokonto", ";")
}

// datevCode is what a document's field and a cost centre may consist of.
var datevCode = regexp.MustCompile(`^[\w$&%*+/ -]{1,36}$`)

// datev writes a posting batch. Each debit is a posting of its own against the account that is credited, so that a
// batch balances by its form; what is below 0 stands on the other side (H), for amounts have no sign. The batch isn't
// locked: whoever imports it may.
func datev(f Format, entries []Entry, s Settings) ([]byte, error) {
	e := entries[0]
	currency := cmp.Or(s.DATEV.Currency, "EUR")
	if e.Currency != currency {
		return nil, refuse("where the books are in "+e.Currency+": journal: datev: currency",
			"datev: %s is charged in %s, and the client's books are in %s: DATEV takes other currencies with a rate, and there "+
				"is none", e.Period.Title(), e.Currency, currency)
	}
	columns, numbers := datevColumns(), datevNumbers()
	at := map[string]int{}
	empty := make([]string, len(columns))
	for i, c := range columns {
		at[c] = i
		if !slices.Contains(numbers, c) {
			empty[i] = datevText("")
		}
	}
	rows := []string{s.datevHeader(e), strings.Join(columns, ";")}
	for _, e := range entries {
		for _, l := range e.debits() {
			row := slices.Clone(empty)
			set := func(column, value string) { row[at[column]] = value }
			quote := func(column, value string) { set(column, datevText(value)) }
			account, err := s.datevAccount(f, l.Account, l)
			if err != nil {
				return nil, err
			}
			contra, err := s.datevAccount(f, e.Credited, l)
			if err != nil {
				return nil, err
			}
			side := "S"
			if l.Amount.Sign() < 0 {
				side = "H"
			}
			set("Umsatz (ohne Soll/Haben-Kz)", strings.Replace(l.Amount.Abs().Fixed(2), ".", ",", 1))
			quote("Soll/Haben-Kennzeichen", side)
			quote("WKZ Umsatz", e.Currency)
			set("Konto", account)
			set("Gegenkonto (ohne BU-Schlüssel)", contra)
			quote("BU-Schlüssel", s.DATEV.TaxKey)
			set("Belegdatum", e.Date.Start().Format("0201"))
			quote("Belegfeld 1", l.ID)
			quote("Buchungstext", words.Clip(l.whose(), 60))
			quote("Beleginfo - Art 1", "Beleg")
			quote("Beleginfo - Inhalt 1", e.Number+" "+words.Clip(e.Narration, 150))
			quote("Beleginfo - Art 2", "Betrag genau")
			quote("Beleginfo - Inhalt 2", l.Exact.Exact())
			set("Festschreibung", "0")
			if c := center(e, l); s.DATEV.CostCenters && c != "" {
				if !datevCode.MatchString(c) {
					return nil, refuse("call it otherwise in the allocation rules, or leave cost centres out: journal: datev: "+
						"cost_centers: false", "datev: a cost centre has at most 36 letters, digits and $ & %% * + - /, unlike %q",
						words.Cell(c))
				}
				quote("KOST1 - Kostenstelle", c)
			}
			rows = append(rows, strings.Join(row, ";"))
		}
	}
	var b bytes.Buffer
	for _, row := range rows {
		for _, r := range row {
			c, ok := charmap.Windows1252.EncodeRune(r)
			if !ok { // a letter that DATEV's character set doesn't have, in a text
				c = '?'
			}
			b.WriteByte(c)
		}
		b.WriteString("\r\n")
	}
	return b.Bytes(), nil
}

// whose is what a line is for, without its id and amount, which have fields of their own.
func (l Line) whose() string {
	text, _, _ := strings.Cut(l.text(0), "; exact ")
	return text
}

// datevText is a text field: in quotes, without what steers.
func datevText(s string) string { return `"` + strings.ReplaceAll(words.Line(s), `"`, `""`) + `"` }

// datevAccount is the number of an account.
func (s Settings) datevAccount(f Format, code string, l Line) (string, error) {
	name, _ := s.named(code)
	if err := (column{head: "Konto"}).takes(f, name, l); err != nil {
		return "", err
	}
	length := cmp.Or(s.DATEV.AccountLength, 4)
	if len(name) > length || strings.Trim(name, "0123456789") != "" || strings.Trim(name, "0") == "" {
		return "", refuse("give the code a number: journal: accounts: [{gl_code: …, name: …}]",
			"datev: an account has at most %d digits (journal: datev: account_length), unlike %q of %s", length,
			words.Cell(name), words.Cell(l.whom()))
	}
	return name, nil
}

// datevHeader is the first line: whose books, which year, which month. Where it is to say when it was written it has
// the posting date, so that the same batch is the same file.
func (s Settings) datevHeader(e Entry) string {
	month := e.Date.Month()
	start := time.Month(cmp.Or(s.DATEV.FiscalYear, 1))
	year := month.Start().Year()
	if month.Start().Month() < start { // the year began in the calendar year before
		year--
	}
	ymd := func(d schemas.Date) string { return date(d, "YYYYMMDD") }
	return fmt.Sprintf(`"EXTF";700;21;"Buchungsstapel";13;%s000000000;;"UL";"";"";%d;%d;%04d%02d01;%d;%s;%s;"%s";"";`+
		`1;0;0;"%s";;"";;;"";;;"";""`, ymd(e.Date), s.DATEV.Consultant, s.DATEV.Client, year, start,
		cmp.Or(s.DATEV.AccountLength, 4), ymd(month.First()), ymd((month+1).First()-1),
		words.Clip("usagelake "+e.Number, 30), e.Currency)
}
