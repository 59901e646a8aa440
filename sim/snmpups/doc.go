// Package snmpups is a UPS with an SNMP card: an agent that speaks SNMP v1 and v2c
// over UDP with a battery behind it, for the demo, for training and for tests.
//
// The agent answers GET, GETNEXT and GETBULK (RFC 1157, RFC 3416) from a table of
// objects. The table is either kept by the UPS model, in the flavour of RFC 1628, of
// APC's PowerNet MIB or of both at once, or loaded from a recording in the snmprec
// format. The wire can be broken on purpose: see [Fault].
//
// It has a BER codec of its own and shares no code with any driver, because a
// simulator that does proves nothing about the driver.
package snmpups
