package packaging_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// units is a folder with all units as they are installed, but for a program that exists.
func units(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "program", "dodai")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"../systemd/*.service", "../systemd/*.socket"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no unit %s: %v", pattern, err)
		}
		for _, path := range found {
			text := strings.ReplaceAll(readFile(t, path), "/usr/bin/dodai", program)
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// TestUnitsVerify: systemd knows every key, and says nothing. Its exit status is 0 even for a
// key that it has never heard of.
func TestUnitsVerify(t *testing.T) {
	verify := peer.Need(t, "systemd-analyze")
	dir := units(t)
	found, err := filepath.Glob(filepath.Join(dir, "*.*"))
	if err != nil || len(found) < 4 {
		t.Fatalf("units %q, %v: want four or more", found, err)
	}
	for _, path := range found {
		path = strings.Replace(path, "@.", "@one.", 1) // a template is looked at as one of its instances
		if out, err := exec.Command(verify, "verify", "--man=no", path).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("systemd-analyze verify %s: %v\n%s", filepath.Base(path), err, out)
		}
	}
}

// TestUnitsExposure holds each unit to the figure it has reached, of 10. The helper has no
// bounds on purpose.
func TestUnitsExposure(t *testing.T) {
	analyze := peer.Need(t, "systemd-analyze")
	dir := units(t)
	for unit, reached := range map[string]string{"dodai.service": "18", "dodai-boot-hold.service": "2"} {
		cmd := exec.Command(analyze, "security", "--offline=yes", "--no-pager", "--threshold="+reached, filepath.Join(dir, unit))
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("Overall exposure level")) {
			t.Errorf("exposure of %s above %s/10: %v\n%s", unit, reached, err, out)
		}
	}
}
