package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"unicode"
)

// What a caller goes by. Every other error is one of the catalog or the network.
var (
	// ErrAbsent says that there is no table of that name.
	ErrAbsent = errors.New("there is no such table")
	// ErrTaken says that somebody else has changed the table, or made one of that name.
	ErrTaken = errors.New("somebody else has changed it")
	// ErrRights says that there are no or wrong credentials, or that they don't suffice (401, 403).
	ErrRights = errors.New("not allowed")
	// ErrUnsure says that the answer of a Create or a Commit was lost: it may have been done.
	ErrUnsure = errors.New("the answer was lost: it may have been done")
)

// Options are where a table's catalog is, and who asks.
type Options struct {
	URI       string // https://HOST[/PATH], to which v1/… is added; http:// within this machine alone
	Warehouse string // which of the catalog's; "" if it has one
	Table     string // NAMESPACE.NAME, of a namespace in another one A.B.NAME

	// One of these, or none where the catalog asks for none.
	Token  string // a bearer token
	Client Client
	// Sign signs a request whose body has a SHA-256.
	Sign func(ctx context.Context, req *http.Request, sum [sha256.Size]byte) (*http.Request, error)

	Transport http.RoundTripper // nil for a default
	UserAgent string
}

// Client is who gets a token by OAuth2's client credentials.
type Client struct {
	ID, Secret string
	TokenURI   string // "" for the catalog's own, v1/oauth/tokens
	Scope      string // "" for "catalog"
}

// Catalog is a table's place in a catalog. Its methods are called one at a time.
type Catalog struct {
	o     Options
	uri   *url.URL
	table []string
	wire  http.RoundTripper
	n     atomic.Int64

	begun  bool
	prefix string // of the paths, by the catalog's own word
	token  string
}

// Check says what is wrong with options, as far as it can be told without asking anybody.
func Check(o Options) error {
	_, err := Open(o)
	return err
}

// Open makes a Catalog of options. It asks nobody anything yet.
func Open(o Options) (*Catalog, error) {
	uri, err := address("the catalog", o.URI)
	if err != nil {
		return nil, err
	}
	if o.Client.TokenURI != "" {
		if _, err := address("the address for tokens", o.Client.TokenURI); err != nil {
			return nil, err
		}
	}
	table := strings.Split(o.Table, ".")
	if len(table) < 2 || slices.ContainsFunc(table, func(s string) bool {
		return s == "" || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '/' })
	}) {
		return nil, fmt.Errorf("the table %q is not NAMESPACE.NAME", o.Table)
	}
	if o.Sign != nil && (len(table) > 2 || !signable.MatchString(uri.Path+o.Table)) {
		return nil, fmt.Errorf("the table %q has letters that a signed request can't have, or more than one namespace",
			o.Table)
	}
	c := &Catalog{o: o, uri: uri, table: table, wire: o.Transport, token: o.Token}
	if c.wire == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = answerAfter
		c.wire = t
	}
	return c, nil
}

// signable are paths that are the same whether a signature is over their letters or over how a URL encodes them.
var signable = regexp.MustCompile(`^[A-Za-z0-9._~/-]*$`)

