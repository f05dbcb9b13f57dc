package allocate

import "testing"

// Names that a slip of the pen sets apart are found; names that are meant to differ by a letter aren't.
func TestSlipsOfThePen(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"Search", "Saerch", true},
		{"search", "Saerch", true},
		{"Marketing", "Marketting", true},
		{"Marketing", "Markting", true},
		{"Marketing", "Marketimg", true},
		{"R&D platform", "R&D plaftorm", true},
		{"eSarch", "Search", true},
		{"研究开发部门", "研开究发部门", true},
		{"研发一部门组", "研发二部门组", false},
		{"华东销售一部", "华东销售二部", false},
		{"研发一二部门", "研发二一部门", false},
		{"研究开发部门", "研究开发大部门", false},
		{"サーバ管理部", "サーバー管理部", false},
		{"마케팅사업부", "마케링사업부", false},
		{"R&D研究plaform组", "R&D研究platform组", true},
		{"Search", "Search", false},
		{"Search", "Saecrh", false},
		{"CC-1010", "CC-1020", false},
		{"CC-1010", "CC-10100", false},
		{"Team A", "Team B", false},
		{"TeamA", "TeamB", false},
		{"Team", "TeamA", false},
		{"Sales US", "Sales UK", false},
		{"Platform", "Platforms", false},
		{"Ads", "Abs", false},
		{"", "a", false},
	} {
		var s Slips
		s.Add(c.a)
		if got := s.Near(c.b) == c.a && s.Near(c.b) != ""; got != c.want {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
		var other Slips
		other.Add(c.b)
		if got := other.Near(c.a) != ""; got != c.want {
			t.Errorf("%q and %q: %v", c.b, c.a, got)
		}
	}
}
