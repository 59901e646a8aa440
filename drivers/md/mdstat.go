package md

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// maxMdstat bounds the file: a hundred arrays of twenty members are 60 KiB.
const maxMdstat = 1 << 20

// maxNotes bounds how many unknown lines are named.
const maxNotes = 5

// parseMdstat reads the text of /proc/mdstat. A line it does not know is a note; what
// is wrong within one array stands in its facts. The error is ErrProtocol for text
// that is no mdstat, or that stops in the middle.
func parseMdstat(data []byte) (sets []facts, notes []string, err error) {
	p := mdstatParser{ids: map[string]bool{}}
	text := string(data)
	for line := range strings.Lines(text) {
		p.line(strings.TrimRight(line, "\r\n"))
	}
	p.finish()
	switch {
	case !p.framed && strings.TrimSpace(text) != "" && len(p.sets) == 0:
		return nil, nil, drivers.Protocol("mdstat", data, "lines such as \"md0 : active raid1 sda1[0] sdb1[1]\"")
	case !p.closed && text != "" && (!strings.HasSuffix(text, "\n") || p.lastBad()):
		return nil, nil, drivers.Protocol("end of mdstat", data[max(0, len(data)-60):], "a line \"unused devices\"")
	}
	return p.sets, p.notes, nil
}

type mdstatParser struct {
	sets   []facts
	ids    map[string]bool
	cur    *mdstatArray
	notes  []string
	framed bool // one of the lines around the arrays was there
	closed bool // the last line was there
}

func (p *mdstatParser) lastBad() bool { return len(p.sets) > 0 && p.sets[len(p.sets)-1].err != nil }

// line takes one line. Those of an array's block are indented; md names an array at
// the start of a line.
func (p *mdstatParser) line(line string) {
	fields := strings.Fields(line)
	switch {
	case len(fields) == 0:
	case line[0] == ' ' || line[0] == '\t':
		if p.cur != nil {
			p.cur.body(line, fields)
		}
	case strings.HasPrefix(line, "Personalities"):
		p.framed = true
	case strings.HasPrefix(line, "unused devices"):
		p.finish()
		p.framed, p.closed = true, true
	case len(fields) >= 3 && fields[1] == ":" && strings.HasPrefix(fields[0], "md"):
		p.finish()
		p.cur = startArray(fields)
	case len(p.notes) < maxNotes:
		p.notes = append(p.notes, "mdstat: unknown line "+drivers.Quote([]byte(line)))
	}
}

func (p *mdstatParser) finish() {
	if p.cur == nil {
		return
	}
	f := p.cur.finish()
	p.cur = nil
	if p.ids[f.id] {
		p.notes = append(p.notes, f.id+" stands in mdstat twice; the first is used")
		return
	}
	p.ids[f.id] = true
	p.sets = append(p.sets, f)
}

// mdstatArray is one array's block while it is read.
type mdstatArray struct {
	facts
	blocks  bool // the line with the size was there
	working int  // members that work, of [n/m]
	counted bool // [n/m] was there
	upMap   string
}

// startArray reads "md0 : active (read-only) raid5 sdc[2] sdb[1](F)".
func startArray(fields []string) *mdstatArray {
	a := &mdstatArray{facts: facts{id: fields[0]}}
	switch fields[2] {
	case "active":
	case "inactive":
		a.inactive = true
	case "broken":
		a.broken = true
	default:
		a.fail("state", fields[2], "active, inactive or broken")
	}
	for _, word := range fields[3:] {
		switch {
		case word == "(read-only)":
			a.readonly = true
		case strings.HasPrefix(word, "("): // (auto-read-only) ends with the first write
		case strings.Contains(word, "["):
			a.member(word)
		case a.level == "" && slices.Contains(levels, word):
			a.level = word
		default:
			a.fail("word", word, "a level or a member such as sda1[0]")
		}
	}
	return a
}

// fail keeps the first error.
func (a *mdstatArray) fail(what, got, want string) {
	if a.err == nil {
		a.err = fmt.Errorf("mdstat: %w", drivers.Protocol(what, []byte(got), want))
	}
}

// member reads "sda1[0](W)(F)". The number is the member's in the superblock: its slot
// as long as it was never replaced.
func (a *mdstatArray) member(word string) {
	name, rest, _ := strings.Cut(word, "[")
	number, flags, closed := strings.Cut(rest, "]")
	n, err := count("member", number, 1<<20)
	if err != nil || !closed || name == "" {
		a.fail("member", word, "a member such as sda1[0](F)")
		return
	}
	m := member{name: name, slot: n}
	for flag := range strings.SplitSeq(strings.Trim(flags, "()"), ")(") {
		switch flag {
		case "F":
			m.faulty = true
		case "S":
			m.spare = true
		case "J":
			m.journal = true
		case "R":
			m.replacement = true
		case "W", "":
		default:
			a.notes = append(a.notes, "mdstat: unknown flag in "+drivers.Quote([]byte(word)))
		}
	}
	a.members = append(a.members, m)
}

