package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// healthEvery is how often is looked at what the agent itself lives from.
const healthEvery = 10 * time.Second

// What has to be left in the agent's own folders: for some days of the journal, and for the
// few small files of a shutdown.
const (
	stateRoom = 16 << 20
	runRoom   = 1 << 20
)

// health is what the agent knows of its own condition beside the devices.
type health struct {
	folders atomic.Pointer[[]policy.Alert] // what is wrong with them; nil: nobody has looked
	loop    lateness                       // how late the loop was
	polls   lateness                       // how late the collectors were

	// Owned by the loop: the alerts that stand, by key, and what was last wrong with the
	// journal and when.
	raised  map[string]policy.Alert
	wrong   string
	wrongAt time.Duration
}

// Condition is what the agent lives from.
type Condition struct {
	// LoopLag and PollLag are how late the loop and a poll were at worst within the last
	// minute.
	LoopLag, PollLag time.Duration
	JournalUp        bool   // it takes what it is given
	Lost             uint64 // events that it will never have, since the start
}

func (a *Agent) condition() Condition {
	c := Condition{JournalUp: a.store.works()}
	now := time.Now()
	c.LoopLag, _ = a.health.loop.lately(now)
	c.PollLag, _ = a.health.polls.lately(now)
	if a.store.writer != nil {
		c.Lost = a.store.writer.Dropped()
	}
	return c
}

// runHealth looks after the agent's folders and the wall clock for as long as ctx lasts,
// beside the loop: a disk that hangs costs this goroutine alone.
func (a *Agent) runHealth(ctx context.Context) error {
	ticker := time.NewTicker(healthEvery)
	defer ticker.Stop()
	last := readClocks()
	for {
		done := make(chan []policy.Alert, 1)
		go func() { done <- a.folderAlerts() }()
		select {
		case found := <-done:
			a.health.folders.Store(&found)
		case <-ctx.Done():
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := readClocks()
		if by := last.stepped(now); by != 0 {
			a.tellStep(by)
		}
		last = now
	}
}

// folder reports whether something was wrong with a folder when it was last looked at.
func (h *health) folder(path string) bool {
	found := h.folders.Load()
	return found != nil && slices.ContainsFunc(*found, func(al policy.Alert) bool { return al.Device == path })
}

// folderAlerts says which of the agent's folders has no room, or takes no writing.
func (a *Agent) folderAlerts() []policy.Alert {
	var alerts []policy.Alert
	for _, f := range []struct {
		path, why string
		room      uint64
	}{
		{a.opts.StateDir, "an agent that is restarted in an outage would not know of it", stateRoom},
		{a.opts.RunDir, "what a shutdown leaves there for the last moment (which UPS to tell, which step runs) would be missing", runRoom},
	} {
		if f.path == "" {
			continue
		}
		if a.health.folder(f.path) {
			f.room += f.room / 4 // or what is written and removed in a disk that is nearly full tells it again and again
		}
		if wrong := folderWrong(f.path, f.room); wrong != "" {
			alerts = append(alerts, policy.Alert{ID: alertFolder, Device: f.path, Text: f.path + " " + wrong + "; " + f.why})
		}
	}
	return alerts
}

// folderWrong is what is wrong with the file system of path, with what helps; empty: nothing.
func folderWrong(path string, room uint64) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Sprintf("cannot be looked at: %v: `ls -ld %s` and the mount below it", err, path)
	}
	left := uint64(fs.Bavail) * uint64(fs.Bsize)
	switch {
	case fs.Flags&unix.ST_RDONLY != 0:
		return "is read-only: `dmesg` says why, `mount -o remount,rw` on its file system makes it writable again"
	case fs.Blocks > 0 && left < room:
		return fmt.Sprintf("has %d KiB left, want %d: `df %s`, and make room", left>>10, room>>10, path)
	case fs.Files > 0 && fs.Ffree == 0:
		return fmt.Sprintf("has no inode left: `df -i %s`, and remove files", path)
	}
	return ""
}

// journalCalm is how long the journal must have been fine before its alert ends: on a disk
// that is nearly full some writes go well.
const journalCalm = 30 * time.Second

// journalAlert says that the journal does not take what it is given.
func (a *Agent) journalAlert(now time.Duration) []policy.Alert {
	h, wrong := &a.health, a.store.health()
	switch {
	case wrong != "ok":
		h.wrong, h.wrongAt = wrong, now
	case h.wrong == "" || now-h.wrongAt >= journalCalm:
		h.wrong = ""
		return nil
	default:
		wrong = h.wrong
	}
	helps := "`journalctl -u dodai` says since when"
	switch lower := strings.ToLower(wrong); {
	case a.store.openErr != nil:
		helps = "mend that, and the agent is started anew within a minute once nothing is under way, or at once by `systemctl restart dodai`"
	case strings.Contains(lower, "full") || strings.Contains(lower, "no space") || strings.Contains(lower, "quota"):
		helps = "make room in " + a.opts.StateDir
	case strings.Contains(lower, "readonly") || strings.Contains(lower, "read-only"):
		helps = "make " + a.opts.StateDir + " writable again (mount -o remount,rw)"
	}
	return []policy.Alert{{ID: alertJournal, Text: "the journal cannot be written: decisions go on, but an agent that is restarted now forgets the outage (" + wrong + "); " + helps}}
}

// healthAlerts are the alerts about what the agent lives from. It runs in the loop, and
// makes an event of each that is raised or cleared.
func (a *Agent) healthAlerts(now time.Duration) []policy.Alert {
	alerts := a.journalAlert(now)
	if found := a.health.folders.Load(); found != nil {
		alerts = append(alerts, *found...)
	}
	alerts = append(alerts, a.lateAlerts(time.Now())...)
	standing := map[string]policy.Alert{}
	for _, al := range alerts {
		key := string(al.ID) + " " + al.Device
		if _, known := a.health.raised[key]; !known {
			a.emitAlert(dodai.EventAlertRaised, al, al.Text)
		}
		standing[key] = al
	}
	for key, al := range a.health.raised {
		if _, still := standing[key]; !still {
			a.emitAlert(dodai.EventAlertCleared, al, fmt.Sprintf("%s is over", al.ID))
		}
	}
	a.health.raised = standing
	return alerts
}

func (a *Agent) emitAlert(name dodai.EventName, al policy.Alert, text string) {
	a.emit(dodai.Event{Name: name, Device: al.Device, Text: text, Fields: map[string]any{"alert": string(al.ID)}})
}
