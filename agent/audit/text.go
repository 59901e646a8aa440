package audit

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteText writes the findings for a person to read. It ends with one line that says
// how many of each severity there are, which for none at all is the only one.
func WriteText(w io.Writer, findings []Finding) error {
	var b strings.Builder
	counts := map[Severity]int{}
	for _, f := range findings {
		counts[f.Severity]++
		fmt.Fprintf(&b, "%-7s  %s", strings.ToUpper(string(f.Severity)), f.Component)
		if f.ForS >= 1 {
			fmt.Fprintf(&b, ", for %s", duration(f.ForS))
		}
		fmt.Fprintf(&b, "\n         %s\n", f.Consequence)
		for _, e := range f.Evidence {
			fmt.Fprintf(&b, "         - %s\n", evidenceText(e))
		}
		fmt.Fprintf(&b, "         Remedy: %s\n\n", f.Remedy)
	}
	switch {
	case len(findings) == 0:
		b.WriteString("No single point of failure found.\n")
	case !Open(findings):
		fmt.Fprintf(&b, "No single point of failure open; advice: %d.\n", counts[SeverityAdvice])
	default:
		fmt.Fprintf(&b, "Open: %d. Not proven: %d. Advice: %d.\n", counts[SeverityOpen], counts[SeverityUnknown], counts[SeverityAdvice])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func evidenceText(e Evidence) string {
	text := e.Text
	if e.Device != "" {
		text = e.Device + ": " + text
	}
	if e.AgeS != nil {
		text += fmt.Sprintf(" (%s ago)", duration(*e.AgeS))
	}
	return text
}

// duration shows seconds as a person would say them: 3 s, 4 min, 2 h, 5 d.
func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	default:
		return fmt.Sprintf("%.0f d", d.Hours()/24)
	}
}