// address takes the URL of a catalog, or of who gives its tokens.
func address(what, s string) (*url.URL, error) {
	bad := func(why string) error { return errors.New(what + " " + why) }
	u, err := url.Parse(s)
	switch {
	case err != nil: // whose text has all of it
		return nil, bad("is no URL")
	case u.User != nil:
		return nil, bad("holds a user or password: credentials come from the environment or a file")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, bad("holds a query")
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, bad("is not https://HOST[/PATH]")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, bad("is http://, which is for this machine itself alone: credentials would cross the network readably")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// URI is where the catalog is, and which of its warehouses. It holds no secrets.
func (c *Catalog) URI() string {
	u := *c.uri
	if c.o.Warehouse != "" {
		u.RawQuery = url.Values{"warehouse": {c.o.Warehouse}}.Encode()
	}
	return u.String()
}

// Name is the table's, with its namespace before it.
func (c *Catalog) Name() string { return c.o.Table }

// Requests is how many were sent so far.
func (c *Catalog) Requests() int64 { return c.n.Load() }

// Load is the table's metadata as they are now, by the Iceberg table spec. ErrAbsent if there is none.
func (c *Catalog) Load(ctx context.Context) (json.RawMessage, error) {
	return c.answered(ctx, "load", request{method: http.MethodGet, name: c.table[len(c.table)-1], again: true})
}

// Create makes the table of what the protocol's CreateTableRequest says besides the name. ErrTaken if there is one.
func (c *Catalog) Create(ctx context.Context, what map[string]any) (json.RawMessage, error) {
	body := map[string]any{"name": c.table[len(c.table)-1]}
	for k, v := range what {
		body[k] = v
	}
	return c.answered(ctx, "create", request{method: http.MethodPost, body: body})
}

// Commit makes updates of the table, all or none, if every requirement holds; both as the protocol has them. The
// metadata are what they have become.
func (c *Catalog) Commit(ctx context.Context, requirements, updates []any) (json.RawMessage, error) {
	body := map[string]any{"requirements": requirements, "updates": updates}
	return c.answered(ctx, "commit to", request{method: http.MethodPost, name: c.table[len(c.table)-1], body: body})
}

// answered asks for something about the table; op says what, for errors.
func (c *Catalog) answered(ctx context.Context, op string, r request) (json.RawMessage, error) {
	var out struct{ Metadata json.RawMessage }
	err := c.begin(ctx)
	if err == nil {
		r.url = c.path("namespaces", strings.Join(c.table[:len(c.table)-1], "\x1f"), "tables", r.name)
		if err = c.ask(ctx, r, &out); err == nil && len(out.Metadata) == 0 {
			err = r.unsure(&Error{Err: errors.New("the answer has no table")})
		}
	}
	if err != nil {
		return nil, c.dress(err, op)
	}
	return out.Metadata, nil
}

// begin gets a token, if it takes one, and asks the catalog how to go on.
func (c *Catalog) begin(ctx context.Context) error {
	if c.begun {
		return nil
	}
	if c.o.Client.ID != "" {
		if err := c.login(ctx); err != nil {
			return err
		}
	}
	u := c.path("config")
	if c.o.Warehouse != "" {
		u.RawQuery = url.Values{"warehouse": {c.o.Warehouse}}.Encode()
	}
	var conf struct{ Defaults, Overrides map[string]string }
	if err := c.ask(ctx, request{method: http.MethodGet, url: u, again: true}, &conf); err != nil {
		return err
	}
	for _, from := range []map[string]string{conf.Defaults, conf.Overrides} {
		if p, ok := from["prefix"]; ok {
			if c.prefix = strings.Trim(p, "/"); !plainPrefix(c.prefix) || c.o.Sign != nil && !signable.MatchString(p) {
				return &Error{Err: fmt.Errorf("the catalog names the prefix %q, which is no path that can be asked for", p)}
			}
		}
		if s, ok := from["uri"]; ok {
			u, err := address("the address that the catalog gives as its own", s)
			if err != nil {
				return &Error{Err: err}
			}
			if u.Scheme != c.uri.Scheme || u.Host != c.uri.Host {
				return &Error{Err: fmt.Errorf("the catalog says that it is at %s://%s", u.Scheme, u.Host),
					Hint: "if that is right, write that address into the config: credentials go to no host that it doesn't name"}
			}
			c.uri = u
		}
	}
	c.begun = true
	return nil
}

// plainPrefix says of a prefix that it leads nowhere else.
func plainPrefix(p string) bool {
	u, err := url.Parse("/" + p)
	return err == nil && u.RawQuery == "" && u.Fragment == "" && u.Host == "" &&
		!slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == ".." || s == "." })
}

// path is a URL of the catalog. What the catalog gave as its prefix stands as it was given.
func (c *Catalog) path(elem ...string) *url.URL {
	raw := c.uri.EscapedPath() + "/v1"
	if c.prefix != "" {
		raw += "/" + c.prefix
	}
	for _, e := range elem {
		if e != "" {
			raw += "/" + strings.ReplaceAll(url.QueryEscape(e), "+", "%20")
		}
	}
	u := *c.uri
	u.RawPath = raw
	u.Path, _ = url.PathUnescape(raw) // it was escaped just now, or taken by plainPrefix
	return &u
}
