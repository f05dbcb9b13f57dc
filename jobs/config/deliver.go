package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/schemas"
)

// Delivery is where the lake is delivered to, and what of it. Credentials are kept where the store's own programs keep
// them, never here.
type Delivery struct {
	Name       string   `yaml:"name"`
	To         string   `yaml:"to"`         // s3://, gs://, az:// or file:///, with a prefix of its own
	Endpoint   string   `yaml:"endpoint"`   // of a compatible store
	Region     string   `yaml:"region"`     // of s3
	Encryption string   `yaml:"encryption"` // that an s3 store is asked for; "": the bucket's default
	What       []string `yaml:"what"`       // nil: usage
	Tables     []string `yaml:"tables"`     // over the day files
	Keep       Duration `yaml:"keep"`       // 0: deliver.DefaultKeep
	After      string   `yaml:"after"`      // AfterExport, or ""
	As         string   `yaml:"as"`         // the lake's name, where several deliver below one prefix
}

// Values of Delivery.
const (
	AfterExport  = "export"
	TableDelta   = "delta"
	TableIceberg = "iceberg"
)

// minKeep is the shortest time that what was replaced stays: a reader may take hours over what one manifest lists.
const minKeep = time.Hour

// Validate lists what can't be meant.
func (d Delivery) Validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !deliver.NamePattern.MatchString(d.Name) {
		bad("name: %q is not a name: 1 to 63 of a-z, 0-9 and -, starting with a letter", d.Name)
	}
	if d.To == "" {
		bad("to: say where to, such as s3://finance-lake/usage, gs://…, az://ACCOUNT/CONTAINER/… or file:///…")
	} else if err := bucket.Check(d.To, bucket.Options{Endpoint: d.Endpoint, Encryption: d.Encryption}); err != nil {
		bad("to: %w", err)
	}
	if d.What != nil && len(d.What) == 0 {
		bad("what: the list is empty: name some, or leave it out for %s", strings.Join(deliver.DefaultWhat(), ", "))
	}
	if err := deliver.CheckWhat(d.What); err != nil {
		bad("what: %w", err)
	}
	for _, t := range d.Tables {
		if t != TableDelta && t != TableIceberg {
			bad("tables: %q is none: there are %s and %s", t, TableDelta, TableIceberg)
		}
	}
	if len(d.Tables) > 0 && d.What != nil && !slices.Contains(d.What, deliver.WhatUsage) &&
		!slices.Contains(d.What, deliver.WhatRaw) {
		bad("tables: they are over the day files: add %s to what", deliver.WhatUsage)
	}
	if d.Keep != 0 && time.Duration(d.Keep) < minKeep {
		bad("keep: %s is less than %s: a reader that holds an older manifest would miss its files", time.Duration(d.Keep),
			minKeep)
	}
	if d.After != "" && d.After != AfterExport {
		bad("after: %q is not %s", d.After, AfterExport)
	}
	if d.As != "" && !deliver.NamePattern.MatchString(d.As) {
		bad("as: %q is not a name: 1 to 63 of a-z, 0-9 and -, starting with a letter", d.As)
	}
	return errs
}

// deliveries lists every mistake in them. Two that write below one place would each retire what the other delivered.
func deliveries(list []Delivery) []error {
	var errs []error
	names, places := map[string]bool{}, map[string]string{}
	for i, d := range list {
		path := fmt.Sprintf("deliver[%d]", i)
		bad := func(format string, args ...any) {
			errs = append(errs, at(path, "%s (%s): %w", path, d.Name, fmt.Errorf(format, args...)))
		}
		for _, err := range d.Validate() {
			bad("%w", err)
		}
		if names[d.Name] {
			bad("name: another delivery has it too")
		}
		names[d.Name] = true
		place := schemas.Fold(strings.Join([]string{strings.TrimRight(d.To, "/"), d.Endpoint, d.As}, " "))
		if other, ok := places[place]; ok && d.To != "" {
			bad("to: delivery %s goes to the same place: give each a prefix of its own", other)
		}
		places[place] = d.Name
	}
	return errs
}

// Deliveries are those of the names, in the order of the config; of no names all.
func (c *Config) Deliveries(names []string) ([]Delivery, error) {
	var have []string
	for _, d := range c.Deliver {
		have = append(have, d.Name)
	}
	for _, n := range names {
		if !slices.Contains(have, n) {
			if len(have) == 0 {
				return nil, Usage("", "the config has no deliveries")
			}
			return nil, Usage("", "no delivery %q in the config: it has %s", n, strings.Join(have, ", "))
		}
	}
	var out []Delivery
	for _, d := range c.Deliver {
		if len(names) == 0 || slices.Contains(names, d.Name) {
			out = append(out, d)
		}
	}
	return out, nil
}
