package drill

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// hostEvents are the events about the agent and the host.
var hostEvents = []string{"agent_stop", "agent_start", "host_boot"}

func (p *scenarioParser) event(at time.Duration, n ast.Node) {
	word := p.text(n, "an event")
	if p.err != nil {
		return
	}
	name, arg, _ := strings.Cut(word, ":")
	switch {
	case word == "end":
		p.end = &at
	case slices.Contains(hostEvents, word):
		p.happens(Happening{At: at, What: word})
	case name == "clock_step":
		step, err := strconv.ParseFloat(arg, 64)
		if err != nil || math.IsNaN(step) || math.Abs(step) > 1e9 {
			p.fail(n, fmt.Sprintf("clock_step %q", arg), "seconds, for example clock_step:-3600")
			return
		}
		p.happens(Happening{At: at, What: name, Step: time.Duration(step * float64(time.Second))})
	case name == "psu_input_lost", name == "psu_input_restored":
		p.psuInput(at, n, name, arg)
	case p.maintenance(at, n, word):
	default:
		p.deviceEvent(at, n, word)
	}
}

func (p *scenarioParser) happens(h Happening) { p.s.events = append(p.s.events, h) }

// maintenance reads [<ups>:]maintenance_on:<seconds> and [<ups>:]maintenance_off, and
// returns false where the event is another one.
func (p *scenarioParser) maintenance(at time.Duration, n ast.Node, word string) bool {
	ups, rest := "", word
	if id, after, found := strings.Cut(word, ":"); found && strings.HasPrefix(after, "maintenance_") {
		ups, rest = id, after
		if !slices.Contains(p.s.UPSes, ups) {
			p.fail(n, fmt.Sprintf("unknown UPS %q", ups), "one of "+strings.Join(p.s.UPSes, ", "))
		}
	}
	name, arg, timed := strings.Cut(rest, ":")
	switch {
	case name == "maintenance_off" && !timed:
		p.happens(Happening{At: at, What: name, Device: ups})
	case name == "maintenance_on":
		s, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(s > 0 && s <= scenarioMaxS) {
			p.fail(n, fmt.Sprintf("maintenance_on %q", arg), "seconds it lasts, for example maintenance_on:600")
		}
		p.happens(Happening{At: at, What: name, Device: ups, Step: time.Duration(s * float64(time.Second))})
	default:
		return false
	}
	return true
}

func (p *scenarioParser) deviceEvent(at time.Duration, n ast.Node, word string) {
	tr, name := p.target(n, word)
	switch {
	case p.err != nil:
	case name == "comms_lost", name == "comms_restored":
		tr.comms = append(tr.comms, toggle{at, name == "comms_lost"})
	case name == "data_frozen", name == "data_thawed":
		tr.frozen = append(tr.frozen, toggle{at, name == "data_frozen"})
	case name == "fsd_set" && (tr != p.s.tracks[BMC] || slices.Contains(p.s.UPSes, BMC)):
		tr.fsd = append(tr.fsd, at)
	default:
		p.fail(n, fmt.Sprintf("unknown event %q", word), "comms_lost, comms_restored, data_frozen, data_thawed, fsd_set, "+
			"agent_stop, agent_start, host_boot, clock_step:<s>, psu_input_lost:<ups>, psu_input_restored:<ups>, "+
			"maintenance_on:<s>, maintenance_off or end")
	}
}
