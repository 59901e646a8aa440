package dummy

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/drivers"
)

// opened is a driver on a device that answers, with its file for orders at cut.
func opened(t *testing.T, cut string) drivers.Cutter {
	t.Helper()
	f := &file{t: t, path: filepath.Join(t.TempDir(), "ups.json")}
	f.Flip(0)
	d, err := Factory.Open("u1", map[string]string{"port": f.path, "cut": cut}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d.(drivers.Cutter)
}

// The order stands in the file, whole and alone, until it is called off.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "order")
	d := opened(t, path)
	for _, c := range []drivers.Cut{{Off: 1500 * time.Millisecond, On: time.Minute}, {Off: -time.Second}} {
		told, err := d.Cut(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		var o Order
		if err != nil || json.Unmarshal(data, &o) != nil || o.OffS != told.Off.Seconds() || o.OnS != told.On.Seconds() || told.Off != max(c.Off, 0) {
			t.Errorf("Cut(%v) told %v and wrote %q, %v", c, told, data, err)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
			t.Errorf("%d files beside the order, %v", len(list)-1, err)
		}
	}
	if err := d.StopCut(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the order is left behind")
	}
}

func TestCutErrors(t *testing.T) {
	full := filepath.Join(t.TempDir(), "taken")
	if err := os.MkdirAll(filepath.Join(full, "by a directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, cut   string
		check, told error
	}{
		{"no option", "", drivers.ErrUnable, drivers.ErrUnable},
		{"no directory", "/no/such/directory/order", drivers.ErrUnreachable, drivers.ErrUnreachable},
		{"a directory in its place", full, nil, drivers.ErrUnreachable},
	} {
		d := opened(t, tt.cut)
		if err := d.CheckCut(t.Context(), drivers.Cut{}); !errors.Is(err, tt.check) {
			t.Errorf("%s: CheckCut = %v, want %v", tt.name, err, tt.check)
		}
		_, err := d.Cut(t.Context(), drivers.Cut{})
		if e, ok := errors.AsType[*drivers.Error](err); !ok || !errors.Is(err, tt.told) || e.Device != "u1" {
			t.Errorf("%s: Cut = %v, want the driver's %v", tt.name, err, tt.told)
		}
	}
}
