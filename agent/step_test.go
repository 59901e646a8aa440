package agent

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// stepPlan has a step that an operator can hold, one that fails at first, and one that
// cannot be undone.
const stepPlan = `
mode: MODE
ups: [{name: u1, driver: fake, poll: 20ms}]
shutdown:
  need: 20s
  steps:
    - name: shed
      command: ["/bin/sh", "-c", "echo shed >>%DIR%/order; echo told $DODAI_STEP"]
      undo: ["/bin/sh", "-c", "echo unshed >>%DIR%/order"]
      early: {on_battery: 10s}
      expect: 7s
    - {name: flaky, command: ["/bin/sh", "-c", "echo try >>%DIR%/order; test -e %DIR%/again || { touch %DIR%/again; echo no; exit 3; }"], retries: 2, retry_wait: 100ms, timeout: 5s}
    - {name: bad, command: ["/bin/sh", "-c", "echo broken >&2; exit 4"]}
    - {name: held, command: ["/bin/sh", "-c", "touch %DIR%/begun; while [ ! -e %DIR%/go ]; do sleep 0.05; done"], timeout: 30s}
    - {name: missing, command: ["%DIR%/missing"]}
  command: ["/bin/true"]
`

func stepSite(t *testing.T, mode string) (*site, *running) {
	t.Helper()
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(strings.Replace(stepPlan, "MODE", mode, 1), func(o *Options) {
		o.Socket = s.file("a.sock")
		o.Reload = func() (*config.Config, error) { return s.parse(strings.Replace(stepPlan, "MODE", mode, 1)), nil }
	})
	eventually(t, "ready", func() bool { return isClosed(r.Ready()) && r.View().Preflight != nil })
	return s, r
}

func (r *running) post(body string) (int, StepResult, string) {
	r.t.Helper()
	code, answer := ask(r.t, local(r.file("a.sock")), "POST", "/v1/step", body)
	var result StepResult
	if err := json.Unmarshal([]byte(answer), &result); code == 200 && err != nil {
		r.t.Fatalf("%s: %v", answer, err)
	}
	return code, result, answer
}

func TestStepDryRun(t *testing.T) {
	s, r := stepSite(t, "armed")
	_, got, _ := r.post(`{"step":"shed"}`)
	if !strings.HasPrefix(got.Does, "/bin/sh -c ") || got.Kind != "command" || got.User == "" || got.TimeoutS != 60 || got.UsualS != 7 || got.Basis != shutdown.BasisConfigured || got.Ran != nil || len(got.Findings) != 0 {
		t.Errorf("shed: %+v", got)
	}
	if _, got, _ = r.post(`{"step":"shed","undo":true}`); !strings.Contains(got.Does, "unshed") || got.UsualS != 0 {
		t.Errorf("undoing shed: %+v", got)
	}
	if _, got, _ = r.post(`{"step":"flaky"}`); got.Retries != 2 || got.RetryWaitS != 0.1 || got.TimeoutS != 5 {
		t.Errorf("flaky: %+v", got)
	}
	if _, got, _ = r.post(`{"step":"missing"}`); len(got.Findings) != 1 || got.Findings[0].Check != "program_missing" {
		t.Errorf("missing: %+v", got)
	}
	if ran := s.lines("order"); ran != nil {
		t.Errorf("it ran %q", ran)
	}
}

// A step runs in either mode, on an operator's word, and is measured; nothing is
// remembered as done.
func TestStepRun(t *testing.T) {
	for _, mode := range []string{"armed", "observe"} {
		s, r := stepSite(t, mode)
		_, got, _ := r.post(`{"step":"shed","run":true}`)
		if got.Ran == nil || !got.Ran.OK || got.Ran.Output != "told shed" || got.Ran.TookS <= 0 || !strings.HasPrefix(got.Ran.ID, "step-") {
			t.Fatalf("%s: shed: %+v %+v", mode, got, got.Ran)
		}
		if _, got, _ = r.post(`{"step":"flaky","run":true}`); !got.Ran.OK {
			t.Errorf("%s: flaky: %+v", mode, got.Ran)
		}
		if _, got, _ = r.post(`{"step":"bad","run":true}`); got.Ran.OK || got.Ran.Exit != 4 || got.Ran.Output != "broken" || got.Ran.Error != "step bad: exit status 4: broken" {
			t.Errorf("%s: bad: %+v", mode, got.Ran)
		}
		if _, got, _ = r.post(`{"step":"shed","run":true,"undo":true}`); !got.Ran.OK {
			t.Errorf("%s: undo: %+v", mode, got.Ran)
		}
		if want := []string{"shed", "try", "try", "unshed"}; !slices.Equal(s.lines("order"), want) {
			t.Errorf("%s: ran %q, want %q", mode, s.lines("order"), want)
		}
		for _, n := range r.View().Need.Steps {
			if runs := map[string]int{"shed": 1, "flaky": 1}[n.Step]; n.Runs != runs {
				t.Errorf("%s: %s has %d measured runs, want %d", mode, n.Step, n.Runs, runs)
			}
		}
		sameStory(t, s.story()[1:], "step_started shed", "step_finished shed", "step_started flaky", "step_retried flaky", "step_finished flaky",
			"step_started bad", "step_failed bad", "step_undone shed") // before: preflight_failed, for missing
		s.mu.Lock()
		for _, ev := range s.events {
			if strings.HasPrefix(string(ev.Name), "step_") && (!strings.HasPrefix(ev.Drill, "step-") || !strings.HasPrefix(ev.Text, drillMark)) {
				t.Errorf("%s: event %+v is not marked", mode, ev)
			}
		}
		s.mu.Unlock()
		eventually(t, "the duration in the journal", func() bool {
			list, err := r.store.journal.Durations(t.Context(), "shed")
			return err == nil && len(list) == 1 && list[0].Source == "drill" && list[0].Complete
		})
		if err := r.call(t.Context(), func() {
			if len(r.loop.earlyDone) != 0 {
				t.Errorf("%s: early steps remembered: %v; the agent would undo what the operator did", mode, r.loop.earlyDone)
			}
		}); err != nil {
			t.Fatal(err)
		}
		r.end()
	}
}

