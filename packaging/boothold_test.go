package packaging_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/drivers/all"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// TestBootHoldUnit: systemd finds nothing wrong with a service that is ordered after the hold
// as the page says; and would find a circle.
func TestBootHoldUnit(t *testing.T) {
	verify := peer.Need(t, "systemd-analyze")
	dir := units(t)
	dropIn := regexp.MustCompile("(?s)```ini\n(.*?)```").FindStringSubmatch(readFile(t, "../docs/boot-hold.md"))
	if dropIn == nil {
		t.Fatal("no drop-in on the page")
	}
	heavy := filepath.Join(dir, "heavy.service")
	for path, text := range map[string]string{
		heavy: "[Unit]\nDescription=Heavy\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
		filepath.Join(heavy+".d", "boot-hold.conf"): dropIn[1],
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	hold, daemon := filepath.Join(dir, "dodai-boot-hold.service"), filepath.Join(dir, "dodai.service")
	if out, err := exec.Command(verify, "verify", "--man=no", hold, heavy, daemon).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	text := readFile(t, daemon)
	if err := os.WriteFile(daemon, []byte(strings.Replace(text, "[Unit]", "[Unit]\nAfter=heavy.service", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, _ := exec.Command(verify, "verify", "--man=no", hold, heavy, daemon).CombinedOutput(); !bytes.Contains(out, []byte("ordering cycle")) {
		t.Errorf("a daemon that comes after what waits for it is no circle:\n%s", out)
	}
}

// TestBootHoldPage: the page has each thing that is waited for, and no other, and its
// configuration is one the agent takes.
func TestBootHoldPage(t *testing.T) {
	page := readFile(t, "../docs/boot-hold.md")
	_, table, _ := strings.Cut(page, "## What is waited for")
	table, _, _ = strings.Cut(table, "\n## ")
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(table, -1) {
		names = append(names, m[1])
	}
	want := []policy.BootWhat{policy.BootCharge, policy.BootRuntime, policy.BootLowBattery, policy.BootFSD, policy.BootOnBattery,
		policy.BootFeedEnds, policy.BootUnheard, policy.BootTurn, policy.BootGoingDown}
	if len(names) != len(want) {
		t.Errorf("%q are on the page, want %q", names, want)
	}
	for i := range min(len(names), len(want)) {
		if names[i] != string(want[i]) {
			t.Errorf("%s is on the page, want %s", names[i], want[i])
		}
	}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1) {
		c, err := config.Parse("boot-hold.md", []byte(m[1]), all.Find)
		if err != nil || c.BootHold.Rank == 0 {
			t.Errorf("%s\n%+v, %v", m[1], c, err)
		}
	}
}
