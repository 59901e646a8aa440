package megatec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/internal/serialline"
)

const (
	// cutStep and maxTenths are the protocol's short countdowns, .2 to .9 minutes; above
	// them are whole minutes, 01 to 10. Source: Megatec protocol information, "Shut down
	// and restore command".
	cutStep, minTenths, maxTenths = time.Minute / 10, 2, 9
	maxOff                        = 10 * time.Minute
	// minBack and maxBack are R's minutes. With 1 or 2 early firmware stays off for ever.
	// Source: manual page of nutdrv_qx, "ondelay".
	minBack, maxBack = 3 * time.Minute, 9999 * time.Minute

	// refusalWait is how long a unit gets to send a command back, or NAK: eight times the
	// 58 ms that the longest such reply takes.
	refusalWait = 500 * time.Millisecond
	// recallPause is what Network UPS Tools leave between C and S.
	recallPause = time.Second
	// recallChecks is how often the status is read until it says that C was obeyed.
	recallChecks = 3
)

// cutCommand is the command for a cut, and the cut that it stands for: the next longer one
// that can be said, or the longest.
func cutCommand(c drivers.Cut) (string, drivers.Cut) {
	n, off := "", time.Duration(0)
	if tenths := max(minTenths, ceil(c.Off, cutStep)); tenths <= maxTenths {
		n, off = fmt.Sprintf(".%d", tenths), time.Duration(tenths)*cutStep
	} else {
		minutes := min(ceil(c.Off, time.Minute), int64(maxOff/time.Minute))
		n, off = fmt.Sprintf("%02d", minutes), time.Duration(minutes)*time.Minute
	}
	back := max(minBack, time.Duration(ceil(min(c.On, maxBack), time.Minute))*time.Minute)
	return fmt.Sprintf("S%sR%04d", n, back/time.Minute), drivers.Cut{Off: off, On: back}
}

// ceil is how many units cover d.
func ceil(d, unit time.Duration) int64 {
	n := int64(d / unit)
	if d%unit > 0 {
		n++
	}
	return n
}

// CheckCut asks for the status, which shows that the unit is there and answers. Whether it
// knows the command nothing but the command can show; a cut that the command cannot
// express is an ErrUnable.
func (d *driver) CheckCut(ctx context.Context, c drivers.Cut) error {
	for _, f := range []struct {
		what      string
		want, max time.Duration
	}{{"cut", c.Off, maxOff}, {"return", c.On, maxBack}} {
		if f.want > f.max {
			return d.fail("check the cut", fmt.Errorf("%w: a delay of %v before the %s: want at most %v, the longest the protocol has",
				drivers.ErrUnable, f.want, f.what, f.max))
		}
	}
	_, err := d.status(ctx)
	return err
}

// Cut sends S, after C where a countdown runs already. It takes 1 s, or 2 s with C. Off
// longer than 10 minutes is told as 10 minutes. The unit counts On from the cut, not from
// the return of the mains: where they come back later than that, so does the output, at
// once.
//
// Plain Megatec does not acknowledge commands. Cut returns nil when the unit answered the
// status before and after the command and did not refuse it; the next reading's
// ups.shutdown.active shows the countdown, where the unit reports that at all. A refusal
// (NAK, or the command sent back) is an ErrUnable. With an error and a cut, the command was
// sent and may have been taken.
func (d *driver) Cut(ctx context.Context, c drivers.Cut) (drivers.Cut, error) {
	s, err := d.status(ctx)
	if err != nil {
		return drivers.Cut{}, err
	}
	if s.has(bitShutdownActive) || d.cut {
		// Refused or not, the new command is what counts.
		if _, err := d.command(ctx, "C", recallPause); err != nil && !errors.Is(err, drivers.ErrUnable) {
			return drivers.Cut{}, err
		}
	}
	word, told := cutCommand(c)
	heard, err := d.command(ctx, word, refusalWait)
	d.cut = !errors.Is(err, drivers.ErrUnable) // an error of the line leaves it open
	switch {
	case !d.cut:
		return drivers.Cut{}, err
	case err != nil:
		return told, err
	}
	if s, err = d.status(ctx); err != nil {
		return told, err
	}
	if heard != nil && !s.has(bitShutdownActive) {
		return told, d.fail("send "+word, drivers.Protocol("reply to "+word, heard, "silence, (ACK, or a status with the shutdown active"))
	}
	return told, nil
}

