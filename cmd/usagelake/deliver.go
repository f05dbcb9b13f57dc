package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/schemas/words"
)

// deliverFlags are how a delivery is asked for on the command line.
type deliverFlags struct {
	to                  config.Delivery
	keep                string
	dryRun, verify      bool
	deep, repair, adopt bool
	drop                []string
	named               []string
	opts                jobs.DeliverOptions
	placed              bool
}

func (a *app) deliverCommand() *cobra.Command {
	var f deliverFlags
	c := &cobra.Command{
		Use:   "deliver [NAME…]",
		Short: "Deliver the lake's files to an object store",
		Long: `deliver makes what is in a bucket what the lake is: each changed file goes there under a name that was never
used, then manifest.json is swapped, by one conditional write. Whoever reads the manifest and the files that it names
has the lake as it was at one delivery, each file whole. What was replaced stays for a week, for readers that hold an
older manifest. With --tables delta,iceberg, or tables: [delta, iceberg], a Delta log and an Iceberg table over the same
files follow, or one of them.

Where to and what is said in the config (deliver:), for all deliveries or those that are named here; or with --to for
one that isn't in the config. Credentials are the environment's, as the store's own programs take them:
AWS_ACCESS_KEY_ID or a profile or a role, AZURE_STORAGE_KEY or an identity, Google's application default credentials.
A delivery needs no lock: runs go on beside it.

A delivery that was stopped or lost its answers is gone on with by the same command. Another lake, and an older copy of
this one, are refused. What the lake lacks although no run removed it stays delivered, and is told.

Of several deliveries each is done for itself: exit code 4 says that some failed and others are done, 1 that all failed,
refused credentials included. --dry-run and --verify write nothing into the lake: one that can only be read does.`,
		Example: `  usagelake deliver                                   all deliveries of the config
  usagelake deliver warehouse --dry-run               what would be sent
  usagelake deliver --to s3://finance-lake/usage --what usage,finance --tables delta
  usagelake deliver --to file:///mnt/nas/usagelake --what raw        the off-site copy
  usagelake deliver warehouse --verify                is everything there, as it was sent; remove leftovers
  usagelake deliver warehouse --drop acme/2026-10-01  give up a day that the lake lost for good`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, names []string) error {
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			f.placed = c.Flags().Changed("to")
			f.named = names
			if err := f.resolve(cfg); err != nil {
				return err
			}
			switch {
			case f.dryRun:
				return a.planDelivery(c.Context(), cfg, &f)
			case f.verify:
				return a.verifyDelivery(c.Context(), cfg, &f)
			}
			return a.deliver(c.Context(), cfg, &f)
		},
	}
	fl := c.Flags()
	placeFlags(c, &f.to, "to",
		"deliver to this `URL`: s3://BUCKET/PREFIX, gs://…, az://ACCOUNT/CONTAINER/PREFIX, file:///DIR")
	fl.StringSliceVar(&f.to.What, "what", nil,
		"with --to: what, of "+strings.Join(deliver.AllWhat(), ", ")+" (default usage)")
	fl.StringSliceVar(&f.to.Tables, "tables", nil, "with --to: tables over the day files: delta, iceberg")
	fl.StringVar(&f.to.Encryption, "encryption", "", "with --to: ask an S3 store for AES256, aws:kms or aws:kms:KEYID")
	fl.StringVar(&f.keep, "keep", "", "with --to: how `long` what was replaced stays (default 7d)")
	fl.BoolVar(&f.dryRun, "dry-run", false, "change nothing: print what would be sent")
	fl.BoolVar(&f.verify, "verify", false,
		"hold what is there against its manifest, and remove what broken-off deliveries left")
	fl.BoolVar(&f.deep, "deep", false, "with --verify: read every object")
	fl.BoolVar(&f.repair, "repair", false, "with --verify: deliver anew what is missing or was replaced")
	fl.BoolVar(&f.adopt, "adopt", false,
		"go on as the lake that delivered there: after a restored backup, or a lost folder deliver/")
	fl.StringSliceVar(&f.drop, "drop", nil,
		"give up what is delivered and the lake lacks: of `accounts`, of a day (acme/2026-10-01), or of days from one to\n"+
			"another that is excluded (acme/2026-10-01/2026-10-04)")
	return c
}

