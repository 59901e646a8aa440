package snmp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gosnmp/gosnmp"

	"github.com/dodai-agent/dodai/drivers"
)

// card is what has been learnt of an SNMP card: how many objects it takes in one
// request, and how it treats objects it lacks. It outlives a connection.
type card struct {
	limit  int // objects in one request
	proven int // so many were answered in one request
	// oneByOne: an object it lacks fails the whole request (version 1, and cards that
	// keep its rules in version 2c).
	oneByOne bool
	noBulk   bool // silent on GETBULK
	shy      bool // silent at the first attempt: begin with a single object
}

func newCard() *card { return &card{limit: maxObjects} }

// answers are values by object. An object that was asked for and is not there, or
// holds nothing, has the zero value.
type answers map[string]value

// has reports whether the object answered with something.
func (a answers) has(oid string) bool { return a[oid].kind != isAbsent }

// errManyMissing ends an exchange in which too many objects failed one by one.
var errManyMissing = errors.New("too many objects missing")

// exchange is a request for any number of objects, sent in as few parts as the card
// takes.
type exchange struct {
	ask func(ctx context.Context, oids []string) (reply, error)
	// byPlace matches answers to objects by place, as in GETNEXT; otherwise by name.
	byPlace bool
	drops   int // so many objects may fail one by one; negative: any number
}

// get asks for oids, all of which should be there.
func (c *card) get(ctx context.Context, r requester, oids []string) (answers, error) {
	return c.run(ctx, oids, exchange{ask: r.get, drops: -1})
}

// discover asks for oids of which many may not be there. Where a missing object fails
// the whole request it asks for what follows each object's predecessor instead.
func (c *card) discover(ctx context.Context, r requester, oids []string) (answers, error) {
	if !c.oneByOne && !r.v1() {
		a, err := c.run(ctx, oids, exchange{ask: r.get, drops: 2})
		if !errors.Is(err, errManyMissing) {
			return a, err
		}
	}
	c.oneByOne = true
	next := func(ctx context.Context, oids []string) (reply, error) {
		before := make([]string, len(oids))
		for i, oid := range oids {
			before[i] = predecessor(oid)
		}
		return r.next(ctx, before)
	}
	return c.run(ctx, oids, exchange{ask: next, byPlace: true, drops: -1})
}

// predecessor is an identifier that sorts before oid with nothing a UPS has between.
func predecessor(oid string) string {
	dot := strings.LastIndexByte(oid, '.')
	last, err := strconv.ParseUint(oid[dot+1:], 10, 32)
	if err != nil || last <= 1 {
		return oid[:dot]
	}
	return oid[:dot+1] + strconv.FormatUint(last-1, 10)
}

func (c *card) run(ctx context.Context, oids []string, x exchange) (answers, error) {
	got := answers{}
	size := c.limit
	for todo := oids; len(todo) > 0; {
		part := todo[:min(size, c.limit, len(todo))]
		r, err := x.ask(ctx, part)
		switch {
		case err != nil:
			if !c.mayBeTooBig(ctx, err, len(part)) {
				return nil, err
			}
			c.limit = (len(part) + 1) / 2
		case r.status == gosnmp.TooBig && len(part) > 1:
			c.limit = (len(part) + 1) / 2
		case r.status != gosnmp.NoError:
			if size, todo, err = c.failed(r, part, todo, got, &x); err != nil {
				return nil, err
			}
		default:
			n := x.match(part, r.binds, got)
			if n == 0 {
				return nil, fmt.Errorf("%w: none of %d objects asked for is in the answer", drivers.ErrProtocol, len(part))
			}
			c.learn(n, len(part))
			size, todo = c.limit, remaining(todo, got)
		}
	}
	return got, nil
}

// mayBeTooBig reports whether a silence may come from the size of the request: some
// cards drop what they cannot answer, and say nothing. It takes an earlier answer to
// a smaller request, or a lost packet would make all later requests small.
func (c *card) mayBeTooBig(ctx context.Context, err error, n int) bool {
	return errors.Is(err, drivers.ErrUnreachable) && ctx.Err() == nil && c.proven > 0 && n > c.proven && n > 1
}

func (c *card) learn(answered, asked int) {
	c.proven = max(c.proven, answered)
	if answered < asked { // cut short instead of tooBig
		c.limit = answered
	}
}

// failed handles an answer that is an error: the object it names is taken out. An
// error that names none is hunted down by halving.
func (c *card) failed(r reply, part, todo []string, got answers, x *exchange) (int, []string, error) {
	if r.index < 1 || r.index > len(part) {
		if len(part) > 1 {
			return (len(part) + 1) / 2, todo, nil
		}
		r.index = 1
	}
	if x.drops == 0 {
		return 0, nil, errManyMissing
	}
	x.drops--
	c.oneByOne = c.oneByOne || r.status == gosnmp.NoSuchName
	missing := part[r.index-1]
	got[missing] = value{}
	if x.byPlace && r.status == gosnmp.NoSuchName { // nothing follows it: nothing follows what is behind it
		for _, oid := range todo {
			if compareOIDs(oid, missing) > 0 {
				got[oid] = value{}
			}
		}
	}
	return c.limit, remaining(todo, got), nil
}

// compareOIDs orders two identifiers as an agent does, number by number.
func compareOIDs(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		if c := cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// match puts the answers to part into got and returns how many there were.
func (x *exchange) match(part []string, binds []varbind, got answers) int {
	if x.byPlace {
		for i, b := range binds[:min(len(binds), len(part))] {
			got[part[i]] = value{}
			if b.oid == part[i] {
				got[part[i]] = b.val
			}
		}
		return min(len(binds), len(part))
	}
	asked := make(map[string]bool, len(part))
	for _, oid := range part {
		asked[oid] = true
	}
	n := 0
	for _, b := range binds {
		if asked[b.oid] {
			asked[b.oid] = false
			got[b.oid] = b.val
			n++
		}
	}
	return n
}

// remaining is todo without what is in got.
func remaining(todo []string, got answers) []string {
	var left []string
	for _, oid := range todo {
		if _, done := got[oid]; !done {
			left = append(left, oid)
		}
	}
	return left
}
