package drill

import (
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// healthy is a server on which a drill may run, changed by each case.
func healthy(change func(s *dodai.Snapshot, d *policy.Decision)) (*dodai.Snapshot, policy.Decision) {
	at := time.Minute
	s := &dodai.Snapshot{At: at, Devices: []*dodai.DeviceState{
		{Name: "bmc", Kind: dodai.KindPSUs, At: at, StaleAfter: time.Minute, Polls: 1, Reading: &dodai.Reading{PSUs: []dodai.PSU{{ID: "10.1", State: dodai.PSUOK}}}},
		{Name: "md", Kind: dodai.KindArrays, At: at, StaleAfter: time.Minute, Polls: 1, Reading: &dodai.Reading{Arrays: []dodai.Array{{ID: "md0", State: dodai.ArrayOptimal}}}},
		{Name: "u1", Kind: dodai.KindUPS, At: at, StaleAfter: 15 * time.Second, Polls: 1, Reading: &dodai.Reading{Status: dodai.OL, Vars: dodai.Vars{dodai.BatteryCharge: dodai.Num(100)}}},
	}}
	d := policy.Decision{UPSes: []policy.UPSView{{UPS: "u1", Line: policy.LinePresent, Doomed: policy.ReasonNone, Why: "on line"}}}
	if change != nil {
		change(s, &d)
	}
	return s, d
}

func TestInterlocks(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(s *dodai.Snapshot, d *policy.Decision)
		want   string // part of the only reason; empty: it may start
	}{
		{"all in order", nil, ""},
		{"battery not charged", func(s *dodai.Snapshot, _ *policy.Decision) {
			s.Devices[2].Reading.Vars[dodai.BatteryCharge] = dodai.Num(89)
		}, "at 89 %"},
		{"battery to be replaced", func(s *dodai.Snapshot, _ *policy.Decision) { s.Devices[2].Reading.Status |= dodai.RB }, "OL RB"},
		{"array rebuilding", func(s *dodai.Snapshot, _ *policy.Decision) {
			s.Devices[1].Reading.Arrays[0].State = dodai.ArrayRebuilding
		}, "md0 is rebuilding"},
		{"a supply failed", func(s *dodai.Snapshot, _ *policy.Decision) { s.Devices[0].Reading.PSUs[0].State = dodai.PSUFailed }, "10.1 is failed"},
		{"a silent BMC", func(s *dodai.Snapshot, _ *policy.Decision) { s.Devices[0].At = -time.Hour }, "stale"},
		{"on battery", func(_ *dodai.Snapshot, d *policy.Decision) { d.UPSes[0].OnBattery = true }, "u1 is not in order"},
		{"just charged enough", func(s *dodai.Snapshot, _ *policy.Decision) {
			s.Devices[2].Reading.Vars[dodai.BatteryCharge] = dodai.Num(90)
		}, ""},
		{"charge not known", func(s *dodai.Snapshot, _ *policy.Decision) { s.Devices[2].Reading.Vars = nil }, ""},
		{"calibrating", func(s *dodai.Snapshot, _ *policy.Decision) { s.Devices[2].Reading.Status |= dodai.CAL }, "u1 reports OL CAL"},
		{"testing", func(s *dodai.Snapshot, _ *policy.Decision) { s.Devices[2].Reading.Status |= dodai.TEST }, "u1 reports OL TEST"},
		{"overloaded", func(s *dodai.Snapshot, _ *policy.Decision) { s.Devices[2].Reading.Status |= dodai.OVER }, "u1 reports OL OVER"},
		{"in bypass", func(s *dodai.Snapshot, _ *policy.Decision) { s.Devices[2].Reading.Status |= dodai.BYPASS }, "u1 reports OL BYPASS"},
		{"nothing to read", func(s *dodai.Snapshot, _ *policy.Decision) {
			s.Devices[0].Reading, s.Devices[0].NothingHere = nil, true
		}, ""},
		{"a UPS that never answered", func(s *dodai.Snapshot, _ *policy.Decision) { s.Devices[2].Reading = nil }, "u1 (): its reading is never"},
		{"a supply that failed, when last heard", func(s *dodai.Snapshot, _ *policy.Decision) {
			s.Devices[0].At, s.Devices[0].Reading.PSUs[0].State = -time.Hour, dodai.PSUFailed
		}, "stale"},
		{"feed lost", func(_ *dodai.Snapshot, d *policy.Decision) { d.UPSes[0].Lost = true }, "u1 is not in order"},
		{"doomed", func(_ *dodai.Snapshot, d *policy.Decision) { d.UPSes[0].Doomed = policy.ReasonFSD }, "u1 is not in order"},
		{"line unknown", func(_ *dodai.Snapshot, d *policy.Decision) { d.UPSes[0].Line = policy.LineUnknown }, "u1 is not in order"},
		{"going down", func(_ *dodai.Snapshot, d *policy.Decision) { d.Shutdown, d.Explanation = true, "no time left" }, "decided: no time left"},
		{"maintenance", func(s *dodai.Snapshot, _ *policy.Decision) {
			s.Maintenance = []dodai.Maintenance{{UPS: "u1", Until: time.Hour, Reason: "battery swap"}}
		}, "u1 is in maintenance for another 59m0s: battery swap"},
		{"maintenance that is over", func(s *dodai.Snapshot, _ *policy.Decision) {
			s.Maintenance = []dodai.Maintenance{{UPS: "u1", Until: s.At}}
		}, ""},
		{"maintenance of a UPS that is not there", func(s *dodai.Snapshot, _ *policy.Decision) {
			s.Maintenance = []dodai.Maintenance{{UPS: "u7", Until: time.Hour}}
		}, ""},
		{"no UPS", func(_ *dodai.Snapshot, d *policy.Decision) { d.UPSes = nil }, "no UPS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, d := healthy(tc.change)
			got := Interlocks(Rehearsal, s, d)
			switch {
			case tc.want == "" && len(got) > 0:
				t.Errorf("refused: %q, want no reason", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
				t.Errorf("refused for %q, want one reason with %q", got, tc.want)
			}
			if got := Interlocks(Tabletop, s, d); got != nil {
				t.Errorf("a tabletop was refused: %q", got)
			}
		})
	}
}

