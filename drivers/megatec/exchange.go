package megatec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/internal/serialline"
)

const (
	// idleGap is how long a line may pause in the middle of a reply: 70 characters' time
	// at 2400 baud, far above a USB adapter's latency.
	idleGap = 300 * time.Millisecond
	// exchangeTime is what a status exchange takes at least at 2400 baud; there is no
	// point in asking when less is left.
	exchangeTime = 250 * time.Millisecond
	// statusLine is a status reply with its end, in characters.
	statusLine = 47
	// slack is how much later than the line allows a reply is expected, in characters.
	slack = 2
)

// errRefused is the unit's way of saying that it does not know a query: it sends the
// query back, or NAK.
var errRefused = fmt.Errorf("%w: the unit does not know the query", drivers.ErrProtocol)

// link is one connection to a unit. It keeps request and reply together.
type link struct {
	conn serialline.Conn
	log  *slog.Logger
	// late is how long after a status request an answer to it may still come. Until
	// then nothing is asked, because the protocol does not number its replies.
	late    time.Duration
	pending bool      // the last status request is unanswered
	sent    time.Time // when it was sent
	echoes  bool      // the cable sends back what is written, as the last status reply showed
	// character is how long the line takes for one; 0: not known.
	character time.Duration
	paced     bool // the last status reply came at the line's pace, not all at once
}

// status asks for the status with query. When the last request was left unanswered it
// first waits until its answer has come, and is dropped, or cannot come any more.
func (l *link) status(ctx context.Context, query string, wait time.Duration) ([]byte, error) {
	if err := l.resync(ctx, query); err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) < exchangeTime {
		return nil, drivers.Unreachable(fmt.Errorf("no time left to ask: %w", os.ErrDeadlineExceeded))
	}
	l.pending, l.sent = true, time.Now()
	in, frame, err := l.exchange(ctx, query, '(', wait)
	// A unit that keeps to the line's pace had answered before the connection broke, unread.
	l.pending = !in.answered() && !(l.paced && serialline.Broken(err))
	if err == nil {
		l.echoes = bytes.HasPrefix(in.all, []byte(query+"\r"))
		l.paced = time.Since(l.sent) >= time.Duration(len(in.all))*l.character
	}
	return frame, err
}

