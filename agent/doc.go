// Package agent is the daemon: one loop that owns the snapshot, asks the policy what
// follows from it, and acts.
//
// Readings come in over one channel and the loop is the only one that writes the
// snapshot, the policy's memory and the state of a shutdown. Everybody else (journal,
// hooks, exporters, drills, the API) listens, and none of them can slow the loop: what
// they get is an immutable value, handed over without waiting.
package agent
