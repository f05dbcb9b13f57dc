package compat

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// byDay is what is compared, by ACCOUNT/DAY: records, Σ amount as text or nil, records without an amount, without a
// custom_user_id and with an empty one, items of ext_items, Σ of their amounts.
type byDay map[string][7]any

// asked is a line for python/engines.py.
type asked struct {
	Lake  string `json:"lake,omitempty"`
	Table string `json:"table"`
	S3    *at3   `json:"s3,omitempty"`
	Delta bool   `json:"delta,omitempty"` // of the two tables the Delta table alone
	// Catalog is the address of one that keeps Table, as NAMESPACE.NAME; its engines are asked.
	Catalog string `json:"catalog,omitempty"`
}

type at3 struct {
	Endpoint string `json:"endpoint"`
	Key      string `json:"key"`
	Secret   string `json:"secret"`
}

// read is what an engine answers.
type read struct {
	Engine, Versions, Call, Error, Says string
	Figures                             byDay
}

// engines are processes of python/engines.py that stay.
type engines struct {
	to   []io.Writer
	from []*bufio.Scanner
}

func startEngines(t *testing.T, names, spark []string) *engines {
	e := &engines{}
	for _, p := range [][]string{slices.Insert(names, 0, "engines"), slices.Insert(spark, 0, "engines-spark")} {
		c := exec.Command(environment(t, p[0]), append([]string{"python/engines.py"}, p[1:]...)...)
		var stderr bytes.Buffer // of much that is no error: Spark tells of every jar
		c.Stderr = &stderr
		to, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		from, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = to.Close()
			if err := c.Wait(); err != nil {
				t.Errorf("%v: %v\n%s", p, err, stderr.String())
			}
		})
		lines := bufio.NewScanner(from)
		lines.Buffer(nil, 1<<24)
		e.to, e.from = append(e.to, to), append(e.from, lines)
	}
	return e
}

// read lets every engine read a table, one process after the other.
func (e *engines) read(t *testing.T, a asked) []read {
	t.Helper()
	var out []read
	for i := range e.to {
		if i > 0 {
			a.Lake = ""
		}
		if err := json.NewEncoder(e.to[i]).Encode(a); err != nil {
			t.Fatal(err)
		}
		for e.from[i].Scan() && len(e.from[i].Bytes()) > 0 {
			if !bytes.HasPrefix(e.from[i].Bytes(), []byte(`{"engine"`)) { // some engines print what they are doing
				continue
			}
			var r read
			if err := json.Unmarshal(e.from[i].Bytes(), &r); err != nil {
				t.Fatalf("%v in %s", err, e.from[i].Bytes())
			}
			out = append(out, r)
		}
	}
	return out
}

// truth is what the Portal's records come to.
func (l *changing) truth(t *testing.T) byDay {
	t.Helper()
	type sums struct{ amount, items big.Int }
	out, exact := byDay{}, map[string]*sums{}
	for account, calls := range l.of {
		for _, c := range calls {
			key := account + "/" + c.at.Format(time.DateOnly)
			f, ok := out[key]
			if !ok {
				f, exact[key] = [7]any{0.0, nil, 0.0, 0.0, 0.0, 0.0, nil}, &sums{}
			}
			f[0] = f[0].(float64) + 1
			if c.amount == "" {
				f[2] = f[2].(float64) + 1
			} else {
				f[1] = decimal(exact[key].amount.Add(&exact[key].amount, units(t, c.amount)))
			}
			if c.custom == nil {
				f[3] = f[3].(float64) + 1
			} else if *c.custom == "" {
				f[4] = f[4].(float64) + 1
			}
			for _, a := range c.items {
				f[5] = f[5].(float64) + 1
				f[6] = decimal(exact[key].items.Add(&exact[key].items, units(t, a)))
			}
			out[key] = f
		}
	}
	return out
}

// decimal writes units of 10⁻¹² as a decimal of twelve places.
func decimal(u *big.Int) string {
	s := fmt.Sprintf("%013d", new(big.Int).Abs(u))
	s = s[:len(s)-12] + "." + s[len(s)-12:]
	if u.Sign() < 0 {
		s = "-" + s
	}
	return s
}

