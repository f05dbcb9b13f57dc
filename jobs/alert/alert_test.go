package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func rules(repeat time.Duration, names ...string) map[string]Rule {
	out := map[string]Rule{}
	for _, n := range names {
		out[n] = Rule{Repeat: repeat, To: []string{"ops"}}
	}
	return out
}

func states(ns []Notification) (out []string) {
	for _, n := range ns {
		out = append(out, n.State+" "+n.key())
	}
	return out
}

func finding(rule, subject string) Finding {
	return Finding{Rule: rule, Kind: "balance", Severity: Warning, Subject: subject, Summary: rule + " of " + subject}
}

func TestAnAlertIsToldOnceThenAtItsIntervalThenOver(t *testing.T) {
	low := finding("low", "acme")
	var s State
	for _, c := range []struct {
		after    time.Duration
		findings []Finding
		unknown  map[string]bool
		want     []string
	}{
		{0, nil, nil, nil},
		{time.Minute, []Finding{low}, nil, []string{"firing low/acme"}},
		{2 * time.Minute, []Finding{low}, nil, nil},
		{24 * time.Hour, []Finding{low}, nil, nil},
		{24*time.Hour + time.Minute, []Finding{low}, nil, []string{"still_firing low/acme"}},
		{26 * time.Hour, []Finding{low, finding("low", "bee")}, nil, []string{"firing low/bee"}},
		// nothing is known: nothing is over
		{30 * time.Hour, nil, map[string]bool{"low": true}, nil},
		// what is known counts
		{80 * time.Hour, []Finding{low}, map[string]bool{"low": true}, []string{"still_firing low/acme"}},
		{81 * time.Hour, []Finding{low}, nil, []string{"over low/bee"}}, // bee's is gone
		{82 * time.Hour, nil, nil, []string{"over low/acme"}},
		{83 * time.Hour, nil, nil, nil},
		{84 * time.Hour, []Finding{low}, nil, []string{"firing low/acme"}},
	} {
		var ns []Notification
		s, ns = Step(noon.Add(c.after), s, Input{Rules: rules(24*time.Hour, "low"), Findings: c.findings, Unknown: c.unknown})
		if got := states(ns); !slices.Equal(got, c.want) {
			t.Errorf("after %s: %v, want %v", c.after, got, c.want)
		}
	}
}

func TestWhatGotWorseIsToldAtOnce(t *testing.T) {
	var s State
	for i, c := range []struct {
		level int
		want  string
	}{{1, "firing"}, {1, ""}, {2, "firing"}, {1, ""}, {2, ""}, {3, "firing"}} {
		f := finding("budget", "research 2026-11-01")
		f.Level = c.level
		var ns []Notification
		s, ns = Step(noon.Add(time.Duration(i)*time.Minute), s,
			Input{Rules: rules(time.Hour, "budget"), Findings: []Finding{f}})
		got := ""
		if len(ns) == 1 {
			got = ns[0].State
		}
		if got != c.want {
			t.Errorf("step %d: %q, want %q", i, got, c.want)
		}
	}
}

func TestAnEventIsToldOnceAndPassesWithoutAWord(t *testing.T) {
	spike := finding("anomaly", "2026-11-19 spike")
	spike.Once, spike.Until = true, noon.Add(72*time.Hour)
	check := func(s State, after time.Duration, fs ...Finding) (State, []string) {
		s, ns := Step(noon.Add(after), s, Input{Rules: rules(time.Hour, "anomaly"), Findings: fs})
		return s, states(ns)
	}
	s, got := check(State{}, 0, spike)
	if !slices.Equal(got, []string{"firing anomaly/2026-11-19 spike"}) {
		t.Fatal(got)
	}
	if s, got = check(s, 48*time.Hour, spike); got != nil {
		t.Errorf("it is told again: %v", got)
	}
	if _, got := check(s, 50*time.Hour); !slices.Equal(got, []string{"over anomaly/2026-11-19 spike"}) {
		t.Errorf("the day was corrected: %v", got)
	}
	if s, got = check(s, 72*time.Hour); got != nil || len(s.Alerts) > 0 {
		t.Errorf("it passes with %v, and is kept as %v", got, s.Alerts)
	}
}

func TestAnAlertWhoseRuleIsGoneIsOver(t *testing.T) {
	s, _ := Step(noon, State{}, Input{Rules: rules(time.Hour, "low"), Findings: []Finding{finding("low", "acme")}})
	s, ns := Step(noon.Add(time.Minute), s,
		Input{Rules: rules(time.Hour, "other"), Findings: []Finding{finding("low", "acme")}})
	if got := states(ns); !slices.Equal(got, []string{"over low/acme"}) || !slices.Equal(ns[0].to, []string{"ops"}) ||
		len(s.Alerts) > 0 {
		t.Errorf("%v to %v, left is %v", got, ns[0].to, s.Alerts)
	}
}

