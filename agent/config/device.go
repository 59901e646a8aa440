package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

const (
	// minPoll and maxPoll bound a configured poll interval.
	minPoll = 20 * time.Millisecond
	maxPoll = time.Hour
	// fromFile is the suffix of an option whose value stands in a file.
	fromFile = "_file"
)

// DriverOptions are the options to open the driver with: port, address, the file's
// options, and the secrets from files in the place of the files' names.
func (d Device) DriverOptions() map[string]string {
	opts := maps.Clone(d.Options)
	if opts == nil {
		opts = map[string]string{}
	}
	for key, value := range map[string]string{"port": d.Port, "address": d.Address} {
		if value != "" {
			opts[key] = value
		}
	}
	for key, value := range d.Secrets {
		opts[key] = value
		delete(opts, key+fromFile)
	}
	return opts
}

// entry is a device while it is read.
type entry struct {
	Device
	at      position            // of its first key
	keys    map[string]position // of its keys
	options map[string]position // of its options' keys
	values  map[string]position // of its options' values, and of port and address
	fedByAt position            // of the value of fed_by
	bad     bool                // has a mistake already that makes others
}

func (d *decoder) deviceList(section, example string, kind dodai.Kind, into *[]Device) field {
	return field{section, section + ": " + example, d.list(section, example, func(n ast.Node) {
		*into = append(*into, d.device(section, kind, n))
	})}
}

