// Package driverstest is the drivers' contract as a test suite: what every driver has
// to do when its device is silent, talks nonsense, stops in mid-sentence, answers too
// late, hangs up, or changes its mind.
package driverstest

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// Behaviour is how a peer treats the driver under test.
type Behaviour int

// The behaviours. A peer for which one makes no sense (a file cannot answer late)
// lists it in Suite.Skip with the reason.
const (
	Normal     Behaviour = iota // answers in time and in full
	Silent                      // takes requests, never answers
	Garbage                     // answers with bytes that mean nothing
	Partial                     // answers the first half of a reply, then nothing
	Late                        // answers each request only after the driver's deadline
	Disconnect                  // hangs up in the middle of a reply
)

func (b Behaviour) String() string {
	return [...]string{"normal", "silent", "garbage", "partial", "late", "disconnect"}[b]
}

// A Peer is the device at the other end of the driver's wire. Its methods are called
// from the test's goroutine while the peer answers from its own.
type Peer interface {
	// Options are what Factory.Open needs to reach the peer.
	Options() map[string]string
	// Behave changes how requests are answered from now on. With Late, delay is how
	// long to wait; going back to Normal lets the driver reconnect.
	Behave(b Behaviour, delay time.Duration)
	// Flip changes what a normal answer says: state 0 is everything in order,
	// state 1 is the trouble the driver exists to notice.
	Flip(state int)
}

// Suite is one driver's part of the contract.
type Suite struct {
	Factory drivers.Factory
	// Extra are options beside the peer's own, such as short time-outs.
	Extra map[string]string
	// NewPeer starts a peer in Normal behaviour and state 0, stopped with t.Cleanup.
	NewPeer func(t *testing.T) Peer
	// Trouble reports whether a reading shows state 1.
	Trouble func(dodai.Reading) bool
	// CutDeadline is the context that each call of a Cutter gets from a peer in Normal
	// behaviour; the default is 5 s. From any other it gets Deadline.
	CutDeadline time.Duration
	// NoStop says why the device's cut cannot be called off; empty: it can. StopCut is
	// then an ErrUnable after a Cut.
	NoStop string
	// Deadline is the context each poll gets; Slack is added for the driver to
	// notice it. The defaults are 500 ms and 2 s.
	Deadline, Slack time.Duration
	// Skip names behaviours that cannot happen to this driver, and why.
	Skip map[Behaviour]string
	// Recover is how many polls the driver may need to answer well again after a
	// misbehaviour; the default is 2 (one to notice, one to reconnect).
	Recover int
}

// Run runs the suite. Every subtest uses a peer and a driver of its own.
func Run(t *testing.T, s Suite) {
	t.Helper()
	if s.Deadline == 0 {
		s.Deadline = 500 * time.Millisecond
	}
	if s.Slack == 0 {
		s.Slack = 2 * time.Second
	}
	if s.Recover == 0 {
		s.Recover = 2
	}
	t.Run("factory", s.factory)
	t.Run("options", s.options)
	t.Run("normal and flip", s.flip)
	t.Run("close", s.close)
	t.Run("cancelled", s.cancelled)
	for b := Silent; b <= Disconnect; b++ {
		t.Run(b.String(), func(t *testing.T) {
			if why, skip := s.Skip[b]; skip {
				t.Logf("does not apply: %s", why)
				return
			}
			s.misbehave(t, b)
		})
	}
	if _, d := s.open(t); isCutter(d) {
		t.Run("cut", s.cut)
	}
}

func (s Suite) open(t *testing.T) (Peer, drivers.Driver) {
	t.Helper()
	peer := s.NewPeer(t)
	opts := map[string]string{}
	for _, from := range []map[string]string{peer.Options(), s.Extra} {
		maps.Copy(opts, from)
	}
	d, err := s.Factory.Open("device1", opts, nil)
	if err != nil {
		t.Fatalf("Open(%v): %v", opts, err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return peer, d
}

// poll polls once and fails the test when the driver does not come back in time.
func (s Suite) poll(t *testing.T, d drivers.Driver) (dodai.Reading, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), s.Deadline)
	defer cancel()
	type answer struct {
		r   dodai.Reading
		err error
	}
	done := make(chan answer, 1)
	go func() {
		r, err := d.Poll(ctx)
		done <- answer{r, err}
	}()
	select {
	case a := <-done:
		if a.err != nil {
			s.checkError(t, a.err)
		}
		return a.r, a.err
	case <-time.After(s.Deadline + s.Slack):
		t.Fatalf("Poll did not return %v after its deadline of %v", s.Slack, s.Deadline)
		panic("unreachable")
	}
}

