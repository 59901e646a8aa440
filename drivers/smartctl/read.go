package smartctl

import (
	"context"
	"errors"
	"fmt"
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
