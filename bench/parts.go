package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const window = 256 << 20 // the most memory of export and rebuild until they publish, in bytes

// built makes sure that a lake is derived and published.
func (b *bench) built(records, days int, callers bool) (string, truth, error) {
	dir, t, err := b.generated(records, days, callers)
	if err != nil || fileExists(filepath.Join(dir, "usage.duckdb")) {
		return dir, t, err
	}
	_, err = b.child("rebuild", dir, "publish")
	return dir, t, err
}

// starting compares what the program takes to say a word with one that links DuckDB and does nothing.
func (b *bench) starting(s *section) error {
	lake, _, err := b.built(b.size.records[0], 30, false)
	if err != nil {
		return err
	}
	program := func(name string, args ...string) variant {
		return variant{strings.TrimSpace("usagelake " + strings.Join(args[:min(len(args), 1)], " ")),
			func() (run, error) { return b.process(name, args...) }}
	}
	ways := []variant{program(b.empty), program(b.usagelake, "--help"), program(b.usagelake, "version"),
		program(b.usagelake, "status", "--lake", lake)}
	got, err := turns(b.size.starts, ways...)
	if err != nil {
		return err
	}
	nothing := take(got[ways[0].name], wall)
	t := s.table("", "ms", "ms more than nothing", "CPU ms", "peak memory")
	for i, w := range ways {
		runs := got[w.name]
		more := take(runs, wall).median() - nothing.median()
		name := "`" + w.name + "`"
		if i == 0 {
			name = "an empty program that links DuckDB"
		}
		t.row(name, scaled(take(runs, wall), 1000).text(0), fmt.Sprintf("%.0f", more*1000),
			scaled(take(runs, cpu), 1000).text(0), mib(take(runs, rss).median()))
		if strings.HasSuffix(w.name, "help") || strings.HasSuffix(w.name, "status") {
			s.atMost("`"+w.name+"`, ms more than an empty program", 50, more*1000, "%.0f")
		}
	}
	return nil
}

func scaled(s sample, by float64) sample {
	t := slices.Clone(s)
	for i := range t {
		t[i] *= by
	}
	return t
}

