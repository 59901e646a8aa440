package nut

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// captures returns the paths of published device dumps, where there are any beside
// the repository.
func captures(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(peer.Shared(t, "corpus", "nut-ddl"), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".dev") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d captures, %v", len(paths), err)
	}
	return paths
}

// TestCaptures serves every dump from the fake.
func TestCaptures(t *testing.T) {
	for _, path := range captures(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			vars := loadDev(t, path)
			f := newFake(t, "u1")
			f.vars = vars
			r, err := poll(t, open(t, map[string]string{"address": f.addr()}), 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, r, vars)
			checkStatusWords(t, r, vars["ups.status"])
			checkTypes(t, r)
			checkPlausible(t, listOf(vars))
		})
	}
}

// checkStatusWords: each word is a flag of the reading or told in a note, and none is
// made up.
func checkStatusWords(t *testing.T, r dodai.Reading, text string) {
	t.Helper()
	var want dodai.Status
	for word := range strings.FieldsSeq(text) {
		flag, unknown := dodai.ParseStatus(word)
		want |= flag
		if len(unknown) > 0 && !strings.Contains(strings.Join(r.Notes, "\n"), `"`+word+`"`) {
			t.Errorf("status word %q is neither a flag nor a note", word)
		}
	}
	if r.Status != want {
		t.Errorf("%q reads as %v, want %v", text, r.Status, want)
	}
}

// checkTypes: what decisions are made from are numbers, what identifies a device is
// text.
func checkTypes(t *testing.T, r dodai.Reading) {
	t.Helper()
	for _, name := range []string{dodai.BatteryCharge, dodai.BatteryChargeLow, dodai.BatteryRuntime, dodai.BatteryRuntimeLow,
		dodai.InputVoltage, dodai.InputVoltageNom, dodai.OutputVoltage, dodai.UPSLoad, dodai.UPSTimerShutdown} {
		if v, there := r.Vars[name]; there {
			if _, isNumber := v.Float(); !isNumber {
				t.Errorf("%s = %q, want a number", name, v)
			}
		}
	}
	for name, v := range r.Vars {
		_, isNumber := v.Float()
		for _, part := range []string{"serial", "firmware", "model", "mfr", "date", "driver.", "vendorid", "productid", ".id", ".desc"} {
			if isNumber && strings.Contains(name, part) {
				t.Errorf("%s = %v, want it as text", name, v)
			}
		}
	}
}

// TestCapturesRealUPSD serves every eighth dump from a real dummy-ups.
func TestCapturesRealUPSD(t *testing.T) {
	devs := map[string]string{}
	for i, path := range captures(t) {
		if i%8 == 0 {
			dev, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			devs["u"+string(rune('a'+i/8))] = string(dev)
		}
	}
	u := peer.StartUPSD(t, devs)
	for _, ups := range slices.Sorted(maps.Keys(devs)) {
		r, err := poll(t, open(t, map[string]string{"address": u.Addr(), "ups": ups}), 5*time.Second)
		if err != nil {
			t.Errorf("%s: %v", ups, err)
			continue
		}
		all := u.UpscAll(ups)
		compare(t, r, all)
		checkStatusWords(t, r, all["ups.status"])
		checkTypes(t, r)
	}
}
