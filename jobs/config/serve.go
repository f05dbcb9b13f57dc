package config

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/usagelake/usagelake/load/query"
)

// Values of Serve and its viewers.
const (
	DefaultServe = "127.0.0.1:8080"
	SeesAll      = "all"

	// shortestToken is how many characters a token must have.
	shortestToken = 16
	// longestMap is how large a file of who sees what may be.
	longestMap = 16 << 20
)

// Serve says where usagelake serve answers, and who may look at finance's page, there and at the daemon's.
type Serve struct {
	Listen  string   `yaml:"listen"`  // host:port or unix:/path
	Viewers []Viewer `yaml:"viewers"` // nil: whoever can ask sees all
	// Files with others than those in force: what they would change is shown to who sees all.
	Compare        string `yaml:"compare"` // allocation rules
	CompareMarkups string `yaml:"compare_markups"`
	ComparePrices  string `yaml:"compare_prices"`
}

// Viewer is who may look at finance's page: whoever has a token, or whom a proxy says it is.
type Viewer struct {
	Name      string   `yaml:"name"`
	TokenEnv  string   `yaml:"token_env"`  // the variable that holds the token
	TokenFile string   `yaml:"token_file"` // or the file, readable by its owner alone
	Header    string   `yaml:"header"`     // or the header in which a proxy says who it is
	Trust     []string `yaml:"trust"`      // of header: the addresses of that proxy, 127.0.0.1/32
	Map       string   `yaml:"map"`        // of header: a CSV file with the columns email and cost_center
	// What is seen: one of these, and none beside map.
	Sees        string   `yaml:"sees"` // SeesAll
	CostCenters []string `yaml:"cost_centers"`
	Teams       []string `yaml:"teams"`
	Accounts    []string `yaml:"accounts"`
}

// Validate lists every mistake of the section, and fills in its defaults. accounts are those of the config.
func (s *Serve) Validate(accounts []string) []error {
	if s.Listen == "" {
		s.Listen = DefaultServe
	}
	var errs []error
	for i, v := range s.Viewers {
		path := fmt.Sprintf("serve.viewers[%d]", i)
		for _, err := range v.Validate(accounts) {
			errs = append(errs, at(path, "%s (%s): %w", path, v.Name, err))
		}
		for _, o := range s.Viewers[:i] {
			if v.Header != "" && strings.EqualFold(v.Header, o.Header) && slices.ContainsFunc(v.Networks(),
				func(p netip.Prefix) bool { return slices.ContainsFunc(o.Networks(), p.Overlaps) }) {
				errs = append(errs, at(path, "%s (%s): header: %s of the same addresses is believed for %s: put both maps into one",
					path, v.Name, v.Header, o.Name))
			}
		}
		if slices.ContainsFunc(s.Viewers[:i], func(o Viewer) bool { return o.Name == v.Name }) {
			errs = append(errs, at(path, "%s (%s): name: another viewer has it too", path, v.Name))
		}
		if slices.ContainsFunc(s.Viewers[:i], func(o Viewer) bool {
			return v.TokenEnv != "" && o.TokenEnv == v.TokenEnv || v.TokenFile != "" && o.TokenFile == v.TokenFile
		}) {
			errs = append(errs, at(path, "%s (%s): another viewer has the same token: who comes with it can't be told", path,
				v.Name))
		}
	}
	return errs
}

// Listened says what is wrong with an address to listen on, with the viewers that there are.
func (s Serve) Listened(address string) error {
	for _, v := range s.Viewers {
		if v.Header != "" && strings.HasPrefix(address, "unix:") {
			return Usage("listen on HOST:PORT, or give the viewer a token", "serve.viewers (%s): a header is believed by the "+
				"address that it comes from, and what comes through %s has none", v.Name, address)
		}
	}
	return nil
}

