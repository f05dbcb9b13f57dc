package query

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/schemas"
)

// focusGenerator is who generates the data, as FOCUS has it.
const focusGenerator = "usagelake"

// focusMetadata says what a FOCUS file holds without it being opened, in the words of FOCUS's metadata. It is the same
// of the same columns, whatever the rows.
type focusMetadata struct {
	SchemaID         string                  `json:"SchemaId"` // a digest of what follows, in the form of a UUID
	FocusVersion     string                  `json:"FocusVersion"`
	DatasetID        string                  `json:"x_DatasetId"`
	CreationDate     string                  `json:"CreationDate"` // of the schema
	DataGenerator    string                  `json:"DataGenerator"`
	ColumnDefinition []focusColumnDefinition `json:"ColumnDefinition"`
	// DataLocation lists the files, where a CSV is split.
	DataLocation []focusFile `json:"data_location,omitempty"`
}

type focusColumnDefinition struct {
	Name           string `json:"ColumnName"`
	DataType       string `json:"DataType"`
	Precision      int    `json:"NumericPrecision,omitempty"`
	Scale          *int   `json:"NumberScale,omitempty"`
	StringEncoding string `json:"StringEncoding,omitempty"`
	// ProviderTagPrefixes are those of tags that the provider defines, of Tags alone: there are none.
	ProviderTagPrefixes *[]string `json:"ProviderTagPrefixes,omitempty"`
}

// focusFile is a file of several; its path is relative to the metadata.
type focusFile struct {
	Path  string `json:"filepath"`
	Bytes int64  `json:"total_bytes"`
	Rows  int64  `json:"total_rows"`
}

var decimalType = regexp.MustCompile(`^DECIMAL\((\d+),\s*(\d+)\)$`)

// metadata describes what the options ask for, with the types of the answer to the query.
func (o FocusOptions) metadata(ctx context.Context, s *Snapshot, query string) (m focusMetadata, err error) {
	rows, err := s.Query(ctx, "FROM ("+query+") LIMIT 0")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	kinds := map[string]string{}
	for _, c := range o.columns() {
		kinds[c.Name] = c.Type
	}
	m = focusMetadata{FocusVersion: o.version(), DataGenerator: focusGenerator, DatasetID: map[string]string{
		schemas.FocusCostAndUsage: "CostAndUsage", schemas.FocusBillingPeriod: "BillingPeriod",
		schemas.FocusInvoiceDetail: "InvoiceDetail"}[o.dataset()]}
	for _, c := range rows.Columns {
		d := focusColumnDefinition{Name: c.Name, DataType: map[string]string{schemas.FocusString: "STRING",
			schemas.FocusDecimal: "DECIMAL", schemas.FocusDateTime: "DATETIME", schemas.FocusJSON: "JSON",
			schemas.FocusInteger: "INTEGER"}[kinds[c.Name]]}
		if x := decimalType.FindStringSubmatch(c.Type); x != nil {
			scale, err := strconv.Atoi(x[2])
			if err != nil {
				return m, err
			}
			d.Scale = &scale
			if d.Precision, err = strconv.Atoi(x[1]); err != nil {
				return m, err
			}
		}
		if c.Type == "VARCHAR" {
			d.StringEncoding = "UTF-8"
		}
		if c.Name == "Tags" {
			d.ProviderTagPrefixes = &[]string{}
		}
		m.ColumnDefinition = append(m.ColumnDefinition, d)
	}
	// SchemaID and CreationDate are empty still: the digest is of the columns, and of the same columns the same.
	b, err := json.Marshal(m)
	if err != nil {
		return m, err
	}
	id := sha256.Sum256(b)
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8, which is anybody's own
	m.SchemaID, m.CreationDate = fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16]),
		schemas.FocusSchemaDate
	return m, nil
}

// copyOption has DuckDB write into a Parquet file itself which schema it has.
func (m *focusMetadata) copyOption() string {
	var b strings.Builder
	for _, x := range [][2]string{{"SchemaId", m.SchemaID}, {"FocusVersion", m.FocusVersion}, {"x_DatasetId", m.DatasetID},
		{"CreationDate", m.CreationDate}, {"DataGenerator", m.DataGenerator}} {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s: %s", x[0], schemas.SQLString(x[1]))
	}
	return ", KV_METADATA {" + b.String() + "}"
}
