// Package ledger holds what an agent has shown as written down against what is found after a
// power cut.
package ledger

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Kind is what an entry is about.
type Kind string

// What is shown while the agent runs, and what is found before it starts again. Those of the
// second group are only ever found, or tell the test how far the machine is.
const (
	Event    Kind = "event"    // read from the journal
	Shown    Kind = "shown"    // an event that the agent itself has answered
	State    Kind = "state"    // what decisions need across a restart
	Sample   Kind = "sample"   // a reading that was kept
	Duration Kind = "duration" // of a step
	Act      Kind = "act"      // a step or a hook runs

	Boot   Kind = "boot"   // a boot has come so far that the journal can be looked at; Text is its id
	Found  Kind = "found"  // all that was found has been told; Text is what is wrong with it, empty: nothing
	Up     Kind = "up"     // the agent answers
	Status Kind = "status" // Text is its answer
)

// Entry is one line of what the machine tells.
type Entry struct {
	Kind Kind   `json:"kind"`
	ID   int64  `json:"id,omitempty"`   // of an event, when it was read from the journal
	Key  string `json:"key,omitempty"`  // an event's name, a state's key, a sample's device and name, what acts
	At   int64  `json:"at,omitempty"`   // ns since 1970
	Sum  string `json:"sum,omitempty"`  // of all there is to it
	Text string `json:"text,omitempty"` // a state's value
	Boot string `json:"boot,omitempty"` // of an event: in which it was written
}

// Ledger is what must be there after the next cut. The zero value has nothing in it.
type Ledger struct {
	events    map[int64]Entry
	shown     map[string]Entry // by sum
	states    map[string]Entry
	samples   map[string]Entry
	durations map[string]Entry
	acts      []Entry
}

// Show notes what the agent has shown.
func (l *Ledger) Show(e Entry) {
	if l.events == nil {
		l.events, l.shown, l.states = map[int64]Entry{}, map[string]Entry{}, map[string]Entry{}
		l.samples, l.durations = map[string]Entry{}, map[string]Entry{}
	}
	switch e.Kind {
	case Event:
		l.events[e.ID] = e
	case Shown:
		l.shown[e.Sum] = e
	case State:
		l.states[e.Key] = e
	case Sample:
		l.samples[e.sample()] = e
	case Duration:
		l.durations[e.Sum] = e
	case Act:
		l.acts = append(l.acts, e)
	}
}

func (e Entry) sample() string { return fmt.Sprint(e.Key, "@", e.At) }

// Count is how much of a kind has to be there.
func (l *Ledger) Count(k Kind) int {
	return map[Kind]int{
		Event: len(l.events), Shown: len(l.shown), State: len(l.states), Sample: len(l.samples),
		Duration: len(l.durations), Act: len(l.acts),
	}[k]
}

// Cut compares what was shown with what was found after a cut, says what is lost or changed,
// and goes on from what was found. Each step that was seen at work has to be in the state of
// the shutdown, unless that is newer than the step.
func (l *Ledger) Cut(found []Entry) (lost []string) {
	var f Ledger
	sums := map[string]bool{}
	for _, e := range found {
		f.Show(e)
		if e.Kind == Event {
			sums[e.Sum] = true
		}
	}
	missing := func(e Entry, format string, args ...any) {
		lost = append(lost, fmt.Sprintf("%s %s (%d): ", e.Kind, e.Key, e.ID)+fmt.Sprintf(format, args...))
	}
	for id, e := range l.events {
		if got, ok := f.events[id]; !ok || got.Sum != e.Sum {
			missing(e, "found %+v", got)
		}
	}
	for sum, e := range l.shown {
		if !sums[sum] {
			missing(e, "was answered at %d and is gone", e.At)
		}
	}
	for key, e := range l.states {
		got, ok := f.states[key]
		if !ok || got.At < e.At || got.At == e.At && got.Sum != e.Sum {
			missing(e, "saved at %d, found that of %d, %.200q", e.At, got.At, got.Text)
		}
	}
	for key, e := range l.samples {
		if f.samples[key].Sum != e.Sum {
			missing(e, "%s is gone", key)
		}
	}
	for sum, e := range l.durations {
		if _, ok := f.durations[sum]; !ok {
			missing(e, "is gone")
		}
	}
	for _, e := range l.acts {
		if why := actedBefore(e, f.states); why != "" {
			missing(e, "%s", why)
		}
	}
	slices.Sort(lost)
	f.durations, f.acts, f.shown = map[string]Entry{}, nil, map[string]Entry{} // old durations are dropped in time
	*l = f
	return lost
}

// actedBefore says why what was done is not in the states that have to tell of it.
func actedBefore(e Entry, states map[string]Entry) string {
	var key string
	switch what, _, _ := strings.Cut(e.Key, " "); what {
	case "step":
		key = "shutdown"
	case "poweroff":
		key = "power_off"
	default:
		return "" // hooks do not wait for the disk
	}
	s, ok := states[key]
	if !ok {
		return "there is no state " + key
	}
	if s.At >= e.At {
		return "" // written later, so it was there before
	}
	if key == "power_off" {
		if s.Text == "null" {
			return "the power-off was asked for, and the state knows of none"
		}
		return ""
	}
	var down struct {
		Started []string `json:"started"`
		Done    []string `json:"done"`
	}
	_, name, _ := strings.Cut(e.Key, " ")
	if err := json.Unmarshal([]byte(s.Text), &down); err != nil {
		return err.Error()
	}
	if !slices.Contains(down.Started, name) && !slices.Contains(down.Done, name) {
		return fmt.Sprintf("the step was at work, and the shutdown's state is %.300q", s.Text)
	}
	return ""
}
