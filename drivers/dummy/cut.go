package dummy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai/drivers"
)

// Order is what the file of the option cut holds, as JSON, from a Cut to a StopCut: after
// how many seconds the output is to be cut, and how many after the mains it comes back. The
// file appears whole. Its modification time is when the order was given.
type Order struct {
	OffS float64 `json:"off_s"`
	OnS  float64 `json:"on_s"`
}

// CheckCut wants the option cut, a device that answers, and a directory that can be
// written to.
func (d *driver) CheckCut(ctx context.Context, _ drivers.Cut) error {
	if err := d.answers(ctx, "check the cut"); err != nil {
		return err
	}
	if err := unix.Access(filepath.Dir(d.cut), unix.W_OK|unix.X_OK); err != nil {
		return d.fail("check the cut", drivers.Classify(&fs.PathError{Op: "write", Path: filepath.Dir(d.cut), Err: err}))
	}
	return nil
}

// Cut writes an Order. A dummy can be told any time.
func (d *driver) Cut(ctx context.Context, c drivers.Cut) (drivers.Cut, error) {
	if err := d.answers(ctx, "cut the output"); err != nil {
		return drivers.Cut{}, err
	}
	c = drivers.Cut{Off: max(c.Off, 0), On: max(c.On, 0)}
	if err := write(d.cut, Order{OffS: c.Off.Seconds(), OnS: c.On.Seconds()}); err != nil {
		return drivers.Cut{}, d.fail("cut the output", drivers.Classify(err))
	}
	return c, nil
}

// StopCut removes the Order.
func (d *driver) StopCut(ctx context.Context) error {
	if err := d.answers(ctx, "call off the cut"); err != nil {
		return err
	}
	if err := os.Remove(d.cut); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d.fail("call off the cut", drivers.Classify(err))
	}
	return nil
}

// answers is an error where the device cannot be told anything now.
func (d *driver) answers(ctx context.Context, op string) error {
	if d.cut == "" {
		return d.fail(op, fmt.Errorf("%w: the option cut is not set", drivers.ErrUnable))
	}
	if err := ctx.Err(); err != nil {
		return d.fail(op, drivers.Unreachable(err))
	}
	_, err := d.Poll(ctx)
	return err
}

// write puts the order where it is looked for in one piece.
func write(path string, o Order) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".order-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already where all went well
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
