package agent

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// alertOf is the standing alert of an id; nil: there is none.
func alertOf(v *View, id policy.AlertID) *policy.Alert {
	i := slices.IndexFunc(v.Decision.Alerts, func(a policy.Alert) bool { return a.ID == id })
	if i < 0 {
		return nil
	}
	return &v.Decision.Alerts[i]
}

// heard waits until the loop has read every device.
func (r *running) heard() {
	r.t.Helper()
	eventually(r.t, "readings", func() bool { return r.readyNow() == nil && r.View().Snapshot.Device("u1").Answered() })
}

// disk mounts a small file system of its own at a folder of the test.
func (s *site) disk(name string, flags uintptr) string {
	s.t.Helper()
	dir := s.file(name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", flags, "size=2m"); err != nil {
		s.t.Skipf("no file system can be mounted here: %v", err)
	}
	s.t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			s.t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// hog takes all the room there is.
func hog(t *testing.T, dir string) (ballast string) {
	t.Helper()
	ballast = filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for b := make([]byte, 512); err == nil; {
		_, err = f.Write(b)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	return ballast
}

// TestFullDisks: with no room for the journal, or for what a shutdown leaves in the run
// directory, the agent says so, and still shuts the machine down.
func TestFullDisks(t *testing.T) {
	tests := []struct {
		name    string
		spoil   func(s *site, o *Options)
		journal string // part of the journal's alert; empty: there is none
		folder  string // part of the folder's alert
	}{
		{"state full", func(s *site, o *Options) {
			o.StateDir = s.disk("full", 0)
			hog(s.t, o.StateDir)
		}, "systemctl restart dodai", "KiB left"},
		{"state read-only", func(s *site, o *Options) { o.StateDir = s.disk("ro", unix.MS_RDONLY) }, "systemctl restart dodai", "read-only"},
		{"run full", func(s *site, o *Options) {
			o.RunDir = s.disk("run", 0)
			hog(s.t, o.RunDir)
		}, "", "KiB left"},
		{"run read-only", func(s *site, o *Options) { o.RunDir = s.disk("run", unix.MS_RDONLY) }, "", "read-only"},
		{"run gone", func(s *site, o *Options) { o.RunDir = s.file("nowhere") }, "", "cannot be looked at"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.set("u1", ups("OL", 100, 3600), nil)
			r := s.run(plain, func(o *Options) { tt.spoil(s, o) })
			eventually(t, "the folder's alert", func() bool { return alertOf(r.View(), alertFolder) != nil })
			if got := alertOf(r.View(), alertFolder); !strings.Contains(got.Text, tt.folder) || got.Device == "" {
				t.Errorf("%+v, want %q", got, tt.folder)
			}
			if got := alertOf(r.View(), alertJournal); (got == nil) != (tt.journal == "") || got != nil && !strings.Contains(got.Text, tt.journal) {
				t.Errorf("the journal: %+v, want %q", got, tt.journal)
			}
			if up := exportState(r.View()).JournalUp; up != (tt.journal == "") {
				t.Errorf("dodai_journal_up %v", up)
			}
			if s.count(dodai.EventAlertRaised) == 0 {
				t.Error("no alert_raised")
			}
			s.set("u1", ups("OB LB", 5, 10), nil)
			eventually(t, "the power-off", func() bool { return slices.Contains(s.lines("order"), "off") })
			if got := s.lines("order"); !slices.Equal(got, []string{"one", "two", "off"}) {
				t.Errorf("the plan ran as %q", got)
			}
		})
	}
}

// TestFolderAlertStays: a disk that is nearly full has now a little more room and now a little
// less. The alert ends when there is clearly more.
func TestFolderAlertStays(t *testing.T) {
	s := newSite(t)
	st := s.step(quiet, func(o *Options) { o.RunDir = s.disk("run", 0) })
	for _, tt := range []struct {
		used int // KiB of 2048
		want bool
	}{{900, false}, {1100, true}, {900, true}, {700, false}, {900, false}} {
		if err := os.WriteFile(filepath.Join(st.opts.RunDir, "ballast"), make([]byte, tt.used<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		found := st.folderAlerts()
		st.health.folders.Store(&found)
		if got := st.health.folder(st.opts.RunDir); got != tt.want {
			t.Errorf("%d KiB used: wrong %v, want %v: %+v", tt.used, got, tt.want, found)
		}
	}
}

// TestNothingToKeepIsNoGoodWrite: a turn without samples says nothing of the disk.
func TestNothingToKeepIsNoGoodWrite(t *testing.T) {
	s := newSite(t)
	st := s.step(quiet, nil)
	st.read("u1", ups("OL", 100, 3600))
	var keep keeper
	st.store.note(errDisk)
	st.keepDue(t.Context(), &keep)
	if got := st.store.health(); got != "ok" {
		t.Errorf("after samples were written: %s", got)
	}
	st.store.note(errDisk)
	st.keepDue(t.Context(), &keep)
	if st.store.works() {
		t.Error("the journal counts as mended though nothing was written")
	}
}

// TestDiskFillsUp: a journal that worked is full, says so within seconds, and works again as
// soon as there is room, without a restart.
func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(plain, func(o *Options) { o.StateDir = s.disk("full", 0) })
	r.heard()
	if got := r.Status().Journal; got != "ok" {
		t.Fatalf("the journal on 2 MiB: %s", got)
	}
	ballast := hog(t, r.opts.StateDir)
	for i := range 200 { // what is left in the last page of the write-ahead log
		r.emit(dodai.Event{Name: dodai.EventHookFailed, Device: "test", Text: strings.Repeat("x", 4000+i)})
	}
	eventually(t, "the journal's alert", func() bool { return alertOf(r.View(), alertJournal) != nil })
	if got := alertOf(r.View(), alertJournal); !strings.Contains(got.Text, "make room in "+r.opts.StateDir) {
		t.Errorf("%s", got.Text)
	}
	if got := r.Status(); got.Journal == "ok" {
		t.Error("the status says that the journal is fine")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the journal to be fine", func() bool { return r.Status().Journal == "ok" })
	if events, err := r.store.events(t.Context(), 300); err != nil || len(events) < 200 {
		t.Errorf("%d events, %v: want those of the time without room as well", len(events), err)
	}
}

// TestJournalAlertStays: on a disk that is nearly full some writes go well; the alert ends
// when none has failed for a while.
func TestJournalAlertStays(t *testing.T) {
	s := newSite(t)
	st := s.step(quiet, nil)
	raised := func(want int, cleared int) {
		t.Helper()
		st.read("u1", ups("OL", 100, 3600))
		if r, c := s.count(dodai.EventAlertRaised), s.count(dodai.EventAlertCleared); r != want || c != cleared {
			t.Errorf("%d alerts raised and %d cleared, want %d and %d", r, c, want, cleared)
		}
	}
	raised(0, 0)
	for range 3 {
		st.store.note(errors.New("attempt to write a readonly database"))
		raised(1, 0)
		st.store.note(nil)
		st.pass(journalCalm - time.Second)
		raised(1, 0)
	}
	if got := alertOf(st.View(), alertJournal); got == nil || !strings.Contains(got.Text, "remount,rw") {
		t.Errorf("%+v", got)
	}
	st.pass(2 * time.Second)
	raised(1, 1)
	if got := alertOf(st.View(), alertJournal); got != nil {
		t.Errorf("%+v stands", got)
	}
}

// TestKilledBefore: an agent that did not end in order is told of by the next one of the same
// boot, and only there.
func TestKilledBefore(t *testing.T) {
	tests := []struct {
		name   string
		before func(*stepper)
		want   bool
	}{
		{"nothing before", nil, false},
		{"killed", func(st *stepper) { st.markRun(false) }, true},
		{"ended", func(st *stepper) { st.markRun(false); st.markRun(true) }, false},
		{"with the boot", func(st *stepper) {
			st.store.save(keyRun, []byte(`{"boot_id":"another","at":5,"version":"1"}`))
		}, false},
		{"a mark that is no mark", func(st *stepper) { st.store.save(keyRun, []byte(`[`)) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			if tt.before != nil {
				st := s.step(quiet, nil)
				st.saveMemory()
				tt.before(st)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				st.store.flush(ctx)
				st.store.close() // as if it had been killed: nothing more is written
			}
			st := s.step(quiet, later(time.Minute))
			if (st.killed != nil) != tt.want {
				t.Fatalf("%+v, want one: %v", st.killed, tt.want)
			}
			if tt.want && (st.killed.Fields["gap_s"] != 60.0 || st.killed.Fields["version"] != "test" || !strings.Contains(st.killed.Text, "at most 1m0s")) {
				t.Errorf("%+v, want the version and the minute", st.killed)
			}
		})
	}
}

// TestEndInOrderIsNoKill: an agent that was ended leaves nothing to explain; the first event
// of one after a kill does.
func TestEndInOrderIsNoKill(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(quiet, nil)
	r.heard()
	r.end()
	if r = s.run(quiet, nil); s.count(dodai.EventAgentKilled) != 0 {
		t.Error("the agent that was ended counts as killed")
	}
	r.end()
	st := s.step(quiet, nil)
	st.markRun(false)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	st.store.flush(ctx)
	st.store.close()
	r = s.run(quiet, nil)
	eventually(t, "the event", func() bool { return s.count(dodai.EventAgentKilled) == 1 })
	r.end()
}

func TestClockStepped(t *testing.T) {
	wall, boot := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), 100*time.Hour
	const year = 365 * 24 * time.Hour
	for _, tt := range []struct {
		name       string
		wall, boot time.Duration // that passed
		want       time.Duration
	}{
		{"as it should", 10 * time.Second, 10 * time.Second, 0},
		{"slewed", 10*time.Second + 5*time.Millisecond, 10 * time.Second, 0},
		{"a long sleep of both", 24 * time.Hour, 24 * time.Hour, 0},
		{"a year forward", year + 10*time.Second, 10 * time.Second, year},
		{"a year back", -year, 10 * time.Second, -year - 10*time.Second},
	} {
		got := clocks{wall, boot}.stepped(clocks{wall.Add(tt.wall), boot + tt.boot})
		if got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	s := newSite(t)
	st := s.step(quiet, nil)
	st.tellStep(-year)
	if s.count(dodai.EventClockStepped) != 1 || s.field(dodai.EventClockStepped, "by_s") != -year.Seconds() || !s.logged("set back by 8760h0m0s") {
		t.Errorf("events %v", s.story())
	}
	if a := readClocks(); a.stepped(readClocks()) != 0 || a.boot <= 0 {
		t.Errorf("clocks %+v", a)
	}
}

func TestLateness(t *testing.T) {
	now := time.Now()
	at := func(d time.Duration) time.Time { return now.Add(d) }
	var l lateness
	if worst, often := l.lately(now); worst != 0 || often != 0 {
		t.Errorf("%v, %d at the beginning", worst, often)
	}
	l.add(time.Second, at(0))
	l.add(6*time.Second, at(time.Second))
	l.add(7*time.Second, at(20*time.Second))
	l.add(tooLate, at(30*time.Second)) // not more than
	for _, tt := range []struct {
		at    time.Duration
		worst time.Duration
		often int
	}{
		{30 * time.Second, 7 * time.Second, 2}, {59 * time.Second, 7 * time.Second, 2}, {61 * time.Second, 7 * time.Second, 1},
		{85 * time.Second, tooLate, 0}, {100 * time.Second, 0, 0}, {time.Hour, 0, 0}, {-time.Hour, 7 * time.Second, 2},
	} {
		if worst, often := l.lately(at(tt.at)); worst != tt.worst || often != tt.often {
			t.Errorf("after %v: %v, %d, want %v, %d", tt.at, worst, often, tt.worst, tt.often)
		}
	}
	l.add(time.Minute, at(time.Hour))
	if worst, often := l.lately(at(time.Hour)); worst != time.Minute || often != 1 {
		t.Errorf("an hour later: %v, %d", worst, often)
	}
}

// TestStarved: one delay is a number, several are an alert, for the loop and for the polls.
func TestStarved(t *testing.T) {
	tests := map[string]struct {
		late func(*stepper)
		of   string
	}{
		"loop":  {func(st *stepper) { st.beat(time.Now().Add(-7*time.Second - tick)) }, "deciding"},
		"polls": {func(st *stepper) { st.pollLate(7 * time.Second) }, "asking the devices"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			st := s.step(quiet, nil)
			st.beat(time.Time{}) // the first round is never late
			for range lateOften - 1 {
				tt.late(st)
			}
			st.read("u1", ups("OL", 100, 3600))
			if a := alertOf(st.View(), alertStarved); a != nil {
				t.Fatalf("%+v after %d delays", a, lateOften-1)
			}
			tt.late(st)
			st.decide()
			a := alertOf(st.View(), alertStarved)
			if a == nil || !strings.Contains(a.Text, tt.of) || !strings.Contains(a.Text, "7s at worst") {
				t.Errorf("%+v, want one about %s, 7 s late", a, tt.of)
			}
			if lag := st.Status(); max(lag.LoopLagS, lag.PollLagS) < 7 {
				t.Errorf("lags %v and %v s, want 7", lag.LoopLagS, lag.PollLagS)
			}
		})
	}
}

// TestLoopThatIsHeldUp: the running loop notices that it was.
func TestLoopThatIsHeldUp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(quiet, nil)
	r.heard()
	if err := r.call(t.Context(), func() { time.Sleep(tick + 700*time.Millisecond) }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lag", func() bool { return r.View().Condition.LoopLag >= 500*time.Millisecond })
}

// manager is a service manager's socket, which the agent tells what it has to tell.
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(newSite(t).dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return conn
}

// told reads one message; empty: none came in time.
func told(conn *net.UnixConn, within time.Duration) string {
	buf := make([]byte, 256)
	_ = conn.SetReadDeadline(time.Now().Add(within))
	n, _ := conn.Read(buf)
	return string(buf[:n])
}

func toSystemd(o *Options) {
	o.Watchdog = 400 * time.Millisecond
	o.Notify = func(state string) { _, _ = daemon.SdNotify(false, state) }
}

// TestWatchdogOverASocket: it is fed by the loop that decides, over a real socket; a loop that is stuck
// feeds nothing, and one that goes on does again.
func TestWatchdogOverASocket(t *testing.T) {
	conn := manager(t)
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(quiet, toSystemd)
	if got := told(conn, 10*time.Second); got != "READY=1" {
		t.Errorf("first told %q, want READY=1", got)
	}
	for range 3 {
		if got := told(conn, 10*time.Second); got != "WATCHDOG=1" {
			t.Errorf("told %q, want WATCHDOG=1", got)
		}
	}
	stuck, release := make(chan struct{}), make(chan struct{})
	go func() { _ = r.call(context.Background(), func() { close(stuck); <-release }) }()
	<-stuck
	for told(conn, 2*toldWithin) != "" { // what was on its way
	}
	if got := told(conn, 3*400*time.Millisecond); got != "" {
		t.Errorf("told %q while nothing is decided", got)
	}
	close(release)
	if got := told(conn, 10*time.Second); got != "WATCHDOG=1" {
		t.Errorf("told %q, want WATCHDOG=1 again", got)
	}
}

// toldWithin is longer than a message takes from the loop to the socket.
const toldWithin = 150 * time.Millisecond

// TestServiceManagerThatHangs: one that reads nothing, so that its queue is full and telling
// it blocks, does not keep the loop from deciding, nor the agent from ending.
func TestServiceManagerThatHangs(t *testing.T) {
	conn := manager(t)
	if err := conn.SetReadBuffer(1); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	blocked := make(chan struct{}, 1)
	r := s.run(quiet, func(o *Options) {
		toSystemd(o)
		tell := o.Notify
		o.Notify = func(state string) {
			late := time.AfterFunc(500*time.Millisecond, func() {
				select {
				case blocked <- struct{}{}:
				default:
				}
			})
			defer late.Stop()
			for range 2000 { // more than any queue holds
				tell(state)
			}
		}
	})
	select {
	case <-blocked:
	case <-time.After(20 * time.Second):
		t.Fatal("telling never blocks: the test shows nothing")
	}
	before := r.View().Snapshot.At
	eventually(t, "decisions", func() bool { return r.View().Snapshot.At > before+500*time.Millisecond })
	if err := r.healthy(); err != nil {
		t.Error(err)
	}
	conn.Close() // or the test's own goroutine stays
}