// total is how many records there are, and the sum of amount.
func (f byDay) total(t *testing.T) string {
	t.Helper()
	n, sum := 0, new(big.Int)
	for _, d := range f {
		n += int(d[0].(float64))
		if s, ok := d[1].(string); ok {
			sum.Add(sum, units(t, s))
		}
	}
	return fmt.Sprintf("%d %s", n, decimal(sum))
}

// deliveredAccounts have refunds, what is NULL beside what is empty, items, days of NULL alone and days without a
// record.
func deliveredAccounts() map[string][]call {
	accounts := map[string][]call{}
	for i, name := range []string{"acme", "2026", "0042"} {
		for n := range 250 {
			day := 1 + (n*7+i)%10
			if day == 3+i { // a day without any
				continue
			}
			c := call{at: at(day, n*31), amount: fmt.Sprintf("%d.%012d", n%4, 7919*n*n+i),
				custom: text("user-" + strconv.Itoa(n%5))}
			switch {
			case day == 8+i%2: // no amount all day
				c.amount = ""
			case n%17 == 0:
				c.amount = "-" + c.amount
			case n%23 == 0:
				c.amount = ""
			case n%41 == 0:
				c.amount = "999999.999999999999"
			}
			switch n % 6 {
			case 0:
				c.custom = nil
			case 1:
				c.items = []string{"0.003", "999999.999999999999", "-0.000000000001"}[:1+n%3]
			case 2:
				c.custom = text("")
			}
			accounts[name] = append(accounts[name], c)
		}
	}
	return accounts
}

// onDay gives an account other records on a day of October 2026, and returns the day file of the lake and what it is to
// be. The lake can't be asked for it, as it keeps for an hour what a Portal has suddenly lost: a lake of its own
// exports it.
func (l *changing) onDay(t *testing.T, account string, day int, calls ...call) (name string, content []byte) {
	t.Helper()
	of := slices.DeleteFunc(slices.Clone(l.of[account]), func(c call) bool { return c.at.Day() == day })
	l.set(account, append(of, calls...))
	other := changingLake(t, map[string][]call{account: calls})
	partition := filepath.Join("usage", "acct="+account, "date="+at(day, 0).Format(time.DateOnly), "*.parquet")
	var found [2][]string
	for i, lake := range []string{l.lake(), other.lake()} {
		var err error
		if found[i], err = filepath.Glob(filepath.Join(lake, partition)); err != nil || len(found[i]) != 1 {
			t.Fatalf("%s/%s: %v, %v", lake, partition, found[i], err)
		}
	}
	content, err := os.ReadFile(found[1][0])
	if err != nil {
		t.Fatal(err)
	}
	return found[0][0], content
}

