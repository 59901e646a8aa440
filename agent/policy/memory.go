package policy

import (
	"maps"
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
)

// Memory is what a decision has to remember for the next one, and across a restart of
// the agent. The zero Memory remembers nothing. It is a value: Decide never changes the
// one it is given, and its JSON gives back the same next decision. All instants are on
// the snapshot's monotonic clock.
type Memory struct {
	UPS  map[string]UPSMemory `json:"ups,omitempty"`  // by device name
	PSUs map[string]PSUMemory `json:"psus,omitempty"` // by device name
	// Alerts is since when each alert stands, by device and id.
	Alerts []Standing `json:"alerts,omitempty"`
	Boot   BootMemory `json:"boot,omitzero"`
	// Decided is when the decision was made that left this memory.
	Decided Mark `json:"decided,omitzero"`
	// Stopped is set by an agent that ends in good order: if the host is dark after that,
	// it is not because of its battery. Decide takes it back.
	Stopped bool `json:"stopped,omitempty"`
	// Batteries is what was learned about each battery, by the name of its UPS. It is
	// never changed, only replaced.
	Batteries map[string]Battery `json:"batteries,omitempty"`
}

// Mark is an instant that may not have come yet: the zero Mark is none.
type Mark struct {
	At  time.Duration `json:"at"`
	Set bool          `json:"set"`
}

func mark(at time.Duration) Mark { return Mark{At: at, Set: true} }

// since is how long ago the mark was set; 0 when it was not.
func (m Mark) since(now time.Duration) time.Duration {
	if !m.Set {
		return 0
	}
	return now - m.At
}

// within reports whether the mark was set less than d before at.
func (m Mark) within(d, at time.Duration) bool { return m.Set && at-m.At < d }

func (m *Mark) shift(d time.Duration) {
	if m.Set {
		m.At += d
	}
}

// Num is a number that may be absent: the zero Num is.
type Num struct {
	V  float64 `json:"v"`
	OK bool    `json:"ok"`
}

func some(v float64) Num { return Num{V: v, OK: true} }

// Facts are what the latest reading of a UPS said, as far as it can be believed.
type Facts struct {
	At       time.Duration `json:"at"`
	Status   dodai.Status  `json:"status"`
	Charge   Num           `json:"charge,omitzero"`   // percent
	Runtime  Num           `json:"runtime,omitzero"`  // seconds; credible
	Volts    Num           `json:"volts,omitzero"`    // at the input
	Nominal  Num           `json:"nominal,omitzero"`  // volts at the input
	Load     Num           `json:"load,omitzero"`     // percent of the rating
	Timer    Num           `json:"timer,omitzero"`    // seconds until the output is cut; negative: not armed
	Reserve  Num           `json:"reserve,omitzero"`  // percent left by battery voltage, where nothing better is known
	Metered  bool          `json:"metered,omitempty"` // charge, runtime or battery voltage is known
	TextTest bool          `json:"text_test,omitempty"`
	// Ratings are what 100 % of load is, in VA and in W; 0: it does not say.
	Ratings [len(ratings)]float64 `json:"ratings,omitzero"`
}

