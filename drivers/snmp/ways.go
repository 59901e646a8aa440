package snmp

import (
	"fmt"
	"time"

	"github.com/gosnmp/gosnmp"
)

// A cutWay is how one MIB cuts the output and restores it with the mains: objects to set,
// in this order, the last of which begins it.
type cutWay struct {
	family *family
	steps  []cutStep
	// stop are the assignments that call it off; nil: nothing does.
	stop []cutStep
	from string
}

// A cutStep is one object and what it is set to.
type cutStep struct {
	oid   string
	means cutMeaning
	value int  // for fixed
	ticks bool // hundredths of a second, TimeTicks
	// optional: a card without it does less, and still what matters.
	optional bool
	from     string // what the MIB calls it
}

// cutMeaning is what a step's object is set to.
type cutMeaning uint8

const (
	fixed     cutMeaning = iota
	offDelay             // a setting: the time to the cut
	onDelay              // a setting: the time from the mains' return to the output's
	offCount             // a countdown to the cut, which the assignment starts
	startSoon            // a countdown to the output's return, from now on
)

// keeps reports whether the object still holds the value later on, so that it may be read
// back, and set to what it already is without changing anything.
func (s *cutStep) keeps(last bool) bool {
	return !last && s.means <= onDelay
}

// cutWays are the ways in order of preference. Others of the makers' branches (CyberPower,
// XPPC, MGE) have no text that says what becomes of the mains' return; their cards are told
// by RFC 1628 where they have it.
var cutWays = []*cutWay{&rebootAPC, &shedXUPS, &shutdownRFC1628}

// shutdownRFC1628 sets the startup countdown as well as the automatic restart: the restart
// is for mains that go and come back, the countdown for mains that are there at the cut or
// before it, after which nothing else would switch the output on. Both wait for mains.
//
// Source: RFC 1628, upsControl.
var shutdownRFC1628 = cutWay{
	family: &rfc1628,
	from:   "RFC 1628",
	steps: []cutStep{
		{oid: upsMIB + "8.1.0", means: fixed, value: 1, from: "upsShutdownType"}, // the output
		{oid: upsMIB + "8.5.0", means: fixed, value: 1, from: "upsAutoRestart"},
		{oid: upsMIB + "8.3.0", means: startSoon, optional: true, from: "upsStartupAfterDelay"},
		{oid: upsMIB + "8.2.0", means: offCount, from: "upsShutdownAfterDelay"},
	},
	stop: []cutStep{
		{oid: upsMIB + "8.2.0", means: fixed, value: -1, from: "upsShutdownAfterDelay"},
		{oid: upsMIB + "8.3.0", means: fixed, value: -1, optional: true, from: "upsStartupAfterDelay"},
	},
}

// rebootAPC is the graceful reboot: off after the shutoff delay (and what the card adds for
// the shutdown of its other clients), on again with the mains after the return delay. The
// other candidates do not fit: upsAdvControlUpsSleep wakes when its time is over, mains or
// not, and upsBasicControlConserveBattery is refused on line. Nothing calls it off.
//
// Source: PowerNet MIB, upsAdvControl and upsAdvConfig; its Reference Guide for what the
// delays apply to, and that a value the UPS does not have becomes the next lower one.
var rebootAPC = cutWay{
	family: &powerNet,
	from:   "PowerNet MIB",
	steps: []cutStep{
		{oid: apcUPS + "5.2.9.0", means: onDelay, ticks: true, optional: true, from: "upsAdvConfigReturnDelay"},
		{oid: apcUPS + "5.2.10.0", means: offDelay, ticks: true, from: "upsAdvConfigShutoffDelay"},
		{oid: apcUPS + "6.2.2.0", means: fixed, value: 3, from: "upsAdvControlRebootShutdownUps"},
	},
}

// shedXUPS sheds the load and restarts it with the mains, when the UPS thinks fit. Some cards
// lack it. Nothing is documented to call it off.
//
// Source: Eaton XUPS-MIB, xupsControl.
var shedXUPS = cutWay{
	family: &xups,
	from:   "XUPS-MIB",
	steps:  []cutStep{{oid: xupsMIB + "9.6.0", means: offCount, from: "xupsLoadShedSecsWithRestart"}},
}

// assignment is one object to set.
type assignment struct {
	oid   string
	value int
	ticks bool
}

func (a assignment) pdu() gosnmp.SnmpPDU {
	if a.ticks {
		return gosnmp.SnmpPDU{Name: "." + a.oid, Type: gosnmp.TimeTicks, Value: uint32(a.value)}
	}
	return gosnmp.SnmpPDU{Name: "." + a.oid, Type: gosnmp.Integer, Value: a.value}
}

func (s *cutStep) String() string { return fmt.Sprintf("%s (%s)", s.from, s.oid) }

// units is a duration in the object's units, rounded up.
func (s *cutStep) units(d time.Duration) int {
	unit := time.Second
	n := int((d + unit - 1) / unit)
	if s.ticks {
		n *= 100
	}
	return n
}

// duration is what n of the object's units are.
func (s *cutStep) duration(n int) time.Duration {
	if s.ticks {
		return time.Duration(n) * 10 * time.Millisecond
	}
	return time.Duration(n) * time.Second
}
