package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/collectors"
)

func (p *player) schedule() collectors.Schedule {
	return collectors.Schedule{
		Line: p.s.PollLine, Battery: p.pol.PollBattS.D(), Retry: p.pol.RetryS.D(), Retries: 3,
	}
}

// fromDefaults is the site of a scenario that starts from nothing: its UPSes and, where
// it says anything about power supplies, the BMC that tells of them.
func (p *player) fromDefaults() *dodai.Snapshot {
	s := &dodai.Snapshot{At: p.base, Wall: p.wall, BootedAt: 0, AgentStartedAt: p.base / 2, Paths: p.s.Paths, Links: p.s.Links}
	p.bind = map[string]string{}
	begin := new(defaults())
	for _, id := range p.s.UPSes {
		p.bind[id] = id
		p.add(dodai.DeviceState{Name: id, Kind: dodai.KindUPS, Driver: "scenario", StaleAfter: p.staleAfter()}, begin)
	}
	if p.s.hasBMC() {
		p.add(dodai.DeviceState{Name: BMC, Kind: dodai.KindPSUs, Driver: "scenario", StaleAfter: p.staleAfter()}, p.s.suppliesAtRest())
	}
	for _, d := range p.devices {
		s.Devices = append(s.Devices, &d.state)
	}
	return s
}

func (p *player) staleAfter() time.Duration { return max(3*p.s.PollLine, p.pol.StaleS.D()) }

// add puts a device to its place in the order of names.
func (p *player) add(state dodai.DeviceState, begin *dodai.Reading) {
	d := &playedDevice{state: state, begin: begin, schedule: p.schedule()}
	i, _ := slices.BinarySearchFunc(p.devices, d, func(a, b *playedDevice) int { return cmp.Compare(a.state.Name, b.state.Name) })
	p.devices = slices.Insert(p.devices, i, d)
}

// fromSnapshot is the real site: its UPSes and power supplies are played on from what
// they said last, everything else stands.
func (p *player) fromSnapshot(start *dodai.Snapshot) (*dodai.Snapshot, error) {
	for _, d := range start.Devices {
		if d.Reading == nil || d.Kind != dodai.KindUPS && d.Kind != dodai.KindPSUs {
			continue
		}
		p.add(*d, d.Reading)
	}
	bound, err := bindUPSes(p.s.UPSes, p.opts.Bind, p.upsNames())
	p.bind = bound
	s := *start
	s.Devices = slices.Clone(start.Devices)
	for i, dev := range s.Devices {
		for _, d := range p.devices {
			if d.state.Name == dev.Name {
				s.Devices[i] = &d.state
			}
		}
	}
	return &s, err
}

func (p *player) upsNames() []string {
	var names []string
	for _, d := range p.devices {
		if d.state.Kind == dodai.KindUPS {
			names = append(names, d.state.Name)
		}
	}
	return names
}

// bindUPSes says which UPS of the scenario each real one plays.
func bindUPSes(ids []string, wish map[string]string, names []string) (map[string]string, error) {
	if len(wish) > 0 {
		for name, id := range wish {
			if !slices.Contains(ids, id) || !slices.Contains(names, name) {
				return nil, fmt.Errorf("UPS %s cannot play %s: the scenario has %s, answering are %s",
					name, id, strings.Join(ids, ", "), strings.Join(names, ", "))
			}
		}
		return wish, nil
	}
	bound := map[string]string{}
	var left []string
	for _, id := range ids {
		if slices.Contains(names, id) {
			bound[id] = id
		} else {
			left = append(left, id)
		}
	}
	for _, name := range names {
		if len(left) > 0 && bound[name] == "" {
			bound[name], left = left[0], left[1:]
		}
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("the scenario has %d UPSes, only %d answer here", len(ids), len(names))
	}
	return bound, nil
}