func (d *decoder) device(section string, kind dodai.Kind, n ast.Node) Device {
	e := &entry{at: nodeAt(n), options: map[string]position{}, values: map[string]position{}}
	e.Kind = kind
	value := func(key string, read reader) reader {
		return func(n ast.Node) {
			e.values[key] = nodeAt(n)
			read(n)
		}
	}
	before := len(d.problems)
	fields := []field{
		{"name", "name: u1", d.name(&e.Name)},
		{"driver", "driver: megatec", value("driver", d.text("driver", "megatec", &e.Driver))},
		{"port", "port: /dev/ttyS0", value("port", d.text("port", "/dev/ttyS0", &e.Port))},
		{"address", `address: "127.0.0.1:161"`, value("address", d.text("address", `"127.0.0.1:161"`, &e.Address))},
		{"options", "options: {baud: 2400}", d.options(e)},
		{"poll", "poll: 2s", d.duration("poll", minPoll, maxPoll, "2s", &e.Poll)},
	}
	if kind == dodai.KindUPS {
		fields = append(fields, d.fedBy(e), field{"killpower", "killpower: true", d.truth("killpower", &e.KillPower)})
	}
	e.keys = d.object(n, section, fields)
	d.required(n, "a device in "+section, e.keys, "name", "name: u1")
	d.required(n, "a device in "+section, e.keys, "driver", "driver: megatec")
	e.bad = len(d.problems) > before
	if at, ok := e.keys["name"]; ok && e.Name != "" {
		d.unique(e.Name, at)
		d.fedByAt[e.Name] = e.fedByAt
	}
	if e.Driver != "" {
		d.driver(section, e)
	}
	d.port(e)
	return e.Device
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// name reads a name that can stand in a metric, a file name and a command line.
func (d *decoder) name(into *string) reader {
	return func(n ast.Node) {
		const want = "1 to 64 letters, digits, points, hyphens or underscores"
		s, ok := d.scalar(n, "name", want, "rack-ups1")
		if ok && !nameForm.MatchString(s) {
			d.problem(nodeAt(n), fmt.Sprintf("name is %q", s), want, "rack-ups1")
			return
		}
		*into = s
	}
}

func (d *decoder) unique(name string, at position) {
	if first, twice := d.devices[name]; twice {
		d.problem(at, fmt.Sprintf("device %q again, after line %d", name, first.line), "each name once over all lists", name+"-2")
		return
	}
	d.devices[name] = at
}

func (d *decoder) options(e *entry) reader {
	return func(n ast.Node) {
		entries, _ := d.entries(n, "options", "{baud: 2400}")
		for _, o := range entries {
			key, value := o.Key.GetToken().Value, ""
			if d.twice(e.options, key, nodeAt(o.Key)) {
				continue
			}
			e.values[key] = nodeAt(o.Value)
			d.text("option "+key, `"text"`, &value)(o.Value)
			if e.Options == nil {
				e.Options = map[string]string{}
			}
			e.Options[key] = value
		}
	}
}

// driver checks what only the driver knows: its options, and what it reads.
func (d *decoder) driver(section string, e *entry) {
	f, ok := d.find(e.Driver)
	if !ok {
		d.problem(e.values["driver"], fmt.Sprintf("unknown driver %q%s", e.Driver, Meant(e.Driver, d.names)), oneOf(d.names), "megatec")
		return
	}
	if !fits(f, e.Kind) {
		d.problem(e.values["driver"], fmt.Sprintf("driver %s, which reads %s, in %s", f.Name, f.Kind, section),
			"a driver that reads "+section, "driver: "+d.fitting(e.Kind))
		return
	}
	e.SecretKeys = secretKeys(f)
	if d.shared(e) && d.secrets(e) {
		d.openable(f, e)
	}
	for _, o := range f.Options {
		if v := e.Options[o.Key]; o.Secret && v != "" && v != o.Default {
			d.inline = e.values[o.Key]
		}
	}
}

// fits reports whether a driver can stand in the list for kind. What hangs on a network
// says only when asked whether it is a UPS, a PDU or a transfer switch.
func fits(f drivers.Factory, kind dodai.Kind) bool {
	return f.AnyKind || f.Kind == kind || (kind == dodai.KindPDU && f.Kind.IsPower())
}

// fitting is a driver to give as an example.
func (d *decoder) fitting(kind dodai.Kind) string {
	for _, name := range d.names {
		if f, ok := d.find(name); ok && f.Kind == kind {
			return name
		}
	}
	return "dummy"
}

func secretKeys(f drivers.Factory) []string {
	var keys []string
	for _, o := range f.Options {
		if o.Secret {
			keys = append(keys, o.Key)
		}
	}
	return keys
}

// shared refuses port and address given twice.
func (d *decoder) shared(e *entry) bool {
	ok := true
	for _, key := range []string{"port", "address"} {
		if at, twice := e.options[key]; twice && e.keys[key] != (position{}) {
			d.problem(at, fmt.Sprintf("%s again, after line %d", key, e.keys[key].line), "it once, as a key of the device", map[string]string{"port": "port: /dev/ttyS0", "address": `address: "127.0.0.1:161"`}[key])
			ok = false
		}
	}
	return ok
}

// secrets reads the files that KEY_file options name, where KEY is a secret option of
// the driver. A driver that could read the file by itself is given the secret all the
// same: it does not know the configuration's folder.
func (d *decoder) secrets(e *entry) bool {
	before := len(d.problems)
	for _, key := range e.SecretKeys {
		path := e.Options[key+fromFile]
		if path == "" {
			continue
		}
		if _, both := e.Options[key]; both {
			d.problem(e.options[key], fmt.Sprintf("both %s and %s", key, key+fromFile), "one of them", key+fromFile+": /etc/dodai/ups.password")
			continue
		}
		secret := mask
		if d.files != nil {
			secret = d.secretFile(e.values[key+fromFile], key, path)
		}
		e.setSecret(key, secret)
	}
	return len(d.problems) == before
}

func (e *entry) setSecret(key, secret string) {
	if e.Secrets == nil {
		e.Secrets = map[string]string{}
	}
	e.Secrets[key] = secret
}

func (d *decoder) secretFile(at position, key, path string) string {
	secret, open, err := d.files.secret(path)
	if err != nil {
		d.problem(at, fmt.Sprintf("%s is %q: %v", key+fromFile, path, err), "a file that holds the "+key+" and nothing else", "/etc/dodai/ups.password")
		return ""
	}
	if open {
		d.warn(at, path+" can be read by everybody on this host", "mode 0600", "chmod 600 "+path)
	}
	return secret
}

// openable reports every option the driver does not take, lacks, or does not like. It
// makes a driver, which touches no device, and drops it.
func (d *decoder) openable(f drivers.Factory, e *entry) {
	opts := e.DriverOptions()
	if d.keysKnown(f, e, opts) && !e.bad {
		drv, err := f.Open(e.Name, opts, nil)
		if err != nil {
			d.optionProblem(f, e, err)
			return
		}
		_ = drv.Close() // nothing was opened
	}
}

func (d *decoder) keysKnown(f drivers.Factory, e *entry, opts map[string]string) bool {
	ok := true
	keys := make([]string, len(f.Options))
	for i, o := range f.Options {
		keys[i] = o.Key
		if o.Required && opts[o.Key] == "" && e.values[o.Key] == (position{}) {
			d.problem(e.at, fmt.Sprintf("device %s, driver %s, without %q", e.Name, f.Name, o.Key), o.Help, o.Key+": "+o.Example)
			ok = false
		}
	}
	for _, key := range slices.Sorted(maps.Keys(opts)) {
		if slices.Contains(keys, key) {
			continue
		}
		at, inOptions := e.options[key]
		if !inOptions {
			at = e.keys[key]
		}
		want := oneOf(keys)
		if len(keys) == 0 {
			want = "none"
		}
		d.problem(at, fmt.Sprintf("driver %s has no option %q%s", f.Name, key, Meant(key, keys)), want, exampleOf(f, key, keys))
		ok = false
	}
	return ok
}

// exampleOf is an example of the option that key was meant to be, or of any. That of a
// secret is a file, so that nobody copies a password from a message.
func exampleOf(f drivers.Factory, key string, keys []string) string {
	near := closest(key, keys)
	for _, o := range f.Options {
		if near != "" && o.Key != near {
			continue
		}
		if o.Secret {
			return o.Key + fromFile + ": /etc/dodai/" + f.Name + "." + o.Key
		}
		if example := firstOf(o.Example, o.Default); example != "" {
			return o.Key + ": " + example
		}
	}
	if len(keys) == 0 {
		return "no options at all"
	}
	return firstOf(near, keys[0]) + ": …"
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// optionProblem puts a driver's complaint at the option it is about, without showing a
// secret.
func (d *decoder) optionProblem(f drivers.Factory, e *entry, err error) {
	o, ok := errors.AsType[*drivers.OptionError](err)
	if !ok {
		d.problem(e.at, "device "+e.Name+": "+e.hide(err.Error()), "options the driver can use", "those that `dodai drivers` lists")
		return
	}
	at, given := e.values[o.Key]
	if !given {
		at, given = e.values[o.Key+fromFile]
	}
	if !given {
		at = e.at
	}
	got := fmt.Sprintf("is %q", o.Got)
	switch {
	case o.Missing:
		got = "is missing"
	case slices.Contains(e.SecretKeys, o.Key):
		got = "is " + mask
	}
	example := o.Example
	for _, opt := range f.Options {
		if opt.Key == o.Key && example == "" {
			example = firstOf(opt.Example, opt.Default)
		}
	}
	d.problem(at, o.Key+" "+e.hide(got), e.hide(o.Want), example)
}

// hide masks every secret of the device in s.
func (e *entry) hide(s string) string {
	for _, key := range e.SecretKeys {
		for _, secret := range []string{e.Options[key], e.Secrets[key]} {
			if secret != "" {
				s = strings.ReplaceAll(s, secret, mask)
			}
		}
	}
	return maskURL(s)
}
