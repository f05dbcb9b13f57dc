package portal

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Faults says what the Portal gets wrong. The zero value is a Portal without fault. A field's name on the command line
// and in JSON stands in its fault tag, what it does in faultHelp; [FaultNames] lists both.
//
// A probability (0 to 1) is rolled per request from the seed and the request's number since the faults were last set,
// so a run can be repeated; for records, from the seed and the record's number. Failures (status, body, connection,
// blank answers) are bounded by Only, From, To and For and lengthened by Run; what concerns time, paging, shape and
// data is not.
//
// Any values that [Faults.Validate] accepts may stand together.
type Faults struct {
	Only string        `fault:"only" one:"usage|balance"`
	From int           `fault:"from"`
	To   int           `fault:"to"`
	For  time.Duration `fault:"for"`
	Run  int           `fault:"run"`

	Latency   time.Duration `fault:"latency"`
	Jitter    time.Duration `fault:"jitter"`
	Hang      float64       `fault:"hang" prob:"1"`
	Drip      time.Duration `fault:"drip"`
	DripBytes int           `fault:"drip-bytes"`

	Limited        float64       `fault:"status-429" prob:"1"`
	RetryAfter     time.Duration `fault:"retry-after"`
	RetryAfterDate bool          `fault:"retry-after-date"`
	Status408      float64       `fault:"status-408" prob:"1"`
	Status500      float64       `fault:"status-500" prob:"1"`
	Status502      float64       `fault:"status-502" prob:"1"`
	Status503      float64       `fault:"status-503" prob:"1"`
	Status504      float64       `fault:"status-504" prob:"1"`

	HTML        float64 `fault:"html" prob:"1"`
	HTMLStatus  int     `fault:"html-status"`
	Empty       float64 `fault:"empty" prob:"1"`
	ContentType float64 `fault:"content-type" prob:"1"`
	Blank       float64 `fault:"blank" prob:"1"`
	CodeInside  float64 `fault:"code-inside" prob:"1"`
	InsideCode  int     `fault:"inside-code"`
	Malformed   float64 `fault:"malformed" prob:"1"`
	Cut         float64 `fault:"cut" prob:"1"`
	Truncate    float64 `fault:"truncate" prob:"1"`
	Reset       float64 `fault:"reset" prob:"1"`
	ResetBody   float64 `fault:"reset-body" prob:"1"`
	GzipBomb    float64 `fault:"gzip-bomb" prob:"1"`
	Gzip        string  `fault:"gzip" one:"off|always"`
	Redirect    float64 `fault:"redirect" prob:"1"`
	RedirectTo  string  `fault:"redirect-to"`

	PageMax        int           `fault:"page-max"`
	PageOver       string        `fault:"page-over" one:"clamp|refuse|default"`
	PageDefault    int           `fault:"page-default"`
	SizeIgnored    bool          `fault:"pagesize-ignored"`
	PageClamp      int           `fault:"page-clamp"`
	PageClampAfter int           `fault:"page-clamp-after"`
	PageClampFrom  int           `fault:"page-clamp-from"`
	PageClampBack  bool          `fault:"page-clamp-back"`
	Order          string        `fault:"order" one:"oldest|newest|random|shaky"`
	Ties           string        `fault:"ties" one:"request|page"`
	TieSpan        time.Duration `fault:"tie-span"`
	InclusiveEnd   bool          `fault:"inclusive-end"`
	ExclusiveStart bool          `fault:"exclusive-start"`
	Total          string        `fault:"total" one:"page|absent|null|string|random|huge"`
	TotalDelta     int           `fault:"total-delta" signed:"1"`
	TotalCap       int           `fault:"total-cap"`
	TotalCapOnly   int           `fault:"total-cap-only"`
	PastEnd        string        `fault:"past-end" one:"empty|last|null|400|404"`
	BlankPage      float64       `fault:"blank-page" prob:"1"`
	PageIgnored    bool          `fault:"page-ignored"`
	DeepPage       int           `fault:"deep-page"`
	FilterIgnored  bool          `fault:"filter-ignored"`
	MaxRange       time.Duration `fault:"max-range"`
	Duplicate      float64       `fault:"duplicate" prob:"1"`

	Strings       bool   `fault:"strings"`
	FloatNoise    bool   `fault:"float-noise"`
	UnknownFields bool   `fault:"unknown-fields"`
	Ext           string `fault:"ext" one:"absent|null|string"`
	Code200       bool   `fault:"code-200"`
	Bare          bool   `fault:"bare"`
	NullList      bool   `fault:"null-list"`

	SharedID     float64       `fault:"shared-id" prob:"1"`
	IDText       string        `fault:"id-text"`
	IDModulo     int           `fault:"id-modulo"`
	Twice        float64       `fault:"twice" prob:"1"`
	Burst        int           `fault:"burst" max:"5000"`
	BurstEvery   time.Duration `fault:"burst-every" min:"10m"`
	FilterBy     string        `fault:"filter-by" one:"settled"`
	SettleBy     time.Duration `fault:"settle-by" max:"24h"`
	SettleJitter time.Duration `fault:"settle-jitter" max:"24h"`
	Keep         time.Duration `fault:"keep"`
	KeepAnswer   string        `fault:"keep-answer" one:"empty|400|404"`

	Late        float64       `fault:"late" prob:"1"`
	LateBy      time.Duration `fault:"late-by"`
	Corrected   float64       `fault:"corrected" prob:"1"`
	CorrectedBy time.Duration `fault:"corrected-by"`
	Vanish      float64       `fault:"vanish" prob:"1"`
	VanishBy    time.Duration `fault:"vanish-by"`
	Swap        float64       `fault:"swap" prob:"1"`
	SwapBy      time.Duration `fault:"swap-by"`
	ArriveEvery int           `fault:"arrive-every"`
	ArriveMax   int           `fault:"arrive-max"`
	DropEvery   int           `fault:"drop-every"`
	DropMax     int           `fault:"drop-max"`
	SwapEvery   int           `fault:"swap-every"`
	SwapMax     int           `fault:"swap-max"`
	Bad         float64       `fault:"bad" prob:"1"`
	BadKinds    string        `fault:"bad-kinds"`
	Missing     float64       `fault:"missing" prob:"1"`
	Hostile     float64       `fault:"hostile" prob:"1"`

	KeyAfter   int    `fault:"key-after"`
	EchoKey    string `fault:"echo-key" one:"upper|lower"`
	KeyBecomes string `fault:"key-becomes" one:"disabled|revoked|expired|deleted|stripped"`

	Currency      string        `fault:"currency"`
	CurrencyAfter time.Duration `fault:"currency-after"`

	Skew time.Duration `fault:"skew" signed:"1"`
}

