package vm

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// TestVolatileDisk: what was flushed is there after a cut, what was not is gone, and an
// orderly end loses nothing. Without that a test of power cuts would prove nothing.
func TestVolatileDisk(t *testing.T) {
	Need(t, false)
	program := peer.Need(t, "qemu-io")
	m := &Machine{t: t, Dir: newDir(t)}
	t.Cleanup(func() { os.RemoveAll(m.Dir) })
	d := &VolatileDisk{ID: "CUT"}
	do := func(cut bool, commands ...string) string {
		t.Helper()
		d.Attach(m)
		args := []string{"-f", "raw", "-t", "writeback", "nbd+unix:///?socket=" + m.path("CUT.sock")}
		for _, c := range commands {
			if c == "crash" { // no flush at the end, which qemu-io makes otherwise
				c = "sigraise 9"
			}
			args = append(args, "-c", c)
		}
		out, _ := exec.Command(program, args...).CombinedOutput()
		if cut {
			d.Cut()
		}
		d.Detach()
		return string(out)
	}
	holds := func(pattern string) bool {
		t.Helper()
		out := do(false, "read -P "+pattern+" 0 64k")
		if !strings.Contains(out, "read 65536/65536") {
			t.Fatalf("qemu-io: %s", out)
		}
		return !strings.Contains(out, "Pattern verification failed")
	}
	for _, tt := range []struct {
		name     string
		cut      bool
		commands []string
		want     string // what is there afterwards
	}{
		{"cut after a flush", true, []string{"write -P 1 0 64k", "flush", "crash"}, "1"},
		{"cut before the flush", true, []string{"write -P 2 0 64k", "crash"}, "1"},
		{"an orderly end", false, []string{"write -P 3 0 64k"}, "3"},
	} {
		if do(tt.cut, tt.commands...); !holds(tt.want) {
			t.Errorf("%s: the disk does not hold %s", tt.name, tt.want)
		}
	}
}
