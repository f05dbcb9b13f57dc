package bucket_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/bucket/storetest"
)

// tap counts requests, and answers them in its own way if do is set.
type tap struct {
	mu   sync.Mutex
	seen []string // method and path
	do   func(*http.Request) (*http.Response, error)
}

func (c *tap) RoundTrip(req *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.seen = append(c.seen, req.Method+" "+req.URL.RequestURI())
	do := c.do
	c.mu.Unlock()
	if do != nil {
		return do(req)
	}
	return http.DefaultTransport.RoundTrip(req)
}

func (c *tap) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

// since are the requests after the first n.
func (c *tap) since(n int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[n:]
}

// quiet is for servers whose errors are what is tested.
var quiet = log.New(io.Discard, "", 0)

// answer is one that no store gave. What was sent is read to its end, as a server does.
func answer(req *http.Request, status int, body string) *http.Response {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
		_ = req.Body.Close()
	}
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"X-Amz-Request-Id": {"REQ1"}, "X-Ms-Request-Id": {"REQ1"}, "X-Guploader-Uploadid": {"REQ1"}},
		Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

func oneRequest(t *testing.T, s storetest.Store) {
	count := &tap{}
	s.Options.Transport = count
	b := s.Bucket(t)
	var tag bucket.Tag
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"get what isn't there", func() error {
			_, _, err := b.Get(t.Context(), "k")
			if errors.Is(err, bucket.ErrAbsent) {
				return nil
			}
			return fmt.Errorf("not absent: %w", err)
		}},
		{"create", func() (err error) {
			tag, err = b.Put(t.Context(), "k", bucket.Bytes([]byte("1")), bucket.On{Absent: true})
			return err
		}},
		{"swap", func() (err error) {
			tag, err = b.Put(t.Context(), "k", bucket.Bytes([]byte("2")), bucket.On{Match: tag})
			return err
		}},
		{"put", func() (err error) {
			tag, err = b.Put(t.Context(), "k", bucket.Bytes([]byte("3")), bucket.On{})
			return err
		}},
		{"put of two MiB", func() error {
			_, err := b.Put(t.Context(), "k", bucket.Bytes(make([]byte, 2<<20)), bucket.On{})
			return err
		}},
		{"get", func() error { _, _ = read(t, b, "k"); return nil }},
		{"list", func() error { _ = list(t, b, ""); return nil }},
		{"delete", func() error { return b.Delete(t.Context(), "k") }},
		{"delete what isn't there", func() error { return b.Delete(t.Context(), "k") }},
	} {
		before := count.total()
		if err := c.do(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if sent := count.since(before); len(sent) != 1 {
			t.Errorf("%s: %d requests: %q", c.name, len(sent), sent)
		}
	}
}

func changedOnTheWay(t *testing.T, s storetest.Store) {
	count := &tap{do: func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			b, err := io.ReadAll(req.Body)
			if err != nil {
				return nil, err
			}
			req = req.Clone(req.Context())
			req.Body = io.NopCloser(bytes.NewReader(bytes.Replace(b, []byte("right"), []byte("wrong"), 1)))
		}
		return http.DefaultTransport.RoundTrip(req)
	}}
	s.Options.Transport = count
	b := s.Bucket(t)
	_, err := b.Put(t.Context(), "k", bucket.Bytes([]byte("the right bytes")), bucket.On{Absent: true})
	if err == nil || errors.Is(err, bucket.ErrUnsure) || errors.Is(err, bucket.ErrTaken) {
		t.Errorf("put: %v", err)
	}
	bucket.SetParts(b, 0, 5<<20)
	_, err = b.Put(t.Context(), "parts", bucket.Bytes([]byte("the right bytes")), bucket.On{Absent: true})
	if err == nil || errors.Is(err, bucket.ErrUnsure) || errors.Is(err, bucket.ErrTaken) {
		t.Errorf("put in parts: %v", err)
	}
	if all := list(t, b, ""); len(all) > 0 {
		t.Errorf("there is %v", all)
	}
}

