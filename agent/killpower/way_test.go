package killpower

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/sim/host"
)

// unit is one UPS of a simulated outage, and what the daemon knows of it.
type unit struct {
	sim    host.UPSConfig
	own    bool          // this host is named to cut it
	net    bool          // it is behind the network
	silent bool          // it cannot be asked by the late command
	later  time.Duration // its mains are back so long after those of the first
}

// outage is a shutdown caused by power, in virtual time from the loss of the mains on.
type outage struct {
	units []unit
	host  host.Config
	// crashes may happen: the UPS cannot be told to forget the cut, and cuts while the
	// machine boots.
	mayCrash bool
}

// When what happens.
const (
	decided   = 60 * time.Second
	told      = 80 * time.Second // the daemon tells what is behind the network
	late      = 95 * time.Second // the late command begins
	toldOff   = 75 * time.Second // what the power-off takes, with the reserve
	tickEvery = 250 * time.Millisecond
)

// driver reads and commands a simulated UPS.
type driver struct {
	ups    *host.UPS
	silent bool
}

var _ drivers.Cutter = (*driver)(nil)

func (d *driver) answer(ctx context.Context) error {
	if d.silent || !d.ups.Output() && !d.ups.Mains() {
		<-ctx.Done()
		return drivers.Unreachable(ctx.Err())
	}
	time.Sleep(50 * time.Millisecond)
	return nil
}

func (d *driver) Poll(ctx context.Context) (dodai.Reading, error) {
	if err := d.answer(ctx); err != nil {
		return dodai.Reading{}, err
	}
	r := dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OB, Vars: dodai.Vars{}}
	if d.ups.Mains() {
		r.Status = dodai.OL
	}
	r.Vars[dodai.OutputVoltage] = dodai.Num(230)
	if !d.ups.Output() {
		r.Vars[dodai.OutputVoltage] = dodai.Num(0)
	}
	r.Vars["ups.shutdown.active"] = dodai.Bool(d.ups.Counting())
	return r, nil
}

func (d *driver) Close() error                                { return nil }
func (d *driver) CheckCut(context.Context, drivers.Cut) error { return nil }
func (d *driver) StopCut(ctx context.Context) error           { return d.command(ctx, d.ups.Stop) }
func (d *driver) command(ctx context.Context, f func()) error {
	if err := d.answer(ctx); err != nil {
		return err
	}
	f()
	return nil
}

func (d *driver) Cut(ctx context.Context, c drivers.Cut) (drivers.Cut, error) {
	err := d.command(ctx, func() { c.Off = d.ups.Cut(c.Off, c.On) })
	return c, err
}

// story is what happened.
type story struct {
	outcome Outcome
	err     error
	state   host.State
	crashes int
	cuts    []int
}

// play plays an outage whose mains are back after so long; 0: never. It ends when the
// machine runs again and no UPS is about to cut, or after five hours.
func (o outage) play(back time.Duration) (st story) {
	start := time.Now()
	at := func(d time.Duration) { time.Sleep(time.Until(start.Add(d))) }
	var sims []*host.UPS
	var inputs []func() bool
	s := &State{Version: stateVersion, BootID: "b", At: decided, Reason: "runtime", End: 8 * time.Minute, Wake: &Wake{}}
	fakes := map[string]*driver{}
	for i, u := range o.units {
		sim := host.NewUPS(u.sim)
		sims, inputs = append(sims, sim), append(inputs, sim.Output)
		sim.SetMains(false)
		name := fmt.Sprintf("u%d", i+1)
		fakes[name] = &driver{ups: sim}
		entry := UPS{Name: name, Driver: name, Local: !u.net, Feeds: true, Mains: MainsAbsent}
		if u.own {
			entry.Cut = &drivers.Cut{Off: time.Minute, On: 3 * time.Minute}
		}
		s.UPS = append(s.UPS, entry)
		if back > 0 {
			time.AfterFunc(back+u.later, func() { sim.SetMains(true) })
		}
	}
	h := host.New(o.host, inputs...)
	lateCtx, dies := context.WithCancel(context.Background())
	over, done := make(chan struct{}), make(chan struct{})
	go func() { // physics
		defer close(done)
		for {
			select {
			case <-over:
				return
			case <-time.After(tickEvery):
			}
			for _, u := range sims {
				if u.Step(); h.State() == host.Off {
					u.SetLoad(0.05)
				}
			}
			if h.Step(); h.State() == host.Dark {
				dies()
			}
		}
	}()
	now := func() time.Duration { return time.Since(start) }
	at(decided)
	h.Stop()
	at(told)
	Network{Now: now, Ask: func(ctx context.Context, name string, f func(context.Context, drivers.Driver) error) error {
		return f(ctx, fakes[name])
	}}.Tell(context.Background(), s, toldOff)
	at(late)
	h.Unmount()
	for i, u := range o.units {
		fakes[s.UPS[i].Name].silent = u.silent
	}
	l := Late{
		State: s, Now: now, Say: func(string) {},
		Find: func(name string) (drivers.Factory, bool) {
			return drivers.Factory{Name: name, New: func(drivers.Config) (drivers.Driver, error) { return fakes[name], nil }}, true
		},
		Wake: func(_ Wake, in time.Duration) (Wake, error) {
			if !h.SetAlarm(time.Now().Add(in)) {
				return Wake{}, ErrNoRTC
			}
			return Wake{At: time.Now().Add(in).Unix()}, nil
		},
		Reboot: func() error { h.Reboot(); return nil },
	}
	st.outcome, st.err = l.Run(lateCtx, "poweroff")
	if lateCtx.Err() == nil && st.outcome.Did != DidReboot {
		time.Sleep(2 * time.Second)
		h.PowerOff()
	}
	counting := func() (any bool) {
		for i, u := range sims {
			any = any || u.Counting() && !o.units[i].sim.Claims
		}
		return any
	}
	for now() < 5*time.Hour && (h.State() != host.Running || counting()) {
		time.Sleep(time.Second)
	}
	close(over)
	<-done
	dies()
	st.state, st.crashes = h.State(), h.Crashes()
	for _, u := range sims {
		st.cuts = append(st.cuts, u.Cuts())
	}
	return st
}

