package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// azure speaks to Azure Blob Storage by Microsoft's library, whose own retries are off.
type azure struct {
	container *container.Client
	name      string // of the container
	signsIn   bool   // by a token, and not by a key
	// Bodies above single go in blocks of block bytes at least.
	single, block int64
}

// Azure's own limits: a put of 5,000 MiB, 50,000 blocks.
const (
	azureSingle = 5000 << 20
	azureBlock  = 64 << 20
	azureBlocks = 50_000
)

func openAzure(at address, o Options) (*azure, error) {
	s := &azure{name: at.bucket, single: azureSingle, block: azureBlock}
	opts := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
		Transport: &http.Client{
			Transport:     newWire(o),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}}
	set, err := connectionString(o.Getenv("AZURE_STORAGE_CONNECTION_STRING"))
	if err != nil {
		return nil, err
	}
	if name := set["AccountName"]; name != "" && name != at.account {
		return nil, fmt.Errorf("AZURE_STORAGE_CONNECTION_STRING is for the account %s, the URL for %s", name, at.account)
	}
	if set["AccountKey"] == "" && o.Getenv("AZURE_STORAGE_KEY") != "" {
		if name := o.Getenv("AZURE_STORAGE_ACCOUNT"); name == "" || name == at.account {
			set["AccountKey"] = o.Getenv("AZURE_STORAGE_KEY")
		}
	}
	where := o.Endpoint
	if where == "" {
		where = set["BlobEndpoint"]
	}
	if where == "" {
		suffix := set["EndpointSuffix"]
		if suffix == "" {
			suffix = "core.windows.net"
		}
		where = "https://" + at.account + ".blob." + suffix
	}
	u, err := endpoint(where)
	if err != nil {
		return nil, err
	}
	u = u.JoinPath(at.bucket)
	switch {
	case set["AccountKey"] != "":
		key, err := container.NewSharedKeyCredential(at.account, set["AccountKey"])
		if err != nil { // which may show the key
			return nil, errors.New("the account's key is no base64: see AZURE_STORAGE_KEY or AZURE_STORAGE_CONNECTION_STRING")
		}
		s.container, err = container.NewClientWithSharedKeyCredential(u.String(), key, opts)
		return s, err
	case set["SharedAccessSignature"] != "":
		u.RawQuery = strings.TrimPrefix(set["SharedAccessSignature"], "?")
		s.container, err = container.NewClientWithNoCredential(u.String(), opts)
		if err != nil {
			return nil, errors.New("the shared access signature of AZURE_STORAGE_CONNECTION_STRING can't be used")
		}
		return s, nil
	}
	id, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, &Error{Err: fmt.Errorf("no credentials: %w: %s", ErrRights, firstLine(err)), Hint: azureSignIn}
	}
	s.signsIn = true
	s.container, err = container.NewClient(u.String(), id, opts)
	return s, err
}

const azureSignIn = "run az login, or set AZURE_STORAGE_KEY, AZURE_STORAGE_CONNECTION_STRING or a service principal " +
	"(AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET), or give the machine or pod an identity"

// connectionString takes one apart. Its errors show nothing of it.
func connectionString(s string) (map[string]string, error) {
	out := map[string]string{}
	for part := range strings.SplitSeq(strings.Trim(s, "; \n"), ";") {
		k, v, ok := strings.Cut(part, "=")
		if !ok && part != "" {
			return nil, errors.New("AZURE_STORAGE_CONNECTION_STRING is not NAME=VALUE;NAME=VALUE")
		}
		out[k] = v
	}
	return out, nil
}

