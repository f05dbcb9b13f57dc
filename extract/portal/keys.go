package portal

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// The scopes of a management key.
const (
	ScopeBalance = "balance:read"
	ScopeUsage   = "usage:read"
)

// Status is the state of a management key. A key past its expiry keeps its status, and doesn't work all the same.
type Status string

const (
	Active   Status = "active"
	Disabled Status = "disabled"
	Revoked  Status = "revoked"
)

// The rules of keys.
const (
	maxName        = 100 // characters
	maxDescription = 500
	maxScopes      = 10
	maxScope       = 50 // characters of one
	maxActive      = 10 // per user and organisation
)

// KeySpec is a management key to make.
type KeySpec struct {
	Org         string
	User        string // whose it is
	Admin       bool   // its user administers the organisation, and may ask for one member's usage
	Name        string // 1 to 100 characters
	Description string // at most 500
	Scopes      []string
	Expires     time.Time // zero is never
}

// KeyInfo is a management key as it is listed: never whole.
type KeyInfo struct {
	ID          string   `json:"id"` // a uuid
	Org         string   `json:"org_id"`
	User        string   `json:"-"`
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Display     string   `json:"display"` // sk_mg_a1b2c3d4...5678abcd
	Status      Status   `json:"status"`
	Scopes      []string `json:"scopes"`
	LastUsed    int64    `json:"last_used_at"` // Unix seconds; 0 is never
	Expires     int64    `json:"expires_at"`   // Unix seconds; 0 is never
	Created     int64    `json:"created_at"`
}

type key struct {
	KeyInfo
	admin bool
	whole string
	limit *limiter
}

// errKey is a rule of keys that a request broke; its text is the message of the 400.
type errKey string

func (e errKey) Error() string { return string(e) }

// ErrNoKey says that there is no such key, or none of the caller's.
var ErrNoKey = errors.New("API key not found")

// keyring holds every key of every organisation.
type keyring struct {
	seed   uint64
	now    func() time.Time // the Portal's clock
	limits func() *limiter  // makes a key's

	mu   sync.Mutex
	list []*key // as made
}

func newKeyring(seed uint64) *keyring { return &keyring{seed: seed} }

// derive is the n-th key of an organisation that the seed gives.
func (k *keyring) derive(org string, n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "management key %d of %q, seed %d", n, org, k.seed))
	return keyPrefix + hex.EncodeToString(sum[:])
}

const keyPrefix = "sk_mg_"

func wellFormed(s string) bool {
	digits, ok := strings.CutPrefix(s, keyPrefix)
	if !ok || len(digits) != 64 {
		return false
	}
	_, err := hex.DecodeString(digits)
	return err == nil
}

func mask(whole string) string { return whole[:len(keyPrefix)+8] + "..." + whole[len(whole)-8:] }

