// Package dodai is the vocabulary that every part of the agent shares: feeds,
// UPSes, power supplies, arrays and disks; the readings taken from them; the
// snapshot every decision is made from; and the events worth remembering.
//
// The package holds types only. It does no I/O, starts no goroutine and reads no
// clock, so a driver, the decision and a test can all be written against it alone.
//
// # Time
//
// An instant is a time.Duration: the offset on the agent's monotonic clock, which
// runs on through suspend and which neither NTP nor an operator's "date" moves
// (CLOCK_BOOTTIME on Linux). Wall-clock times appear only where a person reads them.
//
// # Units
//
// Readings of UPSes, PDUs and transfer switches use the variable names and units of
// Network UPS Tools (percent, seconds, volts, °C); RFC 9271 records the list.
// The Prometheus metrics convert to base units at the edge.
package dodai