// faultHelp says what each fault does, by its name.
var faultHelp = map[string]string{
	"only":             "failures hit this endpoint only",
	"from":             "failures begin with this request, counted from 1 since the faults were set",
	"to":               "failures end after this request; 0 is never",
	"for":              "failures end this long after the faults were set, by the Portal's clock",
	"run":              "failures come in runs of this many requests",
	"latency":          "every answer waits this long",
	"jitter":           "and up to this much longer",
	"hang":             "no answer until the client gives up",
	"drip":             "the body comes in pieces with this pause between them",
	"drip-bytes":       "size of such a piece (default 4096)",
	"status-429":       "429 without a reason",
	"retry-after":      "every 429 and 503 asks to wait this long, in whole seconds",
	"retry-after-date": "Retry-After is a date rather than seconds",
	"status-408":       "408 in an envelope",
	"status-500":       "500 internal_error in an envelope",
	"status-502":       "502 in an envelope",
	"status-503":       "503 in an envelope",
	"status-504":       "504 in an envelope",
	"html":             "a gateway's HTML page instead of JSON",
	"html-status":      "status of that page (default 502; 200 is the nasty one)",
	"empty":            "200 without a body",
	"content-type":     "the right body labelled text/html",
	"blank":            "a usage answer that is right but for its list, which is empty, and its total, which is 0",
	"code-inside":      "an error's envelope under status 200",
	"inside-code":      "its meta.code (default 500)",
	"malformed":        "a body that is no JSON, of the right length",
	"cut":              "half the body, with a Content-Length that agrees",
	"truncate":         "half the body, then the connection closes before Content-Length is met",
	"reset":            "the connection is reset before the headers",
	"reset-body":       "the connection is reset in the middle of the body",
	"gzip-bomb":        "a megabyte that unpacks to a gigabyte of JSON string",
	"gzip":             "off: never compressed; always: even if not asked for",
	"redirect":         "307 to redirect-to",
	"redirect-to":      "base of the redirect (default http://portal.invalid)",
	"page-max":         "largest page size honoured (default 100)",
	"page-over": "a larger pagesize is clamped (as without fault), refused with 400, or ignored for the " +
		"default of 20",
	"page-default":     "what a request without pagesize gets (default 20)",
	"pagesize-ignored": "every request gets that, whatever pagesize it asks for",
	"page-clamp":       "pages hold at most this many",
	"page-clamp-after": "but only after this many requests",
	"page-clamp-from":  "but only from this page number on; they continue where the larger ones end",
	"page-clamp-back":  "no, they begin at (page-1) × page-clamp: records come twice, none is lost",
	"order":            "random: one order per query; shaky: another for each request",
	"ties": "oldest and newest order by time alone: equals are in another order in each request, or on each page " +
		"though the same in each pass",
	"tie-span":        "times are equal within spans of this, in whole seconds (default 1s)",
	"inclusive-end":   "a record at end_time belongs to the answer",
	"exclusive-start": "a record at start_time doesn't",
	"total": "total counts the page's own list, is absent, null, a string, another number in each " +
		"answer, or 2^63-1",
	"total-delta":    "total is wrong by this many",
	"total-cap":      "total is never above this many, and records after them are past the end",
	"total-cap-only": "total is never above this many; the listing goes on",
	"past-end": "a page past the end is empty, repeats the last page, has list null, or is refused with " +
		"that status",
	"blank-page":     "a page after the first is empty, though the total is right (bounded like a failure)",
	"page-ignored":   "every page is the first one",
	"deep-page":      "pages beyond this one come back empty",
	"filter-ignored": "token_id and user_id are ignored",
	"max-range":      "a longer range is refused with 400",
	"duplicate":      "a page repeats the last record of the page before it, on top of its own",
	"strings":        "numbers come as strings",
	"float-noise":    "prices carry binary noise: 0.30000000000000004",
	"unknown-fields": "fields, ext groups (free of charge) and item fields that nobody documented",
	"ext":            "an empty ext is absent or null; string: every ext is JSON in a string",
	"code-200":       "meta.code of a success is 200 rather than 0",
	"bare":           "a success has no meta, only data",
	"null-list":      "an empty list is null",
	"shared-id": "this share of records bears the id of another: calls tried again over another channel, charges " +
		"given back, calls settled up to hours later",
	"id-text":     "and this is the id they bear: None, 0",
	"id-modulo":   "ids are modulo this, so that records which have nothing to do with each other share them",
	"twice":       "this share of records is listed twice, byte for byte, and counted twice",
	"burst":       "so many records more in one single second now and then",
	"burst-every": "one such second in each span of this (default 6h)",
	"filter-by": "the filter and the order go by the settlement of a call, before which it doesn't show, rather " +
		"than by its request_time",
	"settle-by":     "it comes this long after the request (default 35s)",
	"settle-jitter": "and up to this much later",
	"keep":          "older records aren't listed any more",
	"keep-answer":   "a window that begins before them lacks them (as without fault), or is refused with that status",
	"late":          "this share of records shows late",
	"late-by":       "by this much (default 30h)",
	"corrected":     "this share of records gets other amounts",
	"corrected-by":  "this long after the request (default 36h)",
	"vanish":        "this share of records vanishes",
	"vanish-by":     "this long after the request (default 48h)",
	"swap":          "this share of records gives way to another of the same hour, so that the count stays",
	"swap-by":       "this long after the request (default 48h)",
	"arrive-every":  "after every k-th request of a window one more record shows inside it",
	"arrive-max":    "so many in all (default 8)",
	"drop-every":    "after every k-th request of a window one of its records vanishes",
	"drop-max":      "so many in all (default 8)",
	"swap-every": "after every k-th request of a window one of its records vanishes and another shows, so that the " +
		"total stays",
	"swap-max":  "so many in all (default 8)",
	"bad":       "this share of records can't be read",
	"bad-kinds": "in these ways, joined by + (default all): no-id null-id ms-time fraction nan huge text number",
	"missing":   "this share of records lacks some fields or has null in them",
	"hostile": "this share of records is valid but odd: a custom_user_id of NULs, escape sequences or 64 KiB, a " +
		"deeply nested field, a price of 10,000 digits, an id that is no number",
	"key-after":      "after this many requests the key in use ceases to work",
	"echo-key":       "error messages end with the key, in another case",
	"key-becomes":    "in this way (default disabled; stripped is of its scopes, a 403)",
	"currency":       "what the balance says instead of the organisation's: EUR, €",
	"currency-after": "but only this long after the faults were set, by the Portal's clock",
	"skew":           "the Date header is off by this much",
}

