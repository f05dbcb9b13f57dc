package deliver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load/bucket/storetest"
	"github.com/usagelake/usagelake/load/catalog"
	"github.com/usagelake/usagelake/load/catalog/catalogtest"
	"github.com/usagelake/usagelake/load/deliver"
)

// kept is a table in a catalog: what is asked of it, and what becomes of that.
type kept struct {
	t     testing.TB
	at    string // the catalog
	table string // NAMESPACE.NAME
	dir   string
	keep  time.Duration

	mu       sync.Mutex
	requests []string
	fault    func(op, path string) fault
	status   int // of what is broken; 0: there is no answer
	held     *http.Request
	keeps    bool // it drops no snapshot
}

// late is a fault: the request reaches the catalog right before the next one that changes something.
const late fault = 100

// fast is how much faster time goes for a table in a catalog than its rig says. A catalog has the machine's clock, and
// takes no snapshot of more than a minute later; a day takes it 0.9 seconds.
const fast = 100_000

// inCatalog makes of a rig one whose table is in a catalog.
func (r *rig) inCatalog(at, table string) *kept {
	start, began := time.Now(), r.now
	r.opts.Now = func() time.Time { return start.Add(r.now.Sub(began) / fast) }
	return &kept{t: r.t, at: at, table: table, dir: r.dir, keep: deliver.DefaultKeep}
}

// iceberg makes a target one with the table.
func (k *kept) iceberg(t *deliver.Target) {
	k.t.Helper()
	c, err := catalog.Open(catalog.Options{URI: k.at, Table: k.table, Transport: k})
	must(k.t, err)
	t.Delta, t.Iceberg, t.Catalog, t.Keep = false, true, c, k.keep/fast
	k.requests = nil
}

