package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// OwnedFiles are the files of an owner, in a folder of his own.
type OwnedFiles struct {
	Name   string   `json:"name"`
	Folder string   `json:"folder"`
	Made   bool     `json:"made"` // and not there already, of the same published file
	Files  []string `json:"files"`
	Error  string   `json:"error,omitempty"`
}

// OwnersError says that files of owners could not be made. What is published is whole, and so are the others'.
type OwnersError struct{ Err error }

func (e *OwnersError) Error() string { return e.Err.Error() }
func (e *OwnersError) Unwrap() error { return e.Err }

const (
	// ownersState is the state that remembers of which published file each owner's were made, by his name.
	ownersState = "owners"
	// ownedMonths is how many months an owner has a workbook of, the last ones: what changes late is of these, and those
	// before stay as they were handed out.
	ownedMonths = 2
)

// Owners makes the files of the owners that the config names: a published file that has what is theirs and nothing
// else, and a workbook of each of the last months. names are those to make them for; nil: all. Those that are there
// already stay. Each file is replaced by one rename. It takes no lock of the lake. One owner's mistake doesn't keep the
// others'; it is an OwnersError.
func Owners(ctx context.Context, cfg *config.Config, env Env, names []string) ([]OwnedFiles, error) {
	var all []string
	for _, o := range cfg.Owners.Files {
		all = append(all, o.Name)
	}
	for _, n := range names {
		if !slices.Contains(all, n) {
			return nil, config.Usage("", "%s: owners.files names no such owner%s", words.Cell(n), words.Nearest(n, all))
		}
	}
	lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return nil, NoLake(err)
	}
	users, err := cfg.EndUsers.Handed(env.Getenv)
	if err != nil {
		return nil, err
	}
	info, err := lake.DatabaseInfo()
	if err != nil {
		return nil, &config.Hint{Err: fmt.Errorf("nothing is published yet: %w", err),
			Hint: "usagelake export, or usagelake rebuild"}
	}
	if err := isFolder(os.Stat(cfg.Owners.Folder)); err != nil {
		return nil, &OwnersError{&config.Hint{Err: fmt.Errorf("the owners' folder: %w", err),
			Hint: "mount it, or make it: mkdir " + cfg.Owners.Folder}}
	}
	unlock, err := lake.LockState(ctx, ownersState)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unlock() }()
	made := map[string]string{}
	if _, err := lake.ReadState(ownersState, &made); err != nil {
		env.Logger.Warn("which files of owners there are isn't known any more: they are made anew", "error", err)
		made = map[string]string{}
	}
	out := []OwnedFiles{}
	var errs []error
	for _, o := range cfg.Owners.Files {
		if names != nil && !slices.Contains(names, o.Name) {
			continue
		}
		files := OwnedFiles{Name: o.Name, Folder: filepath.Join(cfg.Owners.Folder, o.Name), Files: []string{}}
		mark := fmt.Sprintf("%d %s %s %+v %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano), env.Version, o,
			users.Digest())
		if made[o.Name] == mark && files.there() {
			out = append(out, files)
			continue
		}
		err := Guarded(func() error { return files.make(ctx, lake, env, o, users) })
		LogPanic(env.Logger, err)
		if err = brokenOff(ctx, err); errors.As(err, new(*stoppedError)) {
			return out, err
		}
		if made[o.Name] = mark; err != nil {
			delete(made, o.Name)
			files.Error = brief(err)
			errs = append(errs, fmt.Errorf("the files of %s: %w", o.Name, err))
		}
		out = append(out, files)
		if err := lake.WriteState(ownersState, made); err != nil {
			return out, err
		}
	}
	if err := errors.Join(errs...); err != nil {
		return out, &OwnersError{&config.Hint{Err: err, Hint: "usagelake owners   (makes those that lack)"}}
	}
	return out, nil
}

func isFolder(info fs.FileInfo, err error) error {
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", info.Name())
	}
	return err
}

// there says whether the owner's published file is in its place, and lists what is.
func (f *OwnedFiles) there() bool {
	entries, err := os.ReadDir(f.Folder)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			f.Files = append(f.Files, e.Name())
		}
	}
	return err == nil && slices.Contains(f.Files, load.DatabaseFile)
}

