// Package config reads the one configuration file of the agent and checks it without
// touching a device.
//
// Every mistake of a file is reported, not only the first, each with its line and
// column, what was expected and an example. Whatever YAML would silently turn into
// something else (a number without a unit, an octal number, yes for true, anchors,
// a second document) is refused instead.
package config

import (
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// Mode says whether decisions are acted upon.
type Mode string

// The modes. Observe decides, journals and notifies, and executes nothing.
const (
	Observe Mode = "observe"
	Armed   Mode = "armed"
)

// Config is a checked configuration. It is read-only for everybody after Load.
type Config struct {
	// Auto is true where there is no file: the devices are guesses, and one that is
	// not there is no cause for an alarm.
	Auto bool `json:"-"`

	Mode   Mode     `json:"mode"`
	UPS    []Device `json:"ups,omitempty"`
	Arrays []Device `json:"arrays,omitempty"`
	Disks  []Device `json:"disks,omitempty"`
	PSUs   []Device `json:"psus,omitempty"`
	PDUs   []Device `json:"pdus,omitempty"` // PDUs and transfer switches
	// Wiring has a line for each way power comes to a supply: several of one supply are
	// the inputs of a transfer switch before it.
	Wiring []dodai.Path `json:"wiring,omitempty"`

	Host     Host     `json:"host,omitzero"`
	Shutdown Shutdown `json:"shutdown"`
	BootHold BootHold `json:"boot_hold"`
	// Policy holds Need and Reserve as well, from Shutdown.
	Policy  policy.Config `json:"policy"`
	Hooks   []Hook        `json:"hooks,omitempty"`
	Export  Export        `json:"export"`
	Journal Journal       `json:"journal"`
	Drills  []Drill       `json:"drills,omitempty"`

	// Text is what Load read, secrets included; nil where there is no file.
	Text []byte `json:"-"`
	// Warnings are what may be meant, but probably is not. Load adds those about the
	// permissions of files.
	Warnings []Problem `json:"-"`
}

// AllDevices returns every device of every list, in the order of the sections.
func (c *Config) AllDevices() []Device {
	var all []Device
	for _, list := range [][]Device{c.UPS, c.Arrays, c.Disks, c.PSUs, c.PDUs} {
		all = append(all, list...)
	}
	return all
}

// Device is one configured device.
type Device struct {
	Name    string            `json:"name"` // unique over all lists
	Driver  string            `json:"driver"`
	Port    string            `json:"port,omitempty"`    // the driver's option of that name
	Address string            `json:"address,omitempty"` // the driver's option of that name
	Options map[string]string `json:"options,omitempty"` // as written
	Poll    Duration          `json:"poll,omitempty"`    // 0: the driver's own
	FedBy   string            `json:"fed_by,omitempty"`  // the UPS this UPS takes its input from; empty: the mains
	// KillPower names this host to cut the UPS's output once it is down.
	KillPower bool `json:"killpower,omitempty"`

	// Kind is what the list it stands in holds. A device below pdus may turn out to
	// be a transfer switch once it has answered.
	Kind dodai.Kind `json:"-"`
	// Secrets are the values that Load read from KEY_file options, by KEY.
	Secrets map[string]string `json:"-"`
	// SecretKeys are the keys of Options whose values are never shown.
	SecretKeys []string `json:"-"`
}

// Host is what the operator says about this machine.
type Host struct {
	Name string            `json:"name,omitempty"` // empty: the host name
	Tags map[string]string `json:"tags,omitempty"`
}

// Shutdown is the plan and the time it takes.
type Shutdown struct {
	// Need is how long a clean shutdown takes, without Reserve, until it has been
	// measured. Reserve is kept on top for what was not foreseen.
	Need    Duration `json:"need"`
	Reserve Duration `json:"reserve"`
	// Command replaces the built-in power-off; empty: the built-in one.
	Command  []string `json:"command,omitempty"`
	PowerOff PowerOff `json:"power_off,omitzero"`
	Steps    []Step   `json:"steps,omitempty"`
	// NoReturn names the step whose start is the point of no return; empty: the decision.
	NoReturn string `json:"point_of_no_return,omitempty"`
	// Wake sets the machine's clock to start it again past the end of the battery, when
	// it was shut down because of its power.
	Wake bool `json:"wake"`
}

// PowerOff tunes the last step; zero values mean the built-in ones.
type PowerOff struct {
	Timeout Duration `json:"timeout,omitempty"` // for each way to answer
	Grace   Duration `json:"grace,omitempty"`   // to be up after it was told to go down
	Expect  Duration `json:"expect,omitempty"`  // until it has been measured
	// Second and Forced follow on a Command that fails or hangs; empty: nothing does.
	Second []string `json:"second,omitempty"`
	Forced []string `json:"forced,omitempty"`
}

// Step is one step of the plan.
type Step struct {
	Name string `json:"name"`
	Do          // exactly one of its fields is set

	// After names the steps it waits for; nil: the one before it; empty: none.
	After   []string `json:"after,omitzero"`
	Timeout Duration `json:"timeout"`
	// Expect is what the step will take, until it has been measured; 0: not known.
	Expect    Duration  `json:"expect,omitempty"`
	Retries   int       `json:"retries,omitempty"`
	RetryWait Duration  `json:"retry_wait,omitempty"` // 0: the built-in one
	Early     *Early    `json:"early,omitempty"`      // nil: only after the decision
	OnFailure OnFailure `json:"on_failure"`
	// Undo takes the step back when the mains return; empty: what the kind itself does.
	Undo []string `json:"undo,omitempty"`
	// User has the rights that Command and Undo get; empty: the daemon's.
	User string `json:"user,omitempty"`
	// Once keeps a step that was interrupted by the end of the daemon from being run again;
	// nil: the kind decides.
	Once *bool `json:"once,omitempty"`
}

// Do is what a step does.
type Do struct {
	Command    []string    `json:"command,omitempty"`
	Unit       string      `json:"unit,omitempty"` // a systemd unit to stop
	Libvirt    *Libvirt    `json:"libvirt,omitempty"`
	Proxmox    *Proxmox    `json:"proxmox,omitempty"`
	Containers *Containers `json:"containers,omitempty"`
	Wall       string      `json:"wall,omitempty"`   // a message to every terminal
	Notify     string      `json:"notify,omitempty"` // a text for the hooks of the event notification
	HTTP       *HTTP       `json:"http,omitempty"`
	WaitFor    *WaitFor    `json:"wait_for,omitempty"`
	SSH        *SSH        `json:"ssh,omitempty"`
	Redfish    *Redfish    `json:"redfish,omitempty"`
	IPMI       *IPMI       `json:"ipmi,omitempty"`
}

// Libvirt shuts domains down by virsh, and waits until they are off.
type Libvirt struct {
	Domains []string `json:"domains,omitempty"` // empty: all that run
	Except  []string `json:"except,omitempty"`
	URI     string   `json:"uri,omitempty"` // empty: qemu:///system
	// Destroy ends the domains that have not shut down so long after they were asked to;
	// 0: they are left running and the step fails.
	Destroy Duration `json:"destroy_after,omitempty"`
	Virsh   string   `json:"virsh,omitempty"` // the program; empty: virsh
}

// Proxmox shuts guests down by qm and pct, and waits until they are off.
type Proxmox struct {
	Guests []string `json:"guests,omitempty"` // ids; empty: all that run
	Except []string `json:"except,omitempty"`
	Stop   Duration `json:"stop_after,omitempty"` // as Libvirt.Destroy
	QM     string   `json:"qm,omitempty"`         // the programs; empty: qm, pct
	PCT    string   `json:"pct,omitempty"`
}

// Containers stops containers.
type Containers struct {
	Engine string   `json:"engine"`          // docker or podman, or the program's path
	Names  []string `json:"names,omitempty"` // empty: all that run
	Except []string `json:"except,omitempty"`
	// Grace is what a container gets between the signal to end and the one that kills; 0:
	// the engine's own.
	Grace Duration `json:"grace,omitempty"`
}

// HTTP makes one request.
type HTTP struct {
	URL     string            `json:"url"`
	Method  string            `json:"method,omitempty"` // empty: POST
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	// TokenFile holds a bearer token, without which the request goes out; read at each run.
	TokenFile string `json:"token_file,omitempty"`
	CAFile    string `json:"ca_file,omitempty"`
	// Status are the codes that mean success; empty: 200 to 299.
	Status []int `json:"status,omitempty"`
	// Check is asked with GET beforehand, to prove that the service is there; empty: only
	// the connection is made.
	Check string `json:"check,omitempty"`
	Undo  *HTTP  `json:"undo,omitempty"` // takes it back
}

// WaitFor waits until peers are off: until none of their addresses answers any more.
type WaitFor struct {
	Peers []string `json:"peers"`         // host:port, all of which have to be closed
	For   Duration `json:"for,omitempty"` // silent for so long; 0: 3 s
}

// SSH runs a command on another host.
type SSH struct {
	Host       string   `json:"host"` // name or address, with :port where it is not 22
	User       string   `json:"user,omitempty"`
	KeyFile    string   `json:"key_file"`              // without a passphrase; a certificate beside it is used
	KnownHosts string   `json:"known_hosts,omitempty"` // file; empty: /etc/dodai/known_hosts
	Command    string   `json:"command"`
	Undo       string   `json:"undo,omitempty"`
	Connect    Duration `json:"connect_timeout,omitempty"` // 0: 10 s
	// Gone: the connection breaking, or the host going off, counts as success.
	Gone bool `json:"gone_is_done,omitempty"`
	// Forced: the host runs a command of its own for this key, whatever it is asked for, so
	// that a check may only log in; false: it has a plain shell. nil: a check finds out,
	// which it can where command= in authorized_keys says so, but not of ForceCommand in
	// sshd_config or of a login shell that is no shell.
	Forced *bool `json:"forced_command,omitempty"`
}

// Redfish asks a management controller to shut its host down, and waits until it is off.
type Redfish struct {
	Address      string `json:"address"` // https://…
	User         string `json:"user,omitempty"`
	PasswordFile string `json:"password_file,omitempty"`
	System       string `json:"system,omitempty"` // Id; empty: the only one
	CAFile       string `json:"ca_file,omitempty"`
	// ForceAfter switches a host off that is still on so long after; 0: the step fails.
	ForceAfter Duration `json:"force_after,omitempty"`
}

// IPMI asks a management controller to shut its host down, and waits until it is off.
type IPMI struct {
	Address      string   `json:"address"` // host:port
	User         string   `json:"user,omitempty"`
	PasswordFile string   `json:"password_file,omitempty"`
	Cipher       int      `json:"cipher,omitempty"` // 0: the driver's default
	ForceAfter   Duration `json:"force_after,omitempty"`
}

// BootHold says when what waits for dodai-boot-hold.service may start after a boot.
type BootHold struct {
	Rank    int      `json:"rank"`    // 0 starts first
	Stagger Duration `json:"stagger"` // between two ranks
	Limit   Duration `json:"limit"`   // hold no longer than this
}

// Early says when a step runs before the decision: as soon as one of the conditions
// that are given holds.
type Early struct {
	BelowMargin    *Duration `json:"below_margin,omitempty"`
	BelowChargePct *float64  `json:"below_charge_pct,omitempty"`
	OnBattery      *Duration `json:"on_battery,omitempty"` // for so long
}

// OnFailure says what follows a step that failed or ran out of time.
type OnFailure string

// What follows a failed step. The host goes down either way once that is decided.
const (
	Continue OnFailure = "continue" // the next step
	Stop     OnFailure = "stop"     // no further step, the power-off
)

// Hook is a command run on events.
type Hook struct {
	On      []dodai.EventName `json:"on"`
	Command []string          `json:"command"` // {event}, {device} and the like are filled in
	Timeout Duration          `json:"timeout"`
	// User has the command run with his rights; empty: with the daemon's.
	User string `json:"user,omitempty"`
}

// Export says where metrics go.
type Export struct {
	Listen   string   `json:"listen,omitempty"`   // host:port of /metrics; empty: no listener
	Textfile string   `json:"textfile,omitempty"` // for node_exporter; empty: none
	Interval Duration `json:"interval"`           // of the textfile
}

// Journal says where events and samples are kept, and how long.
type Journal struct {
	Dir         string   `json:"dir,omitempty"` // empty: the state directory
	KeepEvents  Duration `json:"keep_events"`
	KeepSamples Duration `json:"keep_samples"`
}

// Drill is a rehearsal that can be run by name.
type Drill struct {
	Name       string     `json:"name"`
	Scenario   string     `json:"scenario"` // one of Scenarios, or the path of a file
	Level      string     `json:"level"`    // one of Levels
	Objectives Objectives `json:"objectives,omitzero"`
}

// Objectives are what a drill has to show; nil: not asked for. All are in seconds.
type Objectives struct {
	DetectS  *float64 `json:"detect_s,omitempty"`  // from the start of the outage, at most
	DecideS  *float64 `json:"decide_s,omitempty"`  // from the start of the outage, at most
	StoppedS *float64 `json:"stopped_s,omitempty"` // from the decision, at most
	MarginS  *float64 `json:"margin_s,omitempty"`  // left at the decision, at least
}

// Scenarios are the built-in drill scenarios.
var Scenarios = []string{"mains_loss", "low_battery", "card_silent", "feed_loss"}

// Levels are the drill levels that are built in, by rising effect on the machine.
var Levels = []string{"tabletop", "rehearsal"}

// plannedLevels are words for levels that no build can run yet. Load refuses them; Parse,
// which only reads, takes them, and the agent refuses the drill itself.
var plannedLevels = []string{"services", "transfer", "full"}

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// base is the configuration of an empty file.
func base() *Config {
	c := &Config{
		Mode:     Observe,
		Policy:   policy.Default(),
		Shutdown: Shutdown{Need: Duration(120 * time.Second), Reserve: Duration(60 * time.Second), Wake: true},
		BootHold: BootHold{Stagger: Duration(30 * time.Second), Limit: Duration(15 * time.Minute)},
		Export:   Export{Interval: Duration(15 * time.Second)},
		Journal:  Journal{KeepEvents: Duration(2 * year), KeepSamples: Duration(30 * day)},
	}
	c.Policy.Need, c.Policy.Reserve = c.Shutdown.Need.D(), c.Shutdown.Reserve.D()
	return c
}

// Default is the configuration where there is no file: observe, and watch what is
// commonly there. The agent leaves out what it does not find.
func Default() *Config {
	c := base()
	c.Auto = true
	c.UPS = []Device{{Name: "ups", Driver: "nut", Address: "127.0.0.1:3493", Kind: dodai.KindUPS}}
	c.Arrays = []Device{{Name: "md", Driver: "md", Kind: dodai.KindArrays}}
	c.Disks = []Device{{Name: "disks", Driver: "smartctl", Kind: dodai.KindDisks}}
	return c
}
