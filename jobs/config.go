package jobs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Defaults of a Config, and the environment that a set-up without a file uses.
const (
	DefaultConfigFile = "usagelake.yaml"
	DefaultLake       = "./lake"
	DefaultAccount    = "default"
	DefaultBaseURL    = "https://portal-api.r9s.ai/api/v1/portal/management"
	DefaultSettle     = 10 * time.Minute
	DefaultLookback   = 72 * time.Hour
	// FirstDays is how far back the first export of an account goes.
	FirstDays = 30

	EnvKey     = "USAGELAKE_API_KEY"
	EnvBaseURL = "USAGELAKE_BASE_URL"
	EnvLake    = "USAGELAKE_LAKE"
)

// ErrUsage marks what the user has to put right on the command line, in the environment or in the config.
var ErrUsage = errors.New("bad usage or config")

// Hint is an error with a next step for the user.
type Hint struct {
	Err  error
	Hint string // a command to type, or what to change
}

func (h *Hint) Error() string { return h.Err.Error() }
func (h *Hint) Unwrap() error { return h.Err }

// usageError is an error that is ErrUsage.
type usageError struct{ error }

func (e usageError) Unwrap() error        { return e.error }
func (e usageError) Is(target error) bool { return target == ErrUsage }

// Usage makes an error of what the user has to put right. hint may be "".
func Usage(hint, format string, args ...any) error {
	err := usageError{fmt.Errorf(format, args...)}
	if hint == "" {
		return err
	}
	return &Hint{Err: err, Hint: hint}
}

// Config is what a set-up is made of: a file, or the environment alone.
type Config struct {
	Lake string `yaml:"lake"`
	// LakeAccess is who may read the lake beside its owner: AccessPrivate (nobody) or AccessGroup (its group).
	LakeAccess string       `yaml:"lake_access"`
	Accounts   []Account    `yaml:"accounts"`
	Export     ExportConfig `yaml:"export"`
	// Who pays for what, and what it is held against.
	Allocation AllocationConfig `yaml:"allocation"`
	Journal    JournalConfig    `yaml:"journal"`
	Budgets    []BudgetConfig   `yaml:"budgets"`
	Invoices   []string         `yaml:"invoices"` // CSV files
	Names      string           `yaml:"names"`    // a CSV file: what tokens, users, models, cost centres and accounts are called
	TopUps     []string         `yaml:"topups"`   // CSV files
	Close      CloseConfig      `yaml:"close"`
	// What DuckDB may use.
	DuckDB DuckDBConfig `yaml:"duckdb"`
	// What runs by itself: docs/schedule.md.
	Schedule ScheduleConfig `yaml:"schedule"`
	Prune    PruneConfig    `yaml:"prune"`
	Alerts   AlertsConfig   `yaml:"alerts"`

	path string   // the file, "" if there is none
	all  []string // of allNames; nil of a config that wasn't loaded
}

// Account is one management key and what it may do.
type Account struct {
	Name        string  `yaml:"name"`
	BaseURL     string  `yaml:"base_url"`
	KeyEnv      string  `yaml:"key_env"`  // the environment variable that holds the key
	KeyFile     string  `yaml:"key_file"` // or the file, readable by its owner alone
	Rate        float64 `yaml:"rate"`     // requests a second at the most
	MaxInFlight int     `yaml:"max_in_flight"`
	PageSize    int     `yaml:"page_size"`
	Currency    string  `yaml:"currency"`    // where /balance can't be asked
	KeyExpires  string  `yaml:"key_expires"` // the day on which the key expires, UTC; the API doesn't tell
}

// ExportConfig says how far an export goes.
type ExportConfig struct {
	Settle   Duration `yaml:"settle"`   // nothing younger is exported
	Lookback Duration `yaml:"lookback"` // so far back days are asked again
	// RefetchAt are the ages at which a day is fetched whole once more, for corrections that leave its count alone.
	RefetchAt    []Duration `yaml:"refetch_at"`
	RefetchEvery Duration   `yaml:"refetch_every"` // so often the days of the lookback are fetched anew besides; 0: never
	NotBefore    Instant    `yaml:"not_before"`    // an export that isn't told a start begins no earlier; zero: anywhere
}

// DefaultExport is what holds where the config says nothing. A day is fetched whole once more before it leaves the lookback,
// and again after a week and after a month: corrections that leave its count alone are found by nothing else.
func DefaultExport() ExportConfig {
	const day = 24 * time.Hour
	return ExportConfig{Settle: Duration(DefaultSettle), Lookback: Duration(DefaultLookback),
		RefetchAt: []Duration{Duration(DefaultLookback - day), Duration(7 * day), Duration(30 * day)}}
}

