package report

import "strings"

// Voice is in whose words a document and its errors speak of what can be asked, and of what can be done.
type Voice int

// The voices.
const (
	Flags     Voice = iota // of who types commands: --cost-center, usagelake export
	Address                // of who looks at a page, and has its address: cost_center=. Others run the commands
	Arguments              // of an assistant, which has arguments: cost_center. Others run the commands
)

// key is what an option is called.
func (v Voice) key(option string) string {
	switch v {
	case Address:
		return option + "="
	case Arguments:
		return option
	}
	return FlagName(option)
}

// given is an option with a value, which is quoted already.
func (v Voice) given(option, value string) string {
	if v == Address {
		return v.key(option) + value
	}
	return v.key(option) + " " + value
}

// or is the first text for who types commands, and the second for all others.
func (v Voice) or(flags, others string) string {
	if v == Flags {
		return flags
	}
	return others
}

// FlagName is the name of a dimension on the command line.
func FlagName(dimension string) string { return "--" + strings.ReplaceAll(dimension, "_", "-") }