// FaultName describes one fault for a command's help.
type FaultName struct{ Name, Kind, Help string }

// FaultNames lists every fault in the order of [Faults].
func FaultNames() []FaultName {
	var names []FaultName
	for f := range reflect.TypeFor[Faults]().Fields() {
		n := FaultName{Name: f.Tag.Get("fault"), Help: faultHelp[f.Tag.Get("fault")]}
		switch {
		case f.Tag.Get("one") != "":
			n.Kind = f.Tag.Get("one")
		case f.Tag.Get("prob") != "":
			n.Kind = "probability"
		case f.Type == reflect.TypeFor[time.Duration]():
			n.Kind = "duration"
		case f.Type.Kind() == reflect.Int:
			n.Kind = "number"
		case f.Type.Kind() == reflect.Bool:
			n.Kind = "on or off"
		default:
			n.Kind = "text"
		}
		names = append(names, n)
	}
	return names
}

// Set changes one fault by its name: "latency", "200ms". An empty value of a switch turns it on.
func (f *Faults) Set(name, value string) error {
	v := reflect.ValueOf(f).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Tag.Get("fault") != name {
			continue
		}
		err := setField(v.Field(i), field.Tag, value)
		if err != nil {
			return fmt.Errorf("fault %s: %w", name, err)
		}
		return nil
	}
	return fmt.Errorf("no fault named %q", name)
}

