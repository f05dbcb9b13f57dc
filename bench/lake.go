package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// account is the one whose usage the lakes hold, and org its organisation at the simulated Portal.
const (
	account = "bench"
	org     = "0"
)

// clock is the Portal's in every part that doesn't measure time itself; the lakes' records are of the days before it.
var clock = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func lastDay() time.Time { return clock.Truncate(24 * time.Hour) }

// wire carries requests to a Portal in the same process, without a socket.
type wire struct {
	portal  http.Handler
	callers bool // its records are of many callers
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if t := httptrace.ContextClientTrace(req.Context()); t != nil && t.WroteRequest != nil {
		t.WroteRequest(httptrace.WroteRequestInfo{})
	}
	rec := httptest.NewRecorder()
	r := req.Clone(req.Context())
	r.RemoteAddr = "127.0.0.1:1"
	w.portal.ServeHTTP(rec, r)
	if w.callers {
		rec.Body = bytes.NewBuffer(byCallers(rec.Body.Bytes()))
		rec.Header().Del("Content-Length")
	}
	return rec.Result(), nil
}

// newPortal simulates a Portal without a limit whose account has about so many records in the days before the clock's.
func newPortal(records, days int, now func() time.Time, f portal.Faults) (*portal.Portal, error) {
	const sample = 200 // a day: volume grows, and weekends are quieter, so what comes is not what is asked for
	f.Gzip = "off"
	o := portal.Options{Seed: 11, Now: now, Limit: portal.LimitOptions{Kind: portal.Off}, Faults: f,
		Orgs: []portal.OrgOptions{{ID: org, RecordsPerDay: sample}}}
	p, err := portal.New(o)
	if err != nil {
		return nil, err
	}
	n, _ := p.Total(org, lastDay().AddDate(0, 0, -days), lastDay())
	o.Orgs[0].RecordsPerDay = sample * float64(records) / float64(max(n, 1))
	return portal.New(o)
}

// truth is what the Portal says a lake must hold.
type truth struct {
	Asked   int // of newPortal: the same Portal can be made again
	Records int
	Net     string // exact
	Days    int
	Callers bool // the records are of many callers
}

func readTruth(lake string) (t truth, err error) {
	b, err := os.ReadFile(lake + ".truth.json")
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(b, &t)
}

// childGenerate makes the raw archive of a lake: pages of the simulated Portal, fetched and sealed as an export does
// it, at a rate no Portal allows. Nothing is derived from it.
func childGenerate(ctx context.Context, args []string, out *answer) error {
	dir := args[0]
	records, days := atoi(args[1]), atoi(args[2])
	p, err := newPortal(records, days, func() time.Time { return clock }, portal.Faults{})
	if err != nil {
		return err
	}
	from := lastDay().AddDate(0, 0, -days)
	t := truth{Asked: records, Days: days, Callers: args[3] == "true"}
	if err := sealed(ctx, p, dir, from, lastDay(), t.Callers); err != nil {
		return err
	}
	t.Records, t.Net = p.Total(org, from, lastDay())
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if t.Callers {
		_, err = writeCenters(dir+".finance", centers)
	} else {
		err = writeFinance(p, dir+".finance")
	}
	if err != nil {
		return err
	}
	out.V["records"] = float64(t.Records)
	return os.WriteFile(dir+".truth.json", b, 0o600)
}

// sealed makes a lake of the Portal's pages of some days, of its own callers or of many.
func sealed(ctx context.Context, p *portal.Portal, dir string, from, to time.Time, callers bool) error {
	lake, err := publish.Create(dir, publish.Options{})
	if err != nil {
		return err
	}
	c, err := extract.NewClient(extract.Options{Account: account, BaseURL: "https://portal.test" + p.BasePath(),
		Key:       p.Key(org),
		Transport: &wire{p, callers}, Pacer: extract.NewPacer(1e6, 4)})
	if err != nil {
		return err
	}
	defer c.Close()
	f := extract.NewFetcher(extract.FetchOptions{Client: c, RunID: "bench-1", Version: "bench"})
	f.SetCurrency("USD")
	fetched, err := f.Fetch(ctx, schemas.Window{Account: account, Start: from, End: to}.Days(),
		func(ctx context.Context, s schemas.Seal, pages []schemas.Page) error {
			_, err := lake.Seal(ctx, s, pages)
			return err
		})
	if err != nil {
		return err
	}
	if len(fetched.Failed) > 0 {
		return fmt.Errorf("window failed: %s", fetched.Failed[0].Error)
	}
	return nil
}

