package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
	"github.com/minio/minio-go/v7/pkg/signer"
)

// s3 speaks S3's REST protocol, in the few words of it that are needed. Signatures and credentials are minio-go's; its
// client isn't used: it lists without a context, rewords cut connections, shows no headers of an answer to a put, and
// sends again by itself.
type s3 struct {
	wire   *wire
	host   *url.URL // that requests go to; the bucket is in its name, or in its path
	bucket string
	region string
	keys   *credentials.Credentials
	own    *http.Client // what asks for credentials
	sse    encryption
	// Bodies above single go in parts of part bytes at least.
	single, part int64
}

// S3's own limits: a put of 5 GiB, 10,000 parts.
const (
	s3Single = 5 << 30
	s3Part   = 64 << 20
	s3Parts  = 10_000
	// expectAbove is from which size on a put asks before it sends: what is there already is refused without its body.
	expectAbove = 1 << 20
)

var sha256OfNothing = sha256.Sum256(nil)

// send signs a request and sends it. The answer is a success, and the caller closes it.
func (s *s3) send(ctx context.Context, req *http.Request, sum [sha256.Size]byte) (*http.Response, *Error) {
	key, err := s.keys.GetWithContext(&credentials.CredContext{Client: s.own, Context: ctx})
	if err != nil {
		return nil, asError(err)
	}
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	req = signer.SignV4(*req, key.AccessKeyID, key.SecretAccessKey, key.SessionToken, s.region)
	if req.ContentLength >= expectAbove {
		req.Header.Set("Expect", "100-continue") // unsigned: the next hop's
	}
	resp, err := s.wire.RoundTrip(req)
	if err != nil {
		return nil, lost(ctx, err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, s.refused(ctx, resp)
	}
	return resp, nil
}

// request makes a request about a key, "" for the bucket itself.
func (s *s3) request(ctx context.Context, method, key string, query url.Values) *http.Request {
	u := *s.host
	u.Path = strings.TrimSuffix(u.Path, "/") + "/" + key
	u.RawPath = s3utils.EncodePath(u.Path) // as it is signed
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	req := &http.Request{Method: method, URL: &u, Host: u.Host, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1,
		ProtoMinor: 1}
	return req.WithContext(ctx)
}

// s3Refusal is the body of an answer that is no success, and of some that say 200.
type s3Refusal struct {
	XMLName   xml.Name
	Code      string
	Message   string
	RequestID string `xml:"RequestId"`
	Region    string
}

func (s *s3) refused(ctx context.Context, resp *http.Response) *Error {
	b, _ := readAll(ctx, resp) // without it the status tells
	var x s3Refusal
	_ = xml.Unmarshal(b, &x)
	return s.means(resp, x)
}

// means says what a refusal comes to, whatever was asked.
func (s *s3) means(resp *http.Response, x s3Refusal) *Error {
	r := refusalOf(resp)
	r.code, r.message = x.Code, x.Message
	r.id = resp.Header.Get("X-Amz-Request-Id")
	if r.id == "" {
		r.id = x.RequestID
	}
	region := resp.Header.Get("X-Amz-Bucket-Region")
	if region == "" {
		region = x.Region
	}
	switch x.Code {
	case "NoSuchBucket":
		e := r.error(ErrNoBucket)
		e.Hint = "make the bucket " + s.bucket + ", or see its name and the endpoint"
		return e
	case "NoSuchKey":
		return r.error(ErrAbsent)
	case "ConditionalRequestConflict", "OperationAborted":
		return r.conflict()
	case "RequestTimeTooSkewed", "RequestExpired":
		e := r.error(errors.New("this machine's clock is off"))
		e.Hint = "set this machine's clock (timedatectl set-ntp true)"
		return e
	case "ExpiredToken", "ExpiredTokenException":
		s.keys.Expire()
		e := r.error(ErrRights)
		e.again, e.Hint = true, "the credentials have expired: get new ones (aws sso login, or what else gives them)"
		return e
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "RequestTimeout":
		e := r.error(nil)
		e.again = true
		return e
	case "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "InvalidDigest":
		e := r.error(errors.New("the store got other bytes than were to be put"))
		e.Hint = "something changed the file while it was put, or the bytes on their way: run it again"
		return e
	case "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "StorageFull":
		return r.error(errFull)
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException":
		e := r.error(errors.New("the bucket is in another region"))
		e.Hint = "set the region (region: in the config, or AWS_REGION)"
		if region != "" && region != s.region {
			e.Hint = fmt.Sprintf("set the region to %s (region: in the config, or AWS_REGION); asked was %s", region, s.region)
		}
		return e
	case "InvalidAccessKeyId", "SignatureDoesNotMatch":
		e := r.error(ErrRights)
		if e.Hint == "" {
			e.Hint = "the access key or its secret is wrong: see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile"
		}
		return e
	}
	e := r.error(nil)
	if errors.Is(e, ErrRights) && e.Hint == "" {
		e.Hint = "let these credentials s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on " +
			s.bucket + "/…, and s3:ListBucket on " + s.bucket
	}
	return e
}

func (s *s3) get(ctx context.Context, key string) (io.ReadCloser, Object, error) {
	resp, e := s.send(ctx, s.request(ctx, http.MethodGet, key, nil), sha256OfNothing)
	if e != nil {
		if e.Status == http.StatusNotFound && !errors.Is(e, ErrNoBucket) {
			return nil, Object{}, &Error{Status: e.Status, RequestID: e.RequestID, Err: ErrAbsent}
		}
		return nil, Object{}, e
	}
	modified, _ := http.ParseTime(resp.Header.Get("Last-Modified"))
	return resp.Body, Object{
		Key: key, Size: resp.ContentLength, Tag: bare(resp.Header.Get("Etag")), Modified: modified.UTC(),
	}, nil
}

// bare is a tag without its quotes: headers have them, listings of some don't.
func bare(etag string) Tag { return Tag(strings.Trim(strings.TrimPrefix(etag, "W/"), `"`)) }

// conditions are what a put depends on, in headers.
func conditions(h http.Header, on On) {
	if on.Absent {
		h.Set("If-None-Match", "*")
	}
	if on.Match != "" {
		h.Set("If-Match", `"`+string(on.Match)+`"`)
	}
}

func (s *s3) put(ctx context.Context, key string, body Body, on On) (Tag, error) {
	if body.Size > s.single {
		return s.putParts(ctx, key, body, on)
	}
	req := s.request(ctx, http.MethodPut, key, nil)
	conditions(req.Header, on)
	req.Header.Set("Content-Type", body.Type)
	req.Header.Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(body.SHA256[:]))
	s.sse.ask(req.Header)
	src := whole(ctx, body)
	defer src.Close()
	src.attach(req)
	resp, e := s.send(ctx, req, body.SHA256)
	if e != nil {
		return "", putFailed(unsure(e, src), on)
	}
	drain(resp)
	if err := s.sse.given(resp); err != nil {
		return "", err
	}
	return tagIn(resp, resp.Header.Get("Etag"))
}

