package ipmi

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// A listing is what ipmitool prints of real machines. It shows neither types nor masks,
// so the reader below takes them from what the words mean; the rules that decide are
// the driver's.

// words are states as ipmitool prints them, with the type of sensor they are a state of.
var words = []struct {
	text         string
	typ, reading byte
	bit          int
}{
	{"Presence detected", typeSupply, readSpecific, 0},
	{"Failure detected", typeSupply, readSpecific, 1},
	{"Predictive failure", typeSupply, readSpecific, 2},
	{"Power Supply AC lost", typeSupply, readSpecific, 3},
	{"AC lost or out-of-range", typeSupply, readSpecific, 4},
	{"AC out-of-range, but present", typeSupply, readSpecific, 5},
	{"Config Error", typeSupply, readSpecific, 6},
	{"Power Supply Inactive", typeSupply, readSpecific, 7},
	{"Present", typePresence, readSpecific, 0},
	{"Absent", typePresence, readSpecific, 1},
	{"Device Absent", typePresence, readPresence, 0},
	{"Device Present", typePresence, readPresence, 1},
	{"Fully Redundant", typeUnit, readRedundancy, 0},
	{"Redundancy Lost", typeUnit, readRedundancy, 1},
	{"Redundancy Degraded", typeUnit, readRedundancy, 2},
	{"Non-Redundant: Sufficient from Redundant", typeUnit, readRedundancy, 3},
	{"Non-Redundant: Sufficient from Insufficient", typeUnit, readRedundancy, 4},
	{"Non-Redundant: Insufficient Resources", typeUnit, readRedundancy, 5},
}

var units = map[string]byte{"Watts": unitWatts, "Volts": unitVolts, "Amps": unitAmps}

// listed is one line of a listing.
type listed struct{ name, status, entity, value, unit string }

func readListing(path string) ([]listed, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []listed
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line := sc.Text()
		if p := strings.Split(line, "|"); len(p) == 5 { // sdr elist: name | number | status | entity | value
			l := listed{strings.TrimSpace(p[0]), strings.TrimSpace(p[2]), strings.TrimSpace(p[3]), strings.TrimSpace(p[4]), ""}
			if v, unit, ok := strings.Cut(l.value, " "); ok && units[unit] != 0 {
				l.value, l.unit = v, unit
			}
			list = append(list, l)
		} else if p := strings.Split(line, ","); len(p) >= 5 { // sdr -c: name,number,status,entity,states or name,value,unit,status,entity,…
			if strings.HasSuffix(p[1], "h") {
				list = append(list, listed{p[0], p[2], p[3], strings.Join(p[4:], ","), ""})
			} else {
				list = append(list, listed{p[0], p[3], p[4], p[1], strings.TrimPrefix(p[2], "% ")})
			}
		}
	}
	return list, nil
}

// observation makes what the driver would have read of the line; ok is false for
// sensors that are not about power.
func (l listed) observation(separate bool) (observation, bool) {
	o := observation{sensor: sensor{owner: 0x20, name: l.name}, state: state{valid: l.status == "ok"}}
	id, instance, _ := strings.Cut(l.entity, ".")
	a, _ := strconv.Atoi(id)
	b, err := strconv.Atoi(instance)
	if err != nil {
		return o, false
	}
	o.entity = entity{byte(a), byte(b)}
	if units[l.unit] != 0 {
		v, err := strconv.ParseFloat(l.value, 64)
		o.typ, o.reading, o.unit, o.raw = typeOther, readThreshold, units[l.unit], 1
		o.analog = &formula{m: int(v*1000 + 0.5), rExp: -3}
		return o, err == nil && (o.entity.id == entitySupply || isSystem(o.entity) && o.unit == unitWatts)
	}
	return o, l.discrete(&o, separate)
}