// writeFinance writes who pays for what: each token's team and its cost centre, and one team shared by all.
func writeFinance(p *portal.Portal, dir string) error {
	tokens, centers := "token_id,team\n", "team,cost_center,gl_code\n"
	var shared string
	for i, t := range p.Teams(org) {
		centers += fmt.Sprintf("%s,%s,6%03d\n", t.Name, t.CostCentre, i)
		for _, token := range t.Tokens {
			tokens += token + "," + t.Name + "\n"
		}
		shared = strings.Join(t.Tokens, ", ")
	}
	rules := `version: 1
tables:
  tokens: {file: tokens.csv, key: token_id}
  centers: {file: centers.csv, key: team}
rules:
  - id: platform
    match: {token_id: [` + shared + `]}
    pool: platform
  - id: by-token
    lookup: [tokens, centers]
pools:
  platform: {split: cost, to: all}
`
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{"tokens.csv": tokens, "centers.csv": centers, "allocation.yaml": rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// childPages writes the archived pages as DuckDB and the other libraries read them, uncompressed: a page a line in N/,
// spread over N files, for each N it is given, and a record a line in flat/, a file a day. No more than so many records
// in all, by whole days, if that isn't 0. More files than pages can't be: such a layout is left out.
func childPages(ctx context.Context, args []string, out *answer) error {
	most := int64(atoi(args[2]))
	var records int64
	pages := 0
	type day struct {
		of      schemas.Partition
		windows []schemas.Sealed
	}
	var days []day
	err := eachDay(ctx, args[0], func(p schemas.Partition, windows []schemas.Sealed) error {
		if most > 0 && records >= most {
			return nil
		}
		days = append(days, day{p, windows})
		for _, w := range windows {
			pages += w.Seal.Pages
			records += w.Seal.Records
		}
		return nil
	})
	if err != nil {
		return err
	}
	var layouts []*spread
	for _, n := range args[3:] {
		if files := atoi(n); files <= pages {
			layouts = append(layouts, &spread{dir: filepath.Join(args[1], n), files: files, lines: pages})
		}
	}
	for _, d := range days {
		flat, err := create(filepath.Join(args[1], "flat", d.of.Date.String()+".ndjson"))
		if err != nil {
			return err
		}
		defer flat.Close()
		for _, w := range d.windows {
			for page, err := range w.Pages(ctx) {
				if err != nil {
					return err
				}
				var doc struct {
					Data struct {
						List []json.RawMessage `json:"list"`
					} `json:"data"`
				}
				if err := json.Unmarshal(page.Body, &doc); err != nil {
					return err
				}
				line := bytes.ReplaceAll(page.Body, []byte("\n"), []byte(" ")) // a line feed in a string is escaped
				for _, l := range layouts {
					if err := l.put(line); err != nil {
						return err
					}
				}
				for _, r := range doc.Data.List {
					flat.Write(r)
					flat.WriteByte('\n')
					out.V["records"]++
				}
			}
		}
		if err := flat.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// spread writes lines into files of as many lines each, or one more.
type spread struct {
	dir          string
	files, lines int // in all
	file, line   int // so far
	out          *bufferedFile
}

// put writes the next line.
func (s *spread) put(line []byte) (err error) {
	if s.out == nil {
		if s.out, err = create(filepath.Join(s.dir, fmt.Sprintf("%05d.ndjson", s.file))); err != nil {
			return err
		}
		s.file++
	}
	s.out.Write(line)
	s.out.WriteByte('\n')
	if s.line++; s.line < s.file*s.lines/s.files {
		return nil
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	err, s.out = s.out.Close(), nil
	return err
}

type bufferedFile struct {
	*bufio.Writer
	io.Closer
}

func create(path string) (*bufferedFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &bufferedFile{bufio.NewWriterSize(f, 1<<20), f}, nil
}

// eachDay reads the raw archive of a lake day by day.
func eachDay(ctx context.Context, dir string, do func(schemas.Partition, []schemas.Sealed) error) error {
	lake, err := publish.Open(dir, publish.Options{})
	if err != nil {
		return err
	}
	days, err := lake.Partitions(account)
	if err != nil {
		return err
	}
	for _, p := range days {
		source, err := lake.Source(p)
		if err != nil {
			return err
		}
		var windows []schemas.Sealed
		for _, r := range source.Windows {
			s, err := lake.OpenRaw(ctx, p, r)
			if err != nil {
				return err
			}
			windows = append(windows, s)
		}
		if err := do(p, windows); err != nil {
			return err
		}
	}
	return nil
}

// treeSize is the sum of the sizes of the files under dir.
func treeSize(dir string) (n float64, err error) {
	err = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			n += float64(info.Size())
		}
		return err
	})
	return n, err
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(fmt.Sprintf("%q is no number", s)) // arguments are our own
	}
	return n
}

// generated is the lake of so many records over so many days, of the Portal's own callers or of many, made if it isn't
// there.
func (b *bench) generated(records, days int, callers bool) (string, truth, error) {
	dir := filepath.Join(b.dir, fmt.Sprintf("lake-%d-%d", records, days))
	if callers {
		dir += "-callers"
	}
	if t, err := readTruth(dir); err == nil {
		return dir, t, nil
	}
	if err := os.RemoveAll(dir); err != nil { // half of one
		return "", truth{}, err
	}
	b.say("generate %s records over %d days", thousands(float64(records)), days)
	_, err := b.child("generate", dir, strconv.Itoa(records), strconv.Itoa(days), strconv.FormatBool(callers))
	if err != nil {
		return "", truth{}, err
	}
	t, err := readTruth(dir)
	return dir, t, err
}
