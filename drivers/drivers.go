// Package drivers is the contract between the agent and whatever it reads: one
// package below this one per wire protocol or tool, each turning bytes into package
// dodai's vocabulary and nothing else.
//
// A driver has no timers, no policy, no globals, no metrics and knows no other
// driver. When to poll, how long an answer stays fresh and how to back off is the
// collectors' business. The list of what is built in is drivers/all; the suite every
// driver passes is drivers/driverstest; the driver to copy from is drivers/dummy.
package drivers

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
)

// A Driver reads one device.
type Driver interface {
	// Poll asks the device once, opening or reopening the connection when there is
	// none. A value the device does not report stays absent. ctx carries the
	// deadline, which Poll must honour even when the device is silent.
	//
	// The error is an *Error and wraps ErrUnreachable when no (complete) reply came
	// in time or the connection broke, ErrProtocol when a reply came that cannot be
	// read, ErrDenied when the device refused us, and ErrNoData when there is
	// nothing of the kind here. With an error the Reading is to be ignored: half an
	// answer is no answer.
	//
	// Poll is never called twice at once, nor at the same time as Close.
	Poll(ctx context.Context) (dodai.Reading, error)

	// Close lets go of the device. It may be called more than once.
	Close() error
}

// Factory is one row of the list of drivers.
type Factory struct {
	Name    string     // as in the configuration: "megatec"
	Kind    dodai.Kind // what its readings are, as far as it is known before asking
	AnyKind bool       // its readings can be of any kind; Kind is the usual one
	Summary string     // one line for `dodai drivers`
	Options []Option   // every option it takes; others are refused

	// Poll is the interval to use on line when none is configured; Timeout is how
	// long one Poll may take.
	Poll    time.Duration
	Timeout time.Duration
	// Local devices (serial, USB) are polled back to back on battery; what hangs on
	// a network is polled at an interval.
	Local bool

	// Run is what its external tools are run by; nil: the function Run.
	Run Runner

	// New makes a driver. It checks the options and touches no device; the error
	// is an *OptionError where an option is wrong.
	New func(cfg Config) (Driver, error)
}

// Option describes one option of a driver. The same keys serve the configuration
// file and `dodai probe`.
type Option struct {
	Key      string
	Help     string // one line, with the unit
	Default  string // empty: none
	Example  string
	Required bool
	Secret   bool // a password: never logged or shown
}

// Options that several drivers share, so that the same thing has one name.
var (
	OptPort = Option{Key: "port", Help: "serial device, best by its stable name below /dev/serial/by-id", Example: "/dev/ttyS0", Required: true}
	OptBaud = Option{Key: "baud", Help: "line speed in bits per second", Default: "2400", Example: "2400"}
)

// OptAddress is the option for a network device with its usual port.
func OptAddress(example string) Option {
	return Option{Key: "address", Help: "host:port", Example: example, Required: true}
}

// Config is what a driver is made from.
type Config struct {
	Device  string            // the device's configured name, for errors and logs
	Options map[string]string // checked against Factory.Options, defaults filled in
	Log     *slog.Logger      // for the wire, at debug level; never nil
	Run     Runner            // runs external tools; nil: Run does
}

// Runner is what runs external tools for the driver.
func (c Config) Runner() Runner {
	if c.Run == nil {
		return Run
	}
	return c.Run
}

// Open checks opts against the factory's list, fills in the defaults and calls New.
// A nil log discards.
func (f Factory) Open(device string, opts map[string]string, log *slog.Logger) (Driver, error) {
	full, err := f.checkOptions(opts)
	if err != nil {
		return nil, &Error{Driver: f.Name, Device: device, Op: "options", Err: err}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	d, err := f.New(Config{Device: device, Options: full, Log: log, Run: f.Run})
	if err != nil {
		return nil, &Error{Driver: f.Name, Device: device, Op: "options", Err: err}
	}
	return d, nil
}

func (f Factory) checkOptions(opts map[string]string) (map[string]string, error) {
	full := make(map[string]string, len(f.Options))
	for _, o := range f.Options {
		v, given := opts[o.Key]
		switch {
		case given && v != "":
			full[o.Key] = v
		case o.Required:
			return nil, &OptionError{Key: o.Key, Want: o.Help, Example: o.Example, Missing: true}
		default:
			full[o.Key] = o.Default
		}
	}
	for key := range opts {
		if _, known := full[key]; !known {
			return nil, &OptionError{Key: key, Got: opts[key], Want: "one of " + f.keys(), Unknown: true}
		}
	}
	return full, nil
}

func (f Factory) keys() string {
	keys := make([]string, len(f.Options))
	for i, o := range f.Options {
		keys[i] = o.Key
	}
	return strings.Join(keys, ", ")
}

// A Cutter is a driver whose device can cut its output and restore it with the mains, as
// NUT's shutdown.return does. Its methods are called as Poll is: one at a time, with the
// deadline in ctx, and their errors are *Error. They wrap ErrUnable where the device cannot
// do it at all, and ErrDenied where it does not let us.
type Cutter interface {
	Driver

	// CheckCut proves, without changing anything, that the device would take Cut: the
	// command is there, the login is right and permitted. A device that cannot be asked
	// is taken at its word, nil.
	CheckCut(ctx context.Context, c Cut) error

	// Cut tells the device to cut its output after c.Off and to restore it when the
	// mains are back, c.On after that (or after the cut, where they never went away). It
	// returns what the device was really told: many know steps of seconds or minutes
	// alone, and are told the next longer one. nil means the device took the command, as far
	// as its protocol says so; whether the output will be cut only the next readings show.
	// With an error and a Cut that is not zero the command was sent and may have been taken.
	Cut(ctx context.Context, c Cut) (Cut, error)

	// StopCut calls off what Cut began. It is no error where nothing was begun.
	StopCut(ctx context.Context) error
}

// Cut is a cut of the output with its return.
type Cut struct {
	Off time.Duration // from the command to the cut
	On  time.Duration // from the return of the mains to the output's
}
