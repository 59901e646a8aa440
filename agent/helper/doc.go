// Package helper is how a daemon without rights gets done what needs them: decision
// record 0014. Client is the daemon's side, Serve the other one, which runs as root for
// one connection and ends with it.
//
// A connection carries one request and its answer, each one line of JSON. The daemon names
// what it wants; what that means stands in the configuration, of which the helper keeps
// copies that the daemon cannot change. While a request is under way the daemon may send
// one more line to cut it short, and its end of the connection is the end of what runs.
package helper

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// SocketPath is where the service manager listens for the helper.
const SocketPath = "/run/dodai-helper/socket"

// KeepDir is where the helper keeps its copies of the configuration. It is root's.
const KeepDir = "/run/dodai-helper"

// Hash names one state of a configuration: what requests are about.
func Hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// op is what is asked for.
type op string

const (
	opPin      op = "pin"      // keep a copy of the configuration
	opStep     op = "step"     // run a step, or what takes it back
	opCheck    op = "check"    // find out whether it could be
	opWays     op = "ways"     // find out which ways of powering off would work
	opProgram  op = "program"  // run one of the programs that power off
	opHook     op = "hook"     // run a hook for an event
	opArm      op = "arm"      // have a guard force the machine down
	opDisarm   op = "disarm"   // call it off
	opForce    op = "force"    // force it down now
	opLeave    op = "leave"    // leave behind what the late command has to know
	opSmartctl op = "smartctl" // read a disk
)

// Bounds of what one side believes of the other.
const (
	maxRequest = 1 << 20
	maxAnswer  = 48 << 20 // what a tool may print, in base64
	maxTimeout = 24 * time.Hour
	maxSecret  = 4096 // as in the configuration
)

// request is one line from the daemon.
type request struct {
	Op     op     `json:"op"`
	Config string `json:"config,omitempty"` // hash of the configuration it is about
	Step   string `json:"step,omitempty"`
	Undo   bool   `json:"undo,omitempty"`
	// Env has the variables of the daemon's own, DODAI_*; all others are dropped.
	Env     []string         `json:"env,omitempty"`
	Cause   *shutdown.Cause  `json:"cause,omitempty"`
	Timeout time.Duration    `json:"timeout,omitempty"`
	Args    []string         `json:"args,omitempty"`
	Hook    int              `json:"hook,omitempty"`
	Event   *dodai.Event     `json:"event,omitempty"`
	In      time.Duration    `json:"in,omitempty"`
	Goal    shutdown.Goal    `json:"goal,omitempty"`
	State   *killpower.State `json:"state,omitempty"`
}

func (r *request) check() error {
	switch {
	case r.Timeout < 0 || r.Timeout > maxTimeout:
		return fmt.Errorf("time-out %v, want up to %v", r.Timeout, maxTimeout)
	case r.needsTimeout() && r.Timeout == 0:
		return fmt.Errorf("%s without a time-out", r.Op)
	}
	return nil
}

func (r *request) needsTimeout() bool {
	switch r.Op {
	case opStep, opCheck, opProgram, opHook, opSmartctl:
		return true
	}
	return false
}

// abort is the one line that may follow on a request.
type abort struct {
	Abort string `json:"abort"`
}

// answer is the one line from the helper.
type answer struct {
	// Refused says why nothing was done; empty: something was.
	Refused  string             `json:"refused,omitempty"`
	Exit     int                `json:"exit,omitempty"`
	Output   string             `json:"output,omitempty"`
	Err      string             `json:"err,omitempty"`
	TimedOut bool               `json:"timed_out,omitempty"`
	Findings []shutdown.Finding `json:"findings,omitempty"`
	// Stdout, Stderr and Class are a tool's, see drivers.Run.
	Stdout []byte `json:"stdout,omitempty"`
	Stderr []byte `json:"stderr,omitempty"`
	Class  string `json:"class,omitempty"`
}

func line(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return append(data, '\n'), err
}
