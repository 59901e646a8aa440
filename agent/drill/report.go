package drill

import (
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

// Level is how much of an outage really happens in a drill.
type Level string

// The levels that are built in. A tabletop plays the outage on virtual time from the
// present snapshot; a rehearsal injects it at the reading, in real time, decides and
// notifies (marked DRILL), and walks through the plan without running it.
const (
	Tabletop  Level = "tabletop"
	Rehearsal Level = "rehearsal"
)

// Verdict is how a drill ended.
type Verdict string

// The verdicts. A drill that was refused or aborted has proven nothing.
const (
	Pass    Verdict = "pass"
	Fail    Verdict = "fail"
	Refused Verdict = "refused" // an interlock held
	Aborted Verdict = "aborted" // a stop condition, the operator, or the real thing
)

// Definition is a drill as the configuration names it. Objectives that are nil are not
// asked for.
type Definition struct {
	Name       string     `json:"name"`
	Hypothesis string     `json:"hypothesis"`
	Scenario   string     `json:"scenario"` // a built-in one, or a file
	Objectives Objectives `json:"objectives"`
}

// Objectives are what a drill has to show.
type Objectives struct {
	Detect  *time.Duration // from the outage to the first event
	Decide  *time.Duration // from the outage to the decision
	Stopped *time.Duration // from the decision to the end of the plan
	Margin  *time.Duration // left at the decision, at least
	// Shutdown is whether the host has to go down in this outage.
	Shutdown *bool
}

// Objective is one objective with what came of it.
type Objective struct {
	Name string `json:"name"`
	// Want is the limit. Got is what was measured; absent where the drill never came
	// so far, which fails the objective.
	Want float64  `json:"want"`
	Got  *float64 `json:"got"`
	Unit string   `json:"unit"`
	Pass bool     `json:"pass"`
}

// Entry is one line of the time line.
type Entry struct {
	AtS  float64 `json:"at_s"` // seconds from the start of the drill
	What string  `json:"what"` // event name, "alert", "decision", "step", "note"
	Text string  `json:"text"`
}

// Report is what a drill leaves behind.
type Report struct {
	ID         string      `json:"id"`
	Drill      string      `json:"drill"`
	Level      Level       `json:"level"`
	Hypothesis string      `json:"hypothesis,omitempty"`
	Scenario   string      `json:"scenario"`
	Host       string      `json:"host,omitempty"`
	Started    time.Time   `json:"started"`
	TookS      float64     `json:"took_s"` // of the outage: virtual in a tabletop, real in a rehearsal
	Verdict    Verdict     `json:"verdict"`
	Why        string      `json:"why,omitempty"` // of a refusal or an abort
	Objectives []Objective `json:"objectives"`
	Timeline   []Entry     `json:"timeline"`
	// What the outage came to; nil: it did not come to that.
	DetectedS *float64 `json:"detected_s"`
	DecidedS  *float64 `json:"decided_s"`
	Reason    string   `json:"reason,omitempty"` // of the decision
	MarginS   *float64 `json:"margin_s"`         // at the decision
	StoppedS  *float64 `json:"stopped_s"`        // from the decision to the end of the plan

	stepFailed bool
}

// judge fills in the objectives and, unless the drill was refused or aborted, the
// verdict. A drill in which a step failed fails. One without objectives passes when it
// came to a decision.
func (r *Report) judge(o Objectives) {
	r.Objectives = []Objective{}
	atMost := func(name string, want *time.Duration, got *float64) {
		if want != nil {
			r.Objectives = append(r.Objectives, Objective{name, want.Seconds(), got, "s", got != nil && *got <= want.Seconds()})
		}
	}
	atMost("detect within", o.Detect, r.DetectedS)
	atMost("decide within", o.Decide, r.DecidedS)
	atMost("stopped within", o.Stopped, r.StoppedS)
	if o.Margin != nil {
		want := o.Margin.Seconds()
		r.Objectives = append(r.Objectives, Objective{"margin at least", want, r.MarginS, "s", r.MarginS != nil && *r.MarginS >= want})
	}
	if o.Shutdown != nil {
		want, got := truth(*o.Shutdown), truth(r.DecidedS != nil)
		r.Objectives = append(r.Objectives, Objective{"shut down", want, &got, "bool", want == got})
	}
	if r.Verdict != "" {
		return
	}
	r.Verdict = Pass
	for _, ob := range r.Objectives {
		if !ob.Pass {
			r.Verdict = Fail
		}
	}
	if r.stepFailed {
		r.Verdict, r.Why = Fail, "a step failed"
	}
	if len(r.Objectives) == 0 && r.DecidedS == nil {
		r.Verdict = Fail
		r.Why = "the outage led to no shutdown, and nothing says whether it should have: give the drill an objective, or a scenario that expects shutdown: false"
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// WriteText writes the report for a terminal.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "DRILL %s (%s): %s\n", r.Drill, r.Level, strings.ToUpper(string(r.Verdict)))
	if r.Why != "" {
		fmt.Fprintf(&b, "  %s\n", r.Why)
	}
	fmt.Fprintf(&b, "  id %s, %s, scenario %s\n", r.ID, r.Started.Format("2006-01-02 15:04:05 MST"), r.Scenario)
	if r.Hypothesis != "" {
		fmt.Fprintf(&b, "  hypothesis: %s\n", r.Hypothesis)
	}
	if r.Verdict == Refused {
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "  %s\n", r.outcome())
	for _, o := range r.Objectives {
		fmt.Fprintf(&b, "  %-4s %-16s want %8s, got %s\n", passText(o.Pass), o.Name, o.show(&o.Want), o.show(o.Got))
	}
	b.WriteString("\n")
	for _, e := range r.Timeline {
		fmt.Fprintf(&b, "  %8.1f s  %-18s %s\n", e.AtS, e.What, e.Text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// outcome is what came of the outage, in a line.
func (r *Report) outcome() string {
	text := "not detected"
	if r.DetectedS != nil {
		text = "detected after " + secondsOr(r.DetectedS, "")
	}
	if r.DecidedS == nil {
		return text + ", no shutdown decided"
	}
	return fmt.Sprintf("%s, decided after %s%s, margin then %s, plan through after %s",
		text, secondsOr(r.DecidedS, ""), reasonText(r.Reason), secondsOr(r.MarginS, "unknown"), secondsOr(r.StoppedS, "-"))
}

// show is a figure of the objective in its unit.
func (o Objective) show(v *float64) string {
	switch {
	case o.Unit != "bool":
		return secondsOr(v, "nothing")
	case v != nil && *v == 1:
		return "yes"
	default:
		return "no"
	}
}

// Wanted shows the limit, for a page.
func (o Objective) Wanted() string { return o.show(&o.Want) }

// Measured shows what came of it, for a page.
func (o Objective) Measured() string { return o.show(o.Got) }

func passText(ok bool) string {
	if ok {
		return "pass"
	}
	return "FAIL"
}

func reasonText(reason string) string {
	if reason == "" || reason == "none" {
		return ""
	}
	return " (" + reason + ")"
}

func secondsOr(s *float64, none string) string {
	if s == nil {
		return none
	}
	return fmt.Sprintf("%.1f s", *s)
}

// WriteHTML writes the report as one page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error { return page.Execute(w, r) }

var page = template.Must(template.New("report").Funcs(template.FuncMap{"s": secondsOr, "pass": passText}).Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Drill {{.Drill}}: {{.Verdict}}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430}
h1{font-size:1.4rem} .pass{color:#0a7d33} .fail,.refused,.aborted{color:#b3261e}
table{border-collapse:collapse;width:100%;margin:1rem 0} th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d8dee6;vertical-align:top}
.t td:nth-child(3){width:75%} h2{font-size:1.15rem} td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap} p.meta{color:#57606a}
</style></head><body>
<h1>Drill {{.Drill}} ({{.Level}}): <span class="{{.Verdict}}">{{.Verdict}}</span></h1>
<p class="meta">{{.ID}} · {{.Started.Format "2006-01-02 15:04:05 MST"}}{{with .Host}} · {{.}}{{end}} · scenario {{.Scenario}}</p>
{{with .Why}}<p class="fail">{{.}}</p>{{end}}
{{with .Hypothesis}}<p><b>Hypothesis.</b> {{.}}</p>{{end}}
{{if .Timeline}}<table><tr><th>detected after</th><th>decided after</th><th>reason</th><th>margin at the decision</th><th>plan through after</th></tr>
<tr><td>{{s .DetectedS "never"}}</td><td>{{s .DecidedS "never"}}</td><td>{{.Reason}}</td><td>{{s .MarginS "unknown"}}</td><td>{{s .StoppedS "-"}}</td></tr></table>{{end}}
{{if .Objectives}}<h2>Objectives</h2><table><tr><th>objective</th><th>wanted</th><th>measured</th><th></th></tr>
{{range .Objectives}}<tr><td>{{.Name}}</td><td>{{.Wanted}}</td><td>{{.Measured}}</td><td class="{{if .Pass}}pass{{else}}fail{{end}}">{{pass .Pass}}</td></tr>{{end}}</table>{{end}}
{{if .Timeline}}<h2>Time line</h2><table class="t"><tr><th>s</th><th>what</th><th></th></tr>
{{range .Timeline}}<tr><td class="n">{{printf "%.1f" .AtS}}</td><td>{{.What}}</td><td>{{.Text}}</td></tr>{{end}}</table>{{end}}
</body></html>
`))
