package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/drivers"
)

func TestSecondsText(t *testing.T) {
	for in, want := range map[float64]string{
		0: "0s", 0.4: "0s", 0.5: "1s", -0.4: "0s", -0.6: "-1s", 99.4: "99s", 99.6: "1m40s", 245: "4m05s", -245: "-4m05s",
		3599.4: "59m59s", 3599.6: "1h00m", 7265: "2h01m", 1e6: "277h46m",
	} {
		if got := secondsText(&in); got != want {
			t.Errorf("secondsText(%v) = %q, want %q", in, got, want)
		}
	}
	if got := secondsText(nil); got != "-" {
		t.Errorf("secondsText(nil) = %q, want a dash", got)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := table(&b, [][]string{{"A", "TEMP °C", "WHY"}, {"long cell", "3", "two\nlines\tand a tab\r"}, {"x", "", ""}, {"y", "1", "z"}}); err != nil {
		t.Fatal(err)
	}
	want := "A          TEMP °C  WHY\nlong cell  3        two lines and a tab\nx\ny          1        z\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestKeyValues(t *testing.T) {
	got, err := keyValues([]string{"port=/dev/ttyS0", "password=a=b", "empty="})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"port": "/dev/ttyS0", "password": "a=b", "empty": ""}, got); diff != "" {
		t.Errorf("keyValues (-want +got):\n%s", diff)
	}
	for _, bad := range [][]string{{"port"}, {"=x"}, {"a=1", "a=1"}, {""}} {
		_, err := keyValues(bad)
		if e, ok := errors.AsType[*exitError](err); !ok || e.code != exitUsage {
			t.Errorf("keyValues(%q) = %v, want wrong usage", bad, err)
		}
	}
}

func TestReport(t *testing.T) {
	option := &drivers.Error{Driver: "snmp", Op: "options", Err: &drivers.OptionError{Key: "address", Missing: true, Want: "host"}}
	for _, tc := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{"done", nil, exitOK, ""},
		{"failed", errors.New("no luck"), exitFailed, "dodai: no luck\n"},
		{"wrong usage", usageError("want %d", 1), exitUsage, "dodai: want 1\n"},
		{"not in order", notInOrder, exitNotGood, ""},
		{"a wrong option, wrapped", fmt.Errorf("device u1: %w", option), exitUsage, "dodai: device u1: snmp: options: option \"address\" is missing: want host\n"},
		{"a configuration", &exitError{exitUsage, config.Problems{{File: "f", Line: 1, Column: 2, What: "a"}, {File: "f", Line: 3, Column: 4, What: "b"}}}, exitUsage, "f:1:2: a\nf:3:4: b\n"},
		{"quiet failure", &exitError{code: exitFailed}, exitFailed, ""},
	} {
		var b strings.Builder
		if code := report(tc.err, &b); code != tc.code || b.String() != tc.want {
			t.Errorf("%s: status %d, %q; want %d, %q", tc.name, code, b.String(), tc.code, tc.want)
		}
	}
	if got := notInOrder.Error(); got != "exit status 3" {
		t.Errorf("an error without words is %q", got)
	}
}

func TestExplain(t *testing.T) {
	c := newClient("/run/x.sock")
	for want, err := range map[string]error{
		"no permission to ask":    &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)},
		"does not answer":         context.DeadlineExceeded,
		"interrupted":             context.Canceled,
		"no such file or direct":  os.NewSyscallError("connect", syscall.ENOENT),
		"systemctl status dodai)": errors.New("EOF"),
	} {
		if got := c.explain(err).Error(); !strings.Contains(got, want) {
			t.Errorf("explain(%v) = %q, want %q", err, got, want)
		}
	}
	if got := newClient(strings.Repeat("x", 120)).explain(os.NewSyscallError("connect", syscall.EINVAL)).Error(); !strings.Contains(got, "at most 107") {
		t.Errorf("a name that is too long: %q", got)
	}
}