// body reads a further line of an array's block.
func (a *mdstatArray) body(line string, fields []string) {
	switch {
	case len(fields) > 1 && fields[1] == "blocks":
		a.blocks = true
		a.sizeLine(fields)
	case strings.HasPrefix(fields[0], "bitmap:"):
	case strings.Contains(line, "="):
		a.syncLine(line)
	}
}

// sizeLine reads "520192 blocks super 1.2 level 5, 512k chunk, algorithm 2 [3/2] [_UU]".
func (a *mdstatArray) sizeLine(fields []string) {
	for i, word := range fields {
		inner, bracket := strings.CutPrefix(word, "[")
		inner, closed := strings.CutSuffix(inner, "]")
		switch {
		case word == "super" && i+1 < len(fields):
			a.parseMetadata(fields[i+1])
		case strings.HasSuffix(word, "-copies") && i > 0:
			a.layoutWord(fields[i-1], word)
		case word == "devices" && i+2 < len(fields) && fields[i+1] == "per":
			a.layout.sets = true
		case !bracket || a.inactive:
		case !closed:
			a.fail("field", word, "a closed bracket")
		case strings.Trim(inner, "U_") == "":
			a.upMap = inner
		default:
			a.counts(inner)
		}
	}
}

func (a *mdstatArray) layoutWord(number, word string) {
	n, err := count("copies", number, maxDisks)
	if err != nil || n == 0 {
		a.fail("copies", number, "a number of copies")
		return
	}
	a.layout.near, a.layout.far = max(a.layout.near, 1), max(a.layout.far, 1)
	if word == "near-copies" {
		a.layout.near = n
	} else {
		a.layout.far = n
	}
}

// counts reads "3/2": slots and working members.
func (a *mdstatArray) counts(inner string) {
	needed, working, ok := strings.Cut(inner, "/")
	var err1, err2 error
	a.disks, err1 = count("slots", needed, maxDisks)
	a.working, err2 = count("members", working, maxDisks)
	if !ok || err1 != nil || err2 != nil {
		a.fail("counts", inner, "slots and working members such as 3/2")
		return
	}
	a.counted = true
}

// syncWords are what stands before the "=" of a progress line.
var syncWords = map[string]dodai.Activity{
	"resync": dodai.ActivityResync, "recovery": dodai.ActivityRecover, "recover": dodai.ActivityRecover,
	"reshape": dodai.ActivityReshape, "check": dodai.ActivityCheck, "repair": dodai.ActivityCheck,
}

// syncLine reads "[=>..]  recovery = 12.3% (32640/260096) finish=0.4min" and
// "resync=DELAYED".
func (a *mdstatArray) syncLine(line string) {
	if _, after, bar := strings.Cut(line, "]"); bar && strings.HasPrefix(strings.TrimSpace(line), "[") {
		line = after
	}
	word, value, ok := strings.Cut(line, "=")
	action, known := syncWords[strings.TrimSpace(word)]
	if !ok || !known {
		if strings.Contains(line, "%") || strings.TrimSpace(line) == "" {
			a.fail("progress", line, "such as \"recovery = 12.3% (32640/260096)\"")
		}
		return
	}
	a.action = action
	switch value = strings.TrimSpace(value); value {
	case "DELAYED":
		a.waiting = dodai.ActivityDelayed
	case "PENDING":
		a.waiting = dodai.ActivityPending
	case "REMOTE": // another node of the cluster does it
	default:
		text, _, found := strings.Cut(value, "%")
		n, err := drivers.ParseNumber([]byte(text), 0, 100)
		if !found || err != nil {
			a.fail("progress", value, "a percentage")
			return
		}
		a.percent = new(n)
	}
}

// finish checks that the block was complete and derives the slots.
func (a *mdstatArray) finish() facts {
	switch {
	case a.err != nil:
	case !a.blocks:
		a.fail("array", a.id, "a line with its blocks")
	case a.inactive || a.container:
		a.slots(nil)
	case a.level == "":
		a.fail("level", "", "one of "+strings.Join(levels, " "))
	case a.counted:
		a.finishCounted()
	case a.level == "raid0" || a.level == "linear" || a.level == "faulty":
		a.finishPlain()
	default:
		a.fail("array", a.id, "slots and working members such as [3/2] [_UU]")
	}
	if a.err != nil {
		return facts{id: a.id, err: a.err}
	}
	return a.facts
}

func (a *mdstatArray) finishCounted() {
	up := strings.Count(a.upMap, "U")
	if len(a.upMap) != a.disks || up != a.working {
		a.fail("slots", "["+strconv.Itoa(a.disks)+"/"+strconv.Itoa(a.working)+"] ["+a.upMap+"]", "counts that agree")
		return
	}
	a.slotUp = make([]bool, a.disks)
	for i := range a.upMap {
		a.slotUp[i] = a.upMap[i] == 'U'
	}
	a.slots(a.slotUp)
}

// finishPlain takes the members of a level without redundancy for all there are.
func (a *mdstatArray) finishPlain() {
	a.slotsSeen = true
	for i := range a.members {
		m := &a.members[i]
		m.inSync = !m.faulty && !m.spare
		if !m.spare {
			m.slot = a.disks
			a.disks++
		}
	}
	a.fillSlots()
}
