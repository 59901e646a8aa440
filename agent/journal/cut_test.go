package journal

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// A power cut takes what no fsync has brought to the platters, all of it or any part. The
// system calls of a child that appends are replayed onto such a disk, which is cut at random
// instants: the journal opens each time, with everything in it that was acknowledged before.
// Each child goes on with what the last cut of the one before has left.
func TestPowerCutAtAnyInstant(t *testing.T) {
	strace := peer.Need(t, "strace")
	children, cuts := 3, 40
	if testing.Short() {
		children, cuts = 2, 10
	}
	random := rand.New(rand.NewPCG(rand.Uint64(), 1))
	left, acknowledged, checkpoints, lied := map[string][]byte{}, []int(nil), 0, 0
	for range children {
		calls := traceAppends(t, strace, left, acknowledged, 150) // SQLite makes a checkpoint after 1000 frames, 8 a row
		if calls == nil {
			t.Skip("strace cannot trace here")
		}
		checkpoints += countCalls(calls, fileName)
		for i, lies := range append(make([]bool, cuts), slices.Repeat([]bool{true}, cuts/4)...) {
			at := random.IntN(len(calls) + 1)
			files, acks := cut(left, calls[:at], random, lies)
			acks = append(slices.Clone(acknowledged), acks...)
			err := afterCut(t, files, acks)
			switch {
			case lies && err != nil:
				lied++
			case !lies && err != nil:
				t.Fatalf("cut after system call %d of %d: %v", at, len(calls), err)
			}
			if i == cuts-1 {
				left, acknowledged = files, acks
			}
		}
	}
	if checkpoints < 10 {
		t.Errorf("%d pages were written at checkpoints, which are to be cut, too: let the children append more", checkpoints)
	}
	if lied == 0 {
		t.Error("a disk that forgets what was synced has lost nothing: this test finds nothing")
	}
	t.Logf("%d cuts, %d rows acknowledged before the last; of %d cuts of a disk that lies about its syncs %d lost something",
		children*cuts, len(acknowledged), children*(cuts/4), lied)
}

// TestPowerCutInAReplacement: a corrupt database is being replaced when the power goes. At the
// next start it is replaced or in order, and knows what the corrupt one still knew.
func TestPowerCutInAReplacement(t *testing.T) {
	strace := peer.Need(t, "strace")
	cuts := 150
	if testing.Short() {
		cuts = 30
	}
	base := t.TempDir()
	fill(t, base)
	j := open(t, base)
	if err := j.SaveState(t.Context(), "no_return", []byte("passed for good")); err != nil { // which the WAL alone has
		t.Fatal(err)
	}
	before := map[string][]byte{}
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(filepath.Join(base, fileName+suffix))
		if err != nil {
			t.Fatal(err)
		}
		before[fileName+suffix] = data
	}
	db := before[fileName] // its last page is one of events
	copy(db[len(db)-4096:], strings.Repeat("\xa5garbage", 512))
	calls := traceAppends(t, strace, before, nil, 3)
	if calls == nil {
		t.Skip("strace cannot trace here")
	}
	last := slices.IndexFunc(calls, func(c diskCall) bool { return c.what == "ack" }) + 1
	random := rand.New(rand.NewPCG(rand.Uint64(), 4))
	for n := range cuts {
		at := n * last / cuts // each instant until the first row
		files, acks := cut(before, calls[:at], random, false)
		if err := afterReplacement(t, files, acks); err != nil {
			t.Errorf("cut after system call %d of %d, left are %q: %v", at, last, slices.Sorted(maps.Keys(files)), err)
		}
	}
}