func lostAnswer(t *testing.T, s storetest.Store) {
	cut := errors.New("connection reset by peer")
	loses := func(req *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		return nil, cut
	}
	says := func(status int) func(*http.Request) (*http.Response, error) {
		return func(req *http.Request) (*http.Response, error) {
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				return nil, err
			}
			_ = resp.Body.Close()
			return answer(req, status, ""), nil
		}
	}
	for i, how := range []func(*http.Request) (*http.Response, error){loses, says(500), says(502), says(503), says(504)} {
		count := &tap{}
		s.Options.Transport = count
		b, key := s.Bucket(t), fmt.Sprint("k", i)

		count.do = how
		_, err := b.Put(t.Context(), key, bucket.Bytes([]byte("created")), bucket.On{Absent: true})
		is(t, err, bucket.ErrUnsure)
		if errors.Is(err, bucket.ErrTaken) {
			t.Errorf("its own success taken for another's: %v", err)
		}
		if n := count.total(); n != 1 {
			t.Errorf("create was sent %d times", n)
		}
		count.do = nil
		body, o := read(t, b, key)
		if body != "created" {
			t.Fatalf("%q", body)
		}
		count.do = how
		before := count.total()
		_, err = b.Put(t.Context(), key, bucket.Bytes([]byte("swapped")), bucket.On{Match: o.Tag})
		is(t, err, bucket.ErrUnsure)
		if n := count.total() - before; n != 1 {
			t.Errorf("swap was sent %d times", n)
		}
		count.do = nil
		if body, _ := read(t, b, key); body != "swapped" {
			t.Fatalf("%q", body)
		}
		// What depends on nothing is put again.
		first := true
		count.do = func(req *http.Request) (*http.Response, error) {
			if first {
				first = false
				return how(req)
			}
			return http.DefaultTransport.RoundTrip(req)
		}
		before = count.total()
		put(t, b, key, "put", bucket.On{})
		if n := count.total() - before; n != 2 {
			t.Errorf("put was sent %d times", n)
		}
	}
	count := &tap{do: loses}
	s.Options.Transport = count
	_, err := s.Bucket(t).Put(t.Context(), "k", bucket.Bytes([]byte("put")), bucket.On{})
	is(t, err, bucket.ErrUnsure)
	is(t, err, cut)
	if n := count.total(); n != 5 {
		t.Errorf("sent %d times", n)
	}
}

func passedOver(t *testing.T, s storetest.Store) {
	count := &tap{}
	s.Options.Transport = count
	b := s.Bucket(t)
	reset := errors.New("read: connection reset by peer")
	answers := []func(*http.Request) (*http.Response, error){
		func(req *http.Request) (*http.Response, error) { return answer(req, 500, ""), nil },
		func(req *http.Request) (*http.Response, error) { return answer(req, 503, "slow down"), nil },
		func(req *http.Request) (*http.Response, error) { return nil, reset }, // nothing of a body was sent
		func(req *http.Request) (*http.Response, error) { return answer(req, 429, ""), nil },
	}
	// some gives the answers from from on, and then passes what comes.
	some := func(from int) {
		at := from
		count.do = func(req *http.Request) (*http.Response, error) {
			if at == len(answers) {
				return http.DefaultTransport.RoundTrip(req)
			}
			at++
			return answers[at-1](req)
		}
	}
	some(2)
	tag := put(t, b, "k", "created", bucket.On{Absent: true})
	some(2)
	put(t, b, "k", "swapped", bucket.On{Match: tag})
	some(0)
	put(t, b, "k", "put", bucket.On{})
	some(0)
	if body, _ := read(t, b, "k"); body != "put" {
		t.Errorf("%q", body)
	}
	some(0)
	if all := list(t, b, ""); len(all) != 1 {
		t.Errorf("listed %v", all)
	}
	some(0)
	if err := b.Delete(t.Context(), "k"); err != nil {
		t.Error(err)
	}
	// Five times in a row isn't passed over.
	count.do = answers[1]
	before := count.total()
	_, _, err := b.Get(t.Context(), "k")
	var e *bucket.Error
	if !errors.As(err, &e) || e.Status != 503 || e.RequestID != "REQ1" {
		t.Errorf("%+v", err)
	}
	if n := count.total() - before; n != 5 {
		t.Errorf("%d tries", n)
	}
	// What is no matter of time isn't asked twice.
	for _, status := range []int{400, 404, 409, 301, 501} {
		count.do = func(req *http.Request) (*http.Response, error) { return answer(req, status, ""), nil }
		before := count.total()
		_, err := b.Put(t.Context(), "k", bucket.Bytes([]byte("x")), bucket.On{})
		if err == nil || errors.Is(err, bucket.ErrTaken) || errors.Is(err, bucket.ErrUnsure) {
			t.Errorf("%d: %v", status, err)
		}
		if n := count.total() - before; n != 1 {
			t.Errorf("%d: %d tries", status, n)
		}
	}
	for _, status := range []int{401, 403} {
		count.do = func(req *http.Request) (*http.Response, error) { return answer(req, status, ""), nil }
		_, err := b.Put(t.Context(), "k", bucket.Bytes([]byte("x")), bucket.On{Absent: true})
		if e := is(t, err, bucket.ErrRights); e.Hint == "" || e.Status != status {
			t.Errorf("%+v", e)
		}
	}
	count.do = func(req *http.Request) (*http.Response, error) { return answer(req, 507, ""), nil }
	_, err = b.Put(t.Context(), "k", bucket.Bytes([]byte("x")), bucket.On{Absent: true})
	if err == nil || !strings.Contains(err.Error(), "full") || errors.Is(err, bucket.ErrUnsure) {
		t.Errorf("a full store: %v", err)
	}
}