func (k *kept) RoundTrip(req *http.Request) (*http.Response, error) {
	k.mu.Lock()
	op := strings.ToLower(req.Method)
	k.requests = append(k.requests, op+" "+req.URL.Path)
	how := sound
	if k.fault != nil {
		how = k.fault(op, req.URL.Path)
	}
	if k.keeps && op == "post" {
		b, err := io.ReadAll(req.Body)
		must(k.t, err)
		req = req.Clone(req.Context())
		b = regexp.MustCompile(`,\{"action":"remove-snapshots"[^}]*\}`).ReplaceAll(b, nil)
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	}
	status, held := k.status, k.held
	if op == "post" {
		k.held = nil
	}
	if how == late {
		body, err := req.GetBody()
		must(k.t, err)
		k.held = req.Clone(context.Background())
		k.held.Body = body
		how = broken
	}
	k.mu.Unlock()
	var resp *http.Response
	var err error
	if held != nil && op == "post" {
		resp, err := http.DefaultTransport.RoundTrip(held)
		must(k.t, err)
		_ = resp.Body.Close()
	}
	if how != broken {
		if resp, err = http.DefaultTransport.RoundTrip(req); err != nil || how == sound {
			return resp, err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	if status == 0 {
		return nil, errBroken
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Request: req,
		Body: io.NopCloser(strings.NewReader(`{"error":{"message":"an injected fault","type":"Fault","code":0}}`))}, nil
}

// ask asks the catalog for something, as another program does.
func (k *kept) ask(method, path, body string) []byte {
	k.t.Helper()
	req, err := http.NewRequest(method, k.at+"/v1/namespaces/"+path, strings.NewReader(body))
	must(k.t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	must(k.t, err)
	b, err := io.ReadAll(resp.Body)
	must(k.t, errors.Join(err, resp.Body.Close()))
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return nil
	case resp.StatusCode/100 != 2:
		k.t.Fatalf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	return b
}

func (k *kept) path() string { return strings.Replace(k.table, ".", "/tables/", 1) }

// read is the table as one finds it there who asks the catalog; nil of one that isn't there.
func (k *kept) read() *icebergVersion {
	k.t.Helper()
	b := k.ask(http.MethodGet, k.path(), "")
	if b == nil {
		return nil
	}
	var there struct {
		File     string          `json:"metadata-location"`
		Metadata json.RawMessage `json:"metadata"`
	}
	must(k.t, json.Unmarshal(b, &there))
	v := readVersion(k.t, k.dir, there.Metadata)
	key, _ := strings.CutPrefix(there.File, k.dir+"/")
	v.named[key] = true
	return v
}

// catalogIs holds the table in the catalog against the manifests.
func (r *rig) catalogIs(k *kept, manifests ...string) *icebergVersion {
	r.t.Helper()
	v := k.read()
	if v == nil {
		r.t.Fatal("there is no table")
	}
	r.holds(v, manifests...)
	return v
}

// TestACatalogKeepsTheTable: one commit for each delivery that changed a day file; what it costs; what the manifest
// says of it. A day with fewer rows, and one with none, are what they are in the lake.
func TestACatalogKeepsTheTable(t *testing.T) {
	r := newRig(t)
	k := r.inCatalog(catalogtest.Namespace(t, "finance1"), "finance1.usage")
	for n := range 5 {
		r.w.RandomDay(day("acme", n), 100+n, int64(n))
	}
	rep := r.delivered(k.iceberg)
	if rep.Iceberg == nil || *rep.Iceberg != 2 || rep.CatalogRequests != 4 || len(k.requests) != 4 {
		t.Errorf("the first delivery: %+v, %q", rep, k.requests)
	}
	first := r.catalogIs(k)
	if rep = r.delivered(k.iceberg); len(r.b.requests) > 1 || len(k.requests) > 0 || rep.CatalogRequests != 0 {
		t.Errorf("nothing changed: %q, %q", r.b.requests, k.requests)
	}
	r.w.RandomDay(day("acme", 2), 7, 99)
	if r.delivered(k.iceberg); len(r.b.requests) > 2+2 || len(k.requests) > 3 {
		t.Errorf("one changed day: %q, %q", r.b.requests, k.requests)
	}
	s := r.catalogIs(k).current().Summary
	if s["operation"] != "overwrite" || s["added-records"] != "7" || s["deleted-records"] != "102" {
		t.Errorf("the snapshot says %v", s)
	}
	// What the manifest says of the table is what was known when it was swapped.
	was := r.catalogIs(k)
	r.w.RandomDay(day("acme", 3), 0, 100)
	r.delivered(k.iceberg)
	held := r.same("usage").Tables.Iceberg
	if held == nil || held.Catalog != k.at || held.Name != k.table || held.Table != was.UUID ||
		held.Snapshot != *was.Current || held.Version != was.Sequence+1 || held.Number != 2 {
		t.Errorf("the manifest says %+v of %s", held, was.UUID)
	}
	s = r.catalogIs(k).current().Summary
	if s["operation"] != "delete" || s["deleted-records"] != "103" || s["added-records"] != "" {
		t.Errorf("the snapshot of an empty day says %v", s)
	}
	if now := r.catalogIs(k); now.UUID != first.UUID || len(now.Snapshots) != 3 {
		t.Errorf("%d snapshots of %s, was %s", len(now.Snapshots), now.UUID, first.UUID)
	}
	for _, deep := range []bool{false, true} {
		if v := r.verified(k.iceberg, deep); len(v.Found) > 0 || v.Swept > 0 {
			t.Errorf("verify (deep: %t): %+v", deep, v)
		}
	}
	// Beside a Delta table.
	r.w.RandomDay(day("acme", 9), 3, 101)
	r.delivered(func(t *deliver.Target) { k.iceberg(t); t.Delta = true })
	r.catalogIs(k)
	r.tableIs()
	if _, err := os.Stat(filepath.Join(r.dir, "metadata", "version-hint.text")); err == nil {
		t.Error("there is a hint, too")
	}
}

// TestACatalogOverAStore: a table in a real store, whose catalog writes there, too.
func TestACatalogOverAStore(t *testing.T) {
	store := storetest.S3(t)
	at := catalogtest.Start(t, "finance", "io-impl=org.apache.iceberg.aws.s3.S3FileIO", "s3.path-style-access=true",
		"s3.endpoint="+store.Options.Endpoint, "client.region="+store.Options.Region, "http-client.type=urlconnection",
		"s3.access-key-id="+store.Env["AWS_ACCESS_KEY_ID"], "s3.secret-access-key="+store.Env["AWS_SECRET_ACCESS_KEY"])
	r := newRig(t)
	r.b = &watched{Bucket: store.Bucket(t)}
	k := r.inCatalog(at, "finance.usage")
	for n := range 6 {
		r.w.RandomDay(day("acme", n%3), 10+n, int64(n))
		r.now = r.now.Add(72 * time.Hour)
		r.delivered(k.iceberg)
	}
	if v := r.verified(k.iceberg, true); len(v.Found) > 0 || v.Swept > 0 {
		t.Errorf("verify: %+v", v)
	}
	var there struct {
		Metadata struct {
			Location  string
			Snapshots []struct{ Summary map[string]string }
		}
	}
	must(t, json.Unmarshal(k.ask(http.MethodGet, k.path(), ""), &there))
	last := there.Metadata.Snapshots[len(there.Metadata.Snapshots)-1].Summary
	if there.Metadata.Location != store.URL || last["total-records"] != "42" || last["total-data-files"] != "3" {
		t.Errorf("the table at %s says %v", there.Metadata.Location, last)
	}
}

// TestACatalogBrokenOffAtEachRequest: a delivery is broken off before, or right after, each request to the store or the
// catalog, which says nothing, or that it has failed. The table is whole all the time, and the next delivery makes it
// up, although nothing changed.
func TestACatalogBrokenOffAtEachRequest(t *testing.T) {
	at := catalogtest.Namespace(t, "finance2")
	r := newRig(t)
	for n := range 3 {
		r.w.RandomDay(day("acme", n), 10+n, int64(n))
	}
	k := r.inCatalog(at, "finance2.usage")
	k.keep = 5 * time.Hour
	seed := int64(100)
	for _, first := range []bool{true, false} { // of a table that isn't there yet, and of one that is
		for n, ended := 0, false; !ended; n++ {
			for _, how := range []fault{broken, lost} {
				if first {
					must(t, os.RemoveAll(r.dir))
					k.table = fmt.Sprintf("finance2.usage%d", seed)
				}
				seed++
				r.w.RandomDay(day("acme", int(seed)%4), 5, seed)
				asked := 0
				fails := func(op, key string) fault {
					if asked++; asked == n+1 {
						return how
					} else if asked > n {
						k.status = 400 // it isn't asked again
						return broken
					}
					return sound
				}
				r.b.fault, k.fault, k.status = fails, fails, []int{0, 400}[seed%2]
				r.now = r.now.Add(10 * time.Hour)
				_, err := r.deliver(k.iceberg)
				r.b.fault, k.fault = nil, nil
				ended = err == nil && asked <= n
				if !ended && err == nil {
					t.Errorf("broken off at request %d, and nobody says so", n)
				}
				k.read()
				r.delivered(k.iceberg)
				if r.catalogIs(k); t.Failed() {
					t.Fatalf("after request %d, %d", n, how)
				}
			}
		}
	}
}

// TestACommitOfUnknownOutcome: a commit that the catalog made, or didn't, with an answer that doesn't tell, is found
// out: there is one snapshot more, and no file twice.
func TestACommitOfUnknownOutcome(t *testing.T) {
	at := catalogtest.Namespace(t, "finance3")
	for _, status := range []int{0, 500, 502, 503, 504, 409, 404, 429} {
		for _, how := range []fault{broken, lost, late} {
			t.Run(fmt.Sprintf("%d %d", status, how), func(t *testing.T) {
				r := newRig(t)
				k := r.inCatalog(at, fmt.Sprintf("finance3.unknown_%d_%d", status, how))
				r.w.RandomDay(day("acme", 0), 10, 1)
				r.delivered(k.iceberg)
				r.w.RandomDay(day("acme", 0), 11, 2)
				r.w.RandomDay(day("acme", 1), 12, 3)
				k.status = status
				done := false
				k.fault = func(op, path string) fault {
					if op == "post" && !done {
						done = true
						return how
					}
					return sound
				}
				r.delivered(k.iceberg)
				if v := r.catalogIs(k); len(v.Snapshots) != 2 || !done {
					t.Errorf("there are %d snapshots", len(v.Snapshots))
				}
				if v := r.verified(k.iceberg, true); len(v.Found) > 0 {
					t.Errorf("verify: %+v", v)
				}
				r.nothingLeft(k)
			})
		}
	}
}

// nothingLeft says that nothing is in metadata/ that the table doesn't name.
func (r *rig) nothingLeft(k *kept) {
	r.t.Helper()
	v := k.read()
	for key := range filesOf(r.t, r.dir, "metadata") {
		if !v.named[key] {
			r.t.Errorf("%s is there, and nothing names it", key)
		}
	}
}

// TestNothingMixedInACatalog: TestNothingMixed with a table in a catalog whose answers are lost now and then.
func TestNothingMixedInACatalog(t *testing.T) {
	contents := days(t)
	at := catalogtest.Namespace(t, "finance4")
	tables := 0
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t)
		tables++
		k := r.inCatalog(at, fmt.Sprintf("finance4.t%d", tables))
		for range rapid.IntRange(1, 6).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 4).Draw(rt, "changes") {
				account := rapid.SampledFrom([]string{"acme", "2026"}).Draw(rt, "account")
				p := day(account, rapid.IntRange(0, 3).Draw(rt, "day"))
				put(t, r.lake, p, contents[rapid.IntRange(0, len(contents)-1).Draw(rt, "content")])
			}
			some := chance(rapid.Uint64().Draw(rt, "seed"), 0.1)
			left := rapid.IntRange(0, 40).Draw(rt, "requests until it is killed")
			fails := func(op, key string) fault {
				if left--; left < 0 {
					return broken
				}
				return some(op, key)
			}
			k.status = rapid.SampledFrom([]int{0, 400, 409, 500}).Draw(rt, "status")
			r.b.fault, k.fault = fails, fails
			r.now = r.now.Add(time.Duration(rapid.IntRange(0, 100).Draw(rt, "hours")) * time.Hour)
			_, _ = r.deliver(k.iceberg) // a catalog that loses a whole series of answers is given up
			r.b.fault, k.fault = nil, nil
			if rapid.IntRange(0, 5).Draw(rt, "the lake forgets") == 0 {
				must(t, os.RemoveAll(r.lake.Path(deliver.Dir, "warehouse")))
			}
			k.read()
		}
		r.delivered(k.iceberg)
		r.same("usage")
		r.catalogIs(k)
		put(t, r.lake, day("acme", 5), contents[2])
		r.delivered(k.iceberg)
		if v := r.verified(k.iceberg, true); len(v.Found) > 0 {
			rt.Fatalf("verify: %+v", v)
		}
		r.catalogIs(k)
		r.nothingLeft(k)
	})
}