// replace puts a day file in another's place, as an export does.
func replace(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// told is what an engine read, in a word.
func (r read) told(want byDay) string {
	switch {
	case r.Error != "":
		return "refuses: " + r.Error
	case !reflect.DeepEqual(r.Figures, want):
		return "wrong"
	}
	return "exact"
}

// told is what engines read, step by step.
type told struct {
	names []string
	rows  map[string][]string
}

// reads lets every engine read a table at a step, and notes what came out.
func (o *told) reads(t *testing.T, e *engines, l *changing, step string, a asked) {
	t.Helper()
	want := l.truth(t)
	a.Lake = l.lake()
	all := e.read(t, a)
	if len(all) == 0 || all[0].Engine != "truth" {
		t.Fatalf("%s: nothing was read: %+v", step, all)
	}
	if all[0].told(want) != "exact" {
		t.Fatalf("%s: the lake's day files have %v, its Portal %v", step, all[0].Figures, want)
	}
	for _, r := range all[1:] {
		if o.rows[r.Engine] == nil {
			o.names = append(o.names, r.Engine)
			engine, _, _ := strings.Cut(r.Engine, "-")
			o.rows[r.Engine] = []string{engine, r.Versions, "`` " + r.Call + " ``"}
		}
		told := r.told(want)
		if told != "exact" {
			t.Logf("%s: %s: %s %s %v, want %v", step, r.Engine, told, r.Says, r.Figures, want)
		}
		o.rows[r.Engine] = append(o.rows[r.Engine], told)
	}
}

func TestEnginesReadTheTables(t *testing.T) {
	l := changingLake(t, deliveredAccounts())
	e := startEngines(t, []string{"deltalake", "deltalake-sql", "polars", "ClickHouse", "DuckDB", "DataFusion",
		"pyiceberg-iceberg", "polars-iceberg", "ClickHouse-iceberg", "DuckDB-iceberg"}, []string{"Spark", "Spark-iceberg"})
	table := filepath.Join(t.TempDir(), "delivered")
	deliver := func() { l.run(t, "deliver", "--quiet", "--to", "file://"+table, "--tables", "delta,iceberg") }

	told := &told{rows: map[string][]string{}}
	reads := func(step string, a asked) { told.reads(t, e, l, step, a) }

	deliver()
	reads("as it was exported", asked{Table: table})

	const day = 5
	some := slices.DeleteFunc(slices.Clone(l.of["acme"]), func(c call) bool { return c.at.Day() != day })
	name, content := l.onDay(t, "acme", day, some[:3]...)
	replace(t, name, content)
	deliver()
	reads("fewer rows", asked{Table: table})

	name, content = l.onDay(t, "acme", day)
	replace(t, name, content)
	deliver()
	reads("none", asked{Table: table})

	// Two days that change together, in five ways, again and again, while somebody reads.
	other := slices.DeleteFunc(slices.Clone(l.of["0042"]), func(c call) bool { return c.at.Day() != day+1 })
	type variant struct {
		files map[string][]byte
		of    map[string][]call
		total string
	}
	var variants []variant
	for i := range 5 {
		v := variant{files: map[string][]byte{}}
		name, content := l.onDay(t, "acme", day, some[i:]...)
		v.files[name] = content
		name, content = l.onDay(t, "0042", day+1, other[:len(other)-2*i]...)
		v.files[name] = content
		v.of, v.total = maps.Clone(l.of), l.truth(t).total(t)
		variants = append(variants, v)
	}
	before := readTotals(t, table)
	stop := startReading(t, table)
	states := map[string]string{"3": before} // by the manifest's number
	for version := int64(3); version < 110; version++ {
		v := variants[version%5]
		for name, content := range v.files {
			replace(t, name, content)
		}
		l.of = v.of
		states[strconv.FormatInt(version+1, 10)] = v.total
		deliver()
	}
	seen := map[string]map[string]bool{"delta": {}, "iceberg": {}}
	for _, r := range stop() {
		kind, rest, _ := strings.Cut(r, " ")
		number, total, _ := strings.Cut(rest, " ")
		if states[number] != total {
			t.Errorf("a reader of the %s table of manifest %s had %s, which is %q", kind, number, total, states[number])
		}
		seen[kind][number] = true
	}
	for kind, numbers := range seen {
		if len(numbers) < 10 || !numbers["110"] {
			t.Errorf("the reader saw of the %s table %v", kind, slices.Sorted(maps.Keys(numbers)))
		}
	}
	log := filepath.Join(table, "_delta_log")
	if _, err := os.Stat(filepath.Join(log, fmt.Sprintf("%020d.json", 109))); err != nil {
		t.Fatal(err)
	}
	reads("110 versions", asked{Table: table})

	// Of the log nothing that is older than its checkpoint, at a place that no engine has seen yet.
	bare := filepath.Join(t.TempDir(), "bare")
	if err := os.CopyFS(bare, os.DirFS(table)); err != nil {
		t.Fatal(err)
	}
	for version := range 101 {
		if err := os.Remove(filepath.Join(bare, "_delta_log", fmt.Sprintf("%020d.json", version))); err != nil {
			t.Fatal(err)
		}
	}
	reads("checkpoint alone", asked{Table: bare, Delta: true})
	ran := runBlocks(t, table, l.truth(t).total(t), func(block string) string {
		if strings.Contains(block, "s3://") || strings.Contains(block, catalogInDocs) {
			return ""
		}
		return block
	})
	if ran < 6 {
		t.Errorf("%d blocks of the docs", ran)
	}

	s3 := startS3(t)
	l.env = append(l.env, "AWS_ACCESS_KEY_ID="+s3.Key, "AWS_SECRET_ACCESS_KEY="+s3.Secret)
	const url = "s3://finance-lake/usage"
	overS3 := func() {
		l.run(t, "deliver", "--quiet", "--to", url, "--tables", "delta,iceberg", "--endpoint", s3.Endpoint,
			"--region", "us-east-1")
	}
	overS3()
	name, content = l.onDay(t, "2026", day+2, call{at: at(day+2, 60), amount: "-0.000000000001"})
	replace(t, name, content)
	overS3()
	reads("S3", asked{Table: url, S3: s3})

	steps := []string{"engine", "version", "reads", "as it was exported", "fewer rows", "none", "110 versions",
		"checkpoint alone", "over S3"}
	delta, iceberg := markdown(steps), markdown(slices.Delete(slices.Clone(steps), 7, 8))
	for _, name := range told.names {
		to := delta
		if strings.HasSuffix(name, "-iceberg") {
			to = iceberg
		}
		to.row(told.rows[name])
	}
	inDocs(t, "engines", "engines", delta.String())
	inDocs(t, "engines", "engines on Iceberg", iceberg.String())
}

// grid is a table of the docs.
type grid struct {
	strings.Builder
	columns int
}

func markdown(header []string) *grid {
	g := &grid{columns: len(header)}
	g.row(header)
	g.row(slices.Repeat([]string{"---"}, len(header)))
	return g
}

func (g *grid) row(cells []string) {
	for len(cells) < g.columns {
		cells = append(cells, "not run")
	}
	g.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// readTotals reads a table once.
func readTotals(t *testing.T, table string) string {
	t.Helper()
	all := startReading(t, table)()
	return strings.SplitN(all[len(all)-1], " ", 3)[2]
}

// startReading reads a table again and again until the function is called, which returns the lines of
// python/reading.py.
func startReading(t *testing.T, table string) func() []string {
	t.Helper()
	c := exec.Command(environment(t, "engines"), "python/reading.py", table)
	var out, stderr bytes.Buffer
	c.Stdout, c.Stderr = &out, &stderr
	to, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return func() []string {
		t.Helper()
		_ = to.Close()
		if err := c.Wait(); err != nil {
			t.Fatalf("%v: %s%s", err, out.String(), stderr.String())
		}
		return strings.Split(strings.TrimSpace(out.String()), "\n")
	}
}

// runBlocks runs what docs/engines.md and docs/deliver.md tell people to type in Python beside a folder delivered/.
// Each block that is meant, as pick makes it, prints how many records there are, and the sum of amount. It returns how
// many there were.
func runBlocks(t *testing.T, table, want string, pick func(block string) string) int {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(table, filepath.Join(dir, "delivered")); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, page := range []string{"engines", "deliver"} {
		text, err := os.ReadFile("../../docs/" + page + ".md")
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "\n```python\n")[1:] {
			block, _, _ := strings.Cut(part, "\n```\n")
			if block = pick(block); block == "" {
				continue
			}
			name := "engines"
			if strings.Contains(block, "pyspark") {
				name = "engines-spark"
			}
			python, err := filepath.Abs(environment(t, name))
			if err != nil {
				t.Fatal(err)
			}
			c := exec.Command(python, "-c", block)
			c.Dir = dir
			var stderr bytes.Buffer
			c.Stderr = &stderr
			out, err := c.Output()
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if got := strings.Join(strings.Fields(lines[len(lines)-1]), " "); err != nil || got != want {
				t.Errorf("docs/%s.md: %v, and %q, want %q, of\n%s\n%s", page, err, got, want, block,
					stderr.String()[max(0, stderr.Len()-2000):])
			}
			ran++
		}
	}
	return ran
}

// startS3 starts the S3 server of `make stores` over a directory, with a bucket finance-lake.
func startS3(t *testing.T) *at3 {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "finance-lake"), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	s := &at3{Endpoint: "http://" + address, Key: "usagelaketest", Secret: "notasecretbutmustnotbeseen1234567890"}
	gateway := filepath.Join(filepath.Dir(os.Getenv("USAGELAKE_COMPAT_BIN")), "stores", "versitygw")
	c := exec.Command(gateway, "--port", address, "--keep-alive", "--quiet", "posix", dir)
	c.Env = []string{"ROOT_ACCESS_KEY=" + s.Key, "ROOT_SECRET_KEY=" + s.Secret}
	if err := c.Start(); err != nil {
		t.Fatalf("%v: run make stores", err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(s.Endpoint)
		if err == nil {
			_ = resp.Body.Close()
			return s
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}
