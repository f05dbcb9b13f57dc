package extract

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// listing is what the fetcher looks at in an answer of /usage: which records it holds, and how many the API says there
// are. Everything else in it is transform's business.
type listing struct {
	// keys tells the records apart: the id, or for a record without one noID and a hash of its bytes. Equal records
	// without an id, as all of the summary shape are, have equal keys.
	keys    []string
	summary bool
	total   *int64 // data.total; nil if absent, null or no whole number
	tokens  *int64 // data.total_tokens of the summary shape
	sum     int64  // of the tokens of the summary records here
}

// noID begins the key of a record that has no id, and no id.
const noID = '\x00'

var errShape = errors.New(`the answer holds neither data.list nor data.records: the API may have changed`)

// readListing reads an answer of either shape.
func readListing(body []byte) (*listing, error) {
	var doc struct {
		Data *struct {
			List        *[]listed       `json:"list"`
			Records     *[]listed       `json:"records"`
			Total       json.RawMessage `json:"total"`
			TotalTokens json.RawMessage `json:"total_tokens"`
		} `json:"data"`
	}
	// A null list decodes like an absent one; presence tells an empty window from an unknown shape.
	var present struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, fmt.Errorf("the answer can't be read: %w", err)
	}
	if doc.Data == nil {
		return nil, errShape
	}
	l := &listing{total: wholeNumber(doc.Data.Total), tokens: wholeNumber(doc.Data.TotalTokens)}
	items := doc.Data.List
	if items == nil {
		items = doc.Data.Records
		l.summary = items != nil
	}
	if items == nil {
		if err := json.Unmarshal(body, &present); err != nil {
			return nil, fmt.Errorf("the answer can't be read: %w", err)
		}
		_, list := present.Data["list"]
		_, records := present.Data["records"]
		if !list && !records {
			return nil, errShape
		}
		l.summary = !list
		return l, nil
	}
	l.keys = make([]string, len(*items))
	for i, it := range *items {
		l.keys[i] = it.key
		if l.summary {
			if (it.tokens > 0 && l.sum > math.MaxInt64-it.tokens) || it.tokens < 0 {
				l.tokens = nil // can't be compared
				continue
			}
			l.sum += it.tokens
		}
	}
	return l, nil
}

// listed is one entry of a list, read only as far as its identity goes.
type listed struct {
	key    string
	tokens int64
}

func (it *listed) UnmarshalJSON(b []byte) error {
	var r struct {
		ID     json.RawMessage `json:"id"`
		Tokens json.RawMessage `json:"tokens"`
	}
	// An entry that is no object has no id, and is told apart by its bytes like every record without one.
	if err := json.Unmarshal(b, &r); err == nil {
		if n := wholeNumber(r.Tokens); n != nil {
			it.tokens = *n
		}
		if id := plainText(r.ID); id != "" {
			it.key = id
			return nil
		}
	}
	h := sha256.Sum256(b)
	it.key = string(noID) + hex.EncodeToString(h[:12])
	return nil
}

// plainText is the text of a JSON string or number; "" for anything else.
func plainText(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	switch raw[0] {
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return ""
		}
		return s
	case '{', '[', 't', 'f', 'n':
		return ""
	}
	return string(raw)
}

// wholeNumber reads a count, sent as a number or a string; nil if it is none.
func wholeNumber(raw json.RawMessage) *int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(plainText(raw)), 10, 64)
	if err != nil || n < 0 {
		return nil
	}
	return &n
}
