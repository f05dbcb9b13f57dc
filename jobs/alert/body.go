package alert

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/usagelake/usagelake/schemas/words"
)

// Formats of a webhook's body.
const (
	FormatJSON  = "json"
	FormatSlack = "slack"
)

// payload is the JSON that receivers get; docs/alerts.md describes it. Fields are added, and never changed.
type payload struct {
	Version       int            `json:"version"`
	ID            string         `json:"id"`
	SentBy        string         `json:"sent_by"`
	Lake          string         `json:"lake"`
	At            time.Time      `json:"at"`
	Notifications []payloadEntry `json:"notifications"`
}

type payloadEntry struct {
	ID       string            `json:"id"`
	State    string            `json:"state"`
	Rule     string            `json:"rule"`
	Kind     string            `json:"kind"`
	Severity string            `json:"severity"`
	Subject  string            `json:"subject"`
	Summary  string            `json:"summary"`
	Since    time.Time         `json:"since"`
	At       time.Time         `json:"at"`
	Details  map[string]string `json:"details"`
}

// JSON is the message as receivers get it: the same bytes however often it is sent.
func (m Message) JSON() ([]byte, error) {
	p := payload{Version: 1, ID: m.ID, SentBy: "usagelake", Lake: m.Lake, At: m.At}
	for _, n := range m.Notifications {
		e := payloadEntry{ID: n.ID, State: n.State, Rule: n.Rule, Kind: n.Kind, Severity: n.Severity, Subject: n.Subject,
			Summary: n.Summary,
			Since:   n.Since, At: n.At, Details: n.Details}
		// Receivers find an object there in any case, and not null.
		if e.Details == nil {
			e.Details = map[string]string{}
		}
		p.Notifications = append(p.Notifications, e)
	}
	return json.Marshal(p)
}

// Limits of a Slack text, which Slack cuts at 40,000 characters.
const (
	slackLines = 20
	slackText  = 300 // characters of a summary
)

// Slack is the message as Slack's incoming webhooks take it, and what is compatible with them. A summary stands in a
// code span, where neither a link nor a mention is made of text that came from outside.
func (m Message) Slack() ([]byte, error) {
	var b strings.Builder
	for i, n := range m.Notifications {
		if i == slackLines {
			fmt.Fprintf(&b, "… and %d more: usagelake alert list", len(m.Notifications)-i)
			break
		}
		fmt.Fprintf(&b, "*%s* %s (%s): `%s`\n", slackState(n), slackEscape(n.Rule), slackEscape(n.Severity),
			slackSpan(n.Summary))
	}
	return json.Marshal(map[string]string{"text": strings.TrimSuffix(b.String(), "\n")})
}

func slackState(n Notification) string {
	switch n.State {
	case StillFiring:
		return "still firing since " + words.MinuteUTC(n.Since)
	case Over:
		return "over"
	case Test:
		return "test"
	}
	return "firing"
}

func slackEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// slackSpan makes text stay within a code span.
func slackSpan(s string) string {
	return slackEscape(words.Clip(strings.ReplaceAll(words.Line(s), "`", "'"), slackText))
}
