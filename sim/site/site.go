package site

import (
	"math"
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
)

// BMC is the name of the device that reports the power supplies, where there is one.
const BMC = "bmc"

// Config is the operator's policy at a site. What it does not have is as the scenarios'
// defaults say.
type Config struct {
	Need    time.Duration // a clean shutdown takes so long, without Reserve
	Reserve time.Duration // kept on top of Need

	PollLine     time.Duration // between polls on line
	PollBatt     time.Duration // between polls on battery
	MinSupplies  int           // feeds that must be healthy, at least 1
	MinChargePct float64       // act at or below, on battery; percent

	MaxOnBatt     *time.Duration // act after so long on battery; nil: never
	CommsLostLine *time.Duration // act when silent for so long and last seen on line; nil: never
	IgnoreLB      bool           // the LB flag is not trusted
	LBTrust       *time.Duration // on battery for less, LB alone is not believed; nil: always believed
}

// The defaults of the scenarios that no site changes.
const (
	staleAfter     = 15 * time.Second  // no successful read for so long: communication lost
	frozenAfter    = 120 * time.Second // on battery, nothing moved for so long
	noMetricsAfter = 120 * time.Second // on battery with neither credible runtime nor charge
	silentAfter    = 60 * time.Second  // blind on battery, at most
	offAfter       = 30 * time.Second  // OFF must persist
	hysteresis     = 10 * time.Second  // back on line only after OL for so long
)

// defaultConfig is the policy of an operator who says nothing.
func defaultConfig() Config {
	return Config{
		Need: 120 * time.Second, Reserve: 60 * time.Second,
		PollLine: 5 * time.Second, PollBatt: 2 * time.Second,
		MinSupplies: 1, MinChargePct: 20,
	}
}

// limit is the time that has to be left for the machine to stay up.
func (c *Config) limit() time.Duration { return c.Need + c.Reserve }

// Happening is something that happens to the agent or the host, not to a device.
type Happening struct {
	At   time.Duration // from the start of the play
	What string        // agent_stop, agent_start, host_boot, clock_step, maintenance_on
	// Step is that of the wall clock for clock_step, and how long it lasts for
	// maintenance_on.
	Step   time.Duration
	Device string // the UPS that maintenance_on is about
}

// Site is one site with everything that happens there.
type Site struct {
	id   string
	seed uint64
	cfg  Config

	feeds []feed
	upses []*ups // one that feeds another stands before it
	psus  []psu  // as they are, whether or not the operator has told the wiring
	wired bool   // the operator has told it
	bmc   *bmc   // nil: there is none
	needs int    // power supplies the host needs to run
	loads []edge // factor of the host's load, by time

	happenings []Happening
	hostOff    span // the host is off: nobody can be judged for that
	failRate   float64
	horizon    time.Duration // at which the play ends while the host has power
	end        time.Duration

	risk   []bool // by tick: mains alone would not carry the host
	powers []uint16
	lost   int // the tick at which the host loses its power; -1: never

	traits  []string
	log     []entry
	verdict *Verdict
}

// ID names the site: "random-<seed>".
func (s *Site) ID() string { return s.id }

// Config is the operator's policy here.
func (s *Site) Config() Config { return s.cfg }

// UPSes lists the UPSes that can be read, sorted.
func (s *Site) UPSes() []string {
	names := make([]string, len(s.upses))
	for i, u := range s.upses {
		names[i] = u.name
	}
	slices.Sort(names)
	return names
}

// Paths is the wiring as the operator has told it; nil where he has not.
func (s *Site) Paths() []dodai.Path {
	if !s.wired {
		return nil
	}
	var out []dodai.Path
	for _, p := range s.psus {
		for _, w := range p.paths {
			path := dodai.Path{PSU: p.id, Feed: s.feeds[w.feed].name}
			if w.ups >= 0 {
				path.UPS = s.upses[w.ups].name
			}
			out = append(out, path)
		}
	}
	return out
}

// Links are the UPSes behind UPSes; nil where there are none.
func (s *Site) Links() []dodai.Link {
	var out []dodai.Link
	for _, u := range s.upses {
		if u.fedBy >= 0 {
			out = append(out, dodai.Link{UPS: u.name, FedBy: s.upses[u.fedBy].name})
		}
	}
	return out
}

