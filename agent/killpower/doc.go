// Package killpower is the last act of a shutdown that the power has caused: the UPS cuts
// its output and restores it with the mains, so that the machine is never left off for
// ever, and does not boot twice.
//
// The daemon writes a State into a directory in memory when it decides. The late command
// (Late) reads it after the file systems are unmounted and everything else has ended. It
// knows no configuration file, journal or network, and everything it does has an end.
//
// A machine that was shut down starts again when its power comes back after having been
// away from all of its inputs, when it is rebooted, or when its clock wakes it. The late
// command sees to it that one of the three will happen:
//   - mains back on any way to the host: nobody would switch it on, and cutting the other
//     UPSes would not make it dark. It is rebooted.
//   - mains absent: each UPS that this host is named to cut is told to.
//   - the clock (RTC) is set past the end of the battery in any case where there is one.
package killpower
