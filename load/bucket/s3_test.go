package bucket_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/bucket/storetest"
)

func TestAStoreThatIgnoresEncryptionIsRefused(t *testing.T) {
	s := storetest.S3(t) // which takes the headers and writes plain bytes
	for _, how := range []string{"AES256", "aws:kms", "aws:kms:1234abcd"} {
		s.Options.Encryption = how
		b := s.Under(t, strings.ReplaceAll(how, ":", "")).Bucket(t)
		_, err := b.Put(t.Context(), "k", bucket.Bytes([]byte("x")), bucket.On{})
		if err == nil || !strings.Contains(err.Error(), "ignored the encryption") ||
			!strings.Contains(err.Error(), "hint: ") {
			t.Errorf("%s: %v", how, err)
		}
		bucket.SetParts(b, 0, 5<<20)
		if _, err := b.Put(t.Context(), "p", bucket.Bytes([]byte("x")), bucket.On{}); err == nil {
			t.Errorf("%s: taken in parts", how)
		}
		if _, _, err := b.Get(t.Context(), "p"); !errors.Is(err, bucket.ErrAbsent) {
			t.Errorf("%s: put in parts all the same: %v", how, err)
		}
		if err := bucket.Probe(t.Context(), b); err == nil {
			t.Errorf("%s: the probe saw nothing", how)
		}
	}
	nothingBegun(t, s)
	for _, c := range []struct {
		asked, algorithm, key string
		right                 bool
	}{
		{"AES256", "AES256", "", true},
		{"AES256", "aws:kms", "", false},
		{"aws:kms", "aws:kms", "arn:aws:kms:eu-central-1:1:key/2", true},
		{"aws:kms:1234abcd", "aws:kms", "arn:aws:kms:eu-central-1:1:key/1234abcd", true},
		{"aws:kms:arn:aws:kms:eu-central-1:1:key/2", "aws:kms", "arn:aws:kms:eu-central-1:1:key/2", true},
		{"aws:kms:alias/lake", "aws:kms", "arn:aws:kms:eu-central-1:1:key/2", true},
		{"aws:kms:1234abcd", "aws:kms", "arn:aws:kms:eu-central-1:1:key/2", false},
		{"aws:kms:1234abcd", "aws:kms", "", false},
	} {
		var asked http.Header
		s.Options.Encryption = c.asked
		s.Options.Transport = &tap{do: func(req *http.Request) (*http.Response, error) {
			asked = req.Header
			resp := answer(req, 200, "")
			resp.Header.Set("ETag", `"1"`)
			resp.Header.Set("X-Amz-Server-Side-Encryption", c.algorithm)
			resp.Header.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", c.key)
			return resp, nil
		}}
		_, err := s.Bucket(t).Put(t.Context(), "k", bucket.Bytes(nil), bucket.On{})
		if (err == nil) != c.right {
			t.Errorf("%+v: %v", c, err)
		}
		if got := asked.Get("X-Amz-Server-Side-Encryption"); got == "" || !strings.HasPrefix(c.asked, got) {
			t.Errorf("%+v: asked for %q", c, got)
		}
	}
	s.Options.Encryption = "rot13"
	if _, err := bucket.Open(t.Context(), s.URL, s.Options); err == nil || !strings.Contains(err.Error(), "rot13") {
		t.Error(err)
	}
}