// fails says what an error of the library comes to.
func (s *azure) fails(ctx context.Context, err error, f *flight) *Error {
	if f.err != nil {
		return lost(ctx, f.err)
	}
	var x *azcore.ResponseError
	if !errors.As(err, &x) {
		if ctx.Err() != nil {
			return &Error{Err: ctx.Err()}
		}
		if f.answer != nil { // that couldn't be read
			e := lost(ctx, err)
			e.Status = f.answer.StatusCode
			return e
		}
		if s.signsIn { // nothing was sent: there is no token to send
			return &Error{Err: fmt.Errorf("no token: %w: %s", ErrRights, firstLine(err)), Hint: azureSignIn}
		}
		return &Error{Err: errors.New(firstLine(plain(err)))}
	}
	r := refusal{status: x.StatusCode, code: x.ErrorCode}
	if x.RawResponse != nil {
		r = refusalOf(x.RawResponse)
		r.code = x.ErrorCode
		r.id = x.RawResponse.Header.Get("X-Ms-Request-Id")
		r.message = azureMessage(x.RawResponse)
	}
	switch r.code {
	case "ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled":
		e := r.error(ErrNoBucket)
		e.Hint = "make the container " + s.name + ", or see its name and the account's"
		return e
	case "BlobNotFound":
		return r.error(ErrAbsent)
	case "BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet":
		return r.error(ErrTaken)
	case "Md5Mismatch", "Crc64Mismatch":
		e := r.error(errors.New("the store got other bytes than were to be put"))
		e.Hint = "something changed the file while it was put, or the bytes on their way: run it again"
		return e
	case "InvalidBlockList": // another writer's commit drops the blocks of all
		return r.conflict()
	}
	e := r.error(nil)
	if errors.Is(e, ErrRights) && e.Hint == "" {
		e.Hint = "give these credentials the role Storage Blob Data Contributor on the container " + s.name +
			", or see whether the key is that of the account"
	}
	return e
}

// azureMessage is the first line of what an answer says; the library keeps its body.
func azureMessage(resp *http.Response) string {
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return ""
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	var x struct{ Message string }
	_ = xml.Unmarshal(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), &x)
	return firstLine(errors.New(x.Message))
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return strings.TrimSpace(line)
}

func (s *azure) blob(key string) *blockblob.Client { return s.container.NewBlockBlobClient(key) }

func (s *azure) get(ctx context.Context, key string) (io.ReadCloser, Object, error) {
	ctx, f := withFlight(ctx)
	resp, err := s.blob(key).DownloadStream(ctx, nil)
	if err != nil {
		return nil, Object{}, s.fails(ctx, err, f)
	}
	o := Object{Key: key, Size: -1}
	if resp.ContentLength != nil {
		o.Size = *resp.ContentLength
	}
	if resp.ETag != nil {
		o.Tag = bare(string(*resp.ETag))
	}
	if resp.LastModified != nil {
		o.Modified = resp.LastModified.UTC()
	}
	return resp.Body, o, nil
}

func azureConditions(on On) *blob.AccessConditions {
	var c blob.ModifiedAccessConditions
	if on.Absent {
		any := azcore.ETagAny
		c.IfNoneMatch = &any
	}
	if on.Match != "" {
		tag := azcore.ETag(`"` + string(on.Match) + `"`)
		c.IfMatch = &tag
	}
	return &blob.AccessConditions{ModifiedAccessConditions: &c}
}

