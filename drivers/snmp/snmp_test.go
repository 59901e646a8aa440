package snmp

import (
	"maps"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/driverstest"
	"github.com/dodai-agent/dodai/sim/snmpups"
)

// simPeer is a simulated UPS as the suite wants it.
type simPeer struct {
	t   *testing.T
	ups *snmpups.UPS
}

func newSim(t *testing.T, cfg snmpups.Config) *snmpups.UPS {
	t.Helper()
	ups, err := snmpups.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ups.Close() })
	return ups
}

func (p simPeer) Options() map[string]string {
	return map[string]string{"address": p.ups.Addr(), "write_community": "private"}
}

func (p simPeer) CutPending() bool { return p.ups.State().Cut.Pending() }

func (p simPeer) Behave(b driverstest.Behaviour, delay time.Duration) {
	fault := map[driverstest.Behaviour]snmpups.Fault{
		driverstest.Normal: snmpups.None, driverstest.Silent: snmpups.Mute, driverstest.Garbage: snmpups.Garbage,
		driverstest.Partial: snmpups.Partial, driverstest.Late: snmpups.Late, driverstest.Disconnect: snmpups.Gone,
	}[b]
	if err := p.ups.Break(fault, delay); err != nil {
		p.t.Error(err)
	}
}

func (p simPeer) Flip(state int) { p.ups.SetMains(state == 0) }

const noStopAPC = "PowerNet has no object for it"

func TestContract(t *testing.T) {
	for _, tc := range []struct {
		name    string
		flavour snmpups.Flavour
		extra   map[string]string
		noStop  string
	}{
		{"rfc1628", snmpups.RFC1628, nil, ""},
		{"powernet", snmpups.PowerNet, nil, noStopAPC},
		{"both", snmpups.Both, nil, noStopAPC},
		{"version 1", snmpups.Both, map[string]string{"version": "1"}, noStopAPC},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			extra := map[string]string{"timeout": "150ms", "retries": "1"}
			maps.Copy(extra, tc.extra)
			driverstest.Run(t, driverstest.Suite{
				Factory: Factory,
				Extra:   extra,
				NewPeer: func(t *testing.T) driverstest.Peer {
					return simPeer{t, newSim(t, snmpups.Config{Flavour: tc.flavour, WriteCommunity: "private"})}
				},
				NoStop:  tc.noStop,
				Trouble: func(r dodai.Reading) bool { return r.Status.Has(dodai.OB) },
			})
		})
	}
}

// openDriver opens a driver on an agent and closes it at the end.
func openDriver(t *testing.T, opts map[string]string) drivers.Driver {
	t.Helper()
	d, err := Factory.Open("ups1", opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func mustPoll(t *testing.T, d drivers.Driver) dodai.Reading {
	t.Helper()
	r, err := d.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOneRequestPerPoll(t *testing.T) {
	for name, cfg := range map[string]snmpups.Config{
		"rfc1628":               {Flavour: snmpups.RFC1628},
		"rfc1628, three phases": {Flavour: snmpups.RFC1628, Phases: 3},
		"powernet":              {Flavour: snmpups.PowerNet},
		"both, three phases":    {Flavour: snmpups.Both, Phases: 3},
	} {
		// In version 1 one missing object fails a whole request, so the start takes more.
		for version, most := range map[string]int{"2c": 6, "1": 12} {
			t.Run(name+", version "+version, func(t *testing.T) {
				ups := newSim(t, cfg)
				ups.Change(func(s *snmpups.State) { s.Replace = true }) // an alarm, where the MIB has any
				d := openDriver(t, map[string]string{"address": ups.Addr(), "version": version})
				if r := mustPoll(t, d); !r.Status.Has(dodai.OL | dodai.RB) {
					t.Errorf("status %v: want OL RB", r.Status)
				}
				if n := ups.Counts().All(); n > most {
					t.Errorf("%d requests at the start %+v: want at most %d", n, ups.Counts(), most)
				}
				for range 3 {
					ups.ResetCounts()
					mustPoll(t, d)
					if got, want := ups.Counts(), (snmpups.Counts{Get: 1}); got != want {
						t.Errorf("requests of one poll: %+v, want %+v", got, want)
					}
				}
			})
		}
	}
}
