// Package shutdown takes the machine down: the plan's steps in their order, then the
// power-off. Nothing that fails or hangs on the way stops it.
//
// # Steps
//
// Each step runs as a session of its own with a time-out. When that is over its whole
// process group gets SIGTERM, and SIGKILL two seconds later. A step that fails is
// reported and the next one runs; after one with `on_failure: stop` no further step
// runs, and the power-off is asked for at the deadline (at once when the cause has none),
// which leaves an operator what time there is. No step outlasts the deadline.
//
// "systemctl stop" of a unit that does not end in time is left to the service manager:
// the step has failed, the unit's own time-out goes on, and the power-off waits for it.
//
// # The end of the daemon
//
// When the context given to Run ends (SIGTERM of the daemon), Run returns at once,
// undoes nothing, and leaves a running step's process alone: it has its own session,
// and its output pipe stays open at both ends in its own hands, so it does not die of
// SIGPIPE. The next Run is told what was done and goes on from there; the step that was
// running is run again. Under systemd that would be two of it at once, so the agent's
// unit has KillMode=mixed, with which the service manager ends what the agent spared.
//
// # Early steps
//
// Steps with thresholds of their own may run before the decision, by RunEarly, and are
// undone by UndoEarly when the mains return. A Run that begins meanwhile takes over: it
// waits for an early step that runs, stops an undoing, and does again what was undone.
//
// # Power-off
//
// The configured command replaces the built-in ways, which are, each after the one
// before failed, timed out or did not take the machine down: logind over D-Bus,
// systemctl, systemctl --force, and poweroff -f -f after a sync that may take ten
// seconds. When all have failed a shutdown_failed event says so, and all are tried
// again, for ever.
package shutdown