// The largest values of faults: sums and products of them stay inside 64 bits.
const (
	largest = 1_000_000_000
	longest = 10 * 365 * 24 * time.Hour
)

// inRange checks a number that is on against its min and max tags, without which the most in either direction holds.
func inRange[T int | time.Duration](tag reflect.StructTag, x, most T, parse func(string) (T, error)) error {
	least := -most
	if s := tag.Get("min"); s != "" {
		least, _ = parse(s) // a tag of ours
	}
	if s := tag.Get("max"); s != "" {
		most, _ = parse(s)
	}
	if x != 0 && (x < least || x > most) {
		return fmt.Errorf("%v is not between %v and %v", x, least, most)
	}
	return nil
}

func setField(v reflect.Value, tag reflect.StructTag, value string) error {
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		d, err := time.ParseDuration(value)
		if err != nil {
			return fmt.Errorf("%q is no duration such as 200ms or 36h", value)
		}
		if d < 0 && tag.Get("signed") == "" {
			return fmt.Errorf("%q is negative", value)
		}
		if err := inRange(tag, d, longest, time.ParseDuration); err != nil {
			return err
		}
		*p = d
	case *float64:
		x, err := strconv.ParseFloat(value, 64)
		if err != nil || !(x >= 0 && x <= 1) {
			return fmt.Errorf("%q is no probability from 0 to 1", value)
		}
		*p = x
	case *int:
		x, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q is no whole number", value)
		}
		if x < 0 && tag.Get("signed") == "" {
			return fmt.Errorf("%q is negative", value)
		}
		if err := inRange(tag, x, largest, strconv.Atoi); err != nil {
			return err
		}
		*p = x
	case *bool:
		if value == "" {
			value = "true"
		}
		x, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		*p = x
	case *string:
		if one := tag.Get("one"); one != "" && value != "" && !slices.Contains(strings.Split(one, "|"), value) {
			return fmt.Errorf("%q is none of %s", value, strings.ReplaceAll(one, "|", ", "))
		}
		*p = value
	}
	return nil
}

