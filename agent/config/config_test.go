package config

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// fake are drivers with the options real ones have, so that these tests do not depend
// on which drivers are built in.
func fake(name string) (drivers.Factory, bool) {
	i := strings.Index(" megatec snmp md smartctl ipmi nut dummy ", " "+name+" ")
	if i < 0 || name == "" {
		return drivers.Factory{}, false
	}
	f := drivers.Factory{Name: name, Kind: dodai.KindUPS, Poll: time.Second, New: func(drivers.Config) (drivers.Driver, error) { return nothing{}, nil }}
	switch name {
	case "megatec":
		f.Options = []drivers.Option{drivers.OptPort, drivers.OptBaud}
		f.New = func(cfg drivers.Config) (drivers.Driver, error) {
			_, err := cfg.Int("baud", 300, 115200)
			return nothing{}, err
		}
	case "snmp":
		f.Options = []drivers.Option{
			drivers.OptAddress("127.0.0.1:161"), {Key: "community", Help: "SNMP community", Default: "public", Secret: true},
			{Key: "version", Help: "1, 2c or 3", Default: "2c"},
		}
		f.New = func(cfg drivers.Config) (drivers.Driver, error) {
			_, err := cfg.OneOf("version", "1", "2c", "3")
			return nothing{}, err
		}
	case "md":
		f.Kind, f.Options = dodai.KindArrays, []drivers.Option{{Key: "mdstat", Help: "file"}}
	case "smartctl":
		f.Kind = dodai.KindDisks
	case "ipmi":
		f.Kind = dodai.KindPSUs
		f.Options = []drivers.Option{{Key: "address", Help: "host:port"}, {Key: "user", Help: "name"}, {Key: "password", Help: "password", Secret: true}}
		f.New = func(cfg drivers.Config) (drivers.Driver, error) {
			p := cfg.Options["password"]
			switch {
			case len(p) > 16:
				return nil, &drivers.OptionError{Key: "password", Got: p, Want: "at most 16 characters"}
			case cfg.Options["user"] == "odd":
				return nil, errors.New("no luck with " + p)
			case cfg.Options["user"] == "needy":
				return nil, &drivers.OptionError{Key: "address", Want: "an address", Missing: true}
			}
			return nothing{}, nil
		}
	case "dummy":
		f.AnyKind = true
	case "nut":
		f.Options = []drivers.Option{{Key: "address", Help: "host:port", Default: "127.0.0.1:3493"}, {Key: "ups", Help: "name"}}
	}
	return f, true
}

type nothing struct{ drivers.Driver }

func (nothing) Close() error { return nil }

var fakeNames = []string{"ipmi", "md", "megatec", "nut", "smartctl", "snmp"}

func parse(data string) (*Config, error) {
	return newDecoder("f", fake, fakeNames).run([]byte(data), func() {})
}

const whole = `
ups:
  - name: u1
    driver: megatec
    port: /dev/ttyS1
    options: {baud: 2400}
    poll: 1s
  - {name: u2, driver: snmp, address: "127.0.0.1:161", options: {community: 007, version: 2c}}
arrays: [{name: md, driver: md}]
disks: [{name: disks, driver: smartctl, poll: 10m}]
psus: [{name: bmc, driver: ipmi, options: {user: root, password: on}}]
pdus: [{name: pdu1, driver: snmp, address: "192.0.2.1:161"}]
wiring:
  - {psu: "10.1", outlet: pdu1/3, ups: u1, feed: A}
  - {psu: 10.2, ups: u2}
host: {name: db1, tags: {rack: r7}}
mode: armed
shutdown:
  need: 2m30s
  reserve: 1m
  command: ["/bin/sh", "-c", "echo ${x}"]
  steps:
    - name: db
      unit: postgresql@15-main.service
      timeout: 90s
    - name: shed
      command: [/usr/local/sbin/shed, ""]
      undo: [/usr/local/sbin/unshed]
      early: {on_battery: 60s, below_charge_pct: 80, below_margin: 5m}
      on_failure: stop
      expect: 5s
policy: {min_charge_pct: 25, max_onbatt_s: 1800, comms_lost_line_s: null, ignore_lb: true, confirm_polls: 3}
hooks:
  - on: [mains_lost, mains_restored]
    command: ["/usr/local/bin/notify", "{event}", "{device}"]
export: {listen: "127.0.0.1:9777", textfile: /var/lib/node/dodai.prom}
journal: {dir: /var/lib/dodai, keep_events: 1y, keep_samples: 2w}
drills:
  - {name: monthly, scenario: mains_loss, level: rehearsal, objectives: {decide_s: 5, margin_s: 30}}
`