func TestAClockThatWasAheadDelaysATellingByAnIntervalAtMost(t *testing.T) {
	in := Input{Rules: rules(time.Hour, "low"), Findings: []Finding{finding("low", "acme")}}
	s, _ := Step(noon.AddDate(10, 0, 0), State{}, in)
	s, _ = Step(noon, s, in)
	if _, ns := Step(noon.Add(time.Hour), s, in); !slices.Equal(states(ns), []string{"still_firing low/acme"}) {
		t.Errorf("%v", states(ns))
	}
}

// jsonTrip is what is left of a state after it was written down and read again.
func jsonTrip(t rapid.TB, s State) State {
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var out State
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Under any sequence of checks, findings, unreadable facts and restarts, each alert fires once for as long as it goes
// on, is told again no sooner than its interval and no later than the first check after it, and is over once; no two
// notifications have the same id.
func TestEveryAlertFiresOnceAndIsOverOnce(t *testing.T) {
	subjects := []string{"acme", "bee", "acme/bee", "a\x00<b>"}
	rapid.Check(t, func(rt *rapid.T) {
		repeat := time.Duration(rapid.IntRange(0, 5).Draw(rt, "repeat")) * time.Hour
		all := rules(repeat, "low", "gap")
		type seen struct{ told time.Time }
		firing := map[string]*seen{}
		ids := map[string]bool{}
		now, s := noon, State{}
		for range rapid.IntRange(1, 40).Draw(rt, "checks") {
			now = now.Add(time.Duration(rapid.IntRange(0, 180).Draw(rt, "minutes")) * time.Minute)
			in := Input{Rules: all, Unknown: map[string]bool{}}
			found := map[string]bool{}
			for rule := range all {
				in.Unknown[rule] = rapid.IntRange(0, 4).Draw(rt, "unknown") == 0
				for _, sub := range subjects {
					if rapid.Bool().Draw(rt, "found") {
						f := finding(rule, sub)
						in.Findings = append(in.Findings, f)
						found[f.key()] = true
					}
				}
			}
			before := jsonTrip(rt, s)
			next, ns := Step(now, s, in)
			if !reflect.DeepEqual(before, jsonTrip(rt, s)) {
				rt.Fatal("Step changed its argument")
			}
			again, same := Step(now, before, in)
			if !reflect.DeepEqual(jsonTrip(rt, again), jsonTrip(rt, next)) || !reflect.DeepEqual(states(ns), states(same)) {
				rt.Fatal("a state that was written down gives something else")
			}
			told := map[string]string{}
			for _, n := range ns {
				if ids[n.ID] || told[n.key()] != "" {
					rt.Fatalf("%s %s is told twice", n.State, n.key())
				}
				ids[n.ID], told[n.key()] = true, n.State
			}
			for _, rule := range slices.Sorted(maps.Keys(all)) {
				for _, sub := range subjects {
					key := finding(rule, sub).key()
					was, want := firing[key], ""
					switch {
					case !found[key] && in.Unknown[rule]:
					case found[key] && was == nil:
						want, firing[key] = Firing, &seen{now}
					case found[key] && repeat > 0 && now.Sub(was.told) >= repeat:
						want, was.told = StillFiring, now
					case !found[key] && was != nil:
						want = Over
						delete(firing, key)
					}
					if told[key] != want {
						rt.Fatalf("%s is told as %q, want %q", key, told[key], want)
					}
				}
			}
			if len(next.Alerts) != len(firing) || len(next.Active()) != len(firing) {
				rt.Fatalf("%d alerts are remembered, %d go on", len(next.Alerts), len(firing))
			}
			s = next
		}
	})
}

// fake is a receiver that takes what its plan says; a nil error takes a message.
type fake struct {
	name string
	next func() error
	got  []string
	seen map[string]string
}

func (f *fake) Name() string { return f.name }

func (f *fake) Send(_ context.Context, m Message) error {
	b, err := m.JSON()
	if err != nil {
		return err
	}
	if was, ok := f.seen[m.ID]; ok && was != string(b) {
		return fmt.Errorf("the message %s changed", m.ID)
	}
	f.seen[m.ID] = string(b)
	if err := f.next(); err != nil {
		return err
	}
	for _, n := range m.Notifications {
		f.got = append(f.got, n.State+" "+n.key())
	}
	return nil
}

// Whatever fails and whenever the process is restarted, each receiver gets every notification once, in order unless it
// refused one, and a failing receiver keeps none from another.
func TestEveryNotificationReachesEveryReceiver(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		broken, now, s := true, noon, State{}
		bad := &fake{name: "bad", seen: map[string]string{}, next: func() error {
			if !broken {
				return nil
			}
			switch rapid.IntRange(0, 3).Draw(rt, "fault") {
			case 0:
				return nil
			case 1:
				return &SendError{Receiver: "bad", Detail: "it answered 503",
					After: time.Duration(rapid.IntRange(0, 600).Draw(rt, "after")) * time.Second}
			default:
				return errors.New("it can't be reached")
			}
		}}
		good := &fake{name: "good", seen: map[string]string{}, next: func() error { return nil }}
		all := map[string]Rule{"low": {Repeat: time.Hour, To: []string{"bad", "good"}}}
		var want []string
		check := func(findings ...Finding) {
			var ns []Notification
			s, ns = Step(now, s, Input{Rules: all, Findings: findings})
			s.Enqueue(now, "/lake", ns)
			want = append(want, states(ns)...)
			s = jsonTrip(rt, s)
			if d := s.Deliver(rt.Context(), now, []Receiver{bad, good}); d[1].Waiting > 0 || d[1].Error != "" {
				rt.Fatalf("good: %+v", d[1])
			}
			s = jsonTrip(rt, s)
			if !slices.Equal(good.got, want) {
				rt.Fatalf("good got %v, want %v", good.got, want)
			}
		}
		for range rapid.IntRange(1, 30).Draw(rt, "checks") {
			now = now.Add(time.Duration(rapid.IntRange(0, 30).Draw(rt, "minutes")) * time.Minute)
			var found []Finding
			for _, sub := range []string{"acme", "bee"} {
				if rapid.Bool().Draw(rt, "found") {
					found = append(found, finding("low", sub))
				}
			}
			check(found...)
		}
		broken = false
		now = now.Add(maxAfter)
		check()
		if !slices.Equal(bad.got, want) || len(s.Outbox) > 0 {
			rt.Fatalf("bad got %v\nwant %v\nleft %v", bad.got, want, s.Outbox)
		}
	})
}