func afterReplacement(t *testing.T, files map[string][]byte, acknowledged []int) error {
	t.Helper()
	dir := memoryDir(t)
	defer os.RemoveAll(dir)
	writeCut(t, dir, files)
	j, err := Open(t.Context(), dir, Options{})
	if err != nil {
		return err
	}
	defer j.Close()
	if v, _, err := j.LoadState(t.Context(), "no_return"); string(v) != "passed for good" {
		return fmt.Errorf("state %q, %v: want it carried over", v, err)
	}
	if d, err := j.Durations(t.Context(), "vms"); err != nil || len(d) != 1 {
		return fmt.Errorf("durations %v, %v: want the one that there was", d, err)
	}
	told, err := j.Events(t.Context(), Query{Names: []dodai.EventName{dodai.EventJournalRecovered}})
	if err != nil || len(told) == 0 {
		return fmt.Errorf("the replacement is not told: %v, %v", told, err)
	}
	got, err := j.Events(t.Context(), Query{Names: []dodai.EventName{dodai.EventStepFinished}})
	if err != nil || len(got) < len(acknowledged) {
		return fmt.Errorf("%d rows, %v: %d were acknowledged", len(got), err, len(acknowledged))
	}
	integrity(t, dir)
	return nil
}

// countCalls counts the writes to a file.
func countCalls(calls []diskCall, name string) int {
	n := 0
	for _, c := range calls {
		if c.what == "write" && c.name == name {
			n++
		}
	}
	return n
}

// diskCall is a system call that changes what is on a disk, or is about to.
type diskCall struct {
	what string // create, write, resize, remove, rename, sync, syncdir, ack
	name string
	to   string // of a rename
	off  int64  // of a write, or the size, or the number acknowledged
	data []byte
	from int // for syncs: the call's index when it began; what came later it need not have covered
}

// change is what a file has seen since it was synced.
type change struct {
	at int // index of the call
	diskCall
}

// cutFile is a file on a disk that forgets.
type cutFile struct {
	durable []byte
	pending []change
}

// cut plays calls onto the files that were there before, and returns what is left of them
// when the power goes after the last, and the rows acknowledged by then. A disk that lies
// takes no notice of syncs of files. Names change in the order of the calls, as every
// journalling file system has it; which was the last is open until the folder is synced.
func cut(before map[string][]byte, calls []diskCall, random *rand.Rand, lies bool) (left map[string][]byte, acks []int) {
	names := map[string]*cutFile{} // durable ones
	for name, b := range before {
		names[name] = &cutFile{durable: slices.Clone(b)}
	}
	now, renames := maps.Clone(names), []map[string]*cutFile(nil) // the folder after each change
	for i, c := range calls {
		f := now[c.name]
		switch c.what {
		case "create", "remove", "rename":
			if f == nil && c.what == "create" {
				f = &cutFile{}
			} else if f == nil || c.what == "create" {
				continue // there already, or never was
			}
			now = maps.Clone(now)
			delete(now, c.name)
			if c.what != "remove" {
				now[cmp.Or(c.to, c.name)] = f
			}
			renames = append(renames, now)
		case "write", "resize":
			if f != nil {
				f.pending = append(f.pending, change{i, c})
			}
		case "sync":
			if f != nil && !lies {
				f.sync(c.from)
			}
		case "syncdir":
			names, renames = now, nil
		case "ack":
			acks = append(acks, int(c.off))
		}
	}
	keep := []float64{0, 0.5, 0.9, 1}[random.IntN(4)] // of what is pending
	if n := random.IntN(len(renames) + 1); n > 0 {
		names = renames[n-1]
	}
	left = map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		left[name] = names[name].torn(random, keep)
	}
	return left, acks
}

// sync makes durable what was written before the call that began at from.
func (f *cutFile) sync(from int) {
	for len(f.pending) > 0 && f.pending[0].at < from {
		f.durable = f.pending[0].apply(f.durable, func() bool { return true })
		f.pending = f.pending[1:]
	}
}

const sector = 512

// torn is what is found after the cut: of what is pending each sector with the chance keep.
func (f *cutFile) torn(random *rand.Rand, keep float64) []byte {
	b := f.durable
	for _, p := range f.pending {
		b = p.apply(b, func() bool { return random.Float64() < keep })
	}
	return b
}