func TestWhole(t *testing.T) {
	got, err := parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	want := base()
	want.Mode = Armed
	want.UPS = []Device{
		{Name: "u1", Driver: "megatec", Port: "/dev/ttyS1", Options: map[string]string{"baud": "2400"}, Poll: Duration(time.Second), Kind: dodai.KindUPS},
		{Name: "u2", Driver: "snmp", Address: "127.0.0.1:161", Options: map[string]string{"community": "007", "version": "2c"}, Kind: dodai.KindUPS, SecretKeys: []string{"community"}},
	}
	want.Arrays = []Device{{Name: "md", Driver: "md", Kind: dodai.KindArrays}}
	want.Disks = []Device{{Name: "disks", Driver: "smartctl", Poll: Duration(10 * time.Minute), Kind: dodai.KindDisks}}
	want.PSUs = []Device{{Name: "bmc", Driver: "ipmi", Options: map[string]string{"user": "root", "password": "on"}, Kind: dodai.KindPSUs, SecretKeys: []string{"password"}}}
	want.PDUs = []Device{{Name: "pdu1", Driver: "snmp", Address: "192.0.2.1:161", Kind: dodai.KindPDU, SecretKeys: []string{"community"}}}
	want.Wiring = []dodai.Path{{PSU: "10.1", Outlet: "pdu1/3", UPS: "u1", Feed: "A"}, {PSU: "10.2", UPS: "u2"}}
	want.Host = Host{Name: "db1", Tags: map[string]string{"rack": "r7"}}
	want.Shutdown = Shutdown{Need: Duration(150 * time.Second), Reserve: Duration(time.Minute), Command: []string{"/bin/sh", "-c", "echo ${x}"}, Wake: true, Steps: []Step{
		{Name: "db", Do: Do{Unit: "postgresql@15-main.service"}, Timeout: Duration(90 * time.Second), OnFailure: Continue},
		{Name: "shed", Do: Do{Command: []string{"/usr/local/sbin/shed", ""}}, Undo: []string{"/usr/local/sbin/unshed"}, Timeout: Duration(60 * time.Second), Expect: Duration(5 * time.Second), OnFailure: Stop,
			Early: &Early{OnBattery: new(Duration(time.Minute)), BelowMargin: new(Duration(5 * time.Minute)), BelowChargePct: new(80.0)}},
	}}
	want.Policy.Need, want.Policy.Reserve = 150*time.Second, time.Minute
	want.Policy.MinChargePct, want.Policy.IgnoreLB, want.Policy.ConfirmPolls = 25, true, 3
	want.Policy.MaxOnBattS = new(want.Policy.RetryS)
	*want.Policy.MaxOnBattS = 1800
	want.Hooks = []Hook{{On: []dodai.EventName{"mains_lost", "mains_restored"}, Command: []string{"/usr/local/bin/notify", "{event}", "{device}"}, Timeout: Duration(10 * time.Second)}}
	want.Export = Export{Listen: "127.0.0.1:9777", Textfile: "/var/lib/node/dodai.prom", Interval: Duration(15 * time.Second)}
	want.Journal = Journal{Dir: "/var/lib/dodai", KeepEvents: Duration(year), KeepSamples: Duration(14 * day)}
	want.Drills = []Drill{{Name: "monthly", Scenario: "mains_loss", Level: "rehearsal", Objectives: Objectives{DecideS: new(5.0), MarginS: new(30.0)}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	again(t, got)
}

// kinds has a step of each kind, with everything it takes.
const kinds = `
shutdown:
  command: [/usr/local/sbin/off]
  power_off: {timeout: 20s, grace: 90s, expect: 40s, second: [/usr/local/sbin/off2], forced: [/usr/local/sbin/off3, now]}
  point_of_no_return: all
  wake: false
  steps:
    - {name: warn, wall: "going down\n\tnow", after: []}
    - {name: tell, notify: "the way down has begun", after: []}
    - {name: all, libvirt: , after: [warn, tell]}
    - {name: vms, libvirt: {domains: [a b, c], uri: "qemu+ssh://root@kvm2/system", destroy_after: 30s, virsh: virsh}, after: [all]}
    - {name: some, libvirt: {except: [firewall]}}
    - {name: guests, proxmox: {guests: [100, 101], stop_after: 20s, qm: /usr/sbin/qm, pct: pct}}
    - {name: pve, proxmox: {except: [102]}}
    - {name: short, containers: docker}
    - {name: web, containers: {engine: podman, names: [web, cache], grace: 10s}, retries: 2, retry_wait: 5s}
    - {name: rest, containers: {engine: docker, except: [proxy]}}
    - {name: db, unit: postgresql.service, expect: 30s}
    - {name: drain, command: [/usr/local/sbin/drain, -a], undo: [/usr/local/sbin/undrain], user: drain, once: true}
    - {name: hook, http: "https://bob:hunter2@nas/x", once: false}
    - name: api
      http:
        url: https://nas/x
        method: PUT
        headers: {x-api-key: s3cret, accept: application/json}
        body: '{"a": "b"}'
        token_file: token
        ca_file: /etc/dodai/nas.pem
        status: [200, 204]
        check: https://bob:hun@ter2@nas/version
        undo: {url: http://nas/y, method: DELETE}
    - {name: off, wait_for: [nas:22, "[::1]:443"]}
    - {name: silent, wait_for: {peers: [nas:22], for: 5s}}
    - {name: nas, ssh: {host: "nas:2222", user: root, key_file: key, known_hosts: known, command: poweroff, undo: "true", gone_is_done: true, connect_timeout: 5s}}
    - {name: blade, redfish: {address: "https://bmc", user: dodai, password_file: redfish.password, system: "1", ca_file: bmc.pem, force_after: 30s}}
    - {name: node, ipmi: {address: "192.0.2.30:623", user: dodai, password_file: ipmi.password, cipher: 3, force_after: 30s}}
`

func TestKinds(t *testing.T) {
	got, err := parse(kinds)
	if err != nil {
		t.Fatal(err)
	}
	minute := Duration(time.Minute)
	step := func(name string, after []string, do Do) Step {
		return Step{Name: name, Do: do, After: after, Timeout: minute, OnFailure: Continue}
	}
	half, ten, five := Duration(30*time.Second), Duration(10*time.Second), Duration(5*time.Second)
	want := Shutdown{
		Need: Duration(2 * time.Minute), Reserve: minute, Command: []string{"/usr/local/sbin/off"}, NoReturn: "all",
		PowerOff: PowerOff{Timeout: 2 * ten, Grace: 3 * half, Expect: 4 * ten, Second: []string{"/usr/local/sbin/off2"}, Forced: []string{"/usr/local/sbin/off3", "now"}},
		Steps: []Step{
			step("warn", []string{}, Do{Wall: "going down\n\tnow"}),
			step("tell", []string{}, Do{Notify: "the way down has begun"}),
			step("all", []string{"warn", "tell"}, Do{Libvirt: &Libvirt{}}),
			step("vms", []string{"all"}, Do{Libvirt: &Libvirt{Domains: []string{"a b", "c"}, URI: "qemu+ssh://root@kvm2/system", Destroy: half, Virsh: "virsh"}}),
			step("some", nil, Do{Libvirt: &Libvirt{Except: []string{"firewall"}}}),
			step("guests", nil, Do{Proxmox: &Proxmox{Guests: []string{"100", "101"}, Stop: 2 * ten, QM: "/usr/sbin/qm", PCT: "pct"}}),
			step("pve", nil, Do{Proxmox: &Proxmox{Except: []string{"102"}}}),
			step("short", nil, Do{Containers: &Containers{Engine: "docker"}}),
			step("web", nil, Do{Containers: &Containers{Engine: "podman", Names: []string{"web", "cache"}, Grace: ten}}),
			step("rest", nil, Do{Containers: &Containers{Engine: "docker", Except: []string{"proxy"}}}),
			step("db", nil, Do{Unit: "postgresql.service"}),
			step("drain", nil, Do{Command: []string{"/usr/local/sbin/drain", "-a"}}),
			step("hook", nil, Do{HTTP: &HTTP{URL: "https://bob:hunter2@nas/x"}}),
			step("api", nil, Do{HTTP: &HTTP{
				URL: "https://nas/x", Method: "PUT", Headers: map[string]string{"X-Api-Key": "s3cret", "Accept": "application/json"}, Body: `{"a": "b"}`,
				TokenFile: "token", CAFile: "/etc/dodai/nas.pem", Status: []int{200, 204}, Check: "https://bob:hun@ter2@nas/version",
				Undo: &HTTP{URL: "http://nas/y", Method: "DELETE"},
			}}),
			step("off", nil, Do{WaitFor: &WaitFor{Peers: []string{"nas:22", "[::1]:443"}}}),
			step("silent", nil, Do{WaitFor: &WaitFor{Peers: []string{"nas:22"}, For: five}}),
			step("nas", nil, Do{SSH: &SSH{Host: "nas:2222", User: "root", KeyFile: "key", KnownHosts: "known", Command: "poweroff", Undo: "true", Connect: five, Gone: true}}),
			step("blade", nil, Do{Redfish: &Redfish{Address: "https://bmc", User: "dodai", PasswordFile: "redfish.password", System: "1", CAFile: "bmc.pem", ForceAfter: half}}),
			step("node", nil, Do{IPMI: &IPMI{Address: "192.0.2.30:623", User: "dodai", PasswordFile: "ipmi.password", Cipher: 3, ForceAfter: half}}),
		},
	}
	web, db, drain, hook := &want.Steps[8], &want.Steps[10], &want.Steps[11], &want.Steps[12]
	web.Retries, web.RetryWait, db.Expect = 2, five, half
	drain.Undo, drain.User, drain.Once, hook.Once = []string{"/usr/local/sbin/undrain"}, "drain", new(true), new(false)
	if diff := cmp.Diff(want, got.Shutdown); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	again(t, got)
}

// TestWaitsForNothing: an empty list is another thing than none.
func TestWaitsForNothing(t *testing.T) {
	for after, want := range map[string][]string{"": nil, ", after: []": {}, ", after: [a]": {"a"}} {
		c, err := parse("shutdown: {steps: [{name: a, unit: a.service}, {name: b, unit: b.service" + after + "}]}")
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Shutdown.Steps[1].After; !cmp.Equal(got, want) {
			t.Errorf("%q is read as %#v, want %#v", after, got, want)
		}
		again(t, c)
	}
}

// again checks that a configuration spelled out reads the same.
func again(t *testing.T, c *Config) {
	t.Helper()
	text, err := c.Spell()
	if err != nil {
		t.Fatal(err)
	}
	second, err := parse(string(text))
	if err != nil {
		t.Fatalf("%v\nspelled as:\n%s", err, text)
	}
	second.Warnings = c.Warnings
	if diff := cmp.Diff(c, second); diff != "" {
		t.Errorf("reads differently when spelled out, -want +got:\n%s\n%s", diff, text)
	}
}

func TestEmptyFileObserves(t *testing.T) {
	for _, data := range []string{"", "# nothing\n", "---\n", "\ufeff", "ups:\nhooks: # none\npolicy:\nshutdown:\n", "{}", "\r\n"} {
		got, err := parse(data)
		if err != nil {
			t.Errorf("parse(%q): %v", data, err)
			continue
		}
		if diff := cmp.Diff(base(), got); diff != "" {
			t.Errorf("parse(%q) -want +got:\n%s", data, diff)
		}
	}
}

func TestDefaultStopsNothing(t *testing.T) {
	c := Default()
	if !c.Auto || c.Mode != Observe || len(c.AllDevices()) != 3 {
		t.Errorf("Default() = auto %v, mode %s, %d devices: want auto, observe, 3", c.Auto, c.Mode, len(c.AllDevices()))
	}
}

func TestCRLFAndWideCharactersKeepPositions(t *testing.T) {
	_, err := parse("\ufeffmode: observe\r\nups:\r\n  - {name: 'é é', driver: megatec}\r\n")
	if want := "f:3:12: name is"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v: want it to begin with %q", err, want)
	}
	_, err = parse("host: {name: \"é界\", tags: {a: b, é: c}}\n")
	if want := `f:1:33: tag "é"`; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v: want it to begin with %q", err, want)
	}
}

