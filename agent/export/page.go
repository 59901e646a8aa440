package export

import (
	"math"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// page is one scrape.
type page struct {
	ch    chan<- prometheus.Metric
	seen  map[string]bool // series on this page
	state State
	now   time.Duration // on the agent's clock
}

func (p *page) all() {
	s := p.state.Snapshot
	p.gauge(ModeArmed, truth(p.state.Armed))
	for _, d := range s.Devices {
		p.device(d)
	}
	p.maintenance()
	p.decision()
	if c := p.state.Preflight; c != nil {
		p.gauge(PreflightOK, truth(c.Findings == 0))
		p.gauge(PreflightLast, float64(c.At.UnixMilli())/1e3)
		p.gauge(PreflightFindings, float64(c.Findings))
	}
	p.gauge(LoopLag, p.state.LoopLag.Seconds())
	p.gauge(PollLag, p.state.PollLag.Seconds())
	p.gauge(JournalUp, truth(p.state.JournalUp))
	p.put(prometheus.CounterValue, JournalLost, float64(p.state.LostEvents))
	for kind, n := range p.state.Unread {
		p.gauge(Unread, float64(n), kind)
	}
	for _, f := range p.state.SPOFs {
		p.gauge(SPOFOpen, truth(f.Open), f.Component)
	}
	p.host(s.Host)
}

// maintenance says of each UPS whether it is worked on, and until when on the wall clock.
func (p *page) maintenance() {
	s := p.state.Snapshot
	for _, d := range s.OfKind(dodai.KindUPS) {
		m := s.MaintenanceOf(d.Name, p.now)
		p.gauge(Maintenance, truth(m != nil), d.Name)
		if m != nil {
			p.gauge(MaintenanceEnd, float64(s.Wall.Add(m.Until-s.At).Round(time.Second).Unix()), d.Name)
		}
	}
}

// gauge puts one series on the page. What would spoil the whole page is left out: the
// same series twice, and values that are no numbers.
func (p *page) gauge(name string, v float64, labels ...string) {
	p.put(prometheus.GaugeValue, name, v, labels...)
}

func (p *page) put(kind prometheus.ValueType, name string, v float64, labels ...string) {
	for i, l := range labels {
		labels[i] = clean(l)
	}
	key := name + "\xff" + strings.Join(labels, "\xff")
	if p.seen[key] || math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	p.seen[key] = true
	p.ch <- prometheus.MustNewConstMetric(descs[name], kind, v, labels...)
}

// optional puts a value on the page unless it is nil.
func optional[T int | int64 | float64](p *page, name string, v *T, scale float64, labels ...string) {
	if v != nil {
		p.gauge(name, float64(*v)*scale, labels...)
	}
}

// states puts one series on the page for each state something can be in.
func states[S ~string](p *page, name, label string, is S, all []S) {
	for _, s := range all {
		p.gauge(name, truth(s == is), label, string(s))
	}
}

// device shows what every kind has, and then what its own kind has.
func (p *page) device(d *dodai.DeviceState) {
	if q := d.Quality(p.now); q != dodai.QualityNone {
		p.gauge(DeviceUp, truth(q == dodai.QualityFresh), d.Name, string(d.Kind), d.Driver)
	}
	r := d.Reading
	if r == nil {
		return
	}
	if d.Kind == dodai.KindUPS {
		p.ups(d)
	}
	for i := range r.Arrays {
		p.array(d.Name, &r.Arrays[i])
	}
	for i := range r.Disks {
		p.disk(&r.Disks[i])
	}
	for i := range r.PSUs {
		p.psu(d.Name, &r.PSUs[i])
	}
	for _, red := range r.Redundancy {
		states(p, RedundancyState, p.unique(RedundancyState, d.Name, red.Domain, string(redundancies[0])), red.State, redundancies)
	}
	optional(p, SystemWatts, r.SystemWatts, 1, d.Name)
}

// unique is the id as a label value, led by the device's name where another device has
// the same id. state is the last label of the series to look for.
func (p *page) unique(metric, device, id, state string) string {
	if p.seen[metric+"\xff"+clean(id)+"\xff"+state] {
		return device + "/" + id
	}
	return id
}

// upsGauges are the variables shown, and what makes base units of NUT's.
var upsGauges = []struct {
	metric, variable string
	scale            float64
}{
	{UPSChargeRatio, dodai.BatteryCharge, 0.01},
	{UPSRuntimeSeconds, dodai.BatteryRuntime, 1},
	{UPSBatteryVolts, dodai.BatteryVoltage, 1},
	{UPSInputVolts, dodai.InputVoltage, 1},
	{UPSOutputVolts, dodai.OutputVoltage, 1},
	{UPSLoadRatio, dodai.UPSLoad, 0.01},
	{UPSRealpowerWatts, dodai.UPSRealpower, 1},
	{UPSTemperature, dodai.UPSTemperature, 1},
}

func (p *page) ups(d *dodai.DeviceState) {
	r := d.Reading
	p.gauge(UPSInfo, 1, d.Name, r.Device.Manufacturer, r.Device.Model, r.Device.Serial, r.Device.Firmware)
	p.gauge(UPSReadingAge, d.Age(p.now).Seconds(), d.Name)
	if r.Status != 0 {
		for _, flag := range dodai.StatusFlags() {
			p.gauge(UPSStatus, truth(r.Status.Has(flag)), d.Name, flag.String())
		}
	}
	for _, g := range upsGauges {
		if f, ok := r.Vars.Float(g.variable); ok {
			p.gauge(g.metric, scaled(f, g.scale), d.Name)
		}
	}
}

// scaled divides where that is exact and multiplying is not: 29 percent is 0.29.
func scaled(f, scale float64) float64 {
	if scale == 0.01 {
		return f / 100
	}
	return f * scale
}

func (p *page) decision() {
	d := p.state.Decision
	if d == nil {
		return
	}
	p.gauge(ShutdownNeed, d.Need.Seconds())
	for _, s := range p.state.Need {
		if s.Took > 0 || s.Runs > 0 { // else nobody knows
			p.gauge(StepNeed, s.Took.Seconds(), s.Name)
		}
		p.gauge(StepRuns, float64(s.Runs), s.Name)
	}
	p.gauge(ShutdownReserve, d.Reserve.Seconds())
	p.gauge(ShutdownDecided, truth(d.Shutdown))
	for _, rule := range policy.DecidingRules {
		p.gauge(DecisionRule, truth(rule == d.Rule), string(rule))
	}
	p.gauge(BootHold, truth(d.BootHeld()))
	if d.Margin != nil {
		p.gauge(PowerMargin, d.Margin.Seconds())
	}
	if d.Available != nil {
		p.gauge(PowerAvailable, d.Available.Seconds())
	}
	for _, v := range d.UPSes {
		since := time.Duration(0)
		if v.OnBattery {
			since = max(0, p.now-v.OnBatterySince)
		}
		p.gauge(UPSOnBatterySeconds, since.Seconds(), v.UPS)
		states(p, UPSDoomed, v.UPS, v.Rule, policy.DecidingRules)
		p.gauge(UPSBatteryFactor, v.Factor, v.UPS)
	}
	for _, a := range d.Alerts {
		p.gauge(Alert, 1, string(a.ID), a.Device)
	}
}

var inputs = []dodai.InputState{dodai.InputOK, dodai.InputLost, dodai.InputOutOfRange, dodai.InputUnknown}

var redundancies = []dodai.RedundancyState{
	dodai.RedundancyFull, dodai.RedundancyDegraded, dodai.RedundancyLost,
	dodai.RedundancyNone, dodai.RedundancyInsufficient, dodai.RedundancyUnknown,
}

func (p *page) psu(device string, u *dodai.PSU) {
	id := p.unique(PSUStateName, device, u.ID, string(dodai.PSUStates[0]))
	states(p, PSUStateName, id, u.State, dodai.PSUStates)
	if u.Input != "" {
		states(p, PSUInput, id, u.Input, inputs)
	}
	optional(p, PSUWatts, u.Watts, 1, id)
	optional(p, PSUCapacity, u.CapacityWatts, 1, id)
}

func (p *page) array(device string, a *dodai.Array) {
	id := p.unique(ArrayStateName, device, a.ID, string(dodai.ArrayStates[0]))
	states(p, ArrayStateName, id, a.State, dodai.ArrayStates)
	optional(p, ArrayTolerance, a.ToleranceLeft, 1, id)
	optional(p, ArrayMissing, a.Missing, 1, id)
	optional(p, ArraySpares, a.Spares, 1, id)
	if a.Failing != nil {
		p.gauge(ArrayFailing, float64(len(a.Failing)), id)
	}
	if a.Percent != nil {
		p.gauge(ArrayProgress, *a.Percent/100, id, string(a.Activity))
	}
}

// disk is known by its device, and by smartctl's type where several share one.
func (p *page) disk(d *dodai.Disk) {
	id := d.Device
	if d.Type != "" {
		id += " " + d.Type
	}
	states(p, DiskVerdict, id, d.Verdict, dodai.Verdicts)
	p.gauge(DiskInfo, 1, id, d.Model, d.Serial, d.Firmware, d.Protocol)
	optional(p, DiskTemperature, d.TempC, 1, id)
	optional(p, DiskPowerOn, d.PowerOnHours, 3600, id)
	optional(p, DiskWear, d.WearRatio, 1, id)
}

func (p *page) host(h dodai.Host) {
	if h.Name == "" && h.Kernel == "" && h.MemTotal == 0 {
		return // not known yet
	}
	p.gauge(HostInfo, 1, h.Name, h.OS, h.Kernel)
	p.gauge(HostUptime, h.Uptime.Seconds())
	p.gauge(HostLoad, h.Load1)
	if h.MemTotal > 0 {
		p.gauge(HostMemorySize, float64(h.MemTotal))
		p.gauge(HostMemoryUsed, float64(h.MemUsed))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// clean makes a text from a device fit for a label.
func clean(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
