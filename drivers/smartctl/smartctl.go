// Package smartctl reads the drives' own account of their health through the program
// smartctl of smartmontools 7.0 or newer (smartctl(8); JSON output since 7.0).
//
// One run lists the devices, one more reads each. The exit status of smartctl is a bit
// mask and part of the answer: most drives that answer with something else than 0 are
// fine. The verdict rests on the counters that predict failure in published field data
// (Backblaze, "What SMART stats tell us about hard drives"; Pinheiro, Weber, Barroso:
// "Failure Trends in a Large Disk Drive Population", FAST 2007) and on the drive's own
// health flag, which means much when it says failed and little when it says passed.
package smartctl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// Factory is listed in drivers/all.
var Factory = drivers.Factory{
	Name:    "smartctl",
	Kind:    dodai.KindDisks,
	Summary: "disks' own health by smartctl: ATA, NVMe, SAS, and drives behind RAID controllers",
	Options: []drivers.Option{
		{Key: "smartctl", Help: "the program, by name or path", Default: "smartctl", Example: "/usr/sbin/smartctl"},
		{Key: "device", Help: "the one device to read; without it, all that smartctl --scan lists", Example: "/dev/sda"},
		{Key: "type", Help: "smartctl's -d for that device", Example: "megaraid,4"},
		{Key: "standby", Help: "yes leaves sleeping disks asleep, no wakes them", Default: "yes", Example: "yes"},
		{Key: "timeout", Help: "how long one run may take, as a duration", Default: "30s", Example: "30s"},
	},
	Poll:    30 * time.Minute,
	Timeout: 10 * time.Minute,
	Local:   false, // never back to back: each reading costs the disk time
	New:     open,
}

func open(cfg drivers.Config) (drivers.Driver, error) {
	d := &driver{device: cfg.Device, program: cfg.Options["smartctl"], log: cfg.Log, run: cfg.Runner(), detected: map[target]string{}}
	d.only = target{Name: cfg.Options["device"], Type: cfg.Options["type"]}
	if d.only.Name != "" && !strings.HasPrefix(d.only.Name, "/") {
		return nil, &drivers.OptionError{Key: "device", Got: d.only.Name, Want: "the path of a device", Example: "/dev/sda"}
	}
	if d.only.Type != "" && d.only.Name == "" {
		return nil, &drivers.OptionError{Key: "device", Want: "the device that type belongs to", Example: "/dev/sda", Missing: true}
	}
	if strings.HasPrefix(d.only.Type, "-") {
		return nil, &drivers.OptionError{Key: "type", Got: d.only.Type, Want: "a device type of smartctl", Example: "sat"}
	}
	var err error
	if d.spareSleepers, err = cfg.Bool("standby"); err != nil {
		return nil, err
	}
	d.timeout, err = cfg.Duration("timeout", 10*time.Millisecond, time.Hour)
	return d, err
}

// Program is the tool's usual name, and the option that names another one.
const Program = "smartctl"

// target is one device to read: behind a controller, several share a name.
type target struct{ Name, Type string }

func (t target) String() string {
	if t.Type == "" {
		return t.Name
	}
	return t.Name + " -d " + t.Type
}

type driver struct {
	device        string
	program       string
	only          target // Name empty: whatever the scan lists
	spareSleepers bool
	timeout       time.Duration
	log           *slog.Logger
	run           drivers.Runner
	// detected is what smartctl found a device listed as plain "scsi" to be, so that
	// the next reading need not detect it again.
	detected map[target]string
}

var _ drivers.Driver = (*driver)(nil)

// Poll lists the devices and reads each. A disk that cannot be read is in the reading
// with the verdict unreadable and the reason; the poll fails only when there is no
// smartctl, no device, no list of them, or no answer from any before ctx ends.
func (d *driver) Poll(ctx context.Context) (dodai.Reading, error) {
	targets, notes := []target{d.only}, []string(nil)
	if d.only.Name == "" {
		var err error
		if targets, notes, err = d.scan(ctx); err != nil {
			return dodai.Reading{}, d.fail("scan", err)
		}
	}
	answers := d.readAll(ctx, targets)
	if err := hopeless(ctx, answers); err != nil {
		return dodai.Reading{}, d.fail("read "+targets[0].String(), err)
	}
	r := dodai.Reading{Kind: dodai.KindDisks, Notes: notes}
	for i, a := range answers {
		r.Disks = append(r.Disks, a.disk(targets[i], d.timeout))
		if a.detected != "" {
			d.detected[targets[i]] = a.detected
		}
	}
	r.Notes = append(r.Notes, duplicates(r.Disks)...)
	return r, nil
}

// Close lets nothing go: no process outlives its poll.
func (d *driver) Close() error { return nil }

// hopeless is why the whole poll failed: nobody could be asked, or nobody answered
// before ctx ended.
func hopeless(ctx context.Context, answers []answer) error {
	answered := false
	for _, a := range answers {
		if errors.Is(a.err, drivers.ErrNoData) || errors.Is(a.err, drivers.ErrDenied) {
			return a.err // of the program, not of a disk
		}
		answered = answered || a.err == nil
	}
	switch err := ctx.Err(); {
	case errors.Is(err, context.Canceled), err != nil && !answered:
		return drivers.Unreachable(err)
	}
	return nil
}

func (d *driver) fail(op string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, drivers.ErrNoData):
		hint = "smartmontools must be installed, and the machine have disks of its own"
	case errors.Is(err, drivers.ErrProtocol):
		hint = "want smartctl 7.0 or newer, which can print JSON"
	case errors.Is(err, drivers.ErrDenied):
		hint = "smartctl must be executable, and needs root or CAP_SYS_RAWIO"
	}
	return &drivers.Error{Driver: "smartctl", Device: d.device, Op: op, Err: err, Hint: hint}
}

// scan lists the devices without opening them: opening would wake sleeping disks.
func (d *driver) scan(ctx context.Context) ([]target, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	out, err := d.run(ctx, d.program, scanArgs...)
	if err != nil {
		return nil, nil, sentinel(err)
	}
	d.log.Debug("scan", "exit", out.Exit, "stdout", drivers.Quote(out.Stdout))
	targets, notes, err := parseScan(out.Stdout)
	if err == nil && len(targets) == 0 {
		err = fmt.Errorf("%w: smartctl lists no device%s", drivers.ErrNoData, scanMessages(out.Stdout))
	}
	return targets, notes, err
}

// scanArgs list the devices.
var scanArgs = []string{"--scan", "--json=c"}

// sentinel makes sure that an error of running the program wraps one: what is not told
// apart by drivers.Run (killed by a signal, out of processes) is unreachable.
func sentinel(err error) error {
	for _, known := range []error{drivers.ErrUnreachable, drivers.ErrProtocol, drivers.ErrDenied, drivers.ErrNoData} {
		if errors.Is(err, known) {
			return err
		}
	}
	return drivers.Unreachable(err)
}

// duplicates notes drives that answered under two names: a disk behind a controller is
// often visible on its own as well.
func duplicates(disks []dodai.Disk) []string {
	var notes []string
	seen := map[string]target{}
	for _, disk := range disks {
		if disk.Serial == "" || disk.Model == "" {
			continue
		}
		key, this := disk.Model+"\x00"+disk.Serial, target{disk.Device, disk.Type}
		if first, dup := seen[key]; dup {
			notes = append(notes, fmt.Sprintf("%s is the same drive as %s (serial %s)", this, first, disk.Serial))
		} else {
			seen[key] = this
		}
	}
	return notes
}
