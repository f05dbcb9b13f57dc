package deliver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/durable"
)

// What a lake remembers of its deliveries, below LAKE/deliver:
//
//	lake.json            Identity: who the lake is, and how many manifests it has swapped
//	NAME/root.json       the last manifest of a target, as this lake wrote or read it
//	NAME/groups/A/M.json the files of a group, with the size and time that they had when they were hashed
//	NAME/metadata/…      objects of the Iceberg table that the next version is made from
//	NAME/sent.jsonl      what was uploaded for a manifest that isn't swapped yet
//	NAME/last.json       Outcome of the last delivery
//
// But for lake.json all of it can be lost: it is read from the bucket anew, and what the lake holds is hashed anew.

// Dir is the lake's folder of what it remembers of deliveries.
const Dir = "deliver"

// lockName is the state whose lock whoever delivers holds: one of this lake at a time.
const lockName = "deliver"

type recalled struct {
	lake *load.Lake
	name string
	// looks says that nothing is written into the lake: a plan and a verification remember nothing, so that a lake which
	// can only be read does for them.
	looks bool
}

func (m recalled) path(elem ...string) string {
	return m.lake.Path(append([]string{Dir, m.name}, elem...)...)
}

// read reads a JSON file; false if it isn't there, or isn't what was written there: then it is made anew.
func (m recalled) read(path string, v any) (bool, error) {
	b, err := m.lake.FS.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read what the lake remembers of its deliveries: %w", err)
	}
	return json.Unmarshal(b, v) == nil, nil
}

func (m recalled) write(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return m.keep(path, append(b, '\n'))
}

// keep is write of what is bytes already.
func (m recalled) keep(path string, content []byte) error {
	if m.looks {
		return nil
	}
	return writeFile(m.lake, path, content)
}

func writeFile(lake *load.Lake, path string, content []byte) error {
	dir := filepath.Dir(path)
	if err := lake.MakeDirs(dir); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// Not among the lake's temp files, which whoever takes its lock drops.
	t, err := lake.CreateIn(dir, filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer t.Abort()
	if _, err := t.Write(content); err != nil {
		return durable.Full(fmt.Errorf("write %s: %w", path, err), lake.Dir())
	}
	return durable.Full(t.Commit(path), lake.Dir())
}

// self is who the lake is. What is pending counts once it is seen to be there: a copy of the lake that is refused again
// and again never catches up.
type self struct {
	Identity
	// Base is the generation that the lake began with: of a restored one, that of what it was restored from. Seen are
	// those that it delivered or adopted, by place: what it delivers elsewhere doesn't make an older copy know more here.
	Base int64            `json:"base,omitempty"`
	Seen map[string]int64 `json:"seen,omitempty"`
	// Pending are swaps that were begun and not seen to be done, by target: the process was killed, or the answer lost.
	Pending map[string][]string `json:"pending,omitempty"` // the commits
}

// whoAmI reads who the lake is; zero if it never delivered.
func whoAmI(lake *load.Lake) (self, error) {
	path := lake.Path(Dir, "lake.json")
	b, err := lake.FS.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return self{}, nil
	}
	if err != nil {
		return self{}, fmt.Errorf("read who the lake is: %w", err)
	}
	var s self
	if err := json.Unmarshal(b, &s); err != nil || !lakeID.MatchString(s.ID) || s.Generation < 0 {
		return self{}, &load.DamagedError{Path: path, Detail: "it doesn't say who the lake is",
			Hint: "put it back from a backup; or remove it, and run usagelake deliver --adopt once: the lake takes the " +
				"identity of what is delivered", Err: err}
	}
	return s, nil
}

// writeSelf remembers who the lake is.
func (d *delivery) writeSelf() error { return d.write(d.lake.Path(Dir, "lake.json"), d.id) }

// knows says whether a manifest is one that this lake delivered, or that came before.
func (s self) knows(m *Manifest, target, place string) bool {
	known := max(s.Base, s.Seen[place])
	return m.Lake.ID == s.ID && (m.Lake.Generation <= known || slices.Contains(s.Pending[target], m.Commit))
}

// root is the last manifest as the lake knows it.
type root struct {
	URL      string     `json:"url"`
	Tag      bucket.Tag `json:"tag"`
	Manifest Manifest   `json:"manifest"`
	// Delta is the version of the Delta log that is known to hold the files of a manifest, nil of none. If that is this
	// manifest, there is nothing left to do.
	Delta *DeltaState `json:"delta,omitempty"`
	// Iceberg is the same of the Iceberg table.
	Iceberg *heldIceberg `json:"iceberg,omitempty"`
}

