package snmpups

import (
	"testing"
	"time"
)

// set makes an assignment over the wire and returns the error state of the answer.
func set(t *testing.T, u *UPS, version int64, community, oid string, v Value) int64 {
	t.Helper()
	m := request(version, pduSet, oid)
	m.community, m.binds[0].Value = community, v
	got := ask(t, u.Addr(), m)
	if got == nil {
		return -1
	}
	return got.status
}

func TestSet(t *testing.T) {
	const auto, model = rfcMIB + ".8.5.0", rfcMIB + ".1.2.0"
	tests := []struct {
		name      string
		cfg       Config
		version   int64
		community string
		oid       string
		v         Value
		want      int64 // -1: no answer
	}{
		{"taken", Config{WriteCommunity: "w"}, version2c, "w", auto, Int(1), 0},
		{"taken, version 1", Config{WriteCommunity: "w"}, version1, "w", auto, Int(1), 0},
		{"who may read alone", Config{WriteCommunity: "w"}, version2c, "public", auto, Int(1), errNoAccess},
		{"who may read alone, version 1", Config{WriteCommunity: "w"}, version1, "public", auto, Int(1), errNoSuchName},
		{"nobody may", Config{}, version2c, "public", auto, Int(1), errNotWritable},
		{"a stranger", Config{WriteCommunity: "w"}, version2c, "x", auto, Int(1), -1},
		{"an empty community where nobody may", Config{}, version2c, "", auto, Int(1), -1},
		{"not to be set", Config{WriteCommunity: "w"}, version2c, "w", model, Text("x"), errNotWritable},
		{"not there", Config{WriteCommunity: "w"}, version2c, "w", rfcMIB + ".8.4.0", Int(1), errNotWritable},
		{"the wrong type", Config{WriteCommunity: "w"}, version2c, "w", auto, Text("1"), errWrongType},
		{"the wrong value", Config{WriteCommunity: "w"}, version2c, "w", auto, Int(3), errWrongValue},
		{"the wrong value, version 1", Config{WriteCommunity: "w"}, version1, "w", auto, Int(3), errBadValue},
		{"denied", Config{WriteCommunity: "w", DenyWrites: 16}, version2c, "w", auto, Int(1), 16},
		{"denied, version 1", Config{WriteCommunity: "w", DenyWrites: 16}, version1, "w", auto, Int(1), errNoSuchName},
	}
	for _, tt := range tests {
		u := newUPS(t, tt.cfg)
		if got := set(t, u, tt.version, tt.community, tt.oid, tt.v); got != tt.want {
			t.Errorf("%s: state %d, want %d", tt.name, got, tt.want)
		}
		if on := u.State().Cut.AutoRestart; on != (tt.want == 0) {
			t.Errorf("%s: automatic restart %v", tt.name, on)
		}
	}
}

// What the output does, step by step of 5 s, after each way of telling the UPS.
func TestCutModel(t *testing.T) {
	type change struct {
		at    int // seconds
		mains bool
	}
	rfc := func(typ, auto, on, off int64) []Binding {
		return []Binding{at(rfcMIB, "8.1.0", Int(typ)), at(rfcMIB, "8.5.0", Int(auto)), at(rfcMIB, "8.3.0", Int(on)), at(rfcMIB, "8.2.0", Int(off))}
	}
	reboot := []Binding{at(apcMIB, "5.2.9.0", Ticks(6500)), at(apcMIB, "5.2.10.0", Ticks(2500)), at(apcMIB, "6.2.2.0", Int(3))}
	stop := []Binding{at(rfcMIB, "8.3.0", Int(-1)), at(rfcMIB, "8.2.0", Int(-1))}
	tests := []struct {
		name     string
		sets     []Binding
		mains    bool
		changes  []change
		off, on  int // seconds at which it goes off and comes back; 0: never
		flavours Flavour
	}{
		{"mains gone, back later", rfc(1, 1, -1, 30), false, []change{{100, true}}, 30, 100, RFC1628},
		{"mains there, no startup countdown: off for good", rfc(1, 1, -1, 30), true, nil, 30, 0, RFC1628},
		{"mains back before the cut: off for good", rfc(1, 1, -1, 30), false, []change{{20, true}}, 30, 0, RFC1628},
		{"the same with a startup countdown", rfc(1, 1, 90, 30), false, []change{{20, true}}, 30, 90, RFC1628},
		{"a startup countdown waits for the mains", rfc(1, 2, 90, 30), false, []change{{200, true}}, 30, 200, RFC1628},
		{"no restart", rfc(1, 2, -1, 30), false, []change{{100, true}}, 30, 0, RFC1628},
		{"called off", append(rfc(1, 1, 90, 30), stop...), false, nil, 0, 0, RFC1628},
		{"a reboot, mains there", reboot, true, nil, 20, 80, Both},
		{"a reboot, mains gone", reboot, false, []change{{100, true}}, 20, 155, Both},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := newUPS(t, Config{Flavour: tt.flavours, WriteCommunity: "w"})
			u.SetMains(tt.mains)
			for _, b := range tt.sets {
				if state := set(t, u, version2c, "w", b.OID.String(), b.Value); state != 0 {
					t.Fatalf("SET %v: state %d", b.OID, state)
				}
			}
			off, on := 0, 0
			for now := 5; now <= 300; now += 5 {
				for _, c := range tt.changes {
					if c.at == now {
						u.SetMains(c.mains)
					}
				}
				u.Step(5 * time.Second)
				switch s := u.State(); {
				case s.Off && off == 0:
					off = now
				case !s.Off && off > 0 && on == 0:
					on = now
				}
			}
			if off != tt.off || on != tt.on {
				t.Errorf("off at %d s, on at %d s; want %d, %d (0: never)", off, on, tt.off, tt.on)
			}
		})
	}
}

// net-snmp's own tool sets the objects of both branches, in both versions.
func TestNetSNMPSets(t *testing.T) {
	u := newUPS(t, Config{Flavour: Both, WriteCommunity: "w"})
	for _, version := range []string{"-v1", "-v2c"} {
		out := netSNMP(t, u, "snmpset", version, "-c", "w",
			rfcMIB+".8.1.0", "i", "1", rfcMIB+".8.5.0", "i", "1", rfcMIB+".8.3.0", "i", "120", apcMIB+".5.2.10.0", "t", "20000", rfcMIB+".8.2.0", "i", "30")
		if c := u.State().Cut; c.Type != 1 || !c.AutoRestart || c.OnIn != 2*time.Minute || c.OffIn != 30*time.Second || c.ShutoffDelay != 3*time.Minute {
			t.Errorf("after snmpset %s: %+v; it printed\n%s", version, c, out)
		}
		u.Change(func(s *State) { s.Cut = idleCut })
	}
}