// UPSMemory is what is remembered of one UPS.
type UPSMemory struct {
	Read  Mark   `json:"read,omitzero"`  // the latest reading
	First Mark   `json:"first,omitzero"` // the first reading since the boot
	Polls uint64 `json:"polls"`          // DeviceState.Polls of it
	Heard Mark   `json:"heard,omitzero"` // the latest reading that said anything about the state
	Last  Facts  `json:"last,omitzero"`

	Line      Line            `json:"line,omitempty"`      // as last known; empty: never
	LineAt    time.Duration   `json:"line_at"`             // when it was last known
	Away      Seconds         `json:"away,omitempty"`      // since then, without an agent that listened
	OnBattery Mark            `json:"on_battery,omitzero"` // start of the outage; a flapping one keeps the first
	Earlier   Mark            `json:"earlier,omitzero"`    // start of an outage in which the host booted, until the UPS says whether it is over
	Untold    bool            `json:"untold,omitempty"`    // the host went down in an outage, and nobody was told yet of its end
	OLSince   Mark            `json:"ol_since,omitzero"`   // within an outage: back on line since
	Transfer  Mark            `json:"transfer,omitzero"`   // the latest change to battery
	Transfers []time.Duration `json:"transfers,omitempty"`
	Excuse    Excuse          `json:"excuse,omitzero"`     // discharges, and says why that is no outage
	LineVolts Num             `json:"line_volts,omitzero"` // volts when last on line

	LB      Run `json:"lb,omitzero"`      // readings that say low battery
	Runtime Run `json:"runtime,omitzero"` // readings with too little time left
	Charge  Run `json:"charge,omitzero"`  // readings with too little charge

	Available Num    `json:"available,omitzero"` // seconds, at Last.At
	Source    string `json:"source,omitempty"`
	// AvailableWas is what the reading before said, at WasAt.
	AvailableWas Num  `json:"available_was,omitzero"`
	WasAt        Mark `json:"was_at,omitzero"`
	Credible     bool `json:"credible"` // there is a credible runtime or charge
	// LastRuntime is the last credible one: what a silent UPS is believed to have had.
	LastRuntime  Num     `json:"last_runtime,omitzero"`
	Collapse     Mark    `json:"collapse,omitzero"` // the latest fall of the runtime by more than half
	CollapseFrom float64 `json:"collapse_from,omitempty"`
	ChargeFell   Mark    `json:"charge_fell,omitzero"` // the latest fall of the charge by more than half
	ChargeLie    bool    `json:"charge_lie,omitempty"` // reads 0 on line, with a battery at its voltage
	Slope        Slope   `json:"slope,omitzero"`

	Moved        Moves `json:"moved,omitzero"`         // of any value
	RuntimeMoved Moves `json:"runtime_moved,omitzero"` // of the runtime

	FSD      Mark `json:"fsd,omitzero"`        // standing since
	FSDLatch bool `json:"fsd_latch,omitempty"` // it is a leftover
	Timer    Mark `json:"timer,omitzero"`      // the UPS counts down to cutting its output since
	Off      Mark `json:"off,omitzero"`        // says OFF since

	// Others is the load on the other UPSes when this one was last read, in the unit of the
	// rating that OthersIn names (VA, W); empty: in percent.
	Others   Num    `json:"others,omitzero"`
	OthersIn string `json:"others_in,omitempty"`

	Countdown Countdown `json:"countdown,omitzero"`
	Rise      Rise      `json:"rise,omitzero"` // while the boot hold waits for its battery

	Lesson     Lesson    `json:"lesson,omitzero"`
	NewBattery BatteryID `json:"new_battery,omitzero"` // said by the reading before, not yet believed
	Swapped    Mark      `json:"swapped,omitzero"`     // when it last said that its battery is another one

	Doomed   Reason        `json:"doomed,omitempty"`
	DoomedAt time.Duration `json:"doomed_at"`
	Before   Doom          `json:"before,omitzero"`    // as it was before the instant of the latest decision
	Silent   bool          `json:"silent,omitempty"`   // communication is lost
	Maint    bool          `json:"maint,omitempty"`    // in maintenance, at the decision before
	LowSaid  bool          `json:"low_said,omitempty"` // battery_low was raised in this outage
}

// Doom is by which rule a feed was doomed, and since when.
type Doom struct {
	Reason Reason        `json:"reason,omitempty"`
	At     time.Duration `json:"at"`
}

// Run counts consecutive readings that show the same trouble. A failed poll is no
// reading: it neither counts nor resets.
type Run struct {
	Polls int           `json:"polls"`
	First time.Duration `json:"first"`
	Last  time.Duration `json:"last"`
	Slow  bool          `json:"slow,omitempty"` // the longer confirmation applies
	Good  Mark          `json:"good,omitzero"`  // a confirmed trouble has been gone since
}

