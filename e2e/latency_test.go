package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/megatec"
)

// What the agent promises for a serial UPS asked once a second, in the whole chain: the
// reading, the decision, the journal and the start of the program.
const (
	detectWithin = 1300 * time.Millisecond // mains lost to the hook having run
	actWithin    = 1500 * time.Millisecond // low battery to the command having run, confirmation included
)

// exact: in a run that measures, no more time is allowed than is promised.
var exact = peer.Measuring

// serialSite is a configuration with one paced serial UPS. Hook and command write down
// when they ran, in nanoseconds since 1970.
func serialSite(u *megatec.UPS, policy string) string {
	return fmt.Sprintf(`
mode: armed
ups: [{name: u1, driver: megatec, port: %s, poll: 1s}]
policy: %s
shutdown:
  need: 20s
  reserve: 10s
  command: ["/bin/sh", "-c", "date +%%s%%N >>%%DIR%%/command"]
hooks:
  - {on: [mains_lost], command: ["/bin/sh", "-c", "date +%%s%%N >>%%DIR%%/hook"]}
`, u.Path(), policy)
}

// serial is a simulated UPS on a line of 2400 baud, and the agent that watches it.
type serial struct {
	*megatec.UPS
	*daemon
}

func startSerial(t *testing.T, policy string) *serial {
	t.Helper()
	u, err := megatec.New(megatec.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	s := &serial{u, newDaemon(t, serialSite(u, policy))}
	s.start()
	return s
}

// stamp waits for a file that a hook or command wrote, and returns when that was.
func (s *serial) stamp(name string, within time.Duration) (time.Time, error) {
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		lines := s.lines(name)
		if len(lines) == 0 {
			continue
		}
		if ns, err := strconv.ParseInt(lines[0], 10, 64); err == nil {
			return time.Unix(0, ns), nil
		}
	}
	return time.Time{}, fmt.Errorf("the %s did not run within %v", name, within)
}

// outage plays one outage to its end and returns how long it took to notice it, and to
// act when the battery got low.
func (s *serial) outage(phase time.Duration) (detect, act time.Duration, err error) {
	time.Sleep(phase)
	lost := time.Now()
	s.SetMains(false)
	hook, err := s.stamp("hook", 10*time.Second)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(time.Until(hook.Add(10*time.Second + phase/2)))
	if lines := s.lines("command"); lines != nil {
		return 0, 0, fmt.Errorf("the command ran before the battery was low: %q", lines)
	}
	low := time.Now()
	s.SetBatteryLow(new(true))
	command, err := s.stamp("command", 15*time.Second)
	return hook.Sub(lost), command.Sub(low), err
}

func TestLatency(t *testing.T) {
	t.Parallel()
	const runs = 20
	sites := make([]*serial, runs)
	for i := range sites {
		sites[i] = startSerial(t, "{}")
	}
	var wg sync.WaitGroup
	detect, act, errs := make([]time.Duration, runs), make([]time.Duration, runs), make([]error, runs)
	for i, s := range sites {
		phase := time.Duration(rand.Int64N(int64(4 * time.Second)))
		wg.Go(func() { detect[i], act[i], errs[i] = s.outage(phase) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("run %d: %v\n%s", i, err, sites[i].daemon.Output())
		}
	}
	checkLatency(t, "mains lost to hook", detect, detectWithin)
	checkLatency(t, "low battery to command", act, actWithin)
	peer.Figures("MainsToHook", runs, spread(detect)...)
	peer.Figures("LowToCommand", runs, spread(act)...)
}

func checkLatency(t *testing.T, what string, got []time.Duration, want time.Duration) {
	t.Helper()
	slices.Sort(got)
	p50, p95, worst := got[len(got)/2], got[(len(got)*95+99)/100-1], got[len(got)-1]
	t.Logf("%s, %d runs: p50 %v, p95 %v, max %v", what, len(got), ms(p50), ms(p95), ms(worst))
	if !exact {
		want *= 2
	}
	if got[0] < 0 || p95 > want {
		t.Errorf("%s: %v, want at most %v at p95", what, got, want)
	}
}

// spread is what a table shows of times that are sorted.
func spread(sorted []time.Duration) []peer.Figure {
	at := func(q int) float64 { return float64(sorted[(len(sorted)*q+99)/100-1]) }
	return []peer.Figure{{Value: at(50), Unit: "p50-ns"}, {Value: at(95), Unit: "p95-ns"}, {Value: at(100), Unit: "max-ns"}}
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// A battery that is low for a moment while the load is taken over is no reason to stop a
// machine; nor is a longer one where the operator asked for more patience.
func TestFlickerShutsNothingDown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, policy string
		low          time.Duration
		mainsBack    bool // right after it
	}{
		{"1.5 s, default policy", "{}", 1500 * time.Millisecond, false},
		{"1.5 s, default policy, mains back", "{}", 1500 * time.Millisecond, true},
		{"3 s, confirm_s 5, mains back", "{confirm_s: 5}", 3 * time.Second, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			flicker(t, tt.policy, tt.low, tt.mainsBack)
		})
	}
}

// flicker plays it in four sites at different phases of the poll.
func flicker(t *testing.T, policy string, low time.Duration, mainsBack bool) {
	var sites []*serial
	for range 4 {
		sites = append(sites, startSerial(t, policy))
	}
	var wg sync.WaitGroup
	for i, s := range sites {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 260 * time.Millisecond)
			s.SetBatteryLow(new(true))
			s.SetMains(false)
			time.Sleep(low)
			s.SetBatteryLow(nil)
			if mainsBack {
				s.SetMains(true)
			}
			time.Sleep(4 * time.Second)
		})
	}
	wg.Wait()
	for _, s := range sites {
		if lines := s.lines("command"); lines != nil {
			t.Errorf("it was shut down:\n%s", s.daemon.Output())
		}
		if st := s.status(); st.Shutdown != nil || st.State == "would_shut_down" {
			t.Errorf("state %s: %s", st.State, st.Explanation)
		}
		if n := len(s.events(dodai.EventMainsLost)); n != 1 {
			t.Errorf("the journal has %d losses of mains, want 1: the flicker was not seen\n%s", n, s.daemon.Output())
		}
		if !strings.Contains(s.daemon.Output(), "mains_lost") {
			t.Errorf("the log does not tell of the outage:\n%s", s.daemon.Output())
		}
	}
}
