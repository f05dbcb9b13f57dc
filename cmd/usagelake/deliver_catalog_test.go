package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load/catalog/catalogtest"
)

// TestATableInACatalogByTheConfig: a token, a client of OAuth2 and signed requests each make a table that a look finds
// whole; a wrong one is told with what to do, the files are delivered all the same, and no secret stands anywhere.
func TestATableInACatalogByTheConfig(t *testing.T) {
	const secret, got = "notasecretbutmustnotbeseen", "gottokenmustnotbeseen"
	real, err := url.Parse(catalogtest.Namespace(t, "finance"))
	if err != nil {
		t.Fatal(err)
	}
	var wants func(header string) bool
	forward := httputil.NewSingleHostReverseProxy(real)
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/login" && r.FormValue("client_secret") == secret && r.FormValue("client_id") == "lake":
			fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer"}`, got)
		case wants(r.Header.Get("Authorization")):
			r.Header.Del("Authorization")
			forward.ServeHTTP(w, r)
		default:
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":{"message":"who is %s?","type":"NotAuthorizedException","code":401}}`,
				r.Header.Get("Authorization"))
		}
	}))
	defer door.Close()

	dir := t.TempDir()
	lake, config := filepath.Join(dir, "lake"), filepath.Join(dir, "usagelake.yaml")
	var env map[string]string
	said := ""
	usagelake := func(want int, args ...string) string {
		t.Helper()
		var out, log bytes.Buffer
		code := run(context.Background(), args, streams{Stdout: &out, Stderr: &log, Now: time.Now,
			Getenv: func(name string) string { return env[name] }})
		if code != want {
			t.Fatalf("usagelake %q: exit %d, want %d\n%s%s", args, code, want, &out, &log)
		}
		said += out.String() + log.String()
		return out.String() + log.String()
	}
	usagelake(exitDone, "demo", "--lake", lake)
	for name, x := range map[string]struct {
		config string
		env    map[string]string
		header string
	}{
		"token": {"token_env: TOKEN", map[string]string{"TOKEN": secret}, "Bearer " + secret},
		"client": {"client_id: lake, client_secret_env: SECRET, token_uri: '" + door.URL + "/login'",
			map[string]string{"SECRET": secret}, "Bearer " + got},
		"signed": {"sigv4: eu-central-1", map[string]string{"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
			"AWS_SECRET_ACCESS_KEY": secret}, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"},
	} {
		place := filepath.Join(dir, name)
		if err := os.WriteFile(config, fmt.Appendf(nil, `lake: %s
accounts: [{name: default, key_env: KEY}]
deliver:
  - {name: %s, to: "file://%s", tables: [iceberg], iceberg: {catalog: "%s", table: finance.%s, %s}}
`, lake, name, place, door.URL, name, x.config), 0o600); err != nil {
			t.Fatal(err)
		}
		wants = func(header string) bool {
			return strings.HasPrefix(header, x.header) &&
				(name != "signed" || strings.Contains(header, "/eu-central-1/glue/"))
		}
		env = x.env
		told := usagelake(exitDone, "deliver", name, "--config", config)
		if !strings.Contains(told, "Iceberg table finance."+name+" in "+door.URL+", version 2") {
			t.Errorf("it said\n%s", told)
		}
		if told := usagelake(exitDone, "deliver", name, "--config", config, "--verify", "--deep"); !strings.Contains(told,
			"everything is there as it was sent") {
			t.Errorf("it said\n%s", told)
		}
		if told := usagelake(exitDone, "deliver", name, "--config", config, "--output", "json"); !strings.Contains(told,
			`"iceberg_table": "finance.`+name+` in `+door.URL+`"`) {
			t.Errorf("it said\n%s", told)
		}
		wants = func(string) bool { return false }
		told = usagelake(exitFailed, "deliver", name, "--config", config, "--verify")
		if !strings.Contains(told, "not allowed: NotAuthorizedException: who is ") ||
			!strings.Contains(told, "\nhint: see ") {
			t.Errorf("it said\n%s", told)
		}
		if name != "signed" { // whose credentials may stand elsewhere
			env = nil
			usagelake(exitUsage, "deliver", name, "--config", config)
		}
		noSecret(t, place, "mustnotbeseen")
	}
	usagelake(exitDone, "status", "--lake", lake)
	if strings.Contains(said, "mustnotbeseen") {
		t.Errorf("a secret was shown:\n%s", said)
	}
	noSecret(t, lake, "mustnotbeseen")
}