// resync drops the late answer to an unanswered request. An identity that comes late is
// none.
func (l *link) resync(ctx context.Context, query string) error {
	if !l.pending {
		return nil
	}
	in := inbox{query: []byte(query), mark: '('}
	buf, until := make([]byte, 128), l.sent.Add(l.late)
	for time.Now().Before(until) {
		n, err := serialline.Read(ctx, l.conn, buf, until)
		switch {
		case err == nil:
			if frame, err := in.add(buf[:n]); frame != nil || err != nil {
				l.log.Debug("dropped a late reply", "got", string(in.all), "after", time.Since(l.sent))
				until = time.Time{}
				continue
			}
			until = later(until, time.Now().Add(idleGap)) // let it finish
		case ctx.Err() == nil && errors.Is(err, os.ErrDeadlineExceeded):
		default:
			return drivers.Classify(fmt.Errorf("wait for the reply to an earlier request: %w", err))
		}
	}
	l.pending = false
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// ask sends a query and returns the reply that starts with mark. answered says whether
// anything came that can have been the unit's reply, so that no other is on its way.
func (l *link) ask(ctx context.Context, query string, mark byte, wait time.Duration) (frame []byte, answered bool, err error) {
	in, frame, err := l.exchange(ctx, query, mark, wait)
	return frame, in.answered(), err
}

func (l *link) exchange(ctx context.Context, query string, mark byte, wait time.Duration) (in *inbox, frame []byte, err error) {
	in = &inbox{query: []byte(query), mark: mark}
	if err := l.send(ctx, query); err != nil {
		return in, nil, err
	}
	end, buf := time.Now().Add(wait), make([]byte, 128)
	l.pause(ctx, in, end)
	for until := end; frame == nil && err == nil; until = earlier(end, time.Now().Add(idleGap)) {
		var n int
		if n, err = serialline.Read(ctx, l.conn, buf, until); err == nil {
			if frame, err = in.add(buf[:n]); frame == nil && err == nil {
				l.pause(ctx, in, end)
			}
		} else {
			err = in.explain(err)
		}
	}
	l.log.Debug("exchange", "sent", query, "got", string(in.all), "error", err)
	return in, frame, err
}

// pause sleeps for as long as the line needs for the rest of a status reply, and no longer
// than half the time there is. Woken for every few characters, the agent would spend most
// of its processor time on a slow line. Before the reply has begun it sleeps only where the
// last one came at the line's pace: what stands behind the port may be quicker than that.
func (l *link) pause(ctx context.Context, in *inbox, end time.Time) {
	begun := in.all[in.line:]
	rest := statusLine - len(begun)
	switch {
	case in.mark != '(':
		return
	case len(in.all) == 0 && l.paced:
		rest += len(in.query) + 1 + slack
	case len(begun) == 0 || begun[0] != in.mark:
		return
	}
	if limit, ok := ctx.Deadline(); ok {
		end = earlier(end, limit)
	}
	if d := min(time.Duration(rest)*l.character, time.Until(end)/2); d > 0 {
		serialline.Sleep(ctx, l.conn, d)
	}
}

// send writes a query, after throwing away what came in before it.
func (l *link) send(ctx context.Context, query string) error {
	if err := serialline.Flush(ctx, l.conn); err != nil {
		return drivers.Classify(fmt.Errorf("flush: %w", err))
	}
	if err := serialline.Write(ctx, l.conn, []byte(query+"\r")); err != nil {
		return drivers.Classify(fmt.Errorf("write: %w", err))
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// inbox collects what comes in after a request until the reply is among it.
type inbox struct {
	query []byte
	mark  byte
	all   []byte // everything, for the error and the log
	line  int    // where in all the unfinished line starts
}

// add takes what has just come in and returns the reply, once it is complete.
func (in *inbox) add(b []byte) (frame []byte, err error) {
	in.all = append(in.all, b...)
	for {
		i := bytes.IndexByte(in.all[in.line:], '\r')
		if i < 0 {
			break
		}
		line := in.all[in.line : in.line+i]
		in.line += i + 1
		if frame, err := in.judge(line); frame != nil || err != nil {
			return frame, err
		}
	}
	if len(in.all) > 4*maxFrame {
		return nil, drivers.Protocol("reply to "+string(in.query), in.all, "one line that starts with "+string(in.mark))
	}
	return nil, nil
}

// judge returns the frame in a line. A line without one is noise, or an echo of the
// query by the cable, after which the reply may yet come.
func (in *inbox) judge(line []byte) ([]byte, error) {
	line = bytes.Map(func(r rune) rune {
		if r == 0 || r == '\n' {
			return -1
		}
		return r
	}, line)
	if isNAK(line) {
		return nil, fmt.Errorf("%w %s: it answered %s", errRefused, in.query, drivers.Quote(line))
	}
	start := bytes.LastIndexByte(line, in.mark) // behind a reply that broke off
	if in.mark == '#' {
		start = bytes.IndexByte(line, in.mark) // '#' may stand in a name as well
	}
	foreign := in.mark == '(' && bytes.IndexByte(line, '#') == 0 // a late identity, with brackets in it
	if start < 0 || foreign {
		return nil, nil
	}
	return line[start:], nil
}

// isNAK knows "(NAK" of Voltronic units, NAK, and "UPS No Ack" of Hunnox ones. An identity
// that contains the letters is no refusal. Source: manual page of nutdrv_qx.
func isNAK(line []byte) bool {
	identity := bytes.HasPrefix(line, []byte("#"))
	return !identity && bytes.Contains(line, []byte("NAK")) || bytes.Equal(bytes.TrimSpace(line), []byte("UPS No Ack"))
}

// answered: a line has ended, or a frame has begun.
func (in *inbox) answered() bool {
	return in.line > 0 || bytes.IndexByte(in.all, in.mark) >= 0
}

// explain says what a read that ended in err means, given what had come before.
func (in *inbox) explain(err error) error {
	timeout := errors.Is(err, os.ErrDeadlineExceeded)
	noise := bytes.TrimSpace(in.all[:in.line])
	switch {
	case timeout && bytes.Equal(noise, in.query):
		return fmt.Errorf("%w %s: it sent it back", errRefused, in.query)
	case timeout && len(noise) > 0:
		return drivers.Protocol("reply to "+string(in.query), in.all, "a line that starts with "+string(in.mark))
	case len(in.all) > 0:
		return drivers.Unreachable(fmt.Errorf("broke off after %s: %w", drivers.Quote(in.all), err))
	}
	return drivers.Classify(err)
}