var hasPosition = regexp.MustCompile(`^f:[1-9][0-9]*:[1-9][0-9]*: .`)

func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add(kinds)
	for _, c := range mistakes {
		if len(c.in) < 1000 {
			f.Add(c.in)
		}
	}
	f.Fuzz(func(t *testing.T, data string) {
		hung := time.AfterFunc(5*time.Second, func() { panic("still reading after 5 s: " + strconv.Quote(data)) })
		defer hung.Stop()
		c, err := parse(data)
		if err == nil {
			again(t, c)
			return
		}
		problems, ok := errors.AsType[Problems](err)
		if !ok || len(problems) == 0 {
			t.Fatalf("error %T %v: want Problems", err, err)
		}
		for _, p := range problems {
			if !hasPosition.MatchString(p.Error()) {
				t.Errorf("error without a position: %q", p.Error())
			}
		}
	})
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"1s", "2y", "1w3d4h", "1h30m", "120", "1.5h", "-1s", "9223372036854775807ns", "300y", "1d-1s", "", "1y1y", "0s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseDuration(s)
		if err != nil {
			return
		}
		again, err := parseDuration(formatDuration(d))
		if err != nil || again != d {
			t.Errorf("%q = %v, spelled %q, read again %v, %v", s, d, formatDuration(d), again, err)
		}
	})
}

