package peer

import (
	"os/exec"
	"strings"
	"testing"
)

// ipmitool lists the sensors by a client that is not ours.
func ipmitool(t *testing.T, s *IPMISim) string {
	t.Helper()
	host, port, _ := strings.Cut(s.Addr(), ":")
	out, err := exec.Command(Need(t, "ipmitool"), "-I", "lanplus", "-H", host, "-p", port, "-C", "3",
		"-U", IPMIViewer, "-P", IPMIViewerSecret, "-L", "USER", "sdr", "elist").CombinedOutput()
	if err != nil {
		t.Fatalf("ipmitool: %v\n%s", err, out)
	}
	return string(out)
}

func TestIPMISim(t *testing.T) {
	t.Parallel()
	s := StartIPMISim(t)
	want := func(when string, words ...string) {
		t.Helper()
		list := ipmitool(t, s)
		for _, w := range words {
			if !strings.Contains(list, w) {
				t.Errorf("%s: ipmitool does not list %q:\n%s", when, w, list)
			}
		}
	}
	want("at the start", "PSU1 Status", "10.2 | Presence detected\n", "Fully Redundant", "150 Watts", "232 Volts", "23 degrees C", "300 Watts")
	s.SetBit(IPMIStatus+1, 3, true)
	s.SetOnly(IPMIRedundancy, 1)
	s.SetValue(IPMIWatts+1, 0)
	want("input lost", "Presence detected, Power Supply AC lost", "Redundancy Lost\n", "10.2 | 0 Watts")
	s.Restart()
	want("after a restart", "Presence detected, Power Supply AC lost", "Redundancy Lost\n")
}
