package agent

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// declare is a request that the stepper's loop works off.
func (st *stepper) declare(req MaintenanceRequest) (answer MaintenanceAnswer, err error) {
	st.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		answer, err = st.Declare(st.ctx, req, "tester")
	}()
	st.settle("the answer", func() bool { return isClosed(done) })
	return answer, err
}

// work declares u1 to be worked on for so long.
func (st *stepper) work(d time.Duration) MaintenanceAnswer {
	st.t.Helper()
	answer, err := st.declare(MaintenanceRequest{UPS: Names{"u1"}, ForS: d.Seconds(), Reason: "battery swap"})
	if err != nil || answer.Warning != "" {
		st.t.Fatalf("declare: %v, %q", err, answer.Warning)
	}
	return answer
}

// field is a fact of the newest event called name.
func (s *site) field(name dodai.EventName, key string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range slices.Backward(s.events) {
		if ev.Name == name {
			return ev.Fields[key]
		}
	}
	return nil
}

// What a UPS says while it is worked on shuts nothing down; what it says afterwards does.
// The agent is restarted in between.
func TestMaintenanceOverARestart(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	st.read("u1", ups("OL", 100, 3600))
	answer := st.work(time.Hour)
	if len(answer.Maintenance) != 1 || answer.Maintenance[0].LeftS != 3600 || answer.Maintenance[0].By != "tester" || answer.Unguarded == nil || answer.Unguarded.Why != "its only UPS is in maintenance" {
		t.Errorf("the answer is %+v, %+v", answer.Maintenance, answer.Unguarded)
	}
	st.low()
	if st.loop.down != nil || st.lines("order") != nil {
		t.Fatalf("in maintenance the way down was gone: %+v, %q", st.loop.down, st.lines("order"))
	}
	if got := st.Status(); len(got.Maintenance) != 1 || got.Unguarded == nil {
		t.Errorf("the status says %+v, %+v", got.Maintenance, got.Unguarded)
	}
	began := st.clock()
	st.end(st.ctx, st.loop.group)

	st = s.step(plain, nil)
	st.now.Store(int64(began))
	st.low()
	if st.loop.down != nil || len(st.Status().Maintenance) != 1 {
		t.Fatalf("after a restart: %+v, %+v; want it to stand", st.loop.down, st.Status().Maintenance)
	}
	st.now.Store(int64(morning + time.Hour))
	st.low()
	if got := st.lines("order"); !slices.Equal(got, []string{"one", "two", "off"}) {
		t.Errorf("after the end the plan ran as %q", got)
	}
	if got := st.field(dodai.EventMaintenanceEnded, "ended"); got != endedExpired || st.count(dodai.EventMaintenanceEnded) != 1 {
		t.Errorf("it ended as %v, %d times; want once, expired", got, st.count(dodai.EventMaintenanceEnded))
	}
	if !s.logged("what the UPS says counts again") {
		t.Error("the log does not say what stands against the end")
	}
	st.end(st.ctx, st.loop.group)
	if st = s.step(withMode(plain, "observe"), nil); len(st.loop.maintenance.standing) != 0 {
		t.Errorf("what has ended stands again: %+v", st.loop.maintenance.standing)
	}
}

// It ends to the instant, although the events about it come with the loop's next turn.
func TestMaintenanceEndsByItself(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	st.read("u1", ups("OL", 100, 3600))
	st.work(time.Hour)
	st.now.Store(int64(morning + time.Hour - 1))
	st.read("u1", ups("OL", 100, 3600))
	if got := st.Status(); len(got.Maintenance) != 1 || got.State == "normal" {
		t.Errorf("just before: state %s, %+v", got.State, got.Maintenance)
	}
	st.now.Store(int64(morning + time.Hour))
	if got := st.Status(); len(got.Maintenance) != 0 || got.Unguarded != nil {
		t.Errorf("at the end, before the loop's turn: %+v, %+v", got.Maintenance, got.Unguarded)
	}
	st.decide()
	sameStory(t, st.story(), "maintenance_started u1", "maintenance_ended u1")
}

