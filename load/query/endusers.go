package query

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/usagelake/usagelake/load/publish"
)

// EndUsers says what becomes of the ids of end users, custom_user_id, in what is handed out. The zero value leaves them
// as they are.
type EndUsers struct {
	Drop bool
	Key  []byte // an alias made with it stands for each id
}

// Kept says that ids stay as they are.
func (e EndUsers) Kept() bool { return !e.Drop && e.Key == nil }

// Alias is what stands for an id: "eu_" and the first 128 bits of its HMAC-SHA256 (RFC 2104) in hex. The same key gives
// the same alias, in every file and month; without the key nobody can tell whose it is, nor try ids out. Nobody's id,
// "", stays that.
func (e EndUsers) Alias(id string) string {
	if id == "" {
		return ""
	}
	mac := hmac.New(sha256.New, e.Key)
	mac.Write([]byte(id))
	return "eu_" + hex.EncodeToString(mac.Sum(nil)[:16])
}

// Digest tells one EndUsers from another, and nothing of the key.
func (e EndUsers) Digest() string {
	switch {
	case e.Drop:
		return "drop"
	case e.Kept():
		return "keep"
	}
	mac := hmac.New(sha256.New, e.Key)
	mac.Write([]byte("usagelake: which key this is"))
	return "hash " + hex.EncodeToString(mac.Sum(nil)[:8])
}

// gather makes the snapshot's table of aliases, of the ids that some of the file's tables have, for in.
func (e EndUsers) gather(ctx context.Context, s *Snapshot, tables []string) error {
	if e.Key == nil || e.Drop {
		return nil
	}
	var ids []string
	for _, t := range tables {
		ids = append(ids, "SELECT custom_user_id FROM "+publish.Catalog+".main."+t)
	}
	var aliases [][2]string
	err := s.Each(ctx, "SELECT DISTINCT custom_user_id FROM ("+strings.Join(ids, " UNION ALL ")+
		") WHERE custom_user_id IS NOT NULL", func(row []Value) error {
		aliases = append(aliases, [2]string{row[0].Text, e.Alias(row[0].Text)})
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := s.conn.ExecContext(ctx, "CREATE TEMP TABLE end_users (id VARCHAR, alias VARCHAR)", nil); err != nil {
		return err
	}
	return publish.AppendTemp(s.conn, "end_users", aliases)
}

// in is a query with the ids replaced in its answer, which has a column custom_user_id. What the API sent beyond the
// columns, extra, goes: nobody knows what of it is about whom.
func (e EndUsers) in(query string, extra bool) string {
	var change []string
	if extra {
		change = append(change, "NULL::VARCHAR AS extra")
	}
	switch {
	case e.Kept():
		return query
	case e.Drop:
		change = append(change, "NULL::VARCHAR AS custom_user_id")
		return "SELECT * REPLACE (" + strings.Join(change, ", ") + ") FROM (" + query + ")"
	}
	change = append(change, "(SELECT alias FROM temp.end_users e WHERE e.id = custom_user_id) AS custom_user_id")
	return fmt.Sprintf("SELECT q.* REPLACE (%s) FROM (%s) q", strings.Join(change, ", "), query)
}
