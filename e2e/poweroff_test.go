package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// A power-off that fails, hangs or is refused: the second way, then the forced one, before
// the battery's end, each with its events.
func TestPowerOffThatDoesNotWork(t *testing.T) {
	t.Parallel()
	const lasts = 24 // seconds the battery says
	for name, tt := range map[string]struct {
		command, second, forced string // of the shell
		timeout                 time.Duration
		ran                     []string
		methods                 []string // asked for, in this order
		failed                  []string
		within                  time.Duration // of the decision
	}{
		"the first works":         {"exit 0", "exit 0", "exit 0", 5 * time.Second, []string{"command"}, []string{"command"}, nil, 5 * time.Second},
		"the first fails":         {"exit 1", "exit 0", "exit 0", 5 * time.Second, []string{"command", "second"}, []string{"command", "second"}, []string{"command"}, 8 * time.Second},
		"the first hangs":         {"sleep 300", "exit 0", "exit 0", time.Second, []string{"command", "second"}, []string{"command", "second"}, []string{"command"}, 10 * time.Second},
		"both fail":               {"exit 1", "exit 1", "exit 0", 5 * time.Second, []string{"command", "second", "forced"}, []string{"command", "second", "forced"}, []string{"command", "second"}, 8 * time.Second},
		"it hangs until the end":  {"trap '' TERM; while sleep 1; do :; done", "exit 0", "exit 0", time.Minute, []string{"command", "forced"}, []string{"command", "forced"}, []string{"command"}, lasts * time.Second},
		"it hangs, then all fail": {"sleep 300", "exit 1", "test -e %DIR%/again || { touch %DIR%/again; exit 1; }", time.Second, nil, nil, nil, lasts * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			upsd := peer.StartUPSD(t, map[string]string{"u1": strings.Replace(upsFile, "battery.runtime: 1200", fmt.Sprintf("battery.runtime: %d", lasts), 1)})
			way := func(name, script string) string {
				return fmt.Sprintf(`["/bin/sh", "-c", "echo %s $DODAI_ACTION >>%%DIR%%/order; %s"]`, name, script)
			}
			d := newDaemon(t, fmt.Sprintf(`
mode: armed
ups: [{name: u1, driver: nut, address: "%s", options: {ups: u1}, poll: 500ms}]
policy: {poll_batt_s: 0.5}
shutdown:
  need: 4s
  reserve: 2s
  command: %s
  power_off: {timeout: %s, second: %s, forced: %s}
`, upsd.Addr(), way("command", tt.command), tt.timeout, way("second", tt.second), way("forced", tt.forced)))
			d.start()
			upsd.Set("u1", "ups.status", "OB DISCHRG LB")
			var decided time.Time
			eventually(t, 20*time.Second, "the decision", func() bool {
				evs := d.events(dodai.EventShutdownDecided)
				if len(evs) == 1 {
					decided = evs[0].Wall
				}
				return len(evs) == 1
			})
			if tt.ran == nil { // all of them, and again
				eventually(t, 30*time.Second, "the second forced way", func() bool {
					return slices.Equal(d.lines("order"), strings.Split("command poweroff,second poweroff,forced poweroff,command poweroff,second poweroff,forced poweroff", ","))
				})
				return
			}
			last := tt.ran[len(tt.ran)-1] + " poweroff"
			eventually(t, 40*time.Second, "the way that works", func() bool { return slices.Contains(d.lines("order"), last) })
			eventually(t, 5*time.Second, "its event", func() bool { return len(d.events(dodai.EventPowerOff)) == len(tt.methods) })
			asked := d.events(dodai.EventPowerOff)
			if took := asked[len(asked)-1].Wall.Sub(decided); took > tt.within {
				t.Errorf("the way that works was asked %v after the decision, want within %v", took, tt.within)
			}
			if got := fields(asked, "method"); !slices.Equal(got, tt.methods) {
				t.Errorf("asked: %q, want %q", got, tt.methods)
			}
			if got := fields(d.events(dodai.EventShutdownFailed), "method"); !slices.Equal(got, tt.failed) {
				t.Errorf("failed: %q, want %q", got, tt.failed)
			}
			alert := slices.ContainsFunc(d.status().Alerts, func(a agent.AlertStatus) bool { return a.Alert == "shutdown_failed" })
			if alert != (len(tt.failed) > 0) {
				t.Errorf("alert shutdown_failed stands: %v, after %d failures", alert, len(tt.failed))
			}
		})
	}
}

func fields(events []dodai.Event, key string) []string {
	var out []string
	for _, ev := range events {
		out = append(out, fmt.Sprint(ev.Fields[key]))
	}
	return out
}