// validate reports what can't be meant.
func (c ExportConfig) validate() error {
	for _, age := range c.RefetchAt {
		if age <= 0 {
			return errors.New("export.refetch_at: an age is more than 0: write [48h, 7d, 30d], or [] to fetch no day anew")
		}
	}
	return nil
}

// Instant is a time that YAML spells as 2026-11-01 or 2026-11-01T06:00:00Z, UTC.
type Instant time.Time

// UnmarshalYAML reads the text form.
func (i *Instant) UnmarshalYAML(n *yaml.Node) error {
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, n.Value); err == nil {
			*i = Instant(t.UTC().Truncate(time.Second))
			return nil
		}
	}
	return fmt.Errorf("line %d: %q is not a time like 2026-11-01 or 2026-11-01T06:00:00Z", n.Line, n.Value)
}

// DuckDBConfig is what the engine that builds and asks usage.duckdb may use.
type DuckDBConfig struct {
	Memory  string `yaml:"memory"`  // beyond it, it spills to disk; "" is load.DefaultMemoryLimit
	Threads int    `yaml:"threads"` // 0: as many as there are processors
}

var memorySize = regexp.MustCompile(`^[1-9][0-9]*(MB|MiB|GB|GiB)$`)

var size = regexp.MustCompile(`^0*([1-9][0-9]*) ?([A-Z]*)$`)

var sizeUnits = map[string]int64{"": 1, "B": 1, "KB": 1e3, "KIB": 1 << 10, "MB": 1e6, "MIB": 1 << 20, "GB": 1e9, "GIB": 1 << 30}

// ParseSize reads a number of bytes above 0: 500000, 2MB, 2MiB, in any capitals.
func ParseSize(s string) (int64, error) {
	m := size.FindStringSubmatch(strings.ToUpper(strings.TrimSpace(s)))
	if m == nil || sizeUnits[m[2]] == 0 {
		return 0, fmt.Errorf("%q is not a size such as 500000 or 2MB: a whole number above 0 of bytes, kB, MB, GB, KiB, MiB or GiB", s)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > math.MaxInt64/sizeUnits[m[2]] {
		return 0, fmt.Errorf("%q is more than %d bytes: no file has so many", s, int64(math.MaxInt64))
	}
	return n * sizeUnits[m[2]], nil
}

func (c DuckDBConfig) validate() error {
	switch {
	case c.Memory != "" && !memorySize.MatchString(c.Memory):
		return fmt.Errorf("duckdb.memory: %q is not a size such as 512MB or 4GB", c.Memory)
	case c.Threads < 0 || c.Threads > 1024:
		return fmt.Errorf("duckdb.threads: %d is not between 0 and 1024", c.Threads)
	}
	return nil
}

// LakeOptions are how the config's lake is opened.
func (c *Config) LakeOptions(env Env) load.Options {
	return load.Options{FS: env.FS, Logger: env.Logger, Group: c.LakeAccess == AccessGroup, Memory: c.DuckDB.Memory, Threads: c.DuckDB.Threads}
}

// Duration is a time.Duration that YAML spells as 10m, 72h or 7d. Negative ones are refused.
type Duration time.Duration

// UnmarshalYAML reads the text form.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := ParseDuration(n.Value)
	if err != nil || v < 0 {
		return fmt.Errorf("line %d: %q is not a duration like 10m, 72h or 7d", n.Line, n.Value)
	}
	*d = Duration(v)
	return nil
}

// ParseDuration reads what time.ParseDuration does, and whole days as 7d.
func ParseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := time.ParseDuration(days + "h")
		if err == nil && !strings.ContainsAny(days, "hms.") && n.Abs() < 100_000*time.Hour {
			return 24 * n, nil
		}
	}
	return time.ParseDuration(s)
}

// Values of lake_access.
const (
	AccessPrivate = "private"
	AccessGroup   = "group"
)

// Overrides are the flags that stand above environment and config. "" means not given.
type Overrides struct {
	ConfigFile, Lake, Account, BaseURL string
}