// TestTwoLakesOneTableInACatalog: each keeps its own files there, whoever commits first.
func TestTwoLakesOneTableInACatalog(t *testing.T) {
	r, s := newRig(t), newRig(t)
	s.dir, s.b = r.dir, &watched{Bucket: openBucket(t, r.dir)}
	at := catalogtest.Namespace(t, "finance5")
	k, l := r.inCatalog(at, "finance5.usage"), s.inCatalog(at, "finance5.usage")
	as := func(t *deliver.Target) { l.iceberg(t); t.As = "eu" }
	const other = "lakes/eu/manifest.json"
	r.w.RandomDay(day("acme", 0), 10, 1)
	s.w.RandomDay(day("emea", 0), 20, 2)
	overtaken := func(n int, op string) {
		t.Helper()
		done := false
		k.fault = func(o, path string) fault {
			if o == op && !done {
				done = true
				for range n {
					s.w.RandomDay(day("emea", n%3), 5+n, s.now.Unix())
					s.delivered(as)
				}
			}
			return sound
		}
		r.delivered(k.iceberg)
		k.fault = nil
		if r.catalogIs(k, other); t.Failed() || !done {
			t.Fatalf("overtaken by %d before a %s", n, op)
		}
	}
	overtaken(1, "post") // by who makes the table
	for _, n := range []int{1, 3, 25} {
		for _, op := range []string{"post", "get"} {
			r.w.RandomDay(day("acme", 1), 12, r.now.Unix())
			overtaken(n, op)
		}
	}
	for _, x := range []struct {
		r    *rig
		what func(*deliver.Target)
	}{{r, k.iceberg}, {s, as}} {
		if v := x.r.verified(x.what, true); len(v.Found) > 0 {
			t.Errorf("verify: %+v", v.Found)
		}
	}
	r.nothingLeft(k)
}