func TestMaintenanceIsReplacedAndEnded(t *testing.T) {
	s := newSite(t)
	st := s.step(strings.Replace(withMode(plain, "observe"), "poll: 20ms}]", "poll: 20ms}, {name: u2, driver: fake}]", 1), nil)
	st.read("u1", ups("OL", 100, 3600))
	st.read("u2", ups("OL", 100, 3600))
	st.work(time.Hour)
	if _, err := st.declare(MaintenanceRequest{ForS: 7200, Reason: "both"}); err != nil {
		t.Fatal(err)
	}
	sameStory(t, st.story(), "maintenance_started u1", "maintenance_ended u1", "maintenance_started u1", "maintenance_started u2")
	if got := st.field(dodai.EventMaintenanceEnded, "ended"); got != endedReplaced {
		t.Errorf("ended is %v", got)
	}
	got := st.Status().Maintenance
	if len(got) != 2 || got[0].UPS != "u1" || got[0].LeftS != 7200 || got[1].Reason != "both" {
		t.Errorf("%+v stand", got)
	}
	for _, want := range [][]string{{"u2"}, nil} { // the second time there is nothing to end
		var answer MaintenanceAnswer
		done := make(chan error, 1)
		go func() {
			var err error
			answer, err = st.EndMaintenance(st.ctx, []string{"u2", "u2"}, "tester")
			done <- err
		}()
		st.settle("the end", func() bool { return len(done) > 0 })
		if err := <-done; err != nil || !slices.Equal(answer.Ended, want) || len(answer.Maintenance) != 1 {
			t.Errorf("%+v, %v; want %v ended and u1 to stand", answer, err, want)
		}
	}
	if got := st.field(dodai.EventMaintenanceEnded, "ended"); got != "ended by tester" {
		t.Errorf("ended is %v", got)
	}
}

func TestMaintenanceOfARemovedUPS(t *testing.T) {
	s := newSite(t)
	two := strings.Replace(withMode(plain, "observe"), "poll: 20ms}]", "poll: 20ms}, {name: u2, driver: fake}]", 1)
	st := s.step(two, nil)
	if _, err := st.declare(MaintenanceRequest{ForS: 3600, Reason: "both"}); err != nil {
		t.Fatal(err)
	}
	st.startCollectors()
	if err := st.reload(s.parse(withMode(plain, "observe"))); err != nil {
		t.Fatal(err)
	}
	if len(st.loop.snap.Maintenance) != 2 {
		t.Errorf("the reload's snapshot has %+v, want what stands in it", st.loop.snap.Maintenance)
	}
	st.decide()
	if got := st.field(dodai.EventMaintenanceEnded, "ended"); got != endedRemoved || st.field(dodai.EventMaintenanceEnded, "ups") != "u2" {
		t.Errorf("ended is %v of %v", got, st.field(dodai.EventMaintenanceEnded, "ups"))
	}
	if got := st.Status().Maintenance; len(got) != 1 || got[0].UPS != "u1" {
		t.Errorf("%+v stand, want that of u1", got)
	}
}

// An early step is part of the way down.
func TestMaintenanceHoldsEarlySteps(t *testing.T) {
	s := newSite(t)
	st := s.step(earlyPlan, nil)
	st.read("u1", ups("OL", 100, 3600))
	st.work(time.Hour)
	st.outage("OB", 40, time.Minute)
	expectOrder(t, s, "in maintenance")
	st.now.Store(int64(morning + time.Hour))
	st.outage("OB", 40, time.Minute)
	if len(s.lines("order")) == 0 {
		t.Error("after it no early step runs: this test shows nothing")
	}
}

func TestMaintenanceReminder(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	st.read("u1", ups("OL BYPASS", 100, 3600))
	st.work(5 * time.Minute)
	st.decide()
	st.work(time.Hour)
	st.pass(49 * time.Minute)
	st.read("u1", ups("OL BYPASS", 100, 3600))
	if s.logged("ends soon") {
		t.Error("reminded too early, or of one that is short")
	}
	for range 3 {
		st.pass(2 * time.Minute)
		st.read("u1", ups("OL BYPASS", 100, 3600))
	}
	s.mu.Lock()
	n := strings.Count(s.log.String(), "ends soon")
	s.mu.Unlock()
	if n != 1 || !s.logged(`level=WARN msg="the maintenance ends soon, then what the UPS says counts again" ups=u1`) || !s.logged(`state="is in bypass"`) {
		t.Errorf("reminded %d times, want once, of the bypass", n)
	}
	st.pass(10 * time.Minute)
	st.decide()
	if !s.logged(`state="has not been heard for`) {
		t.Error("the end does not say that the UPS is silent")
	}
}

