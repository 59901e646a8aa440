package smartctl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dodai-agent/dodai"
)

// predictor is an ATA attribute whose raw count predicts failure. Numbers above 100
// mean other things on other drives, so the name of smartctl's drive database has to
// agree. Command_Timeout (188) is not here: drives pack three counters into it, and it
// is the best known source of false alarms.
type predictor struct {
	id    int
	names []string // one of these is part of the name
	judge func(raw float64, hours *int64) (v dodai.Verdict, remark string)
}

// predictors: Backblaze's five less 188, spin retries, and interface errors.
var predictors = []predictor{
	{5, []string{"realloc", "retired", "remap", "grown_bad", "new_bad", "later_bad"}, func(raw float64, _ *int64) (dodai.Verdict, string) {
		if raw > 10 {
			return dodai.VerdictWarning, ""
		}
		return dodai.VerdictNotice, ""
	}},
	{10, []string{"spin_retry"}, anyIsWarning},
	{187, []string{"uncorrect", "reported_ue"}, anyIsWarning},
	{197, []string{"pending"}, unreadableSectors},
	{198, []string{"uncorrect", "uncsect", "scan_unc"}, unreadableSectors},
	{199, []string{"crc"}, interfaceErrors},
}

func anyIsWarning(float64, *int64) (dodai.Verdict, string) { return dodai.VerdictWarning, "" }

func unreadableSectors(raw float64, _ *int64) (dodai.Verdict, string) {
	if raw >= 10 {
		return dodai.VerdictCritical, ""
	}
	return dodai.VerdictWarning, ""
}

// interfaceErrors are the cable's. One reading has no trend: the average over the
// drive's life stands for the daily rise.
func interfaceErrors(raw float64, hours *int64) (dodai.Verdict, string) {
	if hours != nil && *hours > 0 {
		if daily := raw / (float64(*hours) / 24); daily > 10 {
			return dodai.VerdictWarning, fmt.Sprintf(" (%.0f a day: check cable and backplane)", daily)
		}
	}
	return dodai.VerdictNotice, " (cable or backplane)"
}

// attributes judges the ATA attributes.
func (f *findings) attributes(table []attribute, hours *int64) {
	for _, a := range table {
		id, ok := a.ID.in(1, 255)
		if !ok {
			continue
		}
		f.threshold(a, int(id))
		count, ok := a.count()
		if !ok || count < 1 {
			continue
		}
		for _, p := range predictors {
			if p.id == int(id) && a.named(p.names...) {
				v, remark := p.judge(count, hours)
				f.add(v, "%d %s %.0f%s", p.id, strings.ToLower(string(a.Name)), count, remark)
			}
		}
	}
}

// threshold judges an attribute that is, or was, at its threshold.
func (f *findings) threshold(a attribute, id int) {
	name := strings.ToLower(string(a.Name))
	switch {
	case a.WhenFailed == "now" && a.Flags.Prefailure.set:
		f.add(dodai.VerdictCritical, "%d %s is at its threshold", id, name)
	case a.WhenFailed == "now":
		f.add(dodai.VerdictNotice, "%d %s is at its threshold, which foretells no failure", id, name)
	case a.WhenFailed == "past":
		f.add(dodai.VerdictNotice, "%d %s was at its threshold in the past", id, name)
	}
}

func (a attribute) named(parts ...string) bool {
	name := strings.ToLower(string(a.Name))
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(name, p) })
}

// count is the raw value as a count: the first number of smartctl's own rendering,
// which knows how the drive packs it, else the plain value. What exceeds any count is
// none.
func (a attribute) count() (float64, bool) {
	if n, ok := leadingNumber(string(a.Raw.Text)); ok {
		return number{n, true}.in(0, 1<<32)
	}
	return a.Raw.Value.in(0, 1<<32)
}

// leadingNumber reads the digits that s starts with, as in "8 (0 2)", "2725h+12m". It
// refuses hexadecimal.
func leadingNumber(s string) (float64, bool) {
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(s)
	}
	if end == 0 || end > 15 || strings.HasPrefix(s[end:], "x") || strings.HasPrefix(s[end:], "/") {
		return 0, false
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	return n, err == nil
}