// pacing runs the simulation of the limit in its own package: simulated time is for tests alone.
func (b *bench) pacing(s *section) error {
	file := b.fresh("pacing") + ".json"
	cmd := exec.CommandContext(b.ctx, "go", "test", "-count=1", "-timeout", "30m", "./pacing")
	cmd.Dir = b.module
	cmd.Env = append(slices.Clone(b.env), "BENCH_PACING="+file, "BENCH_DAYS="+strconv.Itoa(b.size.pacingDays))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go test ./pacing: %w\n%s", err, tail(string(out)))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var simulated struct {
		Pacing []struct {
			Kind, Client                                  string
			Latency, Jitter, Share, Best, Waste           float64
			Records, Requests, Limited, InFlight, Seconds float64
		}
		Pages []struct{ PerDay, Max, Days, Records, Requests, Least, Seconds float64 }
	}
	if err := json.Unmarshal(text, &simulated); err != nil {
		return err
	}
	results := simulated.Pacing
	t := s.table("limit counted by", "latency s", "jitter ms", "of the allowed rate", "fastest that is sure of no 429",
		"429s", "requests", "requests ÷ pages", "most in flight")
	least, most429, waste, waited := 1.0, 0.0, 0.0, 0.0
	toBest := 1.0
	alone := map[float64]float64{}
	for _, r := range results {
		if r.Client != "usagelake" {
			alone[r.Latency] = r.Share
			continue
		}
		t.row(r.Kind, fmt.Sprint(r.Latency), fmt.Sprintf("%.0f", r.Jitter*1000), fmt.Sprintf("%.3f", r.Share),
			fmt.Sprintf("%.3f", r.Best), fmt.Sprint(r.Limited),
			thousands(r.Requests), fmt.Sprintf("%.3f", r.Waste), fmt.Sprint(r.InFlight))
		if r.Jitter == 0 {
			least, most429, waste = min(least, r.Share), max(most429, r.Limited), max(waste, r.Waste)
		} else {
			toBest = min(toBest, r.Share/r.Best)
			waited = max(waited, r.Limited/r.Requests)
		}
	}
	t = s.table("latency s", "usagelake, of the allowed rate", "one page at a time", "times as fast")
	for _, r := range results {
		if r.Client == "usagelake" && r.Kind == "sliding" && r.Jitter == 0 {
			t.row(fmt.Sprint(r.Latency), fmt.Sprintf("%.3f", r.Share), fmt.Sprintf("%.3f", alone[r.Latency]),
				fmt.Sprintf("%.1f", r.Share/alone[r.Latency]))
		}
	}
	t = s.table("records a day", "largest page the Portal gives", "days", "requests", "pages they fit in",
		"requests ÷ pages", "minutes at the limit", "in pages of 100")
	proofs := 0.0
	for _, r := range simulated.Pages {
		t.row(thousands(r.PerDay), thousands(r.Max), fmt.Sprint(r.Days), thousands(r.Requests), thousands(r.Least),
			fmt.Sprintf("%.3f", r.Requests/r.Least),
			fmt.Sprintf("%.1f", r.Seconds/60), fmt.Sprintf("%.1f", max(r.Days, r.Records/100)/2/60))
		proofs = max(proofs, r.Requests/r.Least)
	}
	settled, err := b.child("settled", b.fresh("settled"))
	if err != nil {
		return err
	}
	s.fact("An export of days that are settled sends %.0f requests for usage, for a lookback of %.0f days.",
		settled.V["requests"], settled.V["days"])
	s.fact("With jitter, the slowest pacer came to %.3f of the fastest sending that is sure to draw no 429; at most %.1f "+
		"%% of its requests drew one, most of them while it was finding out.", toBest, waited*100)
	s.atLeast("of the allowed rate, no jitter, the worst", 0.95, least, "%.3f")
	s.atMost("429s, no jitter", 0, most429, "%.0f")
	s.atMost("requests ÷ (records ÷ page size) of a backfill, no jitter", 1.02, waste, "%.3f")
	s.atMost("requests ÷ the least that the pages hold, whatever their size", 1.03, proofs, "%.3f")
	s.atMost("requests for a settled day", 1, settled.V["requests"]/settled.V["days"], "%.2f")
	return nil
}

// duckLayouts are the numbers of files that DuckDB gets its pages in: which of them it reads best hangs on its version,
// and by as much as five times.
var duckLayouts = []string{"1", "10", "100", "600", "3000"}

// duckWay is what the tables call DuckDB's way from pages in so many files.
func duckWay(files string) string {
	if files == "1" {
		return "DuckDB, the same pages in one file"
	}
	return "DuckDB, the same pages in " + thousands(float64(atoi(files))) + " files"
}

