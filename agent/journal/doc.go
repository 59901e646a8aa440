// Package journal remembers: events, what decisions need across a restart, how long
// shutdown steps took, and samples of readings. It is one SQLite database in the state
// directory, in WAL mode with synchronous=FULL, so what a call has acknowledged is
// there after a power cut at any instruction and what it has not is there whole or not
// at all. (FULL with SQLite's rollback journal is not enough: there the commit is an
// unlink, and the directory is not synced.)
//
// Source for the guarantees: SQLite documentation, "Write-Ahead Logging" and
// "PRAGMA synchronous".
//
// # Failure
//
// A full disk, an I/O error or a hung disk fails the one call, within its context; the
// next one starts afresh, so writes succeed again as soon as the disk does. A corrupt
// database, at the start or in the middle, is moved aside with its -wal and -shm and a
// new one is started; the state and the durations that can still be read are carried
// over. Callers that must never wait use a Writer.
//
// # Time
//
// An event has the agent's monotonic offset with the id of the boot it counts in, and
// the wall time in UTC. Records are ordered by id, the order in which they were
// written, because the wall clock may have been set in between.
package journal
