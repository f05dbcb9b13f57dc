package allocate

import (
	"reflect"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

func TestNamesAreReadAsTablesAre(t *testing.T) {
	want := []schemas.Name{{Kind: "token", ID: "10930", Name: "Search, nightly"},
		{Kind: "cost_center", ID: "CC-1", Name: "Café"}, {Kind: "user", ID: "10930", Name: "Ann"}}
	for _, text := range []string{
		"kind,id,name\ntoken,10930,\"Search, nightly\"\ncost_center,CC-1,Café\n\nuser,10930,Ann\n",
		"\xef\xbb\xbfname;kind;id\r\nSearch, nightly;token;10930\r\nCafé;cost_center; CC-1 \r\n;;\r\nAnn;user;10930\r\n",
		"kind\tid\tname\ntoken\t10930\tSearch, nightly\ncost_center\tCC-1\tCafé\nuser\t10930\tAnn\n",
	} {
		got, err := Names(File{Name: "names.csv", Content: []byte(text)})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q gives %v, %v", text, got, err)
		}
	}
}

func TestMistakesInNamesAreToldWithTheirLine(t *testing.T) {
	for _, x := range []struct{ text, want string }{
		{"", "names.csv:1: the file is empty"},
		{"kind,id\n", "names.csv:1: no column name"},
		{"kind,id,name,colour\n", `names.csv:1: unknown column "colour": there are kind, id, name`},
		{"kind,id,name\nteam,a,b\n", `names.csv:2: kind: "team" is none of token, user, model, cost_center, account`},
		{"kind,id,name\ntoken,a,b\nuser,a,b\ntoken,a,c\n", "names.csv:4: the token a stands in line 2 already"},
		{"kind,id,name\ntoken,,b\n", "names.csv:2: id: it is empty"},
		{"kind,id,name\ntoken,a,\n", "names.csv:2: name: it is empty"},
		{"kind,id,name\ntoken,1.23457E+18,a\n", "names.csv:2: id: 1.23457E+18 is a rounded number"},
		{"kind,id,name\ntoken,a\n", "names.csv:2: 2 cells, the header has 3"},
		{"kind,id,name\ntoken,a,#N/A\n", "names.csv:2: name: #N/A is a formula that failed"},
	} {
		if _, err := Names(File{Name: "names.csv", Content: []byte(x.text)}); err == nil ||
			!strings.Contains(err.Error(), x.want) {
			t.Errorf("%q: %v, want %s", x.text, err, x.want)
		}
	}
}
