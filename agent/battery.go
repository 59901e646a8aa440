package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// BatteryStatus is what is known of the battery of one UPS: GET /v1/battery.
type BatteryStatus struct {
	UPS string `json:"ups"`
	// Factor is which part of the runtime that the UPS claims is believed at its present
	// load, 0.2 to 1; 1 where nothing was learned.
	Factor float64 `json:"factor"`
	// ClaimedS is the runtime the UPS claims, BelievedS what is made of it, LoadPercent its
	// load; nil: it does not say, or has not yet since its battery was replaced.
	ClaimedS    *float64 `json:"claimed_s,omitempty"`
	BelievedS   *float64 `json:"believed_s,omitempty"`
	LoadPercent *float64 `json:"load_percent,omitempty"`
	OnBattery   bool     `json:"on_battery"`
	Learned     *Learned `json:"learned,omitempty"` // nil: nothing yet
}

// Learned is what the discharges of one battery have taught.
type Learned struct {
	// Battery is what the UPS says of itself and of its battery; empty parts it does not say.
	Battery policy.BatteryID `json:"battery,omitzero"`
	Bands   []BandStatus     `json:"bands"` // by load; empty: no discharge has taught anything yet
}

// BandStatus is what was learned at one load.
type BandStatus struct {
	LoadPercent *float64 `json:"load_percent,omitempty"` // nil: the UPS does not say
	Factor      float64  `json:"factor"`
	Discharges  int      `json:"discharges"`
	Last        string   `json:"last"` // day of the latest, YYYY-MM-DD
}

// BatteryRequest says that a UPS has got a new battery: POST /v1/battery.
type BatteryRequest struct {
	UPS string `json:"ups"` // name of a configured UPS
}

// BatteryAnswer is what GET and POST /v1/battery answer.
type BatteryAnswer struct {
	Batteries []BatteryStatus `json:"batteries"`         // by UPS
	Warning   string          `json:"warning,omitempty"` // it is in force, but something is not as it should be
}

// learned describes a battery, nil where nothing is known of it.
func learned(b policy.Battery) *Learned {
	if b.ID == (policy.BatteryID{}) && len(b.Bands) == 0 {
		return nil
	}
	l := &Learned{Battery: b.ID, Bands: []BandStatus{}}
	for _, band := range b.Bands {
		l.Bands = append(l.Bands, BandStatus{number(band.Load), band.Factor, band.Discharges, band.Last})
	}
	return l
}

func number(n policy.Num) *float64 {
	if !n.OK {
		return nil
	}
	return &n.V
}

// batteries describes the batteries of the UPSes in a view.
func batteries(v *View) []BatteryStatus {
	out := []BatteryStatus{}
	for i := range v.Decision.UPSes {
		u := &v.Decision.UPSes[i]
		s := BatteryStatus{UPS: u.UPS, Factor: u.Factor, BelievedS: seconds(u.Available), OnBattery: u.OnBattery, Learned: learned(v.Batteries[u.UPS])}
		if dev := v.Snapshot.Device(u.UPS); dev != nil && dev.Reading != nil {
			s.ClaimedS, s.LoadPercent = variable(dev, dodai.BatteryRuntime), variable(dev, dodai.UPSLoad)
		}
		out = append(out, s)
	}
	return out
}

func variable(dev *dodai.DeviceState, name string) *float64 {
	if v, ok := dev.Reading.Vars.Float(name); ok {
		return &v
	}
	return nil
}

// BatteryReplaced forgets what the old battery of a UPS has taught. by is who says that it is
// a new one. It is on the disk when BatteryReplaced returns, or the answer warns.
func (a *Agent) BatteryReplaced(ctx context.Context, ups, by string) (BatteryAnswer, error) {
	var refused error
	if err := a.call(ctx, func() {
		if refused = a.checkUPS(ups); refused != nil {
			return
		}
		l := &a.loop
		forgot := forgotten(l.memory.Batteries[ups])
		l.memory = l.memory.Replaced(ups)
		a.emit(dodai.Event{Name: dodai.EventBatteryReplaced, Device: ups, Fields: map[string]any{"by": by},
			Text: fmt.Sprintf("%s has a new battery, says %s: %s", ups, by, forgot)})
		a.decide()
		a.saveMemory()
	}); err != nil {
		return BatteryAnswer{}, err
	}
	if refused != nil {
		return BatteryAnswer{}, refused
	}
	answer := BatteryAnswer{Batteries: batteries(a.View())}
	for i := range answer.Batteries {
		if b := &answer.Batteries[i]; b.UPS == ups {
			b.BelievedS = nil // until the next reading it is what the old battery had left
		}
	}
	answer.Warning = a.unwritten(ctx)
	return answer, nil
}

// checkUPS refuses the name of a UPS that is not configured.
func (a *Agent) checkUPS(name string) error {
	_, err := upsNamed(a.loop.cfg, []string{name})
	return err
}

// forgotten says what there was to forget.
func forgotten(b policy.Battery) string {
	discharges := 0
	for _, band := range b.Bands {
		discharges += band.Discharges
	}
	switch discharges {
	case 0:
		return "the old one had taught nothing yet"
	case 1:
		return "what 1 discharge of the old one has taught is forgotten"
	}
	return fmt.Sprintf("what %d discharges of the old one have taught is forgotten", discharges)
}

func (a *Agent) getBattery(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, BatteryAnswer{Batteries: batteries(a.View())})
}

func (a *Agent) postBattery(w http.ResponseWriter, r *http.Request) {
	var req BatteryRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		http.Error(w, "battery request: "+err.Error()+`; want for example {"ups":"u1"}`, http.StatusBadRequest)
		return
	}
	answer, err := a.BatteryReplaced(r.Context(), req.UPS, peerName(r.Context()))
	writeAnswer(w, answer, err)
}
