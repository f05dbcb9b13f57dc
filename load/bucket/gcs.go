package bucket

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// gcs speaks the JSON API of Google Cloud Storage. A Tag is an object's generation.
type gcs struct {
	wire   *wire
	host   *url.URL
	bucket string
	tokens oauth2.TokenSource // nil at an emulator
	single int64              // bodies above it go through an upload that can be gone on with
}

const (
	gcsSingle = 5 << 30
	gcsScope  = "https://www.googleapis.com/auth/devstorage.read_write"
)

func openGCS(ctx context.Context, at address, o Options) (*gcs, error) {
	s := &gcs{wire: newWire(o), bucket: at.bucket, single: gcsSingle}
	where := o.Endpoint
	if where == "" {
		if where = o.Getenv("STORAGE_EMULATOR_HOST"); where != "" && !strings.Contains(where, "://") {
			where = "http://" + where
		}
	}
	if where == "" {
		where = "https://storage.googleapis.com"
	}
	var err error
	if s.host, err = endpoint(where); err != nil {
		return nil, err
	}
	if s.host.Scheme == "http" {
		return s, nil // an emulator on this machine: nobody shows it a token
	}
	// Tokens are fetched long after this call, so its end doesn't end them; each request for one has its own.
	ctx = context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, &http.Client{Timeout: 30 * time.Second})
	var creds *google.Credentials
	if path := o.Getenv("GOOGLE_APPLICATION_CREDENTIALS"); path != "" {
		creds, err = gcsFile(ctx, path)
	} else {
		creds, err = google.FindDefaultCredentials(ctx, gcsScope)
	}
	if err != nil {
		return nil, &Error{Err: fmt.Errorf("no credentials: %w: %w", ErrRights, plain(err)), Hint: gcsSignIn}
	}
	s.tokens = creds.TokenSource
	return s, nil
}

// gcsFile are the credentials of a file that whoever runs this has named: of whichever kind it says they are.
func gcsFile(ctx context.Context, path string) (*google.Credentials, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var kind struct{ Type google.CredentialsType }
	if err := json.Unmarshal(b, &kind); err != nil {
		return nil, fmt.Errorf("%s is no file of credentials", path)
	}
	return google.CredentialsFromJSONWithType(ctx, b, kind.Type, gcsScope)
}

const gcsSignIn = "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS to a key file, " +
	"or give the machine or pod a service account"

// send sends a request. The answer is a success or a 308, and the caller closes it.
func (s *gcs) send(ctx context.Context, req *http.Request) (*http.Response, *Error) {
	if s.tokens != nil {
		token, err := s.tokens.Token()
		if err != nil {
			e := &Error{Err: fmt.Errorf("no token: %w: %s", ErrRights, tokenError(err)), Hint: gcsSignIn}
			return nil, e
		}
		token.SetAuthHeader(req)
	}
	resp, err := s.wire.RoundTrip(req)
	if err != nil {
		return nil, lost(ctx, err)
	}
	if resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusPermanentRedirect {
		return resp, nil
	}
	return nil, s.refused(ctx, resp)
}

// tokenError is what went wrong, in the two words of the protocol: the rest of the answer's body is nobody's business.
func tokenError(err error) string {
	var r *oauth2.RetrieveError
	if errors.As(err, &r) {
		x := struct {
			Code string `json:"error"`
			Says string `json:"error_description"`
		}{r.ErrorCode, r.ErrorDescription}
		if x.Code == "" { // some of its sources leave that to us
			_ = json.Unmarshal(r.Body, &x)
		}
		said := refusal{code: x.Code, message: x.Says}
		if r.Response != nil {
			said.status = r.Response.StatusCode
		}
		return said.says()
	}
	return plain(err).Error()
}