// parquet compares ways from JSON pages to Parquet.
func (b *bench) parquet(s *section) error {
	lake, truth, err := b.generated(b.size.compared, 30, false)
	if err != nil {
		return err
	}
	pages := func(name string, most int, files ...string) (string, float64, error) {
		dir := filepath.Join(b.dir, "pages-"+name)
		if err := os.RemoveAll(dir); err != nil {
			return "", 0, err
		}
		r, err := b.child("pages", append([]string{lake, dir, strconv.Itoa(most)}, files...)...)
		return dir, r.V["records"], err
	}
	b.say("write the pages for the others")
	whole, n, err := pages("whole", 0, duckLayouts...)
	if err != nil {
		return err
	}
	defer os.RemoveAll(whole)
	duck := filepath.Join(b.dir, "tmp-duckdb.parquet")
	out := filepath.Join(b.dir, "tmp-peer.parquet")
	child := func(name, child string, args ...string) variant {
		return variant{name, func() (run, error) { return b.child(child, args...) }}
	}
	b.say("DuckDB's best layout of the pages")
	var layouts []variant
	for _, files := range duckLayouts {
		if dir := filepath.Join(whole, files); fileExists(dir) {
			layouts = append(layouts, child(duckWay(files), "duckdb", "pages", dir, duck))
		}
	}
	// Those that lose by far have two turns, and the best all of them.
	tried, err := turns(min(b.size.turns, 2), layouts...)
	if err != nil {
		return err
	}
	best := slices.MinFunc(layouts, func(v, w variant) int {
		return cmp.Compare(take(tried[v.name], cpu).median(), take(tried[w.name], cpu).median())
	})
	const ours, flat = "usagelake rebuild, all but the publishing", "DuckDB, a record a line"
	b.say("from pages to Parquet")
	ways := []variant{
		child(ours, "rebuild", lake, "derive"),
		best,
		child(flat, "duckdb", "flat", filepath.Join(whole, "flat"), out),
	}
	got, err := turns(b.size.turns, ways...)
	if err != nil {
		return err
	}
	size, err := treeSize(filepath.Join(lake, "usage"))
	if err != nil {
		return err
	}
	for i := range got[ours] {
		got[ours][i].V["bytes"] = size
	}
	for _, l := range layouts {
		if l.name != best.name {
			ways, got[l.name] = append(ways, l), tried[l.name]
		}
	}
	b.compared(s, ways, got, best.name, n)
	s.fact("Of the layouts that were tried, %s was the one that took the least CPU: what the ratios are against.",
		strings.TrimPrefix(best.name, "DuckDB, the same "))
	s.atMost("pages to Parquet, CPU ÷ DuckDB's at its best layout", 0.75,
		ratio(take(got[ours], cpu), take(got[best.name], cpu)).median(), "%.2f")
	s.atMost("bytes a record ÷ DuckDB's", 1, (size/float64(truth.Records))/(got[best.name][0].V["bytes"]/n), "%.2f")

	b.say("hold the values against each other")
	same, err := b.child("compare", lake, duck)
	if err != nil {
		return err
	}
	s.fact("Sum of `amount`: the Portal's own %s, usagelake's %s, DuckDB's %s.", truth.Net, same.S["ours"],
		same.S["theirs"])
	s.fact("Of %s records, DuckDB read a price or an amount of %s otherwise than the page says.",
		thousands(same.V["records"]), thousands(same.V["differ"]))
	s.atMost("records with a figure that isn't the Portal's", 0, same.V["wrong"], "%.0f")
	exact, err := b.child("exact", b.fresh("exact"))
	if err != nil {
		return err
	}
	for i := 0; exact.S[fmt.Sprint("in", i)] != ""; i++ {
		s.fact("`%s` in a page: usagelake %s, DuckDB's read_json %s.", exact.S[fmt.Sprint("in", i)],
			exact.S[fmt.Sprint("ours", i)], exact.S[fmt.Sprint("theirs", i)])
	}

	b.say("the other libraries")
	// In as many files as are best, or in the most below that there are pages for.
	upTo := duckLayouts[:1+slices.IndexFunc(duckLayouts, func(files string) bool { return duckWay(files) == best.name })]
	few, n, err := pages("few", b.size.peers, upTo...)
	if err != nil {
		return err
	}
	defer os.RemoveAll(few)
	files, dir := "", ""
	for _, f := range upTo {
		if d := filepath.Join(few, f); fileExists(d) {
			files, dir = f, d
		}
	}
	theirs := child(duckWay(files), "duckdb", "pages", dir, out)
	ways = []variant{theirs}
	for _, p := range [][2]string{{"pqarrow", "encoding/json → arrow-go's pqarrow"},
		{"parquet-go", "encoding/json → parquet-go/parquet-go"}, {"xitongsys", "encoding/json → xitongsys/parquet-go"}} {
		ways = append(ways, child(p[1], "peer", p[0], dir, out))
	}
	if got, err = turns(min(b.size.turns, 3), ways...); err != nil {
		return err
	}
	b.compared(s, ways, got, theirs.name, n)
	return nil
}

