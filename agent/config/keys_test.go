package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/google/go-cmp/cmp"
)

// place is a mapping of the file: a file with one of it, and what a key has to stand
// beside. Some keys want other company than most.
type place struct {
	name, file, beside string
	other              map[string]string
}

var places = []place{
	{"the file", "%s%s", "", map[string]string{"wiring": "ups: [{name: u1, driver: nut}]\n"}},
	{"ups", "ups: [{name: room, driver: nut}, {%s%s}]", "name: u, driver: megatec, port: /dev/x, ", map[string]string{"address": "name: u, driver: snmp, "}},
	{"wiring", "ups: [{name: u1, driver: nut}]\nwiring: [{%s%s}]", `psu: "1", ups: u1, `, nil},
	{"host", "host: {%s%s}", "", nil},
	{"shutdown", "shutdown: {%s%s}", "", map[string]string{"point_of_no_return": "steps: [{name: db, unit: a.service}], "}},
	{"power_off", "shutdown: {command: [a], power_off: {%s%s}}", "", nil},
	{"boot_hold", "boot_hold: {%s%s}", "", nil},
	{"steps", "shutdown: {steps: [{name: guests, unit: g.service}, {%s%s}]}", "name: s, unit: a.service, ", alone(
		"command", "libvirt", "proxmox", "containers", "wall", "notify", "http", "wait_for", "ssh", "redfish", "ipmi")},
	{"libvirt", "shutdown: {steps: [{name: s, libvirt: {%s%s}}]}", "", nil},
	{"proxmox", "shutdown: {steps: [{name: s, proxmox: {%s%s}}]}", "", nil},
	{"containers", "shutdown: {steps: [{name: s, containers: {%s%s}}]}", "engine: podman, ", nil},
	{"http", "shutdown: {steps: [{name: s, http: {%s%s}}]}", "url: https://nas/, ", nil},
	{"undo", "shutdown: {steps: [{name: s, http: {url: https://nas/, undo: {%s%s}}}]}", "url: https://nas/, ", nil},
	{"wait_for", "shutdown: {steps: [{name: s, wait_for: {%s%s}}]}", "peers: [nas:22], ", nil},
	{"ssh", "shutdown: {steps: [{name: s, ssh: {%s%s}}]}", "host: nas, key_file: /etc/dodai/id, command: off, ", nil},
	{"redfish", "shutdown: {steps: [{name: s, redfish: {%s%s}}]}", "address: https://bmc, user: a, ", nil},
	{"ipmi", "shutdown: {steps: [{name: s, ipmi: {%s%s}}]}", "address: bmc, user: a, ", nil},
	{"early", "shutdown: {steps: [{name: s, unit: a.service, early: {%s%s}}]}", "", nil},
	{"policy", "policy: {%s%s}", "", nil},
	{"hooks", "hooks: [{%s%s}]", "on: [mains_lost], command: [a], ", nil},
	{"export", "export: {%s%s}", "", nil},
	{"journal", "journal: {%s%s}", "", nil},
	{"drills", "drills: [{%s%s}]", "name: d, scenario: mains_loss, ", nil},
	{"objectives", "drills: [{name: d, scenario: mains_loss, objectives: {%s%s}}]", "", nil},
}

// alone is for keys that are what a step does: no other can stand beside them.
func alone(kinds ...string) map[string]string {
	other := map[string]string{"user": "name: s, command: [a], "}
	for _, kind := range kinds {
		other[kind] = "name: s, "
	}
	return other
}

// with is a file in which line stands at the place, in the company that key wants.
func (p place) with(key, line string) string {
	beside := p.beside
	if other, ok := p.other[key]; ok {
		beside = other
	}
	if strings.HasSuffix(beside, "\n") {
		return fmt.Sprintf(p.file, beside, line)
	}
	var company []string
	for pair := range strings.SplitSeq(beside, ", ") {
		if name, _, _ := strings.Cut(pair, ":"); name != key && pair != "" {
			company = append(company, pair+", ")
		}
	}
	return fmt.Sprintf(p.file, strings.Join(company, ""), line)
}

