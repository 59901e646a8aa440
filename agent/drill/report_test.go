package drill

import (
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	five, two := 5*time.Second, 2*time.Second
	for _, tc := range []struct {
		name   string
		report Report
		want   Objectives
		verd   Verdict
		passed []bool
	}{
		{"in time", Report{DetectedS: new(0.4), DecidedS: new(4.0), MarginS: new(31.0)}, Objectives{Detect: &two, Decide: &five, Margin: &five}, Pass, []bool{true, true, true}},
		{"exactly at the limit", Report{DecidedS: new(5.0)}, Objectives{Decide: &five}, Pass, []bool{true}},
		{"too late", Report{DecidedS: new(5.1)}, Objectives{Decide: &five}, Fail, []bool{false}},
		{"never decided", Report{DetectedS: new(1.0)}, Objectives{Detect: &two, Decide: &five}, Fail, []bool{true, false}},
		{"stopped in time", Report{DecidedS: new(1.0), StoppedS: new(5.0)}, Objectives{Stopped: &five}, Pass, []bool{true}},
		{"stopped too late", Report{DecidedS: new(1.0), StoppedS: new(5.1)}, Objectives{Stopped: &five}, Fail, []bool{false}},
		{"just the margin", Report{MarginS: new(5.0)}, Objectives{Margin: &five}, Pass, []bool{true}},
		{"too little margin", Report{MarginS: new(4.9)}, Objectives{Margin: &five}, Fail, []bool{false}},
		{"went down as it should", Report{DecidedS: new(1.0)}, Objectives{Shutdown: new(true)}, Pass, []bool{true}},
		{"stayed up as it should", Report{}, Objectives{Shutdown: new(false)}, Pass, []bool{true}},
		{"went down needlessly", Report{DecidedS: new(1.0)}, Objectives{Shutdown: new(false)}, Fail, []bool{false}},
		{"stayed up in vain", Report{}, Objectives{Shutdown: new(true)}, Fail, []bool{false}},
		{"margin unknown", Report{DecidedS: new(1.0)}, Objectives{Margin: &two}, Fail, []bool{false}},
		{"no objectives, decided", Report{DecidedS: new(1.0)}, Objectives{}, Pass, []bool{}},
		{"no objectives, nothing happened", Report{}, Objectives{}, Fail, []bool{}},
		{"aborted stays aborted", Report{Verdict: Aborted, DecidedS: new(1.0)}, Objectives{Decide: &five}, Aborted, []bool{true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.report.judge(tc.want)
			if tc.report.Verdict != tc.verd {
				t.Errorf("verdict %s, want %s", tc.report.Verdict, tc.verd)
			}
			if len(tc.report.Objectives) != len(tc.passed) {
				t.Fatalf("objectives %+v, want %d", tc.report.Objectives, len(tc.passed))
			}
			for i, o := range tc.report.Objectives {
				if o.Pass != tc.passed[i] {
					t.Errorf("objective %q passed: %v, want %v", o.Name, o.Pass, tc.passed[i])
				}
			}
		})
	}
}

func TestReportRendering(t *testing.T) {
	limit := 5 * time.Second
	r := Report{
		ID: "20260102T030405-monthly", Drill: "monthly", Level: Rehearsal, Scenario: "mains_loss",
		Hypothesis: "one <feed> may go", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		DetectedS: new(0.4), DecidedS: new(12.0), Reason: "lb", MarginS: new(-3.0),
		Timeline: []Entry{{0.4, "mains_lost", "u1 runs on battery"}},
	}
	r.judge(Objectives{Decide: &limit})
	var text, html strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteHTML(&html); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"DRILL monthly (rehearsal): FAIL", "FAIL decide within", "want    5.0 s, got 12.0 s", "margin then -3.0 s", "0.4 s  mains_lost"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("text lacks %q:\n%s", want, text.String())
		}
	}
	for _, want := range []string{"one &lt;feed&gt; may go", `<span class="fail">fail</span>`, "12.0 s", "mains_lost"} {
		if !strings.Contains(html.String(), want) {
			t.Errorf("page lacks %q", want)
		}
	}
}