// apply changes b sector by sector, where keep says so.
func (c change) apply(b []byte, keep func() bool) []byte {
	if c.what == "resize" {
		if keep() {
			b = append(b, make([]byte, max(0, int(c.off)-len(b)))...)[:c.off]
		}
		return b
	}
	for data, off := c.data, c.off; len(data) > 0; {
		n := min(len(data), sector-int(off%sector))
		if keep() {
			if grow := int(off) + n - len(b); grow > 0 {
				b = append(b, make([]byte, grow)...)
			}
			copy(b[off:], data[:n])
		}
		data, off = data[n:], off+int64(n)
	}
	return b
}

// afterCut opens what is left and says what is missing or wrong.
func afterCut(t *testing.T, files map[string][]byte, acknowledged []int) error {
	t.Helper()
	dir := memoryDir(t)
	defer os.RemoveAll(dir) // many cuts in one test
	writeCut(t, dir, files)
	if len(files) > 0 { // what is in it is of another boot, or nothing at all
		os.WriteFile(filepath.Join(dir, fileName+"-shm"), bytes.Repeat([]byte{0xa5}, 32<<10), 0o640)
	}
	j, err := Open(t.Context(), dir, Options{})
	if err != nil {
		return err
	}
	defer j.Close()
	if r := j.Recovered(); r != "" {
		return errors.New(r)
	}
	last := 0
	if len(acknowledged) > 0 {
		last = acknowledged[len(acknowledged)-1]
	}
	got, err := j.Events(t.Context(), Query{})
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, r := range got {
		there[r.Device] = true
	}
	for _, n := range acknowledged {
		if !there[strconv.Itoa(n)] {
			return fmt.Errorf("event %d of %d was acknowledged and is gone", n, last)
		}
	}
	v, _, err := j.LoadState(t.Context(), "counter")
	if n, _ := strconv.Atoi(string(v)); last > 0 && (err != nil || n < last || n > last+2) { // the next child leaves one number out
		return fmt.Errorf("state is %q, %v, want the acknowledged %d or the next", v, err, last)
	}
	d, err := j.Durations(t.Context(), "s")
	if last > 0 && (err != nil || len(d) == 0 || int(d[len(d)-1].Took) < last) {
		return fmt.Errorf("the last of %d durations, %v, is older than the acknowledged %d", len(d), err, last)
	}
	integrity(t, dir)
	return nil
}

// memoryDir is a folder in memory where there is one: what is synced to it costs nothing, and
// the calls are the same.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "dodai-cut-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func writeCut(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

