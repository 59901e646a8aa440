package agent

import (
	"testing"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
)

// Hooks of a new configuration replace the old ones; what was handed to those is done.
func TestHooksAreReplaced(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	hook := func(word string) []config.Hook {
		return []config.Hook{{On: []dodai.EventName{dodai.EventMainsLost}, Command: []string{"/bin/sh", "-c", "sleep 0.2; echo " + word + ",$DODAI_DEVICE >>" + s.file("hooks")}}}
	}
	st.hooks.set(hook("old"), nil)
	st.emit(dodai.Event{Name: dodai.EventMainsLost, Device: "u1"})
	st.hooks.set(hook("new"), nil)
	st.emit(dodai.Event{Name: dodai.EventMainsLost, Device: "u2"})
	eventually(t, "both hooks", func() bool { return len(s.lines("hooks")) == 2 })
	got := map[string]bool{}
	for _, line := range s.lines("hooks") {
		got[line] = true
	}
	if !got["old,u1"] || !got["new,u2"] {
		t.Errorf("hooks ran %v, want the old one for u1 and the new one for u2", got)
	}
}

func TestHookThatFailsIsAnEvent(t *testing.T) {
	s := newSite(t)
	st := s.step(plain+`
hooks: [{on: [mains_lost], command: ["/nonexistent/notify"]}]
`, nil)
	st.emit(dodai.Event{Name: dodai.EventMainsLost, Device: "u1"})
	eventually(t, "the failure", func() bool { return s.count(dodai.EventHookFailed) == 1 })
	if !s.logged("/nonexistent/notify") {
		t.Error("the log does not name the hook that failed")
	}
}

func TestExportStateKeepsTheWorstFinding(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	st.read("u1", ups("OL", 100, 3600))
	v := *st.View()
	if len(v.Findings) == 0 {
		t.Fatal("one UPS alone and no finding")
	}
	worst := v.Findings[0]
	better := worst
	better.Open = !worst.Open
	v.Findings = append(v.Findings, better)
	got := exportState(&v)
	n := 0
	for _, f := range got.SPOFs {
		if f.Component == worst.Component {
			n++
			if f.Open != worst.Open {
				t.Errorf("%s is exported as open=%v, want its worst finding's %v", f.Component, f.Open, worst.Open)
			}
		}
	}
	if n != 1 || !got.Armed || got.Snapshot != v.Snapshot {
		t.Errorf("%s is exported %d times, armed %v", worst.Component, n, got.Armed)
	}
}
