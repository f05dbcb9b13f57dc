package bucket

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"
)

func openS3(ctx context.Context, at address, o Options) (*s3, error) {
	sse, err := encryptionOf(o.Encryption)
	if err != nil {
		return nil, err
	}
	s := &s3{wire: newWire(o), bucket: at.bucket, sse: sse, single: s3Single, part: s3Part}
	for _, v := range []string{o.Region, o.Getenv("AWS_REGION"), o.Getenv("AWS_DEFAULT_REGION"), profileRegion(o.Getenv)} {
		if s.region == "" {
			s.region = v
		}
	}
	if strings.Trim(s.region, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" { // it goes into a host's name
		return nil, fmt.Errorf("%q is no region", s.region)
	}
	where := o.Endpoint
	for _, v := range []string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"} {
		if where == "" {
			where = o.Getenv(v)
		}
	}
	if where == "" {
		if s.region == "" {
			if s.region, err = s.findRegion(ctx); err != nil {
				return nil, err
			}
		}
		s.host = amazon(s.region, s.bucket)
	} else if s.host, err = endpoint(where); err != nil {
		return nil, err
	} else if h := s.host.Hostname(); strings.HasSuffix(h, ".aliyuncs.com") || strings.HasSuffix(h, ".myqcloud.com") {
		s.host.Host = s.bucket + "." + s.host.Host // these two answer to nothing else
	} else {
		s.host.Path = strings.TrimSuffix(s.host.Path, "/") + "/" + s.bucket
	}
	if s.region == "" {
		s.region = "us-east-1" // what compatible stores take
	}
	s.own = &http.Client{Timeout: 10 * time.Second}
	s.keys = credentials.New(&awsKeys{getenv: o.Getenv, providers: awsProviders(o.Getenv, s.region, s.host)})
	return s, nil
}

// amazon is where a bucket of AWS answers.
func amazon(region, bucket string) *url.URL {
	host := "s3." + region + ".amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		host += ".cn"
	}
	if strings.Contains(bucket, ".") { // the certificate is for one name before the host's
		return &url.URL{Scheme: "https", Host: host, Path: "/" + bucket}
	}
	return &url.URL{Scheme: "https", Host: bucket + "." + host}
}

// findRegion asks AWS where a bucket is, without credentials. It says so even to whoever may do nothing with it.
func (s *s3) findRegion(ctx context.Context) (region string, err error) {
	err = again(ctx, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, "https://s3.amazonaws.com/"+s.bucket, nil)
		if err != nil {
			return err
		}
		resp, err := s.wire.RoundTrip(req)
		if err != nil {
			return lost(ctx, err)
		}
		drain(resp)
		region = resp.Header.Get("X-Amz-Bucket-Region")
		r := refusalOf(resp)
		switch {
		case region != "":
			return nil
		case resp.StatusCode == http.StatusNotFound:
			e := r.error(ErrNoBucket)
			e.Hint = "make the bucket " + s.bucket + ", or see its name; a store that isn't Amazon's needs an endpoint"
			return e
		}
		return r.error(nil)
	})
	return region, err
}

// Signer signs requests to another service of AWS than its stores, by the credentials that S3 takes. The path of such a
// request must be of letters that no URL encodes.
func Signer(getenv func(string) string, region, service string) func(context.Context, *http.Request,
	[sha256.Size]byte) (*http.Request, error) {
	own := &http.Client{Timeout: 10 * time.Second}
	keys := credentials.New(&awsKeys{getenv: getenv, providers: awsProviders(getenv, region, &url.URL{})})
	return func(ctx context.Context, req *http.Request, sum [sha256.Size]byte) (*http.Request, error) {
		key, err := keys.GetWithContext(&credentials.CredContext{Client: own, Context: ctx})
		if err != nil {
			return nil, asError(err)
		}
		req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
		return signer.SignV4WithServiceType(*req, key.AccessKeyID, key.SecretAccessKey, key.SessionToken, region,
			service), nil
	}
}

// awsProviders are the places that keep credentials, in the order of AWS's own programs. What runs on this machine
// itself gets none from the machine's cloud.
func awsProviders(getenv func(string) string, region string, host *url.URL) []credentials.Provider {
	var out []credentials.Provider
	id, secret := getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY")
	if id != "" && secret != "" {
		out = append(out, &credentials.Static{Value: credentials.Value{
			AccessKeyID: id, SecretAccessKey: secret, SessionToken: getenv("AWS_SESSION_TOKEN"),
			SignerType: credentials.SignatureV4,
		}})
	}
	if getenv("HOME") != "" || getenv("AWS_SHARED_CREDENTIALS_FILE") != "" || getenv("AWS_CONFIG_FILE") != "" {
		out = append(out, &credentials.FileAWSCredentials{Profile: getenv("AWS_PROFILE")})
	}
	machine := &credentials.IAM{Region: region}
	machine.EKSIdentity.TokenFile = getenv("AWS_WEB_IDENTITY_TOKEN_FILE")
	machine.EKSIdentity.RoleARN = getenv("AWS_ROLE_ARN")
	machine.EKSIdentity.RoleSessionName = getenv("AWS_ROLE_SESSION_NAME")
	machine.Container.AuthorizationToken = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	machine.Container.CredentialsFullURI = getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	machine.Container.CredentialsRelativeURI = getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
	if machine.EKSIdentity.TokenFile != "" || machine.Container.CredentialsFullURI != "" ||
		machine.Container.CredentialsRelativeURI != "" ||
		!loopback(host.Hostname()) && !strings.EqualFold(getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		out = append(out, machine)
	}
	return out
}

// awsKeys asks one place after the other. Unlike minio-go's own chain it says what each of them answered, and takes no
// credentials at all for an error.
type awsKeys struct {
	getenv    func(string) string
	providers []credentials.Provider
	used      credentials.Provider
}

func (k *awsKeys) RetrieveWithCredContext(c *credentials.CredContext) (credentials.Value, error) {
	var all []string
	for _, p := range k.providers {
		v, err := p.RetrieveWithCredContext(c)
		if err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "" {
			k.used = p
			return v, nil
		}
		if err != nil {
			all = append(all, plain(err).Error())
		}
	}
	err := error(ErrRights)
	if len(all) > 0 {
		err = fmt.Errorf("%w: %s", ErrRights, strings.Join(all, "; "))
	}
	return credentials.Value{}, &Error{Err: fmt.Errorf("no credentials: %w", err),
		Hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine or pod a role"}
}

func (k *awsKeys) Retrieve() (credentials.Value, error) { return k.RetrieveWithCredContext(nil) }

func (k *awsKeys) IsExpired() bool { return k.used == nil || k.used.IsExpired() }

// profileRegion is the region of the profile in AWS's config file, "" if there is none.
func profileRegion(getenv func(string) string) string {
	path := getenv("AWS_CONFIG_FILE")
	if path == "" && getenv("HOME") != "" {
		path = filepath.Join(getenv("HOME"), ".aws", "config")
	}
	section := "default"
	if p := getenv("AWS_PROFILE"); p != "" && p != "default" {
		section = "profile " + p
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	in := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if name, ok := strings.CutPrefix(line, "["); ok {
			in = strings.Join(strings.Fields(strings.TrimSuffix(name, "]")), " ") == section
			continue
		}
		if k, v, ok := strings.Cut(line, "="); in && ok && strings.TrimSpace(k) == "region" {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
