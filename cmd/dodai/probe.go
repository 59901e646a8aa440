package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/all"
)

func probeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "probe DRIVER [key=value …]",
		Short: "Read one device once, without a configuration",
		Long: `Reads one device once and prints what it says now, with no history and no
confirmation. ` + "`dodai drivers`" + ` lists the drivers and the keys each one takes.`,
		Example: `  dodai probe megatec port=/dev/ttyS0
  dodai probe snmp address=10.0.0.5 community=public --json
  dodai probe md`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("probe: which driver? `dodai drivers` lists them")
			}
			return nil
		},
	}
	timeout := cmd.Flags().Duration("timeout", 10*time.Second, "how long the device may take to answer")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := probe(cmd.Context(), args[0], args[1:], *timeout)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), p.document())
		}
		return p.print(cmd.OutOrStdout())
	}
	return cmd
}

type probed struct {
	driver  string
	took    time.Duration
	reading dodai.Reading
}

// hangGrace is how long after its deadline a driver may still come back.
const hangGrace = time.Second

// probeName is the name of a device that stands in no configuration: where it is, or
// nothing for the machine itself.
func probeName(opts map[string]string) string { return cmp.Or(opts["address"], opts["port"]) }

func probe(ctx context.Context, driver string, args []string, timeout time.Duration) (probed, error) {
	factory, ok := all.Find(driver)
	if !ok {
		return probed{}, usageError("there is no driver %q%s; `dodai drivers` lists them", driver, config.Meant(driver, driverNames()))
	}
	opts, err := keyValues(args)
	if err != nil {
		return probed{}, err
	}
	if err := knownOptions(factory, opts); err != nil {
		return probed{}, err
	}
	if timeout <= 0 {
		return probed{}, usageError("--timeout is %v, want more than 0, for example 10s", timeout)
	}
	drv, err := factory.Open(probeName(opts), opts, nil)
	if err != nil {
		return probed{}, &exitError{exitUsage, err}
	}
	begin := time.Now()
	reading, err := pollWithin(ctx, drv, timeout)
	if err != nil {
		return probed{}, named(err, driver, probeName(opts))
	}
	if reading.Kind == "" {
		reading.Kind = factory.Kind
	}
	return probed{driver, time.Since(begin), *reading.Printable()}, nil
}

// named makes sure that an error says which device it is about.
func named(err error, driver, device string) error {
	if _, ok := errors.AsType[*drivers.Error](err); ok {
		return err
	}
	return &drivers.Error{Driver: driver, Device: device, Op: "poll", Err: err}
}

// pollWithin polls once and closes the driver, and gives one up that does not honour
// its deadline: it is never closed while it polls.
func pollWithin(ctx context.Context, drv drivers.Driver, timeout time.Duration) (dodai.Reading, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	type answer struct {
		r   dodai.Reading
		err error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- answer{err: fmt.Errorf("the driver has a bug, please report it: %v", p)}
			}
		}()
		r, err := drv.Poll(ctx)
		_ = drv.Close() // the process ends with it anyway
		done <- answer{r, err}
	}()
	select {
	case a := <-done:
		return a.r, a.err
	case <-time.After(timeout + hangGrace):
		return dodai.Reading{}, fmt.Errorf("%w: the driver did not come back within %v", drivers.ErrUnreachable, timeout+hangGrace)
	}
}

// keyValues reads key=value arguments.
func keyValues(args []string) (map[string]string, error) {
	opts := map[string]string{}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, usageError("probe: %q is not key=value, for example port=/dev/ttyS0", arg)
		}
		if _, twice := opts[key]; twice {
			return nil, usageError("probe: %s is given twice", key)
		}
		opts[key] = value
	}
	return opts, nil
}

func driverNames() []string {
	var names []string
	for _, f := range all.Drivers() {
		names = append(names, f.Name)
	}
	return names
}

// knownOptions names an option that the driver does not have before one that is missing:
// the first is often the second with a slip.
func knownOptions(f drivers.Factory, opts map[string]string) error {
	var keys []string
	for _, o := range f.Options {
		keys = append(keys, o.Key)
	}
	for _, key := range slices.Sorted(maps.Keys(opts)) {
		if !slices.Contains(keys, key) {
			return usageError("probe: driver %s has no option %q%s: want one of %s", f.Name, key, config.Meant(key, keys), strings.Join(keys, ", "))
		}
	}
	return nil
}

// document is the JSON form: what a kind of device always has is there even when it is
// empty, the rest is left out when it is not known.
func (p probed) document() map[string]any {
	r := p.reading
	doc := map[string]any{
		"driver": p.driver, "kind": r.Kind, "took_ms": float64(p.took.Microseconds()) / 1000,
		"device": r.Device, "notes": emptyList(r.Notes),
	}
	switch {
	case r.Kind.IsPower():
		doc["status"] = r.Status
		doc["readings"] = emptyVars(r.Vars)
	case r.Kind == dodai.KindArrays:
		doc["arrays"], doc["controllers"], doc["drives"] = emptyList(r.Arrays), emptyList(r.Controllers), emptyList(r.Drives)
	case r.Kind == dodai.KindDisks:
		doc["disks"] = emptyList(r.Disks)
	case r.Kind == dodai.KindPSUs:
		doc["psus"], doc["redundancy"] = emptyList(r.PSUs), emptyList(r.Redundancy)
		if r.SystemWatts != nil {
			doc["system_watts"] = *r.SystemWatts
		}
	}
	return doc
}

func emptyList[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func emptyVars(v dodai.Vars) dodai.Vars {
	if v == nil {
		return dodai.Vars{}
	}
	return v
}

func (p probed) print(w io.Writer) error {
	r := p.reading
	fmt.Fprintf(w, "%s, %s, answered in %v\n", p.driver, r.Kind, p.took.Round(100*time.Microsecond))
	rows := deviceRows(r.Device)
	if r.Kind.IsPower() {
		rows = append(rows, []string{"status", orUnknown(r.Status.String())})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Vars)) {
		rows = append(rows, []string{name, r.Vars[name].String()})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if err := printReading(w, r); err != nil {
		return err
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	return nil
}

func orUnknown(s string) string {
	if s == "" {
		return "(the device does not say)"
	}
	return s
}

func deviceRows(d dodai.Device) [][]string {
	var rows [][]string
	for _, f := range []struct{ name, value string }{
		{"manufacturer", d.Manufacturer}, {"model", d.Model}, {"serial", d.Serial}, {"firmware", d.Firmware},
		{"card model", d.CardModel}, {"card serial", d.CardSerial}, {"card firmware", d.CardFirmware},
	} {
		if f.value != "" {
			rows = append(rows, []string{f.name, f.value})
		}
	}
	return rows
}
