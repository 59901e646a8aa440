package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/drill"
)

const drills = earlyPlan + `
drills:
  - {name: monthly, scenario: low_battery, objectives: {detect_s: 5, decide_s: 3600, stopped_s: 600, margin_s: 60}}
  - {name: strict, scenario: low_battery, objectives: {decide_s: 0.001}}
  - {name: ours, scenario: %DIR%/ours.yaml}
  - {name: felt, scenario: low_battery, level: rehearsal}
  - {name: rough, scenario: low_battery, level: full}
hooks: [{on: [shutdown_decided, drill_started], command: ["/bin/sh", "-c", "echo $DODAI_EVENT,$DODAI_DRILL >>%DIR%/hooks"]}]
`

func (r *running) finished(id string) *drill.Report {
	r.t.Helper()
	var report *drill.Report
	eventually(r.t, "the report", func() bool {
		var err error
		report, err = r.Report(id)
		return err == nil && r.drill.status(r.clock()) == nil
	})
	return report
}

func drillSite(t *testing.T) (*site, *running) {
	t.Helper()
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(drills, func(o *Options) { o.Socket = s.file("a.sock") })
	eventually(t, "a reading", func() bool {
		st := r.Status()
		return len(st.UPSes) == 1 && st.State == "normal" && r.healthy() == nil && st.Devices[0].Polls > 0
	})
	return s, r
}

func (r *running) begin(name, level string) string {
	r.t.Helper()
	id, err := r.StartDrill(DrillRequest{Name: name, Level: level})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func TestTabletop(t *testing.T) {
	s, r := drillSite(t)
	id := r.begin("monthly", "tabletop")
	report := r.finished(id)
	if report.Verdict != drill.Pass || len(report.Objectives) < 4 || report.DecidedS == nil || report.Drill != "monthly" || report.ID != id {
		t.Errorf("report %+v, want it passed with its objectives", report)
	}
	if report := r.finished(r.begin("strict", "tabletop")); report.Verdict != drill.Fail {
		t.Errorf("verdict %s, want fail", report.Verdict)
	}
	if r.finished(r.begin("feed_loss", "tabletop")).Scenario != "feed_loss" {
		t.Error("a built-in scenario was not played by its name")
	}
	if got := s.lines("order"); got != nil {
		t.Errorf("a tabletop ran %q", got)
	}
	page, err := os.ReadFile(r.ReportPath(id, ".html"))
	if err != nil || !strings.Contains(string(page), "Drill monthly") {
		t.Errorf("page: %v", err)
	}
	c := local(s.file("a.sock"))
	if _, body := ask(t, c, "GET", "/v1/drills/"+id, ""); !strings.Contains(body, `"verdict": "pass"`) || strings.Contains(body, `"running": true`) {
		t.Errorf("the report over the socket: %s", body)
	}
	if _, body := ask(t, c, "GET", "/v1/drills", ""); strings.Count(body, `"verdict"`) != 3 || !(strings.Index(body, "feed_loss") < strings.Index(body, "strict")) {
		t.Errorf("the list: %s, want three, newest first", body)
	}
	if _, body := ask(t, c, "GET", "/metrics", ""); !strings.Contains(body, `dodai_drill_last_success_timestamp_seconds{drill="monthly",level="tabletop"}`) {
		t.Error("/metrics does not know when the drill last passed")
	}
	events, err := r.store.events(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		if strings.HasPrefix(string(ev.Name), "drill_") && ev.Drill == "" {
			t.Errorf("event %s is not marked as a drill's", ev.Name)
		}
	}
}

func TestRehearsalRunsAndUndoesEarlySteps(t *testing.T) {
	t.Parallel() // it waits more than it works
	s, r := drillSite(t)
	id := r.begin("monthly", "rehearsal")
	if _, err := r.StartDrill(DrillRequest{Name: "monthly", Level: "tabletop"}); err == nil || !strings.Contains(err.Error(), "is running") {
		t.Errorf("a second drill: %v, want it refused", err)
	}
	if st := r.Status(); st.State != "drill" || st.Drill == nil || st.Drill.ID != id {
		t.Errorf("state %s, drill %+v while it runs", st.State, st.Drill)
	}
	if _, body := ask(t, local(s.file("a.sock")), "GET", "/v1/drills/"+id, ""); !strings.Contains(body, `"running": true`) {
		t.Errorf("while it runs: %s", body)
	}
	var report *drill.Report
	for deadline := time.Now().Add(30 * time.Second); report == nil && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		report, _ = r.Report(id) // not there yet
	}
	if report == nil || report.Verdict != drill.Pass || report.Reason != "lb" {
		t.Fatalf("report %+v, want it passed with reason lb", report)
	}
	if got := s.lines("order"); !slices.Equal(got, []string{"shed", "unshed"}) {
		t.Errorf("the rehearsal ran %q, want shed, and shed undone", got)
	}
	eventually(t, "the hooks", func() bool { return len(s.lines("hooks")) == 2 })
	for _, line := range s.lines("hooks") {
		if !strings.HasSuffix(line, ","+id) {
			t.Errorf("hook ran for %q, want the drill's id with it", line)
		}
	}
	if r.View().Down != nil || s.count(dodai.EventShutdownStarted) != 0 {
		t.Error("the rehearsal began a shutdown")
	}
}

