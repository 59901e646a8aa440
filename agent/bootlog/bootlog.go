// Package bootlog finds when and how an earlier boot of this machine ended, from systemd's
// journal.
//
// Times are those of that boot's CLOCK_MONOTONIC, as journald took them when it received
// an entry, so no wall clock is involved. Sources: systemd.journal-fields(7) for the
// fields, journalctl(1) for the options, systemd's journal catalog (journalctl
// --list-catalog) for the message ids.
//
// # How a boot ends
//
// At a shutdown systemd stops the services, then systemd-shutdown ends what is left, and
// journald with it, which writes that it was stopped: the last entry of the boot. Where
// /var is a file system of its own journald is told before to let go of it
// (systemd-journal-flush.service); what comes after that is not in the journal that
// survives. A boot whose journal has neither ended in another way: the power went, the
// machine was reset, or it was forced off without its service manager.
//
// What follows on journald's end, unmounting, the last sync and the power-off itself, no
// journal can show. After is the allowance for it.
package bootlog

import (
	"errors"
	"time"
)

// What may go wrong. Nothing is known of the boot then.
var (
	// ErrNone: this machine keeps no journal, or not that of the boot.
	ErrNone = errors.New("no journal of that boot")
	// ErrTimeout: the journal did not answer in time; it may later.
	ErrTimeout = errors.New("no answer in time")
	// ErrOutput: the answer is not what journalctl(1) says.
	ErrOutput = errors.New("unexpected answer")
)

// How is how a boot ended.
type How string

// The ways a boot may end.
const (
	Stopped  How = "stopped"  // journald was stopped: as clean as can be seen
	Released How = "released" // journald let go of /var, to be unmounted
	BrokeOff How = "broke_off"
)

// End is the end of a boot.
type End struct {
	At  time.Duration // of the last entry, on that boot's CLOCK_MONOTONIC
	How How
}

// Clean reports whether the machine went down in order, as far as its journal can tell.
func (e End) Clean() bool { return e.How == Stopped || e.How == Released }

// What the rest of a shutdown is allowed after the last entry. After journald was
// stopped systemd-shutdown still unmounts, waits for the last sync and powers off, which
// takes seconds on most machines; when journald has only let go of /var the last
// processes are still to be ended.
const (
	afterStopped  = 10 * time.Second
	afterReleased = 20 * time.Second
)

// After is the allowance for what no journal shows; 0 for a boot that broke off.
func (e End) After() time.Duration {
	switch e.How {
	case Stopped:
		return afterStopped
	case Released:
		return afterReleased
	}
	return 0
}