// nothingBegun fails if versitygw has parts of an upload that nobody ended.
func nothingBegun(t *testing.T, s storetest.Store) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(s.Dir, ".sgwtmp"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, "multipart") {
			t.Errorf("left behind: %s", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnUploadInPartsThatFailsLeavesNothing(t *testing.T) {
	s := storetest.S3(t)
	body := stream(t, 12<<20, 4)
	for _, part := range []string{"partNumber=2", "uploadId="} { // a part, and the end
		count := &tap{}
		count.do = func(req *http.Request) (*http.Response, error) {
			if q := req.URL.RawQuery; strings.Contains(q, part) &&
				(req.Method == http.MethodPost || part != "uploadId=" && req.Method == http.MethodPut) {
				return answer(req, 400, "<Error><Code>InvalidPart</Code></Error>"), nil
			}
			return http.DefaultTransport.RoundTrip(req)
		}
		s.Options.Transport = count
		b := s.Bucket(t)
		bucket.SetParts(b, 1<<20, 5<<20)
		if _, err := b.Put(t.Context(), "k", body, bucket.On{Absent: true}); err == nil || errors.Is(err, bucket.ErrUnsure) {
			t.Errorf("%s: %v", part, err)
		}
		nothingBegun(t, s)
	}
	// A part whose answer is lost is sent again; the end whose answer is lost may have been.
	var lost atomic.Bool
	s.Options.Transport = &tap{do: func(req *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil && strings.Contains(req.URL.RawQuery, "partNumber=2") && lost.CompareAndSwap(false, true) {
			_ = resp.Body.Close()
			return nil, errors.New("connection reset by peer")
		}
		return resp, err
	}}
	b := s.Bucket(t)
	bucket.SetParts(b, 1<<20, 5<<20)
	if _, err := b.Put(t.Context(), "k", body, bucket.On{Absent: true}); err != nil || !lost.Load() {
		t.Fatal(err)
	}
	same(t, b, "k", body)
	s.Options.Transport = &tap{do: func(req *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil && req.Method == http.MethodPost && strings.HasPrefix(req.URL.RawQuery, "uploadId=") {
			_ = resp.Body.Close()
			return nil, errors.New("connection reset by peer")
		}
		return resp, err
	}}
	b = s.Bucket(t)
	bucket.SetParts(b, 1<<20, 5<<20)
	_, err := b.Put(t.Context(), "other", body, bucket.On{Absent: true})
	is(t, err, bucket.ErrUnsure)
	same(t, b, "other", body)
	// An error in an answer that says 200 is one.
	s.Options.Transport = &tap{do: func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodPost && strings.HasPrefix(req.URL.RawQuery, "uploadId=") {
			return answer(req, 200, "<?xml version=\"1.0\"?>\n<Error><Code>InternalError</Code></Error>"), nil
		}
		return http.DefaultTransport.RoundTrip(req)
	}}
	b = s.Bucket(t)
	bucket.SetParts(b, 1<<20, 5<<20)
	_, err = b.Put(t.Context(), "third", body, bucket.On{Absent: true})
	is(t, err, bucket.ErrUnsure)
	nothingBegun(t, s)
}

// of is a bucket of S3 whose requests go to do.
func of(t *testing.T, o bucket.Options, do func(*http.Request) (*http.Response, error)) (bucket.Bucket, *tap) {
	t.Helper()
	count := &tap{do: do}
	if o.Getenv == nil {
		o.Getenv = func(name string) string {
			return map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "c2VjcmV0"}[name]
		}
	}
	o.Transport = count
	b, err := bucket.Open(t.Context(), "s3://finance-lake/usage", o)
	if err != nil {
		t.Fatal(err)
	}
	return b, count
}

