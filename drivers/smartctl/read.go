package smartctl

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// parallel is how many devices are read at once. Devices that share a name share a
// controller and are read one after the other.
const parallel = 2

// standbyStatus is the exit status asked for when the disk sleeps. smartctl's own
// default is 2, which also means that the device could not be opened.
const standbyStatus = 3

// answer is what reading one device gave.
type answer struct {
	out      drivers.Output
	err      error // the run failed; out is worth nothing
	detected string
}

// readAll reads every target and keeps their order.
func (d *driver) readAll(ctx context.Context, targets []target) []answer {
	answers := make([]answer, len(targets))
	queue := make(chan []int, len(targets))
	for _, group := range byName(targets) {
		queue <- group
	}
	close(queue)
	var wg sync.WaitGroup
	for range min(parallel, len(targets)) {
		wg.Go(func() {
			for group := range queue {
				for _, i := range group {
					answers[i] = d.readOne(ctx, targets[i])
				}
			}
		})
	}
	wg.Wait()
	return answers
}

// byName groups the targets' indexes by device name, in order.
func byName(targets []target) [][]int {
	var groups [][]int
	of := map[string]int{}
	for i, t := range targets {
		g, ok := of[t.Name]
		if !ok {
			g = len(groups)
			of[t.Name] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

func (d *driver) readOne(ctx context.Context, t target) answer {
	if err := ctx.Err(); err != nil {
		return answer{err: drivers.Unreachable(err)}
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	out, err := d.run(ctx, d.program, d.args(t)...)
	if err != nil {
		return answer{err: sentinel(err)}
	}
	d.log.Debug("read", "target", t.String(), "exit", out.Exit, "stdout", drivers.Quote(out.Stdout))
	a := answer{out: out}
	if doc, err := parseDocument(out.Stdout); err == nil && plainSCSI(t) && out.Exit&3 == 0 {
		a.detected = string(doc.Device.Type)
	}
	return a
}

// plainSCSI targets are left to smartctl to detect: its scan lists ATA disks behind a
// SAS controller or a bridge as "scsi", and with -d scsi it would read them as such.
func plainSCSI(t target) bool { return t.Type == "scsi" }

// args asks for identity, health, attributes and the two logs: what the rules need and
// no more, since each command costs the disk time (-x sends several times as many).
func (d *driver) args(t target) []string {
	args := []string{"--json=c"}
	if d.spareSleepers {
		args = append(args, "-n", fmt.Sprintf("standby,%d", standbyStatus))
	}
	args = append(args, "-i", "-H", "-A", "-l", "selftest")
	if !strings.HasPrefix(t.Type, "nvme") { // an NVMe error log holds mostly the host's own slips
		args = append(args, "-l", "error")
	}
	kind := t.Type
	if plainSCSI(t) && d.only.Name == "" {
		kind = d.detected[t]
	}
	if kind != "" {
		args = append(args, "-d", kind)
	}
	return append(args, t.Name)
}

// Reads reports whether args are one of the calls this driver makes: those that read, and
// nothing else of all that smartctl can do to a drive. It is for whoever runs them with
// more rights than the caller has.
func Reads(args []string) bool {
	if slices.Equal(args, scanArgs) {
		return true
	}
	if len(args) < 2 || args[0] != "--json=c" {
		return false
	}
	device := args[len(args)-1]
	if !strings.HasPrefix(device, "/dev/") || filepath.Clean(device) != device {
		return false
	}
	for rest := args[1 : len(args)-1]; len(rest) > 0; {
		switch rest[0] {
		case "-i", "-H", "-A":
			rest = rest[1:]
			continue
		}
		if len(rest) < 2 || !reading(rest[0], rest[1]) {
			return false
		}
		rest = rest[2:]
	}
	return true
}

// reading reports whether an option of smartctl with its value only reads.
func reading(option, value string) bool {
	switch option {
	case "-l":
		return value == "selftest" || value == "error"
	case "-n":
		return strings.HasPrefix(value, "standby")
	case "-d": // the type of a device may name another device, but does nothing to it
		return !strings.HasPrefix(value, "-")
	}
	return false
}

// disk judges an answer.
func (a answer) disk(t target, timeout time.Duration) dodai.Disk {
	if a.err == nil {
		disk := judge(a.out)
		disk.Device, disk.Type = t.Name, t.Type
		return disk
	}
	why := a.err.Error()
	if errors.Is(a.err, context.DeadlineExceeded) {
		why = fmt.Sprintf("no answer within the deadline (%v a device)", timeout)
	}
	return dodai.Disk{Device: t.Name, Type: t.Type, Verdict: dodai.VerdictUnreadable, Reasons: []string{why}}
}
