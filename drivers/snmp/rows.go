package snmp

import (
	"context"
	"strconv"
	"strings"
)

// findRows learns how the tables are numbered. RFC 1628 numbers the lines from 1, but
// some agents write column.1.0, and the larger APC models column.1.1.1. The first row
// has been asked for as column.1; where a whole table is silent, what follows each of
// its columns tells the numbering.
func (s *session) findRows(ctx context.Context, c *card, r requester) error {
	var silent []string
	for _, f := range s.families {
		for _, t := range f.tables {
			silent = append(silent, s.firstRow(t)...)
		}
	}
	if err := s.probeColumns(ctx, c, r, silent); err != nil {
		return err
	}
	return s.otherRows(ctx, c, r)
}

// firstRow notes the columns of a table that have a row .1, and returns all of them
// where none has.
func (s *session) firstRow(t table) (silent []string) {
	found := false
	for _, row := range t.rows {
		if s.val(row.oid+".1").kind != isAbsent {
			s.columns[row.oid] = []string{"1"}
			found = true
		} else {
			silent = append(silent, row.oid)
		}
	}
	if found {
		return nil
	}
	return silent
}

func (s *session) probeColumns(ctx context.Context, c *card, r requester, columns []string) error {
	if len(columns) == 0 {
		return nil
	}
	// The next object after a column lies below it, or the column is empty.
	below := answers{}
	_, err := c.run(ctx, columns, exchange{byPlace: true, drops: -1, ask: func(ctx context.Context, part []string) (reply, error) {
		rep, err := r.next(ctx, part)
		for i, b := range rep.binds {
			if i < len(part) && b.val.kind != isAbsent && strings.HasPrefix(b.oid, part[i]+".") {
				below[b.oid] = b.val
				s.columns[part[i]] = []string{b.oid[len(part[i])+1:]}
			}
		}
		return rep, err
	}})
	s.keep(below)
	return err
}

// otherRows asks for rows 2 and 3 of every column that has a row 1.
func (s *session) otherRows(ctx context.Context, c *card, r requester) error {
	var oids []string
	for _, f := range s.families {
		for _, t := range f.tables {
			if n, ok := s.val(t.lines).float(); ok && n == 1 {
				continue
			}
			for _, row := range t.rows {
				for _, suffix := range s.columns[row.oid] {
					oids = append(oids, row.oid+"."+following(suffix, 1), row.oid+"."+following(suffix, 2))
				}
			}
		}
	}
	if len(oids) == 0 {
		return nil
	}
	got, err := c.discover(ctx, r, oids)
	if err != nil {
		return err
	}
	s.keep(got)
	for column, first := range s.columns {
		for i := 1; i <= 2; i++ {
			if suffix := following(first[0], i); got.has(column + "." + suffix) {
				s.columns[column] = append(s.columns[column], suffix)
			}
		}
	}
	return nil
}

// following is the instance n rows after suffix: the last number counts, or the one
// before it in column.1.0.
func following(suffix string, n int) string {
	if stem, ok := strings.CutSuffix(suffix, ".0"); ok {
		return followingLast(stem, n) + ".0"
	}
	return followingLast(suffix, n)
}

func followingLast(suffix string, n int) string {
	dot := strings.LastIndexByte(suffix, '.') + 1
	last, err := strconv.Atoi(suffix[dot:])
	if err != nil {
		return suffix
	}
	return suffix[:dot] + strconv.Itoa(last+n)
}
