// Command dodai keeps a physical server standing when its mains, a power supply or a
// disk fails: the daemon and the commands an operator uses beside it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/drivers"
)

// Filled in by the linker.
var (
	version = "dev"
	commit  = ""
	date    = ""
)

// Exit statuses: scripts and monitoring plugins rely on them.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2 // wrong usage or configuration
	exitNotGood = 3 // the thing asked about is not in order
)

// exitError is an error with an exit status of its own. A nil err prints nothing: the
// command has said what there is to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// notInOrder is the answer "no" to the question asked.
var notInOrder = &exitError{code: exitNotGood}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main without the process around it.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	return report(err, stderr)
}

// report prints an error as the operator needs it and returns the exit status.
func report(err error, stderr io.Writer) int {
	if err == nil {
		return exitOK
	}
	e, has := errors.AsType[*exitError](err)
	switch _, problems := errors.AsType[config.Problems](err); {
	case has && e.err == nil:
	case problems: // begins with file:line:column, as editors and scripts expect it
		fmt.Fprintln(stderr, err)
	default:
		fmt.Fprintln(stderr, prefixed(drivers.Plain(err)))
	}
	if has {
		return e.code
	}
	if _, wrong := errors.AsType[*drivers.OptionError](err); wrong {
		return exitUsage
	}
	return exitFailed
}

// prefixed begins with the program's name, once: what is wrong with a command's line
// begins with that command already.
func prefixed(text string) string {
	if strings.HasPrefix(text, "dodai: ") || strings.HasPrefix(text, "dodai ") {
		return text
	}
	return "dodai: " + text
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "dodai",
		Short: "Keeps a physical server standing when its mains, a power supply or a disk fails",
		Long: `dodai watches the UPSes, power supplies, arrays and disks of this server, knows at
every second whether it could still be shut down cleanly with the energy that is
left, does it when it must, and proves by drills that it would.

Exit status: 0 done and in order, 1 failed, 2 wrong usage or configuration,
3 the thing asked about is not in order.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("unknown command %q%s; `dodai --help` lists them", args[0], config.Meant(args[0], commandNames(cmd)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.Help(); err != nil {
				return err
			}
			return &exitError{code: exitUsage}
		},
	}
	root.Version = versionText()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError("%s: %w; see `%s --help`", cmd.CommandPath(), err, cmd.CommandPath())
	})
	root.AddCommand(agentCmd(), checkCmd(), driversCmd(), probeCmd(), simulateCmd(), statusCmd(), eventsCmd(),
		auditCmd(), preflightCmd(), stepCmd(), drillCmd(), maintenanceCmd(), batteryCmd(), bootHoldCmd(), shutdownCmd(), killpowerCmd(), demoCmd(), versionCmd(), guardCmd(), helperCmd(), manpagesCmd())
	return root
}

// commandNames are the sub-commands of cmd.
func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	return names
}

// exactly is cobra.ExactArgs with our exit status and the command's own words.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError("%s: got %s, want %s; see `%s --help`", cmd.CommandPath(), given(args), what, cmd.CommandPath())
		}
		return nil
	}
}

// given names the arguments there are.
func given(args []string) string {
	if len(args) == 0 {
		return "no argument"
	}
	return fmt.Sprintf("%q", args)
}