func TestInOrder(t *testing.T) {
	good := func(change func(*agent.Status)) agent.Status {
		s := agent.Status{State: "normal", Journal: "ok", Devices: []agent.DeviceStatus{{Quality: dodai.QualityFresh}}}
		change(&s)
		return s
	}
	for name, tc := range map[string]struct {
		s    agent.Status
		want bool
	}{
		"all well":             {good(func(*agent.Status) {}), true},
		"a drill":              {good(func(s *agent.Status) { s.State = "drill" }), true},
		"on battery":           {good(func(s *agent.Status) { s.State = "on_battery" }), false},
		"an alert":             {good(func(s *agent.Status) { s.Alerts = make([]agent.AlertStatus, 1) }), false},
		"no journal":           {good(func(s *agent.Status) { s.Journal = "disk full" }), false},
		"a stale device":       {good(func(s *agent.Status) { s.Devices[0].Quality = dodai.QualityStale }), false},
		"nothing to read":      {good(func(s *agent.Status) { s.Devices[0].Quality = dodai.QualityNone }), true},
		"a device never heard": {good(func(s *agent.Status) { s.Devices[0].Quality = dodai.QualityNever }), false},
	} {
		if got := inOrder(tc.s); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// A status with nothing in it, and one with everything, can be printed.
func TestPrintStatus(t *testing.T) {
	var b strings.Builder
	if err := printStatus(&b, agent.Status{Mode: "observe"}); err != nil || !strings.Contains(b.String(), "no single point of failure found") || !strings.Contains(b.String(), "stops nothing") {
		t.Errorf("an empty status: %v\n%s", err, b.String())
	}
	b.Reset()
	if err := printStatus(&b, agent.Status{BootHold: true, BootHoldWhy: "u1: charge 12 %"}); err != nil || !strings.Contains(b.String(), "after boot  heavy services wait: u1: charge 12 %") {
		t.Errorf("after boot: %v\n%s", err, b.String())
	}
	b.Reset()
	full := agent.Status{
		Mode: "armed", State: "shutting_down", Margin: "margin -5 s = 175 s available (battery.runtime × 0.83 learned, u1) − 120 s need − 60 s reserve", Summary: "shut down (rule lb, u1)",
		UPSes: []agent.UPSStatus{
			{Name: "u1", Status: dodai.OB | dodai.LB, OnBattS: new(61.0), Doomed: policy.ReasonLB},
			{Name: "u2", Lost: true, Doomed: policy.ReasonNone}, {Name: "u3", Doomed: policy.ReasonNone},
		},
		Devices: []agent.DeviceStatus{{Name: "u1", Kind: dodai.KindUPS, Error: "one\ntwo", Quality: dodai.QualityNever}},
		Drill:   &agent.DrillStatus{Name: "d", Level: "rehearsal", ForS: 3},
		Need: agent.NeedStatus{Why: "need 120 s: db 95 s (p95 of 24 runs), power_off 5.5 s (largest of 2); configured 120 s", Steps: []agent.NeedStep{
			{Step: "db", TookS: 95, Runs: 24, Basis: shutdown.BasisP95}, {Step: "vms", Basis: shutdown.BasisGuess},
			{Step: "new", TookS: 7, Basis: shutdown.BasisConfigured, Beside: true}, {Step: "power_off", TookS: 5, Runs: 2, Basis: shutdown.BasisLargest},
		}},
		SPOFs: []agent.SPOFStatus{{Open: true}, {Open: true}, {}},
	}
	err := printStatus(&b, full)
	full.Shutdown = &agent.DownStatus{Explanation: "u1 says its battery is low", AskedByS: new(95.0), ForcedByS: new(120.0), Steps: []agent.StepStatus{
		{Step: "web", State: shutdown.PhaseDone, Does: "systemctl stop nginx", Why: "busy", Attempt: 2, ForS: new(20.0), TookS: new(4.0), UsualS: new(3.0)},
		{Step: "db", State: shutdown.PhaseStarted, Does: "systemctl stop db", Why: "exit status 1", Attempt: 2, ForS: new(16.0)},
		{Step: "nas", State: shutdown.PhaseSkipped, Why: "the deadline has passed", ForS: new(1.0)},
		{Step: "power_off", State: shutdown.PhaseWaiting},
	}}
	err = errors.Join(err, printStatus(&b, full))
	for _, want := range []string{
		"state     shutting down", "margin    -5 s = 175 s available (battery.runtime × 0.83 learned, u1) − 120 s need − 60 s reserve", "why       shut down (rule lb, u1)",
		"shutting down: u1 says its battery is low; past the point of no return; power-off in 95 s at the latest, forced in 120 s",
		"web        done, attempt 2     20s    4s    3s       systemctl stop nginx", "db         running, attempt 2  16s    -     -        failed before: exit status 1",
		"nas        skipped             1s     -     -        the deadline has passed", "power_off  waiting             -      -     -        -", "d (rehearsal) for 3s",
		"u1   OB LB   61s         -              -     lb", "u2   -       -           -              -     lost", "u3   -       -           -              -     healthy",
		"need      120 s: db 95 s (p95 of 24 runs), power_off 5.5 s (largest of 2); configured 120 s",
		"db         95s    24    measured, 95th percentile", "vms        -      0     not known", "new        7s     0     configured, beside others", "power_off  5s     2     measured, the largest",
		"one two", "2 open, 1 to be advised of",
	} {
		if err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("no %q in (%v)\n%s", want, err, b.String())
		}
	}
}

// hangs is a driver that does not heed its context, or panics.
type hangs struct {
	release chan struct{}
	closed  *bool
}

func (h hangs) Poll(context.Context) (dodai.Reading, error) {
	if h.release == nil {
		panic("index out of range")
	}
	<-h.release
	return dodai.Reading{}, nil
}
func (h hangs) Close() error { *h.closed = true; return nil }

func TestPollWithin(t *testing.T) {
	closed := false
	release := make(chan struct{})
	began := time.Now()
	_, err := pollWithin(t.Context(), hangs{release, &closed}, 10*time.Millisecond)
	if took := time.Since(began); !errors.Is(err, drivers.ErrUnreachable) || took > hangGrace+time.Second || closed {
		t.Errorf("a driver that hangs: %v after %v, closed %v; want it given up, and left open", err, took, closed)
	}
	err = named(err, "fake", "/dev/x")
	if got := err.Error(); !strings.HasPrefix(got, "fake /dev/x: poll: device unreachable: the driver did not come back within") {
		t.Errorf("named: %q", got)
	}
	close(release)
	if _, err := pollWithin(t.Context(), hangs{nil, &closed}, time.Second); err == nil || !strings.Contains(err.Error(), "has a bug") {
		t.Errorf("a driver that panics: %v", err)
	}
}

// A log that does not take its lines does not hold up who logs.
func TestLogQueue(t *testing.T) {
	r, w := net.Pipe()
	defer r.Close()
	q := newLogQueue(w)
	log := slog.New(slog.NewTextHandler(q, nil))
	began := time.Now()
	for i := range 2 * queuedLines {
		log.Info("line", "n", i)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("%d lines took %v with nobody reading", 2*queuedLines, took)
	}
	began = time.Now()
	q.close(50 * time.Millisecond)
	if took := time.Since(began); took > time.Second {
		t.Errorf("close took %v", took)
	}
	var got bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() { got.ReadFrom(r) })
	<-q.done
	w.Close()
	wg.Wait()
	if !strings.HasPrefix(got.String(), "time=") || !strings.Contains(got.String(), "msg=line n=0\n") || !strings.Contains(got.String(), "lines they are lost") && !strings.Contains(got.String(), "they are lost\" lines=") {
		t.Errorf("%d bytes, want the first lines, and a word about those that are lost", got.Len())
	}
	log.Info("after the end") // harmless
	q.close(0)
}