// tagIn is the tag of what was put. Without it there is no telling later whether it is the same.
func tagIn(resp *http.Response, etag string) (Tag, error) {
	if bare(etag) == "" {
		return "", &Error{Status: resp.StatusCode, Err: fmt.Errorf("%w: the store answered without an ETag", ErrUnsure)}
	}
	return bare(etag), nil
}

// putFailed says what a refusal of a put with conditions comes to.
func putFailed(e *Error, on On) error {
	switch {
	case e.Status == http.StatusPreconditionFailed && on != (On{}),
		e.Status == http.StatusNotFound && on.Match != "" && !errors.Is(e, ErrNoBucket):
		e.Err = ErrTaken
	case e.Status == http.StatusNotImplemented && on != (On{}):
		e.Hint = noConditions
	case e.Status == http.StatusNotFound && errors.Is(e, ErrAbsent): // there is nothing else that could be absent
		e.Err = fmt.Errorf("%w: %w", ErrNoBucket, e.Err)
	}
	return e
}

func (s *s3) delete(ctx context.Context, key string) error {
	resp, e := s.send(ctx, s.request(ctx, http.MethodDelete, key, nil), sha256OfNothing)
	if e != nil {
		if errors.Is(e, ErrAbsent) {
			return nil
		}
		return e
	}
	drain(resp)
	return nil
}

