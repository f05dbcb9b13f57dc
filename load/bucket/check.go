package bucket

import (
	"fmt"
	"strings"
)

// Check says what is wrong with a URL and its options, as far as it can be told without asking anybody.
func Check(url string, o Options) error {
	if _, err := parse(url); err != nil {
		shown := url
		if strings.Contains(url, "@") { // it may hold a password
			shown = hideUser(url)
		}
		return fmt.Errorf("%s: %w", shown, err)
	}
	if o.Endpoint == "" {
		return nil
	}
	_, err := endpoint(o.Endpoint)
	return err
}
