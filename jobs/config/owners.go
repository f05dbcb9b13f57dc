package config

import (
	"fmt"
	"os/user"
	"slices"
	"strconv"

	"github.com/usagelake/usagelake/load/query"
)

// Values of Owners and EndUsers.
const (
	AfterPublish = "publish"

	UsersKept    = "keep"
	UsersHashed  = "hash"
	UsersDropped = "drop"

	// shortestUsersKey is how many characters the key must have: who guesses it can try ids out.
	shortestUsersKey = 32
)

// Owners say who gets a file of his own of what is published, and when.
type Owners struct {
	Folder string   `yaml:"folder"` // which is there already; each owner has a folder in it
	After  string   `yaml:"after"`  // AfterPublish, AfterClose, or "": by usagelake owners alone
	Files  []Owning `yaml:"files"`
}

// Owning is an owner: what the file has, and who may read it.
type Owning struct {
	Name string `yaml:"name"` // of the folder
	// What the file has: one of these.
	CostCenters []string `yaml:"cost_centers"`
	Teams       []string `yaml:"teams"`
	Accounts    []string `yaml:"accounts"`
	Group       string   `yaml:"group"` // the system's group that may read it, beside who makes it; "": nobody
}

// Scope is what the owner's file has.
func (o Owning) Scope() query.Scope {
	return query.Scope{CostCenters: o.CostCenters, Teams: o.Teams, Accounts: o.Accounts}
}

// GID is the number of the group that may read the file; -1 if there is none.
func (o Owning) GID() (int, error) {
	if o.Group == "" {
		return -1, nil
	}
	g, err := user.LookupGroup(o.Group)
	if err != nil {
		return 0, Usage("getent group lists those that there are", "owners.files (%s): group: %w", o.Name, err)
	}
	return strconv.Atoi(g.Gid)
}

// Validate lists every mistake of the section. accounts are those of the config.
func (o Owners) Validate(accounts []string) []error {
	var errs []error
	bad := func(path, format string, args ...any) { errs = append(errs, at(path, format, args...)) }
	if o.After != "" && o.After != AfterPublish && o.After != AfterClose {
		bad("owners.after", "owners.after: %q is neither %s nor %s", o.After, AfterPublish, AfterClose)
	}
	if len(o.Files) > 0 && o.Folder == "" {
		bad("owners", "owners.folder: name the folder in which each owner has one of his own")
	}
	if len(o.Files) == 0 && (o.Folder != "" || o.After != "") {
		bad("owners", "owners.files: nobody is named: write one, such as {name: search, cost_centers: [CC-1010]}, or leave "+
			"the section out")
	}
	for i, f := range o.Files {
		path := fmt.Sprintf("owners.files[%d]", i)
		wrong := named(f.Name)
		n, more := f.sight().validate(accounts)
		wrong = append(wrong, more...)
		if n != 1 {
			wrong = append(wrong, fmt.Errorf("say whose it is, by one of cost_centers, teams and accounts"))
		}
		for _, err := range wrong {
			bad(path, "%s (%s): %w", path, f.Name, err)
		}
		if slices.ContainsFunc(o.Files[:i], func(other Owning) bool { return other.Name == f.Name }) {
			bad(path, "%s (%s): name: another owner has it too", path, f.Name)
		}
	}
	return errs
}

func (o Owning) sight() sight { return sight{o.CostCenters, o.Teams, o.Accounts} }

// sight is what of the usage somebody may see.
type sight struct{ costCenters, teams, accounts []string }

// validate lists the mistakes, and says how many of the three are given.
func (s sight) validate(accounts []string) (given int, errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, d := range []struct {
		key    string
		values []string
	}{{"cost_centers", s.costCenters}, {"teams", s.teams}, {"accounts", s.accounts}} {
		if d.values == nil {
			continue
		}
		given++
		if len(d.values) == 0 {
			bad("%s: the list is empty: name one", d.key)
		}
		for i, value := range d.values {
			if value == "" || slices.Contains(d.values[:i], value) {
				bad("%s: %q is empty or stands twice", d.key, value)
			}
			if d.key == "accounts" && value != "" && !slices.Contains(accounts, value) {
				bad("accounts: %q is no account of the config", value)
			}
		}
	}
	return given, errs
}

// EndUsers say what becomes of end users' ids (custom_user_id) in what is handed out: packages, the owners' files, and
// what a viewer who doesn't see all is shown.
type EndUsers struct {
	HandedOut string `yaml:"handed_out"` // UsersKept (""), UsersHashed or UsersDropped
	KeyEnv    string `yaml:"key_env"`    // of UsersHashed: the variable that holds the key
	KeyFile   string `yaml:"key_file"`   // or the file, readable by its owner alone
}

// Validate lists every mistake of the section.
func (e EndUsers) Validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, at("end_users", "end_users."+format, args...)) }
	keys := 0
	for _, given := range []string{e.KeyEnv, e.KeyFile} {
		if given != "" {
			keys++
		}
	}
	switch e.HandedOut {
	case UsersHashed:
		if keys != 1 {
			bad("handed_out: %s needs a key: give one of key_env (a variable that holds it) and key_file (a file that only its "+
				"owner can read); openssl rand -hex 32 makes one", UsersHashed)
		}
	case "", UsersKept, UsersDropped:
		if keys > 0 {
			bad("handed_out: a key is for %s alone", UsersHashed)
		}
	default:
		bad("handed_out: %q is none of %s, %s and %s", e.HandedOut, UsersKept, UsersHashed, UsersDropped)
	}
	return errs
}

// Handed reads what becomes of ids, and the key, anew each time.
func (e EndUsers) Handed(getenv func(string) string) (query.EndUsers, error) {
	if e.HandedOut != UsersHashed {
		return query.EndUsers{Drop: e.HandedOut == UsersDropped}, nil
	}
	key, err := Secret("end_users", "key", e.KeyEnv, e.KeyFile, getenv)
	if err == nil && len(key) < shortestUsersKey {
		err = Usage("openssl rand -hex 32 makes a good one", "end_users: the key is shorter than %d characters, and who "+
			"guesses it can find out whose an id is", shortestUsersKey)
	}
	return query.EndUsers{Key: []byte(key)}, err
}
