package deliver

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/usagelake/usagelake/schemas"
)

// Format is the version of the manifest.
const Format = 1

// ManifestKey is the object that says what is delivered.
const ManifestKey = "manifest.json"

// inlineFiles is how many files the manifest holds itself. Of more, each group's are in an object of their own.
const inlineFiles = 2000

// maxManifest bounds what is read of a manifest or a part of one: some hundred bytes a file.
const maxManifest = 1 << 30

// ErrNewer says that a newer version of the program delivered there.
var ErrNewer = errors.New("what is delivered there is of a newer version of usagelake")

// Manifest is what is delivered: manifest.json, gzip. It is swapped last and whole.
type Manifest struct {
	Format    int       `json:"format"`
	Number    int64     `json:"number"` // 1 of the first, then one more each time
	Series    string    `json:"series"` // random: of the first manifest and all that follow it
	Commit    string    `json:"commit"` // random: no two writes have the same
	Lake      Identity  `json:"lake"`
	Version   string    `json:"version"` // of the program
	WrittenAt time.Time `json:"written_at"`
	What      []string  `json:"what"`     // as the delivery was asked for
	Accounts  []string  `json:"accounts"` // that this lake has claimed, sorted

	Count   int64     `json:"count"` // of files
	Bytes   int64     `json:"bytes"`
	Rows    int64     `json:"rows"` // of usage
	Sums    []Sum     `json:"sums"` // of usage, by currency
	Groups  []Group   `json:"groups"`
	Retired []Retired `json:"retired,omitempty"` // oldest first
	Tables  *Tables   `json:"tables,omitempty"`
}

// Identity is which lake delivered, and how far it had come: each swap of any of its targets counts one generation.
type Identity struct {
	ID         string `json:"id"`
	Generation int64  `json:"generation"`
}

// Group is the files of an account and a month; of what no account has, of a month or of none.
type Group struct {
	Account string `json:"account,omitempty"`
	Month   string `json:"month,omitempty"` // 2026-11
	Digest  string `json:"digest"`          // hex SHA-256 of the JSON of Files
	Count   int64  `json:"count"`
	Bytes   int64  `json:"bytes"`
	Rows    int64  `json:"rows"`
	Sums    []Sum  `json:"sums,omitempty"`
	Number  int64  `json:"number"`        // of the manifest that last changed it
	Key     string `json:"key,omitempty"` // of the object that holds Files, as JSON, gzip; "" if they are here
	Files   []File `json:"files,omitempty"`
}

// File is a file of the lake and the object that holds it, byte for byte.
type File struct {
	Path   string `json:"path"` // in the lake, with slashes
	Key    string `json:"key"`  // below the manifest's own prefix
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
	Tag    string `json:"tag,omitempty"` // the store's, when it was put; "" if it isn't known

	// Of the files of an account's day.
	Account string `json:"account,omitempty"`
	Date    string `json:"date,omitempty"`
	// Of usage.
	Rows           *int64 `json:"rows,omitempty"`
	Sums           []Sum  `json:"sums,omitempty"`
	MissingSeconds *int64 `json:"missing_seconds,omitempty"` // of the day that no sealed window covers

	// Lost says that the lake lacks the file although nobody removed it: what is delivered is all there is.
	Lost bool `json:"lost,omitempty"`
}

// Sum is exact decimals of one currency, null of none. An amount that no record has is null.
type Sum struct {
	Currency    *string `json:"currency"`
	TotalAmount *string `json:"total_amount"`
	Discount    *string `json:"discount_amount"`
	Amount      *string `json:"amount"`
}

// Retired is an object that the manifest doesn't list any more. It stays for readers that hold an older one.
type Retired struct {
	Key   string    `json:"key"`
	Since time.Time `json:"since"`
	By    int64     `json:"by"` // the number of the first manifest without it
	Rows  int64     `json:"rows,omitempty"`
}

// Tables are the tables over the files.
type Tables struct {
	Delta   *DeltaState   `json:"delta,omitempty"`
	Iceberg *IcebergState `json:"iceberg,omitempty"`
}

// The names of objects. What a manifest names isn't trusted: a key that is none of these is refused.
var (
	dataKey = regexp.MustCompile(`^data/([a-z]+)/([a-z0-9][a-z0-9_-]*)(?:/\d{4}-\d\d(?:-\d\d)?)?/` +
		`[0-9a-f]{32}-(\d{1,18})(?:\.[a-z0-9]{1,12})?$`)
	partKey = regexp.MustCompile(`^parts/[0-9a-f]{32}/(?:[a-z0-9][a-z0-9_-]*|_)/[0-9a-z-]+-[0-9a-f]{32}-(\d{1,18})\.json$`)
)

// numberOf is the number of the manifest that the object of a key was built on, and which account or lake it is of;
// false if the key is none of ours.
func numberOf(key string) (number int64, owner string, ok bool) {
	if m := dataKey.FindStringSubmatch(key); m != nil {
		number, owner = mustNumber(m[3]), m[2]
		return number, owner, true
	}
	if m := partKey.FindStringSubmatch(key); m != nil {
		return mustNumber(m[1]), strings.Split(key, "/")[1], true
	}
	return 0, "", false
}

