package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai/drivers"
)

// mistakes has one entry per mistake: the file, and the beginning of each line of the
// error.
var mistakes = []struct {
	name, in string
	want     []string
}{
	// Keys.
	{"unknown section", "pollicy: {}", []string{`f:1:1: unknown key "pollicy" in the file (did you mean "policy"?): want one of ups, arrays,`}},
	{"unknown key", "ups:\n  - name: u1\n    drivr: megatec", []string{`f:2:5: a device in ups without "driver": want driver, for example driver: megatec`,
		`f:3:5: unknown key "drivr" in ups (did you mean "driver"?): want one of name, driver, port, address, options, poll, fed_by, killpower, for example driver: megatec`}},
	{"key like no other", "xyzzy: 1", []string{`f:1:1: unknown key "xyzzy" in the file: want one of`}},
	{"key twice", "mode: observe\nmode: armed", []string{`f:2:1: key "mode" again, after line 1: want each key once`}},
	{"need in policy", "policy: {need_s: 180}", []string{`f:1:10: unknown key "need_s" in policy: want shutdown.need instead, for example shutdown: {need: 120s, reserve: 60s}`}},
	{"key that is a number", "1: 2", []string{`f:1:1: unknown key "1" in the file: want one of`}},

	// Shapes and types.
	{"file is a text", "observe", []string{`f:1:1: the file is a text: want keys and values, for example ups:`}},
	{"file is a list", "- a", []string{`f:1:1: the file is a list: want keys and values`}},
	{"ups is no list", "ups:\n  name: u1", []string{`f:2:3: ups is keys and values: want a list, for example [{name: u1`}},
	{"device is a text", "ups: [u1]", []string{`f:1:7: ups is a text: want keys and values, for example name: u1`}},
	{"name is a list", "host: {name: [a]}", []string{`f:1:14: name is a list: want a text, for example db1`}},
	{"null where a value belongs", "mode:\nhost: {name: ~}", []string{`f:1:6: mode has no value: want one of observe, armed, for example observe`, `f:2:14: name has no value: want a text`}},
	{"options is a list", "ups: [{name: a, driver: nut, options: [b]}]", []string{`f:1:39: options is a list: want keys and values`}},

	// YAML's own traps.
	{"yes is no truth", "policy: {ignore_lb: yes}", []string{`f:1:21: ignore_lb is a text: want true or false, for example true`}},
	{"mode on", "mode: on", []string{`f:1:7: mode is "on": want one of observe, armed`}},
	{"octal", "policy: {min_charge_pct: 020}", []string{`f:1:26: min_charge_pct is "020": want a number of percent from 0 to 100, for example 20`}},
	{"hexadecimal", "policy: {min_charge_pct: 0x10}", []string{`f:1:26: min_charge_pct is "0x10": want a number`}},
	{"underscore", "policy: {frozen_s: 1_000}", []string{`f:1:20: frozen_s is "1_000": want a number`}},
	{"number in quotes", `policy: {min_charge_pct: "20"}`, []string{`f:1:26: min_charge_pct is "20": want a number`}},
	{"infinity", "policy: {frozen_s: .inf}", []string{`f:1:20: frozen_s is ".inf": want a number`}},
	{"minutes that are sixties", "shutdown: {need: 2:30}", []string{`f:1:18: need is "2:30": want a duration from 1s to 1d, for example 120s`}},
	{"anchor and alias", "ups: &a []\ndisks: *a", []string{`f:1:6: an anchor (&): want the value itself`, `f:2:8: an alias (*): want`}},
	{"merge key", "host: {<<: {name: a}}", []string{`f:1:8: a merge key (<<): want`}},
	{"tag", "mode: !!str observe", []string{`f:1:7: a tag (!): want`}},
	{"complex key", "? mode\n: observe", []string{`f:1:1: a complex key (?): want`}},
	{"two documents", "mode: observe\n---\nmode: armed", []string{`f:2:1: a second document: want one document in a file`}},
	{"directive", "%YAML 1.1\n---\nmode: observe", []string{`f:1:1: a directive (%): want`}},
	{"tab", "host:\n\tname: a", []string{`f:2:1: not YAML: found character 'tab' that cannot start any token: want keys and values, indented by blanks`}},
	{"unbalanced", "ups: [", []string{`f:1:6: not YAML: `}},
	{"unterminated text", "mode: \"armed", []string{`f:1:7: not YAML: could not find end character`}},
	{"not UTF-8", "mode: \xff", []string{`f:1:7: byte 0xff is not UTF-8: want a file in UTF-8`}},
	{"delete character", "mode: a\x7f", []string{`f:1:8: control character 0x7f`}},
	{"control character", "mode:\n  a\x00b", []string{`f:2:4: control character 0x00: want plain text`}},
	{"deep nesting", "ups: " + strings.Repeat("[", 100000), []string{`f:1:22: nested more than 16 deep: want the keys of this file`}},
	{"deep dashes", strings.Repeat("- ", 100000), []string{`f:1:33: nested more than 16 deep`}},

	// Durations and numbers.
	{"need without unit", "shutdown: {need: 120}", []string{`f:1:18: need is 120, a number without a unit: want a duration from 1s to 1d, for example 120s`}},
	{"need negative without unit", "shutdown: {need: -5}", []string{`f:1:18: need is -5, a number without a unit: want a duration from 1s to 1d, for example 120s`}},
	{"need 0", "shutdown: {need: 0s}", []string{`f:1:18: need is "0s": want a duration from 1s to 1d, for example 120s`}},
	{"need negative", "shutdown: {need: -5s, reserve: -1s}", []string{`f:1:18: need is "-5s": want`, `f:1:32: reserve is "-1s": want a duration from 0s to 1d, for example 60s`}},
	{"need is a word", "shutdown: {need: long}", []string{`f:1:18: need is "long": want a duration`}},
	{"poll 0", "ups: [{name: a, driver: nut, poll: 0s}]", []string{`f:1:36: poll is "0s": want a duration from 20ms to 1h, for example 2s`}},
	{"poll bare 0", "ups: [{name: a, driver: nut, poll: 0}]", []string{`f:1:36: poll is 0, a number without a unit: want a duration from 20ms to 1h, for example 2s`}},
	{"poll negative", "ups: [{name: a, driver: nut, poll: -1s}]", []string{`f:1:36: poll is "-1s": want`}},
	{"poll too long", "ups: [{name: a, driver: nut, poll: 2h}]", []string{`f:1:36: poll is "2h": want a duration from 20ms to 1h`}},
	{"poll without unit", "ups: [{name: a, driver: nut, poll: 5}]", []string{`f:1:36: poll is 5, a number without a unit: want a duration from 20ms to 1h, for example 5s`}},
	{"charge 120", "policy: {min_charge_pct: 120}", []string{`f:1:26: min_charge_pct is "120": want a number of percent from 0 to 100, for example 20`}},
	{"charge in percent", "policy: {min_charge_pct: 20%}", []string{`f:1:26: min_charge_pct is "20%": want a number of percent`}},
	{"seconds with unit", "policy: {stale_s: 15s}", []string{`f:1:19: stale_s is "15s": want a number of seconds from 1 to 3600, for example 15`}},
	{"half a poll", "policy: {confirm_polls: 1.5}", []string{`f:1:25: confirm_polls is 1.5: want a whole number, for example 2`}},
	{"null where it means nothing", "policy: {frozen_s: null}", []string{`f:1:20: frozen_s has no value: want a number of seconds`}},
	{"keep for ever", "journal: {keep_events: 1000y}", []string{`f:1:24: keep_events is "1000y": want a duration from 1d to 100y, for example 2y`}},

	// Devices.
	{"device without a name", "ups:\n  - driver: nut", []string{`f:2:5: a device in ups without "name": want name, for example name: u1`}},
	{"name with blanks", "ups: [{name: my ups, driver: nut}]", []string{`f:1:14: name is "my ups": want 1 to 64 letters, digits, points, hyphens or underscores, for example rack-ups1`}},
	{"duplicate names", "ups:\n  - {name: a, driver: nut}\ndisks:\n  - {name: a, driver: smartctl}", []string{`f:4:6: device "a" again, after line 2: want each name once over all lists, for example a-2`}},
	{"unknown driver", "ups: [{name: a, driver: megatek}]", []string{`f:1:25: unknown driver "megatek" (did you mean "megatec"?): want one of ipmi, md, megatec, nut, smartctl, snmp, for example megatec`}},
	{"driver of another kind", "ups: [{name: a, driver: md}]", []string{`f:1:25: driver md, which reads arrays, in ups: want a driver that reads ups, for example driver: megatec`}},
	{"disks driver in arrays", "arrays: [{name: a, driver: smartctl}]", []string{`f:1:28: driver smartctl, which reads disks, in arrays: want a driver that reads arrays, for example driver: md`}},
	{"option missing", "ups:\n  - name: a\n    driver: megatec", []string{`f:2:5: device a, driver megatec, without "port": want serial device, best by its stable name below /dev/serial/by-id, for example port: /dev/ttyS0`}},
	{"option unknown", "ups: [{name: a, driver: megatec, port: /dev/x, options: {bauds: 9600}}]", []string{`f:1:58: driver megatec has no option "bauds" (did you mean "baud"?): want one of port, baud, for example baud: 2400`}},
	{"port for a network driver", "ups: [{name: a, driver: snmp, address: x, port: /dev/x}]", []string{`f:1:43: driver snmp has no option "port": want one of address, community, version`}},
	{"option wrong", "ups: [{name: a, driver: megatec, port: /dev/x, options: {baud: fast}}]", []string{`f:1:64: baud is "fast": want a whole number from 300 to 115200, for example 2400`}},
	{"option without a value", "ups: [{name: a, driver: snmp, address: x, options: {community: }}]", []string{`f:1:63: option community has no value: want a text`}},
	{"option that is a list", "ups: [{name: a, driver: snmp, address: x, options: {version: [2c]}}]", []string{`f:1:62: option version is a list: want a text`}},
	{"option twice", "ups: [{name: a, driver: snmp, address: x, options: {version: 1, version: 1}}]", []string{`f:1:65: key "version" again`}},
	{"port twice", "ups: [{name: a, driver: megatec, port: /dev/x, options: {port: /dev/y}}]", []string{`f:1:58: port again, after line 1: want it once`}},
	{"secret refused, not shown", "psus: [{name: a, driver: ipmi, options: {password: 12345678901234567}}]", []string{`f:1:52: password is ********: want at most 16 characters`}},
	{"secret and its file", "psus: [{name: a, driver: ipmi, options: {password: x, password_file: y}}]", []string{`f:1:42: both password and password_file: want one of them, for example password_file:`}},
	{"file of no secret", "psus: [{name: a, driver: ipmi, options: {user_file: y}}]", []string{`f:1:42: driver ipmi has no option "user_file"`}},

	{"UPS among the arrays", "arrays: [{name: a, driver: nut}]", []string{`f:1:28: driver nut, which reads ups, in arrays: want a driver that reads arrays, for example driver: md`}},
	{"driver that cannot", "pdus: [{name: a, driver: md}]", []string{`f:1:26: driver md, which reads arrays, in pdus: want a driver that reads pdus, for example driver: dummy`}},
	{"no options at all", "disks: [{name: a, driver: smartctl, options: {x: y}}]", []string{`f:1:47: driver smartctl has no option "x": want none`}},
	{"secret with a slip, whose example is a file", "ups: [{name: a, driver: snmp, address: x, options: {comunity: x}}]", []string{`f:1:53: driver snmp has no option "comunity" (did you mean "community"?): want one of address, community, version, for example community_file: /etc/dodai/snmp.community`}},
	{"driver that gives up", "psus:\n  - {name: a, driver: ipmi, options: {user: odd, password: s3cret}}", []string{"f:2:5: device a: ipmi a: options: no luck with ********: want options the driver can use, for example those that `dodai drivers` lists"}},
	{"option the driver misses", "psus:\n  - {name: a, driver: ipmi, options: {user: needy}}", []string{`f:2:5: address is missing: want an address`}},
	{"two mistakes of a device", "ups: [{name: a, driver: megatec, port: /dev/x, poll: 0s, options: {baud: fast}}]", []string{`f:1:54: poll is "0s"`}}, // the driver is asked once the rest is right
	{"both port and address twice", "ups: [{name: a, driver: snmp, address: x, options: {address: y}}]", []string{`f:1:53: address again, after line 1: want it once, as a key of the device, for example address: "127.0.0.1:161"`}},

	// Wiring and arming.
	{"wiring to an unknown UPS", "ups: [{name: u1, driver: nut}]\nwiring:\n  - {psu: x, ups: u2}", []string{`f:3:5: wiring names the unknown UPS "u2" (did you mean "u1"?): want the name of a UPS below ups, for example ups: u1`}},
	{"wiring to an unknown PDU", "pdus: [{name: pdu1, driver: snmp, address: x}]\nwiring:\n  - {psu: x, outlet: pdu2/3}", []string{`f:3:5: wiring names the unknown PDU "pdu2"`}},
	{"wiring without psu", "wiring:\n  - ups: u1", []string{`f:2:5: wiring without a psu`}},
	{"wiring to nowhere", "wiring:\n  - psu: x", []string{`f:2:5: wiring of psu x leads nowhere`}},
	{"wiring twice", "wiring: [{psu: x, feed: A}, {psu: x, feed: A}]", []string{`f:1:29: the same wiring again`}},
	{"armed on a guess", "ups: [{name: a, driver: nut}, {name: b, driver: nut}]\nmode: armed", []string{`f:2:7: mode is armed with 2 UPSes, and nothing says how many of them the host needs: want wiring, or policy.min_supplies, for example policy: {min_supplies: 1}`}},
	{"armed on a guess, three UPSes", "ups: [{name: a, driver: nut}, {name: b, driver: nut}, {name: c, driver: nut}]\nmode: armed", []string{`f:2:7: mode is armed with 3 UPSes`}},
	{"armed on a guess, with another policy", "ups: [{name: a, driver: nut}, {name: b, driver: nut}]\nmode: armed\npolicy: {min_charge_pct: 20}", []string{`f:2:7: mode is armed with 2 UPSes`}},
	{"more supplies than UPSes", "ups: [{name: a, driver: nut}]\npolicy: {min_supplies: 2}", []string{`f:2:10: min_supplies is 2 with 1 UPSes: the host would be shut down at once: want at most 1`}},
	{"mode in capitals", "mode: Armed", []string{`f:1:7: mode is "Armed" (did you mean "armed"?): want one of observe, armed`}},

	// Hooks.
	{"unknown event", "hooks: [{on: [main_lost], command: [a]}]", []string{`f:1:15: unknown event "main_lost" (did you mean "mains_lost"?): want one of mains_lost, mains_restored,`}},
	{"event is no list", "hooks: [{on: mains_lost, command: [a]}]", []string{`f:1:14: on is a text: want a list, for example [mains_lost, mains_restored]`}},
	{"no events", "hooks: [{on: [], command: [a]}]", []string{`f:1:14: on is empty: want at least one event`}},
	{"no command", "hooks:\n  - on: [mains_lost]", []string{`f:2:5: a hook without "command": want command, for example command: [`}},
	{"empty command", "hooks: [{on: [mains_lost], command: []}]", []string{`f:1:37: command is empty: want a list with at least one item`}},
	{"nameless command", `hooks: [{on: [mains_lost], command: [""]}]`, []string{`f:1:37: command names no program: want the program first`}},
	{"command in one text", "hooks: [{on: [mains_lost], command: wall mains lost}]", []string{`f:1:37: command is a text: want a list, for example ["/usr/bin/systemctl", "stop", "app.service"]`}},
	{"placeholder with a slip", `hooks: [{on: [mains_lost], command: [a, "{evnet}"]}]`, []string{`f:1:41: no event has {evnet} (did you mean {event}?): want one of {event}, {device}, {text}, {time}, {drill}, {ups.status},`}},
	{"placeholder that is a field with a slip", `hooks: [{on: [mains_lost], command: [a, "{batery.charge}", "{margins}"]}]`, []string{
		"f:1:41: no event has {batery.charge} (did you mean {battery.charge}?): want one of", "f:1:60: no event has {margins} (did you mean {margin_s}?): want one of"}},
	{"shell and awk, told once", `hooks: [{on: [mains_lost], command: [sh, -c, "x=${print}; awk '{print}'"]}]`, []string{"f:1:46: no event has {print}: want one of {event}, {device},"}},
	{"placeholder in the program", `hooks: [{on: [mains_lost], command: ["/bin/{event}"]}]`, []string{`f:1:38: command has "/bin/{event}": want a program that does not depend on the event`}},
	{"program from an event", `hooks: [{on: [mains_lost], command: ["{device}"]}]`, []string{`f:1:38: command has "{device}": want a program that does not depend on the event`}},
	{"hook for ever", "hooks: [{on: [mains_lost], command: [a], timeout: 2d}]", []string{`f:1:51: timeout is "2d": want a duration from 100ms to 1h`}},

	// The plan.
	{"step does nothing", "shutdown: {steps: [{name: db}]}", []string{`f:1:20: step db does nothing: want one of command, unit, libvirt, proxmox, containers, wall, notify, http, wait_for, ssh, redfish, ipmi, for example unit: postgresql.service`}},
	{"step does both", "shutdown: {steps: [{name: db, command: [a], unit: b.service}]}", []string{`f:1:45: step db with both command and unit: want one of them`}},
	{"step twice", "shutdown: {steps: [{name: db, unit: a.service}, {name: db, unit: b.service}]}", []string{`f:1:50: step "db" again`}},
	{"unit without a type", "shutdown: {steps: [{name: db, unit: postgresql}]}", []string{`f:1:37: unit is "postgresql": want the name of a systemd unit with its type, for example postgresql.service`}},
	{"unit that is an option", "shutdown: {steps: [{name: db, unit: a b.service}]}", []string{`f:1:37: unit is "a b.service"`}},
	{"early without a condition", "shutdown: {steps: [{name: db, unit: a.service, early: {}}]}", []string{`f:1:55: early without a condition: want on_battery, below_margin or below_charge_pct`}},
	{"step that is called as the power-off", "shutdown: {steps: [{name: power_off, unit: a.service}]}", []string{`f:1:21: step power_off, which is the last step's own name: want another name`}},
	{"on_failure", "shutdown: {steps: [{name: db, unit: a.service, on_failure: abort}]}", []string{`f:1:60: on_failure is "abort": want one of continue, stop`}},

	{"two kinds", "shutdown: {steps: [{name: db, libvirt: {}, wait_for: [nas:22]}]}", []string{`f:1:44: step db with both libvirt and wait_for: want one of them`}},
	{"kind with a slip", "shutdown: {steps: [{name: db, libvrt: {}}]}", []string{`f:1:20: step db does nothing`, `f:1:31: unknown key "libvrt" in steps (did you mean "libvirt"?): want one of name, after,`}},
	{"user for a unit", "shutdown: {steps: [{name: db, unit: a.service, user: x}]}", []string{`f:1:48: user for a step without a command: want user beside command or undo`}},
	{"zero byte for a program", `shutdown: {steps: [{name: db, command: [a, "b\0"]}]}`, []string{`f:1:44: an item of command is "b\x00": want a text without a zero byte`}},
	{"201 steps", "shutdown: {steps: [" + strings.Repeat("{name: s},", 200) + "\n{name: t}]}", []string{`f:2:1: 201 steps: want at most 200`}},
	{"half a retry", "shutdown: {steps: [{name: a, unit: a.service, retries: 1.5}]}", []string{`f:1:56: retries is 1.5: want a whole number, for example 2`}},

	// What the kinds take.
	{"domain that is an option", "shutdown: {steps: [{name: a, libvirt: {domains: [web, --all]}}]}", []string{`f:1:55: an item of domains is "--all": want the name of a domain as virsh lists it, for example [mail, web]`}},
	{"domain twice", "shutdown: {steps: [{name: a, libvirt: {domains: [web, web]}}]}", []string{`f:1:55: domains has "web" twice: want each once`}},
	{"domains and exceptions", "shutdown: {steps: [{name: a, libvirt: {domains: [web], except: [db]}}]}", []string{`f:1:56: except beside domains: want one of them`}},
	{"password for a hypervisor", "shutdown: {steps: [{name: a, libvirt: {uri: 'qemu+ssh://bob:s3cret@kvm/system'}}]}", []string{`f:1:45: uri is "********@kvm/system": want a URI of libvirt without a password`}},
	{"destroyed too late", "shutdown: {steps: [{name: a, libvirt: {destroy_after: 60s}}]}", []string{`f:1:55: destroy_after is 1m, and step a ends after 1m: want less than the step's timeout, for example timeout: 2m`}},
	{"silent for too long", "shutdown: {steps: [{name: a, timeout: 10s, wait_for: {peers: [nas:22], for: 10s}}]}", []string{`f:1:77: for is 10s, and step a ends after 10s: want less`}},
	{"guest by its name", "shutdown: {steps: [{name: a, proxmox: {guests: [web, 99, 100]}}]}", []string{`f:1:49: an item of guests is "web": want the id of a guest, 100 or above, for example [100, 101]`, `f:1:54: an item of guests is "99"`}},
	{"guests and exceptions", "shutdown: {steps: [{name: a, proxmox: {guests: [100], except: [101]}}]}", []string{`f:1:55: except beside guests`}},
	{"engine with a slip", "shutdown: {steps: [{name: a, containers: doker}]}", []string{`f:1:42: engine is "doker" (did you mean "docker"?): want docker, podman, or the absolute path of one of them, for example docker`}},
	{"container that is an option", "shutdown: {steps: [{name: a, containers: {engine: docker, names: [-f]}}]}", []string{`f:1:67: an item of names is "-f": want the name of a container`}},
	{"names and exceptions", "shutdown: {steps: [{name: a, containers: {engine: docker, names: [a], except: [b]}}]}", []string{`f:1:71: except beside names`}},
	{"wall that rings the bell", `shutdown: {steps: [{name: a, wall: "down\x07"}]}`, []string{`f:1:36: wall is "down\a": want a text without control characters`}},
	{"wall of nothing", `shutdown: {steps: [{name: a, wall: " "}]}`, []string{`f:1:36: wall is " ": want a text`}},
	{"a novel for the wall", "shutdown: {steps: [{name: a, notify: " + strings.Repeat("x", 4097) + "}]}", []string{`f:1:38: notify has 4097 bytes: want at most 4096`}},
	{"URL without a scheme", "shutdown: {steps: [{name: a, http: nas/off}]}", []string{`f:1:36: http is "nas/off": want a URL that begins with https:// or http://, for example "https://nas.example/api/shutdown"`}},
	{"password in a wrong URL, not shown", "shutdown: {steps: [{name: a, http: 'https://bob:hun/ter2@nas/'}]}", []string{`f:1:36: http is "********@nas/": want a URL`}},
	{"header that is none", "shutdown: {steps: [{name: a, http: {url: https://nas/, headers: {a b: c}}}]}", []string{`f:1:66: header "a b": want the name of a header`}},
	{"header twice", "shutdown: {steps: [{name: a, http: {url: https://nas/, headers: {x-a: c, X-A: d}}}]}", []string{`f:1:74: key "X-A" again, after line 1`}},
	{"header of two lines", `shutdown: {steps: [{name: a, http: {url: https://nas/, headers: {x-a: "c\r\nX-B: d"}}}]}`, []string{`f:1:71: header X-A is "c\r\nX-B: d": want a text of one line`}},
	{"two logins", "shutdown: {steps: [{name: a, http: {url: https://nas/, token_file: /t, headers: {authorization: x}}}]}", []string{`f:1:56: token_file beside a header Authorization: want one of them`}},
	{"status that is none", "shutdown: {steps: [{name: a, http: {url: https://nas/, status: [200, 99, 204.5]}}]}", []string{`f:1:70: an item of status is "99": want a number from 100 to 599, for example 200`, `f:1:74: an item of status is 204.5: want a whole number`}},
	{"undoing of an undoing", "shutdown: {steps: [{name: a, http: {url: https://nas/, undo: {url: https://nas/, undo: {url: https://nas/}}}}]}", []string{`f:1:82: unknown key "undo" in undo`}},
	{"undone twice", "shutdown: {steps: [{name: a, undo: [b], http: {url: https://nas/, undo: {url: https://nas/}}}]}", []string{`f:1:30: undo again, beside the one of http: want one of them`}},
	{"undone twice over ssh", "shutdown: {steps: [{name: a, undo: [b], ssh: {host: nas, key_file: /k, command: c, undo: d}}]}", []string{`f:1:30: undo again, beside the one of ssh`}},
	{"peer without a port", "shutdown: {steps: [{name: a, wait_for: [nas]}]}", []string{`f:1:41: an item of wait_for is "nas": want host:port, an IPv6 address in brackets, for example ["nas:22"]`}},
	{"peer with a blank", "shutdown: {steps: [{name: a, wait_for: [nas: 22]}]}", []string{`f:1:41: an item of wait_for is keys and values: want host:port`}},
	{"peer that is a mapping", "shutdown: {steps: [{name: a, wait_for: [{nas:22}]}]}", []string{`f:1:41: an item of wait_for is keys and values: want host:port`}},
	{"user before the host", "shutdown: {steps: [{name: a, ssh: {host: root@nas, key_file: /k, command: c}}]}", []string{`f:1:42: host is "root@nas": want a name or an address`}},
	{"password in an address", "shutdown: {steps: [{name: a, redfish: {address: 'https://a:b@bmc'}}]}", []string{`f:1:49: a user or password in the address https://********@bmc: want user and password_file, for example {user: dodai, password_file: /etc/dodai/bmc.password}`}},
	{"password of nobody", "shutdown: {steps: [{name: a, redfish: {address: https://bmc, password_file: /p}}]}", []string{`f:1:62: password_file without user: want both of them, for example user: dodai`}},
	{"password of nobody for a BMC", "shutdown: {steps: [{name: a, ipmi: {address: bmc, password_file: /p}}]}", []string{`f:1:51: password_file without user`}},
	{"ways beside the built-in ones", "shutdown:\n  power_off: {second: [a]}", []string{`f:2:14: second and forced without shutdown.command: want them beside a command; the built-in power-off has its own`}},

	// What steps say of each other.
	{"after no step", abc("after: [x, aa]", "", ""), []string{`f:2:36: step a comes after "x", which is no step (did you mean "a"?): want one of a, b, c`, `f:2:39: step a comes after "aa", which is no step (did you mean "a"?)`}},
	{"after twice", abc("", "after: [a, a]", ""), []string{`f:3:39: after has "a" twice: want each once`}},
	{"after itself", abc("", "after: [b]", ""), []string{`f:3:28: step b comes after itself: want an order: leave one of these names out, or write after: [] where a step waits for none`}},
	{"circle of two", abc("after: [b]", "", ""), []string{`f:2:28: steps in a circle, none of which would ever start: a after b after a: want an order`}},
	{"circle of three, one of them by the list", abc("after: [c]", "after: [a]", ""), []string{`f:2:28: steps in a circle, none of which would ever start: a after c after b after a`}},
	{"circle that somebody waits for", abc("after: []", "after: [c]", "after: [a, b]"), []string{`f:3:28: steps in a circle, none of which would ever start: b after c after b`}},
	{"circle told where somebody says after", abc("after: [c]", "after: [c]", ""), []string{`f:3:28: steps in a circle, none of which would ever start: b after c after b`}},
	{"point of no return in a circle", "shutdown: {point_of_no_return: b, steps: [{name: a, command: [x], after: [b]}, {name: b, unit: b.service}]}", []string{`f:1:67: steps in a circle, none of which would ever start: a after b after a`}},
	{"two circles", abc("after: [a]", "after: [b]", "after: [a]"), []string{`f:2:28: step a comes after itself`, `f:3:28: step b comes after itself`}},
	{"early after late", abc("", "early: {on_battery: 1m}, after: [a]", ""), []string{`f:3:61: early step b comes after a, which runs only after the decision: want a early as well, or b without early, or other names in after, for example after: []`}},
	{"point of no return that is none", "shutdown: {point_of_no_return: db, steps: [{name: dc, unit: a.service}]}", []string{`f:1:32: point_of_no_return is "db", which is no step (did you mean "dc"?): want one of dc`}},
	{"point of no return without steps", "shutdown: {point_of_no_return: db}", []string{`f:1:32: point_of_no_return is "db", and there are no steps: want a step of that name`}},
	{"point of no return before the decision", "shutdown: {point_of_no_return: b, steps: [{name: b, unit: b.service, early: {on_battery: 1m}}]}", []string{`f:1:32: point_of_no_return is b, which is early: it may be over before the decision: want a step without early`}},
	{"no return before all that run", "shutdown: {point_of_no_return: b, steps: [{name: a, libvirt: {}}, {name: d, proxmox: {except: [101]}}, {name: e, containers: docker}, {name: b, unit: b.service}]}", []string{
		`f:1:32: point_of_no_return is b, and step a, which cannot be undone, may run before it`, `f:1:32: point_of_no_return is b, and step d, which`, `f:1:32: point_of_no_return is b, and step e, which`}},
	{"no return before", "shutdown: {point_of_no_return: b, steps: [{name: a, command: [x]}, {name: b, command: [x]}, {name: c, command: [x]}, {name: d, ssh: {host: h, key_file: /k, command: x}, after: []}]}", []string{
		`f:1:32: point_of_no_return is b, and step a, which cannot be undone, may run before it: want an undo for a, or after: [b] in it, for example undo:`,
		`f:1:32: point_of_no_return is b, and step d, which cannot be undone, may run before it`}},

	// The rest.
	{"listen without a port", "export: {listen: localhost}", []string{`f:1:18: listen is "localhost": want host:port, for example "127.0.0.1:9777"`}},
	{"listen on a wild port", `export: {listen: ":99999"}`, []string{`f:1:18: listen is ":99999": want host:port`}},
	{"textfile node_exporter ignores", "export: {textfile: /tmp/dodai.txt}", []string{`f:1:20: textfile is "/tmp/dodai.txt": want an absolute path that ends in .prom`}},
	{"relative journal", "journal: {dir: var}", []string{`f:1:16: dir is "var": want an absolute path, for example /var/lib/dodai`}},
	{"unknown scenario", "drills: [{name: a, scenario: mains_los}]", []string{`f:1:30: unknown scenario "mains_los" (did you mean "mains_loss"?): want one of mains_loss, low_battery, card_silent, feed_loss, or the path of a .yaml file`}},
	{"unknown level", "drills: [{name: a, scenario: mains_loss, level: real}]", []string{`f:1:49: level is "real": want one of tabletop, rehearsal, for example tabletop`}},
	{"drill twice", "drills: [{name: a, scenario: mains_loss}, {name: a, scenario: feed_loss}]", []string{`f:1:44: drill "a" again`}},
	{"objective with a unit", "drills: [{name: a, scenario: mains_loss, objectives: {decide_s: 5s}}]", []string{`f:1:65: decide_s is "5s": want a number of seconds`}},
	{"tag that is no label", "host: {tags: {my-rack: a}}", []string{`f:1:15: tag "my-rack": want letters, digits and underscores`}},

	{"everything at once", "mode: amred\nups:\n  - name: a\n    driver: megatec\n    poll: 5\nshutdown:\n  need: 120\npolicy:\n  min_charge_pct: 120\n", []string{
		`f:1:7: mode is "amred" (did you mean "armed"?)`, `f:3:5: device a, driver megatec, without "port"`, `f:5:11: poll is 5`, `f:7:9: need is 120`, `f:9:19: min_charge_pct is "120"`,
	}},
}

