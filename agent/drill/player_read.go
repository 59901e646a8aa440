package drill

import (
	"math"
	"time"

	"github.com/dodai-agent/dodai"
)

// poll asks one device, which takes no time.
func (p *player) poll(d *playedDevice) {
	p.out.Polls++
	reading, ok := p.read(d)
	if p.opts.FailRate > 0 && p.rng.Float64() < p.opts.FailRate {
		ok = false
	}
	st := &d.state
	if ok {
		st.Reading, st.At, st.Err, st.Failures, st.FailingSince = reading, p.mono(), "", 0, 0
		st.Polls++
	} else {
		reading = nil
		if st.Failures++; st.Failures == 1 {
			st.FailingSince = p.mono()
		}
		st.Err = "no answer"
	}
	p.observe(d, p.now, reading)
	p.snap.At, p.snap.Wall = p.mono(), p.wall.Add(p.now)
}

func (p *player) observe(d *playedDevice, at time.Duration, r *dodai.Reading) {
	if p.opts.Observe != nil {
		p.opts.Observe(d.state.Name, at, r)
	}
}

// read is what a device says now. A reading that comes again is the same one.
func (p *player) read(d *playedDevice) (*dodai.Reading, bool) {
	if p.s.read != nil {
		r, ok := p.s.read(d.state.Name, p.now)
		return r, ok && r != nil
	}
	if p.now < d.until {
		return d.reading, d.reachable
	}
	id := p.bind[d.state.Name]
	if d.state.Kind == dodai.KindPSUs {
		id = BMC
		d.reading, d.reachable = p.s.suppliesFrom(d.begin, p.now, p.snap.Paths, p.bind)
	} else {
		st := p.s.StateFrom(d.begin, p.now, id)
		d.reading, d.reachable = &st.Reading, st.Reachable
	}
	d.until = math.MaxInt64
	if tr := p.s.tracks[id]; tr != nil {
		d.until = tr.steady(p.now)
	}
	return d.reading, d.reachable
}
