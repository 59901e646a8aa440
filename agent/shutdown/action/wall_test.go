package action

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/creack/pty"

	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// The real wall writes the text, and nothing else, on a terminal where somebody has
// logged in. In a file system view of its own somebody has.
func TestWall(t *testing.T) {
	wall := peer.Need(t, "wall")
	unshare := peer.Need(t, "unshare")
	for _, text := range []string{"The server is going down.", "down", "-n --help", "/etc/passwd"} {
		t.Run(text, func(t *testing.T) {
			screen, line, err := pty.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer screen.Close()
			defer line.Close()
			state := t.TempDir()
			write(t, state+"/utmp", login(strings.TrimPrefix(line.Name(), "/dev/")))
			write(t, state+"/down", "what is in the file")
			if out, err := exec.Command(unshare, "-m", "true").CombinedOutput(); err != nil {
				t.Skipf("no file system view of its own here: %s", out)
			}
			// The directory has a file that is called like one of the messages.
			task := taskWith(program(t, `cd "$S" && exec "$UNSHARE" -m sh -c 'mount -t tmpfs none /run && cp utmp /run/utmp && exec "$WALL" "$@"' sh "$@"`, "wall"),
				20*time.Second, "S="+state, "UNSHARE="+unshare, "WALL="+wall)
			res := Wall{Text: text}.Run(t.Context(), task)
			expectEnd(t, res, "")
			screen.SetReadDeadline(time.Now().Add(5 * time.Second))
			got := ""
			for buf := make([]byte, 4096); !strings.Contains(got, text); {
				n, err := screen.Read(buf)
				got += string(buf[:n])
				if err != nil {
					t.Fatalf("on the terminal is %q, %v; want %q", got, err, text)
				}
			}
			if !strings.Contains(got, "Broadcast message") || strings.Contains(got, "root:x") || strings.Contains(got, "in the file") {
				t.Errorf("on the terminal is %q, want the message %q", got, text)
			}
			t.Logf("%q", got)
		})
	}
}

// login is a record of utmp: somebody at a terminal. Its layout is that of utmp(5) on
// 64-bit Linux.
func login(line string) string {
	const userProcess = 7
	b := make([]byte, 384)
	b[0] = userProcess
	pid := os.Getpid()
	for i := range 4 {
		b[4+i] = byte(pid >> (8 * i))
	}
	copy(b[8:40], line)
	copy(b[44:76], "operator")
	return string(b)
}

func TestWallIsShort(t *testing.T) {
	t.Parallel()
	hang := program(t, "exec sleep 60\n", "wall")
	start := time.Now()
	res := Wall{Text: "x"}.Run(t.Context(), taskWith(hang, time.Hour))
	if !errors.Is(res.Err, shutdown.ErrTimeout) || time.Since(start) > wallTime+3*time.Second {
		t.Errorf("%+v after %v, want the end after %v", res, time.Since(start), wallTime)
	}
	expectFinding(t, Wall{Text: "x"}.Check(t.Context(), taskWith(hang, time.Minute)), "", "")
}

func TestNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		task := shutdown.Task{Step: "step", Timeout: time.Minute}
		listens := func(yes bool) func() bool { return func() bool { return yes } }
		after := func(d time.Duration, err error) Deps {
			return Deps{Listens: listens(true), Notify: func(text string, got shutdown.Task) error {
				if text != "bye" || got.Step != "step" {
					t.Errorf("hooks got %q of %q", text, got.Step)
				}
				time.Sleep(d)
				return err
			}}
		}
		for _, tt := range []struct {
			deps  Deps
			fails string
			took  time.Duration
		}{
			{after(time.Second, nil), "", time.Second},
			{after(time.Second, fmt.Errorf("hook 2: exit status 1")), "hook 2: exit status 1", time.Second},
			{after(time.Hour, nil), "timed out after 1m0s", time.Minute},
			{Deps{}, "nothing here runs hooks", 0},
		} {
			start := time.Now()
			expectEnd(t, Notify{Text: "bye", Deps: tt.deps}.Run(t.Context(), task), tt.fails)
			if took := time.Since(start); took != tt.took {
				t.Errorf("took %v, want %v", took, tt.took)
			}
		}
		expectFinding(t, Notify{Deps: after(0, nil)}.Check(t.Context(), task), "", "")
		for _, deps := range []Deps{{}, {Listens: listens(false)}} {
			expectFinding(t, Notify{Deps: deps}.Check(t.Context(), task), "nobody_listens", "no hook listens to the event notification")
		}
		time.Sleep(time.Hour) // the hook that went on has ended
	})
}
