package bucket_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/bucket/storetest"
)

func TestAnEmulatorIsShownNoToken(t *testing.T) {
	s := storetest.GCS(t)
	s.Options.Endpoint = "" // but STORAGE_EMULATOR_HOST, which has no scheme
	count := &tap{do: func(req *http.Request) (*http.Response, error) {
		if req.Header.Get("Authorization") != "" {
			t.Error("a token was shown")
		}
		return http.DefaultTransport.RoundTrip(req)
	}}
	s.Options.Transport = count
	put(t, s.Bucket(t), "k", "x", bucket.On{})
	if count.total() != 1 {
		t.Errorf("%d requests", count.total())
	}
}

// uploads is a store that takes large bodies as Google's does: under an address of their own, gone on with from where
// they were cut. fake-gcs-server can't be asked how far an upload has come.
type uploads struct {
	mu   sync.Mutex
	got  []byte
	done bool
	asks int
	// cut is after how many bytes of the n-th request that brings some the connection ends, if it is above 0.
	cut []int64
	// lost is how many answers to the end of an upload are lost.
	lost int
}

func (u *uploads) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if req.Method == http.MethodPost {
		w.Header().Set("Location", "http://"+req.Host+"/session?upload_id=s3cr3t")
		return
	}
	span, size, _ := strings.Cut(strings.TrimPrefix(req.Header.Get("Content-Range"), "bytes "), "/")
	all, _ := strconv.Atoi(size)
	if span == "*" {
		u.asks++
	} else {
		first, _, _ := strings.Cut(span, "-")
		if from, _ := strconv.Atoi(first); from != len(u.got) {
			http.Error(w, fmt.Sprintf("from %d, but %d are here", from, len(u.got)), http.StatusBadRequest)
			return
		}
		var limit int64 = 1 << 40
		if len(u.cut) > 0 {
			limit, u.cut = u.cut[0], u.cut[1:]
		}
		b, _ := io.ReadAll(io.LimitReader(req.Body, limit))
		u.got = append(u.got, b...)
		if int64(len(b)) == limit {
			panic(http.ErrAbortHandler)
		}
		u.done = len(u.got) == all
		if u.done && u.lost > 0 {
			u.lost--
			panic(http.ErrAbortHandler)
		}
	}
	if !u.done {
		if len(u.got) > 0 {
			w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", len(u.got)-1))
		}
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	sum := crc32.Checksum(u.got, crc32.MakeTable(crc32.Castagnoli))
	_ = json.NewEncoder(w).Encode(map[string]string{
		"generation": "77", "crc32c": base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)),
	})
}

func TestALargeBodyGoesOnWhereItWasCut(t *testing.T) {
	const size = 8 << 20
	for _, c := range []struct {
		name string
		u    *uploads
		asks int
	}{
		{name: "nothing happens", u: &uploads{}},
		{name: "cut twice", u: &uploads{cut: []int64{3 << 20, 1 << 20}}, asks: 2},
		{name: "cut before its first byte", u: &uploads{cut: []int64{1}}, asks: 1},
		{name: "its last answer lost", u: &uploads{lost: 1}, asks: 1},
	} {
		u := c.u
		server := httptest.NewServer(u)
		b, err := bucket.Open(t.Context(), "gs://finance-lake/usage", bucket.Options{Endpoint: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		bucket.SetParts(b, 1<<20, 0)
		body := stream(t, size, 5)
		tag, err := b.Put(t.Context(), "k", body, bucket.On{Absent: true})
		if err != nil || tag != "77" || u.asks != c.asks {
			t.Errorf("%s: %v, tag %q, asked %d times", c.name, err, tag, u.asks)
		}
		r, _ := body.Open()
		if want, _ := io.ReadAll(r); string(want) != string(u.got) {
			t.Errorf("%s: other bytes", c.name)
		}
		server.Close()
	}
	// One that gets nowhere ends, and says nothing of its address.
	u := &uploads{cut: []int64{1 << 20, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.Header.Get("Content-Range"), "bytes */") {
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		u.ServeHTTP(w, req)
	}))
	defer server.Close()
	b, err := bucket.Open(t.Context(), "gs://finance-lake/usage", bucket.Options{Endpoint: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	bucket.SetParts(b, 1<<20, 0)
	_, err = b.Put(t.Context(), "k", stream(t, size, 5), bucket.On{Absent: true})
	is(t, err, bucket.ErrUnsure)
	if strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("an upload's address: %v", err)
	}
	// Nor is another's address taken.
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://192.0.2.1/session?upload_id=s3cr3t")
	}))
	defer elsewhere.Close()
	if b, err = bucket.Open(t.Context(), "gs://finance-lake/usage", bucket.Options{Endpoint: elsewhere.URL}); err != nil {
		t.Fatal(err)
	}
	bucket.SetParts(b, 1<<20, 0)
	if _, err = b.Put(t.Context(), "k", stream(t, size, 5), bucket.On{}); err == nil || errors.Is(err, bucket.ErrUnsure) {
		t.Error(err)
	}
}

func TestGooglesTokens(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	refuse := false
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if refuse {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"Invalid JWT: check your clock"}`)
			return
		}
		_, _ = io.WriteString(w, `{"access_token":"t0ken-of-the-day","token_type":"Bearer","expires_in":3600}`)
	}))
	defer tokens.Close()
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "lake@example.iam.gserviceaccount.com", "private_key": private,
		"private_key_id": "1", "token_uri": tokens.URL, "client_id": "1", "project_id": "p",
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var shown []string
	o := bucket.Options{
		Getenv: func(name string) string { return map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": path}[name] },
		Transport: &tap{do: func(req *http.Request) (*http.Response, error) {
			shown = append(shown, req.URL.Host+" "+req.Header.Get("Authorization"))
			return answer(req, 404, ""), nil
		}},
	}
	get := func() error {
		b, err := bucket.Open(t.Context(), "gs://finance-lake/usage", o)
		if err != nil {
			return err
		}
		_, _, err = b.Get(t.Context(), "k")
		return err
	}
	is(t, get(), bucket.ErrAbsent)
	if len(shown) != 1 || shown[0] != "storage.googleapis.com Bearer t0ken-of-the-day" {
		t.Errorf("shown %q", shown)
	}
	refuse = true
	err = get()
	e := is(t, err, bucket.ErrRights)
	if !strings.Contains(err.Error(), "Invalid JWT") || e.Hint == "" || len(shown) != 1 {
		t.Errorf("%v, shown %q", err, shown)
	}
	if strings.Contains(err.Error(), "t0ken") || strings.Contains(err.Error(), private[40:80]) {
		t.Errorf("a secret: %v", err)
	}
	path += ".gone"
	if e := is(t, get(), bucket.ErrRights); e.Op != "open" || e.Hint == "" {
		t.Errorf("%+v", e)
	}
}
