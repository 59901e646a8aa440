// Package collectors decides when a driver is asked and what an answer is worth: the
// schedule, the deadline of each poll, freshness, quick retries and back-off, and
// facts about the host itself.
//
// Each collector runs by itself and owns one driver. It hands every result to one
// function and waits for nobody else, so a device that hangs hangs its own collector.
package collectors
