package report

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// alikes are names that somebody who stores them may take for one another: by case, width, normal form, or because
// what a sheet's name can't hold is taken out of them.
var alikes = [][]string{
	{"µ-services", "μ-services", "Μ-SERVICES"},                                  // U+00B5, U+03BC, U+039C
	{"ΟΔΟΣ", "οδος", "οδοσ"},                                                    // a final sigma
	{"Sales", "sales", "ſales", "SALES"},                                        // a long s
	{"\u212a-lab", "K-lab", "k-lab"},                                            // the Kelvin
	{"Ångström", "A\u030angstro\u0308m", "\u212bngström"},                       // composed, decomposed, U+212B
	{"Straße", "Strasse", "STRASSE", "STRAẞE"},                                  // ss
	{"ﬁnance", "finance", "ｆｉｎａｎｃｅ", "ＦＩＮＡＮＣＥ"},                                 // a ligature, full width
	{"R/D", "R_D", "R:D", "R?D", "R\u200bD"},                                    // what a sheet's name can't hold
	{"'lab'", "lab", "lab'", " lab"},                                            // apostrophes and spaces at the ends
	{"Summary", "summary", "Lines", "Journal", "JOURNAL", "History", "history"}, // sheets that are there already
	{strings.Repeat("研", 31), strings.Repeat("研", 31) + "究", strings.Repeat("研", 31) + "発"},
	{strings.Repeat("𝄞", 20), strings.Repeat("𝄞", 21)},
	{none, "", " ", "Sheet", "sheet1"},
	{"İzmir", "i\u0307zmir", "ızmir", "izmir"},
	{"Ⅳ", "IV", "ⅳ", "iv"},
	{"Café", "Cafe\u0301", "CAFÉ"},
	{"Å (2)", "å", "Å"},
}

// statementOf is a statement of one line for each owner, whose amount tells it.
func statementOf(owners []string) *Document {
	t := &Table{Name: "lines", Title: "Lines", Group: "cost_center",
		Columns: []Column{{"cost_center", "Cost centre", Text, false}, {"currency", "Currency", Text, false},
			{"net_cost", "Net", Money, true}}}
	for i, o := range owners {
		t.Rows = append(t.Rows, row(o, "USD", fmt.Sprint(i+1)), row(o, "USD", fmt.Sprintf("%d.25", i+1)))
	}
	journal := &Table{Name: "journal", Title: "Journal", Columns: []Column{{"cost_center", "Cost centre", Text, false}},
		Rows: [][]query.Value{row("the journal's")}}
	return &Document{Title: "Statement", Tables: []*Table{t, journal}}
}

type failing interface {
	Helper()
	Errorf(string, ...any)
	Fatalf(string, ...any)
}

// ownSheets reads a statement back: each owner has one sheet, in which the owner's rows stand and no other's.
func ownSheets(t failing, f *excelize.File, owners []string) (sheets map[string]string) {
	t.Helper()
	list := f.GetSheetList()
	if want := 3 + len(owners); len(list) != want {
		t.Fatalf("%d sheets for %d owners, want %d: %q", len(list), len(owners), want, list)
	}
	seen := map[string]string{}
	for _, name := range list {
		if other, ok := seen[schemas.Fold(name)]; ok {
			t.Errorf("two sheets are called alike: %q and %q", other, name)
		}
		seen[schemas.Fold(name)] = name
	}
	sheets = map[string]string{}
	for _, sheet := range list {
		rows, err := f.GetRows(sheet, excelize.Options{RawCellValue: true})
		if err != nil {
			t.Fatalf("%s: %v", sheet, err)
		}
		if sheet == "Journal" && rows[1][0] != "the journal's" {
			t.Errorf("the sheet Journal is somebody's: %q", rows)
		}
		if slices.Contains([]string{"Summary", "Lines", "Journal"}, sheet) {
			continue
		}
		// The amount names the owner: a text may have lost what a cell can't hold.
		var i int
		if _, err := fmt.Sscan(rows[1][2], &i); err != nil || i < 1 || i > len(owners) {
			t.Fatalf("%q holds %q", sheet, rows)
		}
		owner := owners[i-1]
		if other, ok := sheets[owner]; ok {
			t.Errorf("%q has the sheets %q and %q", owner, other, sheet)
		}
		sheets[owner] = sheet
		if len(rows) < 5 || rows[1][2] != fmt.Sprint(i) || rows[2][2] != fmt.Sprintf("%d.25", i) || len(rows[3]) > 0 ||
			rows[4][2] != fmt.Sprintf("%d.25", 2*i) {
			t.Errorf("the sheet of %q holds %q", owner, rows)
		}
	}
	return sheets
}

