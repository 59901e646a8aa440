package megatec

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/driverstest"
	"github.com/dodai-agent/dodai/e2e/peer"
	sim "github.com/dodai-agent/dodai/sim/megatec"
)

func TestMain(m *testing.M) { os.Exit(peer.Run(m)) }

// simPeer puts the simulated UPS on its pseudo-terminal into the suite.
type simPeer struct{ *sim.UPS }

func newSim(t testing.TB, cfg sim.Config) *sim.UPS {
	t.Helper()
	cfg.Dir = t.TempDir()
	u, err := sim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Errorf("close the simulated UPS: %v", err)
		}
	})
	return u
}

func (p simPeer) Options() map[string]string { return map[string]string{"port": p.Path()} }

func (p simPeer) Flip(state int) { p.SetMains(state == 0) }

func (p simPeer) Behave(b driverstest.Behaviour, delay time.Duration) {
	p.UPS.Behave(map[driverstest.Behaviour]sim.Behaviour{
		driverstest.Normal: sim.Normal, driverstest.Silent: sim.Silent, driverstest.Garbage: sim.Garbage,
		driverstest.Partial: sim.Half, driverstest.Late: sim.Late, driverstest.Disconnect: sim.Disconnect,
	}[b], delay)
}

func (p simPeer) CutPending() bool { return p.State().CountingDown }

func onBattery(r dodai.Reading) bool { return r.Status.Has(dodai.OB) }

// The contract, on a real pseudo-terminal at 2400 baud. The late peer answers with what
// was true when it was asked, so that a stale answer shows.
func TestConformance(t *testing.T) {
	t.Parallel()
	driverstest.Run(t, driverstest.Suite{
		Factory:  Factory,
		NewPeer:  func(t *testing.T) driverstest.Peer { return simPeer{newSim(t, sim.Config{})} },
		Trouble:  onBattery,
		Deadline: Factory.Timeout,
	})
}

// The same where a poll gets little more time than an exchange takes.
func TestConformanceInAHurry(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the suite a second time, 9 s")
	}
	t.Parallel()
	driverstest.Run(t, driverstest.Suite{
		Factory:  Factory,
		NewPeer:  func(t *testing.T) driverstest.Peer { return simPeer{newSim(t, sim.Config{})} },
		Trouble:  onBattery,
		Deadline: 500 * time.Millisecond,
	})
}

// A whole outage at 200 times its speed: what the driver says of it, edge by edge, until the
// battery is empty and the unit silent, and after the mains are back.
func TestWholeOutage(t *testing.T) {
	t.Parallel()
	u := newSim(t, sim.Config{Baud: -1, Runtime: 10 * time.Minute, Speed: 200})
	d, err := Factory.Open("u1", map[string]string{"port": u.Path(), "baud": "115200", "reply_timeout": "300ms"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var seen []string
	follow := func(last string) {
		t.Helper()
		for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			r, err := d.Poll(t.Context())
			now := r.Status.String()
			if errors.Is(err, drivers.ErrUnreachable) {
				now = "silent"
			} else if err != nil {
				t.Fatal(err)
			}
			if len(seen) == 0 || seen[len(seen)-1] != now {
				seen = append(seen, now)
			}
			if now == last {
				return
			}
		}
		t.Fatalf("saw %q and never %q", seen, last)
	}
	follow("OL")
	u.SetMains(false)
	follow("silent")
	u.SetMains(true)
	follow("OL LB")
	if want := []string{"OL", "OB", "OB LB", "silent", "OL LB"}; !slices.Equal(seen, want) {
		t.Errorf("saw %q, want %q", seen, want)
	}
}
