package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/journal"
)

// restartFile is what an upgrade leaves in the run directory when a newer program lies
// ready: the agent ends once nothing is under way, and the service manager starts the new
// one. Its first line is the version, as `dodai version` prints it or bare, or is empty.
const restartFile = "restart-wanted"

const (
	restartLook = 5 * time.Second // how often the agent looks for it
	maxWish     = 64              // bytes of it that are read
	journalLook = time.Minute     // how often an agent without a journal tries whether it could have one
)

// RestartStatus is a restart that waits until nothing is under way.
type RestartStatus struct {
	Version string  `json:"version,omitempty"` // that lies ready; empty: nobody said, or none does
	ForS    float64 `json:"for_s"`             // so long it has waited
	// Until is for what it waits: "the mains are back for good".
	Until string `json:"until"`
}

// restartWish is the wish for a restart. Once the loop has taken it in it is never changed.
type restartWish struct {
	version string
	journal bool // it is for the journal, not for a new version
	since   time.Duration
	until   string // it waits; empty: it need not
}

// errRestart is why Run ends when a restart was wanted and nothing was under way.
var errRestart = errors.New("the agent is started anew")

// runRestart ends the agent when a restart is wanted and nothing is under way, for as long
// as ctx lasts. What was wanted before the agent began has come with its start.
func (a *Agent) runRestart(ctx context.Context) error {
	path := filepath.Join(a.opts.RunDir, restartFile)
	var old fs.FileInfo
	if a.opts.RunDir != "" {
		old = a.takeWish(path)
	}
	ticker := time.NewTicker(restartLook)
	defer ticker.Stop()
	waiting, back := false, false // the journal could be opened
	tried := a.clock()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		var wish *restartWish
		if a.opts.RunDir != "" {
			wish = readWish(path, old)
		}
		if now := a.clock(); !back && now-tried >= journalLook {
			back, tried = a.journalBack(ctx), now
		}
		if wish == nil && back {
			wish = &restartWish{journal: true}
		}
		if wish == nil && !waiting {
			continue
		}
		ready := false
		if a.call(ctx, func() { ready = a.wishRestart(wish) }) != nil {
			return nil // the agent ends anyway
		}
		if waiting = wish != nil; ready {
			return errRestart
		}
	}
}

// journalBack reports whether an agent that began without a journal could have one now. Only
// one that is started again by a service manager may end for that.
func (a *Agent) journalBack(ctx context.Context) bool {
	if a.store.openErr == nil || a.opts.Watchdog == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	j, err := journal.Open(ctx, a.opts.StateDir, journal.Options{})
	if err != nil {
		return false
	}
	err = j.SaveState(ctx, keyRun, []byte("{}"))
	return errors.Join(err, j.Close()) == nil
}

// takeWish removes the file of a wish that this start has fulfilled. It returns the file
// that could not be removed: heeded again and again it would be a restart each time.
func (a *Agent) takeWish(path string) (old fs.FileInfo) {
	err := os.Remove(path)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	a.log.Error("the wish for a restart cannot be removed and does not count any more", "err", err)
	old, _ = os.Lstat(path) // nil: it has gone by itself
	return old
}

// readWish returns the wish at path; nil: there is none, or it is old.
func readWish(path string, old fs.FileInfo) *restartWish {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || old != nil && os.SameFile(info, old) && info.ModTime().Equal(old.ModTime()) {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return &restartWish{} // what it says is for show
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, maxWish))
	line, _, _ := bytes.Cut(data, []byte("\n"))
	words := strings.Fields(strings.TrimPrefix(string(line), "dodai "))
	if len(words) == 0 {
		return &restartWish{}
	}
	return &restartWish{version: dodai.Printable(words[0])}
}

// wishRestart takes a wish in, nil when it is gone, and reports whether the agent may end
// for it now. It runs in the loop.
func (a *Agent) wishRestart(wish *restartWish) (ready bool) {
	l := &a.loop
	before := l.restart
	l.restart = wish
	if wish == nil {
		return false
	}
	wish.since, wish.until = a.clock(), a.underWay()
	if before != nil {
		wish.since = before.since
	}
	if wish.until != "" {
		if before == nil || before.until != wish.until {
			a.log.Info("a restart waits", "version", wish.version, "until", wish.until)
		}
		return false
	}
	why := wish.why()
	a.leaving.Store(&why)
	return true
}

func (w *restartWish) why() string {
	switch {
	case w.journal:
		return "the agent ends to be started anew: the journal can be opened now"
	case w.version != "":
		return "the agent ends to be started anew: version " + w.version + " lies ready"
	}
	return "the agent ends to be started anew"
}

// underWay is until when a restart would disturb something, in words; empty: it would not. What a restart
// brings back as it was (a maintenance that is declared) is none of it.
func (a *Agent) underWay() string {
	l := &a.loop
	run := a.drill.status(a.clock())
	switch {
	case !l.readyTold:
		return "every device has been asked once"
	case l.down != nil && l.down.Off != "":
		return "the shutdown that is being called off is undone"
	case l.down != nil:
		return "the shutdown is over"
	case l.decision.Shutdown:
		return "the machine no longer has to go down"
	case onBattery(l.decision):
		return "the mains are back for good"
	case l.earlyBusy || len(l.earlyDone) > 0:
		return "the early steps are undone"
	case run != nil:
		return fmt.Sprintf("%s (%s) is over", run.Name, run.Level)
	case len(a.checks.slot) > 0:
		return "the preflight is over"
	case l.decision.BootHeld():
		return "heavy services may start after the boot"
	case len(l.maintenance.standing) > 0 && !a.store.works():
		return "the maintenance is over, which a restart without a journal would forget"
	}
	return ""
}

// restartStatus is the restart that waits; nil: none does.
func (v *View) restartStatus(now time.Duration) *RestartStatus {
	w := v.restart
	if w == nil || w.until == "" {
		return nil
	}
	return &RestartStatus{Version: w.version, ForS: (now - w.since).Seconds(), Until: w.until}
}
