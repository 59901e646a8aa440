package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/collectors"
	"github.com/dodai-agent/dodai/drivers/all"
)

type killpowerFlags struct {
	runDir, clocks, init string
	dryRun, asJSON       bool
}

func killpowerCmd() *cobra.Command {
	f := killpowerFlags{init: "/proc/1/comm"}
	cmd := &cobra.Command{
		Use:   "killpower {poweroff|halt|reboot|kexec | --dry-run}",
		Short: "Tell the UPSes to cut their output: the last act of a shutdown, run by systemd",
		Long: `Run by systemd when everything else has ended and no file system is written any more
(/usr/lib/systemd/system-shutdown). It does something only where the daemon has shut
the machine down because of its power: with the mains still away it tells each UPS
with killpower: true to cut its output and to restore it with the mains; with the
mains back it starts the machine anew, because nobody else would. A shutdown by an
operator and a reboot keep their power.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && slices.Contains(killpower.Actions, args[0]) || len(args) == 0 && f.dryRun {
				return nil
			}
			return usageError("%s: got %q, want one of %s; see `%s --help`", cmd.CommandPath(), args, strings.Join(killpower.Actions, ", "), cmd.CommandPath())
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runKillpower(cmd, f, append(args, killpower.Actions[0])[0])
		},
	}
	cmd.Flags().StringVar(&f.runDir, "run-dir", defaultRunDir, "where the daemon has left what is to be done")
	cmd.Flags().StringVar(&f.clocks, "clocks", killpower.RTCDir, "where the kernel shows the clocks that can wake the machine; empty: set none")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "read the UPSes and say what would be done")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

func runKillpower(cmd *cobra.Command, f killpowerFlags, action string) error {
	out := cmd.OutOrStdout()
	s, err := killpower.Read(f.runDir, collectors.BootID(), killpower.Boottime())
	switch {
	case errors.Is(err, killpower.ErrNoState):
		return nothingToKill(out, f, action)
	case err != nil:
		return fmt.Errorf("no UPS is told to cut its output: %w", err)
	}
	if err := atTheEnd(f.init); err != nil && !f.dryRun && (action == "poweroff" || action == "halt") {
		return err // the others do nothing
	}
	console := out
	if f.asJSON {
		console = cmd.ErrOrStderr()
	}
	late := killpower.Late{
		State: s, Find: all.Find, Reboot: reboot, DryRun: f.dryRun,
		Say: func(line string) { fmt.Fprintln(console, "dodai:", line) },
		Wake: func(before killpower.Wake, in time.Duration) (killpower.Wake, error) {
			rtc, err := killpower.FindRTC(f.clocks)
			if err != nil {
				return killpower.Wake{}, err
			}
			return rtc.Wake(before, in)
		},
	}
	o, err := late.Run(cmd.Context(), action)
	if f.asJSON {
		err = errors.Join(err, printJSON(out, o))
	}
	return err
}

// nothingToKill is silent where nobody asked: it is the end of each ordinary shutdown.
func nothingToKill(w io.Writer, f killpowerFlags, action string) error {
	o := killpower.Outcome{Action: action, DryRun: f.dryRun, Did: killpower.DidNothing, Text: "no shutdown because of the power has been decided in this boot"}
	switch {
	case f.asJSON:
		return printJSON(w, o)
	case f.dryRun:
		fmt.Fprintln(w, "dodai:", o.Text)
	}
	return nil
}

// atTheEnd refuses to go on while systemd still runs the machine: file systems are in use
// until it has handed over to systemd-shutdown, whose child this is.
func atTheEnd(init string) error {
	name, err := os.ReadFile(init)
	if err == nil && strings.TrimSpace(string(name)) == "systemd" {
		return errors.New("this machine still runs: killpower is for its very end, and systemd calls it there; --dry-run says what it would do")
	}
	return nil
}

// syncLimit is how long the disks get before the machine is started anew. Nothing is
// written any more; a disk that hangs must not keep the machine down.
const syncLimit = 5 * time.Second

func reboot() error {
	done := make(chan struct{})
	go func() {
		unix.Sync()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(syncLimit):
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	return nil
}
