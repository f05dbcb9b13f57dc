package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMistakesOfViewersAreRefused(t *testing.T) {
	good := Viewer{Name: "x", TokenEnv: "X_TOKEN", Sees: SeesAll}
	for say, change := range map[string]func(*Viewer){
		"":                      func(*Viewer) {},
		"give one of token_env": func(v *Viewer) { v.Header = "X-Email" },
		"say what is seen":      func(v *Viewer) { v.Sees = "" },
		"is not all":            func(v *Viewer) { v.Sees = "some" },
		"by one of sees":        func(v *Viewer) { v.Teams = []string{"search"} },
		"the list is empty":     func(v *Viewer) { v.Sees, v.Teams = "", []string{} },
		"no account":            func(v *Viewer) { v.Sees, v.Accounts = "", []string{"other"} },
		"for a header":          func(v *Viewer) { v.Trust = []string{"127.0.0.1/32"} },
		"name the addresses":    func(v *Viewer) { v.TokenEnv, v.Header = "", "X-Email" },
		"is no network":         func(v *Viewer) { v.TokenEnv, v.Header, v.Trust = "", "X-Email", []string{"proxy"} },
		"is everybody":          func(v *Viewer) { v.TokenEnv, v.Header, v.Trust = "", "X-Email", []string{"0.0.0.0/0"} },
		"never a person's name": func(v *Viewer) { v.TokenEnv, v.Header, v.Trust = "", "cookie", []string{"::1/128"} },
		"map says what each":    func(v *Viewer) { v.TokenEnv, v.Header, v.Trust, v.Map = "", "X", []string{"::1/128"}, "m" },
		"choose another":        func(v *Viewer) { v.Name = OperatorViewer },
	} {
		v := good
		change(&v)
		errs := v.Validate([]string{"acme"})
		found := slices.ContainsFunc(errs, func(err error) bool { return strings.Contains(err.Error(), say) })
		if (say == "") != (len(errs) == 0) || say != "" && !found {
			t.Errorf("%q: %v", say, errs)
		}
	}
	proxied := func(name, trust string) Viewer {
		return Viewer{Name: name, Header: "X-Email", Trust: []string{trust}, Sees: SeesAll}
	}
	for other, want := range map[string]int{"10.0.0.0/8": 1, "192.168.0.0/16": 0} {
		s := Serve{Viewers: []Viewer{proxied("a", "10.1.0.0/16"), proxied("b", other)}}
		if errs := s.Validate(nil); len(errs) != want {
			t.Errorf("a header of %s and of 10.1.0.0/16: %v", other, errs)
		}
		if s.Listened("127.0.0.1:8080") != nil || s.Listened("unix:/run/x.sock") == nil {
			t.Error("a header is believed through a unix socket, or not elsewhere")
		}
	}
	two := Serve{Viewers: []Viewer{good, good}}
	if errs := two.Validate(nil); len(errs) != 2 {
		t.Errorf("a name and a token twice: %v", errs)
	}
}

func TestAMapSaysWhatEachSees(t *testing.T) {
	path := filepath.Join(t.TempDir(), "viewers.csv")
	v := Viewer{Name: "people", Map: path}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("\ufeffcost_center,email\r\nCC-1, Ann@Example.com\r\nCC-2,ann@example.com\r\nCC-1,bob@example.com\r\n")
	people, err := v.People()
	if err != nil || len(people) != 2 || !slices.Equal(people["ann@example.com"].CostCenters, []string{"CC-1", "CC-2"}) {
		t.Errorf("%v %v", people, err)
	}
	for text, say := range map[string]string{"": "line 1", "who,what\n": "email and cost_center",
		"email,cost_center\nann@example.com,\n": "line 2", "email,cost_center\n\xff,CC-1\n": "UTF-8"} {
		write(text)
		if _, err := v.People(); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
