package jobs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

const usersKey = "0123456789abcdef0123456789abcdef"

// owned names two owners in the world's config, and gives their folder.
func (w *world) owned(after string) string {
	w.Helper()
	dir := filepath.Join(w.TempDir(), "owners")
	w.Cfg.Owners = config.Owners{Folder: dir, After: after, Files: []config.Owning{
		{Name: "alpha", CostCenters: []string{"Alpha"}}, {Name: "left", Teams: []string{"left"}},
		{Name: "acme", Accounts: []string{"acme"}}}}
	w.Keys["USERS"] = usersKey
	return dir
}

// readOwned attaches an owner's file.
func (w *world) readOwned(dir, name string) *kit.Reader {
	w.Helper()
	r := w.Engine()
	r.Exec("ATTACH " + schemas.SQLString(filepath.Join(dir, name, "usage.duckdb")) + " AS his (READ_ONLY)")
	r.Exec("USE his")
	return r
}

// holds lists the columns of a file's tables that hold one of the values somewhere in their texts.
func holds(r *kit.Reader, values []string) (out []string) {
	for _, c := range r.Ask(`SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'his'
		AND schema_name = 'main' AND data_type = 'VARCHAR' AND table_name IN (SELECT table_name FROM duckdb_tables())`) {
		for _, v := range values {
			if r.One(`SELECT count(*) FROM his.main."`+c[0]+`" WHERE contains("`+c[1]+`", `+schemas.SQLString(v)+")") != "0" {
				out = append(out, c[0]+"."+c[1])
				break
			}
		}
	}
	return out
}

