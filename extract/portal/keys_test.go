package portal

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

type made struct {
	KeyInfo
	Key string `json:"api_key"`
}

func TestTheLifeOfAKey(t *testing.T) {
	c := &clock{noon}
	p := open(t, Options{Limit: unlimited, Now: c.now})
	user := p.UserToken("0", "")
	call := func(method, path, body string, want int) answered {
		t.Helper()
		a := do(t, p, method, BasePath+"/api-keys"+path, user, body)
		if a.status != want {
			t.Fatalf("%s %s %s: %d %s", method, path, body, a.status, a.raw)
		}
		return a
	}
	works := func(key string, want int) {
		t.Helper()
		if a := do(t, p, "GET", BasePath+"/balance", key, ""); a.status != want {
			t.Fatalf("key: %d %s, want %d", a.status, a.raw, want)
		}
	}

	a := call("POST", "", `{"name":"Nightly export","description":"cron","expires_at":0,"scopes":["balance:read"]}`, 200)
	var k made
	if err := json.Unmarshal(a.Data, &k); err != nil {
		t.Fatal(err)
	}
	if !wellFormed(k.Key) || k.Display != k.Key[:14]+"..."+k.Key[62:] || k.Status != Active || k.Created != noon.Unix() ||
		k.LastUsed != 0 {
		t.Errorf("made %+v", k)
	}
	works(k.Key, 200)
	c.t = c.t.Add(time.Hour)
	works(k.Key, 200)
	a = call("GET", "/"+k.ID, "", 200)
	if strings.Contains(string(a.raw), k.Key) {
		t.Error("the key is shown whole a second time")
	}
	var info KeyInfo
	json.Unmarshal(a.Data, &info)
	if info.LastUsed != c.t.Unix() {
		t.Errorf("last used %d", info.LastUsed)
	}

	call("PUT", "/"+k.ID, `{"name":"Weekly","description":"moved"}`, 200)
	call("PUT", "/"+k.ID, `{"name":""}`, 400)
	call("PUT", "/"+k.ID, `{"scopes":["usage:read"]}`, 400) // name and description only
	call("POST", "/"+k.ID+"/enable", "", 400)               // not disabled
	call("POST", "/"+k.ID+"/restore", "", 400)              // not revoked
	call("POST", "/"+k.ID+"/disable", "", 200)
	works(k.Key, 401)
	call("POST", "/"+k.ID+"/enable", "", 200)
	works(k.Key, 200)
	call("POST", "/"+k.ID+"/revoke", "", 200)
	works(k.Key, 401)
	call("POST", "/"+k.ID+"/enable", "", 400)
	call("POST", "/"+k.ID+"/restore", "", 200)
	works(k.Key, 200)
	call("DELETE", "/"+k.ID, `{"name":"Nightly export"}`, 400)
	works(k.Key, 200)
	call("DELETE", "/"+k.ID, `{"name":"Weekly"}`, 200)
	works(k.Key, 401)
	call("GET", "/"+k.ID, "", 404)
	call("POST", "/00000000-0000-4000-8000-000000000000/revoke", "", 404)
	call("PATCH", "", "", 405)

	a = call("POST", "", fmt.Sprintf(`{"name":"short","expires_at":%d,"scopes":["balance:read"]}`, c.t.Unix()+60), 200)
	json.Unmarshal(a.Data, &k)
	works(k.Key, 200)
	c.t = c.t.Add(time.Minute)
	works(k.Key, 401)
}

