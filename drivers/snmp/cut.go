package snmp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/dodai-agent/dodai/drivers"
)

// maxCutDelay is the longest delay a card is told: what fits every object's type with room
// to spare.
const maxCutDelay = 30 * 24 * time.Hour

// CheckCut proves that the card has the objects for a cut and that they may be written: a
// setting of theirs is set to the value it already has. On XUPS cards nothing but the
// command itself can be set, so that writing is not proven there. What the UPS makes of the
// command only the command shows.
func (d *driver) CheckCut(ctx context.Context, c drivers.Cut) error {
	if err := bounded(c); err != nil {
		return d.fail("check the cut", err, "")
	}
	w, got, err := d.way(ctx)
	if err != nil {
		return err
	}
	var last error
	proven := 0
	for i := range w.steps {
		s := &w.steps[i]
		n, there := whole(got[s.oid])
		if !there || !s.keeps(i == len(w.steps)-1) {
			continue
		}
		err := d.assign(ctx, s, n)
		switch {
		case err == nil:
			proven++
		case errors.Is(err, drivers.ErrUnreachable), !s.suits(n, c):
			return err // what has to be changed must be writable
		default:
			last = err
		}
	}
	if proven == 0 {
		return last
	}
	return nil
}

// suits reports whether the object's value n needs no change for c.
func (s *cutStep) suits(n int, c drivers.Cut) bool {
	switch s.means {
	case fixed:
		return n == s.value
	case offDelay:
		return near(s.duration(n), c.Off)
	case onDelay:
		return near(s.duration(n), c.On)
	}
	return false
}

// near: as long as asked, and not much longer.
func near(have, want time.Duration) bool { return have >= want && have <= want+time.Minute }

// Cut sets what has to be set, reads delays back, since cards round them down, and gives
// the command. On is counted from the cut in RFC 1628, is 0 where the card has no such
// delay, and in PowerNet Off is the least, because the card adds what its other clients
// need. nil means that the card took the command. With an error and a cut the command was
// sent and may have been taken.
func (d *driver) Cut(ctx context.Context, c drivers.Cut) (drivers.Cut, error) {
	c = drivers.Cut{Off: max(c.Off, 0), On: max(c.On, 0)}
	if err := bounded(c); err != nil {
		return drivers.Cut{}, d.fail("cut the output", err, "")
	}
	w, got, err := d.way(ctx)
	if err != nil {
		return drivers.Cut{}, err
	}
	var told drivers.Cut
	for i := range w.steps {
		s := &w.steps[i]
		n, there := whole(got[s.oid])
		if !there && s.optional {
			continue
		}
		if i == len(w.steps)-1 {
			return d.trigger(ctx, w, s, c, told)
		}
		if err := d.prepare(ctx, s, n, c, &told); err != nil {
			return drivers.Cut{}, err
		}
	}
	return drivers.Cut{}, nil // not reached: the last step is never optional
}

// prepare carries out a step before the last. n is the object's value.
func (d *driver) prepare(ctx context.Context, s *cutStep, n int, c drivers.Cut, told *drivers.Cut) (err error) {
	switch s.means {
	case fixed:
		if n != s.value {
			err = d.assign(ctx, s, s.value)
		}
	case offDelay:
		told.Off, err = d.delay(ctx, s, n, c.Off)
	case onDelay:
		told.On, err = d.delay(ctx, s, n, c.On)
	case startSoon:
		told.On = s.duration(s.units(c.On))
		err = d.assign(ctx, s, s.units(c.Off)+s.units(c.On))
	}
	return err
}

// trigger carries out the last step.
func (d *driver) trigger(ctx context.Context, w *cutWay, s *cutStep, c, told drivers.Cut) (drivers.Cut, error) {
	n := s.value
	if s.means == offCount {
		n = s.units(c.Off)
		told.Off = s.duration(n)
	}
	err := d.assign(ctx, s, n)
	if err != nil && !errors.Is(err, drivers.ErrUnreachable) {
		return drivers.Cut{}, err // the card says that it did not take it
	}
	d.told = w
	return told, err
}

// steps that cards have, in seconds, to be tried where one was rounded down.
var commonDelays = []int{60, 120, 180, 240, 300, 600, 900}

// delay makes a delay at least want and returns it. n is what it is.
func (d *driver) delay(ctx context.Context, s *cutStep, n int, want time.Duration) (time.Duration, error) {
	if near(s.duration(n), want) {
		return s.duration(n), nil
	}
	tries := []int{s.units(want)}
	for _, seconds := range commonDelays {
		if v := s.units(time.Duration(seconds) * time.Second); v > tries[0] {
			tries = append(tries, v)
		}
	}
	for _, v := range tries {
		if err := d.assign(ctx, s, v); err != nil {
			if s.duration(n) >= want && !errors.Is(err, drivers.ErrUnreachable) {
				return s.duration(n), nil // longer than asked and not to be changed
			}
			return 0, err
		}
		got, err := d.card.get(ctx, d.conn, []string{s.oid})
		if err != nil {
			return 0, d.failed("read "+s.String(), err)
		}
		if n, _ = whole(got[s.oid]); s.duration(n) >= want {
			return s.duration(n), nil
		}
	}
	return 0, d.fail("set "+s.String(), fmt.Errorf("%w: it is %v however long it is made: want at least %v", drivers.ErrUnable, s.duration(n), want), "")
}

