package extract

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// answerTo asks a server that answers in one way for the first page of an hour, and for the balance.
func answerTo(t *testing.T, answer http.HandlerFunc) (l *listing, balance Balance, errUsage, errBalance error) {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	c := realClient(t, s.URL, "sk_mg_AbCdEf0123456789")
	w := schemas.Window{Account: "acme", Start: time.Unix(1_790_000_000, 0).UTC(), End: time.Unix(1_790_003_600, 0).UTC()}
	got, errUsage := c.usage(t.Context(), ask{window: w, start: w.Start.Unix(), end: w.End.Unix(), size: 100})
	balance, errBalance = c.Balance(t.Context())
	return got.listing, balance, errUsage, errBalance
}

// What the vendor's reference shows without meta is taken; anything beside data that may tell of an error is not, nor
// is data of another shape.
func TestAnAnswerWithoutMetaIsTakenIfItsDataIsWellFormed(t *testing.T) {
	for _, x := range []struct {
		body    string
		records int // -1: not taken
	}{
		{`{"data":{"records":[{"timestamp":1735689600,"tokens":1024,"model":"gpt-4o-mini"}],"total_tokens":1024}}`, 1},
		{`{"data":{"list":[{"id":1},{"id":2}],"total":2}}`, 2},
		{`{"data":{"list":[],"total":0},"object":"list"}`, 0},
		{`{"data":{}}`, -1}, {`{"data":null}`, -1}, {`{"data":[]}`, -1}, {`{"list":[]}`, -1}, {`{}`, -1},
		{`{"data":{"list":[],"total":0},"error":"overloaded"}`, -1},
		{`{"success":false,"message":"no","data":{"list":[]}}`, -1}, {`{"code":500,"data":{"list":[]}}`, -1},
		{`{"meta":{},"data":{"list":[]}}`, -1}, {`{"meta":null,"data":{"list":[]}}`, -1},
	} {
		l, _, err, _ := answerTo(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, x.body) })
		switch {
		case x.records < 0 && !errors.Is(err, ErrTemporary):
			t.Errorf("%s: %v", x.body, err)
		case x.records >= 0 && (err != nil || len(l.entries) != x.records):
			t.Errorf("%s: %v", x.body, err)
		}
	}
	_, b, _, err := answerTo(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"data":{"balance_str":"12.5","currency_code":"USD"}}`)
	})
	if err != nil || b.Amount != "12.5" || b.Currency != "USD" {
		t.Errorf("a balance: %+v, %v", b, err)
	}
}

func TestAnEncodingThatNobodyAskedForIsNamed(t *testing.T) {
	for _, coding := range []string{"br", "zstd", "deflate", "aws-chunked"} {
		for _, status := range []int{200, 500, 401} {
			_, _, err, _ := answerTo(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", coding)
				w.WriteHeader(status)
				_, _ = w.Write([]byte("\x8b\x07\x80\x03\x00\x01\x02"))
			})
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("Content-Encoding is %q", coding)) ||
				errors.Is(err, ErrRefused) != (status == 401) {
				t.Errorf("%s, HTTP %d: %v", coding, status, err)
			}
		}
	}
	if _, _, err, _ := answerTo(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "identity")
		fmt.Fprint(w, `{"meta":{"code":0},"data":{"list":[]}}`)
	}); err != nil {
		t.Errorf("identity: %v", err)
	}
}

func TestRequestsAskForAnAnswerOfNow(t *testing.T) {
	var asked []string
	_, _, _, _ = answerTo(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Cache-Control"))
		fmt.Fprint(w, `{"meta":{"code":0},"data":{"list":[],"balance":1}}`)
	})
	if strings.Join(asked, " ") != "no-cache no-cache" {
		t.Errorf("Cache-Control was %q", asked)
	}
}

// However the server spells the key in what it says, no message shows it.
func TestNoMessageShowsAKeyHoweverItIsSpelled(t *testing.T) {
	const key = "sk_mg_AbCdEf0123456789"
	for _, echo := range []string{key, strings.ToUpper(key), strings.ToLower(key), "Bearer " + strings.ToUpper(key),
		url.QueryEscape("Bearer " + key), strings.ReplaceAll(key, "_", "%5f"), strings.ReplaceAll(key, "k", `\u006b`)} {
		for _, status := range []int{200, 400, 401} {
			_, _, err, _ := answerTo(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				fmt.Fprintf(w, `{"meta":{"code":%d,"message":"invalid key %s","request_id":"%[2]s"}}`, 400, echo)
			})
			if err == nil || !strings.Contains(err.Error(), "[key]") ||
				strings.Contains(strings.ToLower(err.Error()), "cdef0123") {
				t.Errorf("%s, HTTP %d: %v", echo, status, err)
			}
		}
	}
}
