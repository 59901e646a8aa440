package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/helper"
	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/agent/sight"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/all"
	"github.com/dodai-agent/dodai/drivers/smartctl"
)

// Where the daemon keeps its things unless told otherwise.
const (
	defaultStateDir = "/var/lib/dodai"
	defaultRunDir   = "/run/dodai"
	defaultSocket   = defaultRunDir + "/dodai.sock"
)

type agentFlags struct {
	config, stateDir, runDir, socket, listen, logLevel, helper string
	configGiven, socketGiven                                   bool
}

func agentCmd() *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the daemon",
		Long: `Runs the daemon in the foreground. Without a configuration file it watches what it
finds by itself and never stops anything (mode: observe). SIGHUP reads the
configuration again, or keeps the old one; SIGTERM ends the daemon, and undoes
nothing of a shutdown that has begun.`,
		Args: exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.configGiven, f.socketGiven = cmd.Flags().Changed("config"), cmd.Flags().Changed("socket")
			return runAgent(cmd, f)
		},
	}
	cmd.Flags().StringVar(&f.config, "config", defaultConfig, "configuration file")
	cmd.Flags().StringVar(&f.stateDir, "state-dir", "", "journal and drill reports (default "+defaultStateDir+")")
	cmd.Flags().StringVar(&f.runDir, "run-dir", "", "what other processes of this boot have to find (default the folder of the socket)")
	cmd.Flags().StringVar(&f.socket, "socket", defaultSocket, "Unix socket of the local commands")
	cmd.Flags().StringVar(&f.listen, "listen", "", "address of /metrics, /healthz and /readyz, for example 127.0.0.1:9777")
	cmd.Flags().StringVar(&f.helper, "helper", "", "socket of the helper that does what needs root; empty: this process does it, as far as it may")
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// oneProcessor keeps the Go code to one processor, unless GOMAXPROCS says otherwise. The
// daemon waits nearly all of the time; with more, each event wakes a second thread that
// looks for work and finds none. What blocks in the kernel does not count.
func oneProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

func runAgent(cmd *cobra.Command, f agentFlags) error {
	oneProcessor()
	queue := newLogQueue(cmd.ErrOrStderr())
	defer queue.close(100 * time.Millisecond)
	log, err := newLogger(queue, f.logLevel)
	if err != nil {
		return err
	}
	limitMemory("/sys/fs/cgroup", "/proc/self/cgroup")
	hangup := make(chan os.Signal, 1) // from the beginning: by default it ends the process
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	cfg, err := loadConfig(f)
	if err != nil {
		if cfg = inForce(cmd.Context(), f); cfg == nil {
			return &exitError{exitUsage, err}
		}
		log.Error("the configuration is wrong; an outage is under way, going on with the one that was in force", "err", err)
	}
	for _, w := range cfg.Warnings {
		log.Warn("configuration", "warning", w)
	}
	ctx := cmd.Context()
	agent.Discover(ctx, cfg, finder(f), log)
	a, err := agent.New(ctx, agentOptions(f, cfg, log))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer stop() // it may end by itself, to be started anew
		return a.Run(ctx)
	})
	group.Go(func() error { return reloadOnHangup(ctx, a, hangup) })
	return group.Wait()
}

func newLogger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usageError("--log-level is %q, want debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), nil
}

// loadConfig reads the configuration. Where there is none and none was asked for, the
// agent watches what it finds.
func loadConfig(f agentFlags) (*config.Config, error) {
	cfg, err := config.Load(f.config, all.Find)
	if errors.Is(err, fs.ErrNotExist) && !f.configGiven {
		return config.Default(), nil
	}
	return cfg, err
}

// inForce returns the configuration that was in force when the agent ended in the middle
// of an outage or a shutdown; nil when it did not. Without it, a slip of the pen in the
// file, or a password file that is gone, and a crash would together leave the machine to its battery.
func inForce(ctx context.Context, f agentFlags) *config.Config {
	text, unfinished := agent.Accepted(ctx, stateDir(f, config.Default()))
	if !unfinished {
		return nil
	}
	cfg, err := config.LoadAnyway(f.config, text, all.Find)
	if err != nil {
		return nil
	}
	return cfg
}

func agentOptions(f agentFlags, cfg *config.Config, log *slog.Logger) agent.Options {
	opts := agent.Options{
		Config: cfg, Find: finder(f), StateDir: stateDir(f, cfg), RunDir: runDir(f), Socket: f.socket, SocketOptional: !f.socketGiven, Listen: f.listen,
		Clocks:  clocks(f),
		Version: version, Log: log, Watchdog: watchdog(), See: sight.ThisHost().Look,
		Notify: func(state string) {
			if _, err := daemon.SdNotify(false, state); err != nil {
				log.Debug("service manager", "err", err)
			}
		},
	}
	if f.helper != "" {
		opts.Helper = helper.NewClient(f.helper)
		opts.Guard, opts.Force = opts.Helper, opts.Helper.Force
	} else if guards, err := shutdown.OwnGuards(); err != nil {
		log.Warn("nobody will force a power-off that hangs once the agent has ended", "err", err)
	} else {
		opts.Guard, opts.Force = guards, guards.Force
	}
	if opts.Listen == "" {
		opts.Listen = cfg.Export.Listen
	}
	if !cfg.Auto {
		opts.Reload = func() (*config.Config, error) { return config.Load(f.config, all.Find) }
	}
	return opts
}

// finder is the table of drivers, with the helper to run their tools where there is one.
func finder(f agentFlags) func(string) (drivers.Factory, bool) {
	if f.helper == "" {
		return all.Find
	}
	tool := helper.NewClient(f.helper).Of(nil).Tool
	return func(name string) (drivers.Factory, bool) {
		factory, ok := all.Find(name)
		if name == smartctl.Factory.Name {
			factory.Run = tool
		}
		return factory, ok
	}
}

// stateDir is the flag, the configuration, what systemd made for us, or the default.
func stateDir(f agentFlags, cfg *config.Config) string {
	for _, dir := range []string{f.stateDir, cfg.Journal.Dir, os.Getenv("STATE_DIRECTORY")} {
		if dir != "" {
			return dir
		}
	}
	return defaultStateDir
}

// runDir is the flag, or where the socket is: both are gone with the boot.
func runDir(f agentFlags) string {
	return cmp.Or(f.runDir, filepath.Dir(f.socket))
}

// clocks are the machine's own for the machine's own agent; one with its run directory
// elsewhere is a trial or a test, which must not wake anything.
func clocks(f agentFlags) string {
	if runDir(f) != defaultRunDir {
		return ""
	}
	return killpower.RTCDir
}

// watchdog is the interval systemd asks for; 0 when it does not.
func watchdog() time.Duration {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}

// reloadOnHangup reads the configuration again at each SIGHUP. What came of it is an
// event, which the agent logs.
func reloadOnHangup(ctx context.Context, a *agent.Agent, hangup <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			_ = a.Reload(ctx)
		}
	}
}
