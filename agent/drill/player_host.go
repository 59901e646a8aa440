package drill

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// happen does what happens to the host, the agent or the operator.
func (p *player) happen(e Happening) {
	switch e.What {
	case "agent_stop":
		p.entry(e.What, "the agent stops")
		p.stop()
	case "agent_start":
		p.entry(e.What, "the agent starts")
		p.start()
	case "host_boot":
		p.entry(e.What, "the host boots")
		p.stop()
		p.snap.BootedAt = p.mono()
		p.start()
	case "clock_step":
		p.wall = p.wall.Add(e.Step)
	case "maintenance_on", "maintenance_off":
		p.maintain(e)
	}
}

// maintain declares a maintenance or ends it. The agent decides at once.
func (p *player) maintain(e Happening) {
	on := e.What == "maintenance_on"
	list := slices.Clone(p.snap.Maintenance)
	for _, name := range p.upsNames() {
		if e.Device != "" && e.Device != p.bind[name] {
			continue
		}
		list = slices.DeleteFunc(list, func(m dodai.Maintenance) bool { return m.UPS == name })
		if on {
			list = append(list, dodai.Maintenance{UPS: name, Since: p.mono(), Until: p.mono() + e.Step, Reason: p.s.ID})
		}
	}
	p.snap.Maintenance = list
	p.entry(e.What, cmp.Or(e.Device, "every UPS")+": "+map[bool]string{true: "maintenance begins", false: "maintenance ends"}[on])
	if p.alive() {
		p.decide()
	}
}

// stop ends the agent. What it remembers goes to disk, as JSON.
func (p *player) stop() {
	if !p.running {
		return
	}
	p.running = false
	p.saved, _ = json.Marshal(p.mem)
}

// start begins anew with what the agent before has left, and polls at once.
func (p *player) start() {
	p.stop()
	p.mem, p.last, p.running, p.off = policy.Memory{}, policy.Decision{}, true, 0
	if err := json.Unmarshal(p.saved, &p.mem); err != nil {
		p.entry("note", "what the agent remembered cannot be read: "+err.Error())
	}
	snap := *p.snap
	snap.At, snap.AgentStartedAt, snap.Devices = p.mono(), p.mono(), nil
	for _, d := range p.devices {
		d.state = dodai.DeviceState{Name: d.state.Name, Kind: d.state.Kind, Driver: d.state.Driver, StaleAfter: d.state.StaleAfter}
		d.next = p.now
		snap.Devices = append(snap.Devices, &d.state)
	}
	p.snap = &snap
}
