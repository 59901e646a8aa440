package md

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers/driverstest"
)

// tree is a sysfs and a procfs with one mirror. Its files can hang (a FIFO in mdstat's
// place), be late, hold noise or only half of what they should, and go away.
type tree struct {
	t      *testing.T
	root   string
	failed bool

	stop chan struct{} // ends the late writer
	pipe string        // where the FIFO is, for releasing its readers
	done sync.WaitGroup
}

func newTree(t *testing.T) driverstest.Peer {
	p := &tree{t: t, root: t.TempDir()}
	p.fill()
	t.Cleanup(p.release)
	return p
}

func (p *tree) Options() map[string]string {
	return map[string]string{"sys": p.root + "/sys", "proc": p.root + "/proc"}
}

func (p *tree) Flip(state int) {
	p.failed = state == 1
	p.fill()
}

// fill puts a whole tree in place of whatever is there.
func (p *tree) fill() {
	arrays, mdstat := raid1(p.failed)
	fresh := fakeTree(p.t, arrays, mdstat)
	for _, part := range []string{"sys", "proc"} {
		if err := os.RemoveAll(filepath.Join(p.root, part)); err != nil {
			p.t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(fresh, part), filepath.Join(p.root, part)); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *tree) Behave(b driverstest.Behaviour, delay time.Duration) {
	switch b {
	case driverstest.Normal:
		p.fill()
		p.release()
	case driverstest.Silent, driverstest.Late:
		p.hang(b == driverstest.Late, delay)
	case driverstest.Garbage:
		p.rewrite(func([]byte) []byte { return []byte("\x00\xfe)(&%$ 12 : ;;\n") })
	case driverstest.Partial:
		p.rewrite(func(whole []byte) []byte { return whole[:len(whole)/2] })
	case driverstest.Disconnect:
		for _, gone := range []string{"/sys/block/md0", "/proc/mdstat"} {
			if err := os.RemoveAll(p.root + gone); err != nil {
				p.t.Fatal(err)
			}
		}
	}
}

// hang puts a FIFO in mdstat's place, and answers it late if asked to.
func (p *tree) hang(late bool, delay time.Duration) {
	mdstat := p.root + "/proc/mdstat"
	text, err := os.ReadFile(mdstat)
	if err != nil {
		p.t.Fatal(err)
	}
	p.pipe = newFIFO(p.t, mdstat).path
	p.stop = make(chan struct{})
	if late {
		p.done.Go(func() { p.answerLate(text, delay) })
	}
}

func (p *tree) answerLate(text []byte, delay time.Duration) {
	for {
		select {
		case <-p.stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		w, err := os.OpenFile(p.pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue // nobody asks
		}
		select {
		case <-p.stop:
		case <-time.After(delay):
			w.Write(text)
		}
		w.Close()
	}
}

// release lets readers that still hang go.
func (p *tree) release() {
	if p.stop == nil {
		return
	}
	close(p.stop)
	p.done.Wait()
	fifo{p.pipe}.release(p.t)
	p.stop = nil
}

func (p *tree) rewrite(change func([]byte) []byte) {
	err := filepath.WalkDir(p.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, change(whole), 0o644)
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	driverstest.Run(t, driverstest.Suite{
		Factory: Factory,
		NewPeer: newTree,
		Trouble: func(r dodai.Reading) bool {
			return len(r.Arrays) != 1 || r.Arrays[0].State != dodai.ArrayOptimal
		},
		Deadline: time.Second, // a reading takes a millisecond; a busy machine more
	})
}