// LoadConfig reads the set-up: the file (the named one, or DefaultConfigFile if it stands in the working directory),
// or without one a single account of the environment's key. Relative paths in the file are relative to the file.
// Every mistake is reported at once, as ErrUsage.
func LoadConfig(o Overrides, getenv func(string) string) (*Config, error) {
	c := &Config{Export: DefaultExport(),
		Alerts: AlertsConfig{Repeat: Duration(DefaultRepeat)}}
	path := o.ConfigFile
	if path == "" {
		path = DefaultConfigFile
	}
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := c.parse(b, path); err != nil {
			return nil, err
		}
	case errors.Is(err, fs.ErrNotExist) && o.ConfigFile == "":
		c.Accounts = []Account{{Name: DefaultAccount, KeyEnv: EnvKey}}
	default:
		return nil, Usage("usagelake init --config "+path, "read config: %w", err)
	}
	dir := "."
	if c.path != "" {
		dir = filepath.Dir(c.path)
	}
	switch {
	case o.Lake != "":
		c.Lake = o.Lake
	case getenv(EnvLake) != "":
		c.Lake = getenv(EnvLake)
	case c.Lake == "":
		c.Lake = filepath.Join(dir, DefaultLake)
	case !filepath.IsAbs(c.Lake):
		c.Lake = filepath.Join(dir, c.Lake)
	}
	beside := func(name string) string {
		if name == "" || filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(dir, name)
	}
	for i := range c.Accounts {
		a := &c.Accounts[i]
		switch {
		case o.BaseURL != "":
			a.BaseURL = o.BaseURL
		case getenv(EnvBaseURL) != "":
			a.BaseURL = getenv(EnvBaseURL)
		case a.BaseURL == "":
			a.BaseURL = DefaultBaseURL
		}
		a.KeyFile = beside(a.KeyFile)
		if a.KeyEnv == "" && a.KeyFile == "" && len(c.Accounts) == 1 {
			a.KeyEnv = EnvKey
		}
	}
	c.Allocation.Rules = beside(c.Allocation.Rules)
	c.Names = beside(c.Names)
	c.Schedule.TokenFile = beside(c.Schedule.TokenFile)
	c.Alerts.beside(beside)
	for i := range c.Schedule.Jobs {
		c.Schedule.Jobs[i].Out = beside(c.Schedule.Jobs[i].Out)
	}
	for i := range c.TopUps {
		c.TopUps[i] = beside(c.TopUps[i])
	}
	for i := range c.Invoices {
		c.Invoices[i] = beside(c.Invoices[i])
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.all = c.names()
	if o.Account != "" {
		i := slices.IndexFunc(c.Accounts, func(a Account) bool { return a.Name == o.Account })
		if i < 0 {
			return nil, Usage("", "no account %q in the config: it has %s", o.Account, strings.Join(c.names(), ", "))
		}
		c.Accounts = c.Accounts[i : i+1 : i+1]
	}
	return c, nil
}

// allNames are those of all accounts, also where one was asked for alone.
func (c *Config) allNames() []string {
	if c.all != nil {
		return c.all
	}
	return c.names()
}

func (c *Config) names() []string {
	names := make([]string, len(c.Accounts))
	for i, a := range c.Accounts {
		names[i] = a.Name
	}
	return names
}

// Path is the config's file, "" if the set-up has none.
func (c *Config) Path() string { return c.path }

func (c *Config) parse(b []byte, path string) error {
	c.path = path
	var root yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&root); err != nil && !errors.Is(err, io.EOF) {
		return Usage("", "config %s: %w", path, err)
	}
	if len(root.Content) == 0 {
		return Usage("usagelake init", "config %s is empty", path)
	}
	if errs := unknownKeys(root.Content[0], reflect.TypeFor[Config](), ""); len(errs) > 0 {
		return Usage("", "config %s: %w", path, errors.Join(errs...))
	}
	if err := root.Decode(c); err != nil {
		return Usage("", "config %s: %w", path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Usage("", "config %s holds more than one document", path)
	}
	if len(c.Accounts) == 0 {
		return Usage("usagelake init", "config %s has no accounts", path)
	}
	return nil
}

// unknownKeys reports the keys that t has no field for, each with the nearest one that is known.
func unknownKeys(n *yaml.Node, t reflect.Type, at string) []error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	var errs []error
	switch {
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for i, e := range n.Content {
			errs = append(errs, unknownKeys(e, t.Elem(), fmt.Sprintf("%s[%d]", at, i))...)
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		known := map[string]reflect.Type{}
		for i := range t.NumField() {
			if tag := t.Field(i).Tag.Get("yaml"); tag != "" {
				known[tag] = t.Field(i).Type
			}
		}
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			name := strings.TrimPrefix(at+"."+key, ".")
			ft, ok := known[key]
			switch {
			case !ok:
				errs = append(errs, fmt.Errorf("line %d: unknown key %s%s", n.Content[i].Line, name, nearest(key, known)))
			case seen[key]:
				errs = append(errs, fmt.Errorf("line %d: %s stands twice", n.Content[i].Line, name))
			default:
				errs = append(errs, unknownKeys(n.Content[i+1], ft, name)...)
			}
			seen[key] = true
		}
	}
	return errs
}