// request makes a request about an object, or all of them where key is "".
func (s *gcs) request(ctx context.Context, method, base, key string, query url.Values) *http.Request {
	u := *s.host
	path := strings.TrimSuffix(u.Path, "/") + base + "/b/" + s.bucket + "/o"
	u.Path, u.RawPath = path, path
	if key != "" {
		u.Path += "/" + key
		u.RawPath += "/" + url.PathEscape(key) // with its slashes, all of it is one element
	}
	u.RawQuery = query.Encode()
	req := &http.Request{Method: method, URL: &u, Host: u.Host, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1,
		ProtoMinor: 1}
	return req.WithContext(ctx)
}

const (
	gcsObjects = "/storage/v1"
	gcsUploads = "/upload/storage/v1"
)

func (s *gcs) refused(ctx context.Context, resp *http.Response) *Error {
	b, _ := readAll(ctx, resp) // without it the status tells
	var x struct {
		Error struct {
			Message string
			Errors  []struct{ Reason string }
		}
	}
	_ = json.Unmarshal(b, &x)
	r := refusalOf(resp)
	r.message = x.Error.Message
	if len(x.Error.Errors) > 0 {
		r.code = x.Error.Errors[0].Reason
	}
	// An upload's id is the right to go on with it, and its answers are named by it.
	if !resp.Request.URL.Query().Has("upload_id") {
		r.id = resp.Header.Get("X-Guploader-Uploadid")
	}
	switch r.code {
	case "rateLimitExceeded", "userRateLimitExceeded":
		e := r.error(nil)
		e.again = true
		return e
	case "quotaExceeded":
		return r.error(errFull)
	}
	e := r.error(nil)
	if errors.Is(e, ErrRights) && e.Hint == "" {
		e.Hint = "give these credentials the role Storage Object User (roles/storage.objectUser) on the bucket " + s.bucket
	}
	return e
}

// noBucket is a 404 where only the bucket can be missing.
func (s *gcs) noBucket(e *Error) *Error {
	if e.Status == http.StatusNotFound {
		e.Err = fmt.Errorf("%w: %w", ErrNoBucket, e.Err)
		e.Hint = "make the bucket " + s.bucket + ", or see its name"
	}
	return e
}

func (s *gcs) get(ctx context.Context, key string) (io.ReadCloser, Object, error) {
	resp, e := s.send(ctx, s.request(ctx, http.MethodGet, gcsObjects, key, url.Values{"alt": {"media"}}))
	if e != nil {
		if e.Status == http.StatusNotFound { // of the bucket, too; a put tells
			e.Err = ErrAbsent
		}
		return nil, Object{}, e
	}
	modified, _ := http.ParseTime(resp.Header.Get("Last-Modified"))
	o := Object{Key: key, Size: resp.ContentLength, Modified: modified.UTC(),
		Tag: Tag(resp.Header.Get("X-Goog-Generation"))}
	if o.Tag == "" {
		_ = resp.Body.Close()
		return nil, Object{}, &Error{Status: resp.StatusCode, Err: errors.New("the store answered without a generation")}
	}
	return resp.Body, o, nil
}

// gcsObject is an object of an answer. Numbers of 64 bits are texts there.
type gcsObject struct {
	Name       string `json:"name"`
	Size       int64  `json:"size,string"`
	Generation string `json:"generation"`
	Updated    string `json:"updated"`
	MD5        string `json:"md5Hash"`
	CRC32C     string `json:"crc32c"`
}

// gcsSums are the digests that Google holds a body against.
func gcsSums(ctx context.Context, body Body) (crc string, err error) {
	sums, err := partSums(ctx, body, max(body.Size, 1), func() hash.Hash {
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	})
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(sums[0]), nil
}