// HasPSUs reports whether there is a device called "bmc" that reports the supplies.
func (s *Site) HasPSUs() bool { return s.bmc != nil }

// End is when the play is over.
func (s *Site) End() time.Duration { return s.end }

// Happenings are what happens to agent and host, in order of time. The slice is shared.
func (s *Site) Happenings() []Happening { return s.happenings }

// FailRate is the part of read attempts that fail on their own, 0 to 0.1.
func (s *Site) FailRate() float64 { return s.failRate }

// Traits name what was drawn, as "kind:name": for a person who looks at a failing seed,
// and for tests of the mix. The slice is shared.
func (s *Site) Traits() []string { return s.traits }

func (s *Site) trait(t string) {
	if !slices.Contains(s.traits, t) {
		s.traits = append(s.traits, t)
	}
}

// PowerGone is when the host loses its power if it is still up then; ok is false where
// it never does.
func (s *Site) PowerGone() (at time.Duration, ok bool) {
	if s.lost < 0 {
		return 0, false
	}
	return instant(s.lost), true
}

// tick is the grid of the truth.
const tick = 500 * time.Millisecond

func instant(k int) time.Duration { return time.Duration(k) * tick }

// tickAt is the tick whose state holds at t.
func tickAt(t time.Duration) int { return max(0, int(t/tick)) }

// onGrid moves t to the grid.
func onGrid(t time.Duration) time.Duration { return t.Round(tick) }

// span is a stretch of time, its end excluded.
type span struct{ from, to time.Duration }

func (p span) has(t time.Duration) bool { return p.from <= t && t < p.to }

func within(spans []span, t time.Duration) bool {
	for i := range spans {
		if spans[i].has(t) {
			return true
		}
	}
	return false
}

// edge is a value that holds from then on.
type edge struct {
	at time.Duration
	v  float64
}

// valueAt is the value of the last edge at or before t, or first where there is none.
func valueAt(edges []edge, t time.Duration, first float64) float64 {
	v := first
	for _, e := range edges {
		if e.at > t {
			break
		}
		v = e.v
	}
	return v
}

// feed is a utility circuit.
type feed struct {
	name  string
	volts []edge // 230 until the first
}

// psu is a power supply of the host, with its inputs in the order in which its transfer
// switch prefers them.
type psu struct {
	id     string
	paths  []wire
	failed bool // dead from the beginning, and known to be
}

// wire leads to a UPS, or (ups -1) straight to a feed.
type wire struct{ ups, feed int }

// battery is the truth about a battery.
type battery struct {
	full     float64 // seconds it lasts at nominal load when new
	health   float64 // part of that which age has left
	peukert  float64 // exponent of the load
	charge0  float64 // charge at the start, 0 to 1
	recharge float64 // seconds from empty to full
}

// lasts is how many seconds a full battery carries a load, given as a part of nominal.
func (b *battery) lasts(load float64) float64 {
	return b.full * b.health * math.Pow(max(load, 0.02), -b.peukert)
}

// ups is the truth about a UPS, and how it reports.
type ups struct {
	name  string
	feed  int // the circuit it hangs on, through fedBy if that is set
	fedBy int // the UPS that feeds it, -1: none
	batt  battery
	base  float64 // load of other machines, part of nominal
	host  float64 // what the whole host draws, part of nominal
	ratio float64 // nominal power as a part of that of fedBy

	off, bypass, tests []span        // output switched off; no battery behind it; discharged on purpose
	around             []span        // worked on: its input is pulled, and the mains feed past it what hangs on it
	testStop           float64       // charge at which a test ends by itself
	dies               time.Duration // a cell fails; 0: never
	cut                time.Duration // it cuts its output; 0: never

	claims claims

	soc, load []float32 // by tick
	flags     []upsFlags
	transfers []time.Duration // to battery
	now       sample          // what it answered last
	answered  bool
}

// upsFlags are the truth about a UPS at one tick.
type upsFlags uint8

const (
	inputOK  upsFlags = 1 << iota // input in range
	onBatt                        // the battery carries the load
	outputOK                      // there is output
	inTest                        // on battery on purpose
	bypassed
	switchedOff
)

func (s *Site) upsNamed(name string) int {
	for i, u := range s.upses {
		if u.name == name {
			return i
		}
	}
	return -1
}
