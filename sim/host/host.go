// Package host is a simulated server with its power: UPSes that cut their output and
// restore it, and a machine that goes down, goes dark and starts again as real ones do. It
// shows what becomes of a machine whose mains return at the worst moment.
//
// Its time is time.Now, so that under testing/synctest hours pass in moments. Nothing
// happens by itself: whoever simulates calls Step, often enough for what matters.
package host

import (
	"sync"
	"time"
)

// State is what the machine is doing.
type State string

// The states of a machine.
const (
	Running   State = "running"
	GoingDown State = "going_down" // services stop, file systems are still in use
	Unmounted State = "unmounted"  // what is lost with the power now is no data
	Off       State = "off"        // switched off, with power
	Dark      State = "dark"       // without power
	Booting   State = "booting"
)

// Config says what machine to simulate. The zero value of each field means the default.
type Config struct {
	Boot time.Duration // from power or reboot to running; default 1 minute
	// StaysOff: the firmware leaves the machine off when its power returns.
	StaysOff bool
	// NoAlarm: the machine has no clock that could wake it.
	NoAlarm bool
}

// Host is a simulated server. All methods may be called from any goroutine.
type Host struct {
	cfg    Config
	inputs []func() bool // one for each power supply: it has power

	mu      sync.Mutex
	state   State
	booted  time.Time // when it runs, while it boots
	alarm   time.Time // zero: none
	boots   int
	crashes int
}

// New makes a machine that runs, with one power supply for each input.
func New(cfg Config, inputs ...func() bool) *Host {
	if cfg.Boot == 0 {
		cfg.Boot = time.Minute
	}
	return &Host{cfg: cfg, inputs: inputs, state: Running}
}

// Step lets happen what is due now.
func (h *Host) Step() {
	power := false
	for _, in := range h.inputs {
		power = in() || power
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	switch {
	case !power && h.state != Dark:
		if h.state != Off && h.state != Unmounted {
			h.crashes++
		}
		h.state = Dark
	case power && h.state == Dark && h.cfg.StaysOff:
		h.state = Off
	case power && h.state == Dark, h.state == Off && h.rings(now):
		h.start(now)
	case h.state == Booting && !now.Before(h.booted):
		h.state = Running
	}
}

// rings reports whether the alarm goes off. One that was due while the machine had no
// power is lost.
func (h *Host) rings(now time.Time) bool {
	since := now.Sub(h.alarm)
	return !h.alarm.IsZero() && since >= 0 && since < time.Minute
}

func (h *Host) start(now time.Time) {
	h.state, h.booted = Booting, now.Add(h.cfg.Boot)
	h.boots++
}

// Stop begins a shutdown, Unmount is its last step but one, and PowerOff its end. Reboot
// starts the machine anew from whatever state it is in. A machine without power heeds none.
func (h *Host) Stop()     { h.become(GoingDown) }
func (h *Host) Unmount()  { h.become(Unmounted) }
func (h *Host) PowerOff() { h.become(Off) }

// Reboot starts the machine anew.
func (h *Host) Reboot() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != Dark {
		h.start(time.Now())
	}
}

func (h *Host) become(s State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != Dark {
		h.state = s
	}
}

// SetAlarm sets the clock that wakes the machine, and reports whether it has one.
func (h *Host) SetAlarm(at time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cfg.NoAlarm {
		return false
	}
	h.alarm = at
	return true
}

// State returns what the machine is doing.
func (h *Host) State() State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// Boots is how many times the machine has started, Crashes how many times it lost its
// power while its file systems were in use.
func (h *Host) Boots() int   { h.mu.Lock(); defer h.mu.Unlock(); return h.boots }
func (h *Host) Crashes() int { h.mu.Lock(); defer h.mu.Unlock(); return h.crashes }