func (s *gcs) put(ctx context.Context, key string, body Body, on On) (Tag, error) {
	query := url.Values{"fields": {"generation,crc32c"}}
	switch {
	case on.Absent:
		query.Set("ifGenerationMatch", "0")
	case on.Match != "":
		if g, err := strconv.ParseInt(string(on.Match), 10, 64); err != nil || g <= 0 {
			return "", &Error{Err: fmt.Errorf("%w: its state is no generation of this store", ErrTaken)}
		}
		query.Set("ifGenerationMatch", string(on.Match))
	}
	crc, err := gcsSums(ctx, body)
	if err != nil {
		return "", err
	}
	about, err := json.Marshal(map[string]string{"name": key, "contentType": body.Type, "crc32c": crc})
	if err != nil {
		return "", err
	}
	var resp *http.Response
	var e *Error
	if body.Size > s.single {
		resp, e = s.putResumable(ctx, body, about, query)
	} else {
		resp, e = s.putWhole(ctx, body, about, query)
	}
	if e != nil {
		if e.Status == http.StatusPreconditionFailed && on != (On{}) {
			e.Err = ErrTaken
		}
		return "", s.noBucket(e)
	}
	b, e := readAll(ctx, resp)
	if e != nil {
		return "", unsure(e, nil)
	}
	var o gcsObject
	if err := json.Unmarshal(b, &o); err != nil || o.Generation == "" {
		return "", &Error{Status: resp.StatusCode, Err: fmt.Errorf("%w: the store answered without a generation", ErrUnsure)}
	}
	if o.CRC32C != crc {
		return "", &Error{Status: resp.StatusCode,
			Err: fmt.Errorf("the store has other bytes than were to be put: CRC32C %s, not %s", o.CRC32C, crc)}
	}
	return Tag(o.Generation), nil
}

// putWhole sends what an object is said to be, and its bytes, in one request of two parts.
func (s *gcs) putWhole(ctx context.Context, body Body, about []byte, query url.Values) (*http.Response, *Error) {
	var head bytes.Buffer
	parts := multipart.NewWriter(&head)
	for _, kind := range []string{"application/json; charset=UTF-8", body.Type} {
		if _, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {kind}}); err != nil {
			return nil, asError(err)
		}
		if len(about) > 0 {
			head.Write(about)
			about = nil
		}
	}
	tail := []byte("\r\n--" + parts.Boundary() + "--\r\n")
	query.Set("uploadType", "multipart")
	req := s.request(ctx, http.MethodPost, gcsUploads, "", query)
	req.Header.Set("Content-Type", "multipart/related; boundary="+parts.Boundary())
	framed := Body{Size: int64(head.Len()) + body.Size + int64(len(tail)), Open: func() (io.ReadCloser, error) {
		r, err := body.Open()
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head.Bytes()), io.LimitReader(r, body.Size), bytes.NewReader(tail)), r}, nil
	}}
	src := whole(ctx, framed)
	defer src.Close()
	src.attach(req)
	resp, e := s.send(ctx, req)
	if e != nil {
		return nil, unsure(e, src)
	}
	return resp, nil
}

// putResumable puts a large body under an address of its own, and goes on from where the store has it if it is cut
// short. That the last answer is lost is made good as well: the store is asked what became of it.
func (s *gcs) putResumable(ctx context.Context, body Body, about []byte, query url.Values) (*http.Response, *Error) {
	query.Set("uploadType", "resumable")
	req := s.request(ctx, http.MethodPost, gcsUploads, "", query)
	req.Header.Set("Content-Type", "application/json; charset=UTF-8")
	req.Header.Set("X-Upload-Content-Length", strconv.FormatInt(body.Size, 10))
	req.ContentLength, req.Body = int64(len(about)), io.NopCloser(bytes.NewReader(about))
	resp, e := s.send(ctx, req)
	if e != nil {
		return nil, e
	}
	drain(resp)
	where, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || where.Host != s.host.Host || where.Scheme != s.host.Scheme {
		return nil, &Error{Status: resp.StatusCode, Err: errors.New("the store began no upload at its own address")}
	}
	var from, moved int64
	for stuck := 0; ; {
		resp, e = s.sendRest(ctx, where, body, from)
		if e == nil {
			return resp, nil
		}
		if !e.again || ctx.Err() != nil {
			return nil, e
		}
		if from > moved {
			moved, stuck = from, 0
		}
		if stuck++; stuck >= tries {
			return nil, unsure(e, nil)
		}
		failed := e
		err := again(ctx, func() error {
			if resp, e = s.askRest(ctx, where, body.Size, &from); e != nil {
				return e
			}
			return nil
		})
		if err != nil {
			return nil, unsure(failed, nil)
		}
		if resp != nil {
			return resp, nil
		}
	}
}

