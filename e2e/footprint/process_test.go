package footprint

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ticks is how many clock ticks of /proc a second has on every Linux there is (USER_HZ).
const ticks = 100

// usage is what a process has cost so far.
type usage struct {
	at       time.Time
	own      time.Duration // on the processors, without its children
	children time.Duration // of children that it has waited for
	written  int64         // bytes sent to the disk
	switches int64         // to its threads, voluntary or not
}

func (u usage) cpu() time.Duration { return u.own + u.children }

func procFile(t testing.TB, pid int, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// used reads /proc/PID/stat and io. Source: proc_pid_stat(5), proc_pid_io(5).
func used(t testing.TB, pid int) usage {
	t.Helper()
	stat := procFile(t, pid, "stat")
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // f[0] is field 3
	if len(f) < 15 {
		t.Fatalf("/proc/%d/stat: %q, want 52 fields", pid, stat)
	}
	span := func(fields ...string) (d time.Duration) {
		for _, s := range fields {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				t.Fatalf("/proc/%d/stat: %v", pid, err)
			}
			d += time.Duration(n) * time.Second / ticks
		}
		return d
	}
	return usage{time.Now(), span(f[11], f[12]), span(f[13], f[14]), number(t, pid, "io", "write_bytes"), switches(t, pid)}
}

// switches adds up what /proc tells of each thread. Those of a thread that has ended are
// gone.
func switches(t testing.TB, pid int) (sum int64) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("/proc/%d/task: %d threads, %v", pid, len(files), err)
	}
	for _, file := range files {
		data, _ := os.ReadFile(file) // none of a thread that ends meanwhile
		for line := range strings.Lines(string(data)) {
			name, value, _ := strings.Cut(line, ":")
			if strings.HasSuffix(name, "voluntary_ctxt_switches") {
				n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				sum += n
			}
		}
	}
	return sum
}

// number is the number behind "key:" in a file of /proc/PID.
func number(t testing.TB, pid int, name, key string) int64 {
	t.Helper()
	text := procFile(t, pid, name)
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatalf("/proc/%d/%s: %v", pid, name, err)
			}
			return n
		}
	}
	t.Fatalf("/proc/%d/%s has no %s:\n%s", pid, name, key, text)
	return 0
}

// processes are those that run program or descend from pid, the process itself included.
// What they share with others does not matter: a helper counts however it was started.
func processes(pid int, program string) map[int]string {
	parents, found := map[int]int{}, map[int]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		id, _ := strconv.Atoi(filepath.Base(dir))
		stat, err := os.ReadFile(dir + "/stat")
		end := bytes.LastIndexByte(stat, ')')
		if err != nil || end < 0 {
			continue // it has ended
		}
		if f := strings.Fields(string(stat[end+1:])); len(f) > 1 && f[0] != "Z" {
			parents[id], _ = strconv.Atoi(f[1])
		}
	}
	for id := range parents {
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", id))
		for up, n := id, 0; up > 1 && n < 64; up, n = parents[up], n+1 {
			if up == pid || exe == program {
				found[id] = exe
				break
			}
		}
	}
	return found
}

func openFiles(t testing.TB, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
