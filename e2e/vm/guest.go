package vm

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// guest is a connection to the agent that runs commands inside the machine. It answers
// one request at a time, before the system is up and until it goes down.
type guest struct {
	mu     sync.Mutex
	conn   net.Conn
	in     *bufio.Reader
	synced bool
	seq    int
}

func newGuest(conn net.Conn) *guest {
	return &guest{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
}

// maxGuestReply bounds a reply: the guest's own limit of captured output is 16 MiB.
const maxGuestReply = 48 << 20

// call gives the agent one command. After a timeout what comes late is skipped.
func (g *guest) call(command string, args, out any, within time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	deadline := time.Now().Add(within)
	g.conn.SetDeadline(deadline)
	if !g.synced {
		if err := g.sync(); err != nil {
			return fmt.Errorf("guest agent: %w", err)
		}
	}
	reply, err := g.exchange(map[string]any{"execute": command, "arguments": args})
	if err != nil {
		g.synced = false
		return fmt.Errorf("guest agent: %s: %w", command, err)
	}
	var msg struct {
		Return json.RawMessage `json:"return"`
		Error  *struct{ Class, Desc string }
	}
	switch err := json.Unmarshal(reply, &msg); {
	case err != nil:
		g.synced = false
		return fmt.Errorf("guest agent: %s: reply %.200q: %w", command, reply, err)
	case msg.Error != nil:
		return fmt.Errorf("guest agent: %s: %s: %s", command, msg.Error.Class, msg.Error.Desc)
	case out == nil:
		return nil
	}
	return json.Unmarshal(msg.Return, out)
}

func (g *guest) exchange(request map[string]any) ([]byte, error) {
	if request["arguments"] == nil {
		delete(request, "arguments")
	}
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	if _, err := g.conn.Write(append(text, '\n')); err != nil {
		return nil, err
	}
	return g.line('\n')
}

// sync makes the agent forget half a request and finds its answer among what an
// earlier request may have left on the line.
func (g *guest) sync() error {
	g.seq++
	fmt.Fprintf(g.conn, "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%d}}\n", g.seq)
	want := fmt.Sprintf(`{"return": %d}`, g.seq)
	for {
		if _, err := g.line(0xff); err != nil {
			return err
		}
		got, err := g.line('\n')
		if err != nil {
			return err
		}
		if string(bytes.TrimSpace(got)) == want {
			g.synced = true
			return nil
		}
	}
}

// line reads up to and with a mark.
func (g *guest) line(mark byte) ([]byte, error) {
	var all []byte
	for {
		part, err := g.in.ReadSlice(mark)
		all = append(all, part...)
		if err == nil {
			return all, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return all, err
		}
		if len(all) > maxGuestReply {
			return nil, fmt.Errorf("reply of more than %d bytes", maxGuestReply)
		}
	}
}

// A Result is what a command inside the machine came to.
type Result struct {
	Exit   int // its exit status; 128 and the signal where one ended it
	Stdout string
	Stderr string
}

// exec runs a command and waits for its end.
func (g *guest) exec(within time.Duration, input string, argv ...string) (Result, error) {
	args := map[string]any{
		"path": argv[0], "arg": argv[1:], "capture-output": true,
		"env": []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"},
	}
	if input != "" {
		args["input-data"] = base64.StdEncoding.EncodeToString([]byte(input))
	}
	deadline := time.Now().Add(within)
	var started struct{ PID int }
	if err := g.call("guest-exec", args, &started, within); err != nil {
		return Result{}, fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		time.Sleep(pause)
		var status struct {
			Exited   bool
			ExitCode int
			Signal   int
			Out      []byte `json:"out-data"`
			Err      []byte `json:"err-data"`
		}
		left := time.Until(deadline)
		if left <= 0 {
			return Result{}, fmt.Errorf("%s: still runs after %v", strings.Join(argv, " "), within)
		}
		if err := g.call("guest-exec-status", map[string]any{"pid": started.PID}, &status, left); err != nil {
			return Result{}, fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
		}
		if status.Exited {
			r := Result{Exit: status.ExitCode, Stdout: string(status.Out), Stderr: string(status.Err)}
			if status.Signal != 0 {
				r.Exit = 128 + status.Signal
			}
			return r, nil
		}
	}
}

// get reads a file of at most max bytes.
func (g *guest) get(path string, max int, within time.Duration) ([]byte, error) {
	var handle int
	if err := g.call("guest-file-open", map[string]any{"path": path, "mode": "r"}, &handle, within); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer g.call("guest-file-close", map[string]any{"handle": handle}, nil, within)
	var all []byte
	for {
		var part struct {
			Data []byte `json:"buf-b64"`
			EOF  bool
		}
		if err := g.call("guest-file-read", map[string]any{"handle": handle, "count": 1 << 20}, &part, within); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		all = append(all, part.Data...)
		switch {
		case len(all) > max:
			return nil, fmt.Errorf("read %s: more than %d bytes", path, max)
		case part.EOF:
			return all, nil
		}
	}
}

// isTimeout tells silence from a refusal.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
