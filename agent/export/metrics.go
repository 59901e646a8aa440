// Package export turns what the agent's loop last saw and decided into Prometheus
// metrics: a page to scrape and a file for node_exporter.
//
// A scrape reads one pointer and touches no device, so it can neither slow the loop
// nor be slowed by a device that hangs. Values are the last good reading; whoever uses
// them looks at its age or at dodai_device_up beside it.
package export

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// Step is one part of the way down.
type Step struct {
	Name string
	Took time.Duration
	Runs int // complete ones that were measured
}

// SPOF is one component and whether its loss alone would stop the server or lose data.
type SPOF struct {
	Component string
	Open      bool
}

// Preflight is what came of trying the way down without stopping anything.
type Preflight struct {
	At       time.Time
	Findings int
}

// State is what a scrape shows. It and everything it points to is never changed after
// Set.
type State struct {
	Snapshot *dodai.Snapshot
	Decision *policy.Decision // nil: none yet
	Need     []Step           // the parts of the need, power_off last
	SPOFs    []SPOF
	Armed    bool
	// Preflight is the last one; nil: none has run.
	Preflight *Preflight
	// LoopLag and PollLag are how late decisions and polls were at worst within a minute.
	LoopLag, PollLag time.Duration
	JournalUp        bool
	LostEvents       uint64 // since the start
	// Unread counts what is seen and not read, by kind; nil: nobody has looked.
	Unread map[string]int
}

// held is a state, made when somebody asks for it, and when it was set on the clock of this
// process.
type held struct {
	state func() State
	at    time.Time
}

// Metrics holds the state to show and the counters. All methods may be called from any
// goroutine and none of them waits.
type Metrics struct {
	state atomic.Pointer[held]
	now   func() time.Time

	events      *prometheus.CounterVec
	drillEvents *prometheus.CounterVec
	polls       *prometheus.CounterVec
	failures    *prometheus.CounterVec
	lastSuccess *prometheus.GaugeVec
	build       prometheus.Gauge

	registry *prometheus.Registry // dodai_* only
	runtime  *prometheus.Registry // the Go runtime and this process
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics makes the metrics of one agent. Every event's counter begins at 0, so that
// the first event is an increase.
func NewMetrics(version string) *Metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m := &Metrics{
		now:         time.Now,
		events:      counter(Events, "Events, those of drills left out.", "event"),
		drillEvents: counter(DrillEvents, "Events that belong to a drill.", "event"),
		polls:       counter(DevicePolls, "Times the device was asked.", "device"),
		failures:    counter(DevicePollFailures, "Times the device was asked and gave no good reading.", "device"),
		lastSuccess: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: DrillLastSuccess, Help: "When the drill last passed: when the protection was last proven."}, []string{"drill", "level"}),
		build: prometheus.NewGauge(prometheus.GaugeOpts{Name: BuildInfo, Help: "The program that runs; always 1.",
			ConstLabels: prometheus.Labels{"version": clean(version), "goversion": runtime.Version()}}),
		registry: prometheus.NewRegistry(), runtime: prometheus.NewRegistry(),
	}
	m.build.Set(1)
	for _, name := range dodai.EventNames {
		m.events.WithLabelValues(string(name))
		m.drillEvents.WithLabelValues(string(name))
	}
	m.registry.MustRegister(m)
	m.runtime.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Set replaces what scrapes show.
func (m *Metrics) Set(s State) { m.SetLater(func() State { return s }) }

// SetLater replaces what scrapes show by what state returns, which each of them calls from a
// goroutine of its own: always the same.
func (m *Metrics) SetLater(state func() State) { m.state.Store(&held{state, m.now()}) }

// Event counts an event. Those of a drill are counted apart: they are not the truth.
func (m *Metrics) Event(ev dodai.Event) {
	if ev.Drill != "" {
		m.drillEvents.WithLabelValues(clean(string(ev.Name))).Inc()
		return
	}
	m.events.WithLabelValues(clean(string(ev.Name))).Inc()
}

// Polled counts one poll, good or failed, of a device.
func (m *Metrics) Polled(d *dodai.DeviceState) {
	name := clean(d.Name)
	m.polls.WithLabelValues(name).Inc()
	failed := m.failures.WithLabelValues(name) // exists from the first poll on, at 0
	if d.Err != "" {
		failed.Inc()
	}
}

// DrillSucceeded records when a drill last passed at a level.
func (m *Metrics) DrillSucceeded(drill, level string, at time.Time) {
	m.lastSuccess.WithLabelValues(clean(drill), clean(level)).Set(float64(at.UnixMilli()) / 1e3)
}

func (m *Metrics) vectors() []prometheus.Collector {
	return []prometheus.Collector{m.events, m.drillEvents, m.polls, m.failures, m.lastSuccess, m.build}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
	for _, v := range m.vectors() {
		v.Describe(ch)
	}
}

// Collect implements prometheus.Collector. It reads the state that was set last.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, v := range m.vectors() {
		v.Collect(ch)
	}
	h := m.state.Load()
	if h == nil {
		return
	}
	state := h.state()
	if state.Snapshot == nil {
		return
	}
	p := &page{ch: ch, seen: map[string]bool{}, state: state, now: state.Snapshot.At + max(0, m.now().Sub(h.at))}
	p.all()
}
