package portal

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Record is one usage record as the Portal would give it now. Prices and amounts are exact decimals in plain notation
// without trailing zeros ("0.012237", "-3", "0"); prices are per million tokens.
//
// Of an organisation of [Summary] shape only Kind, Org, Number, RequestTime, Model and Tokens are filled: nothing else
// is served.
type Record struct {
	Kind           string            `json:"kind"` // "request" or "summary"
	Org            string            `json:"org"`
	Number         int64             `json:"number"` // the Portal's own, one a record; the API doesn't give it
	ID             string            `json:"id,omitempty"`
	RequestTime    time.Time         `json:"request_time"` // UTC, whole seconds
	UserID         string            `json:"user_id,omitempty"`
	CustomUserID   string            `json:"custom_user_id,omitempty"`
	TokenID        string            `json:"token_id,omitempty"`
	Team           string            `json:"team,omitempty"` // the token's; the API doesn't give it
	Model          string            `json:"model"`
	ModelType      string            `json:"model_type,omitempty"`
	InputTokens    int64             `json:"input_token"`
	OutputTokens   int64             `json:"output_token"`
	CachedTokens   int64             `json:"cached_token"`
	Tokens         int64             `json:"tokens"` // those of the three that are served, together
	InputPrice     string            `json:"input_price,omitempty"`
	OutputPrice    string            `json:"output_price,omitempty"`
	CachedPrice    string            `json:"cached_price,omitempty"`
	TotalAmount    string            `json:"total_amount,omitempty"` // gross
	DiscountAmount string            `json:"discount_amount,omitempty"`
	Amount         string            `json:"amount,omitempty"` // net
	ChannelID      int64             `json:"channel_id,omitempty"`
	Ext            []ExtItem         `json:"ext,omitempty"`
	ExtSent        bool              `json:"ext_sent"`          // false if ext is absent or null, rather than empty
	Extra          map[string]string `json:"extra,omitempty"`   // undocumented, as JSON text; those below ext under "ext"
	Missing        []string          `json:"missing,omitempty"` // left out by the API or sent as null; zero here

	// Bad is empty, or how the record is spoilt: a name of fault bad-kinds. The other fields are then what it should have
	// said.
	Bad       string `json:"bad,omitempty"`
	Late      bool   `json:"late,omitempty"`      // it showed later than its request_time
	Corrected bool   `json:"corrected,omitempty"` // its amounts aren't those it was first served with
	Shared    bool   `json:"shared,omitempty"`    // it bears the id of another, by fault shared-id
	Twice     bool   `json:"twice,omitempty"`     // it is listed and counted twice

	// Served is the record as the API lists it now, byte for byte: what tells two of one id apart.
	Served []byte `json:"-"`
}

// ExtItem is one charge beside the tokens: ext.<Group>.<Item>.
type ExtItem struct {
	Group  string `json:"group"`
	Item   string `json:"item"`
	Unit   string `json:"unit"`
	Price  string `json:"price"`
	Usage  string `json:"usage"`
	Amount string `json:"amount"`
}

// row is a record as it stands at the time of a request.
type row struct {
	*rec
	corrected bool
}

// extraFields are the undocumented fields a record carries under the faults in force.
func (s *faultState) extraFields(no int64) [][2]string {
	var extra [][2]string
	if s.UnknownFields {
		region := [...]string{"eu-1", "us-2", "ap-3"}[hash(9, uint64(no))%3]
		extra = append(extra, [2]string{"region", strconv.Quote(region)},
			[2]string{"usage_detail", `{"reasoning_token":7,"cache":{"hit":true}}`})
	}
	if s.fate.hostileKind(no) == hostileNested {
		extra = append(extra, [2]string{"trace", strings.Repeat("[", 500) + strings.Repeat("]", 500)})
	}
	return extra
}

// Hostile content, by number; 1 to 3 are in custom_user_id.
const (
	hostileNested = 4
	hostileDigits = 5
	hostileID     = 6
	hostileKinds  = 6
)

func (s *faultState) custom(x *rec) string {
	switch s.fate.hostileKind(x.no) {
	case 1:
		return "a\x00b\x00"
	case 2:
		return "\x1b[31mred\x1b[0m\x1b]0;title\x07\x7f"
	case 3:
		return strings.Repeat("64KiB of \"this\" ", 4096)
	}
	return x.custom
}

// extItems are a record's ext items with those an undocumented group adds.
func (s *faultState) extItems(x *rec) []extItem {
	if !s.UnknownFields || x.no&(1<<14) == 0 {
		return x.ext
	}
	return append(x.ext[:len(x.ext):len(x.ext)], extItem{group: "output_v3", item: "avatar", unit: "each",
		usage: 1_500_000})
}