// keys are the keys the place takes, as its own error lists them.
func (p place) keys(t *testing.T) []string {
	t.Helper()
	found := problemsOf(t, p.with("", "zzzzzzzzzzzz: 1"))
	list, ok := strings.CutPrefix(found[0].Want, "one of ")
	if !ok || len(found) != 1 || !strings.Contains(found[0].What, " in "+p.name) {
		t.Fatalf("%s: %v, want a list of its keys and nothing else", p.name, found)
	}
	return strings.Split(list, ", ")
}

func problemsOf(t *testing.T, in string) Problems {
	t.Helper()
	_, err := parse(in)
	found, ok := err.(Problems)
	if !ok {
		t.Fatalf("%q: %v, want Problems", in, err)
	}
	return found
}

// TestExamplesAreTaken follows the advice of error messages: the example for a
// misspelt key, and the one for a value of the wrong shape, make the file right.
func TestExamplesAreTaken(t *testing.T) {
	for _, p := range places {
		for _, key := range p.keys(t) {
			found := problemsOf(t, p.with(key, key+"q: 1"))
			slip := found[len(found)-1]
			if want := fmt.Sprintf("unknown key %q in %s (did you mean %q?)", key+"q", p.name, key); slip.What != want || !strings.HasPrefix(slip.Example, key+":") {
				t.Errorf("%sq in %s: %v, want %s and a line with the key", key, p.name, slip, want)
			}
			if _, err := parse(p.with(key, slip.Example)); err != nil {
				t.Errorf("example %s:\n%v", slip.Example, err)
			}
			p.wrongShape(t, key)
		}
	}
}

func (p place) wrongShape(t *testing.T, key string) {
	t.Helper()
	for _, value := range []string{"{a: b}", "[[b]]", "x"} {
		_, err := parse(p.with(key, key+": "+value))
		found, _ := err.(Problems)
		i := 0
		for i < len(found) && !strings.HasPrefix(found[i].What, key+" is ") {
			i++
		}
		if i == len(found) {
			continue // it is a shape that the key has
		}
		example := key + ": " + found[i].Example
		if found[i].Want == "keys and values" && !strings.HasPrefix(found[i].Example, "{") {
			example = key + ": {" + found[i].Example + "}"
		}
		if _, err := parse(p.with(key, example)); err != nil {
			t.Errorf("%v\nexample %s:\n%v", found[i], example, err)
		}
		return
	}
	t.Errorf("%s in %s: no complaint about %s of a wrong shape", key, p.name, key)
}

// TestRequired: what a list's item cannot do without.
func TestRequired(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"ups: [{port: /dev/x}]", `a device in ups without "name"; a device in ups without "driver"`},
		{"shutdown: {steps: [{unit: a.service}]}", `a step without "name"`},
		{"shutdown: {steps: [{name: s, containers: {}}]}", `containers without "engine"`},
		{"shutdown: {steps: [{name: s, http: }]}", `http without "url"`},
		{"shutdown: {steps: [{name: s, http: {url: https://nas/, undo: {method: PUT}}}]}", `undo without "url"`},
		{"shutdown: {steps: [{name: s, wait_for: {for: 5s}}]}", `wait_for without "peers"`},
		{"shutdown: {steps: [{name: s, ssh: {}}]}", `ssh without "host"; ssh without "key_file"; ssh without "command"`},
		{"shutdown: {steps: [{name: s, redfish: {system: a}}]}", `redfish without "address"`},
		{"shutdown: {steps: [{name: s, ipmi: {cipher: 3}}]}", `ipmi without "address"`},
		{"shutdown: {steps: [{name: s, ssh: x}]}", "ssh is a text"},
		{"shutdown: {steps: [{name: s, libvirt: x}]}", "libvirt is a text"},
		{"shutdown: {steps: [{name: s, containers: }]}", `containers without "engine"`},
		{"shutdown: {steps: [{name: s, wait_for: []}]}", "wait_for is empty"},
		{"shutdown: {steps: [{name: s, libvirt: {domains: }}]}", "domains is empty"},
		{"shutdown: {steps: [{name: s, http: {url: https://nas/, status: []}}]}", "status is empty"},
		{"shutdown: {steps: [{name: s, unit: a.service, after: }]}", "after has no value"},
		{"hooks: [{timeout: 1s}]", `a hook without "on"; a hook without "command"`},
		{"drills: [{level: full}]", `a drill without "name"; a drill without "scenario"`},
		{"shutdown: {steps: [x]}", "steps is a text"},
		{"hooks: [x]", "hooks is a text"},
		{"wiring: [x]", "wiring is a text"},
		{"wiring: [{psu: [a]}]", "psu is a list"}, // and nothing about what follows from it
		{"shutdown: {steps: [{name: s, unit: a.service, early: x}]}", "early is a text"},
		{"shutdown: {steps: [{name: [s], unit: a.service}, {name: [s], unit: a.service}]}", "name is a list; name is a list"},
		{"drills: [{name: [s], scenario: mains_loss}, {name: [s], scenario: mains_loss}]", "name is a list; name is a list"},
		{"ups: [{name: [s], driver: nut}, {name: [s], driver: nut}]", "name is a list; name is a list"},
		{"drills: [{name: d, scenario: [x]}]", "scenario is a list"},
		{"ups: [{name: d, driver: [x]}]", "driver is a list"},
		{"export: {textfile: [x]}", "textfile is a list"},
		{"hooks: [{on: , command: }]", "on is empty; command is empty"},
		{"host: {name: ''}", `name is ""`},
		{"host: {name: \"a\\nb\"}", `name is "a\nb"`},
		{"policy: {ignore_lb: }", "ignore_lb is nothing"},
	} {
		var got []string
		for _, p := range problemsOf(t, c.in) {
			got = append(got, p.What)
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%s: %q, want %q", c.in, got, c.want)
		}
	}
}

