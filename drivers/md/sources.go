package md

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"

	"github.com/prometheus/procfs"
	"github.com/prometheus/procfs/sysfs"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// read takes one pass over the sources. The error wraps ErrNoData when this kernel has
// no md at all.
func (src sources) read(ctx context.Context) (*survey, error) {
	s := &survey{}
	var stopped []string
	var sysErr error
	if src.sys != "" {
		s.sets, stopped, sysErr = readSysfs(ctx, src.sys)
		if ctx.Err() != nil {
			return nil, drivers.Unreachable(ctx.Err())
		}
	}
	if src.mdstat != "" {
		if err := s.addMdstat(ctx, src, stopped); err != nil {
			return nil, err
		}
	} else if sysErr != nil || len(s.sets) == 0 {
		return nil, noMD(sysErr)
	}
	if sysErr != nil && !errors.Is(sysErr, fs.ErrNotExist) {
		s.note("sysfs cannot be read, mdstat is used: %v", sysErr)
	}
	for _, id := range stopped {
		s.note("%s: %v", id, errStopped)
	}
	return s, nil
}

func noMD(err error) error {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return drivers.Classify(err)
	}
	return fmt.Errorf("%w: no md array and no mdstat", drivers.ErrNoData)
}

// addMdstat reads mdstat and takes from it what sysfs does not have. Where sysfs has
// arrays, an mdstat that cannot be read is only worth a note.
func (s *survey) addMdstat(ctx context.Context, src sources, stopped []string) error {
	data, err := readMdstat(src.mdstat)
	if ctx.Err() != nil {
		return drivers.Unreachable(ctx.Err())
	}
	var sets []facts
	var notes []string
	if err == nil {
		s.mdstat = data
		sets, notes, err = parseMdstat(data)
	}
	if err != nil {
		if len(s.sets) == 0 {
			if errors.Is(err, fs.ErrNotExist) {
				return noMD(err)
			}
			return drivers.Classify(err)
		}
		s.note("mdstat cannot be read: %v", err)
		return nil
	}
	s.notes = append(s.notes, notes...)
	for _, f := range sets {
		if !slices.Contains(stopped, f.id) {
			s.merge(f, src.sys != "")
		}
	}
	return nil
}

// merge takes an array from mdstat where sysfs lacks it or could not be read.
func (s *survey) merge(f facts, haveSysfs bool) {
	i := slices.IndexFunc(s.sets, func(have facts) bool { return have.id == f.id })
	switch {
	case i < 0:
		if haveSysfs && f.err == nil {
			f.notes = append(f.notes, "its files in sysfs are missing, mdstat is used")
		}
		s.sets = append(s.sets, f)
	case s.sets[i].err != nil && f.err == nil:
		f.notes = append(f.notes, fmt.Sprintf("mdstat is used: %v", s.sets[i].err))
		s.sets[i] = f
	}
}

func readMdstat(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxMdstat+1))
	if err == nil && len(data) > maxMdstat {
		err = fmt.Errorf("%w: mdstat of more than %d bytes", drivers.ErrProtocol, maxMdstat)
	}
	return data, err
}

// witness is what procfs says of one array.
type witness struct {
	source, id     string
	total, working int
}

// witnesses asks procfs for the same arrays. It gives up at the first array or line it
// does not understand, so its errors are logged and nothing more.
func (src sources) witnesses(ctx context.Context, log *slog.Logger) []witness {
	var out []witness
	for _, ask := range []struct {
		root string
		from func(string) ([]witness, error)
	}{{src.sys, sysfsWitnesses}, {src.proc, mdstatWitnesses}} {
		if ask.root == "" || ctx.Err() != nil {
			continue
		}
		w, err := guarded(ask.from, ask.root)
		if err != nil {
			log.Debug("procfs cannot read md", "root", ask.root, "err", err)
		}
		out = append(out, w...)
	}
	return out
}

// guarded turns a panic in procfs into an error: its mdstat parser slices a one-letter
// personality out of range (v0.19.2).
func guarded(from func(string) ([]witness, error), root string) (w []witness, err error) {
	defer func() {
		if p := recover(); p != nil {
			w, err = nil, fmt.Errorf("panic: %v", p)
		}
	}()
	return from(root)
}

// sysfsWitnesses gives what was read before the first error, too.
func sysfsWitnesses(root string) ([]witness, error) {
	tree, err := sysfs.NewFS(root)
	if err != nil {
		return nil, err
	}
	raids, err := tree.Mdraids()
	var out []witness
	for _, r := range raids {
		if slices.Contains([]string{"raid1", "raid4", "raid5", "raid6", "raid10"}, r.Level) && r.Disks <= maxDisks && r.DegradedDisks <= r.Disks {
			out = append(out, witness{"sysfs", r.Device, int(r.Disks), int(r.Disks - r.DegradedDisks)})
		}
	}
	return out, err
}

func mdstatWitnesses(root string) ([]witness, error) {
	tree, err := procfs.NewFS(root)
	if err != nil {
		return nil, err
	}
	stats, err := tree.MDStat()
	var out []witness
	for _, m := range stats {
		if m.DisksTotal > 0 && m.DisksTotal <= maxDisks {
			out = append(out, witness{"mdstat", m.Name, int(m.DisksTotal), int(m.DisksActive)})
		}
	}
	return out, err
}

// compare notes where procfs counts other members than the array's own do.
func (s *survey) compare(witnesses []witness) {
	for _, w := range witnesses {
		i := slices.IndexFunc(s.sets, func(f facts) bool { return f.id == w.id })
		if i < 0 {
			s.disagree("%s: procfs finds it in %s, this driver does not", w.id, w.source)
			continue
		}
		f := &s.sets[i]
		if f.err != nil || f.inactive || f.container {
			continue
		}
		if working := f.disks - f.missing(); w.total != f.disks || w.working != working {
			s.disagree("%s: %s counts %d of %d members working, the members themselves %d of %d",
				w.id, w.source, w.working, w.total, working, f.disks)
		} else if a, _ := judge(f, 0); a.State == dodai.ArrayFailed && w.working == w.total {
			s.disagree("%s: %s counts all %d members working, the array has failed", w.id, w.source, w.total)
		}
	}
}

func (s *survey) disagree(format string, args ...any) {
	s.disagreements = append(s.disagreements, fmt.Sprintf(format, args...))
}
