package bucket_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/bucket/storetest"
)

// promises are what every store keeps, the real ones and a directory.
var promises = []struct {
	name    string
	holds   func(*testing.T, storetest.Store)
	network bool // it is about requests, of which a directory has none
}{
	{name: "what is put is got and listed", holds: putGetList},
	{name: "what isn't there", holds: absent},
	{name: "of fifty creates one wins", holds: fiftyCreate},
	{name: "of fifty swaps one wins", holds: fiftySwap},
	{name: "a put over another state is refused", holds: otherState},
	{name: "deleted and created again", holds: deletedAndCreated},
	{name: "another digest is refused", holds: otherDigest},
	{name: "a body that can't be read leaves nothing", holds: unreadable},
	{name: "a listing of 1100 keys", holds: longListing},
	{name: "keys of all characters", holds: characters},
	{name: "keys that lead elsewhere are refused", holds: refusedKeys},
	{name: "a bucket that isn't there", holds: noBucket},
	{name: "a call that is given up", holds: givenUp},
	{name: "one request each", holds: oneRequest, network: true},
	{name: "bytes that change on the way are refused", holds: changedOnTheWay, network: true},
	{name: "a lost answer is told, and not asked again", holds: lostAnswer, network: true},
	{name: "what passes is passed over", holds: passedOver, network: true},
	{name: "a body that is cut short is no body", holds: cutShort, network: true},
	{name: "secrets are in no error", holds: noSecrets, network: true},
}

func TestEveryStoreKeepsWhatABucketPromises(t *testing.T) {
	for name, start := range storetest.All() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			for i, p := range promises {
				if p.network && s.Options.Endpoint == "" {
					continue
				}
				t.Run(p.name, func(t *testing.T) { p.holds(t, s.Under(t, fmt.Sprint("promise", i))) })
			}
		})
	}
}

// By itself, for what is allocated meanwhile is counted.
func TestLargeBodiesPassInLittleMemory(t *testing.T) {
	for name, start := range storetest.All() {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			t.Run("in one request", func(t *testing.T) { largeBody(t, s.Under(t, "one")) })
			t.Run("in parts", func(t *testing.T) { partsBody(t, s.Under(t, "parts")) })
		})
	}
}

// read is what Get gives, whole.
func read(t *testing.T, b bucket.Bucket, key string) (string, bucket.Object) {
	t.Helper()
	r, o, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(body), o
}

func put(t *testing.T, b bucket.Bucket, key, body string, on bucket.On) bucket.Tag {
	t.Helper()
	tag, err := b.Put(t.Context(), key, bucket.Bytes([]byte(body)), on)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

func list(t *testing.T, b bucket.Bucket, prefix string) []bucket.Object {
	t.Helper()
	var all []bucket.Object
	for o, err := range b.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b bucket.Object) int { return strings.Compare(a.Key, b.Key) })
	return all
}

func keysOf(objects []bucket.Object) (keys []string) {
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return keys
}

// is fails the test unless err is what it should be, and an *Error that says of what.
func is(t *testing.T, err, want error) *bucket.Error {
	t.Helper()
	var e *bucket.Error
	if !errors.Is(err, want) || !errors.As(err, &e) {
		t.Fatalf("%v, not %v", err, want)
	}
	if e.Op == "" || e.URL == "" {
		t.Errorf("an error that says nothing of where: %v", err)
	}
	return e
}

func putGetList(t *testing.T, s storetest.Store) {
	b := s.Bucket(t)
	before := time.Now().Add(-time.Minute)
	first := put(t, b, "a/b.parquet", "one", bucket.On{})
	put(t, b, "a/empty", "", bucket.On{})
	second := put(t, b, "a/b.parquet", "twice", bucket.On{})
	if first == "" || first == second {
		t.Errorf("tags %q and %q", first, second)
	}
	body, o := read(t, b, "a/b.parquet")
	if body != "twice" || o.Key != "a/b.parquet" || o.Size != 5 || o.Tag != second {
		t.Errorf("%q, %+v, want tag %q", body, o, second)
	}
	if o.Modified.Before(before) || o.Modified.After(time.Now().Add(time.Minute)) || o.Modified.Location() != time.UTC {
		t.Errorf("written %v", o.Modified)
	}
	if body, o := read(t, b, "a/empty"); body != "" || o.Size != 0 {
		t.Errorf("%q, %+v", body, o)
	}
	all := list(t, b, "")
	if got := keysOf(all); !slices.Equal(got, []string{"a/b.parquet", "a/empty"}) {
		t.Fatalf("listed %q", got)
	}
	if all[0].Tag != second || all[0].Size != 5 || all[0].Modified.Before(before) {
		t.Errorf("listed %+v, want tag %q", all[0], second)
	}
	above := s
	above.URL = s.URL[:strings.LastIndexByte(s.URL, '/')]
	for o, err := range above.Bucket(t).List(t.Context(), strings.TrimPrefix(s.URL, above.URL+"/")+"/a/b") {
		if err != nil || o.Tag != second {
			t.Errorf("from further up: %+v, %v", o, err)
		}
	}
	if got := b.URL(); got != s.URL {
		t.Errorf("URL %s", got)
	}
}