// s3List is a page of a listing.
type s3List struct {
	XMLName  xml.Name `xml:"ListBucketResult"`
	Encoding string   `xml:"EncodingType"`
	Next     string   `xml:"NextContinuationToken"`
	More     bool     `xml:"IsTruncated"`
	Contents []struct {
		Key          string
		LastModified string
		ETag         string
		Size         int64
	}
}

func (s *s3) page(ctx context.Context, prefix, from string) ([]Object, string, error) {
	query := url.Values{"list-type": {"2"}, "encoding-type": {"url"}, "prefix": {prefix}, "max-keys": {"1000"}}
	if from != "" {
		query.Set("continuation-token", from)
	}
	resp, e := s.send(ctx, s.request(ctx, http.MethodGet, "", query), sha256OfNothing)
	if e != nil {
		if e.Status == http.StatusNotFound && !errors.Is(e, ErrNoBucket) {
			e.Err = fmt.Errorf("%w: %w", ErrNoBucket, e.Err)
		}
		return nil, "", e
	}
	b, e := readAll(ctx, resp)
	if e != nil {
		return nil, "", e
	}
	var x s3List
	if err := xml.Unmarshal(b, &x); err != nil {
		return nil, "", &Error{Status: resp.StatusCode, again: true, Err: fmt.Errorf("the answer is no listing: %w", err)}
	}
	list := make([]Object, len(x.Contents))
	for i, c := range x.Contents {
		if x.Encoding == "url" {
			key, err := url.QueryUnescape(c.Key)
			if err != nil {
				return nil, "", fmt.Errorf("a key of the listing: %w", err)
			}
			c.Key = key
		}
		modified, _ := time.Parse(time.RFC3339, c.LastModified)
		list[i] = Object{Key: c.Key, Size: c.Size, Tag: bare(c.ETag), Modified: modified.UTC()}
	}
	if x.More && x.Next == "" {
		return nil, "", errors.New("the store's listing has more, and doesn't say how to go on")
	}
	if !x.More {
		x.Next = ""
	}
	return list, x.Next, nil
}

// putParts puts a body that is too large for one request: parts under an id, each held against its digest by the store,
// that become an object in the end, by one request with the conditions. The body is read twice, for its digests and to
// be sent, so nothing of it stays in memory.
func (s *s3) putParts(ctx context.Context, key string, body Body, on On) (tag Tag, err error) {
	size := max(s.part, (body.Size+s3Parts-1)/s3Parts)
	sums, err := partSums(ctx, body, size, sha256.New)
	if err != nil {
		return "", err
	}
	req := s.request(ctx, http.MethodPost, key, url.Values{"uploads": {""}})
	req.Header.Set("Content-Type", body.Type)
	req.Header.Set("X-Amz-Checksum-Algorithm", "SHA256")
	s.sse.ask(req.Header)
	resp, b, e := s.asked(ctx, req, nil)
	if e != nil {
		return "", putFailed(e, On{})
	}
	var begun struct {
		UploadID string `xml:"UploadId"`
	}
	if err := xml.Unmarshal(b, &begun); err != nil || begun.UploadID == "" {
		return "", &Error{Status: resp.StatusCode, Err: errors.New("the store began no upload in parts")}
	}
	upload := begun.UploadID
	defer func() {
		if err != nil { // what was sent is paid for as long as nobody gives it up
			ctx, done := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
			defer done()
			req := s.request(ctx, http.MethodDelete, key, url.Values{"uploadId": {upload}})
			if resp, e := s.send(ctx, req, sha256OfNothing); e == nil {
				drain(resp)
			}
		}
	}()
	if err := s.sse.given(resp); err != nil {
		return "", err
	}
	type part struct {
		PartNumber     int
		ETag           string
		ChecksumSHA256 string
	}
	complete := struct {
		XMLName xml.Name `xml:"CompleteMultipartUpload"`
		Part    []part
	}{}
	for i, sum := range sums {
		p := part{PartNumber: i + 1, ChecksumSHA256: base64.StdEncoding.EncodeToString(sum)}
		err := again(ctx, func() error {
			req := s.request(ctx, http.MethodPut, key,
				url.Values{"partNumber": {strconv.Itoa(p.PartNumber)}, "uploadId": {upload}})
			req.Header.Set("X-Amz-Checksum-Sha256", p.ChecksumSHA256)
			from := int64(i) * size
			src := &section{ctx: ctx, body: body, from: from, size: min(size, body.Size-from)}
			defer src.Close()
			src.attach(req)
			resp, e := s.send(ctx, req, [sha256.Size]byte(sum))
			if e != nil {
				if _, err := src.state(); err != nil {
					return err
				}
				return e
			}
			drain(resp)
			p.ETag = resp.Header.Get("Etag")
			return nil
		})
		if err != nil {
			e := asError(err)
			e.again = false // parts have had their tries
			return "", e
		}
		complete.Part = append(complete.Part, p)
	}
	b, err = xml.Marshal(complete)
	if err != nil {
		return "", err
	}
	req = s.request(ctx, http.MethodPost, key, url.Values{"uploadId": {upload}})
	conditions(req.Header, on)
	resp, b, e = s.asked(ctx, req, b)
	if e != nil {
		return "", putFailed(unsure(e, nil), on)
	}
	var done struct{ ETag string }
	if err := xml.Unmarshal(b, &done); err != nil {
		return "", &Error{Status: resp.StatusCode, Err: fmt.Errorf("%w: %w", ErrUnsure, err)}
	}
	return tagIn(resp, done.ETag)
}

