package killpower

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dodai-agent/dodai/drivers"
)

// Network is the daemon's part: right before the power-off is asked for, the UPSes that
// cannot be reached without the network are told.
type Network struct {
	// Ask runs f with the driver of the UPS called name, as collectors.Collector.Do does.
	Ask func(ctx context.Context, name string, f func(context.Context, drivers.Driver) error) error
	Now func() time.Duration // the clock of State; nil: Boottime
}

// How long the daemon waits for the UPSes while the battery empties.
const (
	networkRead = 2500 * time.Millisecond
	networkTell = 4 * time.Second
)

// Result is what became of one UPS.
type Result struct {
	UPS string
	// Told is what the UPS took, beside an Err what it may have taken; nil beside a nil Err: it
	// was not told, because the mains are back.
	Told *Told
	Err  error
}

// Tell reads every UPS of s, writes down in s what it heard, and, where no mains are back on
// any way to the host, tells those behind the network to cut their output after off. The
// results are about these alone. It returns within about seven seconds. A UPS that would
// cut earlier than it has to is told to forget it.
func (n Network) Tell(ctx context.Context, s *State, off time.Duration) []Result {
	if n.Now == nil {
		n.Now = Boottime
	}
	if !slices.ContainsFunc(s.UPS, func(u UPS) bool { return u.ours() }) {
		return nil // there is nobody to tell, and the power-off waits for this
	}
	n.read(ctx, s)
	back := s.Back()
	results := make([]Result, len(s.UPS))
	s.each(func(i int, u *UPS) {
		results[i].UPS = u.Name
		if len(back) == 0 && u.ours() {
			results[i].Told, results[i].Err = n.tell(ctx, u, off)
		}
	})
	var ours []Result
	for i := range s.UPS {
		if u := &s.UPS[i]; u.ours() {
			u.Told = results[i].Told
			ours = append(ours, results[i])
		}
	}
	return ours
}

// ours: this host is named to cut it, and only the daemon can.
func (u *UPS) ours() bool { return u.Cut != nil && !u.Local }

// Back are the UPSes that carry the host and were last seen with mains.
func (s *State) Back() []string {
	of := map[string]Mains{}
	for _, u := range s.UPS {
		of[u.Name] = u.Mains
	}
	var back []string
	for _, u := range s.UPS {
		if u.Feeds && Effective(s.UPS, u.Name, of) == MainsPresent {
			back = append(back, u.Name)
		}
	}
	return back
}

// Dark is when the last of the UPSes that carry the host cuts its output; 0: one of them was
// not told to, or none carries it.
func (s *State) Dark() (last time.Duration) {
	for _, u := range s.UPS {
		switch {
		case !u.Feeds:
		case u.Told == nil:
			return 0
		default:
			last = max(last, u.Told.Dark())
		}
	}
	return last
}

func (n Network) read(ctx context.Context, s *State) {
	ctx, cancel := context.WithTimeout(ctx, networkRead)
	defer cancel()
	s.each(func(_ int, u *UPS) {
		heard := make(chan Mains, 1)
		err := n.Ask(ctx, u.Name, func(ctx context.Context, d drivers.Driver) error {
			r, err := d.Poll(ctx)
			heard <- MainsOf(r)
			return err
		})
		if err == nil { // a silent one keeps what it last said
			u.Mains = <-heard
		}
	})
}

func (n Network) tell(ctx context.Context, u *UPS, off time.Duration) (*Told, error) {
	ctx, cancel := context.WithTimeout(ctx, networkTell)
	defer cancel()
	want := drivers.Cut{Off: max(off, u.Cut.Off), On: u.Cut.On}
	took, begun := make(chan *Told, 1), make(chan *Told, 1)
	err := n.Ask(ctx, u.Name, func(ctx context.Context, d drivers.Driver) error {
		c, ok := d.(drivers.Cutter)
		if !ok {
			return &drivers.Error{Driver: u.Driver, Device: u.Name, Op: "cut the output", Err: errors.New("this driver cannot")}
		}
		at := n.Now()
		begun <- &Told{At: at, Cut: want}
		got, err := c.Cut(ctx, want)
		if err == nil && got.Off < want.Off {
			short := tooSoon(u, got, want)
			if err = c.StopCut(ctx); err == nil {
				got = drivers.Cut{}
			}
			err = errors.Join(short, err)
		}
		took <- toldOf(at, got, err)
		return err
	})
	select {
	case t := <-took:
		return t, err
	default:
	}
	select {
	case t := <-begun: // it hangs, and may take the command yet
		return t, err
	default:
		return nil, err
	}
}

func tooSoon(u *UPS, got, want drivers.Cut) error {
	return &drivers.Error{Driver: u.Driver, Device: u.Name, Op: "cut the output",
		Err: fmt.Errorf("the unit can wait %v at most, and the machine needs %v to go down: called off", got.Off, want.Off)}
}

// each does f for every UPS at once, and waits for all.
func (s *State) each(f func(i int, u *UPS)) {
	var wg sync.WaitGroup
	for i := range s.UPS {
		wg.Go(func() { f(i, &s.UPS[i]) })
	}
	wg.Wait()
}
