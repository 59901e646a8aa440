package journal

import (
	"bufio"
	"database/sql"
	"errors"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func child(t *testing.T, what, dir string, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(append(os.Environ(), "JOURNAL_CHILD="+what, "JOURNAL_DIR="+dir), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = t.Output()
	return cmd
}

// integrity asks SQLite itself, without our code in between.
func integrity(t *testing.T, dir string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity_check = %q, %v, want ok", verdict, err)
	}
}

func TestKilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	kills := 20
	if testing.Short() {
		kills = 3
	}
	var acknowledged []int
	for range kills {
		before, next := len(acknowledged), 1
		if before > 0 {
			next = acknowledged[before-1] + 2 // the one in between may be there, or not
		}
		acknowledged = append(acknowledged, appendAndDie(t, dir, next)...)
		if len(acknowledged) == before {
			t.Fatal("the child acknowledged nothing")
		}
		checkKilled(t, dir, acknowledged)
	}
	integrity(t, dir)
	t.Logf("%d kills, %d acknowledged rows", kills, len(acknowledged))
}

// appendAndDie runs a child that appends, kills it at some moment within 60 ms of its
// first acknowledged row, and returns what it acknowledged.
func appendAndDie(t *testing.T, dir string, first int) (acknowledged []int) {
	t.Helper()
	cmd := child(t, "append", dir, "JOURNAL_FIRST="+strconv.Itoa(first))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		n, err := strconv.Atoi(scanner.Text())
		if err != nil {
			t.Fatal(err)
		}
		if acknowledged = append(acknowledged, n); len(acknowledged) == 1 {
			time.AfterFunc(time.Duration(rand.Int63n(int64(60*time.Millisecond))), func() { cmd.Process.Kill() })
		}
	}
	cmd.Wait()
	return acknowledged
}

func checkKilled(t *testing.T, dir string, acknowledged []int) {
	t.Helper()
	j, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if r := j.Recovered(); r != "" {
		t.Fatalf("after a kill: %s", r)
	}
	got, err := j.Events(t.Context(), Query{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range got {
		seen[r.Device] = true
	}
	for _, n := range acknowledged {
		if !seen[strconv.Itoa(n)] {
			t.Fatalf("event %d was acknowledged and is gone", n)
		}
	}
	last := acknowledged[len(acknowledged)-1]
	v, _, err := j.LoadState(t.Context(), "counter")
	if n, _ := strconv.Atoi(string(v)); err != nil || n < last {
		t.Errorf("state is %q, %v, want at least the acknowledged %d", v, err, last)
	}
	d, err := j.Durations(t.Context(), "s")
	if err != nil || len(d) == 0 || int(d[len(d)-1].Took) < last {
		t.Errorf("the last of %d durations, %v, is older than the acknowledged %d", len(d), err, last)
	}
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	cmd := child(t, "hold", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	bufio.NewReader(out).ReadString('\n')
	_, err = Open(t.Context(), dir, Options{})
	locked, ok := errors.AsType[*LockedError](err)
	if !ok || locked.PID != cmd.Process.Pid || !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("Open of a held journal = %v, want ErrLocked with pid %d", err, cmd.Process.Pid)
	}
	cmd.Process.Kill()
	cmd.Wait()
	open(t, dir) // the lock went with its holder
}

// Page cache survives a kill, but not a power cut. So every acknowledgement has to come
// after an fsync, with no write to a database file in between: the system calls tell.
func TestEveryAcknowledgementIsSynced(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := child(t, "append", t.TempDir(), "JOURNAL_FIRST=1")
	cmd.Args = append([]string{strace, "-f", "-e", "trace=pwrite64,fsync,fdatasync,write", "-o", trace, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = strace
	cmd.SysProcAttr.Setpgid = true
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	for range 20 {
		scanner.Scan()
	}
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	cmd.Wait()
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	acknowledged, synced, dirty := 0, 0, false
	ack := regexp.MustCompile(`write\(1, "\d+\\n"`)
	for line := range strings.Lines(string(b)) {
		switch {
		case strings.Contains(line, "pwrite64("):
			dirty = true
		case strings.Contains(line, "sync(") && !strings.Contains(line, "unfinished"), strings.Contains(line, "sync resumed"):
			synced++
			dirty = false
		case ack.MatchString(line):
			if acknowledged++; dirty || synced < 3 {
				t.Fatalf("acknowledgement %d after %d syncs, unsynced writes: %v; want one sync for each of its three rows", acknowledged, synced, dirty)
			}
			synced = 0
		}
	}
	if acknowledged == 0 {
		t.Skipf("strace cannot trace here: %.200s", b)
	}
	t.Logf("%d acknowledgements, each behind its three syncs", acknowledged)
}

// TestLockIsLetGo: a lock that goes a moment later, as that of an agent that was killed while
// it started a command, is waited for.
func TestLockIsLetGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.lock")
	held, err := lockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(lockPatience/5, func() { held.Close() })
	again, err := lockFile(path)
	if err != nil {
		t.Fatalf("a lock held for %v more: %v", lockPatience/5, err)
	}
	defer again.Close()
	began := time.Now()
	if _, err := lockFile(path); !errors.Is(err, ErrLocked) || time.Since(began) < lockPatience || time.Since(began) > 4*lockPatience {
		t.Errorf("a held lock: %v after %v, want ErrLocked after %v", err, time.Since(began), lockPatience)
	}
}