func TestStateDir(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "")
	cfg := &config.Config{}
	if got := stateDir(agentFlags{}, cfg); got != defaultStateDir {
		t.Errorf("state directory %q, want the default", got)
	}
	t.Setenv("STATE_DIRECTORY", "/from/systemd")
	if got := stateDir(agentFlags{}, cfg); got != "/from/systemd" {
		t.Errorf("state directory %q, want systemd's", got)
	}
	cfg.Journal.Dir = "/from/file"
	if got := stateDir(agentFlags{}, cfg); got != "/from/file" {
		t.Errorf("state directory %q, want the file's", got)
	}
	if got := stateDir(agentFlags{stateDir: "/from/flag"}, cfg); got != "/from/flag" {
		t.Errorf("state directory %q, want the flag's", got)
	}
}

func TestWatchdogInterval(t *testing.T) {
	for in, want := range map[string]time.Duration{"": 0, "30000000": 30 * time.Second, "-1": 0, "soon": 0} {
		t.Setenv("WATCHDOG_USEC", in)
		if got := watchdog(); got != want {
			t.Errorf("WATCHDOG_USEC=%q: %v, want %v", in, got, want)
		}
	}
}

func TestLoadConfig(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "dodai.yaml")
	cfg, err := loadConfig(agentFlags{config: missing})
	if err != nil || !cfg.Auto || cfg.Mode != config.Observe || len(cfg.AllDevices()) != 3 {
		t.Errorf("no file, and none asked for: %+v, %v; want the three things that are commonly there, observed", cfg, err)
	}
	if _, err := loadConfig(agentFlags{config: missing, configGiven: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that was asked for and is not there: %v", err)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("mode: on"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadConfig(agentFlags{config: bad}); err == nil {
		t.Error("a bad file at the usual place is passed over")
	}
}
