package drill

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/dodai-agent/dodai"
)

// unknownRuntime is how long a battery is taken to last whose UPS tells its charge but
// not its runtime. It is a guess, and the scenario's title says so.
const unknownRuntime = 10 * time.Minute

// runtimeMax is the longest runtime in seconds that is taken for one; 65535 and the like
// mean that the UPS does not know.
const runtimeMax = 36000

// ScenarioFor returns the scenario called name: a built-in one made for the UPSes of s,
// or else the file of that name.
//
//	mains_loss   every UPS loses its mains and runs down as it says it would
//	low_battery  the same, and every UPS says low battery after 10 s
//	card_silent  the same, and nothing more is heard after 5 s
//	feed_loss    the first UPS alone loses its mains
func ScenarioFor(name string, s *dodai.Snapshot) (*Scenario, error) {
	make, builtin := builtins[name]
	if !builtin {
		return Load(name)
	}
	var upses []*dodai.DeviceState
	for _, dev := range s.OfKind(dodai.KindUPS) {
		if dev.Reading != nil {
			upses = append(upses, dev)
		}
	}
	if len(upses) == 0 {
		return nil, fmt.Errorf("scenario %s: no UPS has answered yet", name)
	}
	data, err := json.Marshal(make(name, upses)) // JSON is YAML
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", name, err)
	}
	return Parse("built-in "+name, data)
}

// document is a scenario file.
type document struct {
	ID       string           `json:"id"`
	Title    string           `json:"title"`
	Config   map[string]any   `json:"config"`
	Timeline []map[string]any `json:"timeline"`
	Expect   map[string]any   `json:"expect"`
}

var builtins = map[string]func(name string, upses []*dodai.DeviceState) document{
	"mains_loss": func(name string, upses []*dodai.DeviceState) document {
		return outage(name, "every UPS loses its mains and runs down as it says", upses, upses)
	},
	"low_battery": func(name string, upses []*dodai.DeviceState) document {
		d := outage(name, "every UPS loses its mains and says low battery after 10 s", upses, upses)
		d.insert(10, func(ups string) map[string]any {
			return map[string]any{"set": map[string]any{ups + ":ups.status": "OB DISCHRG LB"}}
		}, upses)
		return d
	},
	"card_silent": func(name string, upses []*dodai.DeviceState) document {
		d := outage(name, "every UPS loses its mains and falls silent after 5 s", upses, upses)
		d.insert(5, func(ups string) map[string]any { return map[string]any{"event": ups + ":comms_lost"} }, upses)
		return d
	},
	"feed_loss": func(name string, upses []*dodai.DeviceState) document {
		d := outage(name, "the first UPS alone loses its mains and runs down", upses, upses[:1])
		if len(upses) > 1 { // that is what the other one is for
			d.Expect["shutdown"] = false
		}
		return d
	},
}

// outage is a loss of mains at the UPSes in lost, at t = 0.
func outage(name, title string, all, lost []*dodai.DeviceState) document {
	d := document{ID: name, Title: title, Config: map[string]any{}, Expect: map[string]any{}}
	var names []string
	for _, dev := range all {
		names = append(names, dev.Name)
	}
	d.Config["ups"] = names
	end := 3 * time.Minute
	for _, dev := range lost {
		set := map[string]any{dev.Name + ":ups.status": "OB DISCHRG", dev.Name + ":input.voltage": 0}
		ramp, lasts := discharge(dev)
		end = max(end, lasts+time.Minute)
		entry := map[string]any{"t": 0, "set": set}
		if len(ramp) > 0 {
			entry["ramp"] = ramp
		}
		d.Timeline = append(d.Timeline, entry)
	}
	d.Timeline = append(d.Timeline, map[string]any{"t": end.Seconds(), "event": "end"})
	return d
}

// discharge lets a UPS run down as long as it says it would.
func discharge(dev *dodai.DeviceState) (ramp map[string]any, lasts time.Duration) {
	ramp = map[string]any{}
	runtime, hasRuntime := dev.Reading.Vars.Float(dodai.BatteryRuntime)
	charge, hasCharge := dev.Reading.Vars.Float(dodai.BatteryCharge)
	lasts = unknownRuntime
	if hasRuntime && runtime > 0 && runtime <= runtimeMax {
		lasts = time.Duration(max(1, runtime)) * time.Second
		ramp[dev.Name+":"+dodai.BatteryRuntime] = []float64{runtime, 0, lasts.Seconds()}
	}
	if hasCharge {
		ramp[dev.Name+":"+dodai.BatteryCharge] = []float64{charge, 0, lasts.Seconds()}
	}
	return ramp, lasts
}

// insert adds one entry for each UPS at t, before the end.
func (d *document) insert(t float64, entry func(ups string) map[string]any, upses []*dodai.DeviceState) {
	last := len(d.Timeline) - 1
	end := d.Timeline[last]
	d.Timeline = d.Timeline[:last]
	for _, dev := range upses {
		e := entry(dev.Name)
		e["t"] = t
		d.Timeline = append(d.Timeline, e)
	}
	d.Timeline = append(d.Timeline, end)
}