// Moves is when something last moved, and how long the two standstills before were.
type Moves struct {
	Sum   uint64           `json:"sum"`
	Last  Mark             `json:"last,omitzero"`
	Steps [2]time.Duration `json:"steps"`
}

// PSUMemory is what is remembered of the supplies that one device reports.
type PSUMemory struct {
	Read   Mark         `json:"read,omitzero"`
	Polls  uint64       `json:"polls"`
	Lost   []SupplyLoss `json:"lost,omitempty"`   // supplies whose input is reported lost, by id
	Good   []string     `json:"good,omitempty"`   // supplies whose input is reported good
	Failed []string     `json:"failed,omitempty"` // supplies that are failed or absent
	All    Run          `json:"all,omitzero"`     // readings in which every input is lost
}

// SupplyLoss is a supply that reports no input.
type SupplyLoss struct {
	ID  string `json:"id"`
	Run Run    `json:"run"`
	// Believed is set once it is confirmed while another supply still had input.
	Believed bool `json:"believed,omitempty"`
}

// Standing is one standing alert.
type Standing struct {
	ID     AlertID       `json:"id"`
	Device string        `json:"device,omitempty"`
	Since  time.Duration `json:"since"`
}

// Shift moves all instants by d: after a reboot the monotonic clock starts anew, and
// what happened before lies before its zero.
func (m Memory) Shift(d time.Duration) Memory {
	m = m.clone()
	for name, u := range m.UPS {
		u.shift(d)
		m.UPS[name] = u
	}
	for name, p := range m.PSUs {
		p.shift(d)
		m.PSUs[name] = p
	}
	for i := range m.Alerts {
		m.Alerts[i].Since += d
	}
	m.Boot.At.shift(d)
	m.Boot.Ready.shift(d)
	m.Decided.shift(d)
	return m
}

func (u *UPSMemory) shift(d time.Duration) {
	for _, at := range []*Mark{
		&u.Read, &u.First, &u.Heard, &u.OnBattery, &u.OLSince, &u.Transfer, &u.Collapse, &u.ChargeFell,
		&u.Earlier, &u.Moved.Last, &u.RuntimeMoved.Last, &u.FSD, &u.Timer, &u.Off, &u.WasAt, &u.Swapped, &u.Rise.At,
	} {
		at.shift(d)
	}
	for i := range u.Transfers {
		u.Transfers[i] += d
	}
	for _, run := range []*Run{&u.LB, &u.Runtime, &u.Charge} {
		run.shift(d)
	}
	u.Slope.shift(d)
	u.Countdown.shift(d)
	u.Excuse.shift(d)
	u.Lesson.shift(d)
	u.Last.At += d
	u.LineAt += d
	u.DoomedAt += d
	if u.Before.Reason != "" {
		u.Before.At += d
	}
}

func (p *PSUMemory) shift(d time.Duration) {
	p.Read.shift(d)
	p.All.shift(d)
	for i := range p.Lost {
		p.Lost[i].Run.shift(d)
	}
}

func (r *Run) shift(d time.Duration) {
	if r.Polls > 0 {
		r.First += d
		r.Last += d
	}
	r.Good.shift(d)
}

// clone copies everything that could otherwise be shared with the original.
func (m Memory) clone() Memory {
	m.UPS = maps.Clone(m.UPS)
	for name, u := range m.UPS {
		u.Transfers = slices.Clone(u.Transfers)
		u.Slope.Points = slices.Clone(u.Slope.Points)
		m.UPS[name] = u
	}
	m.PSUs = maps.Clone(m.PSUs)
	for name, p := range m.PSUs {
		p.Lost, p.Good, p.Failed = slices.Clone(p.Lost), slices.Clone(p.Good), slices.Clone(p.Failed)
		m.PSUs[name] = p
	}
	m.Alerts = slices.Clone(m.Alerts)
	return m
}