// heldGroup is a group as it was delivered, with what the lake's files looked like.
type heldGroup struct {
	Digest string          `json:"digest"`
	Files  []File          `json:"files"`
	Looks  map[string]look `json:"looks"` // by path
}

// look is how a file is told from a later one without reading it: whatever replaces a file of a lake is a new file.
type look struct {
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

func lookOf(l local) look { return look{l.size, l.modified.UTC()} }

func (m recalled) groupPath(account, month string) string {
	if account == "" {
		account = "_"
	}
	if month == "" {
		month = "all"
	}
	return m.path("groups", account, month+".json")
}

// sent is an object that was uploaded for a manifest that isn't swapped yet.
type sent struct {
	At   string `json:"at"`   // the manifest's URL, and the commit that it is built on
	Base int64  `json:"base"` // the number of the manifest that the delivery is built on
	Look look   `json:"look"`
	File File   `json:"file"`
}

// sentLog is NAME/sent.jsonl: so that a delivery that was interrupted goes on where it was. A line that is torn is one
// upload that is made again.
type sentLog struct {
	have map[string]sent // by path
	file *os.File
}

func (m recalled) openSent(at string, base int64) (*sentLog, error) {
	path := m.path("sent.jsonl")
	if err := m.lake.MakeDirs(filepath.Dir(path)); err != nil {
		return nil, err
	}
	s := &sentLog{have: map[string]sent{}}
	if b, err := m.lake.FS.ReadFile(path); err == nil {
		lines := bufio.NewScanner(bytes.NewReader(b))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var one sent
			if json.Unmarshal(lines.Bytes(), &one) == nil && one.Base == base && one.At == at {
				s.have[one.File.Path] = one
			}
		}
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if len(s.have) == 0 { // all of another base, or none
		flags |= os.O_TRUNC
	}
	f, err := durable.OpenNoLink(path, flags, durable.FileMode)
	if err != nil {
		return nil, err
	}
	// After a torn line comes a line of its own.
	if len(s.have) > 0 {
		_, err = f.WriteString("\n")
	}
	s.file = f
	return s, err
}

func (s *sentLog) add(one sent) error {
	b, err := json.Marshal(one)
	if err != nil {
		return err
	}
	_, err = s.file.Write(append(b, '\n'))
	return err
}

// Outcome is what the last delivery to a target came to, for status, metrics and alerts.
type Outcome struct {
	Name      string    `json:"name"`
	URL       string    `json:"url"`
	At        time.Time `json:"at"`                 // when it ended
	Error     string    `json:"error,omitempty"`    // "" of one that is done
	Since     time.Time `json:"since,omitzero"`     // of failures: of the first one after the last that was done
	Delivered time.Time `json:"delivered,omitzero"` // when one was last done; zero if none ever was
	Number    int64     `json:"number"`             // of the manifest that is there
	Files     int64     `json:"files"`
	Bytes     int64     `json:"bytes"`
}

// Last is what the last delivery to the target of that name came to; false if there was none.
func Last(lake *load.Lake, name string) (Outcome, bool, error) {
	m := recalled{lake: lake, name: name}
	var o Outcome
	ok, err := m.read(m.path("last.json"), &o)
	return o, ok, err
}

// Outcomes are what the last delivery to each target came to, in order of name.
func Outcomes(lake *load.Lake) ([]Outcome, error) {
	entries, err := lake.Entries(lake.Path(Dir))
	if err != nil {
		return nil, fmt.Errorf("list the deliveries: %w", err)
	}
	out := []Outcome{}
	for _, e := range entries {
		if !e.IsDir() || !NamePattern.MatchString(e.Name()) {
			continue
		}
		o, ok, err := Last(lake, e.Name())
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, o)
		}
	}
	return out, nil
}

// Failed remembers a delivery that couldn't begin, for the bucket can't be opened, or what it should hold isn't there.
func Failed(lake *load.Lake, name, url string, now time.Time, err error) error {
	return recalled{lake: lake, name: name}.remember(&Report{Name: name, URL: url, EndedAt: now.UTC()}, err)
}

// remember writes down what a delivery came to.
func (m recalled) remember(r *Report, failed error) error {
	last, _, err := Last(m.lake, m.name)
	if err != nil {
		return err
	}
	last.Name, last.URL, last.At, last.Error = m.name, r.URL, r.EndedAt, ""
	if failed != nil {
		if last.Error = failed.Error(); last.Since.IsZero() {
			last.Since = r.EndedAt
		}
	} else {
		last.Since, last.Delivered = time.Time{}, r.EndedAt
		last.Number, last.Files, last.Bytes = r.Number, r.Files, r.Bytes
	}
	return m.write(m.path("last.json"), last)
}
