// Package md reads Linux software RAID: the arrays of the kernel's md driver.
//
// Two sources are read. Below /sys/block/mdX/md the kernel keeps one value per file
// (Linux Documentation/admin-guide/md.rst); /proc/mdstat is the older summary (mdadm's
// md(4) and mdstat's own text). The files in sysfs are the authority, since only they
// tell a hot spare from a rebuild target, a failed journal from a good one, and a
// drive that was pulled before md noticed; mdstat stands in for an array, or for all
// of them, whose files cannot be read. The same facts as github.com/prometheus/procfs
// reads them are compared afterwards, and a difference becomes a note.
//
// What an array is worth is counted from its members and from how many its level can
// lose, never taken from one word: mdstat calls a RAID 0 with a drive gone "active",
// array_state calls a RAID 5 with two drives gone "write-pending", and "degraded" says
// 0 while a failed journal makes every write fail.
package md

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// Factory is listed in drivers/all.
var Factory = drivers.Factory{
	Name:    "md",
	Kind:    dodai.KindArrays,
	Summary: "Linux software RAID (md): arrays, members, journals, spares, rebuilds",
	Options: []drivers.Option{
		{Key: "sys", Help: "where sysfs is mounted; /sys unless proc or mdstat is given alone", Example: "/host/sys"},
		{Key: "proc", Help: "where procfs is mounted; /proc unless sys is given alone", Example: "/host/proc"},
		{Key: "mdstat", Help: "file to read in place of proc's mdstat; given alone, nothing else is read", Example: "/tmp/mdstat"},
	},
	Poll:    10 * time.Second,
	Timeout: 5 * time.Second,
	Local:   false, // never back to back: arrays do not change faster on battery
	New:     open,
}

func open(cfg drivers.Config) (drivers.Driver, error) {
	return &driver{device: cfg.Device, src: sourcesFrom(cfg.Options), log: cfg.Log}, nil
}

// sources is what is read. An empty part is not.
type sources struct {
	sys    string // mount point of sysfs
	proc   string // mount point of procfs, for the cross-check
	mdstat string // file
}

// sourcesFrom fills in the defaults. A tree that was put elsewhere is never mixed with
// the other half of this machine's own: arrays of two machines would look like one's.
func sourcesFrom(opts map[string]string) sources {
	s := sources{sys: opts["sys"], proc: opts["proc"], mdstat: opts["mdstat"]}
	if s == (sources{}) {
		s = sources{sys: "/sys", proc: "/proc"}
	}
	if s.mdstat != "" {
		s.proc = ""
	} else if s.proc != "" {
		s.mdstat = s.proc + "/mdstat"
	}
	return s
}

type driver struct {
	device string
	src    sources
	log    *slog.Logger
	// pending is the sweep that was still reading when its poll's deadline passed; a
	// file of sysfs can hang for as long as the disk behind it does.
	pending <-chan outcome
	// agreed is what the last comparison with the second source found no fault with; nil:
	// there was none, or it did. The same facts need no other comparison. It belongs to the
	// sweep.
	agreed *survey
}

var _ drivers.Driver = (*driver)(nil)

// outcome is what one sweep over the files found.
type outcome struct {
	reading dodai.Reading
	err     error
}

// Poll reads everything once more. A file that hangs costs the poll its deadline and
// one goroutine for as long as it hangs, however often Poll is called meanwhile.
func (d *driver) Poll(ctx context.Context) (dodai.Reading, error) {
	if d.pending != nil { // its answer is an old one: wait for its end only
		if _, err := d.await(ctx); err != nil && d.pending != nil {
			return dodai.Reading{}, err
		}
	}
	done := make(chan outcome, 1)
	go func() {
		r, err := d.sweep(ctx)
		done <- outcome{r, err}
	}()
	d.pending = done
	return d.await(ctx)
}

// await waits for the pending sweep, and leaves it pending when ctx ends first.
func (d *driver) await(ctx context.Context) (dodai.Reading, error) {
	select {
	case o := <-d.pending:
		d.pending = nil
		return o.reading, o.err
	case <-ctx.Done():
		return dodai.Reading{}, d.fail("read md files", drivers.Unreachable(ctx.Err()))
	}
}

// Close lets nothing go: no file stays open between polls.
func (d *driver) Close() error { return nil }

func (d *driver) fail(op string, err error) error {
	err = drivers.Classify(err)
	for _, sentinel := range []error{drivers.ErrUnreachable, drivers.ErrProtocol, drivers.ErrDenied, drivers.ErrNoData} {
		if errors.Is(err, sentinel) {
			return &drivers.Error{Driver: "md", Device: d.device, Op: op, Err: err}
		}
	}
	return &drivers.Error{Driver: "md", Device: d.device, Op: op, Err: drivers.Unreachable(err)}
}

// sweep reads all sources, twice when they disagree: what changed between two reads is
// no disagreement.
func (d *driver) sweep(ctx context.Context) (dodai.Reading, error) {
	var s *survey
	for range 2 {
		var err error
		if s, err = d.src.read(ctx); err != nil {
			return dodai.Reading{}, d.fail("read md files", err)
		}
		if d.agreed != nil && reflect.DeepEqual(d.agreed.sets, s.sets) && bytes.Equal(d.agreed.mdstat, s.mdstat) {
			break
		}
		d.agreed = nil
		s.compare(d.src.witnesses(ctx, d.log))
		if len(s.disagreements) == 0 {
			d.agreed = &survey{sets: s.sets, mdstat: s.mdstat}
			break
		}
	}
	r, err := s.reading()
	if err != nil {
		return dodai.Reading{}, d.fail("read arrays", err)
	}
	return r, nil
}

// survey is everything one pass over the sources found.
type survey struct {
	sets          []facts
	mdstat        []byte // as it was read
	notes         []string
	disagreements []string
}

func (s *survey) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// reading judges each array. It fails only when there are arrays and none of them can
// be read.
func (s *survey) reading() (dodai.Reading, error) {
	r := dodai.Reading{Kind: dodai.KindArrays, Arrays: []dodai.Array{}}
	var firstErr error
	readable := 0
	for i := range s.sets {
		f := &s.sets[i]
		if f.err != nil {
			s.note("%s: %v", f.id, f.err)
			firstErr = errors.Join(firstErr, f.err)
		} else {
			readable++
		}
		a, notes := judge(f, s.containerSpares(f))
		r.Arrays = append(r.Arrays, a)
		for _, n := range append(f.notes, notes...) {
			s.note("%s: %s", f.id, n)
		}
	}
	if readable == 0 && firstErr != nil {
		return dodai.Reading{}, firstErr
	}
	r.Drives = s.drives()
	r.Notes = append(s.notes, s.disagreements...)
	return r, nil
}
