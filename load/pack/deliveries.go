package pack

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Deliveries are what the lake remembers of whom a month's packages were delivered to. It is in packages/MONTH.json and
// not among the packages, so that it outlasts them: losing it has everything delivered once more.
type Deliveries struct {
	Format     int           `json:"format"`
	Month      schemas.Month `json:"month"`
	Period     string        `json:"period"`
	TriedAt    time.Time     `json:"tried_at"`
	Error      string        `json:"error,omitempty"` // why the packages could not be made; "" if they were
	Deliveries []Delivery    `json:"deliveries"`      // by receiver and cost centre
}

// Delivery is what became of a package, as far as one receiver goes.
type Delivery struct {
	Receiver    string    `json:"receiver"`
	CostCenter  string    `json:"cost_center"`
	SHA256      string    `json:"sha256"` // of the package's zip
	DeliveredAt time.Time `json:"delivered_at,omitzero"`
	Attempts    int       `json:"attempts,omitempty"` // in vain, until now
	Error       string    `json:"error,omitempty"`    // why the last was; holds no secret
}

// Problem says what is to be made up of the month's packages, in a line; "" if nothing is.
func (d *Deliveries) Problem() string {
	if d.Error != "" {
		return "they could not be made: " + d.Error
	}
	lacks := d.Undelivered()
	if len(lacks) == 0 {
		return ""
	}
	why := lacks[0].Error
	if why == "" {
		why = "it was broken off before"
	}
	return fmt.Sprintf("%s failed; the first: %s for %s: %s", words.Plural(len(lacks), "delivery", "deliveries"),
		lacks[0].Receiver, words.Cell(lacks[0].CostCenter), why)
}

// Name is what the books call the month.
func (d *Deliveries) Name() string { return cmp.Or(d.Period, d.Month.String()) }

// Undelivered are those that are to be made up.
func (d *Deliveries) Undelivered() []Delivery {
	return slices.DeleteFunc(slices.Clone(d.Deliveries), func(o Delivery) bool { return !o.DeliveredAt.IsZero() })
}

// Of is what is remembered of a receiver and a cost centre; zero if nothing is.
func (d *Deliveries) Of(receiver, costCenter string) Delivery {
	if i := d.find(receiver, costCenter); i >= 0 {
		return d.Deliveries[i]
	}
	return Delivery{}
}

func (d *Deliveries) find(receiver, costCenter string) int {
	return slices.IndexFunc(d.Deliveries, func(o Delivery) bool {
		return o.Receiver == receiver && o.CostCenter == costCenter
	})
}

// Put remembers what became of a package.
func (d *Deliveries) Put(o Delivery) {
	if i := d.find(o.Receiver, o.CostCenter); i >= 0 {
		d.Deliveries[i] = o
		return
	}
	d.Deliveries = append(d.Deliveries, o)
}

// Keep forgets all but some: receivers that the config has no more, and cost centres that a month which was closed anew
// charges nothing.
func (d *Deliveries) Keep(keep func(Delivery) bool) {
	d.Deliveries = slices.DeleteFunc(d.Deliveries, func(o Delivery) bool { return !keep(o) })
}

// ReadDeliveries reads what is remembered of a month; nothing, of one that nobody asked for packages of.
func ReadDeliveries(lake *load.Lake, month schemas.Month) (*Deliveries, error) {
	path := lake.Path(Dir, month.String()+".json")
	d := &Deliveries{Format: formatNow, Month: month}
	b, err := lake.FS.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, d); err != nil || d.Month != month {
		return nil, &load.DamagedError{Path: path, Detail: "it doesn't say what was delivered of the month", Err: err,
			Hint: "put it back from a backup; or remove it: usagelake package delivers everything once more"}
	}
	return d, nil
}

// Write remembers it.
func (d *Deliveries) Write(lake *load.Lake) error {
	slices.SortFunc(d.Deliveries, func(a, b Delivery) int {
		if c := strings.Compare(a.Receiver, b.Receiver); c != 0 {
			return c
		}
		return strings.Compare(a.CostCenter, b.CostCenter)
	})
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	dir := lake.Path(Dir)
	if err := lake.MakeDirs(dir); err != nil {
		return err
	}
	// Not among the lake's temp files, which whoever takes its lock drops.
	t, err := lake.CreateIn(dir, d.Month.String()+".*.tmp")
	if err != nil {
		return err
	}
	defer t.Abort()
	if _, err := bytes.NewReader(append(b, '\n')).WriteTo(t); err != nil {
		return err
	}
	return t.Commit(filepath.Join(dir, d.Month.String()+".json"))
}

// Remembered is what is remembered of every month, in their order.
func Remembered(lake *load.Lake) ([]*Deliveries, error) {
	entries, err := lake.Entries(lake.Path(Dir))
	if err != nil {
		return nil, err
	}
	out := []*Deliveries{}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		month, err := schemas.ParseMonth(name)
		if err != nil {
			continue
		}
		d, err := ReadDeliveries(lake, month)
		if err != nil {
			return nil, fmt.Errorf("packages of %s: %w", name, err)
		}
		out = append(out, d)
	}
	return out, nil
}