// A step takes the drills' place: while it runs there is no drill, no other step and no
// new configuration; and the other way round.
func TestStepExcludes(t *testing.T) {
	s, r := stepSite(t, "armed")
	done := make(chan string, 1)
	go func() {
		_, got, _ := r.post(`{"step":"held","run":true}`)
		if got.Ran == nil || !got.Ran.OK {
			done <- "held did not end well"
			return
		}
		done <- ""
	}()
	eventually(t, "the step to begin", func() bool { _, err := os.Stat(s.file("begun")); return err == nil })
	if code, _, body := r.post(`{"step":"shed","run":true}`); code != 409 || !strings.Contains(body, "drill step-") {
		t.Errorf("another step: %d %s", code, body)
	}
	if _, err := r.StartDrill(DrillRequest{Name: "mains_loss", Level: "tabletop"}); err == nil {
		t.Error("a drill starts beside a step")
	}
	if err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "step-") {
		t.Errorf("a new configuration beside a step: %v", err)
	}
	if err := r.AbortDrill(t.Context()); err == nil || !strings.Contains(err.Error(), "held") {
		t.Errorf("drill abort: %v", err)
	}
	if st := r.Status(); st.Drill == nil || st.Drill.Level != string(levelStep) || st.Drill.Name != "held" {
		t.Errorf("status has %+v", st.Drill)
	}
	if err := os.WriteFile(s.file("go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	select {
	case wrong := <-done:
		if wrong != "" {
			t.Error(wrong)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the step does not end")
	}
	if st := r.Status(); st.Drill != nil {
		t.Errorf("afterwards the status has %+v", st.Drill)
	}
}

func TestStepRefused(t *testing.T) {
	s := newSite(t)
	st := s.step(strings.Replace(stepPlan, "MODE", "armed", 1), nil)
	st.read("u1", ups("OL", 100, 3600))
	try := func(req StepRequest) string {
		t.Helper()
		done := make(chan error, 1)
		go func() {
			_, err := st.Step(t.Context(), req, "root")
			done <- err
		}()
		st.settle("the answer", func() bool { return len(done) > 0 })
		if err := <-done; err != nil {
			return err.Error()
		}
		return ""
	}
	for _, tc := range []struct {
		name   string
		change func()
		req    StepRequest
		want   string
	}{
		{"no such step", nil, StepRequest{Step: "shde"}, `there is no step "shde" (did you mean "shed"?): want one of shed, flaky, bad, held, missing`},
		{"no undo", nil, StepRequest{Step: "flaky", Undo: true}, "cannot be undone"},
		{"a shutdown", func() { st.loop.down = &downState{} }, StepRequest{Step: "shed", Run: true}, "a shutdown is under way"},
		{"early steps", func() { st.loop.down, st.loop.earlyBusy = nil, true }, StepRequest{Step: "shed", Run: true}, "early steps are being run"},
		{"to be undone", func() { st.loop.earlyBusy, st.loop.earlyDone["shed"] = false, true }, StepRequest{Step: "shed", Run: true}, "it has been run early"},
		{"undone by hand", nil, StepRequest{Step: "shed", Run: true, Undo: true}, ""},
		{"on battery", func() { st.read("u1", ups("OB", 90, 3000)) }, StepRequest{Step: "bad", Run: true}, "runs on battery"},
		{"on battery, a look", nil, StepRequest{Step: "bad"}, ""},
		{"a demo", func() { st.opts.Rehearse = true }, StepRequest{Step: "bad", Run: true}, "runs no step"},
	} {
		if tc.change != nil {
			tc.change()
		}
		if got := try(tc.req); (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	if got := s.lines("order"); !slices.Equal(got, []string{"unshed"}) {
		t.Errorf("ran %q, want the undoing alone", got)
	}
	if len(st.loop.earlyDone) != 0 {
		t.Errorf("what was undone by hand is still to be undone: %v", st.loop.earlyDone)
	}
	if n := s.count(dodai.EventStepUndone); n != 1 {
		t.Errorf("%d undoings told, want 1", n)
	}
}

func TestStepAPI(t *testing.T) {
	_, r := stepSite(t, "observe")
	for _, tc := range []struct {
		body string
		code int
		want string
	}{
		{`{`, 400, "step request"},
		{`{"step":"shed","undoo":true}`, 400, "undoo"},
		{`{"step":"nothing"}`, 400, `there is no step "nothing"`},
		{`{"step":"power_off","run":true}`, 400, "there is no step"},
		{`{"step":"shed","undo":true}`, 200, ""},
	} {
		if code, _, body := r.post(tc.body); code != tc.code || !strings.Contains(body, tc.want) {
			t.Errorf("%s: %d %s; want %d with %q", tc.body, code, body, tc.code, tc.want)
		}
	}
	if code, body := ask(t, local(r.file("a.sock")), "GET", "/v1/step", ""); code != 405 || !strings.Contains(body, "POST") {
		t.Errorf("GET: %d %s", code, body)
	}
}
