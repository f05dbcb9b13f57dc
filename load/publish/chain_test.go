package publish

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// chainFindings is what verify finds of manifests and signatures.
func chainFindings(t testing.TB, l *Lake) (out []string) {
	t.Helper()
	v := &verifier{lake: l}
	must(t, v.chain())
	closed, err := l.Closed()
	must(t, err)
	for _, c := range closed {
		if c.Signer != "" {
			if err := l.signature(c); err != nil {
				out = append(out, c.Month.String()+": "+err.Error())
			}
		}
	}
	for _, f := range v.report.Findings {
		out = append(out, filepath.Base(filepath.Dir(f.Path))+": "+f.Detail)
	}
	return out
}

// bareMonth writes what a month is closed with, and nothing but the manifest, as CloseMonth does.
func bareMonth(t testing.TB, l *Lake, month schemas.Month, sign *Signer, at func() int,
	now func() time.Time) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), month.String())
	must(t, os.MkdirAll(dir, 0o700))
	edition, err := l.edition(month)
	must(t, err)
	must(t, l.writeManifest(dir, Manifest{Format: manifestFormat, Month: month, RunID: fmt.Sprint("run-", at()),
		ClosedAt: now(), Edition: edition}, sign))
	must(t, l.MakeDirs(l.Path(load.StatementsDir)))
	must(t, os.Rename(dir, l.Path(load.StatementsDir, month.String())))
}

// Months are closed, opened again and closed anew in any order: the manifests are one chain, of all of them. Whatever
// manifest but the last is changed or taken out then, of a closed month or of one that was opened again, is found.
func TestManifestsAreOneChainThatShowsWhatWasChanged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "chain")
		must(t, err)
		defer os.RemoveAll(dir)
		l, err := create(filepath.Join(dir, "lake"), load.Options{})
		must(t, err)
		unlock, err := l.Lock(context.Background(), "test", false)
		must(t, err)
		defer func() { must(t, unlock()) }()
		n, now := 0, loadtest.TickingClock()
		count := func() int { n++; return n }
		first, err := schemas.ParseMonth("2026-01")
		must(t, err)
		open := first
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			if open > first && rapid.IntRange(0, 2).Draw(rt, "reopen") == 0 {
				open--
				_, err := l.ReopenMonth(open, "run", "test", "a test", now())
				must(t, err)
				continue
			}
			bareMonth(t, l, open, nil, count, now)
			open++
		}
		if found := chainFindings(t, l); found != nil {
			rt.Fatalf("found %v", found)
		}
		all, err := l.Closings()
		must(t, err)
		if len(all) != n {
			rt.Fatalf("%d manifests were written, the lake has %d", n, len(all))
		}
		byDigest := map[string]Closing{}
		for _, c := range all {
			byDigest[c.Digest] = c
		}
		last := lastClosing(all)
		at := last
		for links := 1; at.Chain.Previous != nil; links++ { // from the last to the first, and over all of them
			before, ok := byDigest[at.Chain.Previous.SHA256]
			if !ok || links >= n {
				rt.Fatalf("the chain of %d ends after %d: %+v", n, links, at.Chain.Previous)
			}
			if p := at.Chain.Previous; (p.Reopened != nil) != (before.Reopened != nil) && before.Month == at.Month ||
				p.Reopened != nil && p.Reopened.Reason != "a test" {
				rt.Fatalf("%+v was opened again, %+v", before.Reopened, p.Reopened)
			}
			at = &before
			if before.Chain.Previous == nil && links != n-1 {
				rt.Fatalf("the chain of %d has %d links", n, links)
			}
		}
		victim := all[rapid.IntRange(0, len(all)-1).Draw(rt, "victim")]
		path := filepath.Join(victim.Dir, ManifestName)
		if rapid.Bool().Draw(rt, "gone") {
			must(t, os.RemoveAll(victim.Dir))
		} else {
			must(t, os.WriteFile(path, []byte(strings.Replace(mustRead(t, path), "run-", "run-x", 1)), 0o600))
		}
		if found := chainFindings(t, l); (found == nil) != (victim.Digest == last.Digest) {
			rt.Fatalf("the manifest of %s was changed (the last is that of %s), and found is %v", victim.Month, last.Month,
				found)
		}
	})
}

// Manifests of before the chain are as right as they were, and part of it from the next close on.
func TestManifestsOfBeforeTheChainStayRight(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.RandomDay(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-08-10")}, 20, 1)
	w.publish(PublishOptions{Finance: testFinance})
	month, err := schemas.ParseMonth("2026-07")
	must(t, err)
	dir := w.lake.Path(load.StatementsDir, month.String())
	must(t, os.MkdirAll(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, ManifestName), []byte(`{"format":1,"month":"2026-07"}`), 0o600))
	if found := chainFindings(t, w.lake); found != nil {
		t.Fatalf("found %v", found)
	}
	f := testFinance
	f.Archived = archived(f.Rules)
	_, err = w.lake.CloseMonth(context.Background(), CloseOptions{Month: month + 1, RunID: "run-c", Version: "test",
		Now: loadtest.TickingClock()})
	must(t, err)
	if found := chainFindings(t, w.lake); found != nil {
		t.Fatalf("found %v", found)
	}
	must(t, os.WriteFile(filepath.Join(dir, ManifestName), []byte(`{"format":1,"month":"2026-07","run_id":"x"}`), 0o600))
	found := chainFindings(t, w.lake)
	if len(found) != 1 || !strings.Contains(found[0], "2026-08: the manifest that was written before it, of 2026-07") {
		t.Errorf("found %v", found)
	}
}

