package agent

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/agent/sight"
)

func TestHardwareAlerts(t *testing.T) {
	reading := func(r dodai.Reading) *dodai.Snapshot {
		return (&dodai.Snapshot{}).With(&dodai.DeviceState{Name: "x", Kind: dodai.KindArrays, Reading: &r, At: time.Minute, StaleAfter: time.Minute, Polls: 1}, time.Minute, time.Time{})
	}
	nothing := func(kind dodai.Kind) *dodai.Snapshot {
		return (&dodai.Snapshot{}).With(&dodai.DeviceState{Name: "x", Kind: kind, Failures: 3, Err: "none", NothingHere: true}, 0, time.Time{})
	}
	for _, tc := range []struct {
		name   string
		snap   *dodai.Snapshot
		want   string // "id device: text"
		unread []sight.Sighting
	}{
		{"all in order", reading(dodai.Reading{
			Arrays: []dodai.Array{{ID: "md0", State: dodai.ArrayOptimal}}, Disks: []dodai.Disk{{Device: "sda", Verdict: dodai.VerdictNotice}},
			PSUs: []dodai.PSU{{ID: "1", State: dodai.PSUOK}, {ID: "2", State: dodai.PSUAbsent}}, Redundancy: []dodai.Redundancy{{State: dodai.RedundancyNone}},
		}), "", nil},
		{"failed array", reading(dodai.Reading{Arrays: []dodai.Array{{ID: "md0", Level: "raid5", State: dodai.ArrayFailed, Failing: []string{"sdb", "sdc"}}}}),
			"array md0: array md0 (raid5) is failed, failing: sdb sdc", nil},
		{"degraded, nobody knows which", reading(dodai.Reading{Arrays: []dodai.Array{{ID: "md0", State: dodai.ArrayDegraded}}}), "array md0: array md0 is degraded", nil},
		{"critical disk", reading(dodai.Reading{Disks: []dodai.Disk{{Device: "/dev/bus/0", Type: "megaraid,1", Serial: "S1", Verdict: dodai.VerdictCritical, Reasons: []string{"198 offline_uncorrectable 2"}}}}),
			"disk /dev/bus/0 megaraid,1: disk /dev/bus/0 (megaraid,1, serial S1): critical (198 offline_uncorrectable 2)", nil},
		{"disk that cannot be read", reading(dodai.Reading{Disks: []dodai.Disk{{Device: "sda", Verdict: dodai.VerdictUnreadable}}}), "disk sda: disk sda: unreadable", nil},
		{"disk that sleeps", reading(dodai.Reading{Disks: []dodai.Disk{{Device: "sda", Verdict: dodai.VerdictUnreadable, Standby: true}}}), "", nil},
		{"input lost", reading(dodai.Reading{PSUs: []dodai.PSU{{ID: "10.2", State: dodai.PSUInputLost}}}), "psu 10.2: power supply 10.2: input lost", nil},
		{"redundancy lost", reading(dodai.Reading{Redundancy: []dodai.Redundancy{{Domain: "system", State: dodai.RedundancyLost}}}),
			"psu_redundancy x: the redundancy of the power supplies (system) is lost", nil},
		{"a silent BMC", (&dodai.Snapshot{}).With(&dodai.DeviceState{Name: "bmc", Kind: dodai.KindPSUs, Failures: 3, Err: "ipmi bmc: open: gone"}, 0, time.Time{}),
			"device_lost bmc: bmc does not answer: ipmi bmc: open: gone", nil},
		{"a silent UPS is the policy's", (&dodai.Snapshot{}).With(&dodai.DeviceState{Name: "u1", Kind: dodai.KindUPS, Failures: 3}, 0, time.Time{}), "", nil},
		{"not asked yet", (&dodai.Snapshot{}).With(&dodai.DeviceState{Name: "bmc", Kind: dodai.KindPSUs}, 0, time.Time{}), "", nil},
		{"no array here", nothing(dodai.KindArrays), "", nil},
		{"no array here, but one is seen", nothing(dodai.KindArrays), "device_lost x: x does not answer: none", []sight.Sighting{{Kind: sight.Array}}},
		{"no disk here", nothing(dodai.KindDisks), "", []sight.Sighting{{Kind: sight.BMC}, {Kind: sight.Array}}},
		{"no disk here, but one is seen", nothing(dodai.KindDisks), "device_lost x: x does not answer: none", []sight.Sighting{{Kind: sight.Disk}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, a := range hardwareAlerts(tc.snap, tc.unread, time.Minute) {
				got = append(got, fmt.Sprintf("%s %s: %s", a.ID, a.Device, a.Text))
			}
			if strings.Join(got, "; ") != tc.want {
				t.Errorf("alerts %q, want %q", got, tc.want)
			}
		})
	}
}

