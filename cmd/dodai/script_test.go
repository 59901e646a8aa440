package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"dodai": main}) }

// The command line as an operator meets it. Beside testscript's own there are the
// commands `exits`, `ready`, `json` and `keep`, see below.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "ready": ready, "json": jsonPath, "keep": keep,
		},
		Condition: func(name string) (bool, error) {
			if name != "configured" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			_, err := os.Stat(defaultConfig)
			return err == nil, nil
		},
	})
}

// exits STATUS COMMAND… runs a command that has to end with that status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// ready SOCKET waits until the agent at a socket has heard every device.
func ready(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: ready SOCKET")
	}
	socket := ts.MkAbs(args[0])
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	last := errors.New("never asked")
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		resp, err := client.Get("http://dodai/readyz")
		if err != nil {
			last = err
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
		last = errors.New(resp.Status)
	}
	ts.Fatalf("the agent is not ready: %v", last)
}

// json PATH [WANT] takes a value out of standard output: json devices.0.name u1. With !
// there must be no such value.
func jsonPath(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 || len(args) > 2 || neg && len(args) > 1 {
		ts.Fatalf("usage: [!] json PATH [WANT]")
	}
	got, err := walk(ts.ReadFile("stdout"), args[0])
	switch {
	case neg && err == nil:
		ts.Fatalf("%s is %v, want none", args[0], got)
	case neg:
	case err != nil:
		ts.Fatalf("%v", err)
	case len(args) == 2 && fmt.Sprint(got) != args[1]:
		ts.Fatalf("%s is %v, want %s", args[0], got, args[1])
	}
}

// keep NAME PATH puts a value of standard output into the environment.
func keep(ts *testscript.TestScript, _ bool, args []string) {
	got, err := walk(ts.ReadFile("stdout"), args[1])
	ts.Check(err)
	ts.Setenv(args[0], fmt.Sprint(got))
}

// walk follows a path of keys and indices. A path that ends in len is a list's length.
func walk(text, path string) (any, error) {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return nil, fmt.Errorf("standard output is no JSON: %w", err)
	}
	if path == "." {
		return v, nil
	}
	for key := range strings.SplitSeq(path, "/") {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[key]
			if !ok {
				return nil, fmt.Errorf("%s: there is no %q", path, key)
			}
			v = next
		case []any:
			if key == "len" {
				return len(x), nil
			}
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(x) {
				return nil, fmt.Errorf("%s: there is no %q among %d", path, key, len(x))
			}
			v = x[i]
		default:
			return nil, fmt.Errorf("%s: %q of %v", path, key, v)
		}
	}
	return v, nil
}
