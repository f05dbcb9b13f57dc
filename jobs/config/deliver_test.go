package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestWhatIsNoCatalogIsNamed before anybody is asked; a secret that was written where a variable's name goes isn't
// shown.
func TestWhatIsNoCatalogIsNamed(t *testing.T) {
	const secret = "not-a-secret-but-must-not-be-seen"
	good := Delivery{Name: "w", To: "s3://finance-lake/usage", Tables: []string{TableIceberg},
		Iceberg: IcebergCatalog{Catalog: "https://catalog.example/iceberg", Warehouse: "w", Table: "finance.usage"}}
	for want, change := range map[string]func(*Delivery){
		"":                            func(*Delivery) {},
		" ":                           func(d *Delivery) { d.Iceberg.TokenEnv = "TOKEN" },
		"  ":                          func(d *Delivery) { d.Iceberg.SigV4 = "us-gov-west-1" },
		"add iceberg to tables":       func(d *Delivery) { d.Tables = []string{TableDelta} },
		"say catalog and table":       func(d *Delivery) { d.Iceberg.Catalog = "" },
		"is not NAMESPACE.NAME":       func(d *Delivery) { d.Iceberg.Table = "usage" },
		"for this machine itself":     func(d *Delivery) { d.Iceberg.Catalog = "http://catalog.example" },
		"one of a token, a client_id": func(d *Delivery) { d.Iceberg.TokenFile, d.Iceberg.SigV4 = "f", "eu-central-1" },
		"or its file, not both":       func(d *Delivery) { d.Iceberg.TokenFile, d.Iceberg.TokenEnv = "f", "T" },
		"client_id goes with one":     func(d *Delivery) { d.Iceberg.ClientID = "me" },
		"client_id goes with":         func(d *Delivery) { d.Iceberg.ClientSecretEnv = "S" },
		"scope go with client_id":     func(d *Delivery) { d.Iceberg.Scope = "all" },
		"token_env isn't the name":    func(d *Delivery) { d.Iceberg.TokenEnv = secret },
		"client_secret_env isn't the": func(d *Delivery) { d.Iceberg.ClientID, d.Iceberg.ClientSecretEnv = "me", secret },
		"is no region of AWS":         func(d *Delivery) { d.Iceberg.SigV4 = "Frankfurt" },
		"the address for tokens is ht": func(d *Delivery) {
			d.Iceberg.ClientID, d.Iceberg.ClientSecretFile, d.Iceberg.TokenURI = "me", "f", "http://login.example"
		},
	} {
		d := good
		change(&d)
		err := errors.Join(d.Validate()...)
		switch {
		case strings.TrimSpace(want) == "" && err != nil, want != "" && strings.TrimSpace(want) != "" &&
			(err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%v, want %q", err, want)
		case err != nil && strings.Contains(err.Error(), secret):
			t.Errorf("a secret is shown: %v", err)
		}
	}
	c := Config{Deliver: []Delivery{{Iceberg: IcebergCatalog{TokenEnv: "TOKEN"}},
		{Iceberg: IcebergCatalog{ClientID: "me", ClientSecretEnv: "SECRET"}}}}
	for _, name := range []string{"TOKEN", "SECRET"} {
		if !slices.Contains(c.SecretVariables(), name) {
			t.Errorf("commands that are told of alerts get %s", name)
		}
	}
}
