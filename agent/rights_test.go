package agent

import (
	"bufio"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/helper"
	"github.com/dodai-agent/dodai/agent/killpower"
)

// TestLeaveSurely: a helper that could not be started the first time is asked again; one that
// refuses is not.
func TestLeaveSurely(t *testing.T) {
	for name, tt := range map[string]struct {
		failures int32
		answer   string
		ok       bool
		asked    int32
	}{
		"at once":           {0, "{}", true, 1},
		"the third":         {2, "{}", true, 3},
		"never":             {leaveTries, "{}", false, leaveTries},
		"it refuses":        {0, `{"refused":"no"}`, false, 1},
		"and says so later": {1, `{"refused":"no"}`, false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			var asked atomic.Int32
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					if asked.Add(1) > tt.failures {
						_, _ = conn.Write([]byte("dodai-helper 1\n"))
						_, _ = bufio.NewReader(conn).ReadBytes('\n')
						_, _ = conn.Write([]byte(tt.answer + "\n"))
					}
					conn.Close()
				}
			}()
			a := &Agent{opts: Options{Helper: helper.NewClient(l.Addr().String())}, log: slog.New(slog.DiscardHandler), ctx: t.Context()}
			err = a.leaveSurely(&config.Config{Text: []byte("x")}, &killpower.State{})
			if (err == nil) != tt.ok || asked.Load() != tt.asked {
				t.Errorf("leaveSurely = %v after %d times, want success %v after %d", err, asked.Load(), tt.ok, tt.asked)
			}
		})
	}
}