// compared writes the table of ways that are held against one of them.
func (b *bench) compared(s *section, ways []variant, got map[string][]run, with string, records float64) {
	t := s.table(thousands(records)+" records", "CPU ÷ DuckDB's best", "wall ÷ its", "CPU s", "wall s", "records a second",
		"peak memory", "bytes a record")
	for _, w := range ways {
		runs := got[w.name]
		t.row(w.name, ratio(take(runs, cpu), take(got[with], cpu)).text(2),
			ratio(take(runs, wall), take(got[with], wall)).text(2),
			take(runs, cpu).text(2), take(runs, wall).text(2), thousands(records/take(runs, wall).median()),
			mib(take(runs, rss).median()),
			fmt.Sprintf("%.1f", runs[0].V["bytes"]/records))
	}
}

// memory measures the peaks of an export over real connections and of a rebuild, at growing sizes.
func (b *bench) memory(s *section) error {
	t := s.table("records", "days", "export, until it publishes", "its publishing", "CPU µs a record",
		"rebuild, until it publishes", "its publishing", "CPU µs a record")
	perRecord := func(r run) string { return fmt.Sprintf("%.1f", r.V["derive.cpu"]/r.V["records"]*1e6) }
	most := 0.0
	type lake struct{ records, days int }
	var lakes []lake
	for _, n := range b.size.records {
		lakes = append(lakes, lake{n, 30})
	}
	lakes = append(lakes, lake{b.size.records[min(1, len(b.size.records)-1)], 3}) // the same in long days
	for _, l := range lakes {
		b.say("export and rebuild %s records of %d days", thousands(float64(l.records)), l.days)
		e, err := b.exported(l.records, l.days)
		if err != nil {
			return err
		}
		r, err := b.child("rebuild", filepath.Join(b.dir, "tmp-export"), "publish")
		if err != nil {
			return err
		}
		t.row(thousands(r.V["records"]), strconv.Itoa(l.days), mib(e.V["derive.peak"]), mib(e.V["publish.peak"]),
			perRecord(e), mib(r.V["derive.peak"]), mib(r.V["publish.peak"]), perRecord(r))
		most = max(most, e.V["derive.peak"], r.V["derive.peak"])
		_ = os.RemoveAll(filepath.Join(b.dir, "tmp-export"))
	}
	s.fact("Publishing is DuckDB's: its limit of 128 MB is for what it buffers, the process around it comes on top.")
	s.atMost("export and rebuild until they publish, MiB at the most", window>>20, most/(1<<20), "%.0f")
	return nil
}