func TestStandsAgainst(t *testing.T) {
	for status, want := range map[string]string{
		"OL": "", "OL CHRG": "", "OB": "is on battery", "OB LB": "is on battery, which is low", "OL OFF": "says that its output is off",
		"BYPASS": "is in bypass", "OL FSD": "announces a forced shutdown",
	} {
		r := ups(status, 50, 100)
		dev := &dodai.DeviceState{Name: "u1", Reading: &r, At: time.Minute, StaleAfter: 15 * time.Second}
		if got := standsAgainst(dev, time.Minute); got != want {
			t.Errorf("%s: %q, want %q", status, got, want)
		}
		if got := standsAgainst(dev, 2*time.Minute); got != "has not been heard for 1m0s" {
			t.Errorf("silent: %q", got)
		}
	}
	if got := standsAgainst(nil, 0); got != "has never been heard" {
		t.Errorf("no device: %q", got)
	}
}

// The end that is told follows the wall clock as it is then.
func TestEndText(t *testing.T) {
	st := newSite(t).step(plain, nil)
	if got := st.endText(dodai.Maintenance{Until: morning + 72*time.Hour}); len(got) != len("2006-01-02 15:04") {
		t.Errorf("in three days: %q, want the date", got)
	}
	if got, want := st.endText(dodai.Maintenance{Until: morning}), time.Now(); len(got) != 5 && want.Format("15:04:05") < "23:59:59" {
		t.Errorf("now: %q, want the time alone", got)
	}
}

// Where it cannot be written down it stands, and the answer says so.
func TestMaintenanceWithoutAJournal(t *testing.T) {
	st := newSite(t).step(plain, func(o *Options) { o.StateDir = "/proc/nothing-can-be-made-here" })
	answer, err := st.declare(MaintenanceRequest{ForS: 3600, Reason: "x"})
	if err != nil || !strings.Contains(answer.Warning, "a restart of the agent forgets it") || len(answer.Maintenance) != 1 {
		t.Errorf("%+v, %v", answer, err)
	}
}

func TestRestoreMaintenance(t *testing.T) {
	wall := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	at, hour := 1000*time.Second, time.Hour
	saved := maintenanceState{stamp{"boot-1", at, wall}, []dodai.Maintenance{{UPS: "u1", Since: at - time.Minute, Until: at + hour, Reason: "x", By: "y"}}}
	data, err := json.Marshal(saved)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		now  stamp
		left time.Duration // 0 or less: it is over
		err  error
	}{
		{"the same boot", stamp{"boot-1", at + time.Minute, wall.Add(time.Minute)}, hour - time.Minute, nil},
		{"the same boot, the wall clock set back", stamp{"boot-1", at + time.Minute, wall.Add(-24 * hour)}, hour - time.Minute, nil},
		{"the same boot, the wall clock set forward", stamp{"boot-1", at + time.Minute, wall.Add(24 * hour)}, hour - time.Minute, nil},
		{"a reboot of 5 minutes", stamp{"boot-2", 20 * time.Second, wall.Add(5 * time.Minute)}, hour - 5*time.Minute, nil},
		{"a reboot that took longer", stamp{"boot-2", 20 * time.Second, wall.Add(2 * hour)}, -hour, nil},
		{"the wall clock went back", stamp{"boot-2", 20 * time.Second, wall.Add(-time.Second)}, -hour, errClockBack},
		{"the wall clock stood still: the uptime counts", stamp{"boot-2", 20 * time.Minute, wall}, hour - 20*time.Minute, nil},
		{"the wall clock went far forward", stamp{"boot-2", 20 * time.Second, wall.Add(1e6 * hour)}, -hour, nil},
		{"no boot id: the wall clock counts", stamp{"", at + 10*hour, wall.Add(time.Minute)}, hour - time.Minute, nil},
		{"a clock that begins anew in the same boot", stamp{"boot-1", time.Second, wall.Add(time.Minute)}, hour - time.Minute, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := restoreMaintenance(data, tc.now)
			if !errors.Is(err, tc.err) || len(got) != 1 {
				t.Fatalf("%+v, %v; want one, %v", got, err, tc.err)
			}
			m := got[0]
			if left := m.Until - tc.now.At; left != tc.left && (tc.left > 0 || left > 0) || m.Until-m.Since != hour+time.Minute || m.Reason != "x" || m.By != "y" {
				t.Errorf("%v left of %+v, want %v", left, m, tc.left)
			}
		})
	}
	for _, bad := range []string{"{", `{"at":-1,"standing":[]}`, `{"at":5,"standing":[{"ups":"u1","since":0,"until":604800000000006}]}`, `{"at":5,"standing":[{"ups":"u1","since":6,"until":7}]}`, `{"at":5,"standing":[{"ups":"","since":0,"until":7}]}`,
		`{"at":5,"standing":[{"ups":"u1","since":0,"until":7},{"ups":"u1","since":0,"until":8}]}`} {
		if got, err := restoreMaintenance([]byte(bad), stamp{}); !errors.Is(err, errDamaged) || got != nil {
			t.Errorf("%s: %v, %v; want nothing and an error", bad, got, err)
		}
	}
}

