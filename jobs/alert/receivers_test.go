package alert

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func message(subjects ...string) Message {
	m := Message{To: "ops", At: noon, Lake: "/srv/lake"}
	for i, s := range subjects {
		f := finding("low", s)
		m.Notifications = append(m.Notifications, Notification{ID: fmt.Sprint("n", i), State: Firing, At: noon, Since: noon,
			Finding: f})
	}
	m.ID = messageID(m)
	return m
}

// answering is a webhook whose server gives one answer after the other; the last one again and again.
func answering(t *testing.T, answers ...http.HandlerFunc) (_ *Webhook, asked func() []request) {
	t.Helper()
	var mu sync.Mutex
	var got []request
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		got = append(got, request{r.Method, r.Header, b})
		n := len(got)
		mu.Unlock()
		answers[min(n, len(answers))-1](w, r)
	}))
	t.Cleanup(s.Close)
	asked = func() []request {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
	return &Webhook{Receiver: "ops", URL: s.URL + "/services/T000/B000/secretpath?sig=secretquery", Secret: "hmac-secret",
		UserAgent: "usagelake/test",
		Now:       func() time.Time { return noon }, Base: time.Millisecond, Cap: 50 * time.Millisecond}, asked
}

type request struct {
	method string
	http.Header
	body []byte
}

func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}

func broken(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func TestWhatMayPassIsSentAgainAndTheRestIsNot(t *testing.T) {
	said := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, c := range []struct {
		name    string
		answers []http.HandlerFunc
		asked   int
		want    string // "" is taken
		refused bool
		after   time.Duration
	}{
		{"taken", []http.HandlerFunc{status(200)}, 1, "", false, 0},
		{"taken without content", []http.HandlerFunc{status(204)}, 1, "", false, 0},
		{"500, then taken", []http.HandlerFunc{status(500), status(200)}, 2, "", false, 0},
		{"broken off, then taken", []http.HandlerFunc{broken, status(202)}, 2, "", false, 0},
		{"429 and 408, then taken", []http.HandlerFunc{status(429), status(408), status(200)}, 3, "", false, 0},
		{"503 without end", []http.HandlerFunc{status(503)}, 3, "it answered 503", false, 0},
		{"broken without end", []http.HandlerFunc{broken}, 3, "it can't be reached: ", false, 0},
		{"429, and come back later", []http.HandlerFunc{status(429, "Retry-After", "120")}, 1, "it answered 429", false,
			2 * time.Minute},
		{"503 until a date", []http.HandlerFunc{status(503, "Retry-After", noon.Add(time.Minute).Format(http.TimeFormat))}, 1,
			"it answered 503", false, time.Minute},
		{"400", []http.HandlerFunc{said(400, "invalid_payload")}, 1, "it answered 400: invalid_payload", true, 0},
		{"404", []http.HandlerFunc{said(404, "no_service\n")}, 1, "it answered 404: no_service", true, 0},
		{"a redirect", []http.HandlerFunc{status(307, "Location", "http://elsewhere.example/secretpath")}, 1,
			"redirect (307), which is not followed", false, 0},
		{"an answer that tells the URL", []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(403)
			fmt.Fprintf(w, "no http://%s%s, nor secretpath, secretquery, hmac-secret\x1b[31m", r.Host, r.URL)
		}}, 1, "it answered 403: no ", true, 0},
		{"a huge answer", []http.HandlerFunc{said(400, strings.Repeat("x", 1<<20))}, 1, "it answered 400: xxx", true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, asked := answering(t, c.answers...)
			err := w.Send(t.Context(), message("acme"))
			got := asked()
			if len(got) != c.asked {
				t.Errorf("it was asked %d times, want %d", len(got), c.asked)
			}
			for i, r := range got {
				if !bytes.Equal(r.body, got[0].body) || r.Get(HeaderID) != message("acme").ID || r.method != http.MethodPost ||
					r.Get("Content-Type") != "application/json; charset=utf-8" || r.Get("User-Agent") != "usagelake/test" {
					t.Errorf("%d: %s %v %s", i, r.method, r.Header, r.body)
				}
			}
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var send *SendError
			if !errors.As(err, &send) || !strings.Contains(err.Error(), c.want) || send.Refused != c.refused ||
				send.After != c.after || !strings.HasPrefix(err.Error(), "receiver ops: ") {
				t.Fatalf("%#v, want %q", err, c.want)
			}
			for _, secret := range []string{"secret", "/services", "127.0.0.1:", "elsewhere", "\x1b"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%q shows %q", err, secret)
				}
			}
			if len(err.Error()) > 500 {
				t.Errorf("%d characters", len(err.Error()))
			}
		})
	}
}