// Each owner's file has what he is charged, to the last digit, with an alias for each end user that is the same in
// every file and in the packages, and nowhere in it an id itself.
func TestOwnersGetWhatIsTheirsAndNoIdOfAnEndUser(t *testing.T) {
	w := handedOut(t)
	dir := w.owned("")
	users := strings.Split(w.ask("SELECT string_agg(DISTINCT custom_user_id, chr(10)) FROM usage "+
		"WHERE custom_user_id <> ''"), "\n")
	if len(users) < 3 {
		t.Fatalf("%q are too few to tell anything", users)
	}
	if _, err := Owners(t.Context(), w.Cfg, w.env, nil); !errors.As(err, new(*OwnersError)) {
		t.Fatalf("a folder that isn't there: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}

	make := func() []OwnedFiles {
		t.Helper()
		made, err := Owners(t.Context(), w.Cfg, w.env, nil)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	made := make()
	if len(made) != 3 || !made[0].Made ||
		!slices.Equal(made[0].Files, []string{"usage.duckdb", "chargeback-2026-10.xlsx"}) {
		t.Fatalf("%+v", made)
	}
	const charged = "SELECT sum(net_cost)::VARCHAR FROM chargeback_daily"
	for name, where := range map[string]string{"alpha": " WHERE cost_center = 'Alpha'", "left": " WHERE team = 'left'",
		"acme": ""} {
		r := w.readOwned(dir, name)
		if got, want := r.One(charged), w.ask(charged+where); got != want {
			t.Errorf("%s is charged %s by its file, and %s", name, got, want)
		}
		if name == "alpha" && len(holds(r, users)) == 0 {
			t.Error("ids are to be kept, and there are none: nothing can be told below")
		}
		r.Close()
	}
	if again := make(); again[0].Made || again[1].Made || len(again[0].Files) != 2 {
		t.Errorf("made again of the same published file: %+v", again)
	}

	w.Cfg.EndUsers = config.EndUsers{HandedOut: config.UsersHashed, KeyEnv: "USERS"}
	if made := make(); !made[0].Made {
		t.Errorf("ids are to be hashed, and the files stay: %+v", made)
	}
	for _, name := range []string{"left", "acme"} { // the account's has what is of whole accounts besides
		r := w.readOwned(dir, name)
		if in := holds(r, users); in != nil {
			t.Errorf("%s: ids of end users are in %v", name, in)
		}
		r.Close()
	}
	r := w.readOwned(dir, "alpha")
	if in := holds(r, users); in != nil {
		t.Errorf("ids of end users are in %v", in)
	}
	// Who is behind the most records is so under the alias.
	const most = "SELECT custom_user_id || ' ' || count(*) FROM usage WHERE custom_user_id <> '' " +
		"GROUP BY custom_user_id ORDER BY count(*) DESC, min(id) LIMIT 1"
	his, n, _ := strings.Cut(r.One(most), " ")
	first := r.One("SELECT min(id) FROM usage WHERE custom_user_id = " + schemas.SQLString(his))
	r.Close()
	id := w.ask("SELECT custom_user_id FROM usage WHERE id = " + schemas.SQLString(first))
	if want := (query.EndUsers{Key: []byte(usersKey)}).Alias(id); his != want || n == "0" {
		t.Errorf("%s of %s records stands for %s, want %s", his, n, id, want)
	}
	p := w.mustPack(october)
	for name, content := range folder(t, p.Folder) {
		if strings.HasSuffix(name, "/records.csv") && slices.ContainsFunc(users,
			func(u string) bool { return strings.Contains(content, ","+u+",") }) {
			t.Errorf("%s has an id of an end user", name)
		}
	}

	w.Cfg.EndUsers = config.EndUsers{HandedOut: config.UsersDropped}
	make()
	r = w.readOwned(dir, "alpha")
	defer r.Close()
	if got := r.One("SELECT count(custom_user_id) FROM usage"); got != "0" || holds(r, users) != nil {
		t.Errorf("%s ids are there, in %v, after they were dropped", got, holds(r, users))
	}
	if got, want := r.One(charged), w.ask(charged+" WHERE cost_center = 'Alpha'"); got != want {
		t.Errorf("without ids it is charged %s, and %s with them", got, want)
	}
	if p := w.mustPack(october); !p.Made {
		t.Error("packages stay as they are, though ids are to be dropped of them")
	}
	w.rules("rules:\n- {id: by-user, match: {custom_user_id: " + `"*"` + "}, assign: {cost_center: Alpha}}\n")
	if _, _, err := Allocate(t.Context(), w.Cfg, w.env, false); err != nil {
		t.Fatal(err)
	}
	if made, err := Owners(t.Context(), w.Cfg, w.env, []string{"alpha"}); !errors.Is(err, query.ErrEndUsersOwn) ||
		len(made) != 1 || made[0].Error == "" {
		t.Errorf("who pays hangs on the ids that are to be dropped: %v %+v", err, made)
	}
}

// A run that publishes makes them; what it can't make leaves it done in part, and the next run makes it, whatever that
// does. A file is its maker's alone unless a group is named.
func TestOwnersFilesFollowWhatIsPublished(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 8, At: october.End().AddDate(0, 0, 3)})
	dir := w.owned(config.AfterPublish)
	w.Cfg.Owners.Files = []config.Owning{{Name: "alpha", Accounts: []string{"acme"}},
		{Name: "left", CostCenters: []string{schemas.Unallocated}}}
	day := Span{From: october.End().AddDate(0, 0, -1), To: october.End()}
	res, err := w.try(t.Context(), day)
	if !errors.As(err, new(*OwnersError)) || res.Status != schemas.StatusPartial ||
		!strings.Contains(res.Error, "no such file") {
		t.Fatalf("the owners' folder isn't there: %v, %+v", err, res.Run)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if res := w.export(day); len(res.Owned) != 2 || !res.Owned[0].Made {
		t.Fatalf("%+v", res.Owned)
	}
	if res := w.export(day); res.Owned[0].Made {
		t.Errorf("made again, though nothing was published: %+v", res.Owned)
	}
	if runtime.GOOS != "windows" {
		for path, want := range map[string]fs.FileMode{"alpha": 0o700, "alpha/usage.duckdb": 0o600,
			"alpha/chargeback-2026-10.xlsx": 0o600} {
			if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v %v, want %o", path, info.Mode(), err, want)
			}
		}
		if err := makeOwned(filepath.Join(dir, "alpha"), os.Getgid()); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(dir, "alpha")); err != nil || info.Mode().Perm() != 0o750 {
			t.Errorf("for a group: %v %v", info.Mode(), err)
		}
		// What a link leads to may be anybody's.
		left := filepath.Join(dir, "left")
		if err := errors.Join(os.RemoveAll(left), os.Symlink(t.TempDir(), left)); err != nil {
			t.Fatal(err)
		}
		if made, err := Owners(t.Context(), w.Cfg, w.env, []string{"left"}); err == nil || made[0].Error == "" {
			t.Errorf("a link in place of the folder: %+v", made)
		}
		if err := os.Remove(left); err != nil {
			t.Fatal(err)
		}
	}
	w.Cfg.Owners.Files[0].Group = "no-such-group"
	made, err := Owners(t.Context(), w.Cfg, w.env, nil)
	if err == nil || made[0].Error == "" || made[1].Error != "" || !made[1].Made {
		t.Errorf("one owner's mistake: %v %+v", err, made)
	}

	// Of a key that isn't set the run that did all else is done in part, and says which.
	w.Cfg.Owners.Files[0].Group = ""
	w.Cfg.EndUsers = config.EndUsers{HandedOut: config.UsersHashed, KeyEnv: "NO_USERS"}
	if res, err := w.try(t.Context(), day); res.Status != schemas.StatusPartial || errors.Is(err, config.ErrUsage) ||
		!strings.Contains(res.Error, "NO_USERS") {
		t.Errorf("the key isn't set: %v, %+v", err, res.Run)
	}

	w.Cfg.EndUsers, w.Cfg.Owners.After = config.EndUsers{}, config.AfterClose
	w.export(day)
	if res := w.export(day); res.Owned != nil {
		t.Errorf("an export makes what a close is to make: %+v", res.Owned)
	}
}
