// Package shutdown takes the machine down: the plan's steps in the order of their graph,
// then the power-off. Nothing that fails or hangs on the way stops it.
//
// # Steps
//
// A step starts as soon as those it waits for are over, well or badly; what waits for
// nothing of each other runs side by side. What a step does is an Action; the kinds are
// in package action. Programs run as sessions of their own: when the time-out is over
// the whole process group gets SIGTERM, and SIGKILL two seconds later. A step that fails
// is run again as often as it says, and reported; what comes after it goes on. After one
// with `on_failure: stop` nothing that comes after it runs, and the power-off is asked
// for at the deadline (at once when there is none), which leaves an operator what time
// there is. No step outlasts the deadline, which comes nearer when the battery goes out
// faster than it said (Hasten).
//
// # The point of no return
//
// Until that a Run can be called off: what runs is ended, and what was begun is undone,
// the last first. Plan.NoReturn says where it is. That it is passed is recorded before
// the step behind it begins.
//
// # The end of the daemon
//
// When the context given to Run ends (SIGTERM of the daemon), Run returns at once,
// undoes nothing, and leaves running steps' processes alone: each has its own session,
// and its output pipe stays open at both ends in its own hands, so it does not die of
// SIGPIPE. The next Run is told what was done (done), what failed (RestoreFailed) and
// what was under way (RestoreDoubtful), and goes on from there. A step that was under way
// is looked for first: what still runs of it is waited for (Orphans). Then it is run
// again, unless its Action is not Repeatable: that one is skipped, because how far it
// came nobody knows. Under systemd the agent's unit has KillMode=mixed, with which the
// service manager ends what the agent spared.
//
// "systemctl stop" of a unit that does not end in time is left to the service manager:
// the step has failed, the unit's own time-out goes on, and the power-off waits for it.
//
// # Early steps
//
// Steps with thresholds of their own may run before the decision, by RunEarly, and are
// undone by UndoEarly when the mains return. A Run that begins meanwhile takes over: it
// waits for early steps that run, stops an undoing, and does again what was undone.
//
// # Power-off
//
// It has three ways, each tried when the one before failed, timed out or did not take
// the machine down: politely by logind, by systemctl, and forced. The forced one comes at
// Ends.Force in any case, whatever hangs: it writes the file systems' data, takes them out
// of use as far as they let it, each under a deadline, and switches off. A guard beside
// the daemon does the same when the daemon has been ended and the machine still hangs. The
// configured command replaces the first way, `second` and `forced` the others. When all
// have failed all are tried again, for ever. Where the power is back at that moment the
// machine is rebooted instead, so that it does not stay off.
package shutdown