// A receiver that checks the signature as docs/alerts.md says accepts the message, and nothing that was changed.
func TestTheSignatureIsThatOfTimestampAndBody(t *testing.T) {
	w, asked := answering(t, status(200))
	if err := w.Send(t.Context(), message("acme")); err != nil {
		t.Fatal(err)
	}
	verify := func(stamp string, body []byte, key, signature string) bool {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(append([]byte(stamp+"."), body...))
		return hmac.Equal([]byte("sha256="+hex.EncodeToString(mac.Sum(nil))), []byte(signature))
	}
	h, body := asked()[0], asked()[0].body
	stamp, sig := h.Get(HeaderTimestamp), h.Get(HeaderSignature)
	if stamp != fmt.Sprint(noon.Unix()) || !verify(stamp, body, "hmac-secret", sig) {
		t.Errorf("%s %s", stamp, sig)
	}
	if verify(stamp+"0", body, "hmac-secret", sig) || verify(stamp, append(body, ' '), "hmac-secret", sig) ||
		verify(stamp, body, "other", sig) {
		t.Error("it signs other things, too")
	}
	w.Secret = ""
	if err := w.Send(t.Context(), message("acme")); err != nil {
		t.Fatal(err)
	}
	if h := asked()[1]; h.Get(HeaderSignature) != "" || h.Get(HeaderTimestamp) != "" {
		t.Errorf("without a secret: %v", h.Header)
	}
}

// hangs is a transport that never answers.
type hangs struct{}

func (hangs) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, fmt.Errorf("Post %q: %w", r.URL, r.Context().Err())
}

func TestAWebhookThatHangsIsGivenUpAfterItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w := &Webhook{Receiver: "ops", URL: "https://hooks.example/secret", Transport: hangs{}, Now: time.Now,
			Timeout: 5 * time.Second}
		err := w.Send(t.Context(), message("acme"))
		if took := time.Since(began); err == nil || err.Error() != "receiver ops: no answer within 5s" ||
			took < 15*time.Second || took > 20*time.Second {
			t.Errorf("%v after %s", err, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := w.Send(ctx, message("acme")); !errors.Is(err, context.Canceled) {
			t.Errorf("stopped: %v", err)
		}
	})
}

// Three attempts of half a minute take longer than a check may: the receiver has failed all the same, and rests.
func TestAReceiverThatHangsForAWholeCheckHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook := []Receiver{&Webhook{Receiver: "ops", URL: "https://hooks.example/secret", Transport: hangs{}, Now: time.Now,
			Timeout: 30 * time.Second}}
		s := State{Outbox: []Message{message("acme"), message("bee")}}
		deliver := func() Delivery {
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			return s.Deliver(ctx, time.Now(), hook)[0]
		}
		for attempts := 1; attempts <= 2; attempts++ {
			began := time.Now()
			d := deliver()
			if d.Failed != 1 || d.Waiting != 2 || d.Error != "receiver ops: no answer within the time of a check" ||
				time.Since(began) != 90*time.Second {
				t.Errorf("%+v after %s", d, time.Since(began))
			}
			if m := s.Outbox[0]; m.Attempts != attempts || m.NextAt.Before(began.Add(30*time.Second)) ||
				s.Outbox[1].Attempts != 0 {
				t.Errorf("%+v", s.Outbox)
			}
		}
		time.Sleep(30 * time.Second)
		if d := deliver(); d.Failed != 1 || s.Outbox[0].Attempts != 3 {
			t.Errorf("%+v", d)
		}
		if d := deliver(); d.Failed != 0 || d.Waiting != 2 || s.Outbox[0].Attempts != 3 {
			t.Errorf("it is asked without a pause: %+v", d)
		}
		time.Sleep(time.Hour)
		before := s.Outbox[0]
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if d := s.Deliver(ctx, time.Now(), hook)[0]; d.Failed != 0 || d.Waiting != 2 || s.Outbox[0].Attempts != 3 ||
			s.Outbox[0].NextAt != before.NextAt {
			t.Errorf("the program was stopped, and the receiver has failed: %+v", d)
		}
	})
}

