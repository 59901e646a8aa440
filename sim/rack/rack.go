// Package rack is a simulated rack: one server with two power supplies on two feeds,
// a serial UPS on feed A and an SNMP UPS on feed B, and a mirrored pair of disks. Its
// devices speak the real wire protocols; the supplies and the array stand in files.
//
// It shares no code with the drivers that read it.
package rack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/sim/megatec"
	"github.com/dodai-agent/dodai/sim/snmpups"
)

// Battery is how long each of the two batteries lasts: short, so that an outage can be
// watched to its end.
const Battery = 30 * time.Second

// recharge is how much faster a battery fills than it empties. Real ones take ten times
// as long; nobody wants to watch that.
const recharge = 5

// lowAt is the charge at which the serial UPS says battery low.
const lowAt = 0.5

// Rack is the simulated rack.
type Rack struct {
	A *megatec.UPS // on feed A
	B *snmpups.UPS // on feed B

	dir string

	mu    sync.Mutex
	mains map[string]bool
	left  time.Duration // of the SNMP UPS's battery

	stop context.CancelFunc
	done chan struct{}
}

// New starts the rack's devices; files and the terminal's link go below dir.
func New(dir string) (*Rack, error) {
	a, err := megatec.New(megatec.Config{Dir: dir, Model: "RACK A", Runtime: Battery, LowAt: lowAt, Recharge: Battery / recharge})
	if err != nil {
		return nil, fmt.Errorf("serial UPS: %w", err)
	}
	b, err := snmpups.New(snmpups.Config{Flavour: snmpups.Both, Model: "Simulated 1500 B"})
	if err != nil {
		a.Close()
		return nil, fmt.Errorf("SNMP UPS: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &Rack{A: a, B: b, dir: dir, mains: map[string]bool{"A": true, "B": true}, left: Battery, stop: stop, done: make(chan struct{})}
	if err := r.writeFiles(); err != nil {
		stop()
		return nil, errors.Join(err, a.Close(), b.Close())
	}
	go r.run(ctx)
	return r, nil
}

// Close stops every device.
func (r *Rack) Close() error {
	r.stop()
	<-r.done
	return errors.Join(r.A.Close(), r.B.Close())
}

// SetMains takes a feed's mains away or gives it back.
func (r *Rack) SetMains(feed string, on bool) {
	r.mu.Lock()
	r.mains[feed] = on
	r.mu.Unlock()
	switch feed {
	case "A":
		r.A.SetMains(on)
	case "B":
		r.B.SetMains(on)
	}
}

// run drains and charges the SNMP UPS's battery in real time; the serial one has a
// battery of its own.
func (r *Rack) run(ctx context.Context) {
	defer close(r.done)
	const step = 200 * time.Millisecond
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	for {
		r.mu.Lock()
		if r.mains["B"] {
			r.left = min(Battery, r.left+recharge*step)
		} else {
			r.left = max(0, r.left-step)
		}
		left := r.left
		r.mu.Unlock()
		r.B.SetCharge(100 * left.Seconds() / Battery.Seconds())
		r.B.SetRuntime(left.Truncate(time.Second))
		r.B.SetLow(left <= Battery/5)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// PSUFile and ArrayFile hold the readings of the supplies and of the array, in the JSON
// form of a reading.
func (r *Rack) PSUFile() string { return filepath.Join(r.dir, "psus.json") }

// ArrayFile is described at PSUFile.
func (r *Rack) ArrayFile() string { return filepath.Join(r.dir, "arrays.json") }

func (r *Rack) writeFiles() error {
	psus := dodai.Reading{
		Kind: dodai.KindPSUs, SystemWatts: new(310.0),
		PSUs: []dodai.PSU{
			{ID: "10.1", Name: "PSU 1", State: dodai.PSUOK, Input: dodai.InputOK, Watts: new(160.0), CapacityWatts: new(750.0)},
			{ID: "10.2", Name: "PSU 2", State: dodai.PSUOK, Input: dodai.InputOK, Watts: new(150.0), CapacityWatts: new(750.0)},
		},
		Redundancy: []dodai.Redundancy{{Domain: "system", State: dodai.RedundancyFull, Reported: "simulated"}},
	}
	arrays := dodai.Reading{
		Kind: dodai.KindArrays,
		Arrays: []dodai.Array{{
			ID: "md0", Level: "raid1", State: dodai.ArrayOptimal, Missing: new(0), Failing: []string{},
			Spares: new(0), Activity: dodai.ActivityNone, ToleranceLeft: new(1),
		}},
		Drives: []dodai.Drive{{ID: "sda", State: dodai.DriveOnline, Slot: new(0)}, {ID: "sdb", State: dodai.DriveOnline, Slot: new(1)}},
	}
	return errors.Join(writeJSON(r.PSUFile(), psus), writeJSON(r.ArrayFile(), arrays))
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
