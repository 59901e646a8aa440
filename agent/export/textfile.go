package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/common/expfmt"
)

// WriteTextfile writes the metrics to path for node_exporter's textfile collector,
// which reads names that end in .prom. A reader sees the old page or the new one, never
// a part; after a power cut too. The Go runtime's metrics are left out, node_exporter
// has its own under the same names.
func (m *Metrics) WriteTextfile(path string) error {
	text, err := m.text()
	if err != nil {
		return fmt.Errorf("textfile %s: %w", path, err)
	}
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("textfile: %w", err)
	}
	defer root.Close()
	name := filepath.Base(path)
	temp := "." + name + ".new" // of our own, so that a crash leaves at most one
	if err := writeSynced(root, temp, text); err != nil {
		_ = root.Remove(temp)
		return fmt.Errorf("textfile %s: %w", path, err)
	}
	if err := root.Rename(temp, name); err != nil {
		_ = root.Remove(temp)
		return fmt.Errorf("textfile %s: %w", path, err)
	}
	return syncDir(root)
}

func (m *Metrics) text() ([]byte, error) {
	families, err := m.registry.Gather()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// writeSynced makes the file anew, so that neither a link nor another's file of that
// name is written through.
func writeSynced(root *os.Root, name string, data []byte) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
}

func syncDir(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("textfile: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// RunTextfile writes the textfile at once and then at every interval until ctx ends.
// report is called when writing begins to fail, with another error than before, and
// with nil when it works again.
func (m *Metrics) RunTextfile(ctx context.Context, path string, interval time.Duration, report func(error)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := ""
	for {
		err := m.WriteTextfile(path)
		if now := message(err); now != last {
			report(err)
			last = now
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
