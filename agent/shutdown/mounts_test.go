package shutdown

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A machine with a dead pool, a bind mount, a container and a path with a blank in it.
const someMounts = `22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro
23 22 0:21 / /proc rw,nosuid - proc proc rw
24 22 0:22 / /sys ro - sysfs sysfs rw
25 22 0:5 / /dev rw - devtmpfs udev rw,size=1k
26 22 0:24 / /run rw - tmpfs tmpfs rw
30 22 8:1 / /boot ro,relatime - vfat /dev/sda1 ro,fmask=0022
31 22 0:40 / /tank rw shared:9 master:3 - zfs tank rw,xattr,noacl
32 31 0:41 / /tank/my\040guests rw - zfs tank/guests rw
33 22 8:2 /srv /srv/bound ro - ext4 /dev/sda2 rw,errors=remount-ro
34 22 0:50 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw,lowerdir=/a\134b,upperdir=/u
not a mount
35 22 8:3 / relative rw - ext4 /dev/sda3 rw
`

func TestParseMounts(t *testing.T) {
	all, err := parseMounts(someMounts)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 10 || all[9].path != "/" {
		t.Fatalf("%d mounts, the oldest %+v; want 10, the root last", len(all), all[9])
	}
	kept := slices.DeleteFunc(all, func(m mount) bool { return !m.writable || pseudo[m.fstype] })
	var got []string
	for _, level := range levels(kept) {
		var line []string
		for _, m := range level {
			line = append(line, m.dev+" "+m.path+" "+m.options)
		}
		got = append(got, strings.Join(line, "; "))
	}
	want := []string{
		`0:50 /var/lib/docker/overlay2/x/merged lowerdir=/a\b,upperdir=/u`,
		"8:2 /srv/bound errors=remount-ro; 0:41 /tank/my guests ",
		"0:40 /tank xattr,noacl",
		"8:2 / errors=remount-ro",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("levels -want +got:\n%s", diff)
	}
	for _, text := range []string{"", "nonsense\n", strings.Repeat("x\n", 1000)} {
		if list, err := parseMounts(text); err == nil {
			t.Errorf("%.20q: %v, want an error: a machine has a root", text, list)
		}
	}
	if list, _ := parseMounts(strings.Repeat("1 1 8:2 / /m rw - ext4 /dev/sda rw\n", 3*maxMounts)); len(list) != maxMounts {
		t.Errorf("%d mounts, want at most %d", len(list), maxMounts)
	}
}

func TestMountsOfThisMachine(t *testing.T) {
	list, err := readMounts()
	if err != nil || !slices.ContainsFunc(list, func(m mount) bool { return m.path == "/" }) {
		t.Errorf("mounts of this machine: %+v, %v, want the root among them", list, err)
	}
	if !slices.ContainsFunc(list, func(m mount) bool { return m.path == "/proc" && pseudo[m.fstype] }) {
		t.Errorf("%+v: want /proc, with nothing to lose", list)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(someMounts)
	if data, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseMounts(text)
		if (err == nil) != (len(list) > 0) || len(list) > maxMounts {
			t.Fatalf("%d mounts, %v", len(list), err)
		}
		n := 0
		depth := 1 << 30
		for _, level := range levels(list) {
			n += len(level)
			d := strings.Count(strings.Trim(level[0].path, "/"), "/")
			if d > depth {
				t.Fatalf("%q after what is above it", level[0].path)
			}
			depth = d
		}
		if n != len(list) {
			t.Fatalf("%d of %d mounts in levels", n, len(list))
		}
		for _, m := range list {
			if !strings.HasPrefix(m.path, "/") {
				t.Fatalf("path %q", m.path)
			}
		}
	})
}