// An alert keeps the instant it was first seen at, and begins anew after it was gone.
func TestHardwareAlertsSince(t *testing.T) {
	since := map[string]time.Duration{}
	at := func(state dodai.ArrayState, now time.Duration) []policy.Alert {
		r := &dodai.Reading{Arrays: []dodai.Array{{ID: "md0", State: state}}}
		s := (&dodai.Snapshot{}).With(&dodai.DeviceState{Name: "md", Kind: dodai.KindArrays, Reading: r, At: now, StaleAfter: time.Minute, Polls: 1}, now, time.Time{})
		return standingAlerts(hardwareAlerts(s, nil, now), since, now)
	}
	at(dodai.ArrayDegraded, 10)
	if got := at(dodai.ArrayRebuilding, 20); len(got) != 1 || got[0].Since != 10 {
		t.Errorf("alerts %+v, want one since 10", got)
	}
	at(dodai.ArrayOptimal, 30)
	if got := at(dodai.ArrayDegraded, 40); len(got) != 1 || got[0].Since != 40 {
		t.Errorf("alerts %+v, want one since 40", got)
	}
}

func TestEnds(t *testing.T) {
	for _, tc := range []struct {
		name                     string
		available, need, reserve time.Duration
		runs                     int // of the power-off that were measured
		off                      time.Duration
		ask, force               time.Duration // from now
	}{
		{"measured power-off", 180 * time.Second, 120 * time.Second, 60 * time.Second, 3, 20 * time.Second, 130 * time.Second, 150 * time.Second},
		{"never measured", 180 * time.Second, 120 * time.Second, 60 * time.Second, 0, 30 * time.Second, 120 * time.Second, 150 * time.Second},
		{"a slow power-off does not eat the steps", 180 * time.Second, 120 * time.Second, 60 * time.Second, 3, 5 * time.Minute, 120 * time.Second, 150 * time.Second},
		{"a short need keeps its steps from the guess", 30 * time.Second, 20 * time.Second, 10 * time.Second, 0, 30 * time.Second, 10 * time.Second, 20 * time.Second},
		{"next to nothing left", 5 * time.Second, 120 * time.Second, 60 * time.Second, 0, 0, 30 * time.Second, 60 * time.Second},
		{"already beyond the end, long reserve", -time.Minute, 120 * time.Second, 3 * time.Minute, 0, 0, 30 * time.Second, 60 * time.Second},
		{"next to nothing left, no reserve", time.Second, 20 * time.Second, 0, 0, 0, 10 * time.Second, 20 * time.Second},
	} {
		d := policy.Decision{Available: &tc.available, Need: tc.need, Reserve: tc.reserve}
		need := shutdown.Need{Steps: []shutdown.StepNeed{{Step: "db", Took: time.Hour, Runs: 9}, {Step: shutdown.PowerOffStep, Took: tc.off, Runs: tc.runs}}}
		want := shutdown.Ends{Ask: time.Hour + tc.ask, Force: time.Hour + tc.force}
		if got := ends(d, need, time.Hour); got != want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, want)
		}
	}
	cut := shutdown.Need{Steps: []shutdown.StepNeed{{Step: shutdown.PowerOffStep, Took: 25 * time.Second, Basis: shutdown.BasisCutOff}}}
	if got := ends(policy.Decision{Available: new(30 * time.Second), Need: 20 * time.Second}, cut, time.Hour); got.Ask != time.Hour+10*time.Second || got.Force != time.Hour+35*time.Second {
		t.Errorf("the power went while it powered off after 25 s: %+v, want in 10 s and 35 s", got)
	}
	if got := ends(policy.Decision{Reserve: time.Minute}, shutdown.Need{}, time.Hour); got != (shutdown.Ends{}) {
		t.Errorf("nothing credible: %+v, want none", got)
	}
}

func TestRestoreEarly(t *testing.T) {
	data := []byte(`{"boot_id":"b1","at":5,"wall":"2026-01-02T03:04:05Z","done":{"shed":true}}`)
	for _, tc := range []struct {
		name, boot string
		data       []byte
		want       int
		fails      bool
	}{
		{"the same boot", "b1", data, 1, false},
		{"another boot", "b2", data, 0, false},
		{"no boot id", "", data, 0, false},
		{"null", "b1", []byte("null"), 0, false},
		{"damaged", "b1", []byte("{"), 0, true},
	} {
		got, err := restoreEarly(tc.data, stamp{BootID: tc.boot})
		if len(got) != tc.want || got == nil || (err != nil) != tc.fails {
			t.Errorf("%s: %v, %v; want %d steps, failure %v", tc.name, got, err, tc.want, tc.fails)
		}
	}
}

// Connections beyond the limit wait until one is given back; closing ends the waiting.
func TestLimitConns(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConns(inner)
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	var ours []net.Conn
	for range maxConns + 1 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ours = append(ours, c)
	}
	var first net.Conn
	for i := range maxConns {
		c := <-accepted
		defer c.Close()
		if i == 0 {
			first = c
		}
	}
	select {
	case <-accepted:
		t.Fatalf("more than %d connections were accepted", maxConns)
	case <-time.After(100 * time.Millisecond):
	}
	first.Close()
	first.Close() // a slot is given back once
	select {
	case c := <-accepted:
		defer c.Close()
	case <-time.After(5 * time.Second):
		t.Fatal("a slot that was given back is not used")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	select {
	case _, open := <-accepted:
		if open {
			t.Error("a connection was accepted after the end")
		}
	case <-time.After(5 * time.Second):
		t.Error("Accept waits for ever after Close")
	}
	if _, err := io.ReadFull(ours[0], make([]byte, 1)); err == nil {
		t.Error("the first connection is still open")
	}
}
