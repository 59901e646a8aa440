package dodai

import "time"

// PSUState is the state of a power supply of this server.
type PSUState string

// The states of a power supply. A standby spare is ok; input out of range is a
// warning; a configuration error is failed.
const (
	PSUOK         PSUState = "ok"
	PSUWarning    PSUState = "warning"
	PSUFailed     PSUState = "failed"
	PSUPredictive PSUState = "predictive"
	PSUInputLost  PSUState = "input_lost"
	PSUAbsent     PSUState = "absent"
	PSUUnknown    PSUState = "unknown"
)

// PSUStates lists every state, for metrics that export one series each.
var PSUStates = []PSUState{PSUOK, PSUWarning, PSUFailed, PSUPredictive, PSUInputLost, PSUAbsent, PSUUnknown}

// InputState is what a power supply says of its input. It comes from the supply's
// own status bits, never from watts: a hot spare draws none.
type InputState string

// The states of a power supply's input.
const (
	InputOK         InputState = "ok"
	InputLost       InputState = "lost"
	InputOutOfRange InputState = "out_of_range"
	InputUnknown    InputState = "unknown"
)

// PSU is a power supply of this server.
type PSU struct {
	ID            string     `json:"id"` // IPMI entity "10.1", Redfish bay or MemberId
	Name          string     `json:"name,omitempty"`
	State         PSUState   `json:"state"`
	Input         InputState `json:"input,omitempty"`
	Watts         *float64   `json:"watts,omitempty"` // output where measured, else input
	CapacityWatts *float64   `json:"capacity_watts,omitempty"`
	Volts         *float64   `json:"volts,omitempty"` // input
	Amps          *float64   `json:"amps,omitempty"`  // input
	Serial        string     `json:"serial,omitempty"`
}

// RedundancyState is whether the supplies together could lose one.
type RedundancyState string

// The states of redundancy. None is a server that was never redundant; insufficient
// means that even all supplies together may not carry the load.
const (
	RedundancyFull         RedundancyState = "full"
	RedundancyDegraded     RedundancyState = "degraded"
	RedundancyLost         RedundancyState = "lost"
	RedundancyNone         RedundancyState = "none"
	RedundancyInsufficient RedundancyState = "insufficient"
	RedundancyUnknown      RedundancyState = "unknown"
)

// Redundancy is the redundancy of one group of supplies.
type Redundancy struct {
	Domain   string          `json:"domain"` // "system" unless the source has more
	State    RedundancyState `json:"state"`
	Reported string          `json:"reported,omitempty"` // the source's own words
}

// Path is how one power supply is fed, from the configured wiring:
// PSU ← Outlet ← UPS ← Feed. An empty part is not there (no PDU, no UPS) or not known.
// Several paths of one PSU are the inputs of a transfer switch before it: it lives while
// any of them does.
type Path struct {
	PSU    string `json:"psu"`
	Outlet string `json:"outlet,omitempty"` // "pdu1/3"
	UPS    string `json:"ups,omitempty"`    // the name of a configured UPS
	Feed   string `json:"feed,omitempty"`   // the utility circuit
}

// Link says that a UPS takes its input from another UPS (a rack UPS behind a room UPS):
// when FedBy ends, UPS runs on from its own battery.
type Link struct {
	UPS   string `json:"ups"`
	FedBy string `json:"fed_by"`
}

// Maintenance is the operator's word that a UPS is worked on: nothing it says leads to a
// shutdown until it ends. A power supply that reports its input lost is still believed.
type Maintenance struct {
	UPS    string        `json:"ups,omitempty"` // empty: every UPS
	Since  time.Duration `json:"since"`         // on the agent's monotonic clock
	Until  time.Duration `json:"until"`         // ends by itself then
	Reason string        `json:"reason"`
	By     string        `json:"by,omitempty"` // who declared it
}

// MaintenanceOf returns what is declared for the UPS at now, the one that lasts longest,
// or nil.
func (s *Snapshot) MaintenanceOf(ups string, now time.Duration) *Maintenance {
	var found *Maintenance
	for i := range s.Maintenance {
		m := &s.Maintenance[i]
		if (m.UPS == "" || m.UPS == ups) && m.Since <= now && now < m.Until && (found == nil || m.Until > found.Until) {
			found = m
		}
	}
	return found
}
