package site

import (
	"math/rand/v2"
	"time"

	"github.com/dodai-agent/dodai"
)

// An agent is told what came of each poll (r nil: it failed) and says whether to go down.
type agent interface {
	start()
	told(device string, at time.Duration, r *dodai.Reading) (shutdown bool, reason string)
}

// polled is one device with its schedule.
type polled struct {
	name  string
	next  time.Duration
	fails int
	quick bool
}

// play drives a site with an agent as the real one is: every device by itself, a jittered
// first poll, retries, and nothing while the agent is away.
func play(s *Site, a agent) Outcome {
	rng := rand.New(rand.NewPCG(s.seed, 1))
	devices := s.polled(rng)
	happenings, running := s.Happenings(), true
	a.start()
	for {
		d := devices[0]
		for _, other := range devices {
			if other.next < d.next {
				d = other
			}
		}
		switch {
		case len(happenings) > 0 && happenings[0].At <= d.next:
			h := happenings[0]
			happenings = happenings[1:]
			if h.What == "agent_stop" {
				running = false
			} else if h.What != "clock_step" {
				running = true
				a.start()
				for _, d := range devices {
					d.next = h.At
				}
			}
		case d.next > s.End():
			return Outcome{}
		case !running:
			d.next += s.cfg.PollLine
		default:
			if o := s.poll(d, a, rng); o.Shutdown {
				return o
			}
		}
	}
}

// polled are the devices, each with the poll before the start.
func (s *Site) polled(rng *rand.Rand) []*polled {
	var out []*polled
	names := s.UPSes()
	if s.HasPSUs() {
		names = append(names, BMC)
	}
	for _, name := range names {
		d := &polled{name: name, next: time.Duration(rng.Float64() * float64(s.cfg.PollLine))}
		r, _ := s.Read(name, d.next-s.cfg.PollLine)
		s.Saw(name, d.next-s.cfg.PollLine, r)
		out = append(out, d)
	}
	return out
}

func (s *Site) poll(d *polled, a agent, rng *rand.Rand) Outcome {
	now := d.next
	r, _ := s.Read(d.name, now)
	if rng.Float64() < s.FailRate() {
		r = nil
	}
	s.Saw(d.name, now, r)
	if down, why := a.told(d.name, now, r); down {
		return Outcome{Shutdown: true, At: now, Reason: why}
	}
	if d.fails++; r != nil {
		d.fails, d.quick = 0, r.Status.Any(dodai.OB|dodai.OFF|dodai.FSD)
	}
	wait := s.cfg.PollLine
	if d.quick {
		wait = s.cfg.PollBatt
	}
	if d.fails > 0 && d.fails <= 3 {
		wait = 500 * time.Millisecond
	}
	d.next += wait
	return Outcome{}
}

// agents that each deserve a conviction.
type sleeper struct{}

func (sleeper) start() {}

func (sleeper) told(string, time.Duration, *dodai.Reading) (bool, string) { return false, "" }

type panicker struct{}

func (panicker) start() {}

func (panicker) told(_ string, _ time.Duration, r *dodai.Reading) (bool, string) {
	return r != nil && r.Status.Has(dodai.OB), "on battery"
}

type lowWaiter struct{}

func (lowWaiter) start() {}

func (lowWaiter) told(_ string, _ time.Duration, r *dodai.Reading) (bool, string) {
	return r != nil && r.Status.Has(dodai.OB|dodai.LB), "lb"
}
