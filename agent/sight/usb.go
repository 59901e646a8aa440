package sight

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dodai-agent/dodai"
)

// powerDevice is how the report descriptor of a UPS begins: usage page Power Device, usage
// UPS, collection.
// Source: USB-IF, Usage Tables for HID Power Devices 1.1.
var powerDevice = []byte{0x05, 0x84, 0x09, 0x04, 0xa1}

// makers are the products that are known to be UPSes, also where they do not say so in the
// descriptor, by vendor; an empty list: all of the vendor's.
// Source: the device tables of NUT's usbhid-ups and nutdrv_qx, docs of usbhid-ups(8).
var makers = map[string][]string{
	"051d": {"0002", "0003", "0004", "0005"},                                                                         // APC
	"0764": {"0005", "0501", "0601"},                                                                                 // CyberPower
	"0463": {"0001", "ffff"},                                                                                         // MGE, Eaton
	"0592": {"0004"},                                                                                                 // Powerware
	"047c": {"ffff"},                                                                                                 // Dell
	"03f0": {"0001", "1f06", "1f08", "1f09", "1f0a", "1fe0", "1fe1", "1fe2", "1fe3", "1fe5", "1fe6", "1fe7", "1fe8"}, // HP
	"06da": {},                                                                                                       // Phoenixtec
	"09ae": {},                                                                                                       // Tripp Lite
	"10af": {},                                                                                                       // Liebert
	"0d9f": {},                                                                                                       // PowerCOM
	"2e66": {},                                                                                                       // Salicru
	"05dd": {"041b", "a011", "a0a0"},                                                                                 // Delta
	"0665": {"5161"},                                                                                                 // Cypress bridges of Megatec UPSes
	"0f03": {"0001"},
	"2e51": {"0000", "ffff"}, // Ever
	"1cb0": {"0032", "0038"}, // Legrand
}

func known(vendor, product string) bool {
	products, ok := makers[vendor]
	return ok && (len(products) == 0 || slices.Contains(products, product))
}

// usbDevice is a device on USB, or a HID device that is none.
type usbDevice struct {
	path            string // in sysfs, without links
	where           string
	vendor, product string
	name            string
	power           bool     // says that it is a UPS
	nodes           []string // hidraw nodes
	held            bool     // by a program that speaks to it past the kernel's driver
}

// usb sees UPSes on USB that no configured device reads. One that NUT on this host reads is
// read; which one upsd has, it does not say.
func (h Host) usb(devices []Device) []Sighting {
	used := h.ports(devices)
	if slices.ContainsFunc(devices, func(d Device) bool { return d.Driver == "nut" && local(d.Address) }) {
		return nil
	}
	var seen []Sighting
	for _, dev := range h.usbDevices() {
		read := slices.ContainsFunc(dev.nodes, func(n string) bool { return used[resolved(n)] })
		if read || !dev.power && !known(dev.vendor, dev.product) {
			continue
		}
		seen = append(seen, h.usbUPS(dev))
	}
	return seen
}

func (h Host) usbUPS(dev usbDevice) Sighting {
	s := Sighting{
		Kind: UPS, What: strings.TrimSpace("UPS " + dev.name), Where: dev.where,
		Why: "there is no driver for UPSes on USB",
		Remedy: "read it through NUT on this host: driver = usbhid-ups (nutdrv_qx for Megatec) and port = auto in /etc/nut/ups.conf, then " +
			`ups: [{name: u1, driver: nut, address: "127.0.0.1:3493/NAME"}] ` + takeOver,
	}
	if dev.held {
		s.Why = "a program on this host speaks to it already (NUT's driver or apcupsd)"
		s.Remedy = `read it through NUT: ups: [{name: u1, driver: nut, address: "127.0.0.1:3493/NAME"}] ` + takeOver + "; `upsc -l` shows the name"
		return s
	}
	for _, node := range dev.nodes {
		if !h.MayOpen(node) {
			s.Why += fmt.Sprintf(", and this user may not open %s", node)
			s.Remedy += fmt.Sprintf(`; for the node a udev rule: KERNEL=="hidraw*", ATTRS{idVendor}=="%s", OWNER="dodai", MODE="0600"`, dev.vendor)
			break
		}
	}
	return s
}

