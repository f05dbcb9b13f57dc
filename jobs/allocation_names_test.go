package jobs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform/allocate"
)

// slipsFound are the findings of slips of the pen where so many tokens' rows name the one team, and so many the other.
func slipsFound(t *testing.T, a string, na int, b string, nb int, centers string,
	known ...[]string) []allocate.Finding {
	t.Helper()
	rows := "token_id,team\n"
	var tokens []string
	for i := range na + nb {
		id, team := fmt.Sprintf("tk_%d", i), a
		if i >= na {
			team = b
		}
		tokens = append(tokens, id)
		rows += id + "," + team + "\n"
	}
	text := "tables: {tokens: {file: tokens.csv, key: token_id}, centers: {file: centers.csv, key: team}}\nrules: [{id: " +
		"r, lookup: [tokens, centers]}]\n"
	rules, err := allocate.Parse(allocate.File{Name: "allocation.yaml", Content: []byte(text)},
		func(name string) ([]byte, error) {
			if name == "tokens.csv" {
				return []byte(rows), nil
			}
			return []byte("team,cost_center\n" + centers), nil
		})
	if err != nil {
		t.Fatal(err)
	}
	trial := newTrial(rules)
	trial.known = map[string][][]string{"team": known}
	for _, id := range tokens {
		k := schemas.AllocationKey{Account: "acme", TokenID: &id}
		trial.comesOut(rules.Assign(k, 20_000).Owner, &k)
	}
	return trial.names()
}

// A name that one token has, a slip of the pen from an established one, is asked about. Two names that are both
// established, or that somebody wrote down both, are two names.
func TestASlipOfThePenIsRareBesideAnEstablishedName(t *testing.T) {
	const other = "x,CC-9\n"
	for _, c := range []struct {
		name    string
		a       string
		na      int
		b       string
		nb      int
		centers string
		known   [][]string
		want    bool
	}{
		{"once beside nine", "Saerch", 1, "Search", 9, other, nil, true},
		{"once beside three", "Marketting", 1, "Marketing", 3, other, nil, true},
		{"once beside two", "Saerch", 1, "Search", 2, other, nil, false},
		{"twice beside nine", "Saerch", 2, "Search", 9, other, nil, false},
		{"one of them in the table of teams", "Saerch", 1, "Search", 9, "Search,CC-1\n", nil, true},
		{"each with a row of its own", "Ireland", 1, "Iceland", 9, "Ireland,CC-1\nIceland,CC-2\n", nil, false},
		{"each with a row, and one code", "Ireland", 1, "Iceland", 9, "Ireland,CC-1\nIceland,CC-1\n", nil, false},
		{"both in a list", "Ireland", 1, "Iceland", 9, other, [][]string{{"Ireland", "Sales", "Iceland"}}, false},
		{"each in another list", "Saerch", 1, "Search", 9, other, [][]string{{"Search"}, {"Saerch"}}, true},
		{"another word in Chinese", "研发一部门组", 1, "研发二部门组", 9, other, nil, false},
		{"another shop in Chinese", "华东销售一部", 1, "华东销售二部", 9, other, nil, false},
		{"a letter more in Chinese", "研究开发部门", 1, "研究开发大部门", 9, other, nil, false},
		{"numbers in Chinese that change places", "研发一二部门", 1, "研发二一部门", 9, other, nil, false},
		{"letters in Chinese that change places", "研开究发部门", 1, "研究开发部门", 9, other, nil, true},
		{"another syllable in Korean", "마케팅사업부", 1, "마케링사업부", 9, other, nil, false},
		{"a long vowel in Japanese", "サーバ管理部", 1, "サーバー管理部", 9, other, nil, false},
		{"another syllable in Japanese", "まーけてぃんぐ", 1, "まーけたぃんぐ", 9, other, nil, false},
	} {
		found := slipsFound(t, c.a, c.na, c.b, c.nb, c.centers, c.known...)
		if got := len(found) == 1; got != c.want || len(found) > 1 {
			t.Errorf("%s: %s and %s: %+v", c.name, c.a, c.b, found)
		}
	}
	for _, pair := range []string{"Ireland/Iceland", "Contract/Contact", "Trial/Trail", "Infra/Intra", "server/sever",
		"Christian/Christina", "Meyer/Meier", "Schmidt/Schmitt", "研发一部门组/研发二部门组", "华东销售一部/华东销售二部"} {
		a, b, _ := strings.Cut(pair, "/")
		for _, n := range [][2]int{{1, 1}, {2, 2}, {2, 9}, {9, 2}, {3, 3}, {50, 40}} {
			if found := slipsFound(t, a, n[0], b, n[1], other); len(found) > 0 {
				t.Errorf("%s, %d: %+v", pair, n, found)
			}
		}
		for _, n := range [][2]int{{1, 9}, {9, 1}} {
			if found := slipsFound(t, a, n[0], b, n[1], a+",CC-1\n"+b+",CC-2\n"); len(found) > 0 {
				t.Errorf("%s, with a row each: %+v", pair, found)
			}
		}
	}
}

func TestASlipOfThePenIsToldWithItsPlace(t *testing.T) {
	found := slipsFound(t, "Saerch", 1, "Search", 9, "x,CC-9\n")
	want := allocate.Finding{Severity: allocate.Info, Source: "tokens.csv:2",
		Message: `team "Saerch" is written here alone and comes out for token tk_0; "Search", a slip of the pen apart, ` +
			`is written in 9 places and comes out for 9 tokens: is it meant?`}
	if len(found) != 1 || found[0] != want {
		t.Errorf("%+v", found)
	}
}

// What the config has both in names: or both in budgets: is two names.
func TestNamesAndBudgetsSayWhichNamesThereAre(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	dir := t.TempDir()
	w.Cfg.Names = kit.Write(t, dir+"/names.csv",
		"kind,id,name\ncost_center,Ireland,Eire\nmodel,m,M\ncost_center,Iceland,Island\n", 0o600)
	w.Cfg.Budgets = []config.Budget{{Name: "a", Team: "Meyer"}, {Name: "b", Team: "Meier"}, {Name: "c", CostCenter: "R&D"}}
	got := fmt.Sprintf("%q", knownNames(w.Cfg))
	if want := `map["cost_center":[["Ireland" "Iceland"] ["" "" "R&D"]] "team":[[] ["Meyer" "Meier" ""]]]`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