func TestAWebhookThatCantBeReachedTellsNothingOfItsURL(t *testing.T) {
	for _, url := range []string{"http://127.0.0.1:1/secret", "https://127.0.0.1:1/secret/path?k=secret"} {
		w := &Webhook{Receiver: "ops", URL: url, Now: time.Now, Base: time.Millisecond}
		err := w.Send(t.Context(), message("acme"))
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%v", err)
		}
	}
}

func TestAWebhooksURLIsHTTPSOrOfThisMachine(t *testing.T) {
	for url, want := range map[string]string{
		"https://hooks.slack.com/services/T/B/secret": "", "http://localhost:8080/secret": "",
		"http://127.0.0.1/secret": "", "http://[::1]:9/secret": "",
		"http://hooks.example/secret": "in the clear", "http://127.0.0.1.example/secret": "in the clear",
		"ftp://h/secret": `scheme "ftp"`,
		"secret":         "no URL", "https:///secret": "no URL", "https://u:secret@h/": "user name or password",
		"http://10.0.0.1/secret": "in the clear", "://secret": "no URL",
		"https://h/\x7fsecret": "no URL",
	} {
		err := CheckURL(url)
		if want == "" && err != nil || want != "" &&
			(err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}

func TestTheBodyIsTheJSONOfTheDocs(t *testing.T) {
	m := message("acme")
	m.Notifications[0].Details = map[string]string{"balance": "12.5", "model": `<script>"&`}
	b, err := m.JSON()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"version":1,"id":"ID","sent_by":"usagelake","lake":"/srv/lake","at":"2026-11-20T12:00:00Z",` +
		`"notifications":[{"id":"n0","state":"firing","rule":"low","kind":"balance","severity":"warning",` +
		`"subject":"acme","summary":"low of acme","since":"2026-11-20T12:00:00Z","at":"2026-11-20T12:00:00Z",` +
		`"details":{"balance":"12.5","model":"\u003cscript\u003e\"\u0026"}}]}`
	if got := strings.ReplaceAll(string(b), m.ID, "ID"); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

// The example and the schema of docs/alerts.md have the fields of the body, and no others.
func TestTheDocsDescribeTheBody(t *testing.T) {
	doc, err := os.ReadFile("../../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(doc, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of JSON", len(blocks))
	}
	var example payload
	dec := json.NewDecoder(bytes.NewReader(blocks[0][1]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&example); err != nil {
		t.Fatalf("the example: %v", err)
	}
	type object struct {
		Required   []string
		Properties map[string]json.RawMessage
	}
	var schema object
	var list struct{ Items object }
	if err := json.Unmarshal(blocks[1][1], &schema); err != nil {
		t.Fatalf("the schema: %v", err)
	}
	if err := json.Unmarshal(schema.Properties["notifications"], &list); err != nil {
		t.Fatalf("the schema: %v", err)
	}
	var body map[string]json.RawMessage
	var entries []map[string]json.RawMessage
	b, _ := message("acme").JSON()
	if err := json.Unmarshal(b, &body); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body["notifications"], &entries); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		object
		fields map[string]json.RawMessage
	}{{schema, body}, {list.Items, entries[0]}} {
		fields := slices.Sorted(maps.Keys(c.fields))
		if !slices.Equal(fields, slices.Sorted(slices.Values(c.Required))) ||
			!slices.Equal(fields, slices.Sorted(maps.Keys(c.Properties))) {
			t.Errorf("the body has %v, the schema requires %v and knows %v", fields, c.Required,
				slices.Sorted(maps.Keys(c.Properties)))
		}
	}
}

var slackLine = regexp.MustCompile("^\\*(firing|over|test|still firing since [0-9: -]+ UTC)\\* low \\(warning\\): " +
	"`[^`\n]+`$")

// Whatever text comes from outside, each notification is a line of its own, the text stands within its code span, and
// nothing in it can open a link, a mention or a command of Slack's.
func TestSlackMakesNothingOfTextFromOutside(t *testing.T) {
	slackText := func(t rapid.TB, m Message) []string {
		b, err := m.Slack()
		if err != nil {
			t.Fatal(err)
		}
		var body map[string]string
		if err := json.Unmarshal(b, &body); err != nil || len(body) != 1 {
			t.Fatalf("%s: %v", b, err)
		}
		return strings.Split(body["text"], "\n")
	}
	m := message("<!channel> & <https://evil.example|click>", "`*@here*`\n# x\u2028y\u202e\x00", "plain")
	want := []string{
		"*firing* low (warning): `low of &lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;`",
		"*firing* low (warning): `low of '*@here*' # x y\\u202e\\u0000`",
		"*firing* low (warning): `low of plain`",
	}
	if got := slackText(t, m); !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := message(rapid.SliceOfN(rapid.StringOfN(rapid.OneOf(rapid.Rune(),
			rapid.SampledFrom([]rune("<>&`\n\r@!|[]()*_~"))), 0, 400, -1), 1, 4).Draw(rt, "subjects")...)
		got := slackText(rt, m)
		if len(got) != len(m.Notifications) {
			rt.Fatalf("%d lines for %d notifications: %q", len(got), len(m.Notifications), got)
		}
		for _, line := range got {
			bare := strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(line)
			if !slackLine.MatchString(line) || strings.ContainsAny(bare, "<>&") || !utf8.ValidString(line) {
				rt.Fatalf("%q", line)
			}
		}
	})
	many := message(strings.Split(strings.Repeat("x ", 50)+"x", " ")...)
	if got := slackText(t, many); len(got) != slackLines+1 || got[slackLines] != "… and 31 more: usagelake alert list" {
		t.Errorf("%d lines, the last: %s", len(got), got[len(got)-1])
	}
}

// script is a program that a command receiver runs.
func script(t *testing.T, text string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no shell")
	}
	path := filepath.Join(t.TempDir(), "notify")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestACommandGetsTheMessageAndNoKeys(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	t.Setenv("ALERT_TEST_KEY", "sk_mg_secret")
	t.Setenv("ALERT_TEST_OTHER", "kept")
	var log bytes.Buffer
	c := &Command{Receiver: "ops",
		Argv:   []string{script(t, `echo "$1 $ALERT_TEST_KEY$ALERT_TEST_OTHER"; cat > "$2"; echo done`), "a; b $(c)", out},
		Hide:   []string{"ALERT_TEST_KEY"},
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	m := message("acme")
	if err := c.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	want, _ := m.JSON()
	if got, err := os.ReadFile(out); err != nil || string(got) != string(want)+"\n" {
		t.Errorf("it got %s, %v", got, err)
	}
	if !strings.Contains(log.String(), `output="a; b $(c) kept done"`) {
		t.Errorf("%s", &log)
	}
}

func TestACommandThatFailsSaysWhy(t *testing.T) {
	c := &Command{Receiver: "ops", Logger: slog.New(slog.DiscardHandler)}
	for _, x := range []struct {
		argv    []string
		want    string
		refused bool
	}{
		{[]string{script(t, "echo no route >&2; exit 3")}, "exit status 3: no route", true},
		{[]string{script(t, "yes | head -c 100000000; exit 1")}, "exit status 1: y y y", true},
		{[]string{"/nowhere/notify"}, "no such file", false},
	} {
		c.Argv = x.argv
		err := c.Send(t.Context(), message("acme"))
		var send *SendError
		if !errors.As(err, &send) || !strings.Contains(err.Error(), x.want) || send.Refused != x.refused ||
			len(err.Error()) > 2*maxOutput {
			t.Errorf("%v, want %s", err, x.want)
		}
	}
}

func TestACommandThatHangsIsKilledWithAllItStarted(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	c := &Command{Receiver: "ops", Argv: []string{script(t, `sleep 1000 & echo $! > "$1"; wait`), pid},
		Timeout: 300 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}
	err := c.Send(t.Context(), message("acme"))
	if err == nil || !strings.Contains(err.Error(), "did not end within 300ms and was killed") {
		t.Fatal(err)
	}
	b, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	gone := func() bool {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	}
	for try := 0; !gone(); try++ { // it was told to end before Send returned
		if try == 500 {
			t.Fatal("what it started goes on")
		}
		time.Sleep(10 * time.Millisecond)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Send(ctx, message("acme")); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

func TestTheLogTellsALineEach(t *testing.T) {
	var log bytes.Buffer
	l := &Log{Receiver: "log", Logger: slog.New(slog.NewTextHandler(&log, nil))}
	m := message("acme", "bee", "x\ny\x1b[31m")
	m.Notifications[0].Severity = Critical
	m.Notifications[1].State = Over
	if err := l.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "level=ERROR") || !strings.Contains(lines[1], "level=INFO") ||
		!strings.Contains(lines[2], "level=WARN") || strings.Contains(log.String(), "\x1b") {
		t.Errorf("%s", &log)
	}
}
