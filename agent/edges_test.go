package agent

import (
	"strings"
	"testing"

	"github.com/dodai-agent/dodai"
)

func TestEdges(t *testing.T) {
	psus := func(states ...dodai.PSUState) *dodai.Reading {
		r := &dodai.Reading{Kind: dodai.KindPSUs}
		for i, s := range states {
			r.PSUs = append(r.PSUs, dodai.PSU{ID: "10." + string(rune('1'+i)), Name: "PSU", State: s})
		}
		return r
	}
	array := func(s dodai.ArrayState, failing ...string) *dodai.Reading {
		return &dodai.Reading{Kind: dodai.KindArrays, Arrays: []dodai.Array{{ID: "md0", Level: "raid6", State: s, Failing: failing}}}
	}
	container := &dodai.Reading{Kind: dodai.KindArrays, Arrays: []dodai.Array{{ID: "md127", Level: "container", State: dodai.ArrayInactive}}}
	disk := func(v dodai.Verdict) *dodai.Reading {
		return &dodai.Reading{Kind: dodai.KindDisks, Disks: []dodai.Disk{
			{Device: "/dev/bus/0", Type: "megaraid,0", Verdict: dodai.VerdictOK}, {Device: "/dev/bus/0", Type: "megaraid,1", Verdict: v},
		}}
	}
	asleep := disk(dodai.VerdictUnreadable)
	asleep.Disks[1].Standby = true
	for _, tc := range []struct {
		name          string
		before, after *dodai.Reading
		want          string // events and what they are about
	}{
		{"nothing was read", nil, nil, ""},
		{"a failed poll keeps the reading", psus(dodai.PSUOK), nil, ""},
		{"healthy at the first sight", nil, psus(dodai.PSUOK, dodai.PSUOK), ""},
		{"an empty bay at the first sight", nil, psus(dodai.PSUOK, dodai.PSUAbsent), ""},
		{"failed at the first sight", nil, psus(dodai.PSUOK, dodai.PSUFailed), "psu_lost 10.2"},
		{"input lost", psus(dodai.PSUOK, dodai.PSUOK), psus(dodai.PSUOK, dodai.PSUInputLost), "psu_lost 10.2"},
		{"pulled", psus(dodai.PSUOK, dodai.PSUOK), psus(dodai.PSUAbsent, dodai.PSUOK), "psu_lost 10.1"},
		{"from one loss to another", psus(dodai.PSUInputLost), psus(dodai.PSUFailed), ""},
		{"back", psus(dodai.PSUInputLost), psus(dodai.PSUOK), "psu_restored 10.1"},
		{"back, but with a warning", psus(dodai.PSUFailed), psus(dodai.PSUWarning), ""},
		{"optimal at the first sight", nil, array(dodai.ArrayOptimal), ""},
		{"degraded at the first sight", nil, array(dodai.ArrayDegraded, "sda"), "array_degraded md0"},
		{"degraded", array(dodai.ArrayOptimal), array(dodai.ArrayDegraded, "sda"), "array_degraded md0"},
		{"a second drive", array(dodai.ArrayDegraded, "sda"), array(dodai.ArrayDegraded, "sda", "sdb"), "array_degraded md0"},
		{"rebuilding is no news", array(dodai.ArrayDegraded, "sda"), array(dodai.ArrayRebuilding, "sda"), ""},
		{"failed after degraded", array(dodai.ArrayDegraded, "sda"), array(dodai.ArrayFailed, "sda"), "array_degraded md0"},
		{"stopped after optimal", array(dodai.ArrayOptimal), array(dodai.ArrayInactive), "array_degraded md0"},
		{"stopped after degraded", array(dodai.ArrayDegraded, "sda"), array(dodai.ArrayInactive, "sda"), "array_degraded md0"},
		{"a supply that is in the list no more", psus(dodai.PSUOK, dodai.PSUOK), psus(dodai.PSUOK), "psu_lost 10.2"},
		{"an array that is in the list no more", array(dodai.ArrayOptimal), &dodai.Reading{Kind: dodai.KindArrays}, "array_degraded md0"},
		{"a disk that is in the list no more", disk(dodai.VerdictOK), &dodai.Reading{Kind: dodai.KindDisks, Disks: disk(dodai.VerdictOK).Disks[:1]}, "disk_verdict_changed /dev/bus/0"},
		{"a disk that sleeps", disk(dodai.VerdictOK), asleep, ""},
		{"rebuilt", array(dodai.ArrayRebuilding, "sda"), array(dodai.ArrayOptimal), "array_restored md0"},
		{"unknown is no loss", array(dodai.ArrayOptimal), array(dodai.ArrayUnknown), ""},
		{"a container is never active", nil, container, ""},
		{"a good disk at the first sight", nil, disk(dodai.VerdictOK), ""},
		{"a bad disk at the first sight", nil, disk(dodai.VerdictWarning), "disk_verdict_changed /dev/bus/0"},
		{"one of two behind one device", disk(dodai.VerdictOK), disk(dodai.VerdictCritical), "disk_verdict_changed /dev/bus/0"},
		{"no change", disk(dodai.VerdictCritical), disk(dodai.VerdictCritical), ""},
		{"better again", disk(dodai.VerdictUnreadable), disk(dodai.VerdictOK), "disk_verdict_changed /dev/bus/0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := &dodai.DeviceState{Name: "d", Reading: tc.before}
			after := &dodai.DeviceState{Name: "d", Reading: tc.after}
			var got []string
			for _, ev := range edges(before, after) {
				got = append(got, string(ev.Name)+" "+ev.Device)
				if ev.Text == "" || len(ev.Fields) == 0 {
					t.Errorf("event %s without text or fields: %+v", ev.Name, ev)
				}
			}
			if s := strings.Join(got, ", "); s != tc.want {
				t.Errorf("edges are %q, want %q", s, tc.want)
			}
			if more := edges(after, after); more != nil {
				t.Errorf("the same reading again raises %v", more)
			}
		})
	}
}

func TestEdgesWithoutABefore(t *testing.T) {
	r := &dodai.Reading{Disks: []dodai.Disk{{Device: "/dev/sda", Verdict: dodai.VerdictCritical, Model: "M", Serial: "S"}}}
	evs := edges(nil, &dodai.DeviceState{Name: "d", Reading: r})
	if len(evs) != 1 || !strings.Contains(evs[0].Text, "before: not seen before") {
		t.Errorf("edges = %+v, want one that says that the disk was not seen before", evs)
	}
}
