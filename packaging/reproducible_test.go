package packaging_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// copySource copies what belongs to the repository, as it lies there.
func copySource(t *testing.T, dir string) {
	t.Helper()
	list, err := exec.Command(peer.Need(t, "git"), "-C", "..", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Skipf("no repository: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		from, to := filepath.Join("..", name), filepath.Join(dir, name)
		info, err := os.Stat(from)
		if err != nil || !info.Mode().IsRegular() {
			continue // deleted, and not yet committed
		}
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
}

// sums are the names of what was made, with a checksum each.
func sums(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "dodai*"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %x", filepath.Base(path), sha256.Sum256(data)))
	}
	slices.Sort(list)
	return list
}

// TestReproducible: the same source gives the same packages and bills of materials, wherever,
// whenever, on which host and by whom they are made.
func TestReproducible(t *testing.T) {
	t.Parallel()
	one, two := t.TempDir(), filepath.Join(t.TempDir(), "another", "folder")
	copySource(t, one)
	copySource(t, two)
	for _, b := range []struct{ dir, script, zone string }{
		{one, `umask 022`, "TZ=UTC"},
		{two, `umask 077; find . -exec touch -d 2001-02-03 {} +`, "TZ=Asia/Tokyo"},
	} {
		args := []string{"sh", "-ec", b.script + `; [ "$(id -u)" != 0 ] || hostname "$(basename "$PWD")" 2>/dev/null || :; exec "$@"`, "sh",
			peer.Need(t, "make"), "packages", "ARCHES=" + runtime.GOARCH, "VERSION=1.0.0", "COMMIT=0123456789ab", "SOURCE_DATE_EPOCH=1700000000"}
		if os.Geteuid() == 0 {
			args = append([]string{peer.Need(t, "unshare"), "--uts"}, args...)
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = b.dir
		cmd.Env = append(os.Environ(), b.zone)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make packages: %v\n%s", err, out)
		}
	}
	got, want := sums(t, filepath.Join(two, "dist")), sums(t, filepath.Join(one, "dist"))
	if len(want) != 3 || !slices.Equal(got, want) {
		t.Errorf("made of the same source:\n%s\nand\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
	for _, path := range []string{one, two} {
		if bill, _ := os.ReadFile(filepath.Join(path, "dist", "dodai_1.0.0_"+runtime.GOARCH+".cdx.json")); !bytes.Contains(bill, []byte("2023-11-14T22:13:20Z")) {
			t.Errorf("the bill has not the commit's date: %.300s", bill)
		}
	}
}
