package dummy

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers/driverstest"
)

// file is a peer that is a file: what it says is what stands in it.
type file struct {
	t     *testing.T
	path  string
	state int
}

func (f *file) Options() map[string]string {
	return map[string]string{"port": f.path, "cut": f.path + ".cut"}
}

func (f *file) CutPending() bool {
	_, err := os.Stat(f.path + ".cut")
	return err == nil
}

func (f *file) content() []byte {
	return [][]byte{
		[]byte(`{"status":["OL"],"readings":{"battery.charge":100}}`),
		[]byte(`{"status":["OB","LB"],"readings":{"battery.charge":9}}`),
	}[f.state]
}

func (f *file) Flip(state int) { f.state = state; f.write(f.content()) }

func (f *file) write(b []byte) {
	os.Remove(f.path)
	if err := os.WriteFile(f.path, b, 0o600); err != nil {
		f.t.Error(err)
	}
}

func (f *file) Behave(b driverstest.Behaviour, _ time.Duration) {
	switch b {
	case driverstest.Normal:
		f.write(f.content())
	case driverstest.Silent: // a file that cannot be had
		os.Remove(f.path)
	case driverstest.Garbage:
		f.write([]byte("\x00\xff garbage"))
	case driverstest.Partial:
		f.write(f.content()[:20])
	case driverstest.Disconnect:
		os.Remove(f.path)
		if err := syscall.Mkdir(f.path, 0o700); err != nil { // reading a directory fails with EISDIR
			f.t.Error(err)
		}
	}
}

func TestContract(t *testing.T) {
	driverstest.Run(t, driverstest.Suite{
		Factory: Factory,
		NewPeer: func(t *testing.T) driverstest.Peer {
			f := &file{t: t, path: filepath.Join(t.TempDir(), "ups.json")}
			f.Flip(0)
			return f
		},
		Trouble: func(r dodai.Reading) bool { return r.Status.Has(dodai.OB | dodai.LB) },
		Skip:    map[driverstest.Behaviour]string{driverstest.Late: "a file answers at once"},
	})
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		ok       bool
	}{
		{"a UPS", `{"status":["OL"],"readings":{"battery.charge":99.5}}`, true},
		{"what probe prints", `{"driver":"snmp","kind":"ups","took_ms":3.1,"device":{"model":"x"},"status":["OL"],"readings":{},"notes":[]}`, true},
		{"arrays", `{"kind":"arrays","arrays":[{"id":"md0","state":"optimal","failing":[],"percent":null}]}`, true},
		{"a status that is a text", `{"status":"OL"}`, false},
		{"two documents", `{} {}`, false},
		{"nothing", ``, false},
	} {
		if _, err := parse(bytes.NewReader([]byte(tc.in))); (err == nil) != tc.ok {
			t.Errorf("%s: parse(%s): %v, want ok %v", tc.name, tc.in, err, tc.ok)
		}
	}
	if _, err := parse(bytes.NewReader(make([]byte, maxFile+1))); err == nil {
		t.Error("a file beyond the bound was read")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"status":["OB","LB"],"readings":{"battery.charge":1}}`))
	f.Add([]byte(`{"kind":"psus","psus":[{"id":"1","state":"ok"}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := parse(bytes.NewReader(in))
		if err != nil {
			return
		}
		if _, err := json.Marshal(r); err != nil {
			t.Errorf("parse(%q) cannot be written again: %v", in, err)
		}
	})
}