func TestWhatAmazonSays(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		header http.Header
		want   error
		says   string // of the message
		tries  int
	}{
		{409, "ConditionalRequestConflict", nil, bucket.ErrUnsure, "another write of it is under way", 5},
		{409, "OperationAborted", nil, bucket.ErrUnsure, "another write of it is under way", 5},
		{412, "PreconditionFailed", nil, bucket.ErrTaken, "", 1},
		{404, "NoSuchKey", nil, bucket.ErrTaken, "", 1}, // over a state
		{404, "NoSuchBucket", nil, bucket.ErrNoBucket, "make the bucket finance-lake", 1},
		{403, "RequestTimeTooSkewed", nil, nil, "set this machine's clock", 1},
		{403, "AccessDenied", http.Header{"Date": {time.Now().Add(-20 * time.Minute).UTC().Format(http.TimeFormat)}},
			bucket.ErrRights, "this machine's clock is ", 1},
		{403, "AccessDenied", nil, bucket.ErrRights, "s3:PutObject", 1},
		{403, "InvalidAccessKeyId", nil, bucket.ErrRights, "AWS_ACCESS_KEY_ID", 1},
		{301, "PermanentRedirect", http.Header{"X-Amz-Bucket-Region": {"eu-central-1"}}, nil,
			"set the region to eu-central-1", 1},
		{400, "AuthorizationHeaderMalformed", nil, nil, "region", 1},
		{400, "ExpiredToken", nil, bucket.ErrRights, "have expired", 5},
		{400, "RequestTimeout", nil, nil, "RequestTimeout", 5},
		{400, "BadDigest", nil, nil, "other bytes", 1},
		{503, "SlowDown", nil, bucket.ErrUnsure, "SlowDown", 1},
		{507, "XMinioStorageFull", nil, nil, "make room", 1},
		{403, "QuotaExceeded", nil, nil, "make room", 1},
		{501, "NotImplemented", nil, nil, "no conditional writes", 1},
	} {
		b, count := of(t, bucket.Options{Endpoint: "https://store.example", Region: "us-east-1"},
			func(req *http.Request) (*http.Response, error) {
				resp := answer(req, c.status, "<Error><Code>"+c.code+"</Code><Message>its words</Message></Error>")
				for k, v := range c.header {
					resp.Header[k] = v
				}
				return resp, nil
			})
		_, err := b.Put(t.Context(), "k", bucket.Bytes([]byte("x")), bucket.On{Match: "1"})
		var e *bucket.Error
		if !errors.As(err, &e) || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%d %s: %v", c.status, c.code, err)
			continue
		}
		if e.Status != c.status || e.RequestID != "REQ1" || !strings.Contains(err.Error(), "request REQ1") ||
			e.URL != "s3://finance-lake/usage/k" {
			t.Errorf("%s: %+v", c.code, e)
		}
		for _, other := range []error{bucket.ErrTaken, bucket.ErrUnsure, bucket.ErrRights, bucket.ErrNoBucket,
			bucket.ErrAbsent} {
			if c.want != other && errors.Is(err, other) {
				t.Errorf("%s is %v, too", c.code, other)
			}
		}
		if n := count.total(); n != c.tries {
			t.Errorf("%s: %d tries, not %d", c.code, n, c.tries)
		}
	}
	// A conflict that ends.
	b, count := of(t, bucket.Options{Endpoint: "https://store.example"}, nil)
	count.do = func(req *http.Request) (*http.Response, error) {
		if len(count.seen) < 3 {
			return answer(req, 409, "<Error><Code>ConditionalRequestConflict</Code></Error>"), nil
		}
		resp := answer(req, 200, "")
		resp.Header.Set("ETag", `W/"abc"`)
		return resp, nil
	}
	if tag := put(t, b, "k", "x", bucket.On{Absent: true}); tag != "abc" {
		t.Errorf("tag %q", tag)
	}
}

func TestAStoreWithoutConditionsIsRefused(t *testing.T) {
	for name, honours := range map[string]string{"none": "", "creates alone": "If-None-Match", "swaps alone": "If-Match"} {
		var puts, deletes int
		b, _ := of(t, bucket.Options{Endpoint: "https://store.example"}, func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodDelete {
				deletes++
				return answer(req, 204, ""), nil
			}
			puts++
			if req.Header.Get(honours) != "" && puts != 1 && puts != 3 {
				return answer(req, 412, ""), nil
			}
			resp := answer(req, 200, "")
			resp.Header.Set("ETag", fmt.Sprint(puts))
			return resp, nil
		})
		err := bucket.Probe(t.Context(), b)
		if err == nil || !strings.Contains(err.Error(), "ignores conditions") || !strings.Contains(err.Error(), "hint: ") {
			t.Errorf("%s: %v", name, err)
		}
		if deletes != 1 {
			t.Errorf("%s: deleted %d times", name, deletes)
		}
	}
}