func (s *azure) put(ctx context.Context, key string, body Body, on On) (Tag, error) {
	size := body.Size
	if body.Size > s.single {
		size = max(s.block, (body.Size+azureBlocks-1)/azureBlocks)
	}
	sums, err := partSums(ctx, body, max(size, 1), md5.New)
	if err != nil {
		return "", err
	}
	headers := &blob.HTTPHeaders{BlobContentType: &body.Type}
	var tag *azcore.ETag
	var e *Error
	if body.Size <= s.single {
		ctx, f := withFlight(ctx)
		src := whole(ctx, body)
		defer src.Close()
		resp, err := s.blob(key).Upload(ctx, src, &blockblob.UploadOptions{
			HTTPHeaders: headers, AccessConditions: azureConditions(on),
			TransactionalValidation: blob.TransferValidationTypeMD5(sums[0]),
		})
		if err != nil {
			e = unsure(s.fails(ctx, err, f), src)
		}
		tag = resp.ETag
	} else {
		ids, err := s.stage(ctx, key, body, size, sums)
		if err != nil {
			return "", err
		}
		ctx, f := withFlight(ctx)
		resp, err := s.blob(key).CommitBlockList(ctx, ids, &blockblob.CommitBlockListOptions{
			HTTPHeaders: headers, AccessConditions: azureConditions(on),
		})
		if err != nil {
			e = unsure(s.fails(ctx, err, f), nil)
		}
		tag = resp.ETag
	}
	if e != nil {
		if errors.Is(e, ErrAbsent) && on.Match != "" {
			e.Err = ErrTaken
		}
		return "", e
	}
	if tag == nil {
		return "", &Error{Err: fmt.Errorf("%w: the store answered without an ETag", ErrUnsure)}
	}
	return bare(string(*tag)), nil
}

// stage sends the blocks of a large body. Their names begin with a random number: whoever puts the same key at once
// stages others, and doesn't mix his in.
func (s *azure) stage(ctx context.Context, key string, body Body, size int64, sums [][]byte) ([]string, error) {
	var name [12]byte
	_, _ = rand.Read(name[:8]) // never fails
	ids := make([]string, len(sums))
	for i, sum := range sums {
		binary.BigEndian.PutUint32(name[8:], uint32(i))
		ids[i] = base64.StdEncoding.EncodeToString(name[:])
		from := int64(i) * size
		err := again(ctx, func() error {
			ctx, f := withFlight(ctx)
			src := &section{ctx: ctx, body: body, from: from, size: min(size, body.Size-from)}
			defer src.Close()
			_, err := s.blob(key).StageBlock(ctx, ids[i], src, &blockblob.StageBlockOptions{
				TransactionalValidation: blob.TransferValidationTypeMD5(sum),
			})
			if err == nil {
				return nil
			}
			if _, err := src.state(); err != nil {
				return err
			}
			return s.fails(ctx, err, f)
		})
		if err != nil {
			e := asError(err)
			e.again = false // blocks have had their tries
			return nil, e
		}
	}
	return ids, nil
}

func (s *azure) page(ctx context.Context, prefix, from string) ([]Object, string, error) {
	opts := &container.ListBlobsFlatOptions{}
	if prefix != "" {
		opts.Prefix = &prefix
	}
	if from != "" {
		opts.Marker = &from
	}
	ctx, f := withFlight(ctx)
	resp, err := s.container.NewListBlobsFlatPager(opts).NextPage(ctx)
	if err != nil {
		e := s.fails(ctx, err, f)
		if e.Status == http.StatusNotFound && !errors.Is(e, ErrNoBucket) {
			e.Err = fmt.Errorf("%w: %w", ErrNoBucket, e.Err)
		}
		return nil, "", e
	}
	var list []Object
	if resp.Segment != nil {
		for _, b := range resp.Segment.BlobItems {
			if b.Name == nil || b.Properties == nil {
				continue
			}
			o := Object{Key: *b.Name, Size: -1}
			if p := b.Properties; p.ContentLength != nil {
				o.Size = *p.ContentLength
			}
			if b.Properties.ETag != nil {
				o.Tag = bare(string(*b.Properties.ETag))
			}
			if b.Properties.LastModified != nil {
				o.Modified = b.Properties.LastModified.UTC()
			}
			list = append(list, o)
		}
	}
	next := ""
	if resp.NextMarker != nil {
		next = *resp.NextMarker
	}
	return list, next, nil
}

func (s *azure) delete(ctx context.Context, key string) error {
	ctx, f := withFlight(ctx)
	_, err := s.blob(key).Delete(ctx, nil)
	if err == nil {
		return nil
	}
	e := s.fails(ctx, err, f)
	if errors.Is(e, ErrAbsent) {
		return nil
	}
	return e
}
