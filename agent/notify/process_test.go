package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

func TestProcess(t *testing.T) {
	dir := t.TempDir()
	tests := map[string]struct {
		args   []string
		output string
		err    string
	}{
		"arguments are never a shell's": {[]string{"printf", "%s|", "a b", "$(touch " + dir + "/pwned)", "; reboot", "*"}, "a b|$(touch " + dir + "/pwned)|; reboot|*|", ""},
		"environment":                   {[]string{"/bin/sh", "-c", `echo "$DODAI_EVENT $DODAI_FIELD_n"`}, "mains_lost 7", ""},
		"exit status":                   {[]string{"/bin/sh", "-c", "echo no >&2; exit 3"}, "no", "exit status 3"},
		"not there":                     {[]string{"/nonexistent"}, "", "no such file"},
		"what it leaves behind":         {[]string{"/bin/sh", "-c", "sleep 1 & echo done"}, "done", ""},
		"hangs":                         {[]string{"/bin/sh", "-c", "echo before; sleep 60"}, "before", "killed after 300ms"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			timeout := 5 * time.Second
			if name == "hangs" {
				timeout = 300 * time.Millisecond
			}
			out, err := Process(t.Context(), Command{Args: tt.args, Env: append(os.Environ(), environment(outage)...), Timeout: timeout})
			text := ""
			if err != nil {
				text = err.Error()
			}
			if out != tt.output || (tt.err == "") != (err == nil) || !strings.Contains(text, tt.err) {
				t.Errorf("%q: %q, %v, want %q and %q", tt.args, out, err, tt.output, tt.err)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	if _, err := os.Stat(dir + "/pwned"); err == nil {
		t.Error("an argument was run by a shell")
	}
}

func TestTimeoutEndsTheWholeGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	_, err := Process(t.Context(), Command{
		Args: []string{"/bin/sh", "-c", `trap '' TERM; sleep 61 & echo $! >` + file + `; wait`}, Timeout: 200 * time.Millisecond,
	})
	if err == nil {
		t.Fatal("a hook that hangs succeeded")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a grandchild outlived the time-out")
}

// TestWhatAHookLeavesBehindIsNotWaitedFor: it may hold the output open for long.
func TestWhatAHookLeavesBehindIsNotWaitedFor(t *testing.T) {
	start := time.Now()
	out, err := Process(t.Context(), Command{Args: []string{"/bin/sh", "-c", "sleep 2 & echo done"}, Timeout: 20 * time.Second})
	if took := time.Since(start); out != "done" || err != nil || took > 1500*time.Millisecond {
		t.Errorf("%q, %v after %v, want done at once", out, err, took)
	}
}

// TestOutcome: who says that a program was killed, and when nothing is wrong.
func TestOutcome(t *testing.T) {
	ended, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	cancelled, stop := context.WithCancel(t.Context())
	stop()
	failure := errors.New("exit status 1")
	for _, c := range []struct {
		ctx  context.Context
		err  error
		want string
	}{
		{t.Context(), nil, "<nil>"}, {t.Context(), failure, "exit status 1"}, {t.Context(), exec.ErrWaitDelay, "<nil>"},
		{ended, nil, "<nil>"}, {ended, failure, "killed after 1s"}, {cancelled, failure, "exit status 1"},
	} {
		if got := fmt.Sprint(outcome(c.ctx, c.err, time.Second)); got != c.want {
			t.Errorf("outcome(%v, %v) = %s, want %s", c.ctx.Err(), c.err, got, c.want)
		}
	}
}

func TestOutputIsBounded(t *testing.T) {
	out, err := Process(t.Context(), Command{Args: []string{"/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"}, Timeout: 10 * time.Second})
	if err != nil || len(out) != maxOutput {
		t.Errorf("%d bytes, %v, want %d", len(out), err, maxOutput)
	}
	var l limited
	for range 5 { // the last write finds no room
		if n, err := l.Write(bytes.Repeat([]byte("\xff"), maxOutput/4)); n != maxOutput/4 || err != nil {
			t.Errorf("Write = %d, %v, want all of it taken", n, err)
		}
	}
	if got := l.text(); got != "\uFFFD" {
		t.Errorf("text of no UTF-8 is %q", got)
	}
}

// From Handle to the program's own first look at the clock, with a hook beside it
// that hangs and, for the urgent event, a long queue in front of it.
func TestLatency(t *testing.T) {
	var mu sync.Mutex
	var ordinaryTook, urgentTook []time.Duration
	sent := map[string]time.Time{}
	h := New(Config{
		Now: func() time.Duration { return 0 },
		Hooks: []Hook{
			{On: []dodai.EventName{dodai.EventMainsLost, dodai.EventShutdownStarted}, Command: []string{"date", "+%s%N", "-d", "now"}},
			{On: []dodai.EventName{dodai.EventMainsLost}, Command: []string{"sleep", "60"}},
			{On: []dodai.EventName{dodai.EventPSULost, dodai.EventShutdownStarted}, Command: []string{"sh", "-c", `[ "$DODAI_EVENT" = psu_lost ] && exec sleep 60; date +%s%N`}},
		},
		Run: func(ctx context.Context, c Command) (string, error) {
			out, err := Process(ctx, c)
			ns, perr := strconv.ParseInt(out, 10, 64)
			if perr != nil {
				return out, err
			}
			mu.Lock()
			defer mu.Unlock()
			device := ""
			for _, kv := range c.Env {
				device = cmpOr(strings.TrimPrefix(kv, "DODAI_DEVICE="), kv, device)
			}
			took := time.Unix(0, ns).Sub(sent[device])
			if c.Args[0] == "sh" {
				urgentTook = append(urgentTook, took)
			} else {
				ordinaryTook = append(ordinaryTook, took)
			}
			return out, err
		},
	})
	for range 200 {
		h.Handle(dodai.Event{Name: dodai.EventPSULost}) // the third hook hangs with a long queue
	}
	for i := range 60 {
		e := dodai.Event{Name: dodai.EventMainsLost, Device: strconv.Itoa(i)}
		if i%3 == 0 {
			e.Name = dodai.EventShutdownStarted
		}
		mu.Lock()
		sent[e.Device] = time.Now()
		mu.Unlock()
		h.Handle(e)
		time.Sleep(20 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := h.Close(ctx); err == nil {
		t.Error("Close waited for hooks that hang")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ordinaryTook) != 60 || len(urgentTook) != 20 {
		t.Fatalf("%d ordinary and %d urgent runs, want 60 and 20", len(ordinaryTook), len(urgentTook))
	}
	t.Logf("Handle to running program: p50 %v, p95 %v; urgent past a hung hook and 199 queued events: p50 %v, p95 %v",
		rank(ordinaryTook, 50), rank(ordinaryTook, 95), rank(urgentTook, 50), rank(urgentTook, 95))
	if p := rank(ordinaryTook, 95); p > time.Second {
		t.Errorf("p95 is %v, want well below a second even on a busy machine", p)
	}
	if p := rank(urgentTook, 95); p > time.Second {
		t.Errorf("p95 of urgent events is %v, want well below a second", p)
	}
}

// cmpOr returns v when s had the prefix that was cut from it, else old.
func cmpOr(v, s, old string) string {
	if v != s {
		return v
	}
	return old
}

func rank(d []time.Duration, percent int) time.Duration {
	slices.Sort(d)
	return d[(len(d)*percent+99)/100-1]
}