func TestKeysAreMadeByTheRules(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	scopes := func(n int) string { return strings.TrimSuffix(strings.Repeat(`"usage:read",`, n), ",") }
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"no name":              {`{"name":""}`, 400},
		"one letter":           {`{"name":"x"}`, 200},
		"100 letters":          {`{"name":"` + strings.Repeat("é", 100) + `"}`, 200},
		"101 letters":          {`{"name":"` + strings.Repeat("é", 101) + `"}`, 400},
		"500 of description":   {`{"name":"x","description":"` + strings.Repeat("é", 500) + `"}`, 200},
		"501 of description":   {`{"name":"x","description":"` + strings.Repeat("é", 501) + `"}`, 400},
		"10 scopes":            {`{"name":"x","scopes":[` + scopes(10) + `]}`, 200},
		"11 scopes":            {`{"name":"x","scopes":[` + scopes(11) + `]}`, 400},
		"50 letters of scope":  {`{"name":"x","scopes":["` + strings.Repeat("é", 50) + `"]}`, 200},
		"51 letters of scope":  {`{"name":"x","scopes":["` + strings.Repeat("é", 51) + `"]}`, 400},
		"an empty scope":       {`{"name":"x","scopes":[""]}`, 400},
		"expires in the past":  {fmt.Sprintf(`{"name":"x","expires_at":%d}`, noon.Unix()), 400},
		"expires before 1970":  {`{"name":"x","expires_at":-1}`, 400},
		"unknown field":        {`{"name":"x","admin":true}`, 400},
		"no JSON":              {`name=x`, 400},
		"expires in an hour":   {fmt.Sprintf(`{"name":"x","expires_at":%d}`, noon.Unix()+3600), 200},
		"without scopes":       {`{"name":"x","scopes":[]}`, 200},
		"same name once again": {`{"name":"x"}`, 200},
	} {
		if a := do(t, p, "POST", BasePath+"/api-keys", p.UserToken("0", p.worlds[0].users[1]), c.body); a.status != c.status {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
}

// TestKeysHaveTheDocumentedNames reads the answers as a client does that has read the documentation.
func TestKeysHaveTheDocumentedNames(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	user := p.UserToken("0", "77")
	fields := func(raw json.RawMessage) map[string]any {
		t.Helper()
		var m map[string]any
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		return m
	}
	expires := noon.Unix() + 60
	created := fields(do(t, p, "POST", BasePath+"/api-keys", user,
		fmt.Sprintf(`{"org_id":"0","name":"n","description":"d","expires_at":%d,"scopes":["usage:read"]}`, expires)).Data)
	var listed struct{ List []json.RawMessage }
	if err := json.Unmarshal(do(t, p, "GET", BasePath+"/api-keys", user, "").Data, &listed); err != nil ||
		len(listed.List) != 1 {
		t.Fatal(listed, err)
	}
	again := fields(listed.List[0])
	key, _ := created["api_key"].(string)
	if !wellFormed(key) || again["api_key"] != nil {
		t.Errorf("api_key is %v, then %v", created["api_key"], again["api_key"])
	}
	delete(created, "api_key")
	want := map[string]any{"org_id": "0", "name": "n", "description": "d", "status": "active",
		"display":      key[:14] + "..." + key[62:],
		"last_used_at": 0.0, "expires_at": float64(expires), "created_at": float64(noon.Unix()),
		"scopes": []any{"usage:read"}}
	id, _ := created["id"].(string)
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) ||
		id != again["id"] {
		t.Errorf("id %v, then %v", created["id"], again["id"])
	}
	delete(created, "id")
	delete(again, "id")
	if !reflect.DeepEqual(created, want) || !reflect.DeepEqual(again, want) {
		t.Errorf("created %v\nlisted %v\nwant %v", created, again, want)
	}
}

func TestKeysOfAnOrganisationAreItsAdministrators(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Orgs: []OrgOptions{{ID: "0"}, {ID: "acme"}}})
	admin, member, own := p.UserToken("acme", ""), p.UserToken("acme", "55"), p.UserToken("0", "55")
	for _, c := range []struct {
		name, token, org string
		status           int
	}{
		{"administrator", admin, `"org_id":"acme",`, 200}, {"administrator, the personal account", admin, "", 403},
		{"member", member, `"org_id":"acme",`, 403},
		{"of no organisation", own, `"org_id":"acme",`, 403}, {"the personal account", own, "", 200},
		{"by its id", own, `"org_id":"0",`, 200},
	} {
		if a := do(t, p, "POST", BasePath+"/api-keys", c.token, `{`+c.org+`"name":"k"}`); a.status != c.status {
			t.Errorf("%s: %d %s", c.name, a.status, a.raw)
		}
	}
	for query, status := range map[string]int{"?org_id=acme": 200, "": 403, "?org_id=0": 403} {
		if a := do(t, p, "GET", BasePath+"/api-keys"+query, admin, ""); a.status != status {
			t.Errorf("list %q: %d", query, a.status)
		}
	}
}

