// Package hidups is a simulated UPS with a USB plug: a HID power device whose reports
// follow a battery model. It can be plugged into a virtual machine as a whole USB device
// (ServeRedir speaks usbredir, which QEMU's usb-redir takes) or made to appear on the
// running Linux (ServeUHID drives /dev/uhid; no USB, but a genuine hidraw node).
//
// A unit is known by its report descriptor. The package reads any descriptor and fills
// each field by what its usage means, so that the descriptors of real units, with the
// limits they declare wrongly, can be simulated as they are. It shares no code with what
// reads it.
//
// Sources: USB-IF, "Device Class Definition for HID" 1.11 and "Usage Tables for HID Power
// Devices" 1.1; the network protocol description of usbredir; linux/uhid.h. Quirks are
// those that users reported of real units to Network UPS Tools.
package hidups
