package words

import (
	"testing"

	"pgregory.net/rapid"
)

func TestTheNearestWordIsTheOneWithTheFewestEdits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching("[a-c_]{0,6}")
		a, b, c := word.Draw(t, "a"), word.Draw(t, "b"), word.Draw(t, "c")
		ab, ba, ac, cb := EditDistance(a, b), EditDistance(b, a), EditDistance(a, c), EditDistance(c, b)
		if ab != ba || (ab == 0) != (a == b) || ab > ac+cb || ab > max(len(a), len(b)) {
			t.Fatalf("%q %q: %d, %d; by way of %q: %d + %d", a, b, ab, ba, c, ac, cb)
		}
	})
}
