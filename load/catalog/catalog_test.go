package catalog_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load/catalog"
	"github.com/usagelake/usagelake/load/catalog/catalogtest"
)

func open(t testing.TB, o catalog.Options) *catalog.Catalog {
	t.Helper()
	if o.Table == "" {
		o.Table = "finance.usage"
	}
	c, err := catalog.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func table(location string) map[string]any {
	return map[string]any{"location": location, "properties": map[string]string{"format-version": "2"},
		"schema": map[string]any{"type": "struct", "schema-id": 0, "fields": []any{
			map[string]any{"id": 1, "name": "account", "type": "string", "required": false}}}}
}

func set(name, value string) []any {
	return []any{map[string]any{"action": "set-properties", "updates": map[string]string{name: value}}}
}

// TestTheProtocol at Apache Iceberg's own implementation of it.
func TestTheProtocol(t *testing.T) {
	at := catalogtest.Namespace(t, "finance")
	c := open(t, catalog.Options{URI: at + "/", Warehouse: "main"})
	if c.URI() != at+"?warehouse=main" {
		t.Errorf("it is at %s", c.URI())
	}
	if _, err := c.Load(t.Context()); !errors.Is(err, catalog.ErrAbsent) {
		t.Errorf("a table that isn't there: %v", err)
	}
	if _, err := c.Commit(t.Context(), []any{}, set("a", "b")); !errors.Is(err, catalog.ErrAbsent) {
		t.Errorf("a commit to a table that isn't there: %v", err)
	}
	made, err := c.Create(t.Context(), table(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), table(t.TempDir())); !errors.Is(err, catalog.ErrTaken) {
		t.Errorf("made twice: %v", err)
	}
	var m struct {
		UUID       string `json:"table-uuid"`
		Properties map[string]string
	}
	if err := json.Unmarshal(made, &m); err != nil {
		t.Fatal(err)
	}
	was := []any{map[string]any{"type": "assert-table-uuid", "uuid": m.UUID}}
	if _, err := c.Commit(t.Context(), was, set("one", "1")); err != nil {
		t.Fatal(err)
	}
	other := []any{map[string]any{"type": "assert-table-uuid", "uuid": "00000000-0000-4000-8000-000000000000"}}
	if _, err := c.Commit(t.Context(), other, set("one", "2")); !errors.Is(err, catalog.ErrTaken) {
		t.Errorf("a requirement that doesn't hold: %v", err)
	}
	there, err := c.Load(t.Context())
	if err != nil || json.Unmarshal(there, &m) != nil || m.Properties["one"] != "1" {
		t.Errorf("%s, %v", there, err)
	}
	nowhere := open(t, catalog.Options{URI: at, Table: "no.such"})
	if _, err := nowhere.Create(t.Context(), table(t.TempDir())); err == nil || errors.Is(err, catalog.ErrAbsent) ||
		!strings.Contains(err.Error(), "hint: make the namespace") {
		t.Errorf("a namespace that isn't there: %v", err)
	}
	// Names that a URL can't have as they are.
	catalogtest.Namespace(t, "fin ance")
	odd := open(t, catalog.Options{URI: at, Table: "fin ance.us+age ü"})
	if _, err := odd.Create(t.Context(), table(t.TempDir())); err != nil {
		t.Fatal(err)
	}
	if _, err := odd.Load(t.Context()); err != nil {
		t.Error(err)
	}
}

// server is a catalog that answers by path: v1/config and the like.
func server(t *testing.T, answers map[string]func(http.ResponseWriter, *http.Request)) (at string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.Method+" "+r.URL.EscapedPath())
		for suffix, answer := range answers {
			if strings.HasSuffix(r.URL.EscapedPath(), suffix) {
				answer(w, r)
				return
			}
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

type answers = map[string]func(http.ResponseWriter, *http.Request)

func says(status int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-Id", "req-7")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

const (
	aTable = `{"metadata-location":"s3://b/m.json","metadata":{"format-version":2}}`
	secret = "notasecretbutmustnotbeseen"
)

// TestWhereACatalogSaysThatItIs: prefixes of paths, warehouses, and a host that isn't the one that was named.
func TestWhereACatalogSaysThatItIs(t *testing.T) {
	for conf, want := range map[string]string{
		`{"defaults":{},"overrides":{}}`:                                 "/api/v1/namespaces/a%1Fb/tables/usage",
		`{"defaults":{"prefix":"main"}}`:                                 "/api/v1/main/namespaces/a%1Fb/tables/usage",
		`{"defaults":{"prefix":"x"},"overrides":{"prefix":"cat/1%3A2"}}`: "/api/v1/cat/1%3A2/namespaces/a%1Fb/tables/usage",
		`{"overrides":{"uri":"HOST/other/"}}`:                            "/other/v1/namespaces/a%1Fb/tables/usage",
		`{"overrides":{"uri":"https://elsewhere.example/api"}}`:          "it is at https://elsewhere.example",
		`{"overrides":{"prefix":"../../admin"}}`:                         "which is no path that can be asked for",
		`{"overrides":{"prefix":"a?b"}}`:                                 "which is no path that can be asked for",
		`<html>`:                                                         "the answer isn't the protocol's",
	} {
		var warehouse string
		var at string
		at, asked := server(t, answers{
			"/v1/config": func(w http.ResponseWriter, r *http.Request) {
				warehouse = r.URL.Query().Get("warehouse")
				_, _ = w.Write([]byte(strings.ReplaceAll(conf, "HOST", at)))
			},
			"/tables/usage": says(200, aTable),
		})
		c := open(t, catalog.Options{URI: at + "/api", Warehouse: "s3://w 1/x", Table: "a.b.usage"})
		_, err := c.Load(t.Context())
		if warehouse != "s3://w 1/x" || (*asked)[0] != "GET /api/v1/config" {
			t.Errorf("%s: asked for %q: %q", conf, warehouse, *asked)
		}
		if strings.HasPrefix(want, "/") {
			if err != nil || len(*asked) != 2 || (*asked)[1] != "GET "+want {
				t.Errorf("%s: %v, asked %q, want %s", conf, err, *asked, want)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) || len(*asked) != 1 {
			t.Errorf("%s: %v, want %q; asked %q", conf, err, want, *asked)
		}
	}
}

// TestCredentials: a token, or a client that gets one; they go where they must, and are in no error.
func TestCredentials(t *testing.T) {
	const got = "gottokenmustnotbeseen"
	var bearer []string
	takes := func(want string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			bearer = append(bearer, r.Header.Get("Authorization"))
			if r.Header.Get("Authorization") != "Bearer "+want {
				says(401, fmt.Sprintf(`{"error":{"message":"not %s","type":"NotAuthorizedException","code":401}}`,
					url.QueryEscape(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))))(w, r)
				return
			}
			if strings.HasSuffix(r.URL.Path, "config") {
				says(200, `{}`)(w, r)
				return
			}
			says(200, aTable)(w, r)
		}
	}
	var form url.Values
	tokens := func(w http.ResponseWriter, r *http.Request) {
		if bearer = append(bearer, r.Header.Get("Authorization")); r.ParseForm() == nil {
			form = r.PostForm
		}
		if form.Get("client_secret") != secret {
			says(400, `{"error":"invalid_client","error_description":"`+form.Get("client_secret")+` is wrong"}`)(w, r)
			return
		}
		says(200, `{"access_token":"`+got+`","token_type":"bearer"}`)(w, r)
	}
	at, _ := server(t, answers{"/config": takes(secret), "/tables/usage": takes(secret)})
	if _, err := open(t, catalog.Options{URI: at, Token: secret}).Load(t.Context()); err != nil {
		t.Error(err)
	}
	_, err := open(t, catalog.Options{URI: at, Token: secret + "x"}).Load(t.Context())
	refused(t, err, "request req-7", "hint: see the token")
	_, err = open(t, catalog.Options{URI: at}).Load(t.Context())
	refused(t, err, "hint: the catalog asks for credentials")

	at, _ = server(t, answers{"/config": takes(got), "/tables/usage": takes(got), "/v1/oauth/tokens": tokens,
		"/elsewhere/token": tokens})
	client := catalog.Client{ID: "me", Secret: secret}
	if _, err := open(t, catalog.Options{URI: at, Client: client}).Load(t.Context()); err != nil || form.Get("scope") !=
		"catalog" || form.Get("grant_type") != "client_credentials" || form.Get("client_id") != "me" {
		t.Errorf("%v, asked %v", err, form)
	}
	bearer = nil
	client.TokenURI, client.Scope = at+"/elsewhere/token", "all"
	c := open(t, catalog.Options{URI: at, Client: client})
	for range 2 {
		if _, err := c.Load(t.Context()); err != nil || form.Get("scope") != "all" {
			t.Errorf("%v, asked %v", err, form)
		}
	}
	if len(bearer) != 4 || bearer[0] != "" || c.Requests() != 4 { // one token, one config
		t.Errorf("%d requests with %q", c.Requests(), bearer)
	}
	client.Secret = secret + "x"
	_, err = open(t, catalog.Options{URI: at, Client: client}).Load(t.Context())
	refused(t, err, "get a token from "+at+"/elsewhere/token: invalid_client", "hint: see client_id")
}

// refused says that an error is ErrRights, or a client that isn't known, and shows no secret.
func refused(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "mustnotbeseen") {
		t.Errorf("it shows a secret, or none was refused: %v", err)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%v, want %q", err, p)
		}
	}
}

