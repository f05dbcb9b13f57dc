package finance

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/usagelake/usagelake/jobs/serve/library"
	"github.com/usagelake/usagelake/load/query"
)

// Viewer is somebody who may look: by a token of his own, or by a header that a proxy sets.
type Viewer struct {
	Name string
	// Token is read at each request, so that a new one holds at once. nil: the viewer comes by Header.
	Token func() (string, error)
	// Header holds a name that People knows, and counts of requests that come from Trust alone.
	Header string
	Trust  []netip.Prefix
	// People gives what is seen by whom, by their names in lower case. nil: everybody sees what the viewer does.
	People func() (map[string]query.Scope, error)
	All    bool        // sees everything, the status page too
	Scope  query.Scope // of who doesn't see all
}

// Who is somebody who asks.
type Who struct {
	Name   string
	All    bool
	Scope  query.Scope // of who doesn't see all
	signed bool        // by a session, which can be ended
}

// Whom nobody knows.
var (
	errUnknown = errors.New("sign in")                     // nothing was shown that says who it is
	errWrong   = errors.New("that token isn't known here") // something was shown that isn't
	errExpired = errors.New("the session is over")
	errNobody  = errors.New("nothing here is yours") // the proxy knows him, the map doesn't
	errCrowded = errors.New("too many wrong tokens") // from where it comes
)

const (
	sessionCookie = "usagelake_session"
	sessionFor    = 12 * time.Hour
	mostSessions  = 1000
	// A wrong token is answered after this. While so many of one address wait for that, no token from there is looked at:
	// else whoever guesses would see which one isn't slow.
	wrongAnswer = time.Second
	mostWaiting = 4
)

// session is one that was begun by a token. It ends with that token: a request by it is held against what the viewer's
// token is now.
type session struct {
	viewer string
	token  [sha256.Size]byte
	until  time.Time
}

// holds says whether anybody sees that: who did may be on no list any more, or see something else.
func (s *Site) holds(sight library.Sight) bool {
	viewers, err := s.viewers()
	if err != nil || len(viewers) == 0 {
		return err == nil && sight.All
	}
	for _, v := range viewers {
		if v.People == nil {
			if v.All == sight.All && (v.All || reflect.DeepEqual(v.Scope, sight.Scope)) {
				return true
			}
			continue
		}
		people, err := v.People()
		for _, scope := range people {
			if err == nil && !sight.All && reflect.DeepEqual(scope, sight.Scope) {
				return true
			}
		}
	}
	return false
}

// door knows who comes. mu guards what is below it. Sessions are by digests of their ids: what is in memory opens
// nothing. waiting counts by address who has sent a wrong token and isn't answered yet.
type door struct {
	now func() time.Time

	mu       sync.Mutex
	sessions map[[sha256.Size]byte]session
	waiting  map[string]int
	wrong    int64
}

func newDoor(now func() time.Time) *door {
	return &door{now: now, waiting: map[string]int{}, sessions: map[[sha256.Size]byte]session{}}
}

// who says who asks. A token counts before a session, and that before a header.
func (d *door) who(r *http.Request, viewers []Viewer) (*Who, error) {
	if token := bearer(r); token != "" {
		v, err := d.byToken(r, token, viewers)
		if err != nil {
			return nil, err
		}
		return &Who{Name: v.Name, All: v.All, Scope: v.Scope}, nil
	}
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return byHeader(r, viewers)
	}
	who, err := d.bySession(c.Value, viewers)
	if errors.Is(err, errExpired) {
		if by, other := byHeader(r, viewers); other == nil {
			return by, nil
		}
	}
	return who, err
}

// scope is that of who doesn't see all.
func (w *Who) scope() query.Scope {
	if w.All {
		return query.Scope{}
	}
	return w.Scope
}

// bearer is the token that a request brings; "" is none. Basic is what browsers and old tools have.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	_, token, _ = r.BasicAuth()
	return token
}

