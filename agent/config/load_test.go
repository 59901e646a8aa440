package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai/drivers/all"
)

// write makes a file in a folder of its own.
func write(t *testing.T, name, data string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// load is Load, with the file called f in what it says.
func load(path string) (*Config, error) {
	c, err := Load(path, fake)
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), path, "f"))
	}
	for i := range c.Warnings {
		c.Warnings[i].File = "f"
	}
	return c, nil
}

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ path, want string }{
		{filepath.Join(dir, "none.yaml"), "none.yaml: no such file or directory: want a file in YAML that this user can read, for example /etc/dodai/dodai.yaml"},
		{dir, "is no regular file"},
		{"/dev/zero", "zero is no regular file"},
	} {
		_, err := Load(c.path, fake)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), c.path+": ") {
			t.Errorf("Load(%s): %v, want %q", c.path, err, c.want)
		}
	}
	if _, err := Load(write(t, "big.yaml", strings.Repeat("#\n", maxSize), 0o600), fake); err == nil || !strings.Contains(err.Error(), "at most 262144") {
		t.Errorf("Load of a huge file: %v, want its limit named", err)
	}
}

func TestLoadWithoutAFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), fake); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of no file: %v, want it to wrap fs.ErrNotExist", err)
	}
}

func TestSecretFiles(t *testing.T) {
	secret := write(t, "password", "s3cret\n", 0o600)
	conf := func(path string) string {
		return write(t, "dodai.yaml", "psus:\n  - name: bmc\n    driver: ipmi\n    options:\n      password_file: "+path+"\n", 0o644)
	}
	c, err := load(conf(secret))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.PSUs[0].DriverOptions(); !cmp.Equal(got, map[string]string{"password": "s3cret"}) || len(c.Warnings) > 0 {
		t.Errorf("options %v, warnings %v: want the password and no warning", got, c.Warnings)
	}
	for _, c := range []struct{ name, path, want string }{
		{"missing", "/nonexistent/password", `f:5:22: password_file is "/nonexistent/password": no such file or directory: want a file`},
		{"empty", write(t, "empty", "\n", 0o600), "is empty: want"},
		{"two lines", write(t, "two", "a\nb\n", 0o600), "has more than one line: want"},
		{"device", "/dev/zero", "zero is no regular file"},
		{"long", write(t, "long", strings.Repeat("x", 4097), 0o600), "has more than 4096 bytes"},
		{"as long as it may be", write(t, "4096", strings.Repeat("x", 4096), 0o600), "password is ********: want at most 16 characters"},
		{"refused by the driver", write(t, "17", strings.Repeat("x", 17), 0o600), "f:5:22: password is ********: want at most 16 characters"},
	} {
		if _, err := load(conf(c.path)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestSecretBesideTheFile: whether or not the driver could read such a file by itself.
func TestSecretBesideTheFile(t *testing.T) {
	long := strings.Repeat("x", 20)
	for data, want := range map[string]string{"x": "x", "x\r\n": "x", "x y\n": "x y", long: long} {
		dir := t.TempDir()
		path := filepath.Join(dir, "dodai.yaml")
		for name, data := range map[string]string{"dodai.yaml": "psus: [{name: bmc, driver: ipmi, address: b, options: {password_file: pw}}]", "pw": data} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := Load(path, all.Find)
		if err != nil || !cmp.Equal(c.PSUs[0].DriverOptions(), map[string]string{"address": "b", "password": want}) {
			t.Errorf("password file %q: %+v, %v; want the password %q", data, c, err, want)
		}
		if c, err := Parse(path, []byte("psus: [{name: bmc, driver: ipmi, address: b, options: {password_file: none}}]"), all.Find); err != nil {
			t.Errorf("Parse looked at a file: %+v, %v", c, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	open, closed, nothing := write(t, "password", "s3cret", 0o644), write(t, "password", "s3cret", 0o600), write(t, "password", "\n", 0o600)
	plain := write(t, "plain.sh", "#!/bin/sh", 0o644)
	const inline = "psus:\n  - {name: bmc, driver: ipmi, options: {password: s3cret}}\n"
	for _, c := range []struct {
		name, in string
		mode     os.FileMode
		want     []string
	}{
		{"password in a closed file", inline, 0o640, nil},
		{"password in an open file", inline, 0o644, []string{"f:2:51: a password in a file that everybody on this host can read"}},
		{"open password file", strings.Replace(inline, "password: s3cret", "password_file: "+open, 1), 0o644, []string{"f:2:56: " + open + " can be read by everybody"}},
		{"writable", "mode: observe", 0o664, []string{"f:1:1: the file can be written by others (mode 0664)"}},
		{"the default community in an open file", "ups: [{name: a, driver: snmp, address: x, options: {community: public, version: 1}}]", 0o644, nil},
		{"a community in an open file", "ups: [{name: a, driver: snmp, address: x, options: {community: rack, version: 1}}]", 0o644, []string{"f:1:64: a password in a file"}},
		{"programs that are there", `hooks: [{on: [mains_lost], command: [sh, -c, x]}, {on: [mains_lost], command: [/bin/sh]}]`, 0o600, nil},
		{"a hook's program that is not there", `hooks: [{on: [mains_lost], command: [/nosuch/notify]}]`, 0o600, []string{"f:1:38: command runs /nosuch/notify, which is not found on this host: want a program that is installed"}},
		{"one that is not in PATH", `hooks: [{on: [mains_lost], command: [nosuch-notify]}]`, 0o600, []string{"f:1:38: command runs nosuch-notify, which is not found"}},
		{"one that is not executable", `shutdown: {command: ["` + plain + `"]}`, 0o600, []string{"f:1:22: command runs " + plain + ", which is not executable: want a program that can be run, for example chmod 755 " + plain}},
		{"a step's and its undoing", `shutdown: {steps: [{name: a, command: [/nosuch/a], undo: [/nosuch/b]}]}`, 0o600, []string{"f:1:40: command runs /nosuch/a, which", "f:1:59: undo runs /nosuch/b, which"}},
		{"the programs of kinds", `shutdown: {steps: [{name: a, libvirt: {virsh: nosuch-virsh}}, {name: b, containers: /nosuch/docker}]}`, 0o600, []string{"f:1:47: virsh runs nosuch-virsh, which is not found", "f:1:85: containers runs /nosuch/docker, which is not found"}},
		{"files that are there", "shutdown: {steps: [{name: a, http: {url: https://nas/, token_file: " + closed + ", ca_file: " + closed + "}}, {name: b, ssh: {host: h, key_file: " + closed + ", command: c}}]}", 0o600, nil},
		{"a token that everybody can read", "shutdown: {steps: [{name: a, http: {url: https://nas/, token_file: " + open + "}}]}", 0o600, []string{"f:1:68: " + open + " can be read by everybody on this host: want mode 0600, for example chmod 600 " + open}},
		{"a key that everybody can read", "shutdown: {steps: [{name: a, ssh: {host: h, key_file: " + open + ", command: c}}]}", 0o600, []string{"f:1:55: " + open + " can be read by everybody"}},
		{"files that are not there", "shutdown: {steps: [{name: a, ssh: {host: h, key_file: /nosuch/key, known_hosts: /nosuch/hosts, command: c}}, {name: b, ipmi: {address: b, user: u, password_file: /nosuch/p}}]}", 0o600, []string{
			"f:1:55: key_file is /nosuch/key: no such file or directory: want a file that the agent can read when the step runs", "f:1:81: known_hosts is /nosuch/hosts: no such", "f:1:163: password_file is /nosuch/p: no such"}},
		{"an empty password", "shutdown: {steps: [{name: b, redfish: {address: https://b, user: u, password_file: " + nothing + "}}]}", 0o600, []string{"f:1:84: password_file is " + nothing + ": " + nothing + " is empty"}},
		{"a password in a URL", "shutdown: {steps: [{name: a, http: 'https://bob:s3cret@nas/'}]}", 0o600, []string{"f:1:36: a user or password in the URL https://********@nas/: want a token in a file of its own"}},
		{"a token over http", "shutdown: {steps: [{name: a, http: {url: http://nas/, token_file: " + closed + "}}]}", 0o600, []string{"f:1:55: a token for a URL of http"}},
		{"a certificate for http", "shutdown: {steps: [{name: a, http: {url: http://nas/, ca_file: " + open + "}}]}", 0o600, []string{"f:1:55: ca_file for a URL of http"}},
		{"a password over http", "shutdown: {steps: [{name: a, redfish: {address: http://b, user: u, password_file: " + closed + "}}]}", 0o600, []string{"f:1:68: a password for an address of http"}},
		{"a header with a secret", "shutdown: {steps: [{name: a, http: {url: https://nas/, headers: {x-token: t}}}]}", 0o644, []string{"f:1:75: a password in a file that everybody"}},
		{"a header without one", "shutdown: {steps: [{name: a, http: {url: https://nas/, headers: {accept: t}}}]}", 0o644, nil},
		{"nobody listens", "shutdown: {steps: [{name: a, notify: x}]}\nhooks: [{on: [mains_lost], command: [/bin/true]}]", 0o600, []string{"f:1:30: step a notifies nobody: want a hook on the event notification, for example hooks: [{on: [notification], command:"}},
		{"somebody listens", "shutdown: {steps: [{name: a, notify: x}]}\nhooks: [{on: [mains_lost, notification], command: [/bin/true]}]", 0o600, nil},
		{"early for good", "shutdown: {steps: [{name: a, command: [/bin/true], early: {on_battery: 1m}}]}", 0o600, []string{"f:1:52: early step a cannot be undone: it stays as it is when the mains return: want an undo"}},
		{"early and back", "shutdown: {steps: [{name: a, command: [/bin/true], undo: [/bin/true], early: {on_battery: 1m}}, {name: b, unit: b.service, early: {on_battery: 1m}}]}", 0o600, nil},
		{"a program beside the agent", `hooks: [{on: [mains_lost], command: [./notify]}]`, 0o600, []string{"f:1:38: command runs ./notify, which depends on the folder"}},
		{"a turn after the limit", "boot_hold: {rank: 10, stagger: 60s, limit: 10m}", 0o600, []string{"f:1:12: boot_hold: the turn of rank 10 comes 10m after its battery could carry a shutdown, and limit ends every wait 10m after the boot"}},
		{"a turn before the limit, and without one", "boot_hold: {rank: 9, stagger: 60s, limit: 10m}", 0o600, nil},
		{"a turn without a limit", "boot_hold: {rank: 100, stagger: 60s, limit: 0s}", 0o600, nil},
		{"a relative port", `ups: [{name: a, driver: megatec, port: ttyS0}]`, 0o600, []string{"f:1:40: port of a is ttyS0, which depends on the folder the agent is started in: want an absolute path"}},
		{"a relative port among the options", `ups: [{name: a, driver: megatec, options: {port: ttyS0}}]`, 0o600, []string{"f:1:50: port of a is ttyS0"}},
		{"two of them, in order", "ups: [{name: a, driver: nut}, {name: b, driver: nut}]\nwiring: [{psu: x, ups: a}]", 0o622, []string{"f:1:1: the file can be written", "f:1:32: ups b feeds"}},
		{"armed without a UPS", "mode: armed", 0o600, []string{"f:1:7: mode is armed without a UPS"}},
		{"a UPS that feeds nothing", "ups: [{name: a, driver: nut}, {name: b, driver: nut}]\nwiring: [{psu: x, ups: a}]", 0o600, []string{"f:1:32: ups b feeds no power supply"}},
	} {
		cfg, err := load(write(t, "dodai.yaml", c.in, c.mode))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(cfg.Warnings) != len(c.want) {
			t.Errorf("%s: warnings %v, want %d", c.name, cfg.Warnings, len(c.want))
			continue
		}
		for i, want := range c.want {
			if !strings.HasPrefix(cfg.Warnings[i].Error(), want) {
				t.Errorf("%s: warning %q, want %q…", c.name, cfg.Warnings[i].Error(), want)
			}
		}
	}
}

func TestScenarioFile(t *testing.T) {
	scenario := write(t, "storm.yaml", "id: S", 0o644)
	conf := filepath.Join(filepath.Dir(scenario), "dodai.yaml")
	for name, want := range map[string]string{scenario: scenario, "storm.yaml": scenario, "./storm.yaml": scenario, "mains_loss": "mains_loss"} {
		if err := os.WriteFile(conf, fmt.Appendf(nil, "drills: [{name: d, scenario: %s}]", name), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := load(conf); err != nil || c.Drills[0].Scenario != want {
			t.Errorf("scenario %s: %+v, %v; want %s, which is found from any folder", name, c, err, want)
		}
	}
	_, err := load(write(t, "dodai.yaml", "drills: [{name: d, scenario: none.yaml}]", 0o600))
	if want := "f:1:30: scenario none.yaml: no such file or directory: want a file that can be read, for example /etc/dodai/scenarios/storm.yaml"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	if c, err := parse("drills: [{name: d, scenario: ./none}]"); err != nil || c.Drills[0].Scenario != "./none" {
		t.Errorf("Parse looked for a file: %+v, %v", c, err)
	}
}

// TestFilesOfSteps: the agent works in another folder than the one they are named from.
func TestFilesOfSteps(t *testing.T) {
	path := write(t, "dodai.yaml", kinds, 0o600)
	c, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(filepath.Dir(path), name) }
	steps := map[string]Step{}
	for _, s := range c.Shutdown.Steps {
		steps[s.Name] = s
	}
	for got, want := range map[string]string{
		steps["api"].HTTP.TokenFile: in("token"), steps["api"].HTTP.CAFile: "/etc/dodai/nas.pem", steps["nas"].SSH.KeyFile: in("key"), steps["nas"].SSH.KnownHosts: in("known"),
		steps["blade"].Redfish.PasswordFile: in("redfish.password"), steps["blade"].Redfish.CAFile: in("bmc.pem"), steps["node"].IPMI.PasswordFile: in("ipmi.password"),
	} {
		if got != want {
			t.Errorf("file %s, want %s", got, want)
		}
	}
}

// TestLoadAnyway: in an outage a lost password costs the device that needs it, and nothing else.
func TestLoadAnyway(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "dodai.yaml")
	text := []byte("ups:\n  - {name: u1, driver: snmp, address: 192.0.2.1, options: {community_file: gone}}\n  - {name: u2, driver: snmp, address: 192.0.2.2, options: {community_file: kept}}\n")
	if err := os.WriteFile(filepath.Join(dir, "kept"), []byte("fortytwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadText(path, text, all.Find); err == nil {
		t.Fatal("LoadText = nil without a password file, want an error")
	}
	c, err := LoadAnyway(path, text, all.Find)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.UPS[1].DriverOptions()["community"]; len(c.UPS) != 2 || got != "fortytwo" {
		t.Errorf("%d UPSes, the password that is there is %q", len(c.UPS), got)
	}
	if _, err := LoadAnyway(path, append(text, "nonsense: 1\n"...), all.Find); err == nil {
		t.Error("LoadAnyway = nil for a configuration that is wrong")
	}
}
