package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/policy"
)

const bootHoldPath = "/v1/boot-hold"

const (
	bootHoldEvery  = time.Second     // between two questions
	bootHoldAnswer = 5 * time.Second // for one answer
	bootHoldAgain  = time.Minute     // between two lines that differ in numbers alone
	bootHoldAway   = 2 * time.Minute // the agent may be away, unless told otherwise
)

func bootHoldCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "boot-hold",
		Short: "Wait after a boot until the battery could carry another shutdown",
		Long: `For dodai-boot-hold.service, after which heavy services are ordered. It returns once
enough batteries could carry another shutdown and the turn of this host has come
(boot_hold.rank), and begins anew when the mains go meanwhile. A machine that has been
up for long is not held. The exit status is 0 however it ends: at the time limit
(boot_hold.limit), without an agent for two minutes, by SIGTERM. Only an interrupt
from the keyboard makes it 1.

With --status it does not wait: the exit status is 3 while services are held.`,
		Example: `  dodai boot-hold --status
  dodai boot-hold release --why "the shop has to open"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("%s: unknown command %q%s, want release or nothing; see `%[1]s --help`", cmd.CommandPath(), args[0], config.Meant(args[0], commandNames(cmd)))
			}
			return nil
		},
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	status := cmd.Flags().Bool("status", false, "say whether services are held, and do not wait")
	away := cmd.Flags().Duration("away", bootHoldAway, "how long the agent may not answer before the wait is over")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case *status:
			return bootHoldStatus(cmd, *socket, *asJSON)
		case *asJSON:
			return usageError("%s: --json without --status: want both, or none", cmd.CommandPath())
		case *away < 0:
			return usageError("%s: --away is %v, want 0s or more, for example 2m", cmd.CommandPath(), *away)
		}
		return waitBootHold(cmd, *socket, *away)
	}
	cmd.AddCommand(bootHoldReleaseCmd())
	return cmd
}

func bootHoldReleaseCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "release", Short: "Let heavy services start now, until the next boot", Args: exactly(0, "none"),
		Example: `  dodai boot-hold release --why "the shop has to open"`,
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	why := cmd.Flags().String("why", "", "remembered with who released it, at most 200 bytes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var s agent.BootHoldStatus
		req := agent.BootHoldRequest{Release: true, Who: os.Getenv("SUDO_USER"), Why: *why}
		return ask(cmd, *socket, *asJSON, "POST", bootHoldPath, req, &s, &s.Warning, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, bootHoldLine(s))
			return err
		})
	}
	return cmd
}

func bootHoldStatus(cmd *cobra.Command, socket string, asJSON bool) error {
	var s agent.BootHoldStatus
	if err := ask(cmd, socket, asJSON, "GET", bootHoldPath, nil, &s, &s.Warning, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, bootHoldLine(s))
		return err
	}); err != nil {
		return err
	}
	if s.Held {
		return notInOrder
	}
	return nil
}

// bootHoldLine is a line for people.
func bootHoldLine(s agent.BootHoldStatus) string {
	if !s.Held {
		return "not held: " + s.Why
	}
	var times []string
	if s.LeftS != nil {
		times = append(times, "about "+secondsText(s.LeftS)+" left")
	}
	if s.LimitLeftS != nil {
		times = append(times, "at most "+secondsText(s.LimitLeftS))
	}
	line := "held: " + s.Why
	if len(times) > 0 {
		line += " (" + strings.Join(times, ", ") + ")"
	}
	return line
}

// waitBootHold waits, and takes SIGTERM for an order to end: systemd stops the unit so, and
// a oneshot unit that does not exit with 0 then has failed.
func waitBootHold(cmd *cobra.Command, socket string, away time.Duration) error {
	c := newClient(socket)
	w := bootHoldWait{out: cmd.OutOrStdout(), warn: cmd.ErrOrStderr(), away: away, ask: func(ctx context.Context) (s agent.BootHoldStatus, err error) {
		ctx, cancel := context.WithTimeout(ctx, bootHoldAnswer)
		defer cancel()
		return s, c.do(ctx, "GET", bootHoldPath, nil, &s)
	}}
	err := w.wait(cmd.Context())
	if err != nil && terminated(cmd.Context()) {
		fmt.Fprintln(w.warn, "dodai: boot-hold: told to end; services are not held any more")
		return nil
	}
	return err
}

// terminated reports whether SIGTERM has ended ctx; signal.NotifyContext gives that as cause.
func terminated(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return cause != nil && strings.HasPrefix(cause.Error(), syscall.SIGTERM.String())
}

// bootHoldWait is one wait for the end of the hold.
type bootHoldWait struct {
	ask       func(context.Context) (agent.BootHoldStatus, error)
	out, warn io.Writer
	away      time.Duration // the agent may not answer for so long

	said   string    // what the last line was about, without its numbers
	saidAt time.Time // when
	line   string    // that line
	heard  time.Time // when the agent last answered, or the wait began
	limit  time.Time // when the time limit ends it; zero: not known, or none
}

// wait returns nil when services may start, for whatever reason, and an error when ctx ends.
func (w *bootHoldWait) wait(ctx context.Context) error {
	w.heard = time.Now()
	tick := time.NewTicker(bootHoldEvery)
	defer tick.Stop()
	for {
		s, err := w.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return errors.New("interrupted")
		case err == nil && !s.Held:
			w.released(s)
			return nil
		case err == nil:
			w.held(s)
		case w.without(err):
			return nil
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// held takes an answer in and says what is waited for, where that is news.
func (w *bootHoldWait) held(s agent.BootHoldStatus) {
	now := time.Now()
	w.heard, w.limit = now, time.Time{}
	if s.LimitLeftS != nil {
		w.limit = now.Add(time.Duration(*s.LimitLeftS * float64(time.Second)))
	}
	about := []string{"held"}
	for _, r := range s.Reasons {
		about = append(about, r.UPS+"/"+string(r.What))
	}
	w.say(strings.Join(about, " "), bootHoldLine(s))
}

// say prints a line when it is about something else than the last one, or when a minute has
// passed and its numbers are others.
func (w *bootHoldWait) say(about, line string) {
	now := time.Now()
	if about == w.said && (line == w.line || now.Sub(w.saidAt) < bootHoldAgain) {
		return
	}
	w.said, w.line, w.saidAt = about, line, now
	fmt.Fprintln(w.out, line)
}

// without reports whether it is time to go on without an agent: a machine must not stay down
// because of the program that guards it.
func (w *bootHoldWait) without(err error) bool {
	now := time.Now()
	switch {
	case !w.limit.IsZero() && !now.Before(w.limit):
		fmt.Fprintf(w.warn, "dodai: boot-hold: services start without the agent's word, the time limit has passed: %v\n", err)
		return true
	case now.Sub(w.heard) >= w.away:
		fmt.Fprintf(w.warn, "dodai: boot-hold: services start without the agent's word, it has not answered for %v: %v\n", w.away, err)
		return true
	}
	w.say("away", fmt.Sprintf("waiting for the agent, at most %v: %v", w.away, err))
	return false
}

// released says why services may start; that they may although no battery is ready is a
// warning.
func (w *bootHoldWait) released(s agent.BootHoldStatus) {
	if s.Released == policy.BootLimit {
		fmt.Fprintln(w.warn, "dodai: boot-hold: services start although the battery could not carry another shutdown: "+s.Why)
		return
	}
	fmt.Fprintln(w.out, bootHoldLine(s))
}
