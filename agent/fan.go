package agent

import (
	"context"
	"log/slog"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/export"
	"github.com/dodai-agent/dodai/agent/sight"
)

// severity says how loudly an event is logged.
var severity = map[dodai.EventName]slog.Level{
	dodai.EventMainsLost:          slog.LevelWarn,
	dodai.EventBatteryLow:         slog.LevelWarn,
	dodai.EventCommsLost:          slog.LevelWarn,
	dodai.EventAlertRaised:        slog.LevelWarn,
	dodai.EventShutdownDecided:    slog.LevelWarn,
	dodai.EventShutdownStarted:    slog.LevelWarn,
	dodai.EventPSULost:            slog.LevelWarn,
	dodai.EventArrayDegraded:      slog.LevelWarn,
	dodai.EventDrillAborted:       slog.LevelWarn,
	dodai.EventMaintenanceStarted: slog.LevelWarn,
	dodai.EventFeedDoomed:         slog.LevelWarn,
	dodai.EventPreflightFailed:    slog.LevelWarn,
	dodai.EventAgentKilled:        slog.LevelWarn,
	dodai.EventClockStepped:       slog.LevelWarn,
	dodai.EventBootHeld:           slog.LevelWarn,
	dodai.EventBootHoldReleased:   slog.LevelWarn,
	dodai.EventConfigRejected:     slog.LevelError,
	dodai.EventStepFailed:         slog.LevelError,
	dodai.EventShutdownFailed:     slog.LevelError,
	dodai.EventHookFailed:         slog.LevelError,
}

// logEvent tells an operator the story of an outage, one line an edge.
func (a *Agent) logEvent(ev dodai.Event) {
	attrs := []any{"event", string(ev.Name)}
	if ev.Device != "" {
		attrs = append(attrs, "device", ev.Device)
	}
	if ev.Drill != "" {
		attrs = append(attrs, "drill", ev.Drill)
	}
	if ev.Text != "" {
		attrs = append(attrs, "text", ev.Text)
	}
	attrs = append(attrs, decisionAttrs(ev)...)
	a.log.Log(context.Background(), severity[ev.Name], "event", attrs...)
}

// exportState is the part of a view that metrics show.
func exportState(v *View) export.State {
	st := export.State{Snapshot: v.Snapshot, Decision: &v.Decision, Armed: v.Mode == config.Armed,
		LoopLag: v.Condition.LoopLag, PollLag: v.Condition.PollLag, JournalUp: v.Condition.JournalUp, LostEvents: v.Condition.Lost}
	for _, s := range v.Need.Steps {
		st.Need = append(st.Need, export.Step{Name: s.Step, Took: s.Took, Runs: s.Runs})
	}
	if p := v.preflightStatus(); p != nil {
		st.Preflight = &export.Preflight{At: p.At, Findings: len(p.Findings)}
	}
	if v.Unread != nil {
		st.Unread = map[string]int{}
		for _, kind := range sight.Kinds {
			st.Unread[string(kind)] = 0
		}
		for _, s := range v.Unread {
			st.Unread[string(s.Kind)]++
		}
	}
	seen := map[string]bool{}
	for _, f := range v.Findings { // a component's worst finding comes first
		if !seen[f.Component] {
			st.SPOFs = append(st.SPOFs, export.SPOF{Component: f.Component, Open: f.Open})
		}
		seen[f.Component] = true
	}
	return st
}

// runTextfile writes the metrics for node_exporter for as long as ctx lasts, where the
// configuration asks for it. A failure is logged once, and tried again.
func (a *Agent) runTextfile(ctx context.Context) error {
	cfg := a.opts.Config.Export
	if cfg.Textfile == "" {
		<-ctx.Done()
		return nil
	}
	a.metrics.RunTextfile(ctx, cfg.Textfile, cfg.Interval.D(), func(err error) {
		if err != nil {
			a.log.Error("textfile for node_exporter", "err", err)
			return
		}
		a.log.Info("textfile for node_exporter is written again")
	})
	return nil
}
