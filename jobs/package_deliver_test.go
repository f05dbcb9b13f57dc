package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/report"
)

const signingSecret = "a-secret-that-signs"

// inbox is a webhook's receiver: what it took, by id, and how it answers the next requests.
type inbox struct {
	mu     sync.Mutex
	faults []int // statuses; 0 cuts the connection
	took   map[string]int
	asked  int
	wrong  []string
}

func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	id, sum := r.Header.Get(alert.HeaderID), sha256.Sum256(body)
	if err != nil || id != hex.EncodeToString(sum[:]) || r.Header.Get("Content-Type") != "application/zip" ||
		!strings.HasPrefix(r.Header.Get(HeaderPackage), "statement-2026-10-") ||
		r.Header.Get(alert.HeaderSignature) != alert.Signature(signingSecret, r.Header.Get(alert.HeaderTimestamp), body) {
		b.wrong = append(b.wrong, fmt.Sprintf("%v %v", r.Header, err))
	}
	if len(b.faults) > 0 {
		fault := b.faults[0]
		b.faults = b.faults[1:]
		if fault == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(fault)
		return
	}
	b.took[id]++
}

// Each receiver gets each of its packages once, whatever breaks off: what failed is told, remembered and made up, what
// was delivered isn't delivered again, and a folder is looked at. No secret shows.
func TestEachPackageIsDeliveredOnceWhateverBreaksOff(t *testing.T) {
	w := handedOut(t)
	w.env.Transport = nil // receivers are real ones
	post := &inbox{took: map[string]int{}}
	server := httptest.NewServer(post)
	defer server.Close()
	url := server.URL + "/hooks/a-token-in-a-path"
	dir := t.TempDir()
	kit.Write(t, filepath.Join(dir, "send"), "#!/bin/sh\n"+
		"echo \"$USAGELAKE_PACKAGE_COST_CENTER $USAGELAKE_PACKAGE_MONTH\" >> "+dir+"/sent\n"+
		"test -f \"$USAGELAKE_PACKAGE_ZIP\" && test -f \"$USAGELAKE_PACKAGE/statement.html\" || exit 9\n"+
		"test -z \"$URL$HMAC\" || exit 8\ngrep -q month_manifest_sha256 || exit 7\ntest -f "+dir+"/broken && "+
		"{ echo the mail server is away; exit 1; }\nexit 0\n", 0o700)
	t.Setenv("URL", url)
	t.Setenv("HMAC", signingSecret)
	w.env.Getenv = os.Getenv
	share := filepath.Join(dir, "share")
	w.Cfg.Packages.Deliver = []config.PackageReceiver{
		{Name: "portal", WebhookEnv: "URL", HMACEnv: "HMAC"},
		{Name: "mail", Command: []string{filepath.Join(dir, "send")}, CostCenters: []string{"Alpha", "Alhpa"}},
		{Name: "share", Folder: share},
	}
	kit.Write(t, filepath.Join(dir, "broken"), "", 0o600)
	month := PackageOptions{Month: october}
	deliver := func(o PackageOptions) (*Packed, error) {
		t.Helper()
		p, err := w.pack(o)
		for _, secret := range []string{signingSecret, "a-token-in-a-path"} {
			if err != nil && strings.Contains(err.Error(), secret) || strings.Contains(w.Logs.String(), secret) {
				t.Errorf("a secret shows: %v\n%s", err, w.Logs.String())
			}
		}
		return p, err
	}

	// The first package is refused, the second's answers are lost and come late; the command fails, the folder is none.
	post.faults = []int{400, 0, 503}
	p, err := deliver(month)
	if err == nil || !errors.As(err, new(*PackagesError)) || StatusOf(err) != "partial" || len(p.Undelivered) != 5 ||
		len(p.Delivered) != 2 {
		t.Fatalf("%v: %+v", err, p)
	}
	all := fmt.Sprint(p.Undelivered)
	for _, s := range []string{"it answered 400", "the mail server is away", "its folder"} {
		if !strings.Contains(all, s) {
			t.Errorf("%q isn't told: %s", s, all)
		}
	}
	if !strings.Contains(w.Logs.String(), "cost_center=Alhpa") {
		t.Error("nobody is warned of a cost centre that there isn't")
	}
	st, err := ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now())
	if err != nil || len(st.Packages) != 1 || len(st.Packages[0].Undelivered()) != 5 {
		t.Errorf("status: %+v %v", st.Packages, err)
	}

	// A receiver that is away is asked for one package, not for each.
	post.faults, post.asked = []int{503, 503, 503, 503, 503, 503}, 0
	if p, err = deliver(PackageOptions{Month: october, Again: true}); err == nil || post.asked != 3 ||
		len(p.Undelivered) != 7 {
		t.Errorf("%d requests: %v %+v", post.asked, err, p)
	}

	// Stopped while the first is under way, it goes on from there.
	post.faults = nil
	if err := errors.Join(os.Remove(filepath.Join(dir, "broken")), os.Mkdir(share, 0o700)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	delivered := 0
	if _, err := Pack(ctx, w.Cfg, w.env, PackageOptions{Month: october, Phase: func(s string) {
		if strings.HasPrefix(s, "deliver to") {
			if delivered++; delivered == 3 {
				stop()
			}
		}
	}}); err == nil || StatusOf(err) != "stopped" {
		t.Errorf("stopped: %v", err)
	}
	if p, err = deliver(month); err != nil || p.Before != 2 || len(p.Undelivered) != 0 || len(p.Delivered) != 5 {
		t.Fatalf("%v: %+v", err, p)
	}
	if p, err = deliver(month); err != nil || p.Before != 7 || len(p.Delivered) != 0 {
		t.Errorf("once more: %v %+v", err, p)
	}
	for id, n := range post.took {
		if want := 1; n != want && n != want+1 { // the two of the first run, and once --again
			t.Errorf("%s was taken %d times", id, n)
		}
	}
	if len(post.took) != 3 || len(post.wrong) > 0 {
		t.Errorf("%d packages were taken; wrong requests: %v", len(post.took), post.wrong)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "sent")); string(b) != strings.Repeat("Alpha 2026-10\n", 3) {
		t.Errorf("mailed: %s", b)
	}

	// A folder that somebody emptied is filled again; what is there stays, to the inode.
	name := p.Packages[0].Name
	before, err := os.Stat(filepath.Join(share, "2026-10", p.Packages[1].Name+".zip"))
	if err := errors.Join(err, os.RemoveAll(filepath.Join(share, "2026-10", name))); err != nil {
		t.Fatal(err)
	}
	if p, err = deliver(month); err != nil || len(p.Delivered) != 1 || len(folder(t, filepath.Join(share, "2026-10",
		name))) == 0 {
		t.Errorf("%v %+v", err, p)
	}
	if after, err := os.Stat(filepath.Join(share, "2026-10", p.Packages[1].Name+".zip")); err != nil ||
		!os.SameFile(before, after) {
		t.Errorf("an unchanged package was written again: %v", err)
	}

	// What can't be packed is told, and leaves nothing half-done.
	if _, err := w.pack(PackageOptions{Month: october + 1}); !errors.Is(err, config.ErrUsage) ||
		!strings.Contains(err.Error(), "2026-11 is not closed") {
		t.Errorf("an open month: %v", err)
	}
	if _, err := w.pack(PackageOptions{Month: october, CostCenters: []string{"Alpa"}}); !errors.Is(err, config.ErrUsage) ||
		!strings.Contains(err.Error(), "Alpha") {
		t.Errorf("a mistyped cost centre: %v", err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if p, err := w.pack(PackageOptions{Month: october, CostCenters: []string{"Alpha"}, Out: out}); err != nil ||
		len(folder(t, out)) != len(p.Packages[0].Files)+1 {
		t.Errorf("copied: %v %v", err, folder(t, out))
	}
	for _, where := range []string{out, filepath.Join(share, "2026-10")} {
		if left, _ := filepath.Glob(filepath.Join(where, ".*")); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	}
	packages := filepath.Join(w.Cfg.Lake, "packages")
	statement := filepath.Join(w.Cfg.Lake, "statements", "2026-10", "cost-centers", report.StatementFile("Alpha")+".csv")
	if err := errors.Join(os.RemoveAll(packages), os.WriteFile(statement, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.pack(month); err == nil || !strings.Contains(err.Error(), "isn't what the month was closed with") {
		t.Errorf("a statement that was changed: %v", err)
	}
	if left, _ := os.ReadDir(packages); len(left) != 1 || left[0].Name() != "2026-10.json" {
		t.Errorf("left over: %v", left)
	}
	st, err = ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now())
	if err != nil || len(st.Packages) != 1 || !strings.Contains(st.Packages[0].Error, "closed with") {
		t.Errorf("status: %+v %v", st.Packages, err)
	}
}
