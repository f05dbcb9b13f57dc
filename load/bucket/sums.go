package bucket

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
)

// partSums reads a body once: the digest of each of its parts of size bytes, of any kind. Whether the body is what it
// is said to be is seen, too, before anything of it is sent.
func partSums(ctx context.Context, body Body, size int64, kind func() hash.Hash) ([][]byte, error) {
	r, err := body.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close() // it was read alone
	var sums [][]byte
	var all int64
	sha := sha256.New()
	in := io.TeeReader(&withContext{ctx, r}, sha)
	for all < body.Size || len(sums) == 0 {
		sum := kind()
		n, err := io.CopyN(sum, in, min(size, body.Size-all))
		all += n
		if err == io.EOF {
			return nil, errChanged(all, body.Size)
		}
		if err != nil {
			return nil, err
		}
		sums = append(sums, sum.Sum(nil))
	}
	if n, err := io.Copy(io.Discard, in); err != nil || n > 0 || string(sha.Sum(nil)) != string(body.SHA256[:]) {
		if err != nil {
			return nil, err
		}
		return nil, errChanged(all+n, body.Size)
	}
	return sums, nil
}