// TestExpiryInACatalog: a snapshot is there, with all that it lists, until it was replaced for as long as Keep says;
// what it alone had goes after it, never before, and the catalog's own versions don't grow in number.
func TestExpiryInACatalog(t *testing.T) {
	r := newRig(t)
	k := r.inCatalog(catalogtest.Namespace(t, "finance6"), "finance6.usage")
	k.keep = 48 * time.Hour
	r.w.RandomDay(day("acme", 0), 10, 0)
	r.delivered(k.iceberg)
	began := r.catalogIs(k).current().ID
	first := r.same("usage").Groups[0].Files[0].Key
	for n := range 40 {
		r.now = r.now.Add(24 * time.Hour)
		r.w.RandomDay(day("acme", 0), 11+n, int64(n+1))
		if r.delivered(k.iceberg); n > 3 && len(k.requests) > 3 {
			t.Fatalf("night %d: %q", n, k.requests)
		}
		v := r.catalogIs(k)
		_, err := os.Stat(filepath.Join(r.dir, filepath.FromSlash(first)))
		if has := v.Snapshots[0].ID == began; has != (n < 2) || has && err != nil {
			t.Errorf("night %d: the first snapshot is there: %t, its file: %v", n, has, err)
		}
		if len(v.Snapshots) > 4 {
			t.Errorf("night %d: there are %d snapshots", n, len(v.Snapshots))
		}
	}
	r.nothingLeft(k)
}