// traceAppends lets a child append so many rows to what is left of the journal, kills it, and
// returns what it did to the disk; nil where system calls cannot be traced.
func traceAppends(t *testing.T, strace string, left map[string][]byte, acknowledged []int, rows int) []diskCall {
	t.Helper()
	dir, trace := memoryDir(t), filepath.Join(t.TempDir(), "trace")
	writeCut(t, dir, left)
	first := 1
	if n := len(acknowledged); n > 0 {
		first = acknowledged[n-1] + 2 // the one in between may be there, or not
	}
	cmd := child(t, "append", dir, "JOURNAL_FIRST="+strconv.Itoa(first))
	cmd.Args = append([]string{strace, "-f", "-y", "-xx", "-s", "70000", "-e", "trace=?open,openat,pwrite64,write,fsync,fdatasync,ftruncate,?unlink,unlinkat,?rename,renameat,renameat2",
		"-o", trace, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = strace
	cmd.SysProcAttr.Setpgid = true
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for scanner := bufio.NewScanner(out); rows > 0 && scanner.Scan(); rows-- {
	}
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	cmd.Wait()
	f, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	calls := parseTrace(t, f, dir)
	if countCalls(calls, fileName+"-wal") == 0 {
		return nil
	}
	return calls
}

// parseTrace reads what strace has written about the files below dir and the numbers on
// standard output. A line is "thread call(arguments) = result"; of a call during which another
// thread came to speak there are two, the first ending in "<unfinished ...>", the second
// beginning with "<... call resumed>".
func parseTrace(t *testing.T, r io.Reader, dir string) []diskCall {
	t.Helper()
	var calls []diskCall
	syncing := map[string]diskCall{} // by thread
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		thread, line, _ := strings.Cut(scanner.Text(), " ")
		line = strings.TrimLeft(line, " ")
		unfinished, well := strings.HasSuffix(line, "<unfinished ...>"), strings.HasSuffix(line, " = 0")
		if strings.HasPrefix(line, "<... ") {
			if c, ok := syncing[thread]; ok && well {
				calls = append(calls, c)
			}
			delete(syncing, thread)
			continue
		}
		name, args, ok := strings.Cut(line, "(")
		if !ok || !unfinished && !strings.Contains(args, " = ") {
			continue // a signal, or strace was killed while it wrote this
		}
		c, ok := parseCall(t, name, args, dir)
		if !ok {
			continue
		}
		c.from = len(calls)
		switch sync := c.what == "sync" || c.what == "syncdir"; {
		case sync && unfinished:
			syncing[thread] = c
		case (sync || c.what == "rename") && !well: // it failed
		default:
			calls = append(calls, c)
		}
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return calls
}

// parseCall reads one call's arguments; ok is false where it is about something else.
func parseCall(t *testing.T, name, args, dir string) (c diskCall, ok bool) {
	t.Helper()
	path, quoted := "", strings.Split(args, `"`) // all between quotes is hex
	if fd, rest, is := strings.Cut(args, "<"); is && strings.Trim(fd, "0123456789") == "" {
		path, _, _ = strings.Cut(rest, ">")
		path = string(unhex(t, path))
	}
	var data []byte
	if len(quoted) >= 3 {
		data = unhex(t, quoted[1])
	}
	if slices.Contains([]string{"open", "openat", "unlink", "unlinkat", "rename", "renameat", "renameat2"}, name) {
		path = string(data)
	}
	if name == "write" && strings.HasPrefix(path, "pipe:") {
		n, err := strconv.Atoi(strings.TrimSpace(string(data)))
		return diskCall{what: "ack", off: int64(n)}, err == nil
	}
	if path == dir && (name == "fsync" || name == "fdatasync") {
		return diskCall{what: "syncdir"}, true
	}
	c.name = filepath.Base(path)
	if filepath.Dir(path) != dir || !strings.HasPrefix(c.name, fileName) || strings.HasSuffix(c.name, "-shm") {
		return diskCall{}, false
	}
	ok = true
	switch name {
	case "open", "openat":
		c.what, ok = "create", strings.Contains(args, "O_CREAT")
	case "unlink", "unlinkat":
		c.what = "remove"
	case "rename", "renameat", "renameat2":
		if ok = len(quoted) >= 5; ok {
			c.what, c.to = "rename", filepath.Base(string(unhex(t, quoted[3])))
		}
	case "fsync", "fdatasync":
		c.what = "sync"
	case "pwrite64":
		c.what, c.data, c.off = "write", data, number(t, args, 3)
	case "ftruncate":
		c.what, c.off = "resize", number(t, args, 1)
	default:
		ok = false
	}
	return c, ok
}

// number is a call's argument, counted from 0. Those before it hold no comma: strings are hex.
func number(t *testing.T, args string, which int) int64 {
	t.Helper()
	list := strings.Split(args, ", ")
	if which >= len(list) {
		t.Fatalf("%.200s: want %d arguments", args, which+1)
	}
	n, err := strconv.ParseInt(strings.TrimRight(strings.Fields(list[which])[0], ")"), 10, 64)
	if err != nil {
		t.Fatalf("%.200s: argument %d: %v", args, which, err)
	}
	return n
}

// unhex reads \x41\x42.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b := make([]byte, len(s)/4)
	for i := range b {
		if _, err := hex.Decode(b[i:i+1], []byte(s[4*i+2:4*i+4])); err != nil {
			t.Fatalf("%.100s: %v", s[4*i:], err)
		}
	}
	return b
}