func absent(t *testing.T, s storetest.Store) {
	b := s.Bucket(t)
	_, _, err := b.Get(t.Context(), "nobody/put/it")
	e := is(t, err, bucket.ErrAbsent)
	if e.Op != "get" || e.URL != s.URL+"/nobody/put/it" {
		t.Errorf("%+v", e)
	}
	if err := b.Delete(t.Context(), "nobody/put/it"); err != nil {
		t.Error(err)
	}
	if all := list(t, b, ""); len(all) > 0 {
		t.Errorf("listed %v", all)
	}
	if all := list(t, b, "nobody/"); len(all) > 0 {
		t.Errorf("listed %v", all)
	}
	_, err = b.Put(t.Context(), "nobody/put/it", bucket.Bytes(nil), bucket.On{Match: "12345"})
	is(t, err, bucket.ErrTaken)
	if all := list(t, b, ""); len(all) > 0 {
		t.Errorf("listed %v", all)
	}
}

// fifty puts fifty bodies at once, each by a bucket of its own: one wins, the others are told, and its body is there.
func fifty(t *testing.T, s storetest.Store, on bucket.On) {
	t.Helper()
	const writers = 50
	var won atomic.Int32
	var winner sync.Map
	begun, all := make(chan struct{}), sync.WaitGroup{}
	for i := range writers {
		b := s.Bucket(t)
		body := strings.Repeat(fmt.Sprintf("writer %d\n", i), 200)
		all.Go(func() {
			<-begun
			tag, err := b.Put(t.Context(), "manifest.json", bucket.Bytes([]byte(body)), on)
			switch {
			case err == nil:
				won.Add(1)
				winner.Store("body", body)
				winner.Store("tag", tag)
			case !errors.Is(err, bucket.ErrTaken):
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	close(begun)
	all.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d of %d won", won.Load(), writers)
	}
	body, o := read(t, s.Bucket(t), "manifest.json")
	wantBody, _ := winner.Load("body")
	wantTag, _ := winner.Load("tag")
	if body != wantBody || o.Tag != wantTag {
		t.Errorf("there is %q of %q, won had %q of %q", body[:10], o.Tag, wantBody.(string)[:10], wantTag)
	}
}

func fiftyCreate(t *testing.T, s storetest.Store) {
	for i := range 3 {
		fifty(t, s.Under(t, fmt.Sprint("round", i)), bucket.On{Absent: true})
	}
}

func fiftySwap(t *testing.T, s storetest.Store) {
	for i := range 3 {
		s := s.Under(t, fmt.Sprint("round", i))
		tag := put(t, s.Bucket(t), "manifest.json", "nobody", bucket.On{Absent: true})
		fifty(t, s, bucket.On{Match: tag})
	}
}

func otherState(t *testing.T, s storetest.Store) {
	b := s.Bucket(t)
	first := put(t, b, "m", "first", bucket.On{Absent: true})
	second := put(t, b, "m", "second", bucket.On{Match: first})
	for _, on := range []bucket.On{{Absent: true}, {Match: first}, {Match: "no-such-tag"}} {
		_, err := b.Put(t.Context(), "m", bucket.Bytes([]byte("third")), on)
		if e := is(t, err, bucket.ErrTaken); errors.Is(err, bucket.ErrUnsure) {
			t.Errorf("%+v: unsure, too: %v", on, e)
		}
	}
	if body, o := read(t, b, "m"); body != "second" || o.Tag != second {
		t.Errorf("%q, %+v", body, o)
	}
	if err := b.Delete(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	_, err := b.Put(t.Context(), "m", bucket.Bytes([]byte("third")), bucket.On{Match: second})
	is(t, err, bucket.ErrTaken)
	if _, err := b.Put(t.Context(), "m", bucket.Bytes(nil), bucket.On{Absent: true, Match: first}); err == nil {
		t.Error("absent and of a state, both")
	}
	if all := list(t, b, ""); len(all) > 0 {
		t.Errorf("there is %v", all)
	}
}

func deletedAndCreated(t *testing.T, s storetest.Store) {
	b := s.Bucket(t)
	put(t, b, "x/y", "one", bucket.On{Absent: true})
	for range 2 {
		if err := b.Delete(t.Context(), "x/y"); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := b.Get(t.Context(), "x/y")
	is(t, err, bucket.ErrAbsent)
	put(t, b, "x/y", "two", bucket.On{Absent: true})
	if body, _ := read(t, b, "x/y"); body != "two" {
		t.Errorf("%q", body)
	}
}

func otherDigest(t *testing.T, s storetest.Store) {
	b := s.Bucket(t)
	for _, size := range []int64{9, 10, 8} {
		body := bucket.Bytes([]byte("the bytes"))
		body.Size = size
		body.SHA256 = sha256.Sum256([]byte("the bytes that were meant"))
		for _, on := range []bucket.On{{}, {Absent: true}} {
			_, err := b.Put(t.Context(), "k", body, on)
			if err == nil || errors.Is(err, bucket.ErrTaken) || errors.Is(err, bucket.ErrUnsure) {
				t.Errorf("size %d, on %+v: %v", size, on, err)
			}
		}
	}
	short := bucket.Bytes([]byte("the bytes"))
	short.Size++
	if _, err := b.Put(t.Context(), "k", short, bucket.On{}); err == nil || errors.Is(err, bucket.ErrUnsure) {
		t.Errorf("a byte less than it says: %v", err)
	}
	if all := list(t, b, ""); len(all) > 0 {
		t.Errorf("there is %v", all)
	}
	tag := put(t, b, "k", "before", bucket.On{})
	body := bucket.Bytes([]byte("after"))
	body.SHA256[0]++
	if _, err := b.Put(t.Context(), "k", body, bucket.On{Match: tag}); err == nil || errors.Is(err, bucket.ErrTaken) {
		t.Error(err)
	}
	if got, o := read(t, b, "k"); got != "before" || o.Tag != tag {
		t.Errorf("%q, %+v", got, o)
	}
}

func unreadable(t *testing.T, s storetest.Store) {
	b := s.Bucket(t)
	broken := errors.New("the disk is broken")
	body := bucket.Bytes(bytes.Repeat([]byte("x"), 300_000))
	open := body.Open
	opened := 0
	body.Open = func() (io.ReadCloser, error) {
		opened++
		r, err := open()
		return io.NopCloser(io.MultiReader(io.LimitReader(r, 200_000), failing{broken})), err
	}
	_, err := b.Put(t.Context(), "k", body, bucket.On{Absent: true})
	is(t, err, broken)
	if errors.Is(err, bucket.ErrUnsure) || opened > 1 {
		t.Errorf("opened %d times: %v", opened, err)
	}
	body.Open = func() (io.ReadCloser, error) { return nil, broken }
	_, err = b.Put(t.Context(), "k", body, bucket.On{Absent: true})
	is(t, err, broken)
	if all := list(t, b, ""); len(all) > 0 {
		t.Errorf("there is %v", all)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func longListing(t *testing.T, s storetest.Store) {
	b := s.Bucket(t)
	var want []string
	for i := range 1100 {
		want = append(want, fmt.Sprintf("data/account=%c/date=%04d/part-%d.parquet", 'a'+i%3, i, i%7))
	}
	slices.Sort(want)
	var all sync.WaitGroup
	next := make(chan string)
	for range 16 {
		all.Go(func() {
			for key := range next {
				if _, err := b.Put(t.Context(), key, bucket.Bytes([]byte(key)), bucket.On{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, key := range want {
		next <- key
	}
	close(next)
	all.Wait()
	if got := keysOf(list(t, b, "")); !slices.Equal(got, want) {
		t.Errorf("%d keys, not %d", len(got), len(want))
	}
	for _, prefix := range []string{"data", "data/", "data/account=b", "data/account=b/", "data/account=b/date=00",
		"data/account=b/date=0001/part-1.parquet"} {
		var some []string
		for _, key := range want {
			if strings.HasPrefix(key, prefix) {
				some = append(some, key)
			}
		}
		if got := keysOf(list(t, b, prefix)); !slices.Equal(got, some) {
			t.Errorf("%s: %d keys, not %d", prefix, len(got), len(some))
		}
	}
	n := 0
	for _, err := range b.List(t.Context(), "") {
		if n++; err != nil || n == 5 {
			break
		}
	}
	if n != 5 {
		t.Errorf("a listing that is left ended after %d", n)
	}
}

func characters(t *testing.T, s storetest.Store) {
	b := s.Bucket(t)
	keys := []string{"a=b+c -_.d", "x/account=a b/y", "ä/日本/é", "and&so,on;(this)!$'@:~*", "_delta_log/00.json",
		".hidden/.crc", "d.e/f", "100%25/%2F"}
	for _, key := range keys {
		put(t, b, key, "body of "+key, bucket.On{Absent: true})
		_, err := b.Put(t.Context(), key, bucket.Bytes(nil), bucket.On{Absent: true})
		is(t, err, bucket.ErrTaken)
	}
	slices.Sort(keys)
	if got := keysOf(list(t, b, "")); !slices.Equal(got, keys) {
		t.Errorf("listed %q, not %q", got, keys)
	}
	for _, key := range keys {
		if got := keysOf(list(t, b, key)); !slices.Equal(got, []string{key}) {
			t.Errorf("listed of %q: %q", key, got)
		}
		if body, _ := read(t, b, key); body != "body of "+key {
			t.Errorf("%q has %q", key, body)
		}
		if err := b.Delete(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
	if all := list(t, b, ""); len(all) > 0 {
		t.Errorf("left: %v", all)
	}
}

func refusedKeys(t *testing.T, s storetest.Store) {
	count := &tap{}
	s.Options.Transport = count
	b := s.Bucket(t)
	for _, key := range []string{"", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", ".", "./a", "a/./b", "a.", "a./b",
		`a\b`, "a\x00b", "a\nb", "a\x7fb", "a\u0085b", "a\xffb", ".tmp", ".tmp/a", strings.Repeat("k", 1025)} {
		_, _, errGet := b.Get(t.Context(), key)
		_, errPut := b.Put(t.Context(), key, bucket.Bytes(nil), bucket.On{})
		if errGet == nil || errPut == nil || b.Delete(t.Context(), key) == nil {
			t.Errorf("%.20q: get %v, put %v", key, errGet, errPut)
		}
		if key == "" || key == "a/" {
			continue // right prefixes
		}
		for _, err := range b.List(t.Context(), key) {
			if err == nil {
				t.Errorf("list %.20q", key)
			}
		}
	}
	if n := count.total(); n > 0 {
		t.Errorf("%d requests for them", n)
	}
}

// stream is a body of size bytes that are made as they are read.
func stream(t *testing.T, size int64, seed uint64) bucket.Body {
	t.Helper()
	open := func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(rand.NewChaCha8([32]byte{byte(seed)}), size)), nil
	}
	r, _ := open()
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		t.Fatal(err)
	}
	return bucket.Body{Size: size, SHA256: [sha256.Size]byte(sum.Sum(nil)), Open: open}
}

// inLittle fails if do allocates more than 16 MiB, whether that is freed or not.
func inLittle(t *testing.T, what string, do func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	n := (after.TotalAlloc - before.TotalAlloc) >> 20
	if n > 16 {
		t.Errorf("%s allocated %d MiB", what, n)
	}
	t.Logf("%s allocated %d MiB", what, n)
}

func largeBody(t *testing.T, s storetest.Store) {
	b := s.Bucket(t)
	body := stream(t, 96<<20, 1)
	inLittle(t, "put", func() {
		if _, err := b.Put(t.Context(), "large", body, bucket.On{Absent: true}); err != nil {
			t.Fatal(err)
		}
	})
	inLittle(t, "get", func() { same(t, b, "large", body) })
	_, err := b.Put(t.Context(), "large", body, bucket.On{Absent: true})
	is(t, err, bucket.ErrTaken)
}

func same(t *testing.T, b bucket.Bucket, key string, body bucket.Body) {
	t.Helper()
	r, o, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	if n != body.Size || o.Size != n || [sha256.Size]byte(sum.Sum(nil)) != body.SHA256 {
		t.Errorf("%d bytes of %d, or another digest", n, body.Size)
	}
}

func partsBody(t *testing.T, s storetest.Store) {
	count := &tap{}
	if s.Options.Endpoint != "" {
		s.Options.Transport = count
	}
	b := s.Bucket(t)
	bucket.SetParts(b, 1<<20, 5<<20)
	body := stream(t, 23<<20+17, 2)
	inLittle(t, "put", func() {
		if _, err := b.Put(t.Context(), "parts", body, bucket.On{Absent: true}); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%d requests for 23 MiB", count.total())
	same(t, b, "parts", body)
	_, err := b.Put(t.Context(), "parts", body, bucket.On{Absent: true})
	is(t, err, bucket.ErrTaken)
	_, o := read(t, b, "parts")
	if got := list(t, b, ""); len(got) != 1 || got[0].Tag != o.Tag || got[0].Size != body.Size {
		t.Errorf("listed %+v, got %+v", got, o)
	}
	other := stream(t, 12<<20, 3)
	if _, err := b.Put(t.Context(), "parts", other, bucket.On{Match: o.Tag}); err != nil {
		t.Fatal(err)
	}
	same(t, b, "parts", other)
	_, err = b.Put(t.Context(), "parts", body, bucket.On{Match: o.Tag})
	is(t, err, bucket.ErrTaken)
	wrong := body
	wrong.SHA256[0]++
	if _, err := b.Put(t.Context(), "wrong", wrong, bucket.On{}); err == nil {
		t.Error("another digest was taken")
	}
	same(t, b, "parts", other)
	if got := list(t, b, ""); len(got) != 1 {
		t.Errorf("listed %+v", got)
	}
}

func noBucket(t *testing.T, s storetest.Store) {
	s.URL = strings.Replace(s.URL, "/finance-lake/", "/no-such-lake/", 1)
	if s.Name == "file" {
		s.URL += "/no/such/lake"
	}
	b := s.Bucket(t)
	_, _, err := b.Get(t.Context(), "k")
	if s.Name == "gs" { // which doesn't tell
		is(t, err, bucket.ErrAbsent)
	} else {
		is(t, err, bucket.ErrNoBucket)
	}
	_, err = b.Put(t.Context(), "k", bucket.Bytes(nil), bucket.On{Absent: true})
	if e := is(t, err, bucket.ErrNoBucket); e.Hint == "" || s.Name != "file" && !strings.Contains(e.Hint, "no-such-lake") {
		t.Errorf("hint: %q", e.Hint)
	}
	_, err = b.Put(t.Context(), "k", bucket.Bytes(nil), bucket.On{Match: "1"})
	is(t, err, bucket.ErrNoBucket)
	n := 0
	for _, err := range b.List(t.Context(), "") {
		n++
		is(t, err, bucket.ErrNoBucket)
	}
	if n != 1 {
		t.Errorf("listed %d times", n)
	}
	is(t, bucket.Probe(t.Context(), b), bucket.ErrNoBucket)
}

func givenUp(t *testing.T, s storetest.Store) {
	count := &tap{}
	if s.Options.Endpoint != "" {
		s.Options.Transport = count
	}
	b := s.Bucket(t)
	put(t, b, "k", "there", bucket.On{})
	before := count.total()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := b.Get(ctx, "k")
	is(t, err, context.Canceled)
	_, err = b.Put(ctx, "k", bucket.Bytes(nil), bucket.On{})
	if e := is(t, err, context.Canceled); errors.Is(err, bucket.ErrUnsure) {
		t.Errorf("unsure, but nothing was sent: %v", e)
	}
	is(t, b.Delete(ctx, "k"), context.Canceled)
	for _, err := range b.List(ctx, "") {
		is(t, err, context.Canceled)
	}
	if n := count.total() - before; n > 0 {
		t.Errorf("%d requests", n)
	}
	if s.Options.Endpoint == "" {
		return
	}
	// While the answer is on its way: it may have been done, and there is no second try.
	ctx, cancel = context.WithCancel(t.Context())
	count.do = func(req *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		cancel()
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	before = count.total()
	_, err = b.Put(ctx, "k", bucket.Bytes([]byte("new")), bucket.On{})
	is(t, err, bucket.ErrUnsure)
	is(t, err, context.Canceled)
	if n := count.total() - before; n != 1 {
		t.Errorf("%d requests", n)
	}
}
