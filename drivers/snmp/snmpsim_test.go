package snmp

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/snmpups"
)

// startSnmpsim runs snmpsimd over walks, each under its name as community (version 3:
// as context), and waits until it answers for one of them.
func startSnmpsim(t *testing.T, walks map[string][]snmpups.Binding, args ...string) string {
	t.Helper()
	records := map[string]string{}
	for name, list := range walks {
		records[name] = writeRec(list)
	}
	return serveRecords(t, records, args...)
}

// serveRecords is startSnmpsim over records in the snmprec format.
func serveRecords(t *testing.T, records map[string]string, args ...string) string {
	t.Helper()
	program := peer.Need(t, "snmpsimd")
	root := t.TempDir()
	for dir := root; strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // it gives up root's rights
			t.Fatal(err)
		}
	}
	data, cache := filepath.Join(root, "data"), filepath.Join(root, "cache")
	for _, dir := range []string{data, cache} {
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		os.Chmod(dir, 0o777)
	}
	some := ""
	for name, text := range records {
		if err := os.WriteFile(filepath.Join(data, name+".snmprec"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		some = name
	}
	addr := fmt.Sprintf("127.0.0.1:%d", peer.FreePort(t, "udp"))
	args = append([]string{
		"--data-dir=" + data, "--cache-dir=" + cache, "--variation-modules-dir=" + cache,
		"--logging-method=stderr", "--agent-udpv4-endpoint=" + addr,
	}, args...)
	if os.Getuid() == 0 {
		args = append([]string{"--process-user=nobody", "--process-group=nogroup"}, args...)
	}
	peer.Start(t, exec.Command(program, args...), func() error {
		d, err := Factory.Open("ready", map[string]string{"address": addr, "community": some, "timeout": "500ms", "retries": "0"}, nil)
		if err != nil {
			return err
		}
		defer d.Close()
		if _, err = d.Poll(t.Context()); errors.Is(err, drivers.ErrNoData) {
			return nil
		}
		return err
	})
	return addr
}

// writeRec writes a walk in the snmprec format, sorted as snmpsimd wants it.
func writeRec(list []snmpups.Binding) string {
	var b strings.Builder
	for _, bind := range list {
		v := bind.Value
		switch v.Tag {
		case snmpups.TagOctetString, snmpups.TagOpaque, snmpups.TagIPAddress:
			fmt.Fprintf(&b, "%v|%dx|%s\n", bind.OID, v.Tag, hex.EncodeToString(v.Octets))
		case snmpups.TagOID:
			fmt.Fprintf(&b, "%v|6|%v\n", bind.OID, v.OID)
		case snmpups.TagNull:
			fmt.Fprintf(&b, "%v|5|\n", bind.OID)
		default:
			fmt.Fprintf(&b, "%v|%d|%d\n", bind.OID, v.Tag, v.Int)
		}
	}
	return b.String()
}

// with is a walk with some objects changed.
func with(list []snmpups.Binding, changes ...change) []snmpups.Binding {
	out := make([]snmpups.Binding, 0, len(list))
	want := change{}
	for _, c := range changes {
		maps.Copy(want, c)
	}
	for _, b := range list {
		if v, ok := want[b.OID.String()]; ok {
			b.Value = v
			delete(want, b.OID.String())
		}
		out = append(out, b)
	}
	for oid, v := range want {
		if v.Tag != 0 {
			out = append(out, snmpups.Binding{OID: snmpups.MustOID(oid), Value: v})
		}
	}
	return sorted(out)
}

func sorted(list []snmpups.Binding) []snmpups.Binding {
	a := &snmpups.Agent{}
	a.Load(list, false)
	return a.Objects()
}

// TestCapturesReal serves the recorded walks with snmpsimd, an independent agent.
func TestCapturesReal(t *testing.T) {
	peer.Need(t, "snmpsimd")
	all := loadCaptures(t)
	walks := map[string][]snmpups.Binding{}
	for _, e := range all {
		walks[e.name] = sorted(e.list)
		o := outages[e.teller()]
		walks[e.name+"-out"] = with(e.list, o.out)
		walks[e.name+"-low"] = with(e.list, o.out, o.low)
		walks[e.name+"-back"] = with(e.list, o.out, o.low, o.back)
	}
	addr := startSnmpsim(t, walks)
	reach := func(name string) map[string]string {
		return map[string]string{"address": addr, "community": name, "timeout": "5s"}
	}
	testCaptures(t, all, func(_ *testing.T, name string, _ []snmpups.Binding) map[string]string { return reach(name) })
	for _, e := range all {
		if !e.readable() {
			continue
		}
		for variant, want := range map[string]dodai.Status{"-out": dodai.OB, "-low": dodai.OB | dodai.LB, "-back": dodai.OL} {
			t.Run(e.name+variant, func(t *testing.T) {
				r := mustPoll(t, openDriver(t, reach(e.name+variant)))
				const about = dodai.OL | dodai.OB | dodai.LB | dodai.OFF
				if r.Status&about != want {
					t.Errorf("status %v, want %v", r.Status, want)
				}
			})
		}
	}
}

// fixture is a small walk of our own, with one of each trap: a table numbered
// column.1.0, NULL, -1 unsigned, text for a number, a leading dot.
func fixture(t *testing.T) []snmpups.Binding {
	t.Helper()
	f, err := os.Open("testdata/rfc1628-traps.snmprec")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := snmpups.ReadSNMPRec(f)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestVersion3 asks snmpsimd as users with several pairs of protocols.
func TestVersion3(t *testing.T) {
	walks := map[string][]snmpups.Binding{"ups": fixture(t)}
	for _, tc := range []struct{ auth, priv, simAuth, simPriv string }{
		{"SHA", "AES", "SHA", "AES"},
		{"SHA256", "AES256C", "SHA256", "AES256"}, // snmpsim's AES256 extends the key after Reeder
		{"SHA256", "AES256", "SHA256", "AES256BLMT"},
		{"SHA512", "AES192", "SHA512", "AES192BLMT"},
		{"MD5", "DES", "MD5", "DES"},
	} {
		t.Run(tc.auth+" "+tc.priv, func(t *testing.T) {
			t.Parallel()
			addr := startSnmpsim(t, walks, "--v3-user=dodai", "--v3-auth-key=auth-secret", "--v3-auth-proto="+tc.simAuth,
				"--v3-priv-key=priv-secret", "--v3-priv-proto="+tc.simPriv)
			opts := map[string]string{
				"address": addr, "v3user": "dodai", "v3auth": tc.auth, "v3authpass": "auth-secret",
				"v3priv": tc.priv, "v3privpass": "priv-secret", "v3context": "ups", "timeout": "3s",
			}
			d := openDriver(t, opts)
			for range 2 {
				if r := mustPoll(t, d); r.Status != dodai.OL {
					t.Errorf("status %v, want OL", r.Status)
				}
			}
			opts["timeout"], opts["retries"] = "700ms", "0"
			for key, sentinels := range map[string][]error{
				"v3authpass": {drivers.ErrDenied},
				"v3privpass": {drivers.ErrDenied, drivers.ErrUnreachable}, // snmpsimd is silent on what it
				"v3user":     {drivers.ErrDenied, drivers.ErrUnreachable}, // cannot decrypt and on strangers
			} {
				wrong := maps.Clone(opts)
				wrong[key] = "wrong-secret"
				_, err := openDriver(t, wrong).Poll(t.Context())
				if !slices.ContainsFunc(sentinels, func(s error) bool { return errors.Is(err, s) }) {
					t.Errorf("with a wrong %s: %v, want one of %v", key, err, sentinels)
				}
			}
		})
	}
}
