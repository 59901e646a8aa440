package drill

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/collectors"
)

// PlayOptions say how a scenario is played. The zero value plays it as it stands.
type PlayOptions struct {
	Seed       uint64  // of everything random
	Jitter     bool    // each device's first poll comes somewhere in its first interval
	FailRate   float64 // part of the reads that fail, each attempt on its own; 0 to 1
	ClockSteps bool    // the wall clock is stepped by up to an hour either way, again and again

	// Brief tells only whether, when and why the host has to go down: the play ends with
	// the decision, and the result has no time line, alerts, boot hold nor power cycle.
	Brief bool
	// Without switches rules of the policy off.
	Without map[policy.Rule]bool
	// Observe, when not nil, is called for each read that is tried, with the time since
	// the start and what came; r is nil when the read failed. The poll before the start
	// comes first, with its negative time. r must not be changed.
	Observe func(device string, at time.Duration, r *dodai.Reading)

	// Config, when not nil, replaces the scenario's own policy.
	Config *policy.Config

	// Start, when not nil, is the snapshot to start from: its devices say what they say
	// there until the scenario says otherwise, and time goes on from its At. Memory is
	// what the agent remembers then. Bind names for each UPS of the snapshot the UPS of
	// the scenario whose part it takes. Without Bind one of the same name is taken, then
	// in order of their names whatever is left.
	Start  *dodai.Snapshot
	Memory policy.Memory
	Bind   map[string]string
}

// Result is what came of a scenario. Its JSON is the documented answer line.
type Result struct {
	ID         string           `json:"id"`
	Shutdown   bool             `json:"shutdown"`
	AtS        *float64         `json:"at_s"` // seconds from the start; nil: nothing was decided
	Reason     policy.Reason    `json:"reason"`
	Alerts     []policy.AlertID `json:"alerts"` // in the order in which they were first raised
	BootHold   bool             `json:"boot_hold"`
	PowerCycle bool             `json:"power_cycle"`

	// At is AtS, exactly; meaningless where nothing was decided.
	At time.Duration `json:"-"`
	// Decision is the one to go down; without one it is the last that was made.
	Decision policy.Decision `json:"-"`
	// DetectedS is when the first event or alert came; nil: there was none.
	DetectedS *float64 `json:"-"`
	Timeline  []Entry  `json:"-"`
	// Polls and Decisions count what the playing took.
	Polls, Decisions int `json:"-"`
}

// playFrom is the monotonic instant at which a scenario begins that starts from nothing:
// the host has been up, and the agent running, for a long time.
const playFrom = 1000 * time.Hour

// player is a scenario being played.
type player struct {
	s    *Scenario
	opts PlayOptions
	rng  *rand.Rand
	pol  policy.Policy

	base time.Duration // monotonic instant of the scenario's start
	now  time.Duration // from the start
	wall time.Time     // at the start, with all steps of the clock
	step time.Duration // next random step of the clock
	bind map[string]string

	running bool
	off     time.Duration // when the host is off, after the decision; 0: it is up
	// snap is the player's own and changes in place: Decide keeps nothing of it.
	snap    *dodai.Snapshot
	mem     policy.Memory
	saved   []byte // the memory while no agent runs
	devices []*playedDevice
	last    policy.Decision
	spun    int           // decisions that were asked for at the instant spunAt
	spunAt  time.Duration // from the start
	events  []Happening
	out     Result
}

// playedDevice is one device with its schedule.
type playedDevice struct {
	state    dodai.DeviceState
	begin    *dodai.Reading // what it says where the scenario says nothing
	schedule collectors.Schedule
	next     time.Duration

	// reading and reachable are the latest answer, which stands until then.
	reading   *dodai.Reading
	reachable bool
	until     time.Duration
}

// Play plays the scenario on virtual time, through the policy and the schedule that the
// agent uses. Equal options give equal results. The error is ctx's, or says that the
// start snapshot does not fit the scenario.
func Play(ctx context.Context, s *Scenario, opts PlayOptions) (Result, error) {
	p := &player{
		s: s, opts: opts, rng: rand.New(rand.NewPCG(opts.Seed, 0x646f646169)),
		base: playFrom, wall: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC),
		running: true, mem: opts.Memory, events: s.events,
		out: Result{ID: s.ID, Reason: policy.ReasonNone, Alerts: []policy.AlertID{}},
	}
	p.pol = policy.Policy{Config: s.Config, Without: opts.Without, Brief: opts.Brief}
	if opts.Config != nil {
		p.pol.Config = *opts.Config
	}
	if err := p.setUp(); err != nil {
		return Result{}, fmt.Errorf("play %s: %w", s.ID, err)
	}
	for i := 0; ; i++ {
		if i%64 == 0 && ctx.Err() != nil {
			return Result{}, ctx.Err()
		}
		if !p.advance() || opts.Brief && p.out.Shutdown {
			break
		}
	}
	p.finish()
	return p.out, nil
}

func (p *player) setUp() error {
	var err error
	if p.opts.Start != nil {
		p.base, p.wall = p.opts.Start.At, p.opts.Start.Wall
		p.snap, err = p.fromSnapshot(p.opts.Start)
	} else {
		p.snap = p.fromDefaults()
	}
	if p.opts.ClockSteps {
		p.step = p.randomStep()
	}
	for _, d := range p.devices {
		d.next = 0
		if p.opts.Jitter {
			d.next = time.Duration(p.rng.Float64() * float64(d.schedule.Line))
		}
	}
	if p.opts.Start == nil {
		p.lookBack()
	}
	return err
}

