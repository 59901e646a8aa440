package rack

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/dummy"
	"github.com/dodai-agent/dodai/drivers/megatec"
	"github.com/dodai-agent/dodai/drivers/snmp"
)

// read asks a device of the rack by its real driver.
func read(t *testing.T, f drivers.Factory, opts map[string]string) dodai.Reading {
	t.Helper()
	drv, err := f.Open("d", opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer drv.Close()
	r, err := drv.Poll(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", f.Name, err)
	}
	return r
}

// The rack's devices answer their real drivers, and an outage on one feed shows on its
// UPS alone.
func TestRack(t *testing.T) {
	r, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a := func() dodai.Reading { return read(t, megatec.Factory, map[string]string{"port": r.A.Path()}) }
	b := func() dodai.Reading {
		return read(t, snmp.Factory, map[string]string{"address": r.B.Addr(), "community": "public"})
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if ok() {
				return
			}
		}
		t.Fatalf("not within 20 s: %s; A %v, B %v", what, a(), b())
	}
	if got := a(); !got.Status.Has(dodai.OL) {
		t.Errorf("A says %v, want OL", got.Status)
	}
	if got := b(); !got.Status.Has(dodai.OL) || got.Vars[dodai.BatteryCharge] != dodai.Num(100) || got.Vars[dodai.BatteryRuntime] != dodai.Num(Battery.Seconds()) {
		t.Errorf("B says %v, %v; want OL and a full battery of %v", got.Status, got.Vars, Battery)
	}

	lost := time.Now()
	r.SetMains("B", false)
	eventually("B on battery", func() bool { return b().Status.Has(dodai.OB) })
	if got := a(); !got.Status.Has(dodai.OL) {
		t.Errorf("A says %v when feed B failed, want OL", got.Status)
	}
	time.Sleep(2 * time.Second)
	runtime, ok := b().Vars.Float(dodai.BatteryRuntime)
	if gone := time.Since(lost).Seconds(); !ok || runtime > Battery.Seconds()-1 || runtime < Battery.Seconds()-gone-2 {
		t.Errorf("B has %v s left %v s after the mains failed, want it to count down", runtime, gone)
	}
	r.SetMains("B", true)
	r.SetMains("A", false)
	eventually("A on battery, B on line", func() bool { return a().Status.Has(dodai.OB) && b().Status.Has(dodai.OL) })
	r.SetMains("A", true)
	eventually("A on line", func() bool { return a().Status.Has(dodai.OL) })

	if got := read(t, dummy.Factory, map[string]string{"port": r.PSUFile()}); got.Kind != dodai.KindPSUs || len(got.PSUs) != 2 || got.PSUs[1].State != dodai.PSUOK {
		t.Errorf("supplies %+v", got)
	}
	if got := read(t, dummy.Factory, map[string]string{"port": r.ArrayFile()}); got.Kind != dodai.KindArrays || len(got.Arrays) != 1 || got.Arrays[0].State != dodai.ArrayOptimal {
		t.Errorf("arrays %+v", got)
	}
	path := r.A.Path()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Errorf("%s is left behind", path)
	}
}

func TestNewWhereNothingCanBeWritten(t *testing.T) {
	if r, err := New("/proc/nothing-can-be-made-here"); err == nil || !strings.Contains(err.Error(), "serial UPS") {
		t.Errorf("New = %v, %v; want an error that says what failed", r, err)
	}
}

func TestWriteJSON(t *testing.T) {
	path := t.TempDir() + "/x.json"
	if err := writeJSON(path, map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	var got map[string]int
	if err != nil || json.Unmarshal(data, &got) != nil || got["a"] != 1 {
		t.Errorf("%s, %v", data, err)
	}
	if writeJSON(path, func() {}) == nil || writeJSON("/nonexistent/x", 1) == nil {
		t.Error("what cannot be written is no error")
	}
}