func (p *Portal) truth(w *world, s *faultState, r row) Record {
	at := time.Unix(r.sec, 0).UTC()
	m := &w.models[r.model]
	e := encoder{s: s}
	if w.shape == Summary {
		e.summary(w, r)
		return Record{Kind: "summary", Org: w.org, Number: r.no, RequestTime: at, Model: m.name, Tokens: r.tokens(),
			Late: s.fate.isLate(r.no) || r.seen > 0, Corrected: r.corrected, Twice: s.fate.isTwice(r.no), Served: e.b}
	}
	e.record(w, r)
	t := Record{
		Kind: "request", Org: w.org, Number: r.no, ID: s.idText(r.rec), RequestTime: at,
		UserID: w.users[r.user], CustomUserID: s.custom(r.rec), TokenID: w.tokens[r.token].id,
		Team:  w.teams[w.tokens[r.token].team].Name,
		Model: m.name, ModelType: m.kind,
		InputTokens: r.in, OutputTokens: r.out, CachedTokens: r.cached, Tokens: r.tokens(),
		InputPrice: decimal(r.inPrice, nano), OutputPrice: decimal(r.outPrice, nano),
		CachedPrice: decimal(r.cachedPrice, nano),
		TotalAmount: decimal(r.total, pico), DiscountAmount: decimal(r.discount, pico),
		Amount:    decimal(r.total-r.discount, pico),
		ChannelID: int64(r.channel),
		Bad:       s.fate.badKind(r.no), Late: s.fate.isLate(r.no) || r.seen > 0, Corrected: r.corrected,
		Shared: r.bears != 0, Twice: s.fate.isTwice(r.no), Served: e.b,
	}
	for _, e := range s.extItems(r.rec) {
		t.Ext = append(t.Ext, ExtItem{e.group, e.item, e.unit, decimal(e.price, nano), decimal(e.usage, micro),
			decimal(e.amount, pico)})
	}
	t.ExtSent = s.extForm(r) != "absent" && s.extForm(r) != "null"
	for _, e := range s.extraFields(r.no) {
		if t.Extra == nil {
			t.Extra = map[string]string{}
		}
		t.Extra[e[0]] = e[1]
	}
	if s.UnknownFields && len(t.Ext) > 0 {
		below := map[string]map[string]map[string]string{}
		for _, e := range t.Ext {
			if below[e.Group] == nil {
				below[e.Group] = map[string]map[string]string{}
			}
			below[e.Group][e.Item] = map[string]string{"tier": "gold"}
		}
		b, _ := json.Marshal(below) // maps of strings
		t.Extra["ext"] = string(b)
	}
	lost, _ := s.fate.lacks(r.no)
	for i, field := range optional {
		if lost>>i&1 == 0 {
			continue
		}
		t.Missing = append(t.Missing, field)
		switch field {
		case "user_id":
			t.UserID = ""
		case "custom_user_id":
			t.CustomUserID = ""
		case "token_id":
			t.TokenID = ""
		case "model_type":
			t.ModelType = ""
		case "cached_token":
			t.Tokens -= t.CachedTokens
			t.CachedTokens = 0
		case "cached_price":
			t.CachedPrice = ""
		case "discount_amount":
			t.DiscountAmount = ""
		case "channel_id":
			t.ChannelID = 0
		}
	}
	return t
}

// extForm is how a record's ext is served: "absent", "null", "string" or "" for an object.
func (s *faultState) extForm(r row) string {
	switch empty := len(s.extItems(r.rec)) == 0; {
	case !empty && s.Ext != "string":
		return ""
	case empty && s.Ext != "null" && r.channel%16 == 0: // some channels never learnt to send it
		return "absent"
	}
	return s.Ext
}

// encoder writes records as the API does under the faults in force.
type encoder struct {
	b []byte
	s *faultState

	lost, null uint // of the optional fields, those this record goes without
}

// skips deals with a field that this record goes without.
func (e *encoder) skips(k string) bool {
	if e.lost == 0 {
		return false
	}
	i := slices.Index(optional[:], k)
	if i < 0 || e.lost>>i&1 == 0 {
		return false
	}
	if e.null>>i&1 == 1 {
		e.raw(k, "null")
	}
	return true
}

func (e *encoder) key(k string) {
	if c := e.b[len(e.b)-1]; c != '{' {
		e.b = append(e.b, ',')
	}
	e.b = append(e.b, '"')
	e.b = append(e.b, k...)
	e.b = append(e.b, '"', ':')
}

func (e *encoder) str(k, v string) {
	if e.skips(k) {
		return
	}
	e.key(k)
	e.b = appendString(e.b, v)
}

func (e *encoder) raw(k, v string) {
	e.key(k)
	e.b = append(e.b, v...)
}