// publishing compares bringing the file up to date after a changed day with building it anew.
func (b *bench) publishing(s *section) error {
	t := s.table("lake", "", "seconds", "CPU s", "MiB written", "seconds ÷ full", "written ÷ full")
	for _, l := range []struct {
		records, days int
		callers       bool
	}{{b.size.compared, 30, false}, {b.size.compared, 30, true}, {b.size.year, b.size.yearDays, false}} {
		lake, truth, err := b.built(l.records, l.days, l.callers)
		if err != nil {
			return err
		}
		of := fmt.Sprintf("%d days", l.days)
		if l.callers {
			of += " of many callers"
		}
		b.say("publish a lake of %s", of)
		const one, all = "one changed day", "full"
		got, err := turns(min(b.size.turns, 3),
			variant{one, func() (run, error) { return b.child("change", lake) }},
			variant{all, func() (run, error) { return b.child("rebuild", lake, "publish") }})
		if err != nil {
			return err
		}
		in := scaled
		for _, name := range []string{one, all} {
			r := got[name]
			f := func(v string) sample { return take(r, value("publish."+v)) }
			against := func(v string) string { return ratio(f(v), take(got[all], value("publish."+v))).text(3) }
			t.row(fmt.Sprintf("%s, %s records", of, thousands(float64(truth.Records))), name, f("wall").text(2),
				f("cpu").text(2), in(f("written"), 1.0/(1<<20)).text(0), against("wall"), against("written"))
		}
		s.fact("%s: the file has %s, %.0f bytes a record.", of, mib(got[all][0].V["bytes"]),
			got[all][0].V["bytes"]/got[all][0].V["records"])
		if l.days == b.size.yearDays {
			s.atMost("publishing one day of 365, time ÷ full", 0.1,
				ratio(take(got[one], value("publish.wall")), take(got[all], value("publish.wall"))).median(), "%.3f")
			s.atMost("publishing one day of 365, bytes written ÷ full", 0.1,
				ratio(take(got[one], value("publish.written")), take(got[all], value("publish.written"))).median(), "%.3f")
		}
	}
	s.fact("Many callers are %d tokens and %s users, by each record's id: hardly two records of a day have the same "+
		"token, user and model.", manyTokens, thousands(manyUsers))
	s.fact("The copy of the unchanged part: %s.", b.cloning())
	b.say("%d nights", b.size.nights)
	y, err := b.child("nights", b.fresh("nights"), strconv.Itoa(b.size.nights), strconv.Itoa(b.size.perNight))
	if err != nil {
		return err
	}
	s.fact("%.0f nights of some %s new records each, with late and corrected ones: %.0f days written, %.0f publishes "+
		"from nothing, %.2f s a night, the slowest %.2f s, %s written in all; at the end %s rows in %s.",
		y.V["nights"], thousands(float64(b.size.perNight)), y.V["days"], y.V["fulls"], y.V["wall"]/y.V["nights"],
		y.V["slowest"], mib(y.V["written"]), thousands(y.V["rows"]), mib(y.V["size"]))
	s.fact("Dead space after a publish, in free blocks: at most %s. A file under 16 MiB is left, whatever its share (at "+
		"most %.0f %% of one); of a larger one, at most %.0f %%.",
		mib(y.V["dead.most"]), y.V["dead.share.any"]*100, y.V["dead.share"]*100)
	s.fact("Built anew, the last of these files has %s. Every thirtieth night that was looked at: a file over 16 MiB had "+
		"at most %.2f times the bytes.", mib(y.V["anew"]), y.V["grown.most"])
	s.atMost("dead space over a year of nights, % of the file where it is over 16 MiB", 30, y.V["dead.share"]*100, "%.0f")
	return nil
}

// cloning tells how files are copied where the lakes stand.
func (b *bench) cloning() string {
	from, err := os.Create(filepath.Join(b.dir, "tmp-clone-a"))
	if err != nil {
		return err.Error()
	}
	defer from.Close()
	if _, err := from.Write(make([]byte, 1<<20)); err != nil {
		return err.Error()
	}
	to, err := os.Create(filepath.Join(b.dir, "tmp-clone-b"))
	if err != nil {
		return err.Error()
	}
	defer to.Close()
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err == nil {
		return "by sharing blocks (reflink)"
	}
	if _, err := unix.CopyFileRange(int(from.Fd()), new(int64), int(to.Fd()), new(int64), 1<<20, 0); err == nil {
		return "within the kernel (copy_file_range); this file system has no reflink, so every byte is written"
	}
	return "by reading and writing: this file system has neither reflink nor copy_file_range"
}

// fileSystem is the kind of file system that the lakes stand on.
func (b *bench) fileSystem() string {
	text, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return runtime.GOOS
	}
	best, kind := "", ""
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > 2 && strings.HasPrefix(b.dir+"/", strings.TrimSuffix(f[1], "/")+"/") && len(f[1]) >= len(best) {
			best, kind = f[1], f[2]
		}
	}
	return kind
}