// lookBack gives each device the reading of its poll before the start: an agent that has
// been running for long has heard of all of them, and has decided on it.
func (p *player) lookBack() {
	for _, d := range p.devices {
		d.state.Reading, _ = p.read(d)
		p.observe(d, d.next-d.schedule.Line, d.state.Reading)
		if d.state.Reading == nil {
			continue
		}
		d.state.At, d.state.Polls = p.base+d.next-d.schedule.Line, 1
	}
	p.snap.At, p.snap.Wall = p.base, p.wall
	_, p.mem = p.pol.Decide(p.snap, p.mem, p.base)
}

// advance goes to the next instant at which something happens, and does it. It returns
// false at the end.
func (p *player) advance() bool {
	t := p.s.End + 1
	if len(p.events) > 0 {
		t = min(t, p.events[0].At)
	}
	if p.alive() {
		for _, d := range p.devices {
			t = min(t, d.next)
		}
		if next := p.last.Next; next != 0 {
			t = min(t, max(next-p.base, p.now))
		}
	}
	if p.step != 0 {
		t = min(t, p.step)
	}
	if t > p.s.End {
		return false
	}
	p.now = max(t, p.now)
	for len(p.events) > 0 && p.events[0].At <= p.now {
		p.happen(p.events[0])
		p.events = p.events[1:]
	}
	if p.step != 0 && p.step <= p.now {
		p.wall = p.wall.Add(time.Duration((p.rng.Float64()*2 - 1) * float64(time.Hour)))
		p.step = p.randomStep()
	}
	p.watch()
	return true
}

func (p *player) randomStep() time.Duration {
	return p.now + time.Duration((1+p.rng.Float64()*60)*float64(time.Second))
}

// alive reports whether the agent runs on a host that is up.
func (p *player) alive() bool {
	if p.off != 0 && p.now >= p.off {
		p.stop()
	}
	return p.running
}

// watch polls what is due, and decides on each reading or when a rule asked for it.
func (p *player) watch() {
	if !p.alive() {
		return
	}
	polled := false
	for _, d := range p.devices {
		if d.next <= p.now {
			p.poll(d)
			p.decide()
			d.next = d.schedule.Next(p.now, p.now, d.state.Failures, p.last.Fast[d.state.Name])
			polled = true
		}
	}
	if next := p.last.Next; !polled && next != 0 && next <= p.mono() {
		p.decide()
		p.rest()
	}
}

// maxSpin is how often a decision may ask to be made again at the same instant: time goes
// on even for a policy that never stops asking.
const maxSpin = 16

func (p *player) rest() {
	if p.spunAt != p.now {
		p.spun, p.spunAt = 0, p.now
	}
	if p.spun++; p.spun >= maxSpin {
		p.last.Next = 0
	}
}

func (p *player) mono() time.Duration { return p.base + p.now }

func (p *player) decide() {
	d, mem := p.pol.Decide(p.snap, p.mem, p.mono())
	p.out.Decisions++
	p.mem, p.last = mem, d
	p.note(d)
	if !d.Shutdown || p.out.Shutdown {
		return
	}
	p.out.Shutdown, p.out.Reason, p.out.Decision = true, d.Reason, d
	p.out.AtS, p.out.At = new(p.seconds()), p.now
	p.entry("decision", d.Explanation)
	p.off = p.now + d.Need + 1
}

// note writes down what a decision shows.
func (p *player) note(d policy.Decision) {
	if p.opts.Brief {
		return
	}
	for _, e := range d.Events {
		what := string(e.Name)
		if e.Name == dodai.EventAlertRaised || e.Name == dodai.EventAlertCleared {
			what = "alert"
		}
		p.entry(what, e.Text)
		if p.out.DetectedS == nil {
			p.out.DetectedS = new(p.seconds())
		}
	}
	for _, a := range d.Alerts {
		if !slices.Contains(p.out.Alerts, a.ID) {
			p.out.Alerts = append(p.out.Alerts, a.ID)
		}
	}
	if p.heldForBattery(&d) && !p.out.BootHold && (p.opts.Start == nil || p.snap.BootedAt != p.opts.Start.BootedAt) { // what runs at the start has been let go
		p.out.BootHold = true
		p.entry("note", "the start of heavy services is held back")
	}
}

// heldForBattery reports whether a boot hold says something about a battery: one in the
// middle of an outage, whatever it holds, only says that there is an outage.
func (p *player) heldForBattery(d *policy.Decision) bool {
	return d.BootHold && slices.ContainsFunc(d.UPSes, func(u policy.UPSView) bool {
		if u.Available != nil && *u.Available < d.Need+d.Reserve {
			return true
		}
		dev := p.snap.Device(u.UPS)
		if dev == nil || dev.Reading == nil {
			return false
		}
		charge, known := dev.Reading.Vars.Float(dodai.BatteryCharge)
		return known && charge < p.pol.BootMinChargePct || dev.Reading.Status.Has(dodai.LB) || dev.Reading.Status.Has(dodai.FSD)
	})
}

func (p *player) entry(what, text string) {
	if p.opts.Brief {
		return
	}
	p.out.Timeline = append(p.out.Timeline, Entry{AtS: p.seconds(), What: what, Text: text})
}

// seconds is the time since the start, in milliseconds' precision.
func (p *player) seconds() float64 { return math.Round(p.now.Seconds()*1000) / 1000 }

func (p *player) finish() {
	if !p.out.Shutdown {
		p.out.Decision = p.last
		return
	}
	if p.opts.Brief {
		return
	}
	at := time.Duration(*p.out.AtS * float64(time.Second))
	p.out.PowerCycle = p.s.mainsBack(at)
}
