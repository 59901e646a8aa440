package main

import (
	"errors"
	"testing"
	"time"
)

func TestMaintenanceLength(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"2h": 2 * time.Hour, "2h30m": 150 * time.Minute, "90m": 90 * time.Minute, "0.5h": 30 * time.Minute, "168h": 168 * time.Hour, "1ms": time.Millisecond,
		"": 0, "2 h": 0, "2": 0, "0": 0, "0s": 0, "-1h": 0, "168h0m0.001s": 0, "7d": 0, "tomorrow": 0, "999999999h": 0,
	} {
		got, err := maintenanceLength(text)
		e, usage := errors.AsType[*exitError](err)
		if got != want || (err == nil) != (want > 0) || err != nil && (!usage || e.code != exitUsage) {
			t.Errorf("--for %q: %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestClock(t *testing.T) {
	now := time.Date(2026, 3, 4, 23, 30, 0, 0, time.Local)
	for want, at := range map[string]time.Time{
		"23:59": now.Add(29 * time.Minute), "2026-03-05 00:30": now.Add(time.Hour), "23:30": now.UTC(),
	} {
		if got := clock(at, now); got != want {
			t.Errorf("clock(%v) = %q, want %q", at, got, want)
		}
	}
}