// TestACatalogThatKeepsSnapshots that it was told to drop: what they have stays.
func TestACatalogThatKeepsSnapshots(t *testing.T) {
	r := newRig(t)
	k := r.inCatalog(catalogtest.Namespace(t, "keeps"), "keeps.usage")
	k.keep, k.keeps = 48*time.Hour, true
	for n := range 8 {
		r.now = r.now.Add(24 * time.Hour)
		r.w.RandomDay(day("acme", 0), 11+n, int64(n+1))
		r.delivered(k.iceberg)
		if v := r.catalogIs(k); len(v.Snapshots) != n+1 {
			t.Fatalf("night %d: %d snapshots", n, len(v.Snapshots))
		}
	}
	k.keeps = false
	r.w.RandomDay(day("acme", 0), 30, 30)
	r.delivered(k.iceberg)
	if v := r.catalogIs(k); len(v.Snapshots) > 4 {
		t.Errorf("there are %d snapshots", len(v.Snapshots))
	}
	r.nothingLeft(k)
}

// TestATableThatAnotherProgramChangedInItsCatalog is told of, and left alone.
func TestATableThatAnotherProgramChangedInItsCatalog(t *testing.T) {
	at := catalogtest.Namespace(t, "finance7")
	for name, x := range map[string]struct{ updates, says string }{
		"retries": {`{"action":"set-properties","updates":{"commit.retry.num-retries":"4"}}`,
			"commit.retry.num-retries is 4"},
		"a tag": {`{"action":"set-snapshot-ref","ref-name":"close","type":"tag","snapshot-id":SNAPSHOT}`,
			"it has the branch or tag close"},
		"a snapshot": {`{"action":"add-snapshot","snapshot":{"snapshot-id":5,"parent-snapshot-id":SNAPSHOT,` +
			`"sequence-number":2,"timestamp-ms":NOW,"manifest-list":"LIST","schema-id":0,` +
			`"summary":{"operation":"replace"}}},` +
			`{"action":"set-snapshot-ref","ref-name":"main","type":"branch","snapshot-id":5}`,
			"no delivery wrote its snapshot 5"},
		"a format": {`{"action":"upgrade-format-version","format-version":3}`, "its schema or partitioning is another one"},
		"a partition field": {`{"action":"add-spec","spec":{"spec-id":1,"fields":[]}},{"action":"set-default-spec",` +
			`"spec-id":-1}`, "its schema or partitioning is another one"},
		"another place": {`{"action":"set-location","location":"/elsewhere"}`, "the catalog has the table at /elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			k := r.inCatalog(at, "finance7."+strings.ReplaceAll(name, " ", "_"))
			r.w.RandomDay(day("acme", 0), 10, 1)
			r.delivered(k.iceberg)
			now := k.read().current()
			k.ask(http.MethodPost, k.path(), `{"requirements":[],"updates":[`+strings.NewReplacer("SNAPSHOT",
				fmt.Sprint(now.ID), "NOW", fmt.Sprint(now.At+1), "LIST", now.List).Replace(x.updates)+`]}`)
			before := k.ask(http.MethodGet, k.path(), "")
			r.w.RandomDay(day("acme", 0), 11, 2)
			for range 2 {
				_, err := r.deliver(k.iceberg)
				if err == nil || !strings.Contains(err.Error(), x.says) || !strings.Contains(err.Error(), "hint: ") {
					t.Errorf("a delivery: %v", err)
				}
				r.same("usage")
			}
			if now := k.ask(http.MethodGet, k.path(), ""); string(now) != string(before) {
				t.Errorf("the table is now %s", now)
			}
			if name == "another place" {
				return
			}
			there := filesOf(t, r.dir, "metadata")
			if v := r.verified(k.iceberg, true); len(v.Found) != 1 || v.Swept > 0 {
				t.Errorf("verify: %+v", v)
			}
			if len(filesOf(t, r.dir, "metadata")) != len(there) {
				t.Error("a verification removed objects of the table")
			}
			k.ask(http.MethodDelete, k.path(), "")
			r.delivered(k.iceberg)
			r.catalogIs(k)
		})
	}
}