// Validate reports every value out of range, which only a Faults filled in by hand can have.
func (f Faults) Validate() error {
	var errs []error
	v := reflect.ValueOf(&f).Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		if err := setField(v.Field(i), tag, fmt.Sprint(v.Field(i).Interface())); err != nil {
			errs = append(errs, fmt.Errorf("fault %s: %w", tag.Get("fault"), err))
		}
	}
	for k := range strings.SplitSeq(f.BadKinds, "+") {
		if k != "" && !slices.Contains(badKinds, k) {
			errs = append(errs, fmt.Errorf("fault bad-kinds: %q is none of %s", k, strings.Join(badKinds, ", ")))
		}
	}
	if f.HTMLStatus != 0 && (f.HTMLStatus < 200 || f.HTMLStatus > 599) {
		errs = append(errs, fmt.Errorf("fault html-status: %d is no status of an answer", f.HTMLStatus))
	}
	return errors.Join(errs...)
}

// ParseFaults reads name=value pairs joined by commas: "latency=200ms,status-503=0.1,strings".
func ParseFaults(s string) (Faults, error) {
	var f Faults
	var errs []error
	for pair := range strings.SplitSeq(s, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		errs = append(errs, f.Set(name, value))
	}
	errs = append(errs, f.Validate())
	return f, errors.Join(errs...)
}

// RegisterFlag adds a flag that may be given many times, each time with one or more faults as [ParseFaults] reads them.
func (f *Faults) RegisterFlag(fs *flag.FlagSet, name string) {
	fs.Func(name, "switch a fault on, as `name=value`; may be repeated", func(s string) error {
		for pair := range strings.SplitSeq(s, ",") {
			k, v, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if err := f.Set(k, v); err != nil {
				return err
			}
		}
		return f.Validate()
	})
}

// String is what [ParseFaults] would read back.
func (f Faults) String() string {
	var pairs []string
	v := reflect.ValueOf(f)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			pairs = append(pairs, fmt.Sprintf("%s=%v", v.Type().Field(i).Tag.Get("fault"), v.Field(i).Interface()))
		}
	}
	return strings.Join(pairs, ",")
}

// MarshalJSON gives an object of the faults that are on, durations as strings.
func (f Faults) MarshalJSON() ([]byte, error) {
	on := map[string]any{}
	v := reflect.ValueOf(f)
	for i := range v.NumField() {
		if x := v.Field(i); !x.IsZero() {
			if d, ok := x.Interface().(time.Duration); ok {
				on[v.Type().Field(i).Tag.Get("fault")] = d.String()
			} else {
				on[v.Type().Field(i).Tag.Get("fault")] = x.Interface()
			}
		}
	}
	return json.Marshal(on)
}

// UnmarshalJSON sets the faults an object names and leaves the others.
func (f *Faults) UnmarshalJSON(b []byte) error {
	var in map[string]json.RawMessage
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	var errs []error
	for name, raw := range in {
		value := string(raw)
		var s string
		if json.Unmarshal(raw, &s) == nil {
			value = s
		}
		errs = append(errs, f.Set(name, value))
	}
	errs = append(errs, f.Validate())
	return errors.Join(errs...)
}

var badKinds = []string{"no-id", "null-id", "ms-time", "fraction", "nan", "huge", "text", "number"}
