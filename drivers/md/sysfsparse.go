package md

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// levels are the personalities whose redundancy is known, and "faulty", which has none
// to speak of.
var levels = []string{"raid0", "linear", "raid1", "raid4", "raid5", "raid6", "raid10", "multipath", "faulty"}

// states are the words of array_state (Linux Documentation/admin-guide/md.rst). All of
// clean, active, active-idle, write-pending, suspended mean running; read-auto is a
// running array that nobody has written to yet.
var states = []string{
	"clear", "inactive", "suspended", "readonly", "read-auto", "clean", "active", "write-pending", "active-idle", "broken",
}

// actions maps sync_action. A repair is a check that writes.
var actions = map[string]dodai.Activity{
	"": dodai.ActivityNone, "idle": dodai.ActivityNone, "frozen": dodai.ActivityFrozen,
	"check": dodai.ActivityCheck, "repair": dodai.ActivityCheck, "resync": dodai.ActivityResync,
	"recover": dodai.ActivityRecover, "reshape": dodai.ActivityReshape,
}

// parseArray makes facts from the text of an array's files.
func parseArray(id string, raw rawArray) facts {
	f := facts{id: id}
	if err := f.parse(raw); err != nil {
		return facts{id: id, err: err}
	}
	return f
}

func (f *facts) parse(raw rawArray) error {
	state := raw.files["array_state"]
	if !slices.Contains(states, state) {
		return drivers.Protocol("array_state", []byte(state), "one of "+strings.Join(states, " "))
	}
	f.inactive, f.broken, f.readonly = state == "inactive", state == "broken", state == "readonly"
	f.parseMetadata(raw.files["metadata_version"])
	f.journaled = raw.files["consistency_policy"] == "journal"
	if err := f.parseShape(raw.files); err != nil {
		return err
	}
	for _, m := range raw.members {
		if err := f.parseMember(m); err != nil {
			return fmt.Errorf("member %s: %w", m.name, err)
		}
	}
	f.fillSlots()
	return f.parseSync(raw.files, state)
}

// parseMetadata tells a container of external metadata ("external:imsm") and the
// arrays on one ("external:/md0/0", or "external:-md0/0" while it may not be written).
func (f *facts) parseMetadata(version string) {
	rest, external := strings.CutPrefix(version, "external:")
	if !external || rest == "" {
		return
	}
	if rest[0] != '/' && rest[0] != '-' {
		f.container = true
		return
	}
	f.parent, _, _ = strings.Cut(rest[1:], "/")
}

func (f *facts) parseShape(files map[string]string) error {
	var err error
	f.level = files["level"]
	if !slices.Contains(levels, f.level) {
		if f.level == "" && (f.container || f.inactive) {
			return nil // not told before the array runs
		}
		return drivers.Protocol("level", []byte(f.level), "one of "+strings.Join(levels, " "))
	}
	if f.disks, err = count("raid_disks", files["raid_disks"], maxDisks); err != nil {
		return err
	}
	if text, ok := files["degraded"]; ok {
		if f.degraded, err = count("degraded", text, maxDisks); err != nil {
			return err
		}
	}
	if f.level == "raid10" {
		return f.parseLayout(files["layout"])
	}
	return nil
}

// parseLayout leaves a layout it does not know unknown: that costs the names of the
// single points of failure, not the array.
func (f *facts) parseLayout(text string) error {
	n, err := count("layout", text, math.MaxInt32)
	if err != nil {
		return err
	}
	if f.layout, err = layoutFrom(n); err != nil {
		f.notes = append(f.notes, err.Error())
	}
	return nil
}

// count reads a whole number, and the first of the two that stand in a file during a
// reshape: "11 (10)".
func count(name, text string, limit int) (int, error) {
	first, _, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(first)
	if err != nil || n < 0 || n > limit {
		return 0, drivers.Protocol(name, []byte(text), fmt.Sprintf("a number from 0 to %d", limit))
	}
	return n, nil
}

func (f *facts) parseMember(raw rawMember) error {
	m := member{name: raw.name, slot: noSlot, gone: raw.gone}
	known := false
	for word := range strings.SplitSeq(raw.files["state"], ",") {
		known = m.setState(word) || known
	}
	if !known {
		return drivers.Protocol("state", []byte(raw.files["state"]), "words such as in_sync, spare, faulty")
	}
	slot := raw.files["slot"]
	if slot == "" {
		slot = raw.rd
	}
	switch slot {
	case "none", "":
	case "journal":
		m.journal = true
	default:
		n, err := count("slot", slot, maxDisks)
		if err != nil {
			return err
		}
		m.slot = n
	}
	m.lookAt(raw.files)
	f.members = append(f.members, m)
	return nil
}

// setState takes one word of a member's state, and reports whether it is one of those
// that say what the member is.
func (m *member) setState(word string) bool {
	switch word {
	case "in_sync":
		m.inSync = true
	case "spare":
		m.spare = true
	case "faulty":
		m.faulty = true
	case "journal":
		m.journal = true
	case "replacement":
		m.replacement = true
	case "want_replacement":
		m.suspect = "md wants it replaced"
	case "write_error":
		m.suspect = "writes to it have failed"
	default:
		return false
	}
	return true
}

// lookAt finds bad signs in a member that still works.
func (m *member) lookAt(files map[string]string) {
	if m.suspect != "" {
		return
	}
	if n, err := strconv.ParseUint(files["errors"], 10, 63); err == nil && n > 0 {
		m.suspect = fmt.Sprintf("%d read errors corrected", n)
	}
	for _, name := range []string{"bad_blocks", "unacknowledged_bad_blocks"} {
		if text := files[name]; text != "" {
			m.suspect = fmt.Sprintf("%d unreadable places (%s)", 1+strings.Count(text, "\n"), name)
		}
	}
}

// parseSync reads what runs, how far it is, and what the last check found.
func (f *facts) parseSync(files map[string]string, state string) error {
	var ok bool
	if f.action, ok = actions[files["sync_action"]]; !ok {
		return drivers.Protocol("sync_action", []byte(files["sync_action"]), "idle, check, resync, recover …")
	}
	switch done := files["sync_completed"]; {
	case done == "delayed":
		f.waiting = dodai.ActivityDelayed
	case done != "" && done != "none" && f.action != dodai.ActivityNone:
		if f.percent = percent(done); f.percent == nil {
			f.notes = append(f.notes, "sync_completed "+drivers.Quote([]byte(done))+" is no progress")
		}
	}
	// A resync that an unwritten or read-only array has before it.
	idle := f.action == dodai.ActivityNone && f.level != "raid0" && f.level != "linear"
	if start := files["resync_start"]; idle && start != "" && start != "none" && (state == "read-auto" || state == "readonly") {
		f.action, f.waiting = dodai.ActivityResync, dodai.ActivityPending
	}
	if text, ok := files["mismatch_cnt"]; ok {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return drivers.Protocol("mismatch_cnt", []byte(text), "a number of sectors")
		}
		f.mismatch = new(n)
	}
	return nil
}

// percent reads "done / total", to a tenth.
func percent(text string) *float64 {
	a, b, ok := strings.Cut(text, "/")
	done, err1 := strconv.ParseUint(strings.TrimSpace(a), 10, 63)
	total, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 63)
	if !ok || err1 != nil || err2 != nil || total == 0 || done > total {
		return nil
	}
	return new(math.Round(1000*float64(done)/float64(total)) / 10)
}
