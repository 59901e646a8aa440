package snmp

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// The objects every agent has. Source: RFC 3418, system group.
const (
	sysDescr    = "1.3.6.1.2.1.1.1.0"
	sysObjectID = "1.3.6.1.2.1.1.2.0"
	sysUpTime   = "1.3.6.1.2.1.1.3.0"
)

// relearn is how long identity, configuration and the list of objects are taken for
// unchanged.
const relearn = 6 * time.Hour

// session is what is known of a device after the start: which families it has, which
// of their objects, and the last value of each.
type session struct {
	families []*family
	columns  map[string][]string // the instances of a table's column, in phase order
	decide   []string            // asked in each poll
	rest     []string            // asked in turn, as many as fit
	turn     int
	cache    map[string]cached
	started  time.Time
	restart  bool // the card has restarted: learn anew at the next poll
	alarms   alarmList
	memory   memory
	other    string // the make, where its own branch is not read
}

type cached struct {
	val value
	at  time.Time
}

// start learns what the device is. It leaves all values in the cache, so that the
// first reading needs no request of its own.
func start(ctx context.Context, c *card, r requester, mib string) (*session, error) {
	if c.shy && c.proven == 0 { // it may be silent because the first request was too big
		if _, err := c.discover(ctx, r, []string{sysObjectID}); err != nil {
			return nil, err
		}
	}
	first, err := c.discover(ctx, r, probes())
	if err != nil {
		return nil, err
	}
	s := &session{columns: map[string][]string{}, cache: map[string]cached{}, started: time.Now()}
	s.keep(first)
	s.other = recognise(pointerText(first[sysObjectID]), first.has)
	if s.families = present(first, mib); len(s.families) == 0 {
		return nil, nothingHere(first, s.other, mib)
	}
	found, err := c.discover(ctx, r, s.candidates(first))
	if err != nil {
		return nil, err
	}
	s.keep(found)
	if err := s.findRows(ctx, c, r); err != nil {
		return nil, err
	}
	s.plan()
	return s, s.readAlarms(ctx, c, r)
}

// probes are the objects that tell what a device is.
func probes() []string {
	oids := []string{sysObjectID, sysDescr, sysUpTime}
	for _, f := range families {
		oids = append(oids, f.keys...)
	}
	for _, r := range recognised {
		if r.key != "" {
			oids = append(oids, r.key)
		}
	}
	slices.SortFunc(oids, compareOIDs)
	return oids
}

// present are the families of which a key object holds a sensible number.
func present(got answers, mib string) []*family {
	var list []*family
	for _, f := range families {
		if mib != "auto" && mib != f.name {
			continue
		}
		if slices.ContainsFunc(f.keys, func(oid string) bool {
			n, ok := got[oid].float()
			return ok && n > 0 && !holes[n]
		}) {
			list = append(list, f)
		}
	}
	if mib == "auto" && len(list) > 0 && !slices.Contains(list, &rfc1628) {
		list = append(list, &rfc1628) // some cards have a few of its objects, but no status
	}
	return list
}

func nothingHere(got answers, other, mib string) error {
	id := pointerText(got[sysObjectID])
	switch {
	case other != "" && mib == "auto":
		return fmt.Errorf("%w: recognised as %s (sysObjectID %s), which is not supported yet, and it has no RFC 1628 objects", drivers.ErrNoData, other, id)
	case mib != "auto":
		return fmt.Errorf("%w: the card answers (sysObjectID %q) but has no objects of mib=%s", drivers.ErrNoData, id, mib)
	default:
		return fmt.Errorf("%w: the agent answers (sysObjectID %q) but has neither RFC 1628 nor PowerNet objects; its access list may hide them", drivers.ErrNoData, id)
	}
}

// pointerText is an object identifier, which some cards send as text.
func pointerText(v value) string {
	if v.kind == isPointer || v.kind == isText {
		return strings.TrimPrefix(v.text, ".")
	}
	return ""
}

// candidates are all objects of the families that have not been asked for, with the
// first row of each table.
func (s *session) candidates(asked answers) []string {
	var oids []string
	add := func(oid string) {
		if _, known := asked[oid]; oid != "" && !known && !slices.Contains(oids, oid) {
			oids = append(oids, oid)
		}
	}
	for _, f := range s.families {
		for _, oid := range f.scalars() {
			add(oid)
		}
		for _, id := range f.ident {
			add(id.oid)
		}
		for _, t := range f.tables {
			for _, r := range t.rows {
				add(r.oid + ".1")
			}
		}
	}
	slices.SortFunc(oids, compareOIDs)
	return oids
}

