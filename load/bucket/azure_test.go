package bucket_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/bucket/storetest"
)

func TestAzuresConnectionStrings(t *testing.T) {
	s := storetest.Azure(t)
	host, key := s.Options.Endpoint, s.Env["AZURE_STORAGE_KEY"]
	account := s.Env["AZURE_STORAGE_ACCOUNT"]
	cred, err := container.NewSharedKeyCredential(account, key)
	if err != nil {
		t.Fatal(err)
	}
	query, err := sas.BlobSignatureValues{
		Protocol: sas.ProtocolHTTPSandHTTP, ExpiryTime: time.Now().Add(time.Hour), ContainerName: "finance-lake",
		Permissions: (&sas.ContainerPermissions{Read: true, Create: true, Write: true}).String(), // neither list nor delete
	}.SignWithSharedKey(cred)
	if err != nil {
		t.Fatal(err)
	}
	signature := query.Signature()
	open := func(connection string) (bucket.Bucket, error) {
		s.Options.Endpoint = ""
		s.Options.Getenv = func(name string) string {
			return map[string]string{"AZURE_STORAGE_CONNECTION_STRING": connection}[name]
		}
		return bucket.Open(t.Context(), s.URL, s.Options)
	}
	for _, c := range []string{
		"DefaultEndpointsProtocol=http;AccountName=" + account + ";AccountKey=" + key + ";BlobEndpoint=" + host + ";",
		"BlobEndpoint=" + host + ";SharedAccessSignature=" + query.Encode(),
	} {
		b, err := open(c)
		if err != nil {
			t.Fatal(err)
		}
		put(t, b, "k", "of a connection string", bucket.On{})
		if body, _ := read(t, b, "k"); body != "of a connection string" {
			t.Errorf("%q", body)
		}
	}
	b, err := open("BlobEndpoint=" + host + ";SharedAccessSignature=" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	errs := []error{b.Delete(t.Context(), "k")}
	for _, err := range b.List(t.Context(), "") {
		errs = append(errs, err)
	}
	for _, err := range errs {
		if e := is(t, err, bucket.ErrRights); e.Hint == "" {
			t.Errorf("%+v", e)
		}
	}
	s.Options.Transport = &tap{do: func(req *http.Request) (*http.Response, error) {
		return nil, errors.New("connection reset by peer")
	}}
	if b, err = open("BlobEndpoint=" + host + ";SharedAccessSignature=" + query.Encode()); err != nil {
		t.Fatal(err)
	}
	_, _, err = b.Get(t.Context(), "k")
	errs = append(errs, err)
	for _, c := range []string{
		"nothing at all", "AccountName=other;AccountKey=" + key, "AccountName=" + account + ";AccountKey=no base64: s3cr3t",
		"BlobEndpoint=http://192.0.2.1/x;AccountName=" + account + ";AccountKey=" + key,
	} {
		_, err := open(c)
		if err == nil {
			t.Errorf("%s is taken", c)
		}
		errs = append(errs, err)
	}
	for _, err := range errs {
		if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, signature) || strings.Contains(text, "sig=") ||
			strings.Contains(text, key) || strings.Contains(text, "s3cr3t") || strings.Contains(text, "nothing at all") {
			t.Errorf("a secret: %s", text)
		}
	}
}

func TestWhatAzureSays(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error
		tries  int
	}{
		{409, "BlobAlreadyExists", bucket.ErrTaken, 1},
		{412, "ConditionNotMet", bucket.ErrTaken, 1},
		{404, "BlobNotFound", bucket.ErrTaken, 1}, // over a state
		{412, "LeaseIdMissing", nil, 1},           // somebody keeps it from being written
		{409, "InvalidBlobType", nil, 1},
		{404, "ContainerNotFound", bucket.ErrNoBucket, 1},
		{403, "AuthorizationPermissionMismatch", bucket.ErrRights, 1},
		{400, "Md5Mismatch", nil, 1},
		{503, "ServerBusy", bucket.ErrUnsure, 1},
		{500, "OperationTimedOut", bucket.ErrUnsure, 1},
		{429, "TooManyRequests", nil, 5},
	} {
		count := &tap{do: func(req *http.Request) (*http.Response, error) {
			resp := answer(req, c.status, "")
			resp.Header.Set("X-Ms-Error-Code", c.code)
			return resp, nil
		}}
		b, err := bucket.Open(t.Context(), "az://account/finance-lake/usage", bucket.Options{
			Transport: count,
			Getenv:    func(name string) string { return map[string]string{"AZURE_STORAGE_KEY": "c2VjcmV0"}[name] },
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Put(t.Context(), "k", bucket.Bytes([]byte("x")), bucket.On{Match: "1"})
		var e *bucket.Error
		if !errors.As(err, &e) || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%d %s: %v", c.status, c.code, err)
			continue
		}
		for _, other := range []error{bucket.ErrTaken, bucket.ErrUnsure, bucket.ErrRights, bucket.ErrNoBucket,
			bucket.ErrAbsent} {
			if c.want != other && errors.Is(err, other) {
				t.Errorf("%s is %v, too", c.code, other)
			}
		}
		if count.total() != c.tries || !strings.HasPrefix(e.URL, "az://account/finance-lake/usage/k") {
			t.Errorf("%s: %d tries, %+v", c.code, count.total(), e)
		}
		if c.want != bucket.ErrTaken && (e.Status != c.status || e.RequestID != "REQ1") {
			t.Errorf("%s: %+v", c.code, e)
		}
	}
}
