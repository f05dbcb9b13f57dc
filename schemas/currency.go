package schemas

// IsCurrency says that a text has the form of an ISO 4217 code, as "USD": three capital letters.
func IsCurrency(s string) bool {
	if len(s) != 3 {
		return false
	}
	for _, c := range []byte(s) {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}
