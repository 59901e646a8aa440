package shutdown

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// mount is a mounted file system.
type mount struct {
	path     string
	dev      string // its number, major:minor; mounts of one file system share it
	fstype   string
	options  string // the file system's own, without rw and ro
	writable bool   // the file system is, whatever this mount of it allows
}

// Bounds of a list of mounts. The oldest of more are left to the kernel.
const (
	maxMountinfo = 4 << 20 // bytes
	maxMounts    = 512
)

// pseudo are the types of file systems that have nothing on a disk.
var pseudo = func() map[string]bool {
	types := map[string]bool{}
	for t := range strings.FieldsSeq(`autofs bdev bpf binfmt_misc cgroup cgroup2 configfs cpuset debugfs devpts devtmpfs
		efivarfs fuse.gvfsd-fuse fuse.lxcfs fuse.portal fusectl hugetlbfs mqueue nfsd nsfs pipefs proc pstore ramfs
		rootfs rpc_pipefs securityfs selinuxfs smackfs sockfs squashfs sysfs tmpfs tracefs`) {
		types[t] = true
	}
	return types
}()

// readMounts lists what is mounted in the process's mount namespace.
func readMounts() ([]mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMountinfo))
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data))
}

// parseMounts reads /proc/PID/mountinfo, the latest mount first. Lines it cannot read are
// passed over: one strange mount is no reason to leave the others. Source: proc(5).
func parseMounts(text string) ([]mount, error) {
	var list []mount
	lines := 0
	for line := range strings.Lines(text) {
		lines++
		before, after, found := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		left, right := strings.Split(before, " "), strings.Split(after, " ")
		if !found || len(left) < 6 || len(right) < 3 || !strings.HasPrefix(left[4], "/") {
			continue
		}
		m := mount{path: unescape(left[4]), dev: left[2], fstype: right[0]}
		var own []string
		for o := range strings.SplitSeq(right[2], ",") {
			switch o {
			case "rw":
				m.writable = true
			case "ro", "":
			default:
				own = append(own, unescape(o))
			}
		}
		m.options = strings.Join(own, ",")
		list = append(list, m)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no mount in %d lines of mountinfo", lines)
	}
	slices.Reverse(list)
	return list[:min(len(list), maxMounts)], nil
}

// unescape replaces \040 and the like, which stand for blanks, tabs, line ends and
// backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// levels sorts mounts by the depth of their paths, the deepest first. Those of one level
// are not below each other; mounts at the same path stay in their order.
func levels(list []mount) [][]mount {
	byDepth := map[int][]mount{}
	deepest := 0
	for _, m := range list {
		d := 0
		if path := strings.Trim(m.path, "/"); path != "" {
			d = strings.Count(path, "/") + 1
		}
		byDepth[d] = append(byDepth[d], m)
		deepest = max(deepest, d)
	}
	var out [][]mount
	for d := deepest; d >= 0; d-- {
		if len(byDepth[d]) > 0 {
			out = append(out, byDepth[d])
		}
	}
	return out
}