// helpers are a family's objects beside its rows, and whether each poll needs them.
func (f *family) helpers() map[string]bool {
	all := map[string]bool{}
	for _, s := range f.source {
		all[s.oid] = true
	}
	for _, g := range slices.Concat(f.flags, f.lost) {
		all[g.oid] = true
	}
	if f.alarmCount != "" {
		all[f.alarmCount] = true
	}
	for _, t := range f.tables {
		if t.lines != "" && !all[t.lines] {
			all[t.lines] = false
		}
	}
	return all
}

// scalars are a family's objects outside its tables.
func (f *family) scalars() []string {
	all := f.helpers()
	for _, r := range f.rows {
		all[r.oid] = true
	}
	return slices.SortedFunc(maps.Keys(all), compareOIDs)
}

func (s *session) keep(got answers) {
	now := time.Now()
	for oid, v := range got {
		s.cache[oid] = cached{v, now}
	}
}

func (s *session) val(oid string) value { return s.cache[oid].val }

// plan divides what answered into what each poll needs and what is asked in turn. Of
// the objects for one variable only the best that has a value is needed in each poll.
func (s *session) plan() {
	f := &facts{val: s.val}
	decides, others, named := map[string]bool{sysUpTime: true}, map[string]bool{}, map[string]bool{}
	put := func(r *row, name, oid string) {
		switch {
		case s.val(oid).kind == isAbsent:
		case r.tier == decide && !named[name]:
			decides[oid] = true
			named[name] = f.read(r, oid, limits{load: -1, charge: -1}) != nil
		default:
			others[oid] = true
		}
	}
	for _, fam := range s.families {
		for i := range fam.rows {
			put(&fam.rows[i], fam.rows[i].name, fam.rows[i].oid)
		}
		for _, t := range fam.tables {
			for i := range t.rows {
				for n, suffix := range s.columns[t.rows[i].oid] {
					put(&t.rows[i], t.rows[i].phaseName(n%3, 3, false), t.rows[i].instance(suffix))
				}
			}
		}
		for oid, needed := range fam.helpers() {
			switch {
			case s.val(oid).kind == isAbsent:
			case needed:
				decides[oid] = true
			default:
				others[oid] = true
			}
		}
	}
	maps.DeleteFunc(others, func(oid string, _ bool) bool { return decides[oid] })
	s.decide, s.rest = slices.Sorted(maps.Keys(decides)), slices.Sorted(maps.Keys(others))
}

// next is what to ask in this poll: everything where that fits into one request, else
// all that decides and as many of the others, in turn, as leave no request half empty.
func (s *session) next(limit int) []string {
	oids := slices.Concat(s.decide, s.alarms.oids())
	room := limit - len(oids)%limit
	if room == limit && len(oids) > 0 {
		room = 0
	}
	if len(oids)+len(s.rest) <= limit {
		room = len(s.rest)
	} else if len(oids) >= limit { // several requests already: let the others have a share
		room = max(room, min(limit, 2))
	}
	for range min(room, len(s.rest)) {
		oids = append(oids, s.rest[s.turn%len(s.rest)])
		s.turn++
	}
	return oids
}

// poll asks for the present values, in one request where the card takes it.
func (s *session) poll(ctx context.Context, c *card, r requester) error {
	got, err := c.get(ctx, r, s.next(c.limit))
	if err != nil {
		return err
	}
	before, _ := s.val(sysUpTime).float()
	now, ok := got[sysUpTime].float()
	s.restart = ok && now < before
	s.keep(got)
	if c.oneByOne {
		gone := func(oid string) bool { v, asked := got[oid]; return asked && v.kind == isAbsent }
		s.decide, s.rest = slices.DeleteFunc(s.decide, gone), slices.DeleteFunc(s.rest, gone)
	}
	if s.alarms.changed(s) {
		return s.readAlarms(ctx, c, r)
	}
	return nil
}

// stale reports that the device has to be learnt anew; an outage is no time for it.
func (s *session) stale() bool {
	return s.restart || (time.Since(s.started) > relearn && !s.memory.last.Has(dodai.OB))
}