func (s Suite) checkError(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[*drivers.Error](err)
	if !ok {
		t.Errorf("error %q: want a *drivers.Error", err)
		return
	}
	if e.Driver != s.Factory.Name || e.Device != "device1" || e.Op == "" {
		t.Errorf("error %q: driver %q, device %q, operation %q: want %q, \"device1\" and an operation", err, e.Driver, e.Device, e.Op, s.Factory.Name)
	}
	for _, sentinel := range []error{drivers.ErrUnreachable, drivers.ErrProtocol, drivers.ErrDenied, drivers.ErrNoData, drivers.ErrUnable} {
		if errors.Is(err, sentinel) {
			return
		}
	}
	t.Errorf("error %q wraps none of the sentinels", err)
}

// settle polls until the driver answers well, at most Recover times after the first.
func (s Suite) settle(t *testing.T, d drivers.Driver) dodai.Reading {
	t.Helper()
	var err error
	for range s.Recover + 1 {
		var r dodai.Reading
		if r, err = s.poll(t, d); err == nil {
			return r
		}
	}
	t.Fatalf("no good reading within %d polls: %v", s.Recover+1, err)
	panic("unreachable")
}

func (s Suite) factory(t *testing.T) {
	f := s.Factory
	if f.Name == "" || f.Name != strings.ToLower(f.Name) || f.Summary == "" || f.Kind == "" {
		t.Errorf("factory %+v: want a lower-case name, a kind and a summary", f)
	}
	if f.Poll <= 0 || f.Timeout <= 0 {
		t.Errorf("poll %v, timeout %v: want both above zero", f.Poll, f.Timeout)
	}
	for _, o := range f.Options {
		if o.Help == "" || (o.Required && o.Example == "") {
			t.Errorf("option %q: want help, and an example where it is required", o.Key)
		}
	}
}

func (s Suite) options(t *testing.T) {
	opts := map[string]string{"no-such-option": "1"}
	maps.Copy(opts, s.NewPeer(t).Options())
	_, err := s.Factory.Open("device1", opts, nil)
	if o, ok := errors.AsType[*drivers.OptionError](err); !ok || o.Key != "no-such-option" {
		t.Errorf("Open with an unknown option: %v, want an OptionError that names it", err)
	}
	for _, o := range s.Factory.Options {
		if !o.Required {
			continue
		}
		opts := s.NewPeer(t).Options()
		delete(opts, o.Key)
		if _, err := s.Factory.Open("device1", opts, nil); err == nil {
			t.Errorf("Open without the required option %q: want an error", o.Key)
		}
	}
}

func (s Suite) flip(t *testing.T) {
	peer, d := s.open(t)
	if r := s.settle(t, d); s.Trouble(r) {
		t.Errorf("state 0 read as trouble: %+v", r)
	}
	peer.Flip(1)
	if r, err := s.poll(t, d); err != nil || !s.Trouble(r) {
		t.Errorf("first poll after the flip = %+v, %v: want the trouble", r, err)
	}
	peer.Flip(0)
	if r, err := s.poll(t, d); err != nil || s.Trouble(r) {
		t.Errorf("first poll after flipping back = %+v, %v: want no trouble", r, err)
	}
}

func (s Suite) close(t *testing.T) {
	_, d := s.open(t)
	s.settle(t, d)
	for range 2 {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func (s Suite) cancelled(t *testing.T) {
	_, d := s.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begin := time.Now()
	_, err := d.Poll(ctx)
	if took := time.Since(begin); took > s.Slack {
		t.Errorf("Poll with an ended context took %v", took)
	}
	if err != nil { // a driver that needs no waiting may answer all the same
		s.checkError(t, err)
	}
	s.settle(t, d)
}

// misbehave checks that trouble on the wire is an error in time, never a panic and
// never a wrong reading, and that the driver finds back by itself. The device flips
// in the meantime, so that an answer to an old request is told from one to the new.
func (s Suite) misbehave(t *testing.T, b Behaviour) {
	peer, d := s.open(t)
	s.settle(t, d)
	peer.Behave(b, s.Deadline+200*time.Millisecond)
	for range 2 {
		if r, err := s.poll(t, d); err == nil {
			t.Errorf("Poll while %v = %+v: want an error", b, r)
		} else if b == Silent && !errors.Is(err, drivers.ErrUnreachable) {
			t.Errorf("Poll while silent: %v, want ErrUnreachable", err)
		}
	}
	peer.Flip(1)
	peer.Behave(Normal, 0)
	if r := s.settle(t, d); !s.Trouble(r) {
		t.Errorf("first good reading after %v shows the old state: %+v", b, r)
	}
}