// TestATableThatIsGoneFromItsCatalog is made anew by the next delivery that changes something, or after a look that
// told of it.
func TestATableThatIsGoneFromItsCatalog(t *testing.T) {
	r := newRig(t)
	k := r.inCatalog(catalogtest.Namespace(t, "finance8"), "finance8.usage")
	r.w.RandomDay(day("acme", 0), 10, 0)
	r.w.RandomDay(day("acme", 1), 11, 1)
	r.delivered(k.iceberg)
	was := r.catalogIs(k).UUID
	k.ask(http.MethodDelete, k.path(), "")
	r.w.RandomDay(day("acme", 1), 12, 2)
	r.delivered(k.iceberg)
	if now := r.catalogIs(k).UUID; now == was {
		t.Error("it is the same table")
	}
	k.ask(http.MethodDelete, k.path(), "")
	if f := r.verified(k.iceberg, false).Found; len(f) != 1 || f[0].Problem != deliver.FoundMissing {
		t.Errorf("verify: %+v", f)
	}
	r.delivered(k.iceberg)
	r.catalogIs(k)
	// While it is committed to.
	gone := false
	k.fault = func(op, path string) fault {
		if op == "post" && !gone {
			gone = true
			k.ask(http.MethodDelete, k.path(), "")
		}
		return sound
	}
	r.w.RandomDay(day("acme", 1), 13, 3)
	r.delivered(k.iceberg)
	r.catalogIs(k)
}

