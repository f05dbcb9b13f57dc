package query

import "testing"

// The alias is HMAC-SHA256 as others reckon it: openssl dgst -sha256 -hmac KEY says the same.
func TestAnAliasIsTheHMACOfTheId(t *testing.T) {
	e := EndUsers{Key: []byte("0123456789abcdef0123456789abcdef")}
	for id, want := range map[string]string{"customer-7": "eu_6dc47371a1e1dc7dad4a66e6bf3b16a5", "": ""} {
		if got := e.Alias(id); got != want {
			t.Errorf("%q: %s, want %s", id, got, want)
		}
	}
	other := EndUsers{Key: []byte("1123456789abcdef0123456789abcdef")}
	if e.Digest() == other.Digest() || e.Digest() == (EndUsers{}).Digest() || (EndUsers{Drop: true}).Digest() != "drop" {
		t.Error("digests don't tell keys apart")
	}
}
