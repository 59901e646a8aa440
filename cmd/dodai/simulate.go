package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/drill"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/cmd/internal/random"
)

// simulateFlags are the flags of `dodai simulate`.
type simulateFlags struct {
	json       bool
	seed       uint64
	jitter     bool
	failRate   float64
	clockSteps bool
	without    []string

	random    int
	forTime   time.Duration
	one       uint64
	replayDir string
	workers   int
	profile   string
}

func simulateCmd() *cobra.Command {
	var f simulateFlags
	cmd := &cobra.Command{
		Use:   "simulate FILE… | --random N",
		Short: "Replay scenario files, or random outages, on virtual time through the agent's own decision",
		Long: `Replays each scenario file through the code the agent runs and prints one JSON
object a line. The exit status is 3 when an expectation of a file did not hold. What
is not said on the command line is as the file has it in config.play.

With --random N it draws sites and outages at random instead, plays them, and has each
judged by what was physically true. The exit status is 3 unless the machine always got
down in time where anything had told it so, and never went down for nothing. Each
failure is printed with its seed: --random-seed SEED --replay-dir . plays that one
again and writes it as a scenario file.`,
		Args: func(cmd *cobra.Command, args []string) error { return f.check(cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.profile != "" {
				stop, err := profile(f.profile)
				if err != nil {
					return err
				}
				defer stop()
			}
			if len(args) > 0 {
				return f.files(cmd, args)
			}
			return f.outages(cmd)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "print JSON; files are always answered so, one object a line")
	flags.Uint64Var(&f.seed, "seed", 1, "of the random numbers")
	flags.BoolVar(&f.jitter, "jitter", false, "begin polling at a random phase")
	flags.Float64Var(&f.failRate, "fail-rate", 0, "share of reads that fail, 0 or more and less than 1")
	flags.BoolVar(&f.clockSteps, "clock-steps", false, "step the wall clock by up to an hour, again and again")
	flags.StringArrayVar(&f.without, "without", nil, "play with a `rule` of the policy switched off, to see what it is good for; may be repeated")
	flags.IntVar(&f.random, "random", 0, "play so many random outages")
	flags.DurationVar(&f.forTime, "for", 0, "play random outages for so long, for example 60s; with --random no more than so many")
	flags.Uint64Var(&f.one, "random-seed", 0, "play the one random outage of this seed")
	flags.StringVar(&f.replayDir, "replay-dir", "", "write a scenario file of each failure told, and of --random-seed, to this folder")
	flags.IntVar(&f.workers, "workers", 0, "play so many at a time; 0: one for each processor")
	flags.StringVar(&f.profile, "cpuprofile", "", "write a profile to this file")
	_ = flags.MarkHidden("workers")
	_ = flags.MarkHidden("cpuprofile")
	return cmd
}

// onlyFiles and onlyRandom are the flags that mean nothing otherwise.
var (
	onlyFiles  = []string{"jitter", "fail-rate", "clock-steps"}
	onlyRandom = []string{"replay-dir", "workers"}
)

// maxWorkers is more than any machine has processors for.
const maxWorkers = 1024

// check refuses a command line that does not say one thing.
func (f *simulateFlags) check(cmd *cobra.Command, args []string) error {
	said := cmd.Flags().Changed
	random := said("random") || said("for") || said("random-seed")
	unfit, where := onlyRandom, "files"
	if random {
		unfit, where = onlyFiles, "random outages: each site has its own"
	}
	for _, flag := range unfit {
		if said(flag) {
			return usageError("simulate: --%s is not for %s", flag, where)
		}
	}
	switch {
	case random && len(args) > 0:
		return usageError("simulate: random outages or files, not both; got %s", strings.Join(args, " "))
	case !random && len(args) == 0:
		return usageError("simulate: which scenario files? Or --random N")
	case said("random") && f.random < 1:
		return usageError("simulate: --random is %d, want 1 or more", f.random)
	case said("for") && f.forTime <= 0:
		return usageError("simulate: --for is %v, want more than 0", f.forTime)
	case said("random-seed") && (said("random") || said("for") || said("seed")):
		return usageError("simulate: --random-seed is one outage; it goes with neither --random, --for nor --seed")
	case f.workers < 0 || f.workers > maxWorkers:
		return usageError("simulate: --workers is %d, want 0 to %d", f.workers, maxWorkers)
	case said("replay-dir") && f.replayDir == "":
		return usageError("simulate: --replay-dir is empty, want a folder")
	}
	return nil
}

// files plays scenario files.
func (f *simulateFlags) files(cmd *cobra.Command, args []string) error {
	if !(f.failRate >= 0 && f.failRate < 1) { // also what is no number
		return usageError("simulate: --fail-rate is %v, want 0 or more and less than 1", f.failRate)
	}
	without, err := f.rules()
	if err != nil {
		return err
	}
	ok, err := drill.Simulate(cmd.Context(), cmd.OutOrStdout(), args, drill.SimulateOptions{
		Seed: said(cmd, "seed", &f.seed), Jitter: said(cmd, "jitter", &f.jitter), FailRate: said(cmd, "fail-rate", &f.failRate),
		ClockSteps: said(cmd, "clock-steps", &f.clockSteps), Without: without, Violations: cmd.ErrOrStderr(),
	})
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("simulate: interrupted")
	case errors.Is(err, drill.ErrOutput):
		return err
	case err != nil:
		return &exitError{exitUsage, err}
	case !ok:
		return notInOrder
	}
	return nil
}

// outages plays random ones.
func (f *simulateFlags) outages(cmd *cobra.Command) error {
	without, err := f.rules()
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // a third less work; 100 MB is enough all the same
	}
	rules := slices.Sorted(maps.Keys(without))
	report := random.Reporter{Out: cmd.OutOrStdout(), JSON: f.json, Dir: f.replayDir, Terminal: terminal(cmd.ErrOrStderr()), Without: rules}
	opts := random.Options{
		N: f.random, For: f.forTime, Seed: f.seed, Workers: f.workers, Without: rules,
		OnFailure: report.Failed, Progress: report.Progress,
	}
	var sum random.Summary
	if cmd.Flags().Changed("random-seed") {
		if f.replayDir != "" { // also of an outage that cannot be played
			if _, err := report.Save(f.one); err != nil {
				return fmt.Errorf("simulate: %w", err)
			}
		}
		sum, err = random.One(cmd.Context(), f.one, opts, report.Run)
	} else {
		sum, err = random.Do(cmd.Context(), opts)
	}
	if told := report.Summary(&sum); err == nil {
		err = told
	}
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("simulate: interrupted after %d outages", sum.Runs)
	case err != nil:
		return fmt.Errorf("simulate: %w", err)
	case !sum.OK():
		return notInOrder
	}
	return nil
}

// terminal is w if it is one. The null device, which is one as well by its mode, is none.
func terminal(w io.Writer) io.Writer {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	if null, err := os.Stat(os.DevNull); err == nil && os.SameFile(info, null) {
		return nil
	}
	return f
}

// profile measures where the time goes until stop is called.
func profile(path string) (stop func(), err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, err
	}
	return func() { pprof.StopCPUProfile(); f.Close() }, nil
}

// said is the value of a flag that stands on the command line, and nil otherwise.
func said[T any](cmd *cobra.Command, flag string, v *T) *T {
	if cmd.Flags().Changed(flag) {
		return v
	}
	return nil
}

// rules are the rules to switch off.
func (f *simulateFlags) rules() (map[policy.Rule]bool, error) {
	names := make([]string, len(policy.Rules))
	for i, r := range policy.Rules {
		names[i] = string(r)
	}
	without := map[policy.Rule]bool{}
	for _, name := range f.without {
		if !slices.Contains(names, name) {
			return nil, usageError("simulate: unknown rule %q%s; the rules are %s", name, config.Meant(name, names), strings.Join(names, ", "))
		}
		without[policy.Rule(name)] = true
	}
	return without, nil
}
