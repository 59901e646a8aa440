package action

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// TestWaitFor plays what is seen of two peers, a letter every half second: open, off, or
// blind.
func TestWaitFor(t *testing.T) {
	for _, c := range []struct {
		name  string
		peers [2]string
		took  time.Duration // 0: until the time-out
		words []string      // of the error
	}{
		{"both off already", [2]string{"-", "-"}, 3 * time.Second, nil},
		{"one goes off", [2]string{"-", "oooo-"}, 5 * time.Second, nil},
		{"one comes back in between", [2]string{"-", "---o-"}, 5 * time.Second, nil},
		{"one stays up", [2]string{"-", "o"}, 0, []string{"still up: b:22", "silent: a:22"}},
		{"one cannot be told", [2]string{"-", "b"}, 0, []string{"nothing can be told of b:22 (no way there)"}},
		{"blind for a while", [2]string{"--bb-", "-"}, 5 * time.Second, nil},
		{"no network", [2]string{"b", "b"}, 0, []string{"nothing can be told of any peer", "this host's own network"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			w := WaitFor{WaitFor: config.WaitFor{Peers: []string{"a:22", "b:22"}}}
			w.look = func(_ context.Context, peer string) sight {
				story := c.peers[strings.Index("ab", peer[:1])]
				switch i := int(time.Since(begin) / lookEvery); story[min(i, len(story)-1)] {
				case 'o':
					return sight{open: true}
				case 'b':
					return sight{blind: true, err: errors.New("no way there")}
				}
				return sight{err: errors.New("refused")}
			}
			r := w.Run(t.Context(), remoteTask(20*time.Second))
			took := time.Since(begin)
			if c.took > 0 {
				if r.Err != nil || took != c.took {
					t.Errorf("%s: %v after %v, want success after %v", c.name, r.Err, took, c.took)
				}
				return
			}
			if !errors.Is(r.Err, shutdown.ErrTimeout) || took != 20*time.Second {
				t.Errorf("%s: %v after %v, want a time-out after 20 s", c.name, r.Err, took)
				return
			}
			for _, word := range c.words {
				if !strings.Contains(r.Err.Error(), word) {
					t.Errorf("%s: %q lacks %q", c.name, r.Err, word)
				}
			}
		})
	}
}

// TestWaitForReal waits for a real port to close.
func TestWaitForReal(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := WaitFor{WaitFor: config.WaitFor{Peers: []string{l.Addr().String()}, For: config.Duration(100 * time.Millisecond)}}
	if r := w.Run(t.Context(), remoteTask(1200*time.Millisecond)); !errors.Is(r.Err, shutdown.ErrTimeout) || !strings.Contains(r.Err.Error(), "still up: 127.0.0.1") {
		t.Errorf("open port: %v, want a time-out", r.Err)
	}
	time.AfterFunc(300*time.Millisecond, func() { l.Close() })
	if r := w.Run(t.Context(), remoteTask(30*time.Second)); r.Err != nil {
		t.Errorf("port that closes: %v", r.Err)
	}
	sees(t, "peer that is off", w.Check(t.Context(), remoteTask(5*time.Second)), "")
	w.Peers = []string{"nas.invalid:22"}
	sees(t, "unknown name", w.Check(t.Context(), remoteTask(5*time.Second)), "name_unknown", "nas.invalid")
	if r := w.Run(t.Context(), remoteTask(time.Second)); !errors.Is(r.Err, shutdown.ErrTimeout) || !strings.Contains(r.Err.Error(), "nas.invalid") {
		t.Errorf("unknown name: Run = %v, want a time-out that says so, not success", r.Err)
	}
}

// TestWaitForWithoutNetwork runs this test again where there is no network at all.
func TestWaitForWithoutNetwork(t *testing.T) {
	t.Parallel()
	w := WaitFor{WaitFor: config.WaitFor{Peers: []string{"192.0.2.1:22"}, For: config.Duration(100 * time.Millisecond)}}
	if os.Getenv("DODAI_TEST_NO_NETWORK") == "1" {
		sees(t, "no network", w.Check(t.Context(), remoteTask(5*time.Second)), "no_route", "no route to 192.0.2.1")
		r := w.Run(t.Context(), remoteTask(time.Second))
		if !errors.Is(r.Err, shutdown.ErrTimeout) || !strings.Contains(r.Err.Error(), "this host's own network") {
			t.Errorf("no network: Run = %v, want a time-out that says so", r.Err)
		}
		return
	}
	if err := exec.Command("unshare", "-rn", "true").Run(); err != nil {
		t.Skipf("no network namespaces here: unshare -rn: %v", err)
	}
	cmd := exec.Command("unshare", "-rn", os.Args[0], "-test.run=^TestWaitForWithoutNetwork$", "-test.count=1")
	cmd.Env = append(os.Environ(), "DODAI_TEST_NO_NETWORK=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
