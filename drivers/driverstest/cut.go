package driverstest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/drivers"
)

// A CutPeer is a Peer whose device can be told to cut its output. The peer of a driver that
// is a drivers.Cutter has to be one.
type CutPeer interface {
	Peer
	// CutPending reports whether the device has been told to cut its output and has not
	// been told to forget it.
	CutPending() bool
}

// aCut is an ordinary order, between the steps of most protocols.
var aCut = drivers.Cut{Off: 31 * time.Second, On: 181 * time.Second}

func isCutter(d drivers.Driver) bool {
	_, ok := d.(drivers.Cutter)
	return ok
}

// cut checks the contract of drivers.Cutter.
func (s Suite) cut(t *testing.T) {
	if s.CutDeadline == 0 {
		s.CutDeadline = 5 * time.Second
	}
	run := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each has a peer of its own, and most of it is waiting
			test(t)
		})
	}
	run("only when told", s.cutOnlyWhenTold)
	run("told and called off", s.cutAndStop)
	run("cancelled", s.cutCancelled)
	for b := Silent; b <= Disconnect; b++ {
		if _, skip := s.Skip[b]; !skip {
			run(b.String(), func(t *testing.T) { s.cutMisbehave(t, b) })
		}
	}
}

func (s Suite) openCutter(t *testing.T) (CutPeer, drivers.Cutter) {
	t.Helper()
	peer, d := s.open(t)
	p, ok := peer.(CutPeer)
	if !ok {
		t.Fatalf("the driver is a Cutter and its peer, %T, no CutPeer", peer)
	}
	s.settle(t, d)
	return p, d.(drivers.Cutter)
}

// call makes one call of a Cutter and fails the test when it does not come back in time,
// or with an error of the wrong shape.
func (s Suite) call(t *testing.T, deadline time.Duration, f func(ctx context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			s.checkError(t, err)
		}
		return err
	case <-time.After(deadline + s.Slack):
		t.Fatalf("no return %v after the deadline of %v", s.Slack, deadline)
		panic("unreachable")
	}
}

// must is call for what has to succeed.
func (s Suite) must(t *testing.T, what string, f func(ctx context.Context) error) {
	t.Helper()
	if err := s.call(t, s.CutDeadline, f); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func check(c drivers.Cutter) func(context.Context) error {
	return func(ctx context.Context) error { return c.CheckCut(ctx, aCut) }
}

func order(c drivers.Cutter) func(context.Context) error {
	return func(ctx context.Context) error { _, err := c.Cut(ctx, aCut); return err }
}

// Reading, asking, calling off what was never begun and closing cut nothing.
func (s Suite) cutOnlyWhenTold(t *testing.T) {
	peer, c := s.openCutter(t)
	s.must(t, "CheckCut", check(c))
	s.must(t, "StopCut with nothing begun", c.StopCut)
	s.settle(t, c)
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if peer.CutPending() {
		t.Error("the device was told to cut its output, and nobody had asked for it")
	}
}

// A cut takes no less time than was asked, may be told again, leaves the readings alone,
// and is gone after StopCut, which may be called again.
func (s Suite) cutAndStop(t *testing.T) {
	peer, c := s.openCutter(t)
	for range 2 {
		s.must(t, "Cut", func(ctx context.Context) error {
			told, err := c.Cut(ctx, aCut)
			if err == nil && (told.Off < aCut.Off || told.On < aCut.On) {
				t.Errorf("Cut(%+v) told %+v: want no less", aCut, told)
			}
			return err
		})
		if !peer.CutPending() {
			t.Error("Cut returned nil and the device was not told")
		}
	}
	s.settle(t, c)
	if s.NoStop != "" {
		if err := s.call(t, s.CutDeadline, c.StopCut); !errors.Is(err, drivers.ErrUnable) {
			t.Errorf("StopCut of a cut that cannot be called off (%s): %v, want ErrUnable", s.NoStop, err)
		}
		return
	}
	for range 2 {
		s.must(t, "StopCut", c.StopCut)
		if peer.CutPending() {
			t.Error("StopCut returned nil and the device still means to cut its output")
		}
	}
	s.must(t, "CheckCut after it", check(c))
}

// What is asked with an ended context is not done.
func (s Suite) cutCancelled(t *testing.T) {
	peer, c := s.openCutter(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begin := time.Now()
	if err := order(c)(ctx); err == nil {
		t.Error("Cut with an ended context: want an error")
	} else {
		s.checkError(t, err)
	}
	if took := time.Since(begin); took > s.Slack {
		t.Errorf("Cut with an ended context took %v", took)
	}
	if peer.CutPending() {
		t.Error("the device was told to cut its output after the context had ended")
	}
	s.must(t, "StopCut after it", c.StopCut)
}

// Trouble on the wire is an error in time, and the driver finds back by itself.
func (s Suite) cutMisbehave(t *testing.T, b Behaviour) {
	peer, c := s.openCutter(t)
	peer.Behave(b, s.Deadline+200*time.Millisecond)
	calls := map[string]func(context.Context) error{"Cut": order(c)}
	if b == Silent {
		calls["CheckCut"], calls["StopCut"] = check(c), c.StopCut
	}
	for what, f := range calls {
		if err := s.call(t, s.Deadline, f); err == nil {
			t.Errorf("%s while %v: want an error", what, b)
		} else if b == Silent && !errors.Is(err, drivers.ErrUnreachable) {
			t.Errorf("%s while silent: %v, want ErrUnreachable", what, err)
		}
	}
	peer.Behave(Normal, 0)
	var err error
	for range s.Recover + 1 {
		if err = s.call(t, s.CutDeadline, order(c)); err == nil {
			break
		}
	}
	if err != nil || !peer.CutPending() {
		t.Errorf("Cut within %d calls after %v: %v, told: %v", s.Recover+1, b, err, peer.CutPending())
	}
}