// StopCut sends C and reads the status, up to three times, until it shows no countdown; the
// bit is not asked with nofsd, where it is stuck. C also switches on an output that a
// shutdown switched off.
func (d *driver) StopCut(ctx context.Context) error {
	s, err := d.status(ctx)
	if err != nil {
		return err
	}
	running := d.cut || s.has(bitShutdownActive) && !d.set.noFSD
	_, err = d.command(ctx, "C", refusalWait)
	if errors.Is(err, drivers.ErrUnable) && !running {
		err = nil // some refuse C where there is nothing to call off
	}
	if err != nil {
		return err
	}
	for range recallChecks {
		if s, err = d.status(ctx); err != nil {
			return err
		}
		if !s.has(bitShutdownActive) || d.set.noFSD {
			d.cut = false
			return nil
		}
	}
	return &drivers.Error{
		Driver: "megatec", Device: d.cfg.Device, Op: "send C",
		Err:  fmt.Errorf("%w: the unit still says that a shutdown counts down (b1)", drivers.ErrProtocol),
		Hint: "if it says so always, set nofsd: yes",
	}
}

// command sends a word that the protocol does not answer, and listens for a refusal. What
// else was heard is returned, nil where that was nothing or an acknowledgement.
func (d *driver) command(ctx context.Context, word string, wait time.Duration) ([]byte, error) {
	heard, err := d.link.command(ctx, word, wait)
	if err == nil {
		heard, err = refusal(word, heard, d.link.echoes)
	}
	if err == nil {
		return heard, nil
	}
	if serialline.Broken(err) && !errors.Is(err, drivers.ErrUnable) {
		d.Close()
	}
	return nil, d.fail("send "+word, err)
}

// refusal finds in what was heard after a command that the unit refused it. A cable that
// echoes sends back every word, known or not.
func refusal(word string, heard []byte, echoes bool) (rest []byte, err error) {
	for line := range bytes.SplitSeq(heard, []byte("\r")) {
		switch line = bytes.Trim(line, " \n\x00"); {
		case len(line) == 0, bytes.Equal(line, []byte("(ACK")), bytes.Equal(line, []byte("ACK")):
		case isNAK(line):
			return nil, fmt.Errorf("%w: it answered %s to %s", drivers.ErrUnable, drivers.Quote(line), word)
		case bytes.Equal(line, []byte(word)) && echoes:
		case bytes.Equal(line, []byte(word)):
			return nil, fmt.Errorf("%w: it sent %s back, so it does not know it", drivers.ErrUnable, word)
		default:
			rest = heard
		}
	}
	return rest, nil
}

// command sends a word and returns what comes within wait, which is nothing from most
// units.
func (l *link) command(ctx context.Context, word string, wait time.Duration) ([]byte, error) {
	if err := l.send(ctx, word); err != nil {
		return nil, err
	}
	var all []byte
	until, buf := time.Now().Add(wait), make([]byte, 128)
	for len(all) <= 4*maxFrame {
		n, err := serialline.Read(ctx, l.conn, buf, until)
		all = append(all, buf[:n]...)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(until):
			l.log.Debug("command", "sent", word, "got", string(all))
			return all, nil
		default:
			return nil, drivers.Classify(fmt.Errorf("listen for a refusal: %w", err))
		}
	}
	return nil, drivers.Protocol("reply to "+word, all, "silence, or one short line")
}