// usbDevices are the devices on USB with their HID nodes, and the other HID devices.
func (h Host) usbDevices() []usbDevice {
	var list []usbDevice
	for _, name := range entries(h.Sys, "bus/usb/devices") {
		dir := filepath.Join(h.Sys, "bus/usb/devices", name)
		vendor := attribute(dir, "idVendor")
		if vendor == "" { // an interface
			continue
		}
		list = append(list, usbDevice{
			path: resolved(dir), where: dir, vendor: vendor, product: attribute(dir, "idProduct"),
			name: strings.TrimSpace(attribute(dir, "manufacturer") + " " + attribute(dir, "product")), held: h.held(name),
		})
	}
	for _, raw := range matching("hidraw*", h.Sys, "class/hidraw") {
		list = h.addHID(list, raw)
	}
	return list
}

// held reports whether a program has taken an interface of the device from the kernel.
func (h Host) held(name string) bool {
	for _, i := range matching(name+":*", h.Sys, "bus/usb/devices") {
		if filepath.Base(resolved(filepath.Join(h.Sys, "bus/usb/devices", i, "driver"))) == "usbfs" {
			return true
		}
	}
	return false
}

// addHID adds a node to the device on USB that it belongs to, or as one of its own.
func (h Host) addHID(list []usbDevice, raw string) []usbDevice {
	dir := resolved(filepath.Join(h.Sys, "class/hidraw", raw, "device"))
	node := filepath.Join(h.Dev, raw)
	power := bytes.HasPrefix(head(filepath.Join(dir, "report_descriptor")), powerDevice)
	for i := range list {
		if strings.HasPrefix(dir, list[i].path+"/") && !slices.ContainsFunc(list, func(o usbDevice) bool { // not that of a hub before it
			return len(o.path) > len(list[i].path) && strings.HasPrefix(dir, o.path+"/")
		}) {
			list[i].nodes, list[i].power, list[i].where = append(list[i].nodes, node), list[i].power || power, node
			return list
		}
	}
	dev := usbDevice{path: dir, where: node, nodes: []string{node}, power: power}
	for line := range strings.Lines(string(head(filepath.Join(dir, "uevent")))) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch ids := strings.Split(value, ":"); {
		case key == "HID_NAME":
			dev.name = value
		case key == "HID_ID" && len(ids) == 3: // bus:vendor:product, the latter two with eight digits
			dev.vendor, dev.product = lastFour(ids[1]), lastFour(ids[2])
		}
	}
	return append(list, dev)
}

func lastFour(id string) string { return strings.ToLower(id[max(0, len(id)-4):]) }

// local reports whether an address of an upsd is this host's own.
func local(address string) bool {
	address, _, _ = strings.Cut(address, "/")
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// serial sees ports on which a UPS may hang, where no UPS is configured at all: what hangs
// on one cannot be known without talking to it, and where the UPS is known the others are
// nobody's business.
func (h Host) serial(devices []Device) []Sighting {
	if len(of(dodai.KindUPS, devices)) > 0 {
		return nil
	}
	consoles := strings.Fields(attribute(h.Sys, "class/tty/console/active"))
	used := h.ports(devices)
	var ports []string
	denied := ""
	for _, name := range entries(h.Sys, "class/tty") {
		node := filepath.Join(h.Dev, name)
		if !h.isPort(name) || slices.Contains(consoles, name) || used[resolved(node)] {
			continue
		}
		ports = append(ports, node)
		if !h.MayOpen(node) {
			denied = node
		}
	}
	if len(ports) == 0 {
		return nil
	}
	s := Sighting{
		Kind: Serial, What: "serial ports", Where: strings.Join(ports, " "),
		Why:    "a UPS may hang on one; that cannot be seen without talking to it, and none is configured",
		Remedy: "`dodai probe megatec port=" + ports[0] + "` asks; then ups: [{name: u1, driver: megatec, port: " + ports[0] + "}] " + takeOver,
	}
	if denied != "" {
		s.Why += "; this user may not open " + denied
		s.Remedy += "; the daemon's user has to be in the group dialout"
	}
	return []Sighting{s}
}

// isPort reports whether a tty is a port with a connector: an adapter on USB, or a UART
// that the kernel has found (the type of one that is not there is 0).
func (h Host) isPort(name string) bool {
	switch kind := strings.TrimRight(name, "0123456789"); kind {
	case "ttyUSB", "ttyACM":
		return true
	case "ttyS", "ttyAMA":
		t := attribute(h.Sys, "class/tty", name, "type")
		return t != "" && t != "0"
	}
	return false
}