// TestWhatAnswersMean: what is asked again, what isn't, and what nobody can tell.
func TestWhatAnswersMean(t *testing.T) {
	const config = "/v1/config"
	for name, x := range map[string]struct {
		answer       func(http.ResponseWriter, *http.Request)
		load, commit error // nil: some other error
		loads        int   // requests that a Load takes, with the config
		part         string
	}{
		"somebody else's page": {says(404, "<html>"), nil, nil, 2, "see the catalog's address"},
		"no table": {says(404, `{"error":{"message":"no","type":"NoSuchTableException","code":404}}`), catalog.ErrAbsent,
			catalog.ErrAbsent, 2, "no (HTTP 404, request req-7)"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/v1/config", http.StatusTemporaryRedirect)
		}, nil, nil, 2,
			"redirects"},
		"forbidden": {says(403, `{"error":{"message":"no","type":"ForbiddenException","code":403}}`), catalog.ErrRights,
			catalog.ErrRights, 2, "ForbiddenException"},
		"conflict": {says(409, `{}`), catalog.ErrTaken, catalog.ErrTaken, 2, "Conflict"},
		"bad":      {says(400, `{"error":{"message":"a \u001b[31mbad one","type":"Bad"}}`), nil, nil, 2, "Bad: a"},
		"another time": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(-2*time.Minute).UTC().Format(http.TimeFormat))
			says(400, `{"error":{"message":"Invalid update timestamp","type":"IllegalArgumentException"}}`)(w, r)
		}, nil, nil, 2, "clock is 2m off"},
		"failed":   {says(500, ``), catalog.ErrUnsure, catalog.ErrUnsure, 6, "Internal Server Error"},
		"gateway":  {says(502, `<html>`), catalog.ErrUnsure, catalog.ErrUnsure, 6, "Bad Gateway"},
		"not made": {says(501, ``), nil, nil, 2, "Not Implemented"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{`))
		}, catalog.ErrUnsure, catalog.ErrUnsure, 6, "EOF"},
		"nothing":    {says(200, `{}`), catalog.ErrUnsure, catalog.ErrUnsure, 2, "has no table"},
		"not a JSON": {says(200, `OK`), catalog.ErrUnsure, catalog.ErrUnsure, 2, "isn't the protocol's"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, asked := server(t, answers{config: says(200, `{}`), "/tables/usage": x.answer})
			_, err := open(t, catalog.Options{URI: at}).Load(t.Context())
			kind(t, "load", err, x.load, catalog.ErrUnsure)
			if len(*asked) != x.loads || !strings.Contains(err.Error(), x.part) {
				t.Errorf("%d requests, want %d: %v, want %q", len(*asked), x.loads, err, x.part)
			}
			*asked = nil
			_, err = open(t, catalog.Options{URI: at}).Commit(t.Context(), []any{}, []any{})
			kind(t, "commit", err, x.commit, nil)
			if len(*asked) != 2 {
				t.Errorf("a commit was sent %d times", len(*asked)-1)
			}
			if strings.ContainsRune(err.Error(), '\x1b') {
				t.Errorf("a control character: %q", err)
			}
		})
	}
}

// kind says of what kind an error is; but for that kind, which says nothing of a Load.
func kind(t *testing.T, what string, err, want, but error) {
	t.Helper()
	if want == but && want != nil { // a Load changes nothing: it isn't unsure
		want = nil
	}
	for _, k := range []error{catalog.ErrAbsent, catalog.ErrTaken, catalog.ErrRights, catalog.ErrUnsure} {
		if errors.Is(err, k) != (k == want) {
			t.Errorf("%s: %v: %v is %t", what, err, k, errors.Is(err, k))
		}
	}
	var e *catalog.Error
	if !errors.As(err, &e) || e.Table == "" {
		t.Errorf("%s: %v says of no table", what, err)
	}
}

// TestASignedRequest is what was signed, and has no name in it whose letters a URL would encode.
func TestASignedRequest(t *testing.T) {
	sign := func(_ context.Context, req *http.Request, sum [sha256.Size]byte) (*http.Request, error) {
		req.Header.Set("Authorization", "signed "+req.URL.Path+" "+hex.EncodeToString(sum[:4]))
		return req, nil
	}
	at, _ := server(t, answers{"/config": says(200, `{"overrides":{"prefix":"catalogs/1"}}`),
		"/tables/usage": func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			sum := sha256.Sum256(b)
			if r.Header.Get("Authorization") != "signed "+r.URL.Path+" "+hex.EncodeToString(sum[:4]) {
				t.Errorf("%s of %q", r.Header.Get("Authorization"), b)
			}
			says(200, aTable)(w, r)
		}})
	c := open(t, catalog.Options{URI: at, Sign: sign})
	if _, err := c.Commit(t.Context(), []any{}, []any{}); err != nil {
		t.Error(err)
	}
	for _, table := range []string{"a.b.c", "finance.us:age", "finance.us age"} {
		if err := catalog.Check(catalog.Options{URI: at, Table: table, Sign: sign}); err == nil {
			t.Errorf("%s is taken", table)
		}
	}
	at, _ = server(t, answers{"/config": says(200, `{"overrides":{"prefix":"catalogs/1:2"}}`)})
	if _, err := open(t, catalog.Options{URI: at, Sign: sign}).Load(t.Context()); err == nil {
		t.Error("a prefix that can't be signed is taken")
	}
	broken := func(context.Context, *http.Request, [sha256.Size]byte) (*http.Request, error) {
		return nil, errors.New("no credentials")
	}
	c = open(t, catalog.Options{URI: at, Sign: broken})
	if _, err := c.Load(t.Context()); err == nil || c.Requests() > 0 || !strings.Contains(err.Error(), "no credentials") {
		t.Errorf("%v after %d requests", err, c.Requests())
	}
}

// TestWhatIsNoCatalog is refused before anybody is asked, and shows no password.
func TestWhatIsNoCatalog(t *testing.T) {
	for _, o := range []catalog.Options{
		{URI: "http://catalog.example"}, {URI: "catalog.example"}, {URI: "https://"}, {URI: "ftp://catalog.example"},
		{URI: "https://me:" + secret + "@catalog.example"}, {URI: "https://catalog.example?token=" + secret},
		{URI: "https://x%zz" + secret}, {URI: "https://c.example", Table: "usage"},
		{URI: "https://c.example", Table: "a..b"}, {URI: "https://c.example", Table: ".a"},
		{URI: "https://c.example", Table: "a/b.c"}, {URI: "https://c.example", Table: "a.b\n"},
		{URI: "https://c.example", Client: catalog.Client{ID: "x", TokenURI: "http://tokens.example"}},
	} {
		if o.Table == "" {
			o.Table = "finance.usage"
		}
		if err := catalog.Check(o); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q, %q: %v", o.URI, o.Table, err)
		}
	}
	for _, uri := range []string{"https://catalog.example/api/catalog/", "http://127.0.0.1:8181", "http://localhost",
		"http://[::1]:80"} {
		if err := catalog.Check(catalog.Options{URI: uri, Table: "a.b"}); err != nil {
			t.Error(err)
		}
	}
}
