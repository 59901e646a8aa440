package snmp

import (
	"context"
	"slices"
	"strings"
)

// maxAlarms bounds how many entries of an alarm table are read and then watched.
const maxAlarms = 8

// alarmList are the entries of the alarm tables when they were last read.
type alarmList struct {
	entries []alarmEntry
	counts  map[string]float64 // by count object
}

// alarmEntry is an entry's object and what it means.
type alarmEntry struct {
	oid   string
	means alarm
	of    *family // alarms are numbered by family
}

// oids are the entries' objects. They are asked for in each poll, so that one entry
// taking another's place is noticed though the count stays.
func (a *alarmList) oids() []string {
	var list []string
	for _, e := range a.entries {
		list = append(list, e.oid)
	}
	return list
}

// changed reports that the tables have to be read again.
func (a *alarmList) changed(s *session) bool {
	for oid, before := range a.counts {
		if n, ok := s.val(oid).float(); ok && n != before {
			return true
		}
	}
	return slices.ContainsFunc(a.entries, func(e alarmEntry) bool { return s.val(e.oid).kind == isAbsent })
}

// readAlarms reads the alarm tables that are not empty.
func (s *session) readAlarms(ctx context.Context, c *card, r requester) error {
	s.alarms = alarmList{counts: map[string]float64{}}
	for _, f := range s.families {
		if f.alarms == "" {
			continue
		}
		n, _ := s.val(f.alarmCount).float()
		s.alarms.counts[f.alarmCount] = n
		if n <= 0 || holes[n] {
			continue
		}
		binds, err := c.column(ctx, r, f.alarms)
		if err != nil {
			return err
		}
		for _, b := range binds {
			number, ok := strings.CutPrefix(pointerText(b.val), f.alarmBase)
			if ok {
				s.alarms.entries = append(s.alarms.entries, alarmEntry{b.oid, f.alarmWords[strings.TrimSuffix(number, ".0")], f})
			}
			s.keep(answers{b.oid: b.val})
		}
	}
	return nil
}

// column reads the first rows of a column: by GETBULK in one request, or row by row
// on a card that does not have it.
func (c *card) column(ctx context.Context, r requester, column string) ([]varbind, error) {
	if !r.v1() && !c.noBulk {
		rep, err := r.bulk(ctx, column, maxAlarms)
		if err == nil && rep.status == 0 {
			return below(column, rep.binds), nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		c.noBulk = true
	}
	var list []varbind
	for at := column; len(list) < maxAlarms; {
		rep, err := r.next(ctx, []string{at})
		if err != nil {
			return nil, err
		}
		row := below(column, rep.binds)
		if rep.status != 0 || len(row) == 0 || row[0].oid == at {
			break
		}
		list = append(list, row[0])
		at = row[0].oid
	}
	return list, nil
}

// below are the leading bindings that lie in column and have a value.
func below(column string, binds []varbind) []varbind {
	for i, b := range binds {
		if !strings.HasPrefix(b.oid, column+".") || b.val.kind == isAbsent || i == maxAlarms {
			return binds[:i]
		}
	}
	return binds
}
