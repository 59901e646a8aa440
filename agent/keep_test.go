package agent

import (
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// kept is a view of u1, read at at, and of a disk that has nothing to keep.
func kept(at time.Duration, onBattery bool) *View {
	r := &dodai.Reading{Kind: dodai.KindUPS, Vars: dodai.Vars{dodai.BatteryCharge: dodai.Num(80), dodai.UPSAlarm: dodai.Text("x"), "ups.delay.start": dodai.Num(3)}}
	s := &dodai.Snapshot{At: at + time.Second, Wall: time.Unix(1000, 0).Add(at)}
	s = s.With(&dodai.DeviceState{Name: "u1", Kind: dodai.KindUPS, Reading: r, At: at}, s.At, s.Wall)
	s = s.With(&dodai.DeviceState{Name: "disks", Kind: dodai.KindDisks, Reading: &dodai.Reading{Kind: dodai.KindDisks}, At: at}, s.At, s.Wall)
	s = s.With(&dodai.DeviceState{Name: "u2", Kind: dodai.KindUPS}, s.At, s.Wall)
	return &View{Snapshot: s, Decision: policy.Decision{UPSes: []policy.UPSView{{UPS: "u1", OnBattery: onBattery}}}}
}

func TestKeeper(t *testing.T) {
	var k keeper
	for _, tc := range []struct {
		name      string
		at        time.Duration // of the reading; now is a second later
		onBattery bool
		want      int
	}{
		{"the first reading", 0, false, 1},
		{"too soon on line", 30 * time.Second, false, 0},
		{"a minute later", 61 * time.Second, false, 1},
		{"the same reading again", 61 * time.Second, false, 0},
		{"on battery, after ten seconds", 72 * time.Second, true, 1},
		{"on battery, too soon", 75 * time.Second, true, 0},
	} {
		got := k.due(kept(tc.at, tc.onBattery), tc.at+time.Second)
		if len(got) != tc.want {
			t.Errorf("%s: %d samples, want %d: %v", tc.name, len(got), tc.want, got)
		}
		for _, s := range got {
			if s.Device != "u1" || s.Name != dodai.BatteryCharge || s.Value != 80 || !s.At.Equal(time.Unix(999, 0).Add(tc.at)) {
				t.Errorf("%s: sample %+v, want u1's charge at the time of its reading", tc.name, s)
			}
		}
	}
}