func (f *OwnedFiles) make(ctx context.Context, lake *publish.Lake, env Env, o config.Owning,
	users query.EndUsers) error {
	gid, err := o.GID()
	if err != nil {
		return err
	}
	place := durable.Out{Mode: durable.FileMode}
	if gid >= 0 {
		place = durable.Out{Mode: durable.GroupFileMode, GID: &gid}
	}
	if err := makeOwned(f.Folder, gid); err != nil {
		return err
	}
	scratch, drop, err := lake.Scratch()
	if err != nil {
		return err
	}
	defer drop()
	his, err := publish.Create(filepath.Join(scratch, "lake"), publish.Options{Records: schemas.AllRecords})
	if err == nil {
		err = query.Carve(ctx, lake, his, o.Scope(), users)
	}
	if err != nil {
		return err
	}
	if err := place.Copy(his.Database(), filepath.Join(f.Folder, load.DatabaseFile)); err != nil {
		return err
	}
	f.Made, f.Files = true, append(f.Files[:0], load.DatabaseFile)
	books, months, err := lastMonths(ctx, his)
	if err != nil {
		return err
	}
	for _, month := range months {
		period := books.Period(month, month)
		doc, err := report.Build(ctx, his, report.Options{Name: "chargeback", Period: &period, Scope: o.Scope(),
			Own: o.Scope(), Pictures: true, Now: env.Now(), Version: env.Version})
		if errors.Is(err, report.ErrNothing) {
			continue
		}
		if err != nil {
			return err
		}
		name := "chargeback-" + books.Name(month) + ".xlsx"
		if err := durable.WriteOut(filepath.Join(f.Folder, name), place, doc.XLSX); err != nil {
			return err
		}
		f.Files = append(f.Files, name)
	}
	return nil
}

// makeOwned makes the folder of an owner, for him who runs this and a group, -1 for none. Whoever was let in before is
// shut out first.
func makeOwned(dir string, gid int) error {
	if err := os.Mkdir(dir, durable.DirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := isFolder(os.Lstat(dir)); err != nil { // what a link leads to may be anybody's
		return err
	}
	if err := os.Chmod(dir, durable.DirMode); err != nil || gid < 0 {
		return err
	}
	if err := os.Chown(dir, -1, gid); err != nil {
		return &config.Hint{Err: err, Hint: "who runs usagelake has to be in the group: usermod -aG GROUP USER"}
	}
	return os.Chmod(dir, 0o750)
}

// lastMonths are the last months or periods that have charges, the last one first, and the books that they are of.
func lastMonths(ctx context.Context, lake *publish.Lake) (books *schemas.Books, out []schemas.Month, err error) {
	s, err := query.OpenSnapshot(ctx, lake)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if books, err = s.Books(ctx); err != nil {
		return nil, nil, err
	}
	err = s.Each(ctx, fmt.Sprintf("SELECT DISTINCT billing_month FROM chargeback_daily ORDER BY 1 DESC LIMIT %d",
		ownedMonths), func(row []query.Value) error {
		day, err := schemas.ParseDate(row[0].Text)
		out = append(out, day.Month())
		return err
	})
	return books, out, err
}

// ownersAfter makes the files of owners after a run, where the config says so: those that aren't of what is published
// now. came is what the run comes to without them. One that did what it was to do is done in part where they lack,
// whatever they lack by: a key that isn't set is no mistake of the run's. To one that didn't, they add nothing.
func ownersAfter(ctx context.Context, cfg *config.Config, env Env, res *Result, came error) error {
	publishes := res.Published || res.Command == config.KindExport || res.Command == config.KindLookback
	due := cfg.Owners.After == config.AfterPublish && publishes || cfg.Owners.After == config.AfterClose && res.closed
	if !due || context.Cause(ctx) != nil {
		return came
	}
	if _, err := os.Stat(res.Database); err != nil { // nothing was published ever
		return came
	}
	var err error
	res.Owned, err = Owners(ctx, cfg, env, nil)
	for _, f := range res.Owned {
		if f.Made {
			env.Logger.Info("files of an owner", "owner", f.Name, "folder", f.Folder, "files", len(f.Files))
		}
	}
	switch {
	case err == nil, context.Cause(ctx) != nil:
		return cmp.Or(came, err)
	case came != nil:
		env.Logger.Error("files of owners lack", "error", err)
		return came
	}
	return &config.Hint{Err: &OwnersError{errors.New(brief(err))},
		Hint: "usagelake owners   (makes those that lack, or says what to do)"}
}