// sendRest sends what is missing of an upload.
func (s *gcs) sendRest(ctx context.Context, where *url.URL, body Body, from int64) (*http.Response, *Error) {
	req := (&http.Request{Method: http.MethodPut, URL: where, Host: where.Host, Header: http.Header{}}).WithContext(ctx)
	req.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, body.Size-1, body.Size))
	src := &section{ctx: ctx, body: body, from: from, size: body.Size - from}
	defer src.Close()
	src.attach(req)
	resp, e := s.send(ctx, req)
	if e == nil && resp.StatusCode == http.StatusPermanentRedirect {
		drain(resp)
		e = &Error{Status: resp.StatusCode, again: true, Err: errors.New("the store took a part of the body alone")}
	}
	if e != nil {
		if _, err := src.state(); err != nil {
			return nil, asError(err)
		}
	}
	return resp, e
}

// askRest asks how far an upload has come: the answer if it is done, nil and where to go on if not.
func (s *gcs) askRest(ctx context.Context, where *url.URL, size int64, from *int64) (*http.Response, *Error) {
	req := (&http.Request{Method: http.MethodPut, URL: where, Host: where.Host, Header: http.Header{}}).WithContext(ctx)
	req.Header.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
	req.Body = http.NoBody
	resp, e := s.send(ctx, req)
	if e != nil {
		return nil, e
	}
	if resp.StatusCode != http.StatusPermanentRedirect {
		return resp, nil
	}
	drain(resp)
	*from = 0
	if last, ok := strings.CutPrefix(resp.Header.Get("Range"), "bytes=0-"); ok {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < 0 || n >= size {
			return nil, &Error{Status: resp.StatusCode, Err: fmt.Errorf("the store has bytes 0 to %s of %d", last, size)}
		}
		*from = n + 1
	}
	return nil, nil
}

func (s *gcs) page(ctx context.Context, prefix, from string) ([]Object, string, error) {
	query := url.Values{"prefix": {prefix}, "maxResults": {"1000"},
		"fields": {"nextPageToken,items(name,size,generation,updated)"}}
	if from != "" {
		query.Set("pageToken", from)
	}
	resp, e := s.send(ctx, s.request(ctx, http.MethodGet, gcsObjects, "", query))
	if e != nil {
		return nil, "", s.noBucket(e)
	}
	b, e := readAll(ctx, resp)
	if e != nil {
		return nil, "", e
	}
	var x struct {
		Items []gcsObject
		Next  string `json:"nextPageToken"`
	}
	if err := json.Unmarshal(b, &x); err != nil {
		return nil, "", &Error{Status: resp.StatusCode, again: true, Err: fmt.Errorf("the answer is no listing: %w", err)}
	}
	list := make([]Object, len(x.Items))
	for i, o := range x.Items {
		modified, _ := time.Parse(time.RFC3339, o.Updated)
		list[i] = Object{Key: o.Name, Size: o.Size, Tag: Tag(o.Generation), Modified: modified.UTC()}
	}
	return list, x.Next, nil
}

func (s *gcs) delete(ctx context.Context, key string) error {
	resp, e := s.send(ctx, s.request(ctx, http.MethodDelete, gcsObjects, key, nil))
	if e != nil {
		if e.Status == http.StatusNotFound {
			return nil
		}
		return e
	}
	drain(resp)
	return nil
}