// queries asks the twenty questions of the published file and of the Parquet files, and times reports.
func (b *bench) queries(s *section) error {
	lake, truth, err := b.built(b.size.year, b.size.yearDays, false)
	if err != nil {
		return err
	}
	b.say("ask the questions")
	r, err := b.child("queries", lake, strconv.Itoa(min(b.size.turns, 3)))
	if err != nil {
		return err
	}
	t := s.table(fmt.Sprintf("%s records, %d days", thousands(float64(truth.Records)), b.size.yearDays),
		"published answer, ms", "usage.duckdb, its records, ms", "Parquet by glob, ms", "Parquet ÷ published")
	var gains sample
	for _, q := range questions {
		ms := func(from string) string {
			if v, ok := r.V[q.name+"."+from]; ok {
				return fmt.Sprintf("%.0f", v*1000)
			}
			return "can't be asked"
		}
		gain := "–"
		if v, ok := r.V[q.name+".parquet"]; ok {
			gains = append(gains, v/r.V[q.name+".view"])
			gain = fmt.Sprintf("%.1f", v/r.V[q.name+".view"])
		}
		t.row(q.name, ms("view"), ms("table"), ms("parquet"), gain)
	}
	s.fact("Parquet ÷ published over all questions: median %s. What bare Parquet can't be asked for is who owns a cost: "+
		"there the same sums by token or model are asked.", gains.text(1))

	month := truthMonth()
	reports := [][]string{
		{"chargeback", "--format", "table"}, {"chargeback", "--format", "html"}, {"statement", "--format", "xlsx"},
		{"statement", "--format", "html"}, {"focus", "--format", "csv"}, {"focus", "--format", "parquet"},
	}
	t = s.table("report of a month", "seconds", "peak memory", "MiB of output")
	for i, args := range reports {
		to := filepath.Join(b.dir, fmt.Sprintf("tmp-report-%d", i))
		r, err := b.process(b.usagelake, append([]string{"report", "--quiet", "--lake", lake, "--month", month, "--out", to},
			args...)...)
		if err != nil {
			return err
		}
		info, err := os.Stat(to)
		if err != nil {
			return err
		}
		t.row("`"+strings.Join(args, " ")+"`", fmt.Sprintf("%.2f", r.Wall), mib(r.RSS),
			fmt.Sprintf("%.1f", float64(info.Size())/(1<<20)))
	}
	return nil
}

// truthMonth is the last whole month of the generated lakes.
func truthMonth() string { return lastDay().AddDate(0, -1, 0).Format("2006-01") }

// thousand exports many accounts at once, each at its own limit.
func (b *bench) thousand(s *section) error {
	t := s.table("accounts", "records a page", "of the rate allowed to all", "requests a second", "429s",
		"cores, usagelake", "cores, the simulated Portal", "peak memory", "open files at most")
	for i, pageSize := range []int{20, 100} {
		b.say("%d accounts, pages of %d", b.size.accounts, pageSize)
		long := b.size.watch / time.Duration(i+1)
		c, err := b.watched(b.size.accounts, pageSize, min(15*time.Second, long), long)
		if err != nil {
			return err
		}
		t.row(thousands(float64(c.accounts)), strconv.Itoa(c.pageSize), fmt.Sprintf("%.3f", c.share),
			thousands(c.accepted/long.Seconds()), fmt.Sprint(c.limited),
			fmt.Sprintf("%.2f", c.cpu), fmt.Sprintf("%.2f", c.serverCPU), mib(c.peak), thousands(c.files))
		if i == 0 {
			s.atLeast("of the rate allowed to a thousand accounts", 0.95, c.share, "%.3f")
			s.atMost("a thousand accounts, cores", 2, c.cpu, "%.2f")
			s.atMost("a thousand accounts, memory, MiB", 1024, c.peak/(1<<20), "%.0f")
			s.atMost("a thousand accounts, open files", 20*float64(c.accounts), c.files, "%.0f")
		}
	}
	s.fact("Watched for %s (with pages of 100 half as long), after a start of up to 15 s, over loopback, with 200 to 220 "+
		"ms of latency; then the export is stopped. The simulated Portal runs on the same cores: with pages of 20 it leaves "+
		"room, with pages of 100 the two share them.", b.size.watch)
	return nil
}