// keygen runs the real ssh-keygen.
func keygen(t testing.TB, stdin string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("there is no ssh-keygen on this machine")
	}
	c := exec.Command(path, args...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	return string(out), err
}

// What ssh-keygen makes keys of signs a manifest, and ssh-keygen says that it is right: for this purpose alone, and
// only as long as no byte of it changes.
func TestSSHKeygenChecksASignedManifest(t *testing.T) {
	for _, kind := range [][]string{{"ed25519"}, {"ecdsa"}, {"rsa", "-b", "2048"}} {
		t.Run(kind[0], func(t *testing.T) {
			dir := t.TempDir()
			key := filepath.Join(dir, "key")
			if out, err := keygen(t, "", append([]string{"-q", "-N", "", "-f", key, "-t"}, kind...)...); err != nil {
				t.Fatal(out, err)
			}
			sign, err := ParseSigner([]byte(mustRead(t, key)))
			must(t, err)
			if pub := strings.Fields(mustRead(t, key+".pub")); sign.PublicKey() != pub[0]+" "+pub[1] {
				t.Errorf("the public key is %s, and ssh-keygen says %v", sign.PublicKey(), pub)
			}
			l, err := create(filepath.Join(dir, "lake"), load.Options{})
			must(t, err)
			unlock, err := l.Lock(context.Background(), "test", false)
			must(t, err)
			defer func() { must(t, unlock()) }()
			month, _ := schemas.ParseMonth("2026-10")
			bareMonth(t, l, month, sign, func() int { return 1 }, loadtest.TickingClock())
			if found := chainFindings(t, l); found != nil {
				t.Fatalf("found %v", found)
			}
			manifest := l.Path(load.StatementsDir, "2026-10", ManifestName)
			allowed := filepath.Join(dir, "allowed_signers")
			must(t, os.WriteFile(allowed, []byte("controller@example.com "+sign.PublicKey()+"\n"), 0o600))
			verify := func(message, namespace string) (string, error) {
				return keygen(t, message, "-Y", "verify", "-f", allowed, "-I", "controller@example.com", "-n", namespace, "-s",
					manifest+".sig")
			}
			said := mustRead(t, manifest)
			if out, err := verify(said, "usagelake"); err != nil {
				t.Errorf("ssh-keygen refuses it: %s %v", out, err)
			}
			if _, err := verify(said, "file"); err == nil {
				t.Error("it passes for another purpose")
			}
			if _, err := verify(strings.Replace(said, "run-1", "run-2", 1), "usagelake"); err == nil {
				t.Error("ssh-keygen takes it for the signature of another manifest")
			}

			// verify says the same, and what ssh-keygen signs it takes.
			must(t, os.WriteFile(manifest, []byte(strings.Replace(said, "run-1", "run-2", 1)), 0o600))
			if found := chainFindings(t, l); len(found) != 1 {
				t.Errorf("found %v of a changed manifest", found)
			}
			must(t, os.Remove(manifest+".sig"))
			if found := chainFindings(t, l); len(found) != 1 {
				t.Errorf("found %v of a manifest whose signature is gone", found)
			}
			if out, err := keygen(t, "", "-Y", "sign", "-q", "-f", key, "-n", "usagelake", manifest); err != nil {
				t.Fatal(out, err)
			}
			if found := chainFindings(t, l); found != nil {
				t.Errorf("found %v of what ssh-keygen signed", found)
			}
			if out, err := keygen(t, "", "-q", "-N", "", "-f", key+"2", "-t", "ed25519"); err != nil {
				t.Fatal(out, err)
			}
			must(t, os.Remove(manifest+".sig"))
			if out, err := keygen(t, "", "-Y", "sign", "-q", "-f", key+"2", "-n", "usagelake", manifest); err != nil {
				t.Fatal(out, err)
			}
			if found := chainFindings(t, l); len(found) != 1 || !strings.Contains(found[0], "another key") {
				t.Errorf("found %v of what another key signed", found)
			}
		})
	}
}

func TestWhatIsNoSigningKeyIsRefusedWithoutShowingIt(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if out, err := keygen(t, "", "-q", "-N", "secret", "-f", key, "-t", "ed25519"); err != nil {
		t.Fatal(out, err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"a passphrase": {mustRead(t, key), "has a passphrase"},
		"a public key": {mustRead(t, key+".pub"), "no private key"},
		"nothing":      {"", "no private key"},
		"a torn key": {"-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n",
			"no private key"},
	} {
		_, err := ParseSigner([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No text makes the check of a signature fail in another way than by an error.
func FuzzCheckSignature(f *testing.F) {
	f.Add([]byte("-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQ==\n-----END SSH SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if key, err := checkSignature([]byte("message"), b); err == nil {
			t.Errorf("a text that nobody signed is the signature of %s", key)
		}
	})
}
