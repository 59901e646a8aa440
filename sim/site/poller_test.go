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

// play drives a site with an agent as the real one is: every device by itself, a jittered
// first poll, retries, and nothing while the agent is away.
func play(s *Site, a agent) Outcome {
	rng := rand.New(rand.NewPCG(s.seed, 1))
	cfg := s.Config()
	devices := s.UPSes()
	if s.HasPSUs() {
		devices = append(devices, BMC)
	}
	next := make([]time.Duration, len(devices))
	fails := make([]int, len(devices))
	quick := make([]bool, len(devices))
	for i, d := range devices {
		next[i] = time.Duration(rng.Float64() * float64(cfg.PollLine))
		r, ok := s.Read(d, next[i]-cfg.PollLine)
		if !ok {
			r = nil
		}
		s.Saw(d, next[i]-cfg.PollLine, r)
	}
	happenings, running := s.Happenings(), true
	a.start()
	for {
		first := 0
		for i := range next {
			if next[i] < next[first] {
				first = i
			}
		}
		now := next[first]
		if len(happenings) > 0 && happenings[0].At <= now {
			switch h := happenings[0]; h.What {
			case "agent_stop":
				running = false
			case "agent_start", "host_boot":
				running = true
				a.start()
				for i := range next {
					next[i] = h.At
				}
			}
			happenings = happenings[1:]
			continue
		}
		if now > s.End() {
			return Outcome{}
		}
		if !running {
			next[first] += cfg.PollLine
			continue
		}
		r, ok := s.Read(devices[first], now)
		if !ok || rng.Float64() < s.FailRate() {
			r = nil
		}
		s.Saw(devices[first], now, r)
		if down, why := a.told(devices[first], now, r); down {
			return Outcome{Shutdown: true, At: now, Reason: why}
		}
		wait := cfg.PollLine
		if r != nil {
			fails[first] = 0
			if r.Kind == dodai.KindUPS {
				quick[first] = r.Status.Any(dodai.OB | dodai.OFF | dodai.FSD)
			}
		} else {
			fails[first]++
		}
		if quick[first] {
			wait = cfg.PollBatt
		}
		if fails[first] > 0 && fails[first] <= 3 {
			wait = 500 * time.Millisecond
		}
		next[first] += wait
	}
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