func cutShort(t *testing.T, s storetest.Store) {
	count := &tap{}
	s.Options.Transport = count
	b := s.Bucket(t)
	put(t, b, "k", strings.Repeat("0123456789", 1000), bucket.On{})
	for _, end := range []error{io.EOF, errors.New("connection reset by peer")} {
		count.do = func(req *http.Request) (*http.Response, error) {
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err == nil {
				resp.Body = struct {
					io.Reader
					io.Closer
				}{io.MultiReader(io.LimitReader(resp.Body, 5000), failing{end}), resp.Body}
			}
			return resp, err
		}
		r, _, err := b.Get(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		_ = r.Close()
		var e *bucket.Error
		if !errors.As(err, &e) || len(got) != 5000 || !strings.HasSuffix(e.URL, "/k") {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	// A page that is cut short is asked for again.
	first := true
	count.do = func(req *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil && first {
			first = false
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(resp.Body, 50), failing{io.ErrUnexpectedEOF}), resp.Body}
		}
		return resp, err
	}
	if all := list(t, b, ""); len(all) != 1 || first {
		t.Errorf("listed %v", all)
	}
}

func noSecrets(t *testing.T, s storetest.Store) {
	wrong := map[string]string{}
	for k, v := range s.Env {
		wrong[k] = v
	}
	secrets := append([]string{"c2VjcmV0"}, s.Secrets...)
	for k := range wrong {
		if strings.Contains(k, "SECRET") || strings.HasSuffix(k, "_KEY") {
			wrong[k] = "c2VjcmV0MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
		}
	}
	own := s.Options.Getenv
	var errs []error
	all := func(b bucket.Bucket) {
		_, _, err := b.Get(t.Context(), "k")
		errs = append(errs, err)
		_, err = b.Put(t.Context(), "k", bucket.Bytes([]byte("x")), bucket.On{Absent: true})
		errs = append(errs, err)
		for _, err := range b.List(t.Context(), "") {
			errs = append(errs, err)
		}
		errs = append(errs, b.Delete(t.Context(), "k"), bucket.Probe(t.Context(), b))
	}
	s.Options.Getenv = func(k string) string { return wrong[k] }
	all(s.Bucket(t))
	if s.Name != "gs" { // which asks nobody who he is
		for i, err := range errs {
			if e := is(t, err, bucket.ErrRights); e.Hint == "" || e.Status != 403 {
				t.Errorf("%d: %+v", i, e)
			}
		}
	}
	s.Options.Getenv = own
	s.Options.Transport = &tap{do: func(req *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("%s %s went wrong", req.Method, "it")
	}}
	all(s.Bucket(t))
	s.Options.Transport = &tap{do: func(req *http.Request) (*http.Response, error) {
		return answer(req, 400, "<Error><Code>Bad</Code><Message>no\x1b[2Jthing</Message></Error>"), nil
	}}
	all(s.Bucket(t))
	for _, err := range errs {
		if err == nil {
			continue
		}
		text := fmt.Sprintf("%v %+v", err, err)
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in %s", secret, text)
			}
		}
		if strings.Contains(text, "Signature=") || strings.Contains(text, "\x1b") {
			t.Errorf("%q", text)
		}
	}
}