// TestWayBack is what all of this is for: whenever the mains return, the machine runs
// again in the end, and does not lose its power while its file systems are in use.
func TestWayBack(t *testing.T) {
	noClock := host.Config{NoAlarm: true}
	stubborn := host.UPSConfig{OnlyOnBattery: true}
	own := unit{own: true}
	tests := map[string]outage{
		"one UPS":                          {units: []unit{own}},
		"one UPS, no clock":                {units: []unit{own}, host: noClock},
		"cuts only on battery":             {units: []unit{{own: true, sim: stubborn}}},
		"cuts only on battery, no clock":   {units: []unit{{own: true, sim: stubborn}}, host: noClock},
		"shows no countdown":               {units: []unit{{own: true, sim: host.UPSConfig{Hides: true}}}},
		"shows no countdown, no clock":     {units: []unit{{own: true, sim: host.UPSConfig{Hides: true}}}, host: noClock},
		"both, no clock":                   {units: []unit{{own: true, sim: host.UPSConfig{Hides: true, OnlyOnBattery: true}}}, host: noClock},
		"always claims one, no clock":      {units: []unit{{own: true, sim: host.UPSConfig{Claims: true, OnlyOnBattery: true}}}, host: noClock},
		"forgets nothing, no clock":        {units: []unit{{own: true, sim: host.UPSConfig{Hides: true, NoStop: true}}}, host: noClock, mayCrash: true},
		"silent in the end":                {units: []unit{{own: true, silent: true}}},
		"not ours":                         {units: []unit{{}}},
		"network":                          {units: []unit{{own: true, net: true}}},
		"network, no clock":                {units: []unit{{own: true, net: true}}, host: noClock},
		"network, cuts only on battery":    {units: []unit{{own: true, net: true, sim: stubborn}}},
		"two, no clock":                    {units: []unit{own, own}, host: noClock},
		"two, mains back on one":           {units: []unit{own, {own: true, later: 4 * time.Hour}}},
		"two, mains back on one, no clock": {units: []unit{own, {own: true, later: 4 * time.Hour}}, host: noClock},
		"two stubborn, back on one":        {units: []unit{{own: true, sim: stubborn}, {own: true, sim: stubborn, later: 4 * time.Hour}}},
		"two, one not ours, back on that":  {units: []unit{{}, {own: true, later: 4 * time.Hour}}},
		"two, one not ours, back on ours":  {units: []unit{own, {later: 4 * time.Hour}}},
		"network and local, no clock":      {units: []unit{{own: true, net: true}, own}, host: noClock},
		"network and local, back on local": {units: []unit{{own: true, net: true, later: 4 * time.Hour}, own}},
		"network in minutes and local":     {units: []unit{{own: true, net: true, sim: host.UPSConfig{Steps: 5 * time.Minute}}, own}, host: noClock},
		"two behind the network, no clock": {units: []unit{{own: true, net: true}, {own: true, net: true}}, host: noClock},
	}
	// Before the state is written; before the network UPSes are told; between; during the
	// late command; before, at and after the cuts; and at the end of everything.
	instants := []time.Duration{59, 61, 79, 80, 81, 90, 94, 95, 96, 97, 98, 100, 103, 107, 120, 140, 150, 154, 155, 156, 157, 160, 170, 200, 300, 360, 1200, 3600}
	parts := []time.Duration{0, 300 * time.Millisecond, 700 * time.Millisecond}
	if testing.Short() {
		parts = parts[:1]
	}
	for name, o := range tests {
		t.Run(name, func(t *testing.T) {
			for _, s := range instants {
				for _, part := range parts {
					back := s*time.Second + part
					var got story
					synctest.Test(t, func(*testing.T) { got = o.play(back) })
					if got.state != host.Running || got.crashes > 0 && !o.mayCrash {
						t.Errorf("mains back after %v: the machine is %s in the end, with %d crashes; cuts %v, outcome %+v, error %v",
							back, got.state, got.crashes, got.cuts, got.outcome, got.err)
					}
				}
			}
		})
	}
}

// TestCountsForEver: a unit that says it will cut, and does not. Without a clock the late
// command stays for as long as that takes to show.
func TestCountsForEver(t *testing.T) {
	o := outage{units: []unit{{own: true, sim: host.UPSConfig{Pretends: true}}}, host: host.Config{NoAlarm: true}}
	synctest.Test(t, func(t *testing.T) {
		if got := o.play(2 * time.Minute); got.outcome.Did != DidReboot || got.state != host.Running {
			t.Errorf("%s, %+v: want it started anew", got.state, got.outcome)
		}
	})
}

// TestNoWayBack shows that the simulation can fail: without what the late command does,
// the machine stays off.
func TestNoWayBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := outage{units: []unit{{}}, host: host.Config{NoAlarm: true}}
		if got := o.play(150 * time.Second); got.state != host.Off {
			t.Errorf("a machine whose UPS nobody cuts, and without a clock, is %s, want it off for ever", got.state)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		o := outage{units: []unit{{own: true, sim: host.UPSConfig{OnlyOnBattery: true}}}, host: host.Config{StaysOff: true}}
		if got := o.play(0); got.state != host.Dark || got.cuts[0] != 1 {
			t.Errorf("without mains the machine is %s after cuts %v, want it dark after one", got.state, got.cuts)
		}
	})
}
