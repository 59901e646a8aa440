// Package audit finds single points of failure: single components whose loss alone
// would stop this server or lose its data.
//
// It is pure: it knows a snapshot and what it remembered of the one before, does no I/O
// and reads no clock.
//
// # What counts
//
// A finding of SeverityOpen says that the readings show a single point of failure. One
// of SeverityUnknown says that a protection cannot be proven, because a device has
// never answered, has fallen silent, or the wiring is not known; it counts as open,
// since what is not proven must not be claimed. SeverityAdvice is worth doing and does
// not count: losing the component would neither stop the server nor lose data, it
// would only leave less in hand. Finding.Open says which side a finding is on, and the
// function Open says it of all of them.
//
// An old reading still shows what it showed: its findings stand, with their age as
// evidence, beside the one that the device is silent.
package audit

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
)

// Severity is how a finding counts.
type Severity string

// The severities, worst first.
const (
	SeverityOpen    Severity = "open"    // a single point of failure, shown by readings or wiring
	SeverityUnknown Severity = "unknown" // not proven; counts as open
	SeverityAdvice  Severity = "advice"  // does not count
)

var severities = []Severity{SeverityOpen, SeverityUnknown, SeverityAdvice}

// Kinds of findings, for Finding.ID.
const (
	IDSilentDevice  = "silent_device"
	IDUPSAlone      = "ups_alone"       // the only UPS, or the only one left
	IDSharedUPS     = "shared_ups"      // all supplies hang on one UPS, or on UPSes behind it
	IDSharedFeed    = "shared_feed"     // … on one utility circuit
	IDSharedPDU     = "shared_pdu"      // … on one PDU
	IDWiringUnknown = "wiring_unknown"  // several UPSes, and nothing says what hangs on which
	IDFeedUnknown   = "feed_unknown"    // the wiring does not name the feeds
	IDNoSupplies    = "supplies_unseen" // no device reports on the power supplies
	IDSupplyAlone   = "supply_alone"
	IDSwitchAlone   = "switch_alone" // all goes through one transfer switch
	IDSupplyUnknown = "supply_unknown"
	IDSupplyFailing = "supply_failing"
	IDNotRedundant  = "supplies_not_redundant"
	IDOverload      = "supplies_overloaded" // the others could not carry the load
	IDNoRedundancy  = "array_without_redundancy"
	IDNoTolerance   = "array_no_tolerance"
	IDArrayDown     = "array_down"
	IDArrayUnknown  = "array_unknown"
	IDArrayDegraded = "array_degraded"
	IDLastCopy      = "last_copy"
	IDNoSpare       = "array_no_spare"
)

// Evidence is one fact behind a finding.
type Evidence struct {
	Device string `json:"device,omitempty"` // empty: the configuration
	Text   string `json:"text"`
	// AgeS is how many seconds old the fact is; nil for configuration and for a device
	// that has never answered.
	AgeS *float64 `json:"age_s,omitempty"`
}

// Finding is one single point of failure, or a doubt about one.
type Finding struct {
	ID string `json:"id"` // the kind of finding, one of the ID constants
	// Component is the thing whose loss it is about: "ups u1", "psu 10.1", "disk sda".
	// ID and Component together are unique; a component alone may have several
	// findings, of which the worst comes first.
	Component   string     `json:"component"`
	Severity    Severity   `json:"severity"`
	Open        bool       `json:"open"`        // whether it counts as open
	Consequence string     `json:"consequence"` // what happens, in plain words
	Evidence    []Evidence `json:"evidence"`    // never empty
	Remedy      string     `json:"remedy"`      // what would remove it
	// Since is when it was first found without interruption, on the agent's clock, which
	// means nothing to anybody else; ForS is how many seconds ago that was.
	Since time.Duration `json:"-"`
	ForS  float64       `json:"for_s"`
}

func (f *Finding) key() string { return f.ID + " " + f.Component }

// Memory is what Audit remembers from one snapshot to the next. The zero value is an
// empty memory.
type Memory struct {
	Since map[string]time.Duration `json:"since,omitempty"` // by kind and component
}

// Audit looks for single points of failure in s. m is what it returned the time before,
// and is not changed. The findings are sorted by severity, component and kind; there
// are none, and not nil, where every protection is proven.
func Audit(s *dodai.Snapshot, m Memory) ([]Finding, Memory) {
	a := &auditor{s: s, found: map[string]Finding{}}
	a.silence()
	a.supplies()
	a.wiring()
	a.arrays()
	findings := slices.SortedFunc(maps.Values(a.found), compare)
	next := Memory{Since: make(map[string]time.Duration, len(findings))}
	for i := range findings {
		f := &findings[i]
		since, known := m.Since[f.key()]
		if !known || since > s.At {
			since = s.At
		}
		next.Since[f.key()] = since
		f.Since, f.ForS = since, (s.At - since).Seconds()
	}
	if findings == nil {
		findings = []Finding{}
	}
	return findings, next
}

// Open reports whether a single point of failure is open, or may be because a
// protection is not proven. Advice alone is in order.
func Open(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Open })
}

func compare(a, b Finding) int {
	return cmp.Or(
		cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity)),
		cmp.Compare(a.Component, b.Component), cmp.Compare(a.ID, b.ID),
	)
}

// auditor collects findings.
type auditor struct {
	s     *dodai.Snapshot
	found map[string]Finding
}

// add keeps a finding; one that is there already gets the new one's evidence as well,
// and the worse severity of the two.
func (a *auditor) add(f Finding) {
	f.Open = f.Severity != SeverityAdvice
	if old, ok := a.found[f.key()]; ok {
		worse, other := f, old
		if compare(old, f) <= 0 {
			worse, other = old, f
		}
		worse.Evidence = append(slices.Clone(worse.Evidence), other.Evidence...)
		f = worse
	}
	a.found[f.key()] = f
}

// fact is evidence from a device's last reading.
func (a *auditor) fact(d *dodai.DeviceState, text string) Evidence {
	e := Evidence{Device: d.Name, Text: text}
	if d.Reading != nil {
		e.AgeS = new(d.Age(a.s.At).Seconds())
	}
	return e
}

// silence finds devices whose word is missing. PDUs, transfer switches and the disks'
// own health prove no protection, so their silence is none of the audit's business.
func (a *auditor) silence() {
	for _, d := range a.s.Devices {
		if d.Kind != dodai.KindUPS && d.Kind != dodai.KindPSUs && d.Kind != dodai.KindArrays {
			continue
		}
		text := ""
		switch d.Quality(a.s.At) {
		case dodai.QualityStale:
			text = "has not answered since"
		case dodai.QualityNever:
			text = "has never answered"
		default:
			continue
		}
		if d.Err != "" {
			text += "; last error: " + d.Err
		}
		a.add(Finding{
			ID: IDSilentDevice, Component: "device " + d.Name, Severity: SeverityUnknown,
			Consequence: "unknown: not proven. " + proves[d.Kind],
			Evidence:    []Evidence{a.fact(d, text)},
			Remedy:      "make " + d.Name + " answer, or take it out of the configuration",
		})
	}
}

// proves says what is not known while a device is silent.
var proves = map[dodai.Kind]string{
	dodai.KindUPS:    "Whether this UPS could carry the server cannot be told",
	dodai.KindPSUs:   "Whether the server would survive the loss of a power supply cannot be told",
	dodai.KindArrays: "Whether the arrays would survive the loss of a disk cannot be told",
}