// TestATableEntersAndLeavesACatalog only if none is left behind that readers would take for the one.
func TestATableEntersAndLeavesACatalog(t *testing.T) {
	r := newRig(t)
	k := r.inCatalog(catalogtest.Namespace(t, "finance9"), "finance9.usage")
	refused := func(what func(*deliver.Target), says string) {
		t.Helper()
		r.w.RandomDay(day("acme", 1), 5, r.now.Unix())
		if _, err := r.deliver(what); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	r.w.RandomDay(day("acme", 0), 10, 0)
	r.delivered(withIceberg)
	refused(k.iceberg, "there is a table without a catalog")
	must(t, os.RemoveAll(filepath.Join(r.dir, "metadata")))
	r.delivered(k.iceberg)
	r.catalogIs(k)
	refused(withIceberg, "it is finance9.usage in the catalog "+k.at)
	refused(nil, "it is finance9.usage in the catalog "+k.at)
	must(t, os.RemoveAll(r.lake.Path(deliver.Dir, "warehouse"))) // the manifest says it, too
	refused(withIceberg, "it is finance9.usage in the catalog "+k.at)
	k.ask(http.MethodDelete, k.path(), "")
	must(t, os.RemoveAll(filepath.Join(r.dir, "metadata")))
	r.delivered(withIceberg)
	r.icebergIs()
}

// TestATableBelowAnotherOfACatalog: one without a catalog isn't begun where a catalog keeps one.
func TestATableBelowAnotherOfACatalog(t *testing.T) {
	r, s := newRig(t), newRig(t)
	s.dir, s.b = r.dir, &watched{Bucket: openBucket(t, r.dir)}
	k := r.inCatalog(catalogtest.Namespace(t, "finance10"), "finance10.usage")
	r.w.RandomDay(day("acme", 0), 10, 0)
	r.delivered(k.iceberg)
	s.w.RandomDay(day("emea", 0), 10, 0)
	_, err := s.deliver(func(t *deliver.Target) { withIceberg(t); t.As = "eu" })
	if !errors.Is(err, deliver.ErrTable) || !strings.Contains(err.Error(), "a catalog keeps a table there") {
		t.Error(err)
	}
	r.catalogIs(k)
}

// TestColumnsThatComeLaterToACatalog get ids of their own, and those that are there keep theirs.
func TestColumnsThatComeLaterToACatalog(t *testing.T) {
	r := newRig(t)
	k := r.inCatalog(catalogtest.Namespace(t, "finance11"), "finance11.usage")
	r.w.RandomDay(day("acme", 0), 10, 0)
	r.delivered(k.iceberg)
	was := r.catalogIs(k).Schemas[0]
	// The table was made by a program that knew no run_id.
	var there struct{ Metadata map[string]any }
	must(t, json.Unmarshal(k.ask(http.MethodGet, k.path(), ""), &there))
	schema := there.Metadata["schemas"].([]any)[0].(map[string]any)
	for _, f := range schema["fields"].([]any) {
		if f := f.(map[string]any); f["name"] == "run_id" {
			f["name"] = "gone"
		}
	}
	b, err := json.Marshal(schema)
	must(t, err)
	k.ask(http.MethodPost, k.path(), fmt.Sprintf(`{"requirements":[],"updates":[{"action":"add-schema","schema":%s},
		{"action":"set-current-schema","schema-id":-1}]}`, b))
	r.w.RandomDay(day("acme", 0), 11, 1)
	r.delivered(k.iceberg)
	v := r.catalogIs(k)
	last := v.Schemas[len(v.Schemas)-1]
	for _, f := range was.Fields() {
		now, ok := last.FindFieldByName(f.Name)
		if !ok || f.Name == "run_id" == (now.ID == f.ID) {
			t.Errorf("%s had the id %d, and has %d (%t)", f.Name, f.ID, now.ID, ok)
		}
	}
	if n := slices.IndexFunc(last.Fields(), func(f iceberg.NestedField) bool { return f.Name == "gone" }); n >= 0 {
		t.Error("a column is there that the program doesn't know")
	}
}