func (l listed) discrete(o *observation, separate bool) bool {
	for _, w := range words {
		if strings.Contains(", "+l.value+", ", ", "+w.text+", ") {
			o.typ, o.reading = w.typ, w.reading
			o.bits |= 1 << w.bit
		}
	}
	name := strings.ToLower(l.name)
	switch {
	case strings.Contains(name, "fan"):
		return false
	case strings.Contains(name, "redundancy"):
		o.typ, o.reading = typeUnit, readRedundancy
		return strings.HasPrefix(name, "ps")
	case strings.Contains(name, "presence"):
		if o.typ == 0 {
			o.typ, o.reading = typePresence, readSpecific
		}
		return o.entity.id == entitySupply || strings.HasPrefix(name, "ps")
	case strings.Contains(name, "status") && o.entity.id == entitySupply:
		o.typ, o.reading, o.mask = typeSupply, readSpecific, 0x7f
		if separate {
			o.mask = 0x7e
		}
		return true
	}
	return false
}

type expectation struct {
	PSUs []struct {
		ID    string
		State dodai.PSUState
		Watts *float64
		Volts *float64
		Amps  *float64
	}
	Redundancy []struct {
		Domain string
		State  dodai.RedundancyState
	}
	SystemWatts *float64 `yaml:"system_watts"`
	Events      *int
}

func TestCaptures(t *testing.T) {
	dir := peer.Shared(t, "corpus", "ipmi", "captures")
	text, err := os.ReadFile(filepath.Join(dir, "expected.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var expected map[string]expectation
	if err := yaml.Unmarshal(text, &expected); err != nil {
		t.Fatal(err)
	}
	judged := 0
	for name, want := range expected {
		if want.Events != nil {
			continue // an event log, which the driver does not read
		}
		t.Run(name, func(t *testing.T) {
			lines, err := readListing(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if len(lines) == 0 {
				t.Skip("a short listing: it shows neither entities nor states")
			}
			judged++
			checkCapture(t, decide(observe(lines), nil, nil), want)
		})
	}
	if judged < 4 {
		t.Errorf("%d listings were judged, want at least 4", judged)
	}
}

// observe makes observations of a listing. A machine whose presence sensors stand on
// another entity than the supplies has status sensors without a presence bit.
func observe(lines []listed) []observation {
	separate := false
	for _, l := range lines {
		separate = separate || strings.Contains(strings.ToLower(l.name), "presence") && strings.HasPrefix(l.name, "PS")
	}
	var obs []observation
	for _, l := range lines {
		if o, ok := l.observation(separate); ok {
			obs = append(obs, o)
		}
	}
	return obs
}

func checkCapture(t *testing.T, got dodai.Reading, want expectation) {
	t.Helper()
	if len(got.PSUs) != len(want.PSUs) {
		t.Fatalf("supplies %+v, want %+v", got.PSUs, want.PSUs)
	}
	for i, w := range want.PSUs {
		p := got.PSUs[i]
		if p.ID != w.ID || p.State != w.State {
			t.Errorf("supply %s %s, want %s %s", p.ID, p.State, w.ID, w.State)
		}
		for what, pair := range map[string][2]*float64{"watts": {p.Watts, w.Watts}, "volts": {p.Volts, w.Volts}, "amps": {p.Amps, w.Amps}} {
			if g, w := pair[0], pair[1]; w != nil && (g == nil || *g != *w) {
				t.Errorf("supply %s: %s %s, want %v", p.ID, what, show(g), *w)
			}
		}
	}
	for i, w := range want.Redundancy {
		if i >= len(got.Redundancy) || string(got.Redundancy[i].State) != string(w.State) || got.Redundancy[i].Domain != w.Domain {
			t.Errorf("redundancy %+v, want %+v", got.Redundancy, want.Redundancy)
		}
	}
	if w := want.SystemWatts; w != nil && (got.SystemWatts == nil || *got.SystemWatts != *w) {
		t.Errorf("system watts %s, want %v", show(got.SystemWatts), *w)
	}
}

func show(v *float64) string {
	if v == nil {
		return "none"
	}
	return fmt.Sprint(*v)
}
