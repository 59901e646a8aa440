package agent

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/bootlog"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

func TestMeasuredPowerOff(t *testing.T) {
	p := powerOffAsked{Monotonic: 1000 * time.Second}
	tests := map[string]struct {
		end  bootlog.End
		want shutdown.Measured
	}{
		"journald was stopped":         {bootlog.End{At: 1030 * time.Second, How: bootlog.Stopped}, shutdown.Measured{Took: 40 * time.Second, Complete: true}},
		"journald let go of /var":      {bootlog.End{At: 1030 * time.Second, How: bootlog.Released}, shutdown.Measured{Took: 50 * time.Second, Complete: true}},
		"it broke off":                 {bootlog.End{At: 1030 * time.Second, How: bootlog.BrokeOff}, shutdown.Measured{Took: 30 * time.Second}},
		"the last did not reach disk":  {bootlog.End{At: 990 * time.Second, How: bootlog.BrokeOff}, shutdown.Measured{}},
		"an old stop is not this one":  {bootlog.End{At: 990 * time.Second, How: bootlog.Stopped}, shutdown.Measured{}},
		"as long as it may ever take":  {bootlog.End{At: 1000*time.Second + longestToDark, How: bootlog.BrokeOff}, shutdown.Measured{Took: longestToDark}},
		"in the same moment, in order": {bootlog.End{At: 1000 * time.Second, How: bootlog.Stopped}, shutdown.Measured{Took: 10 * time.Second, Complete: true}},
	}
	for name, tt := range tests {
		if got, err := p.measured(tt.end); err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, tt.want)
		}
	}
	if got, err := p.measured(bootlog.End{At: 1001*time.Second + longestToDark, How: bootlog.Stopped}); err == nil {
		t.Errorf("a machine that ran on: %+v, want an error", got)
	}
}

func TestRestorePowerOff(t *testing.T) {
	p := powerOffAsked{stamp: stamp{BootID: "boot-1"}, Monotonic: time.Second}
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		asked, learned, boot string
		inBoot, before       bool
	}{
		"the same boot":              {string(data), "", "boot-1", true, false},
		"another boot":               {string(data), "", "boot-2", false, true},
		"learned from":               {string(data), `{"boot_id":"boot-1","monotonic":1000000000}`, "boot-2", false, false},
		"another of it learned from": {string(data), `{"boot_id":"boot-1","monotonic":7}`, "boot-2", false, true},
		"called off":                 {"null", "", "boot-2", false, false},
		"no boot id now":             {string(data), "", "", false, false},
		"no boot id then":            {`{"monotonic":5}`, "", "boot-2", false, false},
		"no instant":                 {`{"boot_id":"boot-1"}`, "", "boot-2", false, false},
	} {
		var learned []byte
		if tt.learned != "" {
			learned = []byte(tt.learned)
		}
		got, err := restorePowerOff([]byte(tt.asked), learned, stamp{BootID: tt.boot})
		if err != nil || (got.asked != nil) != tt.inBoot || (got.before != nil) != tt.before {
			t.Errorf("%s: %+v, %v; want asked %v, before %v", name, got, err, tt.inBoot, tt.before)
		}
	}
	if _, err := restorePowerOff([]byte("{"), nil, stamp{BootID: "boot-2"}); err == nil {
		t.Error("a damaged request is no error")
	}
	if _, err := restorePowerOff(data, []byte("{"), stamp{BootID: "boot-2"}); err == nil {
		t.Error("a damaged mark is no error")
	}
}

// Whatever lies in the journal, a power-off stands in this boot or in an earlier one,
// never in both.
func FuzzRestorePowerOff(f *testing.F) {
	f.Add(`{"boot_id":"b","monotonic":5}`, `{"boot_id":"b","monotonic":5}`)
	f.Add(`{"boot_id":"a","monotonic":5}`, `null`)
	f.Add(`null`, ``)
	f.Fuzz(func(t *testing.T, asked, learned string) {
		got, err := restorePowerOff([]byte(asked), []byte(learned), stamp{BootID: "b"})
		switch {
		case err != nil && got != (powerOffLoop{}), got.asked != nil && got.before != nil:
			t.Fatalf("%+v, %v", got, err)
		case got.asked != nil && got.asked.BootID != "b", got.before != nil && (got.before.BootID == "b" || got.before.Monotonic <= 0):
			t.Fatalf("asked %+v, before %+v", got.asked, got.before)
		}
	})
}