func TestDisturbed(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(s *dodai.Snapshot, d *policy.Decision)
		want   string
	}{
		{"nothing happens", nil, ""},
		{"mains really lost", func(_ *dodai.Snapshot, d *policy.Decision) { d.UPSes[0].OnBattery = true }, "a real event: u1"},
		{"a feed really lost", func(_ *dodai.Snapshot, d *policy.Decision) { d.UPSes[0].Lost = true }, "a real event: u1"},
		{"really doomed", func(_ *dodai.Snapshot, d *policy.Decision) { d.UPSes[0].Doomed = policy.ReasonFSD }, "a real event: u1"},
		{"silent before it began", func(s *dodai.Snapshot, _ *policy.Decision) { s.At, s.Devices[2].At = 0, -time.Hour }, ""},
		{"really going down", func(_ *dodai.Snapshot, d *policy.Decision) { d.Shutdown = true }, "real shutdown"},
		{"a UPS falls silent", func(s *dodai.Snapshot, _ *policy.Decision) { s.Devices[2].At = 0 }, "u1 has not been heard"},
		{"maintenance declared", func(s *dodai.Snapshot, _ *policy.Decision) {
			s.Maintenance = []dodai.Maintenance{{UPS: "u1", Since: s.At, Until: time.Hour, Reason: "battery swap"}}
		}, "u1 is in maintenance for another 59m0s: battery swap"},
		{"a silent BMC is no reason", func(s *dodai.Snapshot, _ *policy.Decision) { s.Devices[0].At = -time.Hour }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, d := healthy(tc.change)
			if got := Disturbed(s, d, 0); (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("Disturbed = %q, want %q", got, tc.want)
			}
		})
	}
}
