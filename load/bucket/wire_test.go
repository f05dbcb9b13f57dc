package bucket_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/usagelake/usagelake/load/bucket"
)

func TestURLs(t *testing.T) {
	for _, url := range []string{"", "lake", "/srv/lake", "http://lake", "s3:finance", "s3://", "s3:///usage",
		"s3://b/../c", "s3://b//c", "s3://b/c?region=x", "s3://b/c#d", "s3://b/a%2Fb", "s3://b_c!/x", "s3://../x", "gs://",
		"az://account", "az://account/", "az:///container", "file://srv/lake", "file:///",
		"file://", "s3://b/.tmp", `s3://b/c\d`,
		"s3://AKIA:s3cr3t@b/c", "az://account:s3cr3t@container/c", "file://user:s3cr3t@/srv", "s3://b/c?sig=s3cr3t"} {
		_, err := bucket.Open(t.Context(), url, bucket.Options{Region: "us-east-1"})
		var e *bucket.Error
		if !errors.As(err, &e) || e.Op != "open" {
			t.Errorf("%s: %v", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("a secret: %v", err)
		}
	}
	for url, want := range map[string]string{
		"s3://finance-lake":                "s3://finance-lake",
		"s3://finance-lake/":               "s3://finance-lake",
		"s3://finance-lake/usage/acme@x/":  "s3://finance-lake/usage/acme@x",
		"az://account/container/usage":     "az://account/container/usage",
		"file:///srv/finance lake/usage//": "file:///srv/finance lake/usage",
	} {
		b, err := bucket.Open(t.Context(), url, bucket.Options{Region: "us-east-1", Getenv: func(name string) string {
			return map[string]string{"AZURE_STORAGE_KEY": "c2VjcmV0"}[name]
		}})
		if err != nil {
			t.Errorf("%s: %v", url, err)
		} else if b.URL() != want {
			t.Errorf("%s is %s", url, b.URL())
		}
	}
	for _, endpoint := range []string{"minio.example", "http://minio.example", "http://192.168.1.4:9000",
		"ftp://127.0.0.1", "https://user:s3cr3t@minio.example", "https://minio.example?sig=s3cr3t",
		"http://localhost.example", "https://", "http://%zz"} {
		for _, url := range []string{"s3://b/c", "gs://b/c", "az://a/b/c"} {
			_, err := bucket.Open(t.Context(), url, bucket.Options{Endpoint: endpoint})
			if err == nil || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("%s at %s: %v", url, endpoint, err)
			}
		}
	}
}

func TestWhatNeverReachedAnybodyIsNotUnsure(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // nobody listens there
	distrusted := httptest.NewTLSServer(http.NotFoundHandler())
	distrusted.Config.ErrorLog = quiet
	defer distrusted.Close()
	unknown := func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}
	}
	for endpoint, hint := range map[string]string{
		"http://" + l.Addr().String(): "", distrusted.URL: "certificate", "https://store.example": "no such host",
	} {
		b, count := of(t, bucket.Options{Endpoint: endpoint}, nil)
		if hint == "no such host" {
			count.do = unknown
		}
		_, err := b.Put(t.Context(), "k", bucket.Bytes([]byte("x")), bucket.On{Absent: true})
		var e *bucket.Error
		if !errors.As(err, &e) || errors.Is(err, bucket.ErrUnsure) || !strings.Contains(e.Hint, hint) {
			t.Errorf("%s: %v", endpoint, err)
		}
		if n := count.total(); n != 5 && hint == "" || n != 1 && hint != "" {
			t.Errorf("%s: %d tries", endpoint, n)
		}
	}
}

func TestARequestThatStandsStillIsEnded(t *testing.T) {
	hold := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.Method {
		case http.MethodGet: // half a body, and then nothing
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "12345")
			w.(http.Flusher).Flush()
		default: // all is taken, and nothing said
			_, _ = io.Copy(io.Discard, req.Body)
		}
		<-hold
	}))
	defer server.Close()
	defer close(hold)
	b, _ := of(t, bucket.Options{Endpoint: server.URL}, nil)
	bucket.SetStall(b, 50*time.Millisecond)
	r, _, err := b.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	_ = r.Close()
	if err == nil || !strings.Contains(err.Error(), "nothing moved") || string(got) != "12345" {
		t.Errorf("%q, %v", got, err)
	}
	_, err = b.Put(t.Context(), "k", bucket.Bytes([]byte("x")), bucket.On{Absent: true})
	is(t, err, bucket.ErrUnsure)
	if !strings.Contains(err.Error(), "nothing moved") {
		t.Error(err)
	}
}

func TestAListingOfSomethingElseIsAnError(t *testing.T) {
	b, _ := of(t, bucket.Options{Endpoint: "https://store.example"}, func(req *http.Request) (*http.Response, error) {
		return answer(req, 200, `<ListBucketResult><Contents><Key>other/k</Key></Contents></ListBucketResult>`), nil
	})
	for o, err := range b.List(t.Context(), "") {
		if err == nil || !strings.Contains(err.Error(), "other/k") {
			t.Errorf("%+v, %v", o, err)
		}
	}
	b, _ = of(t, bucket.Options{Endpoint: "https://store.example"}, func(req *http.Request) (*http.Response, error) {
		return answer(req, 200, `<ListBucketResult><IsTruncated>true</IsTruncated>`+
			`<NextContinuationToken>same</NextContinuationToken></ListBucketResult>`), nil
	})
	n := 0
	for _, err := range b.List(t.Context(), "") {
		if n++; err == nil || !strings.Contains(err.Error(), "circle") {
			t.Error(err)
		}
	}
	if n != 1 {
		t.Errorf("%d", n)
	}
}

// A key that is taken names one place below a directory, the same for every store.
func FuzzCheckKey(f *testing.F) {
	for _, key := range []string{"a", "a/b=c d", "../a", "a/../b", "a//b", "/a", "a\\b", "a\x00", ".tmp/a", "ä", "a."} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if bucket.CheckKey(key) != nil {
			return
		}
		if !filepath.IsLocal(filepath.FromSlash(key)) || path.Clean(key) != key || strings.HasPrefix(key, ".tmp/") ||
			!utf8.ValidString(key) {
			t.Errorf("%q is taken", key)
		}
	})
}