// nearest proposes the known key that is closest to key.
func nearest(key string, known map[string]reflect.Type) string {
	names := make([]string, 0, len(known))
	for k := range known {
		names = append(names, k)
	}
	slices.Sort(names)
	best, bestAt := "", len(key)/2+2
	for _, k := range names {
		if d := words.EditDistance(key, k); d < bestAt {
			best, bestAt = k, d
		}
	}
	if best == "" {
		return fmt.Sprintf(" (known here: %s)", strings.Join(names, ", "))
	}
	return fmt.Sprintf(": did you mean %s?", best)
}

func (c *Config) validate() error {
	var errs []error
	if c.LakeAccess != "" && c.LakeAccess != AccessPrivate && c.LakeAccess != AccessGroup {
		errs = append(errs, fmt.Errorf("lake_access: %q is neither %s nor %s", c.LakeAccess, AccessPrivate, AccessGroup))
	}
	names := map[string]bool{}
	for i, a := range c.Accounts {
		where := fmt.Sprintf("accounts[%d] (%s)", i, a.Name)
		bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(where+": "+format, args...)) }
		if err := schemas.ValidateAccount(a.Name); err != nil {
			bad("name: %w", err)
		}
		if names[a.Name] {
			bad("name: another account has it too")
		}
		names[a.Name] = true
		if err := (extract.Options{BaseURL: a.BaseURL, Key: "-"}).Validate(); err != nil {
			bad("%w", err)
		}
		switch {
		case a.KeyEnv != "" && a.KeyFile != "":
			bad("give key_env or key_file, not both")
		case a.KeyEnv == "" && a.KeyFile == "":
			bad("give key_env (a variable that holds the key) or key_file (a file that only its owner can read)")
		case strings.HasPrefix(a.KeyEnv, "sk_mg_"):
			errs = append(errs, fmt.Errorf("accounts[%d]: key_env holds a key: write the name of a variable there, and revoke that key if others could read the file", i))
		}
		if a.Rate != 0 && !(a.Rate >= 0.001 && a.Rate <= 1000) { // NaN included
			bad("rate: %v is not between 0.001 and 1000 requests a second", a.Rate)
		}
		if a.MaxInFlight < 0 || a.MaxInFlight > 1000 {
			bad("max_in_flight: %d is not between 1 and 1000", a.MaxInFlight)
		}
		if a.PageSize < 0 || a.PageSize > 100_000 {
			bad("page_size: %d is not between 1 and 100000", a.PageSize)
		}
		if a.Currency != "" && !schemas.IsCurrency(a.Currency) {
			bad("currency: %q is not an ISO 4217 code like USD: three capital letters", a.Currency)
		}
		if _, err := schemas.ParseDate(a.KeyExpires); a.KeyExpires != "" && err != nil {
			bad("key_expires: %w", err)
		}
	}
	errs = append(errs, c.Close.validate()...)
	if err := c.Export.validate(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, c.Schedule.validate(c.names())...)
	if c.Prune.Raw == 0 && slices.ContainsFunc(c.Schedule.Jobs, func(j JobConfig) bool { return j.Kind == KindPrune }) {
		errs = append(errs, errors.New("schedule: a job of kind prune has nothing to go by: set prune: raw: to how long raw files of closed months are kept"))
	}
	if err := c.DuckDB.validate(); err != nil {
		errs = append(errs, err)
	}
	if err := c.Prune.validate(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, c.Alerts.validate(c.names(), c.Budgets)...)
	for i, b := range c.Budgets {
		if _, err := b.budget(); err != nil {
			errs = append(errs, fmt.Errorf("budgets[%d] (%s): %w", i, b.Name, err))
		}
		if slices.ContainsFunc(c.Budgets[:i], func(o BudgetConfig) bool { return o.Name == b.Name }) {
			errs = append(errs, fmt.Errorf("budgets[%d] (%s): name: another budget has it too", i, b.Name))
		}
	}
	if len(errs) > 0 {
		what := "the environment"
		if c.path != "" {
			what = "config " + c.path
		}
		return Usage("", "%s: %w", what, errors.Join(errs...))
	}
	return nil
}

