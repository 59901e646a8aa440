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
	Command []string `json:"command,omitempty"`
	Steps   []Step   `json:"steps,omitempty"`
}

// Step is one step of the plan. Exactly one of Command and Unit is set.
type Step struct {
	Name    string   `json:"name"`
	Command []string `json:"command,omitempty"`
	Unit    string   `json:"unit,omitempty"` // a systemd unit to stop
	Timeout Duration `json:"timeout"`
	// Expect is what the step will take, until it has been measured; 0: not known.
	Expect Duration `json:"expect,omitempty"`
	Early  *Early   `json:"early,omitempty"` // nil: only after the decision
	// Undo takes the step back when the mains return; empty: a unit is started again,
	// a command cannot be undone.
	Undo      []string  `json:"undo,omitempty"`
	OnFailure OnFailure `json:"on_failure"`
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
		Shutdown: Shutdown{Need: Duration(120 * time.Second), Reserve: Duration(60 * time.Second)},
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