// placeFlags are the flags that say where objects are.
func placeFlags(c *cobra.Command, d *config.Delivery, name, usage string) {
	f := c.Flags()
	f.StringVar(&d.To, name, "", usage)
	f.StringVar(&d.Endpoint, "endpoint", "", "with --"+name+": the `URL` of a compatible store")
	f.StringVar(&d.Region, "region", "", "with --"+name+": the S3 region")
	f.StringVar(&d.As, "as", "", "with --"+name+": this lake's `name`, where several deliver below one prefix")
}

// resolve finds the deliveries that are meant.
func (f *deliverFlags) resolve(cfg *config.Config) error {
	const help = "usagelake deliver --help"
	given := f.to.Endpoint != "" || f.to.Region != "" || f.to.As != "" || f.to.Encryption != "" || f.keep != "" ||
		f.to.What != nil || f.to.Tables != nil
	switch {
	case f.placed && len(f.named) > 0:
		return config.Usage(help, "--to and the names of deliveries exclude each other")
	case !f.placed && given:
		return config.Usage(help, "--what, --tables, --keep, --endpoint, --region, --encryption and --as go with --to: "+
			"a delivery of the config says them there")
	case f.dryRun && (f.verify || f.adopt):
		return config.Usage(help, "--dry-run goes with neither --verify nor --adopt")
	case (f.deep || f.repair) && !f.verify:
		return config.Usage(help, "--deep and --repair go with --verify")
	case f.verify && f.adopt && !f.repair:
		return config.Usage(help, "--verify writes nothing into the lake: --adopt goes with a delivery, or with --repair")
	case f.verify && len(f.drop) > 0:
		return config.Usage(help, "--drop goes with a delivery")
	}
	drop, err := jobs.ParseDrops(f.drop)
	if err != nil {
		return err
	}
	f.opts = jobs.DeliverOptions{Adopt: f.adopt, Drop: drop}
	if !f.placed {
		if f.opts.To, err = cfg.Deliveries(f.named); err != nil {
			return err
		}
		if len(f.opts.To) == 0 {
			return config.Usage("usagelake deliver --to s3://BUCKET/PREFIX   (or in the config: deliver: [{name: …, to: …}])",
				"nothing says where to deliver to")
		}
		return nil
	}
	if f.keep != "" {
		d, err := config.ParseDuration(f.keep)
		if err != nil || d <= 0 {
			return config.Usage(help, "--keep: %q is not a duration like 12h or 7d", f.keep)
		}
		f.to.Keep = config.Duration(d)
	}
	f.to.Name = placeName(cfg, f.to)
	if err := errors.Join(f.to.Validate()...); err != nil {
		return config.Usage(help, "%w", err)
	}
	f.opts.To = []config.Delivery{f.to}
	return nil
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// placeName names a delivery that the command line gave: as the config names that place, or by its URL.
func placeName(cfg *config.Config, d config.Delivery) string {
	if i := slices.IndexFunc(cfg.Deliver, func(o config.Delivery) bool {
		return o.To == d.To && o.Endpoint == d.Endpoint && o.As == d.As
	}); i >= 0 {
		return cfg.Deliver[i].Name
	}
	// By its URL, for people, and by a digest of all that says where it is: others have the same letters.
	name := notInName.ReplaceAllString(strings.ToLower(d.To), "-")
	sum := sha256.Sum256([]byte(d.To + " " + d.Endpoint + " " + d.As))
	return strings.Trim(name[:min(len(name), 50)], "-") + "-" + hex.EncodeToString(sum[:4])
}

// delivering shows how far deliveries are, until done is called.
func (a *app) delivering(ctx context.Context, cfg *config.Config) (p *progress, watch func(string, deliver.Progress)) {
	p = a.newProgress(ctx, cfg)
	return p, func(name string, g deliver.Progress) {
		if g.All > 0 {
			p.work(g.Doing+" "+name, int(g.Files), int(g.All))
		}
	}
}

func (a *app) deliver(ctx context.Context, cfg *config.Config, f *deliverFlags) error {
	env := a.env()
	p, watch := a.delivering(ctx, cfg)
	env.Logger, f.opts.Watch = p.logger(), watch
	reports, err := jobs.Deliver(ctx, cfg, env, f.opts)
	p.close()
	if a.json() {
		return errors.Join(a.printJSON(struct {
			outcome
			Deliveries []*deliver.Report `json:"deliveries"`
		}{outcomeOf(err), reported(reports)}), err)
	}
	if !a.quiet {
		for _, r := range reports {
			a.printDelivery(r)
			a.printDropped(f.drop, r.Dropped, r.Number)
		}
	}
	return err
}

// outcome is what a command came to, in its document: what a run's document has of it.
type outcome struct {
	Status   string   `json:"status"`
	Error    string   `json:"error,omitempty"`
	Hints    []string `json:"hints,omitempty"`
	ExitCode int      `json:"exit_code"`
}

func outcomeOf(err error) outcome {
	o := outcome{Status: jobs.StatusOf(err), ExitCode: exitCode(err)}
	if err != nil {
		o.Error, o.Hints = explain(err)
	}
	return o
}

// reported are the reports of a document.
func reported(reports []*deliver.Report) []*deliver.Report {
	for _, r := range reports {
		r.Error = keys.Blank(r.Error)
	}
	return listed(reports)
}

// listed is a list in a document: [] if there is none.
func listed[T any](list []T) []T { return append([]T{}, list...) }

func (a *app) printDelivery(r *deliver.Report) {
	w := a.Stdout
	if r.Number == 0 { // it failed: the error says all there is
		return
	}
	what := "unchanged"
	if r.Changed {
		what = "delivered"
	}
	fmt.Fprintf(w, "%s  %s → %s   manifest %d: %s, %s, %s of usage\n", what, r.Name, words.Printable(r.URL), r.Number,
		words.Plural(r.Files, "file", "files"), words.Bytes(r.Bytes), words.Plural(r.Rows, "row", "rows"))
	if r.Changed {
		fmt.Fprintf(w, "           sent %s (%s), replaced %s, deleted %s whose time was over; %s\n",
			words.Plural(r.Sent, "file", "files"), words.Bytes(r.SentBytes), words.Count(r.Retired), words.Count(r.Deleted),
			words.Plural(r.Requests, "request", "requests"))
	}
	if r.Delta != nil {
		fmt.Fprintf(w, "           Delta table %s, version %d\n", words.Printable(r.URL), *r.Delta)
	}
	if r.Iceberg != nil {
		fmt.Fprintf(w, "           Iceberg table %s, version %d\n", words.Printable(cmp.Or(r.IcebergTable, r.URL)),
			*r.Iceberg)
	}
	a.printLost(r.Lost)
}

// printDropped says what became of names to be given up: what the lake has stays, and whoever named it should know.
func (a *app) printDropped(names []string, files, number int64) {
	named := strings.Join(names, ", ")
	switch {
	case len(names) == 0 || number == 0:
	case files == 0:
		fmt.Fprintf(a.Stdout, "           dropped nothing of %s: the lake has what is delivered of it\n", named)
	default:
		fmt.Fprintf(a.Stdout, "           dropped %s of %s\n", words.Plural(files, "file", "files"), named)
	}
}

func (a *app) printLost(lost []string) {
	if len(lost) == 0 {
		return
	}
	fmt.Fprintf(a.Stdout, "LOST       the lake lacks %s that no run removed; what is delivered stays. The first: %s\n"+
		"           usagelake verify looks closer; usagelake restore brings the lake back; "+
		"--drop ACCOUNT or ACCOUNT/DAY gives them up\n",
		words.Plural(len(lost), "file", "files"), words.Printable(lost[0]))
}

func (a *app) planDelivery(ctx context.Context, cfg *config.Config, f *deliverFlags) error {
	plans, err := jobs.DryRunDeliver(ctx, cfg, a.env(), f.opts)
	if a.json() {
		return errors.Join(a.printJSON(struct {
			outcome
			Plans []*deliver.Plan `json:"plans"`
		}{outcomeOf(err), listed(plans)}), err)
	}
	if len(plans) == 0 {
		return err
	}
	t := a.newTable(table.Row{"delivery", "to", "manifest", "files", "bytes", "to send", "bytes", "to replace or drop"})
	for _, p := range plans {
		t.AppendRow(table.Row{p.Name, words.Printable(p.URL), p.Number, words.Count(p.Files), words.Bytes(p.Bytes),
			words.Count(p.Send), words.Bytes(p.Size), words.Count(p.Retire)})
	}
	rightAlign(t, 3, 8)
	fmt.Fprintln(a.Stdout, t.Render())
	for _, p := range plans {
		for _, one := range p.Tables {
			fmt.Fprintf(a.Stdout, "           %s: %s\n", p.Name, plannedTable(one))
		}
		a.printDropped(f.drop, p.Dropped, p.Number)
		a.printLost(p.Lost)
	}
	return err
}

// plannedTable says what becomes of a table.
func plannedTable(t deliver.TablePlan) string {
	table := map[string]string{"delta": "Delta table", "iceberg": "Iceberg table"}[t.Table]
	version := int64(0)
	if t.Version != nil {
		version = *t.Version
	}
	switch t.Does {
	case deliver.TableBegun:
		return table + ", its first version"
	case deliver.TableVersion:
		return fmt.Sprintf("%s, a version after %d if what days hold is another", table, version)
	case deliver.TableMadeUp:
		return fmt.Sprintf("%s, what was left out after version %d is made up", table, version)
	case deliver.TableAnew:
		return table + " made anew, for it is gone"
	case deliver.TableStopped:
		return table + " left alone, for another program changed it"
	}
	return fmt.Sprintf("%s unchanged, version %d", table, version)
}

func (a *app) verifyDelivery(ctx context.Context, cfg *config.Config, f *deliverFlags) error {
	env := a.env()
	p, watch := a.delivering(ctx, cfg)
	env.Logger, f.opts.Watch = p.logger(), watch
	all, err := jobs.VerifyDelivered(ctx, cfg, env, f.opts, f.deep)
	if f.repair && mendable(all, f) && context.Cause(ctx) == nil {
		_, failed := jobs.Deliver(ctx, cfg, env, f.opts)
		all, err = jobs.VerifyDelivered(ctx, cfg, env, f.opts, f.deep)
		err = cmp.Or(failed, err)
	}
	p.close()
	found := 0
	for _, v := range all {
		found += len(v.Found)
	}
	if found > 0 && context.Cause(ctx) == nil { // whatever else there is: verify ends with 1 if it finds anything
		err = &foundError{found, err}
	}
	if a.json() {
		return errors.Join(a.printJSON(struct {
			outcome
			Verified []*deliver.Verified `json:"verified"`
		}{outcomeOf(err), listed(all)}), err)
	}
	if !a.quiet || found > 0 {
		for _, v := range all {
			a.printVerified(v)
		}
	}
	return err
}

// foundError says that what is delivered isn't as it was sent. err is what else went wrong.
type foundError struct {
	found int
	err   error
}

func (e *foundError) Error() string {
	text := words.Plural(e.found, "object is", "objects are") + " not as delivered"
	if e.err != nil {
		text += "\n" + e.err.Error()
	}
	return text + "\nhint: usagelake deliver --verify --repair delivers anew what is missing or was replaced; a stray " +
		"object is somebody else's: move it out of the prefix"
}

func (a *app) printVerified(v *deliver.Verified) {
	w := a.Stdout
	how := "listed"
	if v.Read > 0 {
		how = "listed, " + words.Count(v.Read) + " of them read"
	}
	fmt.Fprintf(w, "%s  %s   manifest %d: %s, %s; %s %s, %s removed\n", v.Name, words.Printable(v.URL), v.Number,
		words.Plural(v.Files, "file", "files"), words.Bytes(v.Bytes), words.Plural(v.Objects, "object", "objects"), how,
		words.Plural(v.Swept, "leftover", "leftovers"))
	if len(v.Found) == 0 {
		fmt.Fprintln(w, "  everything is there as it was sent")
		return
	}
	const most = 20
	for i, f := range v.Found {
		if i == most {
			fmt.Fprintf(w, "  … and %d more: --output json lists them\n", len(v.Found)-most)
			break
		}
		fmt.Fprintf(w, "  %-8s %s: %s\n", f.Problem, words.Printable(f.Key), words.Printable(f.Detail))
	}
}

// mendable notes what is to be delivered anew, and says whether there is anything.
func mendable(all []*deliver.Verified, f *deliverFlags) bool {
	f.opts.Anew = map[string]bool{}
	for _, v := range all {
		for _, found := range v.Found {
			if found.Problem != deliver.FoundStray {
				f.opts.Anew[found.Key] = true
			}
		}
	}
	return len(f.opts.Anew) > 0
}