// Key reads the account's management key, anew each time, so that a key can be replaced while a daemon runs.
func (a Account) Key(getenv func(string) string) (string, error) {
	if a.KeyEnv != "" {
		key := strings.TrimSpace(getenv(a.KeyEnv))
		if err := soundSecret("account "+a.Name, "key", "the environment variable "+a.KeyEnv, key); err != nil {
			return "", err
		}
		if key == "" {
			return "", Usage(fmt.Sprintf("export %s=sk_mg_…   (the Portal: Settings > API Keys > Management API Keys), or try it without a key: usagelake demo", a.KeyEnv),
				"account %s: no key: the environment variable %s is not set", a.Name, a.KeyEnv)
		}
		return key, nil
	}
	return secretFile("account "+a.Name, "key", a.KeyFile, getenv)
}

// secretFile reads a secret from a file that nobody but its owner can read. whose and what name it for errors. Files of
// systemd's credentials are handed over by an access list, which shows as a right of the group: from version 254 on their
// mode is 0440, in a directory that nobody else can enter.
func secretFile(whose, what, path string, getenv func(string) string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", Usage("", "%s: read the %s: %w", whose, what, err)
	}
	others := os.FileMode(0o077)
	if dir := getenv("CREDENTIALS_DIRECTORY"); dir != "" && filepath.Dir(path) == filepath.Clean(dir) {
		others = 0o037
	}
	if info.Mode().Perm()&others != 0 {
		return "", Usage("chmod 600 "+path, "%s: others can read the %s file %s (its mode is %04o)", whose, what, path, info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", Usage("", "%s: read the %s: %w", whose, what, err)
	}
	s := strings.TrimSpace(string(b)) // line ends of any system are no part of it
	if s == "" {
		return "", Usage("", "%s: the %s file %s is empty", whose, what, path)
	}
	if err := soundSecret(whose, what, "the file "+path, s); err != nil {
		return "", err
	}
	return s, nil
}

// assigned is a secret with the name of its variable before it, as in a file of the environment. The equals signs at the
// end of Base64 are none of these.
var assigned = regexp.MustCompile(`^(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=[^=]{8}`)

// soundSecret refuses what is more than a secret, without showing it. An empty one is for the caller to tell of.
func soundSecret(whose, what, where, s string) error {
	const quotes = `"'` + "`“”‘’„«»"
	first, _ := utf8.DecodeRuneInString(s)
	last, _ := utf8.DecodeLastRuneInString(s)
	begins, ends := strings.ContainsRune(quotes, first), strings.ContainsRune(quotes, last)
	says := ""
	switch {
	case s == "":
		return nil
	case strings.HasPrefix(s, "\ufeff"):
		says = "begins with a byte order mark, as some editors write it: save it as UTF-8 without one"
	case strings.HasPrefix(s, "\xff\xfe"), strings.HasPrefix(s, "\xfe\xff"), strings.ContainsRune(s, 0):
		says = "is in UTF-16: save it as UTF-8 without a byte order mark"
	case strings.ContainsAny(s, "\r\n"):
		says = "has more than one line"
	case assigned.MatchString(s):
		says = "has the name of a variable before it, as NAME=…"
	case begins && ends, what == "key" && (begins || ends):
		says = "stands in quotes"
	case len(s) > 7 && strings.EqualFold(s[:7], "bearer "):
		says = `begins with "Bearer"`
	default:
		return nil
	}
	return Usage("write the "+what+" alone there, and nothing around it", "%s: the %s in %s %s", whose, what, where, says)
}

// secret reads a secret from the environment variable env, or from file.
func secret(whose, what, env, file string, getenv func(string) string) (string, error) {
	if env == "" {
		return secretFile(whose, what, file, getenv)
	}
	s := strings.TrimSpace(getenv(env))
	if err := soundSecret(whose, what, "the environment variable "+env, s); err != nil {
		return "", err
	}
	if s == "" {
		return "", Usage("", "%s: no %s: the environment variable %s is not set", whose, what, env)
	}
	return s, nil
}

// ConfigKeys lists every key a config may have, such as accounts.key_env, sorted.
func ConfigKeys() []string {
	var keys []string
	var walk func(t reflect.Type, at string)
	walk = func(t reflect.Type, at string) {
		for i := range t.NumField() {
			tag := t.Field(i).Tag.Get("yaml")
			if tag == "" {
				continue
			}
			keys = append(keys, at+tag)
			ft := t.Field(i).Type
			if ft.Kind() == reflect.Slice {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Struct {
				walk(ft, at+tag+".")
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
	slices.Sort(keys)
	return keys
}
