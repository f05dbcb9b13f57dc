package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"iter"
	"net/http"
	"time"
)

// Tag names one state of an object: the ETag of S3 and Azure without its quotes, Google's generation, the digest of a
// file. It is opaque: two are the same or they aren't. S3 and file:// give the same bytes the same Tag, whoever put
// them.
type Tag string

// On is what a Put depends on. The zero value depends on nothing: what is there is overwritten.
type On struct {
	Absent bool // only if there is no object of that name
	Match  Tag  // only over this state; "" for any
}

// Body is what is put. It can be read more than once, so that a put can be repeated.
type Body struct {
	Size   int64 // in bytes
	SHA256 [sha256.Size]byte
	Open   func() (io.ReadCloser, error) // from its first byte, each time
	Type   string                        // the content type, "" for application/octet-stream
}

// Bytes is a Body of what is at hand. The bytes must stay as they are until it was put.
func Bytes(b []byte) Body {
	return Body{
		Size: int64(len(b)), SHA256: sha256.Sum256(b),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil },
	}
}

// Object is one object as a listing or a Get shows it.
type Object struct {
	Key      string // relative to the prefix of the bucket's URL
	Size     int64  // in bytes
	Tag      Tag
	Modified time.Time // UTC, by the store's clock; how exact is the store's matter
}

// Bucket is a place for objects. Keys are relative to the prefix of its URL, and as CheckKey has them. Every error is
// an *Error. Its methods may be called at once from several goroutines.
type Bucket interface {
	// Get opens an object: the bytes of one state, and which one. ErrAbsent if there is none. What comes is cut short only
	// with an error. The caller closes it.
	Get(ctx context.Context, key string) (io.ReadCloser, Object, error)
	// Put writes an object whole, if on holds, and returns its new state. ErrTaken says that it doesn't, ErrUnsure that
	// nobody can tell whether the object was written.
	Put(ctx context.Context, key string, body Body, on On) (Tag, error)
	// List goes over the objects whose key begins with prefix, which may be "" and may end within a name. They come in no
	// particular order. It ends with the first error. Keys are as the store has them: one that CheckKey refuses was put
	// there by somebody else. Folder markers, names that end with a slash, are passed over.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Delete removes an object. One that isn't there is no error.
	Delete(ctx context.Context, key string) error
	// URL is where the bucket is, as it was opened, without a slash at the end. It holds no secrets.
	URL() string
}

// Options are what a URL doesn't say. The zero value is right for the three clouds themselves, but for Getenv.
type Options struct {
	// Endpoint is that of a compatible store: https://HOST[:PORT], and http:// for loopback alone. With az:// it is the
	// account's, with the account in its path where the store has it there, as emulators do. "" is the cloud's own, or
	// what its own variable names (AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL; STORAGE_EMULATOR_HOST; a connection string).
	Endpoint string
	Region   string // of s3: "" for the environment's or the profile's
	// Encryption that an S3 store is asked for: "" for the bucket's default, AES256, aws:kms, or aws:kms:KEYID. A store
	// that answers without it is refused.
	Encryption string
	// Getenv is where credentials are named, as os.Getenv; nil is an empty environment. The clouds' own libraries look
	// into the process's environment besides, for profiles of AWS, identities of Azure, Google's gcloud.
	Getenv    func(string) string
	Transport http.RoundTripper // nil for a default
	UserAgent string            // sent with each request; "" for usagelake
}

// Open makes a Bucket of a URL. It asks no store anything yet, but reads where credentials are kept; of a bucket of
// Amazon's whose region nobody says it asks where that is.
//
//	s3://BUCKET[/PREFIX]              S3 or a compatible
//	gs://BUCKET[/PREFIX]              Google Cloud Storage
//	az://ACCOUNT/CONTAINER[/PREFIX]   Azure Blob Storage: the container of a storage account
//	file:///DIRECTORY                 a directory, an absolute path
//
// A URL is taken as it is written: nothing in it is percent-encoded. A user, a password or a query in it is refused.
func Open(ctx context.Context, url string, o Options) (Bucket, error) {
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	if o.UserAgent == "" {
		o.UserAgent = "usagelake"
	}
	at, err := parse(url)
	if err != nil {
		return nil, dress(err, "open", hideUser(url))
	}
	var s store
	switch at.scheme {
	case "s3":
		s, err = openS3(ctx, at, o)
	case "gs":
		s, err = openGCS(ctx, at, o)
	case "az":
		s, err = openAzure(at, o)
	default:
		s, err = openFiles(at)
	}
	if err != nil {
		return nil, dress(err, "open", at.String())
	}
	return &guard{store: s, at: at}, nil
}
