package portal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// keysAPI serves the Portal's own side of management keys to a logged-in user:
//
//	POST   /api-keys                 {org_id, name, description, expires_at, scopes} → the key, whole this once: api_key
//	GET    /api-keys                 ?org_id= &status=active|disabled|revoked &search= &page= &pagesize= → {list, total}
//	GET    /api-keys/{id}
//	PUT    /api-keys/{id}            {name, description}
//	DELETE /api-keys/{id}            {name}, which must be the key's
//	POST   /api-keys/{id}/{disable|enable|revoke|restore}
//
// Without org_id it is the personal account, "0"; an organisation's keys are its administrator's. Another user's key is
// not found. Of the paths the Portal documents the first two; what the others do it describes, and the paths are this
// simulation's.
func (p *Portal) keysAPI(r *http.Request) answer {
	c, ok := p.user(r.Header.Get("Authorization"))
	if !ok {
		return failure(http.StatusUnauthorized, "unauthorized: invalid user token")
	}
	rest := strings.Trim(strings.TrimPrefix(r.URL.Path, BasePath+"/api-keys"), "/")
	id, verb, _ := strings.Cut(rest, "/")
	if id == "" {
		switch r.Method {
		case http.MethodGet:
			return p.listKeys(c, r.URL.Query())
		case http.MethodPost:
			return p.createKey(c, r)
		}
		return failure(http.StatusMethodNotAllowed, "method not allowed")
	}
	info, err := p.KeyInfo(id)
	if err != nil || id != info.ID || info.Org != c.Org || info.User != c.Sub {
		return failure(http.StatusNotFound, ErrNoKey.Error())
	}
	switch {
	case verb == "" && r.Method == http.MethodGet:
		return success(info)
	case verb == "" && (r.Method == http.MethodPut || r.Method == http.MethodPatch):
		return p.updateKey(info, r)
	case verb == "" && r.Method == http.MethodDelete:
		var in struct{ Name string }
		if err := decode(r, &in); err != nil {
			return invalid(err)
		}
		if in.Name != info.Name {
			return failure(http.StatusBadRequest, "invalid_request: name doesn't confirm the deletion")
		}
		return p.done(id, p.DeleteKey(id))
	case r.Method != http.MethodPost:
		return failure(http.StatusMethodNotAllowed, "method not allowed")
	}
	switch verb {
	case "disable":
		err = p.DisableKey(id)
	case "enable":
		err = p.EnableKey(id)
	case "revoke":
		err = p.RevokeKey(id)
	case "restore":
		err = p.RestoreKey(id)
	default:
		return failure(http.StatusNotFound, "not found")
	}
	return p.done(id, err)
}

// done answers a change of a key with the key as it is now, or null if it is gone.
func (p *Portal) done(id string, err error) answer {
	if errors.Is(err, ErrNoKey) {
		return failure(http.StatusNotFound, err.Error())
	}
	if err != nil {
		return invalid(err)
	}
	if info, err := p.KeyInfo(id); err == nil {
		return success(info)
	}
	return success(nil)
}

func invalid(err error) answer {
	return failure(http.StatusBadRequest, "invalid_request: "+err.Error())
}

func decode(r *http.Request, into any) error {
	d := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}

// personal is the id of a personal account, which is what no org_id stands for.
const personal = "0"

// refused says why a user may not manage keys of an organisation, if they may not; without one it fills in the personal
// account.
func (c claims) refused(org *string) (a answer, refused bool) {
	if *org == "" {
		*org = personal
	}
	if *org != c.Org || (*org != personal && !c.Admin) {
		return failure(http.StatusForbidden, "forbidden: only an administrator of the organization may manage its keys"), true
	}
	return answer{}, false
}

func (p *Portal) createKey(c claims, r *http.Request) answer {
	var in struct {
		Org         string   `json:"org_id"`
		Name        string   `json:"name"`
		Description string   `json:"description"`
		Expires     int64    `json:"expires_at"`
		Scopes      []string `json:"scopes"`
	}
	if err := decode(r, &in); err != nil {
		return invalid(err)
	}
	if a, refused := c.refused(&in.Org); refused {
		return a
	}
	s := KeySpec{Org: in.Org, User: c.Sub, Admin: c.Admin, Name: in.Name, Description: in.Description, Scopes: in.Scopes}
	if in.Expires < 0 {
		return invalid(errKey("expires_at is negative"))
	}
	if in.Expires > 0 {
		s.Expires = time.Unix(in.Expires, 0)
	}
	id, whole, err := p.AddKey(s)
	if err != nil {
		return invalid(err)
	}
	info, err := p.KeyInfo(id)
	if err != nil {
		return failure(http.StatusNotFound, err.Error())
	}
	return success(wholeKey{whole, info})
}

// wholeKey is a key as it is shown once, at its creation.
type wholeKey struct {
	Key string `json:"api_key"`
	KeyInfo
}

func (p *Portal) updateKey(info KeyInfo, r *http.Request) answer {
	var in struct {
		Name        *string `json:"name"`
		Description *string `json:"description"`
	}
	if err := decode(r, &in); err != nil {
		return invalid(err)
	}
	return p.done(info.ID, p.keys.change(info.ID, func(n *key) error {
		name, description := n.Name, n.Description
		if in.Name != nil {
			name = *in.Name
		}
		if in.Description != nil {
			description = *in.Description
		}
		if err := checkText(name, description); err != nil {
			return err
		}
		n.Name, n.Description = name, description
		return nil
	}))
}

func (p *Portal) listKeys(c claims, v url.Values) answer {
	status := strings.ToLower(v.Get("status"))
	switch Status(status) {
	case "", Active, Disabled, Revoked:
	default:
		return invalid(errKey("status is none of active, disabled, revoked"))
	}
	page, size, err := paging(v, defaultPage)
	if err != nil {
		return invalid(err)
	}
	org := v.Get("org_id")
	if a, refused := c.refused(&org); refused {
		return a
	}
	size = min(size, 100)
	all := p.keys.owned(org, c.Sub, status, v.Get("search"))
	from := min((page-1)*size, len(all))
	return success(struct {
		List  []KeyInfo `json:"list"`
		Total int       `json:"total"`
	}{all[from:min(from+size, len(all))], len(all)})
}

// maxPage keeps page × pagesize inside an int.
const maxPage = 1 << 30

// paging reads page (default 1) and pagesize.
func paging(v url.Values, usual int) (page, size int, err error) {
	page, size = 1, usual
	for _, x := range []struct {
		name string
		into *int
	}{{"page", &page}, {"pagesize", &size}} {
		if s := v.Get(x.name); s != "" {
			n, err := strconv.Atoi(s)
			if err != nil || n < 1 || n > maxPage {
				return 0, 0, errKey(x.name + " must be a whole number from 1")
			}
			*x.into = n
		}
	}
	return page, size, nil
}
