package killpower

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// How long the late command waits for one answer, and how long for a driver that does not
// heed the end of its time before it is left behind.
const (
	pollLimit = 2500 * time.Millisecond
	cutLimit  = 4 * time.Second
	hangGrace = 300 * time.Millisecond
)

// device is a UPS as the late command sees it. Its driver is called once at a time.
type device struct {
	UPS
	drv  drivers.Driver // nil: it cannot be asked
	busy chan struct{}  // holds one while the driver is called

	mu     sync.Mutex // guards what follows: each UPS is asked beside the others
	mains  Mains      // by its last answer
	counts bool       // it says that it is about to cut
	before bool       // it said so before it was told: its word on that is worth nothing
	told   *Told
	err    error // of the last thing asked of it; nil: it answered
}

// seen is what is known of a device at one instant.
type seen struct {
	mains Mains
	// counting: it says that it will cut, and did not before it was told.
	counting bool
	told     *Told
	err      error
}

// openDevices makes the drivers of the UPSes that can be reached without the network. One
// whose driver cannot be made is known by its error.
func openDevices(list []UPS, lookup func(string) (drivers.Factory, bool), log *slog.Logger) []*device {
	var all []*device
	for _, u := range list {
		d := &device{UPS: u, busy: make(chan struct{}, 1), mains: MainsUnknown, told: u.Told}
		if !u.Local {
			d.mains = u.Mains // the daemon's is the last word: the network is gone
		} else if f, ok := lookup(u.Driver); !ok {
			d.err = fmt.Errorf("there is no driver %q", u.Driver)
		} else {
			d.drv, d.err = f.Open(u.Name, u.Options, log.With("ups", u.Name, "driver", u.Driver))
		}
		all = append(all, d)
	}
	return all
}

func (d *device) now() seen {
	d.mu.Lock()
	defer d.mu.Unlock()
	return seen{mains: d.mains, counting: d.counts && !d.before && d.told != nil, told: d.told, err: d.err}
}

// ask calls f with the driver. It returns when f does, or a moment after ctx or limit is
// over; f then keeps the driver, and asking again fails until it has come back.
func (d *device) ask(ctx context.Context, op string, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case d.busy <- struct{}{}:
	case <-ctx.Done():
		return d.fail(op, drivers.Unreachable(errors.New("the driver hangs")))
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-d.busy }()
		defer func() {
			if p := recover(); p != nil { // a parser's bug must not keep the machine up
				done <- fmt.Errorf("driver panicked: %v", p)
			}
		}()
		done <- f(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(hangGrace):
		return d.fail(op, drivers.Unreachable(context.Cause(ctx)))
	}
}

func (d *device) fail(op string, err error) error {
	return &drivers.Error{Driver: d.Driver, Device: d.Name, Op: op, Err: err}
}

// read asks for the state once. A UPS that is silent keeps the state it had.
func (d *device) read(ctx context.Context) {
	if d.drv == nil {
		return
	}
	r := make(chan dodai.Reading, 1)
	err := d.ask(ctx, "read", pollLimit, func(ctx context.Context) error {
		got, err := d.drv.Poll(ctx)
		r <- got
		return err
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err = err; err != nil {
		return
	}
	got := <-r
	d.mains, d.counts = MainsOf(got), counts(got)
	if d.told == nil {
		d.before = d.counts
	}
}

// tell tells the UPS to cut its output. One that failed after the command was sent may have
// taken it, and counts as told.
func (d *device) tell(ctx context.Context, c drivers.Cut, now func() time.Duration) error {
	cutter, ok := d.drv.(drivers.Cutter)
	if !ok {
		return d.noCutter()
	}
	took := make(chan *Told, 1)
	err := d.ask(ctx, "cut the output", cutLimit, func(ctx context.Context) error {
		at := now()
		got, err := cutter.Cut(ctx, c)
		took <- toldOf(at, got, err)
		return err
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	select {
	case t := <-took:
		d.told = cmp.Or(t, d.told)
	default: // it hangs, or panicked
	}
	return err
}

// toldOf is what a UPS was told; nil: surely nothing.
func toldOf(at time.Duration, got drivers.Cut, err error) *Told {
	if err != nil && got == (drivers.Cut{}) {
		return nil
	}
	return &Told{At: at, Cut: got}
}

func (d *device) noCutter() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.drv != nil { // else it is known why there is none
		d.err = d.fail("cut the output", errors.New("this driver cannot"))
	}
	return d.err
}

// callOff tells the UPS to forget what it was told.
func (d *device) callOff(ctx context.Context) error {
	cutter, ok := d.drv.(drivers.Cutter)
	if !ok {
		return nil
	}
	return d.ask(ctx, "call the cut off", cutLimit, cutter.StopCut)
}

// close lets go of the device, if its driver lets us.
func (d *device) close() {
	if d.drv == nil {
		return
	}
	select {
	case d.busy <- struct{}{}:
		_ = d.drv.Close() // nobody is left to be told
	default:
	}
}

// each does f for every device at once, and waits for all.
func each(list []*device, f func(*device)) {
	var wg sync.WaitGroup
	for _, d := range list {
		wg.Go(func() { f(d) })
	}
	wg.Wait()
}