func TestNamesThatAreAlikeHaveSheetsOfTheirOwn(t *testing.T) {
	var all []string
	for _, names := range alikes {
		f, _ := workbook(t, statementOf(names))
		ownSheets(t, f, names)
		for _, n := range names {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	f, _ := workbook(t, statementOf(all))
	ownSheets(t, f, all)
}

func TestASheetIsOneOwnersInEveryMonth(t *testing.T) {
	for _, names := range alikes {
		whose := map[string]string{}
		for skip := range len(names) + 1 {
			month := slices.Clone(names)
			if skip < len(names) {
				month = slices.Delete(month, skip, skip+1)
			}
			f, _ := workbook(t, statementOf(month))
			for owner, sheet := range ownSheets(t, f, month) {
				if other, ok := whose[sheet]; ok && other != owner {
					t.Errorf("the sheet %q is %q in one month, and %q in another", sheet, other, owner)
				}
				whose[sheet] = owner
			}
		}
	}
}

func TestAnyOwnersHaveSheetsOfTheirOwn(t *testing.T) {
	letters := rapid.SampledFrom([]rune("aAbBsSſßẞµμΜσςΣkKKåÅÅiIİıﬁ１1①Ⅳ/\\:?*[]'_ " +
		".-\u0301\u0308\u0345\u200b\u200dé研究𝄞😀()2~"))
	name := rapid.OneOf(
		rapid.StringOfN(letters, 0, 40, -1),
		rapid.StringOfN(letters, 0, 3, -1),
		rapid.Map(rapid.StringOfN(letters, 1, 2, -1), func(s string) string { return strings.Repeat(s, 32) }),
		rapid.SampledFrom(slices.Concat(alikes...)),
		rapid.String(),
	)
	rapid.Check(t, func(rt *rapid.T) {
		owners := rapid.SliceOfNDistinct(name, 1, 12, func(s string) string { return s }).Draw(rt, "owners")
		f, _ := workbook(t, statementOf(owners))
		ownSheets(rt, f, owners)
	})
}

// What a workbook's library takes for one name, the fold does, too.
func TestTheFoldIsNoFinerThanThatOfTheWorkbooksLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.StringOfN(rapid.SampledFrom([]rune("aAsSſµμΜσςΣkKåÅÅßẞǆǅǄΐΐ")), 1, 3, -1).Draw(t, "a"),
			rapid.StringOfN(rapid.SampledFrom([]rune("aAsSſµμΜσςΣkKåÅÅßẞǆǅǄΐΐ")), 1, 3, -1).Draw(t, "b")
		if strings.EqualFold(a, b) && schemas.Fold(a) != schemas.Fold(b) {
			t.Errorf("%q and %q are one sheet, and fold to %q and %q", a, b, schemas.Fold(a), schemas.Fold(b))
		}
	})
}

// Where the file has names of a kind, each column of its ids has one of names beside it; a page has both in one cell.
func TestNamesStandBesideTheirIds(t *testing.T) {
	called := calledNames{"token": {"tk_1": "Nightly"}, "cost_center": {"CC-1": "Search <b>"}, "model": {}}
	table := &Table{Name: "t", Title: "T", Group: "cost_center",
		Columns: []Column{{"cost_center", "Cost centre", Text, false}, {"token_id", "Token", Text, false},
			{"user", "User", Text, false}, {"scope", "Scope", Text, false}, {"scope_value", "Scope value", Text, false},
			{"net_cost", "Net", Money, true}},
		Rows: [][]query.Value{row("CC-1", "tk_1", "tk_1", "token", "tk_1", "1"),
			row("CC-2", "tk_2", "u", "user", "tk_1", "2"), row("CC-2", "NULL", "u", "all", "NULL", "3")}}
	table.name(called)
	var columns []string
	for _, c := range table.Columns {
		columns = append(columns, c.Name)
	}
	if got, want := strings.Join(columns,
		" "), "cost_center cost_center_name token_id token_name user scope scope_value scope_name net_cost"; got != want {
		t.Fatalf("the columns are %s, want %s", got, want)
	}
	for i, want := range []string{"CC-1|Search <b>|tk_1|Nightly|tk_1|token|tk_1|Nightly|1",
		"CC-2|–|tk_2|–|u|user|tk_1|–|2", "CC-2|–|–|–|u|all|–|–|3"} {
		var cells []string
		for _, v := range table.Rows[i] {
			if v.Null {
				v.Text = none
			}
			cells = append(cells, v.Text)
		}
		if got := strings.Join(cells, "|"); got != want {
			t.Errorf("row %d is %s, want %s", i, got, want)
		}
	}
	d := &Document{Title: "x", Tables: []*Table{table}}
	page := render(t, d.HTML)
	for _, want := range []string{"Search &lt;b&gt; (CC-1)</th>", "Nightly <small>tk_1</small></td>",
		`<td data-t="Token">tk_2</td>`} {
		if !strings.Contains(strings.ReplaceAll(page, ` class="s"`, ""), want) {
			t.Errorf("the page has no %s", want)
		}
	}
	f, _ := workbook(t, d)
	if got := (cellOf{f, t, "CC-1"}).raw("D2"); got != "Nightly" || !slices.Contains(f.GetSheetList(), "CC-2") {
		t.Errorf("the sheet of CC-1 has %q; sheets are %q", got, f.GetSheetList())
	}
}
