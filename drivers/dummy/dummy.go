// Package dummy is a UPS, a set of arrays, disks or supplies whose reading stands in
// a file: for trying out a configuration, for training and for tests, and as the
// driver to copy from when writing another.
//
// The file holds one reading as JSON in the form `dodai probe` prints. It is read
// anew at each poll, so that editing it plays an outage. A file that is gone is a
// device that is silent; one that cannot be read is a device that talks nonsense.
//
// An order to cut the output is written to another file, where whoever plays the outage
// finds it: see Order.
package dummy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// Factory is listed in drivers/all.
var Factory = drivers.Factory{
	Name:    "dummy",
	Kind:    dodai.KindUPS,
	AnyKind: true,
	Summary: "a device whose reading stands in a JSON file, for trials and training",
	Options: []drivers.Option{
		{Key: "port", Help: "file with one reading in the JSON form of `dodai probe`", Example: "/tmp/ups.json", Required: true},
		{Key: "cut", Help: "file to write an order to cut the output to; without it the device cannot", Example: "/tmp/ups.cut"},
	},
	Poll:    2 * time.Second,
	Timeout: 2 * time.Second,
	Local:   true,
	New: func(cfg drivers.Config) (drivers.Driver, error) {
		return &driver{device: cfg.Device, path: cfg.Options["port"], cut: cfg.Options["cut"]}, nil
	},
}

// maxFile bounds what is read: a reading of a large site is under 100 KiB.
const maxFile = 1 << 20

type driver struct{ device, path, cut string }

var _ drivers.Cutter = (*driver)(nil)

func (d *driver) Poll(context.Context) (dodai.Reading, error) {
	// Opening a FIFO would wait for its writer for ever.
	if info, err := os.Stat(d.path); err == nil && !info.Mode().IsRegular() {
		return dodai.Reading{}, d.fail("open", drivers.Protocol(d.path, []byte(info.Mode().String()), "a regular file"))
	}
	f, err := os.Open(d.path)
	if err != nil {
		return dodai.Reading{}, d.fail("open", drivers.Classify(err))
	}
	defer f.Close()
	r, err := parse(f)
	if err != nil {
		return dodai.Reading{}, d.fail("read "+d.path, err)
	}
	return r, nil
}

func (d *driver) Close() error { return nil }

func (d *driver) fail(op string, err error) error {
	return &drivers.Error{Driver: "dummy", Device: d.device, Op: op, Err: err}
}

// parse reads one reading, in the words of package dodai and no others. Kind defaults to ups. Keys that are no part of a reading,
// such as probe's took_ms, are passed over.
func parse(src io.Reader) (dodai.Reading, error) {
	data, err := io.ReadAll(io.LimitReader(src, maxFile+1))
	if err != nil {
		return dodai.Reading{}, drivers.Classify(err)
	}
	if len(data) > maxFile {
		return dodai.Reading{}, fmt.Errorf("%w: more than %d bytes", drivers.ErrProtocol, maxFile)
	}
	r := dodai.Reading{Kind: dodai.KindUPS}
	if err := json.Unmarshal(data, &r); err != nil {
		return dodai.Reading{}, drivers.Protocol("reading", data, "JSON as `dodai probe` prints it: "+err.Error())
	}
	if err := vocabulary(r); err != nil {
		return dodai.Reading{}, err
	}
	return r, nil
}