// A reboot takes what it took; a clock that went back ends it, and both are told.
func TestMaintenanceOverAReboot(t *testing.T) {
	for name, tc := range map[string]struct {
		wall  time.Duration // when it was written, before now
		ended int
	}{"10 minutes": {10 * time.Minute, 0}, "2 hours": {2 * time.Hour, 1}, "the clock went back": {-time.Minute, 1}} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			st := s.step(plain, nil)
			data, err := json.Marshal(maintenanceState{stamp{"another-boot", 5 * time.Hour, time.Now().Add(-tc.wall)},
				[]dodai.Maintenance{{UPS: "u1", Since: 4 * time.Hour, Until: 6 * time.Hour, Reason: "battery swap", By: "root"}}})
			if err != nil {
				t.Fatal(err)
			}
			st.store.save(keyMaintenance, data)
			flushed(t, st.store)
			st.end(st.ctx, st.loop.group)
			st = s.step(plain, func(o *Options) {
				o.Clock = func() time.Duration { return 30 * time.Second } // after the boot
			})
			st.decide()
			if n := st.count(dodai.EventMaintenanceEnded); n != tc.ended {
				t.Errorf("%d ended, want %d", n, tc.ended)
			}
			if got := st.Status().Maintenance; len(got) != 1-tc.ended || len(got) == 1 && (got[0].LeftS < 2990 || got[0].LeftS > 3000) {
				t.Errorf("%+v stand", got)
			}
			if tc.wall < 0 && !s.logged("the wall clock went back over the reboot") {
				t.Error("the log does not say why")
			}
		})
	}
}

// Whatever lies in the journal and whatever the clocks say, nothing stands longer than it
// had left when it was written, nor longer than may be asked for.
func FuzzRestoreMaintenance(f *testing.F) {
	f.Add([]byte(`{"boot_id":"a","at":5000000000,"wall":"2026-03-04T05:06:07Z","standing":[{"ups":"u1","since":1,"until":9000000000,"reason":"x"}]}`), "a", int64(6e9), int64(1772600767))
	f.Add([]byte(`{"boot_id":"a","at":5000000000,"wall":"2026-03-04T05:06:07Z","standing":[{"ups":"u1","since":1,"until":9000000000,"reason":"x"}]}`), "b", int64(1), int64(0))
	f.Fuzz(func(t *testing.T, data []byte, boot string, at, wall int64) {
		if at < 0 || at > 1<<61 {
			return
		}
		now := stamp{boot, time.Duration(at), time.Unix(wall, 0)}
		got, err := restoreMaintenance(data, now)
		if err != nil && !errors.Is(err, errClockBack) && got != nil {
			t.Errorf("%+v beside %v", got, err)
		}
		var saved maintenanceState
		if json.Unmarshal(data, &saved) != nil {
			return
		}
		for i, m := range got {
			left := m.Until - now.At
			if left > maxMaintenance || left > saved.Standing[i].Until-saved.At || errors.Is(err, errClockBack) && left > 0 {
				t.Errorf("%v left, %v when it was written, %v", left, saved.Standing[i].Until-saved.At, err)
			}
		}
	})
}

// A drill gives way to a maintenance, and none begins while one stands.
func TestMaintenanceAndDrills(t *testing.T) {
	s, r := drillSite(t)
	id := r.begin("mains_loss", "rehearsal")
	eventually(t, "the drill to run", func() bool { return s.count(dodai.EventDrillStarted) > 0 })
	if _, err := r.Declare(t.Context(), MaintenanceRequest{ForS: 3600, Reason: "battery swap"}, "tester"); err != nil {
		t.Fatal(err)
	}
	if report := r.finished(id); report.Verdict != "aborted" || !strings.Contains(report.Why, "in maintenance") {
		t.Errorf("the drill that ran: %s, %s", report.Verdict, report.Why)
	}
	if report := r.finished(r.begin("mains_loss", "rehearsal")); report.Verdict != "refused" || !strings.Contains(report.Why, "battery swap") {
		t.Errorf("the drill that comes then: %s, %s", report.Verdict, report.Why)
	}
	if report := r.finished(r.begin("mains_loss", "tabletop")); report.Verdict == "refused" {
		t.Errorf("a tabletop is refused: %s", report.Why)
	}
}