func TestARefusedMessageLetsTheOthersPassAndASilentReceiverIsLeftAlone(t *testing.T) {
	var asked int
	var answer error
	r := &fake{name: "ops", seen: map[string]string{}, next: func() error { asked++; return answer }}
	s := State{}
	tell := func(now time.Time, sub string) Delivery {
		f := finding("low", sub)
		_, ns := Step(now, State{Seq: uint64(asked) + 100}, Input{Rules: rules(0, "low"), Findings: []Finding{f}})
		s.Enqueue(now, "/lake", ns)
		return s.Deliver(t.Context(), now, []Receiver{r})[0]
	}
	answer = &SendError{Receiver: "ops", Detail: "it answered 400: invalid_payload", Refused: true}
	tell(noon, "a")
	answer = nil
	if d := tell(noon.Add(time.Second), "b"); d.Sent != 1 || d.Waiting != 1 ||
		d.Error != "receiver ops: it answered 400: invalid_payload" {
		t.Errorf("%+v", d)
	}
	answer = errors.New("it can't be reached")
	tell(noon.Add(2*time.Minute), "c")
	asked = 0
	if d := tell(noon.Add(2*time.Minute+time.Second), "d"); asked != 0 || d.Waiting != 3 {
		t.Errorf("it was asked %d times, %+v", asked, d)
	}
	answer = nil
	if d := s.Deliver(t.Context(), noon.Add(10*time.Minute), []Receiver{r})[0]; d.Sent != 3 || len(s.Outbox) > 0 {
		t.Errorf("%+v", d)
	}
	if !slices.Equal(r.got, []string{"firing low/b", "firing low/a", "firing low/c", "firing low/d"}) {
		t.Errorf("%v", r.got)
	}
}

func TestTheOutboxKeepsNothingForever(t *testing.T) {
	s := State{}
	for i := range maxWaiting + 3 {
		s.Outbox = append(s.Outbox, Message{ID: fmt.Sprint(i), To: "ops", At: noon})
	}
	s.Outbox = append(s.Outbox, Message{ID: "gone", To: "gone", At: noon},
		Message{ID: "old", To: "mail", At: noon.Add(-Keep - time.Second)}, Message{ID: "new", To: "mail", At: noon})
	var ids []string
	for _, m := range s.Prune(noon, func(r string) bool { return r != "gone" }) {
		ids = append(ids, m.ID)
	}
	if !slices.Equal(ids, []string{"0", "1", "2", "gone", "old"}) || len(s.Outbox) != maxWaiting+1 {
		t.Errorf("dropped %v, left %d", ids, len(s.Outbox))
	}
}
