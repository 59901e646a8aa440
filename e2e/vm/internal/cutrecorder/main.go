// Command cutrecorder runs in a machine whose power will be cut. Before the agent starts it
// tells what the journal holds, and then all that the agent shows as written, at once:
//
//	cutrecorder record PORT STATE-DIR SOCKET
//	cutrecorder act WHAT...
//
// The second tells the first that a step or a hook is at work.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dodai-agent/dodai/e2e/vm/internal/ledger"
)

// actSocket is where steps and hooks say that they are at work.
const actSocket = "/run/cut-act.sock"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cutrecorder:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 4 && args[0] == "record":
		return record(args[1], args[2], args[3])
	case len(args) >= 2 && args[0] == "act":
		return act(strings.Join(args[1:], " "))
	}
	return fmt.Errorf("arguments are %q: want record PORT STATE-DIR SOCKET, or act WHAT", args)
}

// act tells the recorder, and waits until it has told the host.
func act(what string) error {
	now := time.Now()
	c, err := net.Dial("unix", actSocket)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "%d %s\n", now.UnixNano(), what); err != nil {
		return err
	}
	_, err = bufio.NewReader(c).ReadString('\n')
	return err
}

func record(port, stateDir, socket string) error {
	out, err := openPort(port)
	if err != nil {
		return err
	}
	ctx := context.Background()
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	out.tell(ledger.Entry{Kind: ledger.Boot, Text: strings.TrimSpace(string(id))})
	problem := ""
	if err := tellFound(ctx, out, stateDir); err != nil {
		problem = err.Error()
	}
	out.tell(ledger.Entry{Kind: ledger.Found, Text: problem})
	go serveActs(out)
	ready()
	return follow(ctx, out, stateDir, socket)
}

// ready tells systemd that the agent may start.
func ready() {
	if c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET")); err == nil {
		fmt.Fprint(c, "READY=1")
		c.Close()
	}
}

// port is the way to the host: what is written to it has arrived, whatever becomes of this
// machine in the next instant.
type port struct {
	mu  sync.Mutex
	out *os.File
}

// openPort waits for the port, which udev makes.
func openPort(path string) (*port, error) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			return &port{out: f}, nil
		}
		if time.Now().After(deadline) {
			return nil, err
		}
	}
}

func (p *port) tell(entries ...ledger.Entry) {
	var lines []byte
	for _, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			panic(err) // strings and numbers
		}
		lines = append(append(lines, line...), '\n')
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.out.Write(lines); err != nil {
		fmt.Fprintln(os.Stderr, "cutrecorder:", err)
	}
}

func serveActs(out *port) {
	os.Remove(actSocket)
	l, err := net.Listen("unix", actSocket)
	if err == nil {
		err = os.Chmod(actSocket, 0o666) // a step or a hook may run as anybody
	}
	for err == nil {
		var c net.Conn
		if c, err = l.Accept(); err == nil {
			go takeAct(out, c)
		}
	}
	fmt.Fprintln(os.Stderr, "cutrecorder:", err)
}

func takeAct(out *port, c net.Conn) {
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	e := ledger.Entry{Kind: ledger.Act}
	at, what, _ := strings.Cut(strings.TrimSpace(line), " ")
	e.Key = what
	fmt.Sscan(at, &e.At)
	out.tell(e)
	fmt.Fprintln(c, "told")
}

// sum is short for all there is to v.
func sum(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:8])
}
