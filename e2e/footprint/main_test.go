// Package footprint measures what the daemon costs the server that it guards: the real
// binary as a process, watching a usual server for minutes.
package footprint

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
)

var (
	watchFor = flag.Duration("for", 0, "how long to watch; 0: a minute in a run that is there for its figures, else a third of one")
	given    = flag.String("binary", "", "measure this dodai instead of building one")
)

// binary is the dodai that is measured, built as packages have it.
var binary string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	flag.Parse()
	if *watchFor == 0 {
		*watchFor = 20 * time.Second
		if peer.Measuring {
			*watchFor = time.Minute
		}
	}
	if binary = *given; binary != "" {
		return peer.Run(m)
	}
	dir, err := os.MkdirTemp("", "dodai-footprint-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "dodai")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "../../cmd/dodai")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build dodai: %v\n%s", err, out)
		return 1
	}
	return peer.Run(m)
}
