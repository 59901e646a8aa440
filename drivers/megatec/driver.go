package megatec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/internal/serialline"
)

const (
	// maxMisses is how many polls in a row may fail before the port is opened anew.
	maxMisses = 3
	// infoWait is how long to wait for the identity or the ratings, which take 0.18 and
	// 0.11 s at 2400 baud.
	infoWait = 500 * time.Millisecond
)

// dialer opens the connection to a unit.
type dialer func(ctx context.Context) (serialline.Conn, error)

type driver struct {
	cfg    drivers.Config
	set    settings
	dial   dialer
	link   link // its conn is nil while not connected
	misses int  // failed polls in a row
	cut    bool // a cut was told, and not called off

	vendor, rating info
	lastMute       time.Time // when an info query was last left unanswered
	identity       identity
	ratings        ratings
	ratedAt        time.Time // when ratings were read; zero: never
}

var _ drivers.Cutter = (*driver)(nil)

// info is the state of one of the queries that tell what does not change.
type info struct {
	done bool   // answered, or given up, on this connection
	mute bool   // left unanswered once: never asked again, because some units hang
	note string // what went wrong; empty: nothing
}

func newDriver(cfg drivers.Config, set settings, dial dialer) *driver {
	return &driver{cfg: cfg, set: set, dial: dial, link: link{log: cfg.Log, late: 2 * set.reply, character: set.character}}
}

// Poll asks for the status. The first polls with the mains present go on to ask for
// identity and ratings, once, in what time is left.
func (d *driver) Poll(ctx context.Context) (dodai.Reading, error) {
	s, err := d.status(ctx)
	if err != nil {
		return dodai.Reading{}, err
	}
	if !s.has(bitUtilityFail) {
		d.inquire(ctx)
	}
	return d.reading(s), nil
}

// status opens the port where that is to be done, and asks for the status. Its error is
// Poll's.
func (d *driver) status(ctx context.Context) (status, error) {
	if err := d.connect(ctx); err != nil {
		return status{}, d.fail("open "+d.cfg.Options["port"], err)
	}
	frame, err := d.link.status(ctx, d.set.status, d.set.reply)
	if err != nil {
		return status{}, d.missed(err)
	}
	s, err := parseQ1(frame)
	if err != nil {
		return status{}, d.missed(err)
	}
	d.misses = 0
	return s, nil
}

// Close closes the port.
func (d *driver) Close() error {
	if d.link.conn == nil {
		return nil
	}
	err := d.link.conn.Close()
	d.link.conn = nil
	return err
}

func (d *driver) connect(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return drivers.Unreachable(err)
	}
	if d.link.conn != nil {
		return nil
	}
	conn, err := d.dial(ctx)
	if err != nil {
		return drivers.Classify(err)
	}
	d.link.conn = conn // whether a reply may still come is known from before
	d.misses = 0
	d.vendor.done = d.set.noVendor || d.vendor.mute
	d.rating.done = d.set.noRating || d.rating.mute
	return nil
}

// missed counts a failed status request and drops a connection that is gone.
func (d *driver) missed(err error) error {
	d.misses++
	if serialline.Broken(err) || d.misses >= maxMisses {
		d.Close()
	}
	return d.fail("read "+d.set.status+" reply", err)
}

func (d *driver) fail(op string, err error) error {
	return &drivers.Error{Driver: "megatec", Device: d.cfg.Device, Op: op, Err: err, Hint: d.hint(err)}
}

func (d *driver) hint(err error) string {
	if hint := serialline.Hint(err); hint != "" {
		return hint
	}
	switch {
	case errors.Is(err, errRefused):
		return "try another dialect: q1, qs or d"
	case errors.Is(err, drivers.ErrUnreachable) && d.vendor.mute:
		return "the unit left the query I unanswered before: if it hangs on it, set novendor: yes"
	case errors.Is(err, drivers.ErrUnreachable) && d.rating.mute:
		return "the unit left the query F unanswered before: if it hangs on it, set norating: yes"
	}
	return ""
}

// inquire asks for identity and ratings, as far as they are not known yet and time is
// left. What goes wrong is a note: it never costs the status.
func (d *driver) inquire(ctx context.Context) {
	d.inquireOne(ctx, "I", &d.vendor, func(frame []byte) error {
		id, err := parseI(frame)
		if err == nil {
			d.identity = id
		}
		return err
	})
	d.inquireOne(ctx, "F", &d.rating, func(frame []byte) error {
		r, err := parseF(frame)
		if err == nil {
			d.ratings, d.ratedAt = r, time.Now()
		}
		return err
	})
}

func (d *driver) inquireOne(ctx context.Context, query string, q *info, use func([]byte) error) {
	if q.done || !d.roomFor(ctx) {
		return
	}
	q.done, q.note = true, ""
	frame, answered, err := d.link.ask(ctx, query, '#', infoWait)
	if err == nil {
		err = use(frame)
	}
	if err == nil {
		return
	}
	if q.mute = !answered; q.mute {
		d.lastMute = time.Now()
	}
	q.note = fmt.Sprintf("query %s: %v", query, err)
}

// roomFor reports whether an info query may be sent now: there is time to wait for its
// answer, and none of an earlier one can still come.
func (d *driver) roomFor(ctx context.Context) bool {
	if !d.lastMute.IsZero() && time.Since(d.lastMute) < d.link.late {
		return false
	}
	end, ok := ctx.Deadline()
	return !ok || time.Until(end) > infoWait
}