// The real thing ends a rehearsal at once.
func TestRehearsalGivesWay(t *testing.T) {
	s, r := drillSite(t)
	id := r.begin("monthly", "rehearsal")
	time.Sleep(300 * time.Millisecond)
	s.set("u1", ups("OB", 95, 3000), nil)
	report := r.finished(id)
	if report.Verdict != drill.Aborted || !strings.Contains(report.Why, "a real event: u1") {
		t.Errorf("verdict %s, %s; want it aborted by the real event", report.Verdict, report.Why)
	}
	report = r.finished(r.begin("monthly", "rehearsal"))
	if report.Verdict != drill.Refused || !strings.Contains(report.Why, "u1 is not in order") {
		t.Errorf("a drill in an outage: %s, %s; want it refused", report.Verdict, report.Why)
	}
	if n := s.count(dodai.EventDrillAborted); n != 2 {
		t.Errorf("%d times drill_aborted, want 2", n)
	}
}

func TestAbortDrill(t *testing.T) {
	s, r := drillSite(t)
	if err := r.AbortDrill(t.Context()); err == nil {
		t.Error("a drill was aborted that does not run")
	}
	id := r.begin("monthly", "rehearsal")
	if code, body := ask(t, local(s.file("a.sock")), "DELETE", "/v1/drills", ""); code != 200 {
		t.Errorf("abort: %d %s", code, body)
	}
	if report := r.finished(id); report.Verdict != drill.Aborted || !strings.Contains(report.Why, "aborted by the operator") {
		t.Errorf("verdict %s, %s", report.Verdict, report.Why)
	}
}

// The agent's end ends a drill, and the report says so.
func TestDrillAtTheEnd(t *testing.T) {
	_, r := drillSite(t)
	id := r.begin("monthly", "rehearsal")
	if took := r.end(); took > 2*time.Second {
		t.Errorf("the end took %v", took)
	}
	report, err := r.Report(id)
	if err != nil || report.Verdict != drill.Aborted || report.Why != "the agent has ended" {
		t.Errorf("report %+v, %v", report, err)
	}
}

// A report that the disk does not take can still be read.
func TestDrillReportThatCannotBeWritten(t *testing.T) {
	s, r := drillSite(t)
	if err := os.WriteFile(s.file("state/drills"), nil, 0o600); err != nil { // in the folder's place
		t.Fatal(err)
	}
	id := r.begin("monthly", "tabletop")
	if report := r.finished(id); report.ID != id || !s.logged("report was not written") {
		t.Errorf("report %+v", report)
	}
	if err := os.Remove(s.file("state/drills")); err != nil {
		t.Fatal(err)
	}
	r.finished(r.begin("monthly", "tabletop"))
	if _, err := r.Report(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the next drill: %v, want it gone", err)
	}
}

func TestStartDrillRefuses(t *testing.T) {
	s, r := drillSite(t)
	for _, tc := range []struct{ name, level, want string }{
		{"nothing", "tabletop", "want one of monthly, strict, ours, felt, rough, mains_loss"},
		{"monthly", "services", "want tabletop or rehearsal"},
		{"rough", "", "level \"full\": want tabletop or rehearsal"},
		{"felt", "", "drill felt is a rehearsal, with hooks and notifications: confirm it with --yes"},
		{"ours", "tabletop", "ours.yaml"},
		{"../../etc/passwd", "tabletop", "there is no drill"},
	} {
		if _, err := r.StartDrill(DrillRequest{Name: tc.name, Level: tc.level}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s at level %q: %v, want %q", tc.name, tc.level, err, tc.want)
		}
	}
	scenario := "id: ours\ntitle: ours\nconfig: {ups: [a]}\ntimeline:\n  - {t: 0, set: {ups.status: OB}}\n  - {t: 5, set: {ups.status: OB LB}}\n  - {t: 60, event: end}\nexpect: {shutdown: true}\n"
	if err := os.WriteFile(s.file("ours.yaml"), []byte(scenario), 0o600); err != nil {
		t.Fatal(err)
	}
	if report := r.finished(r.begin("monthly", "")); report.Level != drill.Tabletop {
		t.Errorf("a drill at its own level: %s, want tabletop", report.Level)
	}
	id, err := r.StartDrill(DrillRequest{Name: "felt", Yes: true})
	if err != nil || r.drill.status(r.clock()) == nil {
		t.Fatalf("a rehearsal that was confirmed: %v", err)
	}
	if err := r.AbortDrill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if report := r.finished(id); report.Level != drill.Rehearsal {
		t.Errorf("a drill at its own level: %s, want rehearsal", report.Level)
	}
	if report := r.finished(r.begin("ours", "tabletop")); report.Drill != "ours" || report.Verdict != drill.Pass {
		t.Errorf("a scenario of our own: %+v", report)
	}
}

// Whatever somebody asks for as an id, nothing outside the folder is read.
func TestReportStaysInItsFolder(t *testing.T) {
	s, r := drillSite(t)
	id := r.begin("monthly", "tabletop")
	r.finished(id)
	secret := s.file("state/secret.json")
	if err := os.WriteFile(secret, []byte(`{"id":"secret"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", ".", "..", "../secret", "..%2fsecret", "/etc/passwd", id + "/../../secret", id + "\x00", strings.TrimSuffix(secret, ".json"),
		"20260102T030405Z-../../secret-1", "20260102T030405Z-" + strings.Repeat("x", 65) + "-1", id + ".json", "\n" + id,
	} {
		if report, err := r.Report(bad); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Report(%q) = %+v, %v; want fs.ErrNotExist", bad, report, err)
		}
	}
	if _, err := r.Report("20260102T030405Z-...-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name of points: %v", err)
	}
	torn := r.ReportPath(id, ".json")
	if err := os.WriteFile(torn, []byte(`{"id":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Report(id); err == nil || !strings.Contains(err.Error(), id) {
		t.Errorf("a damaged report: %v, want the drill named", err)
	}
	if _, body := ask(t, local(s.file("a.sock")), "GET", "/v1/drills", ""); body != "[]\n" {
		t.Errorf("the list has a damaged report: %s", body)
	}
	left, err := filepath.Glob(s.file("state/drills/*.new"))
	if err != nil || left != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
