package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/dodai-agent/dodai/agent/notify"
)

// EventFields are the names of the facts that events carry, which hooks can use as
// placeholders beside the builtin ones. No event has them all.
var EventFields = []string{
	"ups.status", "battery.charge", "battery.runtime", "input.voltage", // mains, battery, communication
	"alert",                                                           // alerts
	"reason", "mode", "need_s", "need_parts", "reserve_s", "margin_s", // the decision
	"rule", "available_s", "evidence",
	"factor", "claimed_s", // what a battery has shown
	"timeout_s", "took_s", "exit", "output", "timed_out", "skipped", "undo", "rehearsed", "expected_s", // steps
	"operator", "left", "why", // a shutdown that a person asked for, or that was called off; a notification
	"pid",                        // a step that an earlier daemon began
	"findings", "first", "fatal", // what stands against the way down
	"ups", "until", "by", "ended", // maintenance, with reason
	"method", "action", "attempt", "retry_s", // a power-off, and one that failed
	"off_s", "on_s", // a UPS that cuts its output
	"lost_power", "allowed_s", // one that was measured after the next boot
	"psu", "state", "input", "bmc", "array", "level", "failing", // supplies, arrays
	"disk", "type", "serial", "verdict", "before", "reasons", // disks; level and verdict of drills, too
	"version", "gap_s", // the agent, and one that was killed
	"by_s",                   // a wall clock that was set
	"on", "error", "dropped", // a hook that failed
	"moved_to", // a journal that was replaced
}

// placeholders reports those of a hook's command that no event has, and what else the
// package that runs it would refuse.
func (d *decoder) placeholders(n ast.Node, command []string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok || len(seq.Values) != len(command) {
		return
	}
	known := slices.Concat(notify.Builtins, EventFields)
	judged := known
	for i, arg := range command[min(1, len(command)):] {
		for _, name := range notify.Placeholders(arg) {
			if !slices.Contains(judged, name) {
				d.problem(nodeAt(seq.Values[i+1]), fmt.Sprintf("no event has {%s}%s", name, meantPlaceholder(name, known)),
					"one of {"+strings.Join(known, "}, {")+"}; braces with a blank in them, { so }, are left alone", "{event}")
				judged = append(slices.Clip(judged), name) // once
			}
		}
	}
	for _, e := range notify.Validate([]notify.Hook{{Command: command}}, judged...) {
		var item int
		if _, err := fmt.Sscanf(e.Field, "[0].command[%d]", &item); err == nil {
			d.problem(nodeAt(seq.Values[item]), "command has "+e.Got, e.Want, `"{event}"`)
		}
	}
}

func meantPlaceholder(name string, known []string) string {
	if k := closest(name, known); k != "" {
		return fmt.Sprintf(" (did you mean {%s}?)", k)
	}
	return ""
}

// program warns of one that cannot be run on this host. It may be meant for another, or
// be installed later, so that is no mistake of the file.
func (d *decoder) program(at position, where, name string) {
	if d.files == nil || name == "" {
		return
	}
	if strings.Contains(name, "/") && !filepath.IsAbs(name) {
		d.warn(at, fmt.Sprintf("%s runs %s, which depends on the folder the agent is started in", where, name), "an absolute path", "/usr/local/bin/"+filepath.Base(name))
		return
	}
	_, err := exec.LookPath(name)
	switch {
	case err == nil, hasProgram(name):
	case errors.Is(err, fs.ErrPermission):
		d.warn(at, fmt.Sprintf("%s runs %s, which is not executable", where, name), "a program that can be run", "chmod 755 "+name)
	default:
		d.warn(at, fmt.Sprintf("%s runs %s, which is not found on this host", where, name), "a program that is installed", "/usr/bin/logger")
	}
}

// hasProgram reports whether there is a program of that name to judge by its mode. The
// daemon's sandbox forbids it to run what others, outside, will.
func hasProgram(name string) bool {
	paths := []string{name}
	if !strings.Contains(name, "/") {
		paths = nil
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return slices.ContainsFunc(paths, func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
	})
}

// port warns of a relative path: the agent works in another folder than whoever wrote it.
func (d *decoder) port(e *entry) {
	if port := e.DriverOptions()["port"]; port != "" && !filepath.IsAbs(port) {
		d.warn(e.values["port"], fmt.Sprintf("port of %s is %s, which depends on the folder the agent is started in", e.Name, port),
			"an absolute path", "port: /dev/serial/by-id/"+filepath.Base(port))
	}
}