func TestParseDuration(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Duration
		err  error
	}{
		{"120s", 2 * time.Minute, nil}, {"2m", 2 * time.Minute, nil}, {"1h30m", 90 * time.Minute, nil}, {"30d", 30 * day, nil},
		{"2y", 2 * year, nil}, {"1w2d3h", 219 * time.Hour, nil}, {"0.5s", 500 * time.Millisecond, nil},
		{"120", 0, errNoUnit}, {"0", 0, errNoUnit}, {"1e3", 0, errNoUnit},
		{"", 0, errNotTime}, {"soon", 0, errNotTime}, {"300y", 0, errNotTime}, {"9223372036854775807d", 0, errNotTime}, {"1d-2h", 0, errNotTime}, {"-1s", -time.Second, nil}, {"d", 0, errNotTime}, {"1d2", 0, errNotTime}, {"1q", 0, errNotTime},
		{"106751d23h47m16s", 9223372036 * time.Second, nil}, {"106751d23h47m17s", 0, errNotTime}, {"106752d", 0, errNotTime}, {"99999999999999999999d", 0, errNotTime}, {"12:30", 0, errNotTime},
	} {
		if got, err := parseDuration(c.in); got != c.want || err != c.err {
			t.Errorf("parseDuration(%q) = %v, %v; want %v, %v", c.in, got, err, c.want, c.err)
		}
	}
}

