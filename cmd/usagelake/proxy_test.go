package main

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/usagelake/usagelake/extract/portal"
)

// TestAProxyInBetweenWorks runs the real program with HTTPS_PROXY: what reaches the proxy is a tunnel to the Portal's
// host, and nothing of the key.
func TestAProxyInBetweenWorks(t *testing.T) {
	p, err := portal.New(portal.Options{Seed: 3, Limit: portal.LimitOptions{Kind: portal.Off},
		Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 100}}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(p) // its certificate is for example.com
	defer s.Close()
	var tunnels atomic.Int64
	var leaked atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, values := range r.Header {
			if strings.Contains(strings.Join(values, " "), "sk_mg_") {
				leaked.Store(true)
			}
		}
		if r.Method != http.MethodConnect || r.Host != "example.com:443" {
			http.Error(w, "this proxy tunnels to example.com alone", http.StatusForbidden)
			return
		}
		tunnels.Add(1)
		to, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer to.Close()
		from, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
		_, _ = io.Copy(from, to)
	}))
	defer proxy.Close()

	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}),
		0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, "export", "--from", "2026-11-01", "--to", "2026-11-02", "--output", "json", "--base-url",
		"https://example.com"+p.BasePath())
	c.Args[0] = "usagelake"
	c.Dir = dir
	c.Env = append(os.Environ(), "HTTPS_PROXY="+proxy.URL, "SSL_CERT_FILE="+ca, "USAGELAKE_API_KEY="+p.Key("0"))
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"status": "done"`) {
		t.Fatalf("%v\n%s", err, out)
	}
	if tunnels.Load() == 0 || leaked.Load() {
		t.Errorf("%d tunnels, key leaked: %t", tunnels.Load(), leaked.Load())
	}
}
