package publish

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// The manifests of a lake are a chain, in the order in which they were written: each names the SHA-256 of the one
// before, which may be of a month that was opened again since (statements/reopened/ keeps it). Whoever keeps the digest
// of the last one knows by it that none before was changed, taken out or put in.
//
//	2026-08 ◀── 2026-09 ◀── 2026-10, opened again ◀── 2026-10 (statement_version 2) ◀── 2026-11
//
// Manifests that were written before there was a chain name none; the first that does names the last of them.

// ManifestChain is a manifest's place in the chain.
type ManifestChain struct {
	Previous *ManifestLink `json:"previous"` // null in the first manifest of a lake
}

// ManifestLink names a manifest by its digest.
type ManifestLink struct {
	Month    schemas.Month     `json:"month"`
	ClosedAt time.Time         `json:"closed_at"`
	SHA256   string            `json:"sha256"`
	Reopened *ManifestReopened `json:"reopened,omitempty"` // that the month was opened again after it, when and why
}

// ManifestReopened says that a month was opened again.
type ManifestReopened struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Closing is a manifest of the chain: of a month that is closed, or of one that was opened again.
type Closing struct {
	ClosedMonth
	Reopened *ManifestReopened // nil of a month that is closed
}

// Closings are all manifests that the lake has, those of months that were opened again among them, in order of the
// chain as far as they are part of it, and of their time. What is kept of reopened months and can't be read is left
// out: the link of the manifest behind it tells.
func (l *Lake) Closings() ([]Closing, error) {
	closed, err := l.Closed()
	if err != nil {
		return nil, err
	}
	var out []Closing
	for _, c := range closed {
		out = append(out, Closing{ClosedMonth: c})
	}
	kept, err := l.Entries(l.Path(load.StatementsDir, reopenedDir))
	if err != nil {
		return nil, err
	}
	for _, e := range kept {
		if !e.IsDir() || len(e.Name()) < len("2026-10") {
			continue
		}
		month, err := schemas.ParseMonth(e.Name()[:len("2026-10")])
		if err != nil {
			continue
		}
		dir := l.Path(load.StatementsDir, reopenedDir, e.Name())
		c, err := l.readManifest(month, dir)
		if err != nil {
			l.Log.Warn("what a month was closed with that was opened again can't be read", "path", dir, "error", err)
			continue
		}
		out = append(out, Closing{c, l.reopenedAs(dir)})
	}
	slices.SortFunc(out, func(a, b Closing) int {
		return cmp.Or(a.ClosedAt.Compare(b.ClosedAt), cmp.Compare(a.Edition, b.Edition), cmp.Compare(a.Month, b.Month))
	})
	return out, nil
}

// reopenedAs is what stands beside the directory of a month that was opened again.
func (l *Lake) reopenedAs(dir string) *ManifestReopened {
	var r reopened
	if b, err := l.FS.ReadFile(dir + ".json"); err == nil {
		_ = json.Unmarshal(b, &r)
	}
	return &ManifestReopened{At: r.ReopenedAt, Reason: r.Reason}
}

func (c Closing) link() *ManifestLink {
	return &ManifestLink{c.Month, c.ClosedAt, c.Digest, c.Reopened}
}

// lastClosing is the manifest that the next one names: the one of the chain that none names; the latest, where there is
// no chain yet; nil if there is none. Where the chain is broken, verify tells; the next link is of the latest end.
func lastClosing(all []Closing) *Closing {
	named := map[string]bool{}
	chained := false
	for _, c := range all {
		if c.Chain != nil {
			chained = true
			if p := c.Chain.Previous; p != nil {
				named[p.SHA256] = true
			}
		}
	}
	for i, c := range slices.Backward(all) {
		if !named[c.Digest] && (c.Chain != nil) == chained {
			return &all[i]
		}
	}
	return nil
}

// brokenLinks says what is wrong with the chain: of which manifest, and what.
func brokenLinks(all []Closing, broken func(of Closing, format string, args ...any)) {
	byDigest, namedBy := map[string]Closing{}, map[string]Closing{}
	for _, c := range all {
		byDigest[c.Digest] = c
	}
	var first *Closing
	for i, c := range all {
		switch {
		case c.Chain == nil:
			continue
		case c.Chain.Previous == nil:
			if first != nil {
				broken(c, "it says that it is the first of the lake, and so does that of %s", first.Month)
			}
			if first == nil {
				first = &all[i]
			}
			continue
		}
		p := c.Chain.Previous
		before, ok := byDigest[p.SHA256]
		switch other, twice := namedBy[p.SHA256]; {
		case !ok:
			broken(c, "the manifest that was written before it, of %s with the SHA-256 %s, is not among those of the lake: it "+
				"was changed, or is gone", p.Month, p.SHA256)
		case twice:
			broken(c, "it follows the manifest of %s, and so does that of %s", p.Month, other.Month)
		case before.Month != p.Month:
			broken(c, "it names the manifest of %s as that of %s", before.Month, p.Month)
		}
		namedBy[p.SHA256] = c
	}
}

// signature checks the signature of a manifest that says who signed it.
func (l *Lake) signature(c ClosedMonth) error {
	manifest, err := l.FS.ReadFile(filepath.Join(c.Dir, ManifestName))
	if err != nil {
		return err
	}
	file, err := l.FS.ReadFile(filepath.Join(c.Dir, SignatureFile))
	if err != nil {
		return err
	}
	key, err := checkSignature(manifest, file)
	if err != nil {
		return fmt.Errorf("it is not the signature of the manifest: %w", err)
	}
	if key != c.Signer {
		return errors.New("it was made with another key than the manifest names")
	}
	return nil
}

// TakeClosed puts what a month was closed with in another lake into this one, as far as a publish reads it: the
// manifest, what was charged, and the rules. The caller holds this lake's lock.
func (l *Lake) TakeClosed(c Closing) error {
	dir := l.Path(load.StatementsDir, c.Month.String())
	names := []string{ManifestName, LedgerFile, LedgerFocus}
	for _, f := range c.Rules.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
			return fmt.Errorf("closed month %s: the manifest names the file %q, which lies elsewhere", c.Month, f.Path)
		}
		names = append(names, f.Path)
	}
	for _, name := range names {
		from, to := filepath.Join(c.Dir, filepath.FromSlash(name)), filepath.Join(dir, filepath.FromSlash(name))
		if err := l.MakeDirs(filepath.Dir(to)); err != nil {
			return err
		}
		if err := l.Take(from, to); err != nil {
			return fmt.Errorf("take what %s was closed with: %w", c.Month, err)
		}
	}
	return nil
}

// Chain are the manifests from the first to the last, each named by the one behind it; nil if that of the digest isn't
// among them.
func Chain(all []Closing, digest string) []Closing {
	byDigest := map[string]Closing{}
	for _, c := range all {
		byDigest[c.Digest] = c
	}
	var out []Closing
	last := lastClosing(all)
	if last == nil {
		return nil
	}
	for c, ok := *last, true; ok && len(out) < len(all); {
		out = append(out, c)
		if c.Chain == nil || c.Chain.Previous == nil {
			break
		}
		c, ok = byDigest[c.Chain.Previous.SHA256]
	}
	slices.Reverse(out)
	if last.Chain == nil || !slices.ContainsFunc(out, func(c Closing) bool { return c.Digest == digest }) {
		return nil
	}
	return out
}