// byToken is the viewer of a token. Every viewer's is looked at, each by a digest and in constant time, so that how
// long it takes tells nothing. A wrong one is counted, and its answer waits.
func (d *door) byToken(r *http.Request, token string, viewers []Viewer) (*Viewer, error) {
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	d.mu.Lock()
	crowded := d.waiting[from] >= mostWaiting
	d.mu.Unlock()
	if crowded {
		return nil, errCrowded
	}
	got := sha256.Sum256([]byte(token))
	var found *Viewer
	var unread error
	for i, v := range viewers {
		if v.Token == nil {
			continue
		}
		want, err := v.Token()
		if err != nil || want == "" {
			unread = err
			continue
		}
		digest := sha256.Sum256([]byte(want))
		if subtle.ConstantTimeCompare(got[:], digest[:]) == 1 && found == nil {
			found = &viewers[i]
		}
	}
	switch {
	case found != nil:
		return found, nil
	case unread == nil:
		unread = errWrong
	}
	d.slow(r.Context(), from)
	return nil, unread
}

func (d *door) bySession(id string, viewers []Viewer) (*Who, error) {
	key := sha256.Sum256([]byte(id))
	d.mu.Lock()
	s, ok := d.sessions[key]
	if ok && !d.now().Before(s.until) {
		delete(d.sessions, key)
		ok = false
	}
	d.mu.Unlock()
	if !ok {
		return nil, errExpired
	}
	i := slices.IndexFunc(viewers, func(v Viewer) bool { return v.Name == s.viewer && v.Token != nil })
	if i < 0 {
		return nil, errExpired
	}
	token, err := viewers[i].Token()
	if err != nil {
		return nil, err
	}
	if digest := sha256.Sum256([]byte(token)); subtle.ConstantTimeCompare(digest[:], s.token[:]) != 1 {
		return nil, errExpired
	}
	return &Who{Name: viewers[i].Name, All: viewers[i].All, Scope: viewers[i].Scope, signed: true}, nil
}

// byHeader is who a trusted proxy says it is. A header of anybody else's is as if it weren't there.
func byHeader(r *http.Request, viewers []Viewer) (*Who, error) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nil, errUnknown
	}
	for _, v := range viewers {
		values := r.Header.Values(v.Header)
		if v.Header == "" || len(values) == 0 ||
			!slices.ContainsFunc(v.Trust, func(p netip.Prefix) bool { return p.Contains(from.Addr().Unmap()) }) {
			continue
		}
		// A proxy that adds its header beside one that came from outside says two things.
		if len(values) > 1 {
			return nil, errNobody
		}
		name := strings.ToLower(strings.TrimSpace(values[0]))
		if name == "" {
			continue
		}
		if v.People == nil {
			return &Who{Name: name, All: v.All, Scope: v.Scope}, nil
		}
		people, err := v.People()
		if err != nil {
			return nil, err
		}
		scope, ok := people[name]
		if !ok {
			return nil, errNobody
		}
		return &Who{Name: name, Scope: scope}, nil
	}
	return nil, errUnknown
}

// begin makes a session of a viewer, and gives its id: the cookie holds that, and never the token.
func (d *door) begin(r *http.Request, token string, viewers []Viewer) (id string, err error) {
	v, err := d.byToken(r, token, viewers)
	if err != nil {
		return "", err
	}
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	id = hex.EncodeToString(random)
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	var oldest [sha256.Size]byte
	for key, s := range d.sessions {
		if !now.Before(s.until) {
			delete(d.sessions, key)
		} else if o, ok := d.sessions[oldest]; !ok || s.until.Before(o.until) {
			oldest = key
		}
	}
	if len(d.sessions) >= mostSessions {
		delete(d.sessions, oldest)
	}
	d.sessions[sha256.Sum256([]byte(id))] = session{v.Name, sha256.Sum256([]byte(token)), now.Add(sessionFor)}
	return id, nil
}

// end ends a session.
func (d *door) end(id string) {
	d.mu.Lock()
	delete(d.sessions, sha256.Sum256([]byte(id)))
	d.mu.Unlock()
}

// slow counts a wrong token and has whoever sent it wait.
func (d *door) slow(ctx context.Context, from string) {
	d.mu.Lock()
	d.wrong++
	d.waiting[from]++
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.waiting[from]--; d.waiting[from] == 0 {
			delete(d.waiting, from)
		}
	}()
	t := time.NewTimer(wrongAnswer)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