// abc is a plan of three steps, each with what is given.
func abc(a, b, c string) string {
	return fmt.Sprintf("shutdown: {steps: [\n{name: a, unit: a.service, %s},\n{name: b, unit: b.service, %s},\n{name: c, unit: c.service, %s}]}", a, b, c)
}

// right are files without a mistake, and without a warning, that look a little like one.
var right = []string{
	"mode: armed\nups: [{name: a, driver: nut}]",
	"mode: armed\nups: [{name: a, driver: nut}, {name: b, driver: nut}]\npolicy: {min_supplies: 2}",
	"mode: armed\nups: [{name: a, driver: nut}, {name: b, driver: nut}]\nwiring: [{psu: x, ups: a}, {psu: y, ups: b}]",
	"ups: [{name: a, driver: nut}, {name: b, driver: nut}]",
	"policy: {min_supplies: 2}", // the UPSes are still to be written
	"ups: [{name: a, driver: dummy}]\narrays: [{name: b, driver: dummy}]\npdus: [{name: c, driver: dummy}]",
	"ups: [{name: a, driver: megatec, options: {port: /dev/x}}]",
	"pdus: [{name: a, driver: nut}]",
	"wiring: [{psu: x, outlet: pdu9/3}]", // no PDU is read
	"pdus: [{name: a, driver: nut}]\nwiring: [{psu: x, outlet: left}]",
	"wiring: [{psu: x, feed: A}, {psu: x, feed: B}]",
	`hooks: [{on: [mains_lost], command: [a, "{event} {drill} {battery.charge} {margin_s}", "{ so }", "{a: 1}"]}]`,
	"drills: [{name: a, scenario: mains_loss}, {name: b, scenario: mains_loss}]",
	"shutdown: {steps: [{name: a, unit: a.service}, {name: b, unit: a.service}]}",
	"shutdown: {steps: [{name: a, wait_for: [nas:22, 10.0.0.1:22, '[::1]:22']}, {name: b, wait_for: {peers: [nas:22, b_c.d:443]}}]}",
	"shutdown: {steps: [{name: a, http: https://nas/off}, {name: b, containers: docker}, {name: c, libvirt: }, {name: d, libvirt: {}}, {name: e, proxmox: }]}",
	"shutdown: {steps: [{name: a, libvirt: {destroy_after: 59s}}, {name: b, timeout: 2m, libvirt: {destroy_after: 60s}}]}",
	"shutdown:\n  steps:\n    - name: a\n      wall: |\n        two\n        lines\n",
	"shutdown: {steps: [{name: a, notify: \"" + strings.Repeat("x", 4096) + "\"}]}\nhooks: [{on: [notification], command: [a]}]",
	"shutdown: {steps: [{name: a, wall: x, user: bob, undo: [b]}]}",
	abc("", "", ""), abc("after: [c]", "after: []", ""), abc("after: []", "after: []", "after: [a, b]"), abc("after: [b, c]", "after: []", "after: []"),
	abc("", "early: {on_battery: 1m}", ""), // it does not wait for a, which comes before it only in the list
	"shutdown: {steps: [{name: a, unit: a.service, early: {on_battery: 1m}}, {name: b, unit: b.service, early: {on_battery: 1m}, after: [a]}]}",
	"shutdown: {point_of_no_return: b, steps: [{name: a, unit: a.service}, {name: w, wall: x}, {name: o, wait_for: [nas:22]}, {name: b, command: [x]}, {name: c, command: [x], after: [b]}]}",
	"shutdown: {point_of_no_return: b, steps: [{name: a, libvirt: {domains: [x]}}, {name: d, proxmox: {guests: [101]}}, {name: e, containers: {engine: docker, names: [x]}}, {name: b, libvirt: {}}, {name: r, redfish: {address: https://b}, after: []}, {name: i, ipmi: {address: b}, after: []}]}",
	"shutdown: {point_of_no_return: b, steps: [{name: a, command: [x], undo: [y]}, {name: h, http: {url: https://nas/, undo: {url: https://nas/}}}, {name: s, ssh: {host: h, key_file: /k, command: x, undo: y}}, {name: b, command: [x]}]}",
	"host: {name: \ufffd}",
	"# first\n---\n# second\nmode: observe # third\n...\n# fourth\n",
	"hooks:\n  - on:\n" + strings.Repeat("    - mains_lost\n", 20) + "    command: [a]\n",
	"hooks:\n" + strings.Repeat("  - {on: [mains_lost], command: [a]}\n", 20),
	"mode: observe\n" + strings.Repeat("#", maxSize-14),
}