func TestJSONMasksSecrets(t *testing.T) {
	c, err := parse(strings.Replace(whole, `"127.0.0.1:161"`, `"http://bob:hunter2@127.0.0.1"`, 1))
	if err != nil {
		t.Fatal(err)
	}
	c.PSUs[0].Options["password"] = "s3cret"
	text, err := c.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"s3cret", "007", "hunter2"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("JSON shows %q:\n%s", secret, text)
		}
	}
	for _, shown := range []string{`"need":"2m30s"`, `"keep_samples":"2w"`, `"user":"root"`, `"max_onbatt_s":1800`, `"password":"********"`} {
		if !strings.Contains(string(text), shown) {
			t.Errorf("JSON lacks %s:\n%s", shown, text)
		}
	}
	if c.PSUs[0].Options["password"] != "s3cret" {
		t.Error("masking changed the configuration itself")
	}
}

func TestJSONMasksSecretsOfSteps(t *testing.T) {
	c, err := parse(kinds)
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2", "s3cret", "ter2", "bob"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("JSON shows %q:\n%s", secret, text)
		}
	}
	for _, shown := range []string{`"X-Api-Key":"********"`, `"Accept":"application/json"`, `"url":"https://********@nas/x"`, `"password_file":"ipmi.password"`, `"uri":"qemu+ssh://root@kvm2/system"`} {
		if !strings.Contains(string(text), shown) {
			t.Errorf("JSON lacks %s:\n%s", shown, text)
		}
	}
	if h := c.Shutdown.Steps[13].HTTP; h.Headers["X-Api-Key"] != "s3cret" || c.Shutdown.Steps[12].HTTP.URL != "https://bob:hunter2@nas/x" {
		t.Error("masking changed the configuration itself")
	}
}

// TestSpellDelete: the one control character that JSON writes as it is, and plain text
// must not have.
func TestSpellDelete(t *testing.T) {
	c, err := parse(`shutdown: {steps: [{name: a, command: ["a\x7fb"]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	again(t, c)
}

func TestEveryPolicyKeyHasALimit(t *testing.T) {
	text, err := base().Spell()
	if err != nil {
		t.Fatal(err)
	}
	c, err := parse(string(text))
	if err != nil {
		t.Fatalf("the defaults are outside their own limits: %v", err)
	}
	if diff := cmp.Diff(base(), c); diff != "" {
		t.Error(diff)
	}
}