func TestProbeTakesFiveRequestsAndLeavesNothing(t *testing.T) {
	s := storetest.S3(t)
	count := &tap{}
	s.Options.Transport = count
	b := s.Bucket(t)
	if err := bucket.Probe(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if n := count.total(); n != 5 {
		t.Errorf("%d requests", n)
	}
	if all := list(t, b, ""); len(all) > 0 {
		t.Errorf("left: %v", all)
	}
	// One lost answer is no verdict.
	first := true
	count.do = func(req *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if first && err == nil {
			first = false
			_ = resp.Body.Close()
			return nil, errors.New("connection reset by peer")
		}
		return resp, err
	}
	if err := bucket.Probe(t.Context(), b); err != nil || first {
		t.Error(err)
	}
	if all := list(t, b, ""); len(all) > 0 {
		t.Errorf("left: %v", all)
	}
}

func TestWhereABucketOfAmazonAnswers(t *testing.T) {
	for _, c := range []struct {
		url, region, want string
	}{
		{"s3://finance-lake/usage", "eu-central-1", "https://finance-lake.s3.eu-central-1.amazonaws.com/usage/a%3Db%20c"},
		{"s3://finance.lake/usage", "us-east-1", "https://s3.us-east-1.amazonaws.com/finance.lake/usage/a%3Db%20c"},
		{"s3://finance-lake", "cn-north-1", "https://finance-lake.s3.cn-north-1.amazonaws.com.cn/a%3Db%20c"},
		{"s3://finance-lake", "", "https://finance-lake.s3.ap-south-2.amazonaws.com/a%3Db%20c"}, // asked for
	} {
		var got, signed string
		count := &tap{do: func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodHead {
				resp := answer(req, 403, "")
				resp.Header.Set("X-Amz-Bucket-Region", "ap-south-2")
				if req.Header.Get("Authorization") != "" {
					t.Error("credentials were sent to ask where a bucket is")
				}
				return resp, nil
			}
			got, signed = req.URL.String(), req.Header.Get("Authorization")
			return answer(req, 404, "<Error><Code>NoSuchKey</Code></Error>"), nil
		}}
		env := map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "c2VjcmV0", "AWS_REGION": c.region}
		b, err := bucket.Open(t.Context(), c.url, bucket.Options{
			Transport: count, Getenv: func(k string) string { return env[k] },
		})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = b.Get(t.Context(), "a=b c")
		is(t, err, bucket.ErrAbsent)
		if got != c.want {
			t.Errorf("%s in %q: %s, not %s", c.url, c.region, got, c.want)
		}
		if region := c.region; region != "" && !strings.Contains(signed, "/"+region+"/s3/") {
			t.Errorf("signed for %s", signed)
		}
	}
}

