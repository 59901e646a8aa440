package snmpups

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
)

func newUPS(t *testing.T, cfg Config) *UPS {
	t.Helper()
	u, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

func TestModel(t *testing.T) {
	u := newUPS(t, Config{Flavour: Both})
	full := u.State().Runtime
	u.SetLoad(60)
	if half := u.State().Runtime; half >= full/2 {
		t.Errorf("runtime %v at twice the load of %v: want less than half", half, full)
	}
	u.SetMains(false)
	last := u.State()
	for !last.Off {
		u.Step(5 * time.Second)
		s := u.State()
		if s.Charge >= last.Charge || s.Runtime > last.Runtime || (last.Low && !s.Low) {
			t.Fatalf("on battery %+v follows %+v", s, last)
		}
		if last = s; s.OnBattery > time.Hour {
			t.Fatal("the battery never ends")
		}
	}
	if !last.Low || last.Charge != 0 {
		t.Errorf("at the end %+v: want an empty battery and low battery", last)
	}
	u.SetMains(true)
	u.Step(30 * time.Minute)
	if s := u.State(); s.Off || s.Low || s.Charge < 49 || s.Charge > 51 {
		t.Errorf("half an hour after the mains came back %+v: want half a charge, output on", s)
	}
}

func TestByHand(t *testing.T) {
	u := newUPS(t, Config{Flavour: Both})
	value := func(oid string) int64 {
		v, ok := u.Object(MustOID(oid))
		if !ok {
			t.Errorf("no object %s", oid)
		}
		return v.Int
	}
	u.SetRuntime(90 * time.Second)
	u.SetLow(true)
	u.SetCharge(12.5)
	u.SetMains(false)
	u.Change(func(s *State) { s.Replace, s.OnBattery = true, time.Minute })
	for oid, want := range map[string]int64{
		rfcMIB + ".4.1.0": 5, rfcMIB + ".2.1.0": 3, rfcMIB + ".2.2.0": 60, rfcMIB + ".2.3.0": 1, rfcMIB + ".2.4.0": 12, rfcMIB + ".6.1.0": 1,
		apcMIB + ".4.1.1.0": 3, apcMIB + ".2.1.1.0": 3, apcMIB + ".2.1.2.0": 6000, apcMIB + ".2.2.3.0": 9000, apcMIB + ".2.3.1.0": 125, apcMIB + ".2.2.4.0": 2,
	} {
		if got := value(oid); got != want {
			t.Errorf("%s = %d, want %d", oid, got, want)
		}
	}
	u.Change(func(s *State) { s.Replace = false })
	if _, there := u.Object(MustOID(rfcMIB + ".6.2.1.2.7")); there {
		t.Error("the alarm is still in the table")
	}
}

// netSNMP runs one of net-snmp's own tools on the UPS.
func netSNMP(t *testing.T, u *UPS, tool string, args ...string) string {
	t.Helper()
	all := append([]string{"-On", "-Oe", "-t", "1", "-r", "0"}, args...)
	host := len(all)
	for i, a := range all { // the address goes before the objects
		if strings.HasPrefix(a, "1.3.6") {
			host = i
			break
		}
	}
	all = append(all[:host:host], append([]string{u.Addr()}, all[host:]...)...)
	cmd := exec.Command(peer.Need(t, tool), all...)
	cmd.Env = []string{"MIBS=", "SNMPCONFPATH=" + t.TempDir(), "SNMP_PERSISTENT_DIR=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", tool, all, err, out)
	}
	return string(out)
}

// TestNetSNMP asks the simulator with net-snmp's own tools.
func TestNetSNMP(t *testing.T) {
	u := newUPS(t, Config{Flavour: Both, Phases: 3})
	u.SetMains(false)
	for _, version := range []string{"-v1", "-v2c"} {
		out := netSNMP(t, u, "snmpget", version, "-c", "public", rfcMIB+".4.1.0", apcMIB+".4.1.1.0", sysMIB+".2.0", rfcMIB+".2.6.0", rfcMIB+".5.1.0")
		for _, want := range []string{"33.1.4.1.0 = INTEGER: 5", "318.1.1.1.4.1.1.0 = INTEGER: 3", "1.2.0 = OID: .1.3.6.1.4.1.318.1.3.27", "2.6.0 = INTEGER: -1", "5.1.0 = NULL"} {
			if !strings.Contains(out, want) {
				t.Errorf("snmpget %s printed\n%s\nwant %q", version, out, want)
			}
		}
	}
	walked := netSNMP(t, u, "snmpwalk", "-v2c", "-c", "public", "1.3.6.1")
	bulk := netSNMP(t, u, "snmpbulkwalk", "-v2c", "-c", "public", "1.3.6.1")
	next := netSNMP(t, u, "snmpwalk", "-v1", "-c", "public", "1.3.6.1")
	count := func(s string) int { return strings.Count(s, " = ") }
	objects := len(u.Objects())
	if count(next) != objects || count(bulk) < objects || count(walked) < objects {
		t.Errorf("snmpwalk found %d (v1 %d), snmpbulkwalk %d objects, want %d", count(walked), count(next), count(bulk), objects)
	}
}