// TestLimits has for each value what is just right and what is just wrong.
func TestLimits(t *testing.T) {
	const step, early = "shutdown: {steps: [{name: s, unit: a.service, %s}]}", "shutdown: {steps: [{name: s, unit: a.service, early: {%s}}]}"
	const libvirt, proxmox = "shutdown: {steps: [{name: s, timeout: 1d, libvirt: {%s}}]}", "shutdown: {steps: [{name: s, timeout: 1d, proxmox: {%s}}]}"
	const http, ssh = "shutdown: {steps: [{name: s, http: {url: https://nas/, %s}}]}", "shutdown: {steps: [{name: s, ssh: {host: nas, key_file: /k, command: off, %s}}]}"
	const sshOf, ipmi = "shutdown: {steps: [{name: s, ssh: {key_file: /k, command: off, %s}}]}", "shutdown: {steps: [{name: s, timeout: 1d, ipmi: {%s}}]}"
	const objective = "drills: [{name: d, scenario: mains_loss, objectives: {%s}}]"
	long := strings.Repeat("u", 256)
	for _, c := range []struct {
		in, key, right, wrong, want string
	}{
		{"shutdown: {%s}", "need", "1s 1d", "999ms 86401s 1h-1s 2:30", "a duration from 1s to 1d, for example 120s"},
		{"shutdown: {%s}", "reserve", "0s 1d", "-1ms 86401s", "a duration from 0s to 1d, for example 60s"},
		{step, "timeout", "100ms 1d", "99ms 86401s", "a duration from 100ms to 1d, for example 60s"},
		{step, "expect", "0s 1d", "-1s 86401s", "a duration from 0s to 1d, for example 20s"},
		{step, "retries", "0 20", "-1 21 007", "a number from 0 to 20, for example 2"},
		{step, "retry_wait", "0s 1h", "-1s 61m", "a duration from 0s to 1h, for example 2s"},
		{"shutdown: {power_off: {%s}}", "timeout", "100ms 1h", "99ms 61m", "a duration from 100ms to 1h, for example 15s"},
		{"shutdown: {power_off: {%s}}", "grace", "1s 1h", "999ms 61m", "a duration from 1s to 1h, for example 60s"},
		{"shutdown: {power_off: {%s}}", "expect", "1s 1h", "999ms 61m", "a duration from 1s to 1h, for example 30s"},
		{"boot_hold: {%s}", "rank", "0 1000", "-1 1001", "a number from 0 to 1000, for example 1"},
		{"boot_hold: {%s}", "stagger", "0s 1h", "-1s 61m", "a duration from 0s to 1h, for example 30s"},
		{"boot_hold: {%s}", "limit", "0s 1d", "-1s 25h", "a duration from 0s to 1d, for example 15m"},
		{libvirt, "destroy_after", "1s 1439m", "999ms 25h", "a duration from 1s to 1d, for example 45s"},
		{libvirt, "uri", "qemu:///system qemu+ssh://root@kvm2/system test:///default", `qemu: "" -c://x qemu:/system`, `a URI of libvirt without a password, for example "qemu:///system"`},
		{libvirt, "virsh", "virsh /opt/bin/virsh", "bin/virsh ./virsh -c /opt/", "a program, by its name or its absolute path, for example /usr/bin/virsh"},
		{proxmox, "stop_after", "1s 1439m", "999ms 25h", "a duration from 1s to 1d, for example 45s"},
		{proxmox, "qm", "qm /usr/sbin/qm", "sbin/qm", "a program, by its name or its absolute path, for example /usr/sbin/qm"},
		{proxmox, "pct", "pct /usr/sbin/pct", "sbin/pct", "a program, by its name or its absolute path, for example /usr/sbin/pct"},
		{"shutdown: {steps: [{name: s, timeout: 1d, containers: {%s}}]}", "engine", "docker podman /opt/bin/podman", "lxc bin/docker -x", "docker, podman, or the absolute path of one of them, for example docker"},
		{"shutdown: {steps: [{name: s, timeout: 1d, containers: {engine: docker, %s}}]}", "grace", "1s 1439m", "0s 25h", "a duration from 1s to 1d, for example 20s"},
		{"shutdown: {steps: [{name: s, http: {%s}}]}", "url", `https://nas http://nas:65535/x?a=b "https://[::1]:1/" HTTPS://a_b.example./`, "nas ftp://nas/ https:// https://nas:0 https://nas:99999/ https:nas https://-a/ http:///x", `a URL that begins with https:// or http://, for example "https://nas.example/api/shutdown"`},
		{http, "check", "https://nas", "nas", `a URL that begins with https:// or http://, for example "https://nas.example/api/version"`},
		{http, "method", "GET PATCH OPTIONS", "get TRACE", "one of POST, PUT, PATCH, DELETE, GET, HEAD, OPTIONS, for example POST"},
		{"shutdown: {steps: [{name: s, timeout: 1d, wait_for: {peers: [nas:22], %s}}]}", "for", "1s 1439m", "0s 25h", "a duration from 1s to 1d, for example 5s"},
		{sshOf, "host", `nas nas:22 192.0.2.1 "::1" "[::1]:22" "fe80::1%eth0" a_b.`, `a@nas -p nas:0 nas:ssh nas:65536 "[::1" a..b- a/b`, "a name or an address, :port behind it where it is not the usual one, for example nas"},
		{ssh, "connect_timeout", "100ms 1h", "99ms 61m", "a duration from 100ms to 1h, for example 5s"},
		{ipmi, "address", `bmc "bmc:623" "[::1]:623"`, "bmc:x", `a name or an address, :port behind it where it is not the usual one, for example "192.0.2.30:623"`},
		{"shutdown: {steps: [{name: s, timeout: 1d, ipmi: {address: bmc, %s}}]}", "cipher", "3 17", "0 1 18", "17 or 3, for example 17"},
		{"shutdown: {steps: [{name: s, timeout: 1d, ipmi: {address: bmc, %s}}]}", "force_after", "1s 1439m", "999ms 25h", "a duration from 1s to 1d, for example 45s"},
		{"shutdown: {steps: [{name: s, timeout: 1d, redfish: {address: https://bmc, %s}}]}", "force_after", "1s 1439m", "999ms 25h", "a duration from 1s to 1d, for example 45s"},
		{early, "on_battery", "0s 1d", "-1s 86401s", "a duration from 0s to 1d, for example 60s"},
		{early, "below_margin", "0s 1d", "-1s 86401s", "a duration from 0s to 1d, for example 60s"},
		{early, "below_charge_pct", "1 100", "0.99 100.1", "a number of percent from 1 to 100, for example 80"},
		{"ups: [{name: u, driver: nut, %s}]", "poll", "20ms 1h", "19ms 3601s", "a duration from 20ms to 1h, for example 2s"},
		{"hooks: [{on: [mains_lost], command: [a], %s}]", "timeout", "100ms 1h", "99ms 3601s", "a duration from 100ms to 1h, for example 10s"},
		{"export: {%s}", "interval", "1s 1h", "999ms 3601s", "a duration from 1s to 1h, for example 15s"},
		{"journal: {%s}", "keep_events", "1d 100y", "23h 36501d", "a duration from 1d to 100y, for example 2y"},
		{"journal: {%s}", "keep_samples", "1h 100y", "59m 36501d", "a duration from 1h to 100y, for example 30d"},

		{"policy: {%s}", "poll_batt_s", "0.02 3600", "0.01 3600.5", "a number of seconds from 0.02 to 3600, for example 2"},
		{"policy: {%s}", "retry_s", "0.02 60", "0.01 60.5", "a number of seconds from 0.02 to 60, for example 0.5"},
		{"policy: {%s}", "stale_s", "1 3600", "0.9 3600.5", "a number of seconds from 1 to 3600, for example 15"},
		{"policy: {%s}", "frozen_s", "1 86400", "0.9 86400.5", "a number of seconds from 1 to 86400, for example 120"},
		{"policy: {%s}", "min_charge_pct", "0 100", "-0.1 100.1 020 1e1 +5 1_0", "a number of percent from 0 to 100, for example 20"},
		{"policy: {%s}", "confirm_polls", "1 100", "0 101", "a number of polls from 1 to 100, for example 2"},
		{"policy: {%s}", "confirm_s", "0 60", "-0.1 60.5", "a number of seconds from 0 to 60, for example 0.5"},
		{"policy: {%s}", "max_onbatt_s", "0 604800 null", "-0.1 604800.5", "a number of seconds from 0 to 604800, for example 600"},
		{"policy: {%s}", "no_metrics_onbatt_s", "0 86400", "-0.1 86400.5", "a number of seconds from 0 to 86400, for example 120"},
		{"policy: {%s}", "comms_lost_batt_s", "0 86400", "-0.1 86400.5", "a number of seconds from 0 to 86400, for example 60"},
		{"policy: {%s}", "comms_lost_line_s", "1 604800 null", "0.9 604800.5", "a number of seconds from 1 to 604800, for example 600"},
		{"policy: {%s}", "off_confirm_s", "0 3600", "-0.1 3600.5", "a number of seconds from 0 to 3600, for example 30"},
		{"policy: {%s}", "hysteresis_s", "0 3600", "-0.1 3600.5", "a number of seconds from 0 to 3600, for example 10"},
		{"policy: {%s}", "min_supplies", "1 64", "0 65", "a number of feeds from 1 to 64, for example 1"},
		{"policy: {%s}", "lb_trust_s", "0 86400 null", "-0.1 86400.5", "a number of seconds from 0 to 86400, for example 30"},
		{"policy: {%s}", "boot_min_charge_pct", "0 100", "-0.1 100.1", "a number of percent from 0 to 100, for example 30"},
		{objective, "detect_s", "0 86400", "-1 86401", "a number of seconds from 0 to 86400, for example 5"},
		{objective, "decide_s", "0 86400", "-1 86401", "a number of seconds from 0 to 86400, for example 5"},
		{objective, "stopped_s", "0 86400", "-1 86401", "a number of seconds from 0 to 86400, for example 5"},
		{objective, "margin_s", "0 86400", "-1 86401", "a number of seconds from 0 to 86400, for example 5"},

		{"export: {%s}", "listen", `":0" "[::1]:65535" localhost:1`, `":-1" ":65536" "x" "x:http" "::1"`, `host:port, for example "127.0.0.1:9777"`},
		{"export: {%s}", "textfile", "/a.prom", "a.prom /a.txt /a.prom/", "an absolute path that ends in .prom; node_exporter reads no others, for example /var/lib/prometheus/node-exporter/dodai.prom"},
		{"journal: {%s}", "dir", "/x", "x ./x", "an absolute path, for example /var/lib/dodai"},
		{"shutdown: {steps: [{name: s, %s}]}", "unit", "a.service a@b-c.mount x.slice " + long[9:] + ".service", ".service a.b --type=service " + long[8:] + ".service", "the name of a systemd unit with its type, for example postgresql.service"},
		{"host: {%s}", "name", "a " + long, "", ""},
		{"host: {tags: {%s}}", "_a", "b", "", ""},
	} {
		for right := range strings.FieldsSeq(c.right) {
			if _, err := parse(fmt.Sprintf(c.in, c.key+": "+right)); err != nil {
				t.Errorf("%s: %s is wrong: %v", c.key, right, err)
			}
		}
		for wrong := range strings.FieldsSeq(c.wrong) {
			in := fmt.Sprintf(c.in, c.key+": "+wrong)
			_, err := parse(in)
			if what, tail := fmt.Sprintf(": %s is %q: want ", c.key, strings.Trim(wrong, `"`)), ": want "+c.want; err == nil || !strings.HasSuffix(err.Error(), tail) || !strings.Contains(err.Error(), what) {
				t.Errorf("%s\n got %v\nwant …%s%s", in, err, what, c.want)
			}
		}
	}
}

func TestTagNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "_": true, "Rack_9": true, "zZ": true, "aA": true, "a0": true, strings.Repeat("a", 64): true,
		"": false, "9": false, "__a": false, "a-b": false, "a:b": false, "a/b": false, "a@": false, "[": false, "`": false, "{": false, "é": false, strings.Repeat("a", 65): false,
	} {
		if got := labelName(name); got != want {
			t.Errorf("labelName(%q) = %v, want %v", name, got, want)
		}
	}
	for in, want := range map[string]string{
		"host: {tags: {a: b, a: c}}":                               `f:1:21: key "a" again, after line 1`,
		"host: {tags: {a-b: c}}":                                   `f:1:15: tag "a-b": want letters, digits and underscores, not beginning with a digit, for example rack: r7`,
		"host: {tags: {a: [b]}}":                                   `f:1:18: tag a is a list: want a text, for example r7`,
		"host: {tags: [a]}":                                        `f:1:14: tags is a list: want keys and values, for example {rack: r7}`,
		"ups: [{name: u, driver: nut, options: {ups: a, ups: b}}]": `f:1:48: key "ups" again, after line 1`,
	} {
		if _, err := parse(in); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

// TestDescribe: the words for what stands in the wrong place.
func TestDescribe(t *testing.T) {
	for value, want := range map[string]string{"1": "a number", "0.5": "a number", ".nan": "a number", "true": "true or false", "x": "a text", "{a: b}": "keys and values"} {
		_, err := parse("hooks: " + value)
		if what := "f:1:8: hooks is " + want + ": want a list"; err == nil || !strings.HasPrefix(strings.ReplaceAll(err.Error(), "f:1:9:", "f:1:8:"), what) {
			t.Errorf("hooks: %s: %v, want %s", value, err, what)
		}
	}
	if got := describe(&ast.AnchorNode{}); got != "something else" {
		t.Errorf("an anchor is %s", got)
	}
}

// TestDefaults: the agent without a file watches, and an empty file means the same
// everywhere in the program.
func TestDefaults(t *testing.T) {
	c := base()
	want := map[string]time.Duration{"need": 2 * time.Minute, "reserve": time.Minute, "interval": 15 * time.Second, "keep_events": 2 * 365 * 24 * time.Hour, "keep_samples": 30 * 24 * time.Hour}
	got := map[string]time.Duration{"need": c.Policy.Need, "reserve": c.Policy.Reserve, "interval": c.Export.Interval.D(), "keep_events": c.Journal.KeepEvents.D(), "keep_samples": c.Journal.KeepSamples.D()}
	if diff := cmp.Diff(want, got); diff != "" || c.Shutdown.Need.D() != c.Policy.Need || c.Shutdown.Reserve.D() != c.Policy.Reserve {
		t.Errorf("%+v, -want +got:\n%s", c.Shutdown, diff)
	}
	var devices []string
	for _, d := range Default().AllDevices() {
		devices = append(devices, fmt.Sprintf("%s %s %s %s", d.Kind, d.Name, d.Driver, d.Address))
	}
	if diff := cmp.Diff([]string{"ups ups nut 127.0.0.1:3493", "arrays md md ", "disks disks smartctl "}, devices); diff != "" {
		t.Errorf("devices without a file, -want +got:\n%s", diff)
	}
}