// Validate lists every mistake of a viewer.
func (v Viewer) Validate(accounts []string) []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs, named(v.Name)...)
	if v.Name == OperatorViewer {
		bad("name: %s is who has the schedule's token: choose another", OperatorViewer)
	}
	ways := 0
	for _, given := range []string{v.TokenEnv, v.TokenFile, v.Header} {
		if given != "" {
			ways++
		}
	}
	if ways != 1 {
		bad("give one of token_env (a variable that holds the token), token_file (a file that only its owner can read) and " +
			"header (in which a proxy says who it is)")
	}
	seen, wrong := sight{v.CostCenters, v.Teams, v.Accounts}.validate(accounts)
	errs = append(errs, wrong...)
	if v.Sees != "" {
		seen++
		if v.Sees != SeesAll {
			bad("sees: %q is not %s: write that, or cost_centers, teams or accounts", v.Sees, SeesAll)
		}
	}
	switch {
	case v.Map != "" && seen > 0:
		bad("map says what each sees: leave sees, cost_centers, teams and accounts out")
	case v.Map == "" && seen != 1:
		bad("say what is seen, by one of sees: all, cost_centers, teams and accounts")
	}
	switch {
	case v.Header == "" && (v.Trust != nil || v.Map != ""):
		bad("trust and map are for a header")
	case v.Header != "" && len(v.Trust) == 0:
		bad("trust: name the addresses of the proxy, such as [127.0.0.1/32]: who else sends the header isn't believed")
	case v.Header != "" && slices.Contains([]string{"Authorization", "Cookie", "Host"},
		textproto.CanonicalMIMEHeaderKey(v.Header)):
		bad("header: %s is never a person's name", v.Header)
	}
	for _, t := range v.Trust {
		if p, err := netip.ParsePrefix(t); err != nil {
			bad("trust: %q is no network: write 127.0.0.1/32 for one address", t)
		} else if p.Bits() == 0 {
			bad("trust: %s is everybody: name the addresses of the proxy alone", t)
		}
	}
	return errs
}

// CheckViewers reads what viewers are known by and shown with, and says what is wrong with it: a token that can't be
// read, one that two have, a map that isn't there, the key that ids of end users are hashed with. Each is read anew
// when it is needed, so that this is how it stands now.
func (c *Config) CheckViewers(getenv func(string) string) []error {
	var errs []error
	if _, err := c.EndUsers.Handed(getenv); err != nil && len(c.Serve.Viewers) > 0 {
		errs = append(errs, err)
	}
	whose := map[string]string{}
	for _, v := range c.Serve.Viewers {
		if v.Header == "" {
			token, err := v.Token(getenv)
			switch {
			case err != nil:
				errs = append(errs, err)
			case whose[token] != "":
				errs = append(errs, Usage("openssl rand -hex 32 makes another", "serve.viewers (%s): its token is that of %s: "+
					"who comes with it can't be told", v.Name, whose[token]))
			default:
				whose[token] = v.Name
			}
		}
		if v.Map != "" {
			if _, err := v.People(); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errs
}

// OperatorViewer is the name of who has the schedule's token, and sees all.
const OperatorViewer = "operator"

// Token reads the viewer's token, anew each time.
func (v Viewer) Token(getenv func(string) string) (string, error) {
	token, err := Secret("serve.viewers ("+v.Name+")", "token", v.TokenEnv, v.TokenFile, getenv)
	if err == nil && len(token) < shortestToken {
		err = Usage("openssl rand -hex 32 makes a good one", "serve.viewers (%s): the token is shorter than %d characters",
			v.Name, shortestToken)
	}
	return token, err
}

// Scope is what the viewer sees where that isn't all and no map says it.
func (v Viewer) Scope() query.Scope {
	return query.Scope{CostCenters: v.CostCenters, Teams: v.Teams, Accounts: v.Accounts}
}

// Networks are those of Trust.
func (v Viewer) Networks() (out []netip.Prefix) {
	for _, t := range v.Trust {
		if p, err := netip.ParsePrefix(t); err == nil { // Validate has refused others
			out = append(out, p.Masked())
		}
	}
	return out
}

// People reads the viewer's map: the cost centres of each person, by the address in lower case. Somebody who stands in
// several lines sees all of theirs.
func (v Viewer) People() (map[string]query.Scope, error) {
	wrong := func(format string, args ...any) error {
		return Usage("", "serve.viewers (%s): map %s: %w", v.Name, v.Map, fmt.Errorf(format, args...))
	}
	f, err := os.Open(v.Map)
	if err != nil {
		return nil, wrong("%w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, longestMap+1))
	switch {
	case err != nil:
		return nil, wrong("%w", err)
	case len(b) > longestMap:
		return nil, wrong("it has more than %d bytes", longestMap)
	case !utf8.Valid(b):
		return nil, wrong("it isn't UTF-8: save it as that")
	}
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(b), "\ufeff")))
	head, err := r.Read()
	if err != nil {
		return nil, wrong("line 1: it must say email,cost_center: %w", err)
	}
	email, center := slices.Index(head, "email"), slices.Index(head, "cost_center")
	if email < 0 || center < 0 {
		return nil, wrong("line 1: it must name the columns email and cost_center")
	}
	out := map[string]query.Scope{}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, wrong("%w", err)
		}
		line, _ := r.FieldPos(0)
		who, what := strings.ToLower(strings.TrimSpace(row[email])), strings.TrimSpace(row[center])
		if who == "" || what == "" {
			return nil, wrong("line %d: it names nobody, or no cost centre", line)
		}
		scope := out[who]
		if !slices.Contains(scope.CostCenters, what) {
			scope.CostCenters = append(scope.CostCenters, what)
		}
		out[who] = scope
	}
}