// num writes v / 10^scale.
func (e *encoder) num(k string, v int64, scale int) {
	if e.skips(k) {
		return
	}
	e.key(k)
	if e.s.Strings {
		e.b = append(e.b, '"')
	}
	e.b = appendNumber(e.b, v, scale)
	if e.s.Strings {
		e.b = append(e.b, '"')
	}
}

func (e *encoder) price(k string, v int64) {
	if !e.s.FloatNoise || v == 0 {
		e.num(k, v, nano)
		return
	}
	// A double's neighbour: right to twelve places and beyond, wrong in the sixteenth or seventeenth.
	d := decimal(v, nano)
	whole, frac, _ := strings.Cut(d, ".")
	e.digits(k, whole+"."+frac+strings.Repeat("0", 16-len(frac))+"4")
}

// digits writes a number given as text.
func (e *encoder) digits(k, d string) {
	if e.skips(k) {
		return
	}
	if e.s.Strings {
		d = `"` + d + `"`
	}
	e.raw(k, d)
}

func (e *encoder) record(w *world, r row) {
	bad := e.s.fate.badKind(r.no)
	switch bad {
	case "text":
		e.b = append(e.b, `"usage record unavailable"`...)
		return
	case "number":
		e.b = strconv.AppendInt(e.b, r.no, 10)
		return
	}
	m := &w.models[r.model]
	e.lost, e.null = e.s.fate.lacks(r.no)
	defer func() { e.lost, e.null = 0, 0 }()
	e.b = append(e.b, '{')
	switch bad {
	case "no-id":
	case "null-id":
		e.raw("id", "null")
	default:
		e.str("id", e.s.idText(r.rec))
	}
	if bad == "ms-time" {
		e.num("request_time", r.sec*1000, 0)
	} else {
		e.num("request_time", r.sec, 0)
	}
	e.str("user_id", w.users[r.user])
	e.str("custom_user_id", e.s.custom(r.rec))
	e.str("token_id", w.tokens[r.token].id)
	e.str("model", m.name)
	e.str("model_type", m.kind)
	if bad == "fraction" {
		e.num("input_token", r.in*10+5, 1)
	} else {
		e.num("input_token", r.in, 0)
	}
	e.num("output_token", r.out, 0)
	e.price("input_price", r.inPrice)
	e.price("output_price", r.outPrice)
	e.num("cached_token", r.cached, 0)
	if e.s.fate.hostileKind(r.no) == hostileDigits {
		whole, frac, _ := strings.Cut(decimal(r.cachedPrice, nano), ".")
		e.digits("cached_price", whole+"."+frac+strings.Repeat("0", 10_000)+"1")
	} else {
		e.price("cached_price", r.cachedPrice)
	}
	switch bad {
	case "nan":
		e.str("total_amount", "NaN")
	case "huge":
		e.raw("total_amount", "123456789012345678901234567890.5")
	default:
		e.num("total_amount", r.total, pico)
	}
	e.num("discount_amount", r.discount, pico)
	e.num("amount", r.total-r.discount, pico)
	e.num("channel_id", int64(r.channel), 0)
	for _, x := range e.s.extraFields(r.no) {
		e.raw(x[0], x[1])
	}
	e.ext(r)
	e.b = append(e.b, '}')
}

func (e *encoder) ext(r row) {
	items := e.s.extItems(r.rec)
	form := e.s.extForm(r)
	switch {
	case form == "absent":
		return
	case form == "null":
		e.raw("ext", "null")
		return
	case len(items) == 0 && form == "string":
		e.raw("ext", `"{}"`)
		return
	case len(items) == 0:
		e.raw("ext", "{}")
		return
	}
	inner := encoder{s: e.s, b: []byte{'{'}}
	for i, x := range items { // items of a group stand together
		if i == 0 || items[i-1].group != x.group {
			if i > 0 {
				inner.b = append(inner.b, '}')
			}
			inner.raw(x.group, "{")
		}
		inner.raw(x.item, "{")
		inner.str("unit", x.unit)
		inner.num("price", x.price, nano)
		inner.num("usage", x.usage, micro)
		inner.num("amount", x.amount, pico)
		if e.s.UnknownFields {
			inner.str("tier", "gold")
		}
		inner.b = append(inner.b, '}')
	}
	inner.b = append(inner.b, '}', '}')
	if form == "string" {
		e.str("ext", string(inner.b))
	} else {
		e.raw("ext", string(inner.b))
	}
}

// appendString appends a JSON string; unlike encoding/json it leaves <, > and & as they are, as the API does.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c == '\n':
				b = append(b, '\\', 'n')
			case c < 0x20:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				b = append(b, c)
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		b = utf8.AppendRune(b, r)
		i += size
	}
	return append(b, '"')
}
