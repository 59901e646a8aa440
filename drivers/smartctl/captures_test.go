package smartctl

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// expectation is one capture's hand-read truth.
type expectation struct {
	Exit         *int     `yaml:"exit_status"`
	Verdict      string   `yaml:"verdict"`
	VerdictOneOf []string `yaml:"verdict_one_of"`
	TempC        any      `yaml:"temperature_celsius"`
	Hours        any      `yaml:"power_on_hours"`
	Devices      []struct{ Name, Type string }
}

func loadExpected(t *testing.T, dir string) (files map[string]expectation, raw map[string]map[string]any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "expected.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var typed struct{ Files map[string]expectation }
	var untyped struct{ Files map[string]map[string]any }
	if err := yaml.Unmarshal(data, &typed); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &untyped); err != nil {
		t.Fatal(err)
	}
	return typed.Files, untyped.Files
}

const oneDevice = `{"json_format_version":[1,0],"devices":[{"name":"/dev/sda","info_name":"/dev/sda","type":"sat","protocol":"ATA"}]}`

// script writes a program that stands in for smartctl: it lists the devices of scan and
// answers everything else with the file's text and the exit status.
func script(t *testing.T, scan, file string, exit int) string {
	t.Helper()
	dir := t.TempDir()
	list := filepath.Join(dir, "scan.json")
	writeFile(t, list, scan, 0o644)
	path := filepath.Join(dir, "smartctl")
	writeFile(t, path, fmt.Sprintf("#!/bin/sh\ncase \"$*\" in *--scan*) cat %q; exit 0;; esac\ncat %q; exit %d\n", list, file, exit), 0o755)
	return path
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func pollWith(t *testing.T, opts map[string]string) dodai.Reading {
	t.Helper()
	d, err := Factory.Open("disks", opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Poll(t.Context())
	if err != nil {
		t.Fatalf("Poll: %v", err)
	}
	return r
}

// TestCaptures reads what real drives answered, each through a program in smartctl's
// place and with the exit status it had.
func TestCaptures(t *testing.T) {
	for _, set := range []string{"smartctl", "smartctl-robustness"} {
		dir := peer.Shared(t, "corpus", "storage", set)
		files, raw := loadExpected(t, dir)
		for name, want := range files {
			t.Run(set+"/"+name, func(t *testing.T) {
				exit := 0
				if want.Exit != nil {
					exit = *want.Exit
				}
				r := pollWith(t, map[string]string{"smartctl": script(t, oneDevice, filepath.Join(dir, name), exit)})
				if len(r.Disks) != 1 {
					t.Fatalf("%d disks, want 1", len(r.Disks))
				}
				checkDisk(t, r.Disks[0], want, raw[name])
			})
		}
	}
}

func checkDisk(t *testing.T, d dodai.Disk, want expectation, judged map[string]any) {
	t.Helper()
	oneOf := want.VerdictOneOf
	if want.Verdict != "" {
		oneOf = append(oneOf, want.Verdict)
	}
	if !slices.Contains(oneOf, string(d.Verdict)) {
		t.Errorf("verdict %s, want one of %v; reasons %q", d.Verdict, oneOf, d.Reasons)
	}
	if (d.Verdict == dodai.VerdictOK) != (len(d.Reasons) == 0) {
		t.Errorf("verdict %s with reasons %q", d.Verdict, d.Reasons)
	}
	for key, got := range map[string]any{"temperature_celsius": deref(d.TempC), "power_on_hours": deref(d.PowerOnHours)} {
		if value, is := judged[key]; is && fmt.Sprint(got) != fmt.Sprint(value) {
			t.Errorf("%s = %v, want %v", key, got, value)
		}
	}
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// TestScanCaptures lists the devices of real machines; none of them can be opened here.
func TestScanCaptures(t *testing.T) {
	dir := peer.Shared(t, "corpus", "storage", "smartctl-scan")
	files, _ := loadExpected(t, dir)
	for name, want := range files {
		t.Run(name, func(t *testing.T) {
			scan, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			r := pollWith(t, map[string]string{"smartctl": script(t, string(scan), "/dev/null", 2)})
			var got, wanted []string
			for _, d := range r.Disks {
				got = append(got, d.Device+" "+d.Type)
				if d.Verdict != dodai.VerdictUnreadable {
					t.Errorf("%s: verdict %s, want unreadable", d.Device, d.Verdict)
				}
			}
			for _, d := range want.Devices {
				wanted = append(wanted, d.Name+" "+d.Type)
			}
			if !slices.Equal(got, wanted) {
				t.Errorf("devices %q, want %q", got, wanted)
			}
		})
	}
}
