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
	open := write(t, "password", "s3cret", 0o644)
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
		{"a program beside the agent", `hooks: [{on: [mains_lost], command: [./notify]}]`, 0o600, []string{"f:1:38: command runs ./notify, which depends on the folder"}},
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