// asked sends a small body, or none, and reads the answer, which may be an error although it says 200.
func (s *s3) asked(ctx context.Context, req *http.Request, body []byte) (*http.Response, []byte, *Error) {
	req.ContentLength = int64(len(body))
	req.Body = io.NopCloser(bytes.NewReader(body))
	if len(body) == 0 {
		req.Body = http.NoBody
	}
	resp, e := s.send(ctx, req, sha256.Sum256(body))
	if e != nil {
		return nil, nil, e
	}
	b, e := readAll(ctx, resp)
	if e != nil {
		return nil, nil, e
	}
	var x s3Refusal
	if err := xml.Unmarshal(b, &x); err == nil && x.XMLName.Local == "Error" {
		e := s.means(resp, x)
		if x.Code == "InternalError" || x.Code == "ServiceUnavailable" {
			e.Status, e.again = http.StatusInternalServerError, true
		}
		return nil, nil, e
	}
	return resp, b, nil
}

// encryption is what a store is asked for, and held to.
type encryption struct {
	algorithm, key string // AES256 or aws:kms, and the key's id; "" for the bucket's own
}

func encryptionOf(s string) (encryption, error) {
	switch {
	case s == "" || s == "AES256" || s == "aws:kms":
		return encryption{algorithm: s}, nil
	case strings.HasPrefix(s, "aws:kms:") && len(s) > len("aws:kms:"):
		return encryption{algorithm: "aws:kms", key: s[len("aws:kms:"):]}, nil
	}
	return encryption{}, fmt.Errorf("encryption %q is none of AES256, aws:kms, aws:kms:KEYID", s)
}

const (
	sseHeader = "X-Amz-Server-Side-Encryption"
	sseKey    = "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"
)

func (c encryption) ask(h http.Header) {
	if c.algorithm != "" {
		h.Set(sseHeader, c.algorithm)
	}
	if c.key != "" {
		h.Set(sseKey, c.key)
	}
}

// given holds an answer against what was asked: there are stores that say 200 and write plain bytes.
func (c encryption) given(resp *http.Response) error {
	algorithm, key := resp.Header.Get(sseHeader), resp.Header.Get(sseKey)
	// The answer has the key's ARN, whichever of its names was asked for; an alias it resolves.
	named := c.key == "" || strings.Contains(c.key, "alias/") && key != "" ||
		key == c.key || strings.HasSuffix(key, "/"+c.key)
	if c.algorithm == "" || algorithm == c.algorithm && named {
		return nil
	}
	if algorithm == "" {
		algorithm = "none"
	}
	return &Error{
		Status: resp.StatusCode, RequestID: resp.Header.Get("X-Amz-Request-Id"),
		Err: fmt.Errorf("the store ignored the encryption that was asked for: %s, and it says %s", c.algorithm, algorithm),
		Hint: "what was put stands there so: delete it, if it must not. Let the bucket encrypt by default and leave " +
			"encryption: out, or take another store",
	}
}