func TestRight(t *testing.T) {
	for _, in := range right {
		if c, err := parse(in); err != nil || len(c.Warnings) > 0 {
			t.Errorf("%.200q: %v, %+v; want nothing to complain about", in, err, c)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range mistakes {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(c.in)
			if err == nil {
				t.Fatalf("%q: no error, want %q", c.in, c.want)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(c.want) {
				t.Fatalf("%q: %d errors, want %d:\n%v", c.in, len(lines), len(c.want), err)
			}
			for i, want := range c.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("%q:\n got %s\nwant %s…", c.in, lines[i], want)
				}
			}
		})
	}
}

func TestSuggestions(t *testing.T) {
	known := []string{"name", "driver", "port", "address", "options", "poll"}
	got := map[string]string{}
	for _, word := range []string{"nmae", "Driver", "prot", "addres", "opts", "pol", "x", "timeout", ""} {
		got[word] = closest(word, known)
	}
	want := map[string]string{"nmae": "name", "Driver": "driver", "prot": "port", "addres": "address", "opts": "", "pol": "poll", "x": "", "timeout": "", "": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// One slip in a word of up to five letters, two up to eight, three in longer ones.
	for word, want := range map[string]bool{
		"ax": true, "xy": false, "abcdx": true, "abcxx": false, "abcdxx": true, "abcxxx": false, "abcdefxx": true, "abcdexxx": false,
		"abcdefxxx": true, "abcdexxxx": false, "abcdefghixxx": true, "abcdefghxxxx": false,
	} {
		if got := closest(word, []string{"abcdefghijkl"[:len(word)]}) != ""; got != want {
			t.Errorf("a suggestion for %s: %v, want %v", word, got, want)
		}
	}
	if got := closest("driver", []string{"driven", "drives"}); got != "driven" {
		t.Errorf("of two that are as near: %s, want the first", got)
	}
	if d := distance(strings.Repeat("a", 65), strings.Repeat("a", 65)); d != 64 {
		t.Errorf("distance of texts too long to compare: %d, want 64", d)
	}
}

// TestExamplesOfDrivers: a secret stands in a file, and only drivers that can be had are named.
func TestExamplesOfDrivers(t *testing.T) {
	only := func(name string) (drivers.Factory, bool) {
		f, ok := fake(name)
		return f, ok && name == "snmp"
	}
	for in, want := range map[string]string{
		"ups: [{name: a, driver: snmp, address: x, options: {comunity: x}}]": `f:1:53: driver snmp has no option "comunity" (did you mean "community"?): want one of address, community, version, for example community_file: /etc/dodai/snmp.community`,
		"ups: [{name: a, driver: nut}]":                                      `f:1:25: unknown driver "nut": want one of snmp, for example megatec`,
	} {
		if _, err := Parse("f", []byte(in), only); err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", in, err, want)
		}
	}
}