func TestCredentialsOfAmazonsPlaces(t *testing.T) {
	s := storetest.S3(t)
	keys := s.Env
	works := func(what string, getenv func(string) string) {
		t.Helper()
		o := s.Options
		o.Getenv = getenv
		b, err := bucket.Open(t.Context(), s.URL, o)
		if err == nil {
			_, err = b.Put(t.Context(), "k", bucket.Bytes(nil), bucket.On{})
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A profile: minio-go reads the files where the process's own environment says.
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("AWS_PROFILE", "lake")
	for _, name := range []string{"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(home, ".aws"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, ".aws", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("credentials", fmt.Sprintf("[default]\naws_access_key_id = other\naws_secret_access_key = other\n"+
		"[lake]\naws_access_key_id = %s\naws_secret_access_key = %s\n", keys["AWS_ACCESS_KEY_ID"],
		keys["AWS_SECRET_ACCESS_KEY"]))
	write("config", "[default]\nregion = eu-west-1\n\n[profile lake]\nregion = ca-central-1\n")
	works("a profile", os.Getenv)
	var signed string
	b, err := bucket.Open(t.Context(), "s3://finance-lake", bucket.Options{Getenv: os.Getenv,
		Transport: &tap{do: func(req *http.Request) (*http.Response, error) {
			signed = req.URL.Host + " " + req.Header.Get("Authorization")
			return answer(req, 204, ""), nil
		}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), "k"); err != nil {
		t.Error(err)
	}
	if !strings.Contains(signed, "s3.ca-central-1.amazonaws.com") || !strings.Contains(signed, "/ca-central-1/s3/") {
		t.Errorf("signed %s", signed)
	}

	// A task's role, by an address on this machine; and what has expired is asked for again.
	var asked atomic.Int32
	role := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]string{
			"AccessKeyId": keys["AWS_ACCESS_KEY_ID"], "SecretAccessKey": keys["AWS_SECRET_ACCESS_KEY"],
			"Expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
		})
	}))
	defer role.Close()
	ofRole := func(name string) string {
		return map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": role.URL}[name]
	}
	works("a role", ofRole)
	expired := true
	s.Options.Transport = &tap{do: func(req *http.Request) (*http.Response, error) {
		if expired {
			expired = false
			return answer(req, 400, "<Error><Code>ExpiredToken</Code></Error>"), nil
		}
		return http.DefaultTransport.RoundTrip(req)
	}}
	asked.Store(0)
	works("a role that expired", ofRole)
	if asked.Load() != 2 {
		t.Errorf("asked for credentials %d times", asked.Load())
	}
	s.Options.Transport = nil

	// None at all: no request, and what to do.
	count := &tap{}
	o := s.Options
	o.Getenv, o.Transport = func(string) string { return "" }, count
	if b, err = bucket.Open(context.Background(), s.URL, o); err == nil {
		_, err = b.Put(t.Context(), "k", bucket.Bytes(nil), bucket.On{})
	}
	if e := is(t, err, bucket.ErrRights); !strings.Contains(e.Hint, "AWS_PROFILE") || count.total() > 0 {
		t.Errorf("%+v, %d requests", e, count.total())
	}
}

// TestSigner: a request to another service is signed as AWS says, computed here from its description.
func TestSigner(t *testing.T) {
	env := map[string]string{"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
		"AWS_SESSION_TOKEN": "a session"}
	body := []byte(`{"requirements":[]}`)
	req, err := http.NewRequest(http.MethodPost, "https://glue.eu-central-1.amazonaws.com/iceberg/v1/catalogs/1/"+
		"namespaces/finance/tables/usage_2?warehouse=s3%3A//w+1&a=b", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256(body)
	sign := bucket.Signer(func(name string) string { return env[name] }, "eu-central-1", "glue")
	if req, err = sign(t.Context(), req, sum); err != nil {
		t.Fatal(err)
	}
	date := req.Header.Get("X-Amz-Date")
	signed := "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token"
	canonical := strings.Join([]string{"POST", "/iceberg/v1/catalogs/1/namespaces/finance/tables/usage_2",
		"a=b&warehouse=s3%3A%2F%2Fw%201",
		"content-type:application/json", "host:glue.eu-central-1.amazonaws.com",
		"x-amz-content-sha256:" + hex.EncodeToString(sum[:]), "x-amz-date:" + date, "x-amz-security-token:a session", "",
		signed, hex.EncodeToString(sum[:])}, "\n")
	hashed := sha256.Sum256([]byte(canonical))
	scope := date[:8] + "/eu-central-1/glue/aws4_request"
	mac := func(key []byte, s string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(s))
		return h.Sum(nil)
	}
	key := []byte("AWS4" + env["AWS_SECRET_ACCESS_KEY"])
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/" + scope + ", SignedHeaders=" + signed + ", Signature=" +
		hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+date+"\n"+scope+"\n"+hex.EncodeToString(hashed[:])))
	if got := req.Header.Get("Authorization"); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if b, err := io.ReadAll(req.Body); err != nil || !bytes.Equal(b, body) {
		t.Errorf("the body is %q, %v", b, err)
	}
}
