package shutdown

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// aHost is a machine as the test wants it.
func aHost(t *testing.T, systemd bool, euid int, capEff string) host {
	t.Helper()
	dir := t.TempDir()
	h := host{booted: filepath.Join(dir, "booted"), status: filepath.Join(dir, "status"), euid: euid}
	if systemd {
		if err := os.Mkdir(h.booted, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(h.status, []byte("Name:\tdodai\nCapPrm:\t000001ffffffffff\n"+capEff+"Seccomp:\t0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestCheckBuiltInPowerOff(t *testing.T) {
	const all, none, noBoot = "CapEff:\t000001ffffffffff\n", "CapEff:\t0000000000000000\n", "CapEff:\t000001ffffbfffff\n"
	tests := map[string]struct {
		systemd   bool
		euid      int
		caps, can string
		nothing   bool   // no program is found
		want      string // checks; * after one that is fatal
		text      string // is in what is said
	}{
		"all is well":                     {systemd: true, caps: all},
		"an inhibitor does not hold root": {systemd: true, caps: all, can: "inhibitor-blocked"},
		"it does hold others":             {systemd: true, euid: 1, caps: none, can: "inhibitor-blocked", want: "power_off_refused* systemctl_not_permitted* force_not_permitted*", text: "power-off-ignore-inhibit"},
		"a password is asked for":         {systemd: true, caps: all, can: "challenge", want: "power_off_refused", text: `"challenge" for org.freedesktop.login1.power-off`},
		"refused to an ordinary user":     {systemd: true, euid: 1, caps: none, can: "no", want: "power_off_refused* systemctl_not_permitted* force_not_permitted*", text: `subject.user == "daemon"`},
		"allowed to an ordinary user":     {systemd: true, euid: 1, caps: none, want: "force_not_permitted", text: "CAP_SYS_BOOT is missing"},
		"the bounding set forgot it":      {systemd: true, caps: noBoot, want: "force_not_permitted", text: "CapabilityBoundingSet="},
		"no login manager":                {systemd: true, caps: all, can: "none", want: "logind_unreachable", text: "broken"},
		"not possible":                    {systemd: true, caps: all, can: "na", want: "power_off_not_available"},
		"no systemd":                      {caps: all, can: "none", want: "logind_unreachable systemd_not_running"},
		"no systemctl":                    {systemd: true, caps: all, nothing: true, want: "program_missing", text: "systemctl"},
		"nothing at all":                  {caps: none, can: "none", want: "logind_unreachable* systemd_not_running* force_not_permitted*"},
		"capabilities are not shown":      {systemd: true, want: "force_not_permitted", text: "no CapEff in"},
		"capabilities are not a number":   {systemd: true, caps: "CapEff:\tall\n", want: "force_not_permitted", text: "invalid syntax"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bin := t.TempDir()
			if !tt.nothing {
				if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte("#!/bin/sh\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", bin)
			r := newRig(t, builtIn())
			r.can = tt.can
			r.Executor.Force = r.neverForced(t)
			got := r.checkBuiltIn(t.Context(), aHost(t, tt.systemd, tt.euid, tt.caps))
			var checks, texts []string
			for _, f := range got {
				check := f.Check
				if f.Fatal {
					check += "*"
				}
				checks = append(checks, check)
				texts = append(texts, f.Text+" "+f.Fix)
				if f.Step != PowerOffStep || f.Text == "" || f.Fix == "" {
					t.Errorf("%+v: want the step, a text and a repair", f)
				}
			}
			if got := strings.Join(checks, " "); got != tt.want {
				t.Errorf("findings %q, want %q\n%s", got, tt.want, strings.Join(texts, "\n"))
			}
			if !strings.Contains(strings.Join(texts, "\n"), tt.text) {
				t.Errorf("nothing says %q:\n%s", tt.text, strings.Join(texts, "\n"))
			}
		})
	}
}

func TestCheckPowerOffCommands(t *testing.T) {
	tests := map[string]struct {
		command, second, forced string
		missing                 []string
		fatal                   bool
	}{
		"there":                    {command: "sh"},
		"missing":                  {command: "no-such-program", missing: []string{"no-such-program"}, fatal: true},
		"missing, the second not":  {command: "no-such-program", second: "sh", missing: []string{"no-such-program"}},
		"missing, the forced not":  {command: "no-such-1", second: "no-such-2", forced: "sh", missing: []string{"no-such-1", "no-such-2"}},
		"missing, all of them":     {command: "no-such-1", forced: "no-such-3", missing: []string{"no-such-1", "no-such-3"}, fatal: true},
		"there, the second is not": {command: "sh", second: "no-such-2", missing: []string{"no-such-2"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := Plan{Command: []string{tt.command, "-c", "exit 1"}}
			if tt.second != "" {
				p.PowerOff.Second = []string{tt.second}
			}
			if tt.forced != "" {
				p.PowerOff.Forced = []string{tt.forced}
			}
			r := newRig(t, p)
			got := r.CheckPowerOff(t.Context())
			if len(got) != len(tt.missing) {
				t.Fatalf("findings %+v, want %d", got, len(tt.missing))
			}
			for i, f := range got {
				if !strings.Contains(f.Text, tt.missing[i]) || f.Fatal != tt.fatal || f.Step != PowerOffStep {
					t.Errorf("%+v, want %s in it, fatal %v", f, tt.missing[i], tt.fatal)
				}
			}
			if len(r.commands) > 0 || slices.ContainsFunc(r.log, func(s string) bool { return strings.Contains(s, "logind") }) {
				t.Errorf("a check has done something: %q", r.log)
			}
		})
	}
}