// StopCut calls off a cut, where the MIB has a way to. Where a countdown neither runs nor was
// begun by us nothing is written.
func (d *driver) StopCut(ctx context.Context) error {
	w, got, err := d.way(ctx)
	if errors.Is(err, drivers.ErrUnable) || errors.Is(err, drivers.ErrDenied) {
		if d.told == nil {
			return nil // nothing that could have been begun
		}
	}
	if err != nil {
		return err
	}
	if d.told != nil && w.stop == nil {
		e := fmt.Errorf("%w: %s has nothing that calls off a cut", drivers.ErrUnable, w.from)
		return d.fail("call off the cut", e, "the output will be cut; it comes back with the mains")
	}
	for i := range w.stop {
		s := &w.stop[i]
		n, there := whole(got[s.oid])
		if !there || d.told == nil && n == s.value {
			continue
		}
		if err := d.assign(ctx, s, s.value); err != nil {
			return err
		}
	}
	d.told = nil
	return nil
}

func bounded(c drivers.Cut) error {
	for what, delay := range map[string]time.Duration{"cut": c.Off, "return": c.On} {
		if delay > maxCutDelay {
			return fmt.Errorf("%w: a delay of %v before the %s: want at most %v", drivers.ErrUnable, delay, what, maxCutDelay)
		}
	}
	return nil
}

// way finds the way in which this card is told, and the present values of its objects. The
// error's driver and device are filled in.
func (d *driver) way(ctx context.Context) (*cutWay, answers, error) {
	if d.settings.write == "" && d.settings.versions[0] != gosnmp.Version3 {
		err := fmt.Errorf("%w: no community that may write", drivers.ErrDenied)
		return nil, nil, d.fail("look for shutdown objects", err, "set write_community")
	}
	if err := d.ready(ctx); err != nil {
		return nil, nil, err
	}
	got, err := d.card.discover(ctx, d.conn, wayObjects())
	if err != nil {
		return nil, nil, d.failed("look for shutdown objects", err)
	}
	var missing []string
	for _, w := range cutWays {
		if !slices.Contains(d.session.families, w.family) {
			continue
		}
		lacks := w.lacks(got)
		if lacks == "" {
			return w, got, nil
		}
		missing = append(missing, lacks)
	}
	err = fmt.Errorf("%w: the card has no objects to cut the output with: no %s", drivers.ErrUnable, strings.Join(missing, ", no "))
	return nil, nil, d.fail("look for shutdown objects", err, "the card's access list may hide them, or the UPS has none")
}

// ready brings about a socket and a session.
func (d *driver) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return d.fail("look for shutdown objects", drivers.Unreachable(err), "")
	}
	if err := d.connect(ctx); err != nil {
		return d.failed("open socket", err)
	}
	if d.session == nil {
		if err := d.learn(ctx); err != nil {
			return d.failed("identify", err)
		}
	}
	return nil
}

// wayObjects are all objects of all ways, in their order.
func wayObjects() []string {
	var oids []string
	for _, w := range cutWays {
		for _, s := range w.steps {
			oids = append(oids, s.oid)
		}
	}
	slices.SortFunc(oids, compareOIDs)
	return oids
}

// lacks names the first object that the way cannot do without and that is not there.
func (w *cutWay) lacks(got answers) string {
	for i := range w.steps {
		if _, there := whole(got[w.steps[i].oid]); !there && !w.steps[i].optional {
			return w.steps[i].String()
		}
	}
	return ""
}

// whole is a value as a whole number.
func whole(v value) (int, bool) {
	f, ok := v.float()
	if !ok || f < -1 || f >= 1<<31 {
		return 0, false
	}
	return int(f), true
}

// assign sets one object.
func (d *driver) assign(ctx context.Context, s *cutStep, n int) error {
	op := fmt.Sprintf("set %v to %d", s, n)
	r, err := d.conn.set(ctx, assignment{s.oid, n, s.ticks})
	if err == nil && r.status != gosnmp.NoError {
		err = fmt.Errorf("%w: the card answers %v", setMeaning(r.status), r.status)
	}
	hint := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, drivers.ErrUnreachable):
		d.Close() // or a late answer would be read later
		hint = "the card answers reads: check write_community, and that the card lets this host write"
	case errors.Is(err, drivers.ErrDenied):
		hint = "give the community or user the right to write on the card"
	}
	return d.fail(op, err, hint)
}

// setMeaning is the sentinel for an agent's refusal of a SET. Version 1 has noSuchName for
// everything it does not let us write, and the object was read just before. Sources: RFC
// 3416, section 4.2.5; RFC 2576, section 4.3.
func setMeaning(status gosnmp.SNMPError) error {
	switch status {
	case gosnmp.NoSuchName, gosnmp.ReadOnly, gosnmp.NoAccess, gosnmp.AuthorizationError:
		return drivers.ErrDenied
	case gosnmp.NotWritable, gosnmp.NoCreation, gosnmp.BadValue, gosnmp.WrongType, gosnmp.WrongLength, gosnmp.WrongEncoding,
		gosnmp.WrongValue, gosnmp.InconsistentValue, gosnmp.InconsistentName:
		return drivers.ErrUnable
	default:
		return drivers.ErrProtocol
	}
}