func mustNumber(digits string) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil { // the pattern takes no more than 18 digits
		panic(err)
	}
	return n
}

// keyOf names the object of a file: its tree, its account and day or its lake and month, its content's digest, and the
// number of the manifest that the delivery is built on. Files of different groups never share one.
func keyOf(f File, lake string, number int64) string {
	tree, _, _ := strings.Cut(f.Path, "/")
	tree = strings.TrimSuffix(tree, path.Ext(tree))
	dir := path.Join("data", tree, lake, monthOf(f.Path))
	if f.Account != "" {
		dir = path.Join("data", tree, f.Account, f.Date)
	}
	ext := path.Ext(f.Path)
	if !plainExt.MatchString(ext) {
		ext = ""
	}
	return fmt.Sprintf("%s/%s-%d%s", dir, f.SHA256[:32], number, ext)
}

var plainExt = regexp.MustCompile(`^\.[a-z0-9]{1,12}$`)

// partKeyOf names the object that holds the files of a group.
func partKeyOf(g Group, lake string, number int64) string {
	account, month := g.Account, g.Month
	if account == "" {
		account = "_"
	}
	if month == "" {
		month = "all"
	}
	return fmt.Sprintf("parts/%s/%s/%s-%s-%d.json", lake, account, month, g.Digest[:32], number)
}

// trees are what a lake's files begin with: nothing else is delivered, and nothing else restored.
var trees = regexp.MustCompile(`^(usage|quarantine|balance|raw|statements|journal|doubts|damaged|finance)/|` +
	`^(lake\.json|usage\.duckdb|published\.json)$`)

// checkPath refuses a path that doesn't stay within a lake.
func checkPath(p string) error {
	if !trees.MatchString(p) || path.Clean(p) != p || strings.ContainsAny(p, "\\\x00") || !utf8.ValidString(p) ||
		strings.Contains("/"+p+"/", "/../") {
		return fmt.Errorf("%q is no path of a lake", p)
	}
	return nil
}

// check refuses a manifest that is none.
func (m *Manifest) check() error {
	switch {
	case m.Format > Format:
		return fmt.Errorf("%w (its format is %d, this version knows %d)", ErrNewer, m.Format, Format)
	case m.Format < 1, m.Number < 1, m.Commit == "", !lakeID.MatchString(m.Lake.ID), m.Lake.Generation < 1:
		return errors.New("it is no manifest of usagelake")
	}
	for _, a := range m.Accounts {
		if err := schemas.ValidateAccount(a); err != nil {
			return err
		}
	}
	for _, g := range m.Groups {
		if g.Key != "" {
			if !partKey.MatchString(g.Key) {
				return fmt.Errorf("%q is no key of a part", g.Key)
			}
			continue
		}
		if err := g.check(); err != nil {
			return err
		}
	}
	return nil
}

// check refuses a group whose files are not those that its digest is of, or are none of a lake.
func (g Group) check() error {
	if g.Digest != digestOf(g.Files) {
		return fmt.Errorf("the files of %s don't have the digest that the manifest gives", g.name())
	}
	for _, f := range g.Files {
		if err := checkPath(f.Path); err != nil {
			return err
		}
		if !dataKey.MatchString(f.Key) || !hexDigest.MatchString(f.SHA256) || f.Bytes < 0 {
			return fmt.Errorf("%s: %q is no object of a delivery", f.Path, f.Key)
		}
	}
	return nil
}

var (
	hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)
	lakeID    = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// name is the group for people.
func (g Group) name() string {
	return strings.TrimSpace(strings.Join([]string{g.Account, g.Month}, " "))
}

// isLess orders groups by account and month.
func (g Group) compare(o Group) int {
	if c := strings.Compare(g.Account, o.Account); c != 0 {
		return c
	}
	return strings.Compare(g.Month, o.Month)
}

// summed fills in what follows from the files.
func (g *Group) summed() {
	g.Count, g.Bytes, g.Rows = int64(len(g.Files)), 0, 0
	var sums sums
	for _, f := range g.Files {
		g.Bytes += f.Bytes
		if f.Rows != nil {
			g.Rows += *f.Rows
		}
		sums.add(f.Sums)
	}
	g.Sums, g.Digest = sums.list(), digestOf(g.Files)
}

func digestOf(files []File) string {
	sum := sha256.New()
	if err := json.NewEncoder(sum).Encode(files); err != nil { // none of its members can fail
		panic(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// packed is v as JSON, gzip. The same value gives the same bytes.
func packed(v any) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(v); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// unpack reads what packed wrote, or the same as plain JSON: some stores and proxies unpack it on its way.
func unpack(r io.Reader, v any) error {
	b, err := io.ReadAll(io.LimitReader(r, maxManifest))
	if err != nil {
		return err
	}
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return err
		}
		if b, err = io.ReadAll(io.LimitReader(z, maxManifest)); err != nil {
			return err
		}
	}
	return json.Unmarshal(b, v)
}

// randomID is 128 bits of chance, in hex.
func randomID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
