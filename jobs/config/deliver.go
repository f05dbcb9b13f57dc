package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/catalog"
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

	Iceberg IcebergCatalog `yaml:"iceberg"` // not Set: the Iceberg table is in the layout of Hadoop's catalog
}

// IcebergCatalog is the catalog that keeps an Iceberg table, and who asks it: a token, a client that gets one, the
// credentials of AWS, or nobody in particular.
type IcebergCatalog struct {
	Catalog   string `yaml:"catalog"`   // https://HOST[/PATH], to which v1/config is added
	Warehouse string `yaml:"warehouse"` // which of the catalog's; "" if it has one
	Table     string `yaml:"table"`     // NAMESPACE.NAME

	TokenEnv  string `yaml:"token_env"`  // the variable that holds a bearer token
	TokenFile string `yaml:"token_file"` // or the file

	ClientID         string `yaml:"client_id"` // of OAuth2's client credentials
	ClientSecretEnv  string `yaml:"client_secret_env"`
	ClientSecretFile string `yaml:"client_secret_file"`
	TokenURI         string `yaml:"token_uri"` // "": the catalog's own
	Scope            string `yaml:"scope"`     // "": catalog

	SigV4 string `yaml:"sigv4"` // the region of AWS's Glue, which takes requests that are signed
}

// Set says whether there is a catalog.
func (c IcebergCatalog) Set() bool { return c != IcebergCatalog{} }

// Options are those of the catalog, without secrets.
func (c IcebergCatalog) Options() catalog.Options {
	return catalog.Options{URI: c.Catalog, Warehouse: c.Warehouse, Table: c.Table,
		Client: catalog.Client{ID: c.ClientID, TokenURI: c.TokenURI, Scope: c.Scope}}
}

// Secrets reads what proves who asks, anew each time.
func (c IcebergCatalog) Secrets(getenv func(string) string) (token, clientSecret string, err error) {
	if c.TokenEnv != "" || c.TokenFile != "" {
		token, err = Secret("the catalog", "token", c.TokenEnv, c.TokenFile, getenv)
	}
	if c.ClientID != "" {
		clientSecret, err = Secret("the catalog", "client secret", c.ClientSecretEnv, c.ClientSecretFile, getenv)
	}
	return token, clientSecret, err
}

var (
	variable  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	awsRegion = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d+$`)
)

// Validate lists what can't be meant.
func (c IcebergCatalog) Validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Catalog == "" || c.Table == "" {
		bad("say catalog and table, such as https://catalog.example.com/iceberg and finance.usage")
	} else if err := catalog.Check(c.Options()); err != nil {
		bad("%w", err)
	}
	ways := 0
	for _, is := range []bool{c.TokenEnv != "" || c.TokenFile != "", c.ClientID != "", c.SigV4 != ""} {
		if is {
			ways++
		}
	}
	if ways > 1 {
		bad("give one of a token, a client_id and sigv4")
	}
	if c.TokenEnv != "" && c.TokenFile != "" || c.ClientSecretEnv != "" && c.ClientSecretFile != "" {
		bad("give a secret's variable or its file, not both")
	}
	if secret := c.ClientSecretEnv != "" || c.ClientSecretFile != ""; secret != (c.ClientID != "") {
		bad("client_id goes with one of client_secret_env (a variable that holds the secret) and client_secret_file")
	}
	if (c.TokenURI != "" || c.Scope != "") && c.ClientID == "" {
		bad("token_uri and scope go with client_id")
	}
	for key, name := range map[string]string{"token_env": c.TokenEnv, "client_secret_env": c.ClientSecretEnv} {
		if name != "" && !variable.MatchString(name) { // which isn't shown: it may be the secret itself
			bad("%s isn't the name of a variable: write the name there, and put the secret into that variable", key)
		}
	}
	if c.SigV4 != "" && !awsRegion.MatchString(c.SigV4) {
		bad("sigv4: %q is no region of AWS, such as eu-central-1", c.SigV4)
	}
	return errs
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
	if d.Iceberg.Set() {
		for _, err := range d.Iceberg.Validate() {
			bad("iceberg: %w", err)
		}
		if !slices.Contains(d.Tables, TableIceberg) {
			bad("iceberg: it names the catalog of a table that isn't asked for: add %s to tables", TableIceberg)
		}
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