// uuid is a key's id. It follows from the key, so that those the seed gives keep theirs.
func uuid(whole string) string {
	b := sha256.Sum256([]byte("id of " + whole))
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func checkText(name, description string) error {
	if n := utf8.RuneCountInString(name); n < 1 || n > maxName {
		return errKey(fmt.Sprintf("name must have 1 to %d characters", maxName))
	}
	if utf8.RuneCountInString(description) > maxDescription {
		return errKey(fmt.Sprintf("description must have at most %d characters", maxDescription))
	}
	return nil
}

func checkScopes(scopes []string) error {
	if len(scopes) > maxScopes {
		return errKey(fmt.Sprintf("at most %d scopes", maxScopes))
	}
	for _, s := range scopes {
		if n := utf8.RuneCountInString(s); n < 1 || n > maxScope {
			return errKey(fmt.Sprintf("a scope must have 1 to %d characters", maxScope))
		}
	}
	return nil
}

// add makes a key. whole is empty for a random one.
func (k *keyring) add(s KeySpec, whole string, created time.Time) (*key, error) {
	if err := errors.Join(checkText(s.Name, s.Description), checkScopes(s.Scopes)); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	n := &key{whole: whole, admin: s.Admin, KeyInfo: KeyInfo{
		Org: s.Org, User: s.User, Name: s.Name, Description: s.Description, Status: Active,
		Scopes: append([]string{}, s.Scopes...), Created: created.Unix(),
	}}
	if !s.Expires.IsZero() {
		if n.Expires = s.Expires.Unix(); n.Expires <= k.now().Unix() {
			return nil, errKey("expires_at is in the past")
		}
	}
	if err := k.room(n); err != nil {
		return nil, err
	}
	if n.whole == "" {
		var b [32]byte
		rand.Read(b[:])
		n.whole = keyPrefix + hex.EncodeToString(b[:])
	}
	for _, other := range k.list {
		if other.whole == n.whole {
			return nil, errKey("key is there already")
		}
	}
	n.Display = mask(n.whole)
	n.ID = uuid(n.whole)
	k.list = append(k.list, n)
	return n, nil
}

// room says whether one more active key fits. The lock is held.
func (k *keyring) room(n *key) error {
	active := 0
	for _, o := range k.list {
		if o != n && o.Org == n.Org && o.User == n.User && o.Status == Active && !o.expired(k.now()) {
			active++
		}
	}
	if active >= maxActive {
		return errKey(fmt.Sprintf("at most %d active keys per user and organisation", maxActive))
	}
	return nil
}

func (n *key) expired(now time.Time) bool { return n.Expires != 0 && now.Unix() >= n.Expires }

// find gets a key by its id or its whole self. The lock is held.
func (k *keyring) find(ref string) *key {
	for _, n := range k.list {
		if n.ID == ref || n.whole == ref {
			return n
		}
	}
	return nil
}

// change applies one change to a key under the lock.
func (k *keyring) change(ref string, do func(*key) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.find(ref)
	if n == nil {
		return ErrNoKey
	}
	return do(n)
}

func (k *keyring) move(ref string, to Status, from ...Status) error {
	return k.change(ref, func(n *key) error {
		if !slices.Contains(from, n.Status) {
			return errKey(fmt.Sprintf("key is %s", n.Status))
		}
		if to == Active {
			if err := k.room(n); err != nil {
				return err
			}
		}
		n.Status = to
		return nil
	})
}

func (k *keyring) remove(ref string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.find(ref)
	if n == nil {
		return ErrNoKey
	}
	k.list = slices.DeleteFunc(k.list, func(o *key) bool { return o == n })
	return nil
}

// use is what a request finds out about the key it bears, as of one moment.
type use struct {
	id, org, user string
	admin         bool
	scopes        []string
	limit         *limiter
}

// admit looks a bearer up and notes its use. The message is what a 401 says.
func (k *keyring) admit(authorization string) (use, string) {
	scheme, bearer, ok := strings.Cut(authorization, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || bearer == "" {
		return use{}, "unauthorized: invalid api key"
	}
	if !wellFormed(bearer) {
		return use{}, "Invalid API key format"
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.find(bearer)
	switch {
	case n == nil:
		return use{}, "API key not found"
	case n.Status != Active || n.expired(k.now()):
		return use{}, "unauthorized: invalid api key"
	}
	n.LastUsed = k.now().Unix()
	if n.limit == nil {
		n.limit = k.limits()
	}
	return use{n.ID, n.Org, n.User, n.admin, slices.Clone(n.Scopes), n.limit}, ""
}

// owned lists a user's keys in an organisation, newest first.
func (k *keyring) owned(org, user, status, search string) []KeyInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := []KeyInfo{}
	for _, n := range slices.Backward(k.list) {
		if n.Org == org && n.User == user && (status == "" || string(n.Status) == status) &&
			strings.Contains(strings.ToLower(n.Name), strings.ToLower(search)) {
			list = append(list, n.info())
		}
	}
	return list
}

func (n *key) info() KeyInfo {
	i := n.KeyInfo
	i.Scopes = append([]string{}, i.Scopes...)
	return i
}

// Key is the organisation's first management key that works; empty if none does.
func (p *Portal) Key(org string) string {
	p.keys.mu.Lock()
	defer p.keys.mu.Unlock()
	for _, n := range p.keys.list {
		if n.Org == org && n.Status == Active && !n.expired(p.now()) {
			return n.whole
		}
	}
	return ""
}

// AddKey makes a management key and gives its id and, for the only time, the key itself.
func (p *Portal) AddKey(s KeySpec) (id, whole string, err error) {
	if p.world(s.Org) == nil {
		return "", "", fmt.Errorf("no organisation %q", s.Org)
	}
	n, err := p.keys.add(s, "", p.now())
	if err != nil {
		return "", "", err
	}
	return n.ID, n.whole, nil
}

// DisableKey makes an active key, given by id or in full, stop working until [Portal.EnableKey].
func (p *Portal) DisableKey(ref string) error { return p.keys.move(ref, Disabled, Active) }

// EnableKey makes a disabled key work again.
func (p *Portal) EnableKey(ref string) error { return p.keys.move(ref, Active, Disabled) }

// RevokeKey makes an active or disabled key stop working until [Portal.RestoreKey].
func (p *Portal) RevokeKey(ref string) error { return p.keys.move(ref, Revoked, Active, Disabled) }

// RestoreKey makes a revoked key active again.
func (p *Portal) RestoreKey(ref string) error { return p.keys.move(ref, Active, Revoked) }

// DeleteKey removes a key for good.
func (p *Portal) DeleteKey(ref string) error { return p.keys.remove(ref) }

// ExpireKey sets when a key expires; the zero time is never.
func (p *Portal) ExpireKey(ref string, at time.Time) error {
	return p.keys.change(ref, func(n *key) error {
		n.Expires = 0
		if !at.IsZero() {
			n.Expires = at.Unix()
		}
		return nil
	})
}

// SetScopes replaces the scopes of a key.
func (p *Portal) SetScopes(ref string, scopes ...string) error {
	if err := checkScopes(scopes); err != nil {
		return err
	}
	return p.keys.change(ref, func(n *key) error {
		n.Scopes = append([]string{}, scopes...)
		return nil
	})
}

// KeyInfo is a key, given by id or in full, as it would be listed.
func (p *Portal) KeyInfo(ref string) (info KeyInfo, err error) {
	err = p.keys.change(ref, func(n *key) error {
		info = n.info()
		return nil
	})
	return info, err
}

// claims is what a user token says: who is logged in, to which organisation.
type claims struct {
	Sub   string `json:"sub"`
	Org   string `json:"org"`
	Admin bool   `json:"admin"`
}

// UserToken is the token of a logged-in user, with which keys are managed: a JSON Web Token signed with the seed. An
// empty user is the organisation's first, who administers it.
func (p *Portal) UserToken(org, user string) string {
	w := p.world(org)
	if w == nil {
		return ""
	}
	c := claims{Sub: user, Org: org}
	if user == "" {
		c.Sub = w.users[0]
	}
	c.Admin = c.Sub == w.users[0]
	body, _ := json.Marshal(c) // strings and a bool
	enc := base64.RawURLEncoding
	head := enc.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc.EncodeToString(body)
	return head + "." + enc.EncodeToString(p.sign(head))
}

func (p *Portal) sign(s string) []byte {
	m := hmac.New(sha256.New, fmt.Appendf(nil, "user tokens of seed %d", p.options.Seed))
	m.Write([]byte(s))
	return m.Sum(nil)
}

// user reads the user token of a request.
func (p *Portal) user(authorization string) (claims, bool) {
	scheme, token, _ := strings.Cut(authorization, " ")
	i := strings.LastIndexByte(token, '.')
	if !strings.EqualFold(scheme, "Bearer") || i < 0 {
		return claims{}, false
	}
	enc := base64.RawURLEncoding
	sig, err := enc.DecodeString(token[i+1:])
	if err != nil || !hmac.Equal(sig, p.sign(token[:i])) {
		return claims{}, false
	}
	_, body, _ := strings.Cut(token[:i], ".")
	raw, err := enc.DecodeString(body)
	var c claims
	if err != nil || json.Unmarshal(raw, &c) != nil || p.world(c.Org) == nil {
		return claims{}, false
	}
	return c, true
}