func TestAtMostTenActiveKeysOfAUser(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Orgs: []OrgOptions{{ID: "0"}, {ID: "b"}}})
	user := p.UserToken("0", "55")
	create := func(user string) (made, int) {
		a := do(t, p, "POST", BasePath+"/api-keys", user, `{"name":"k"}`)
		var k made
		json.Unmarshal(a.Data, &k)
		return k, a.status
	}
	var ks []made
	for range 10 {
		k, status := create(user)
		if status != 200 {
			t.Fatal(status)
		}
		ks = append(ks, k)
	}
	if _, status := create(user); status != 400 {
		t.Errorf("the eleventh: %d", status)
	}
	if _, status := create(p.UserToken("0", "56")); status != 200 {
		t.Errorf("somebody else's first: %d", status)
	}
	if _, _, err := p.AddKey(KeySpec{Org: "b", User: "55", Name: "k"}); err != nil {
		t.Errorf("the same user's first elsewhere: %v", err)
	}
	if err := p.RevokeKey(ks[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, status := create(user); status != 200 {
		t.Errorf("in place of a revoked one: %d", status)
	}
	if err := p.RestoreKey(ks[0].ID); err == nil {
		t.Error("an eleventh was restored")
	}
	if err := p.DisableKey(ks[1].ID); err != nil {
		t.Fatal(err)
	}
	if err := p.RestoreKey(ks[0].Key); err != nil {
		t.Error(err)
	}
	if err := p.EnableKey(ks[1].ID); err == nil {
		t.Error("an eleventh was enabled")
	}
	if err := p.ExpireKey(ks[2].ID, noon); err != nil {
		t.Fatal(err)
	}
	if err := p.EnableKey(ks[1].ID); err != nil {
		t.Errorf("in place of an expired one: %v", err)
	}
}

func TestKeysAreListedBySearchStatusAndPage(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	user := p.UserToken("0", "77")
	for i, name := range []string{"Export alpha", "Export beta", "Dashboard", "export gamma", "Alerts"} {
		id, _, err := p.AddKey(KeySpec{Org: "0", User: "77", Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			p.DisableKey(id)
		}
		if i == 2 {
			p.RevokeKey(id)
		}
	}
	for query, want := range map[string]string{
		"":                                 "5 Alerts,export gamma,Dashboard,Export beta,Export alpha",
		"?status=active":                   "3 Alerts,export gamma,Export alpha",
		"?status=Disabled":                 "1 Export beta",
		"?status=revoked":                  "1 Dashboard",
		"?search=EXPORT":                   "3 export gamma,Export beta,Export alpha",
		"?search=export&status=active":     "2 export gamma,Export alpha",
		"?pagesize=2&page=2":               "5 Dashboard,Export beta",
		"?pagesize=2&page=9":               "5 ",
		"?pagesize=1000000&page=100000000": "5 ",
	} {
		a := do(t, p, "GET", BasePath+"/api-keys"+query, user, "")
		var d struct {
			List  []KeyInfo
			Total int
		}
		if err := json.Unmarshal(a.Data, &d); err != nil {
			t.Fatalf("%s: %s", query, a.raw)
		}
		var names []string
		for _, k := range d.List {
			names = append(names, k.Name)
		}
		if got := fmt.Sprint(d.Total, " ", strings.Join(names, ",")); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	if a := do(t, p, "GET", BasePath+"/api-keys?status=gone", user, ""); a.status != 400 {
		t.Errorf("unknown status: %d", a.status)
	}
}

func TestOnlyALoggedInUserManagesKeysAndOnlyTheirOwn(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	other := open(t, Options{Seed: 1, Limit: unlimited})
	id, _, _ := p.AddKey(KeySpec{Org: "0", User: "77", Name: "mine"})
	token := p.UserToken("0", "77")
	for name, bearer := range map[string]string{"none": "", "management key": p.Key("0"),
		"of another Portal": other.UserToken("0", "77"), "tampered": token[:len(token)-3] + "AAA", "no token": "a.b.c"} {
		if a := do(t, p, "GET", BasePath+"/api-keys", bearer, ""); a.status != 401 || a.Meta.Code != 401 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
	if a := do(t, p, "GET", BasePath+"/api-keys/"+id, p.UserToken("0", "78"), ""); a.status != 404 {
		t.Errorf("somebody else's key: %d", a.status)
	}
	if a := do(t, p, "GET", BasePath+"/usage", token, ""); a.status != 401 {
		t.Errorf("usage with a user token: %d", a.status)
	}
}

func TestAFixedKeyIsUsedAsGiven(t *testing.T) {
	want := keyPrefix + strings.Repeat("ab", 32)
	p := open(t, Options{Limit: unlimited, Orgs: []OrgOptions{{Key: want}}})
	if p.Key("0") != want {
		t.Error("another key")
	}
	if err := p.SetScopes(want, ScopeUsage); err != nil {
		t.Fatal(err)
	}
	if a := do(t, p, "GET", BasePath+"/balance", want, ""); a.status != 403 {
		t.Errorf("stripped key: %d", a.status)
	}
	p.DisableKey(want)
	if p.Key("0") != "" {
		t.Error("a disabled key is offered")
	}
}
