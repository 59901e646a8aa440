package agent

import (
	"bufio"
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/helper"
)

// TestArmedBesideTheLoop: with a helper the state is written beside the loop. Whoever asks is
// told only when all that was armed before has been tried, also while more is armed.
func TestArmedBesideTheLoop(t *testing.T) {
	s := newSite(t)
	kill := s.killing(&cutLog{})
	st := s.step(cutArmed, func(o *Options) {
		kill(o)
		o.Helper = helper.NewClient(refusing(t))
	})
	st.read("u1", ups("OL", 100, 3600))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	st.kill.writtenDown(ctx) // nothing is armed
	stop, asking := make(chan struct{}), sync.WaitGroup{}
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					st.kill.writtenDown(ctx)
				}
			}
		})
	}
	const often = 100
	for n := 1; n <= often; n++ {
		st.armKillPower()
		if n%10 != 0 {
			continue
		}
		st.kill.writtenDown(ctx)
		if got := s.count(dodai.EventKillPower); got != n {
			t.Errorf("%d refusals told after %d times armed", got, n)
		}
	}
	close(stop)
	asking.Wait()
	if ctx.Err() != nil {
		t.Error("what was armed is never written down")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	st.kill.written = make(chan struct{}) // a helper that hangs
	st.kill.writtenDown(over)
}

// refusing is the socket of a helper that refuses everything.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Write([]byte("dodai-helper 1\n"))
				_, _ = bufio.NewReader(conn).ReadBytes('\n')
				_, _ = conn.Write([]byte("{\"refused\":\"no\"}\n"))
			}()
		}
	}()
	return l.Addr().String()
}
