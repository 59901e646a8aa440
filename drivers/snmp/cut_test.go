package snmp

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/snmpups"
)

func cutter(t *testing.T, opts map[string]string) drivers.Cutter {
	t.Helper()
	full := map[string]string{"timeout": "200ms", "retries": "0"}
	maps.Copy(full, opts)
	return openDriver(t, full).(drivers.Cutter)
}

// settable are the objects of an agent but for its clock.
func settable(u *snmpups.UPS) map[string]string {
	all := map[string]string{}
	for _, b := range u.Objects() {
		if b.OID.String() != sysUpTime {
			all[b.OID.String()] = fmt.Sprint(b.Value)
		}
	}
	return all
}

// The output of the simulated UPS after Cut, with the mains coming and going.
func TestCutOnTheSimulator(t *testing.T) {
	type change struct {
		at    int // seconds after Cut
		mains bool
	}
	tests := []struct {
		name    string
		flavour snmpups.Flavour
		opts    map[string]string
		mains   bool
		cut     drivers.Cut
		told    drivers.Cut
		changes []change
		off, on int // seconds after Cut; the model goes in steps of 5 s
	}{
		{"RFC 1628, outage", snmpups.RFC1628, nil, false, drivers.Cut{Off: 60 * time.Second, On: 90 * time.Second},
			drivers.Cut{Off: 60 * time.Second, On: 90 * time.Second}, []change{{200, true}}, 60, 200},
		{"RFC 1628, mains back before the cut", snmpups.RFC1628, nil, false, drivers.Cut{Off: 60 * time.Second, On: 90 * time.Second},
			drivers.Cut{Off: 60 * time.Second, On: 90 * time.Second}, []change{{30, true}}, 60, 150},
		{"RFC 1628, mains never gone, part of a second", snmpups.RFC1628, map[string]string{"version": "1"}, true, drivers.Cut{Off: 59*time.Second + 1, On: 90 * time.Second},
			drivers.Cut{Off: 60 * time.Second, On: 90 * time.Second}, nil, 60, 150},
		{"PowerNet, outage", snmpups.PowerNet, nil, false, drivers.Cut{Off: 60 * time.Second, On: 90 * time.Second},
			drivers.Cut{Off: 180 * time.Second, On: 120 * time.Second}, []change{{250, true}}, 180, 365},
		{"PowerNet, mains back before the cut", snmpups.Both, nil, false, drivers.Cut{Off: 20 * time.Second},
			drivers.Cut{Off: 20 * time.Second}, []change{{10, true}}, 20, 25},
		{"both, told by RFC 1628", snmpups.Both, map[string]string{"mib": "rfc1628"}, false, drivers.Cut{Off: 60 * time.Second, On: 90 * time.Second},
			drivers.Cut{Off: 60 * time.Second, On: 90 * time.Second}, []change{{200, true}}, 60, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := newSim(t, snmpups.Config{Flavour: tt.flavour, WriteCommunity: "private"})
			u.SetMains(tt.mains)
			opts := map[string]string{"address": u.Addr(), "write_community": "private"}
			maps.Copy(opts, tt.opts)
			d := cutter(t, opts)
			before := settable(u)
			if err := d.CheckCut(t.Context(), tt.cut); err != nil {
				t.Errorf("CheckCut: %v", err)
			}
			if diff := cmp.Diff(before, settable(u)); diff != "" {
				t.Errorf("CheckCut changed (-before +after):\n%s", diff)
			}
			if n := u.Counts().Set; n == 0 {
				t.Error("CheckCut proved nothing: it set no object")
			}
			told, err := d.Cut(t.Context(), tt.cut)
			if err != nil || told != tt.told {
				t.Fatalf("Cut(%v) = %v, %v: want %v", tt.cut, told, err, tt.told)
			}
			off, on := 0, 0
			for now := 5; now <= 500 && on == 0; now += 5 {
				for _, c := range tt.changes {
					if c.at == now {
						u.SetMains(c.mains)
					}
				}
				u.Step(5 * time.Second)
				switch s := u.State(); {
				case s.Off && off == 0:
					off = now
				case !s.Off && off > 0:
					on = now
				}
			}
			if off != tt.off || on != tt.on {
				t.Errorf("off after %d s, on after %d s; want %d, %d", off, on, tt.off, tt.on)
			}
		})
	}
}

// Whoever may not write is told why, before an outage.
func TestCheckCutRefusals(t *testing.T) {
	const noAccess, authorization, notWritable, genErr = 6, 16, 17, 5
	write := map[string]string{"write_community": "private"}
	without := func(oids ...string) func(u *snmpups.UPS) {
		return func(u *snmpups.UPS) {
			for _, oid := range oids {
				u.Remove(snmpups.MustOID(oid))
			}
		}
	}
	tests := []struct {
		name   string
		cfg    snmpups.Config
		opts   map[string]string
		change func(u *snmpups.UPS)
		cut    drivers.Cut
		want   error
		say    string
	}{
		{"no write community", snmpups.Config{WriteCommunity: "private"}, nil, nil, drivers.Cut{}, drivers.ErrDenied, "set write_community"},
		{"a wrong one: silence", snmpups.Config{WriteCommunity: "other"}, write, nil, drivers.Cut{}, drivers.ErrUnreachable, "answers reads"},
		{"one that only reads", snmpups.Config{WriteCommunity: "private"}, map[string]string{"write_community": "public"}, nil, drivers.Cut{}, drivers.ErrDenied, "the card answers NoAccess"},
		{"one that only reads, version 1", snmpups.Config{WriteCommunity: "private"}, map[string]string{"write_community": "public", "version": "1"}, nil, drivers.Cut{}, drivers.ErrDenied, "the card answers NoSuchName"},
		{"noAccess", snmpups.Config{WriteCommunity: "private", DenyWrites: noAccess}, write, nil, drivers.Cut{}, drivers.ErrDenied, "upsShutdownType"},
		{"authorizationError", snmpups.Config{WriteCommunity: "private", DenyWrites: authorization}, write, nil, drivers.Cut{}, drivers.ErrDenied, "AuthorizationError"},
		{"notWritable", snmpups.Config{WriteCommunity: "private", DenyWrites: notWritable}, write, nil, drivers.Cut{}, drivers.ErrUnable, "NotWritable"},
		{"genErr", snmpups.Config{WriteCommunity: "private", DenyWrites: genErr}, write, nil, drivers.Cut{}, drivers.ErrProtocol, "GenErr"},
		{"no objects", snmpups.Config{WriteCommunity: "private"}, write, without(upsMIB + "8.2.0"), drivers.Cut{}, drivers.ErrUnable, "no upsShutdownAfterDelay (1.3.6.1.2.1.33.1.8.2.0)"},
		{"no objects, version 1", snmpups.Config{WriteCommunity: "private"}, map[string]string{"write_community": "private", "version": "1"}, without(upsMIB + "8.5.0"), drivers.Cut{}, drivers.ErrUnable, "no upsAutoRestart"},
		{"no objects in either branch", snmpups.Config{Flavour: snmpups.Both, WriteCommunity: "private"}, write, without(upsMIB+"8.1.0", apcUPS+"6.2.2.0"), drivers.Cut{}, drivers.ErrUnable, "no upsAdvControlRebootShutdownUps (1.3.6.1.4.1.318.1.1.1.6.2.2.0), no upsShutdownType"},
		{"too long", snmpups.Config{WriteCommunity: "private"}, write, nil, drivers.Cut{Off: maxCutDelay + 1}, drivers.ErrUnable, "before the cut: want at most 720h"},
		{"too long on", snmpups.Config{WriteCommunity: "private"}, write, nil, drivers.Cut{On: maxCutDelay + 1}, drivers.ErrUnable, "before the return"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := newSim(t, tt.cfg)
			if tt.change != nil {
				tt.change(u)
			}
			opts := map[string]string{"address": u.Addr()}
			maps.Copy(opts, tt.opts)
			d := cutter(t, opts)
			told, cutErr := d.Cut(t.Context(), tt.cut)
			for what, err := range map[string]error{"CheckCut": d.CheckCut(t.Context(), tt.cut), "Cut": cutErr} {
				e, ok := errors.AsType[*drivers.Error](err)
				if !ok || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.say) || e.Device != "ups1" || e.Op == "" {
					t.Errorf("%s: %v, want the driver's %v with %q", what, err, tt.want, tt.say)
				}
				if err != nil && (strings.Contains(err.Error(), "private") || strings.Contains(err.Error(), "public")) {
					t.Errorf("%s: %v shows a community", what, err)
				}
			}
			if told != (drivers.Cut{}) || u.State().Cut.Pending() {
				t.Errorf("Cut told %v, the UPS counts down: %v; want nothing", told, u.State().Cut.Pending())
			}
			if _, err := d.Poll(t.Context()); err != nil {
				t.Errorf("Poll afterwards: %v", err)
			}
		})
	}
}

// assigned is an agent with a UPS's objects that takes every SET, and the list of them.
type assigned struct {
	*snmpups.Agent
	mu   sync.Mutex
	list []string
	on   func(oid string) // called at each
}

// each has f called at each SET from now on.
func (a *assigned) each(f func(oid string)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.on = f
}

func newAssigned(t *testing.T, objects []snmpups.Binding) *assigned {
	t.Helper()
	agent, err := snmpups.Listen("127.0.0.1:0", "public")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { agent.Close() })
	a := &assigned{Agent: agent}
	agent.Load(objects, false)
	agent.AllowWrites("private", func(b snmpups.Binding) int {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.list = append(a.list, fmt.Sprintf("%v=%d", b.OID, b.Value.Int))
		agent.Set(b.OID, b.Value)
		if a.on != nil {
			a.on(b.OID.String())
		}
		return 0
	})
	return a
}

func (a *assigned) set() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.list)
}

func number1(oid string, n int64) snmpups.Binding {
	return snmpups.Binding{OID: snmpups.MustOID(oid), Value: snmpups.Int(n)}
}

func ticks1(oid string, n int64) snmpups.Binding {
	return snmpups.Binding{OID: snmpups.MustOID(oid), Value: snmpups.Ticks(n)}
}

// What each card is told, in which order, by what it has.
func TestCutAssignments(t *testing.T) {
	rfc := []snmpups.Binding{number1(upsMIB+"4.1.0", 3), number1(upsMIB+"8.1.0", 2), number1(upsMIB+"8.2.0", -1), number1(upsMIB+"8.3.0", -1), number1(upsMIB+"8.5.0", 2)}
	apc := []snmpups.Binding{number1(apcUPS+"4.1.1.0", 2), ticks1(apcUPS+"5.2.9.0", 0), ticks1(apcUPS+"5.2.10.0", 2000), number1(apcUPS+"6.2.2.0", 1)}
	eaton := []snmpups.Binding{number1(xupsMIB+"4.5.0", 3), number1(xupsMIB+"9.6.0", 0)}
	less := func(list []snmpups.Binding, oids ...string) []snmpups.Binding {
		return slices.DeleteFunc(slices.Clone(list), func(b snmpups.Binding) bool { return slices.Contains(oids, b.OID.String()) })
	}
	cut := drivers.Cut{Off: 45 * time.Second, On: 90 * time.Second}
	tests := []struct {
		name    string
		objects []snmpups.Binding
		told    drivers.Cut
		want    []string
	}{
		{"RFC 1628", rfc, cut, []string{upsMIB + "8.1.0=1", upsMIB + "8.5.0=1", upsMIB + "8.3.0=135", upsMIB + "8.2.0=45"}},
		{"RFC 1628, right as it is", with(rfc, change{upsMIB + "8.1.0": snmpups.Int(1), upsMIB + "8.5.0": snmpups.Int(1)}), cut,
			[]string{upsMIB + "8.3.0=135", upsMIB + "8.2.0=45"}},
		{"RFC 1628 without a startup countdown", less(rfc, upsMIB+"8.3.0"), drivers.Cut{Off: cut.Off},
			[]string{upsMIB + "8.1.0=1", upsMIB + "8.5.0=1", upsMIB + "8.2.0=45"}},
		{"PowerNet", apc, cut, []string{apcUPS + "5.2.9.0=9000", apcUPS + "5.2.10.0=4500", apcUPS + "6.2.2.0=3"}},
		{"PowerNet without a return delay", less(apc, apcUPS+"5.2.9.0"), drivers.Cut{Off: cut.Off}, []string{apcUPS + "5.2.10.0=4500", apcUPS + "6.2.2.0=3"}},
		{"PowerNet, right as it is", with(apc, change{apcUPS + "5.2.9.0": snmpups.Ticks(12000), apcUPS + "5.2.10.0": snmpups.Ticks(6000)}),
			drivers.Cut{Off: time.Minute, On: 2 * time.Minute}, []string{apcUPS + "6.2.2.0=3"}},
		{"PowerNet without its objects, with RFC 1628", slices.Concat(less(apc, apcUPS+"6.2.2.0"), rfc), cut,
			[]string{upsMIB + "8.1.0=1", upsMIB + "8.5.0=1", upsMIB + "8.3.0=135", upsMIB + "8.2.0=45"}},
		{"XUPS", slices.Concat(eaton, rfc), drivers.Cut{Off: cut.Off}, []string{xupsMIB + "9.6.0=45"}},
		{"XUPS without its object", slices.Concat(less(eaton, xupsMIB+"9.6.0"), rfc), cut,
			[]string{upsMIB + "8.1.0=1", upsMIB + "8.5.0=1", upsMIB + "8.3.0=135", upsMIB + "8.2.0=45"}},
	}
	for _, tt := range tests {
		for _, version := range []string{"1", "2c"} {
			a := newAssigned(t, tt.objects)
			d := cutter(t, map[string]string{"address": a.Addr(), "write_community": "private", "version": version})
			told, err := d.Cut(t.Context(), cut)
			if err != nil || told != tt.told {
				t.Errorf("%s, version %s: Cut = %v, %v: want %v", tt.name, version, told, err, tt.told)
			}
			if diff := cmp.Diff(tt.want, a.set()); diff != "" {
				t.Errorf("%s, version %s: set (-want +got):\n%s", tt.name, version, diff)
			}
		}
	}
}

// A command that is not answered may have been taken: an error, with what was sent.
func TestCutUnanswered(t *testing.T) {
	u := newSim(t, snmpups.Config{})
	a := newAssigned(t, u.Objects())
	a.each(func(oid string) {
		if oid == upsMIB+"8.3.0" { // the last before the command; this one is still answered
			a.Break(snmpups.Mute, 0)
		}
	})
	d := cutter(t, map[string]string{"address": a.Addr(), "write_community": "private"})
	told, err := d.Cut(t.Context(), drivers.Cut{Off: time.Minute})
	if !errors.Is(err, drivers.ErrUnreachable) || told.Off != time.Minute {
		t.Errorf("Cut on a card that falls silent = %v, %v: want ErrUnreachable and what was sent", told, err)
	}
	if err := a.Break(snmpups.None, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.StopCut(t.Context()); err != nil {
		t.Errorf("StopCut: %v", err)
	}
	if v, _ := a.Object(snmpups.MustOID(upsMIB + "8.2.0")); v.Int != -1 {
		t.Errorf("upsShutdownAfterDelay is %d after StopCut, want -1", v.Int)
	}
}

// A setting that is longer than asked and cannot be changed is taken as it is; one that is
// too short is an error.
func TestCutFixedDelay(t *testing.T) {
	for have, want := range map[time.Duration]error{10 * time.Minute: nil, 20 * time.Second: drivers.ErrUnable} {
		u := newSim(t, snmpups.Config{Flavour: snmpups.PowerNet})
		u.Change(func(s *snmpups.State) { s.Cut.ShutoffDelay = have })
		a := newAssigned(t, u.Objects())
		a.each(func(oid string) { // whatever it is set to
			if oid == apcUPS+"5.2.10.0" {
				a.Set(snmpups.MustOID(oid), snmpups.Ticks(have.Milliseconds()/10))
			}
		})
		d := cutter(t, map[string]string{"address": a.Addr(), "write_community": "private"})
		told, err := d.Cut(t.Context(), drivers.Cut{Off: time.Minute})
		if !errors.Is(err, want) || want == nil && told.Off != have {
			t.Errorf("Cut with a delay stuck at %v = %v, %v: want %v", have, told, err, want)
		}
	}
}

// After a restart of the agent a countdown is found in the card; where none runs nothing is
// written.
func TestStopCut(t *testing.T) {
	u := newSim(t, snmpups.Config{WriteCommunity: "private"})
	opts := map[string]string{"address": u.Addr(), "write_community": "private"}
	if _, err := cutter(t, opts).Cut(t.Context(), drivers.Cut{Off: time.Minute, On: time.Minute}); err != nil {
		t.Fatal(err)
	}
	another := cutter(t, opts)
	if err := another.StopCut(t.Context()); err != nil || u.State().Cut.Pending() || u.State().Cut.OnIn >= 0 {
		t.Errorf("StopCut by another driver: %v, %+v: want both countdowns ended", err, u.State().Cut)
	}
	u.ResetCounts()
	if err := another.StopCut(t.Context()); err != nil || u.Counts().Set != 0 {
		t.Errorf("StopCut with nothing begun: %v, %d SETs: want none", err, u.Counts().Set)
	}
	if err := cutter(t, map[string]string{"address": u.Addr()}).StopCut(t.Context()); err != nil {
		t.Errorf("StopCut by one who cannot have begun anything: %v", err)
	}
}

func TestWriteCommunityOption(t *testing.T) {
	for _, opts := range []map[string]string{
		{"address": "h", "v3user": "u", "write_community": "w"},
		{"address": "h", "write_community": strings.Repeat("w", 128)},
	} {
		_, err := Factory.Open("ups1", opts, nil)
		if o, ok := errors.AsType[*drivers.OptionError](err); !ok || o.Key != "write_community" || strings.Contains(err.Error(), "www") {
			t.Errorf("%v: %v, want an OptionError that does not show it", opts, err)
		}
	}
}

// snmpsimd, an independent agent, takes the SETs of versions 1, 2c and 3, and refuses those
// to what is not to be written, in its own way.
func TestCutReal(t *testing.T) {
	const modules = "/usr/share/snmpsim/variation"
	peer.Need(t, "snmpsimd")
	if _, err := os.Stat(filepath.Join(modules, "writecache.py")); err != nil {
		t.Skipf("snmpsimd has no module writecache in %s", modules)
	}
	const writable, notWritable = "2:writecache|value=2", "2:writecache|value=2,op=set,status=notwritable"
	const noAccess, authorization = "2:writecache|value=2,op=set,status=noaccess", "2:writecache|value=2,op=set,status=authorizationerror"
	community := func(version string) map[string]string {
		return map[string]string{"community": "ups", "write_community": "ups", "version": version}
	}
	tests := []struct {
		name      string
		typ, auto string // the first two objects that are set
		opts      map[string]string
		want      error
	}{
		{"version 2c", writable, writable, community("2c"), nil},
		{"version 1", writable, writable, community("1"), nil},
		{"version 3", writable, writable, map[string]string{"v3user": "dodai", "v3auth": "SHA", "v3authpass": "auth-secret", "v3privpass": "priv-secret", "v3context": "ups"}, nil},
		{"notWritable", notWritable, writable, community("2c"), drivers.ErrUnable},
		{"notWritable, version 1", notWritable, writable, community("1"), drivers.ErrDenied}, // noSuchName
		{"noAccess", noAccess, noAccess, community("2c"), drivers.ErrDenied},
		{"noAccess, version 1", noAccess, noAccess, community("1"), drivers.ErrDenied},
		{"authorizationError", authorization, authorization, community("2c"), drivers.ErrDenied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const behind = "1.3.6.1.2.1.33.1.9.3.0|"
			objects := "1.3.6.1.2.1.33.1.8.1.0|" + tt.typ + "\n1.3.6.1.2.1.33.1.8.2.0|2:writecache|value=-1\n" +
				"1.3.6.1.2.1.33.1.8.3.0|2:writecache|value=-1\n1.3.6.1.2.1.33.1.8.5.0|" + tt.auto + "\n"
			records := strings.Replace(writeRec(fixture(t)), behind, objects+behind, 1) // sorted, or GETNEXT goes wrong
			addr := serveRecords(t, map[string]string{"ups": records}, "--variation-modules-dir="+modules,
				"--v3-user=dodai", "--v3-auth-key=auth-secret", "--v3-auth-proto=SHA", "--v3-priv-key=priv-secret", "--v3-priv-proto=AES")
			opts := map[string]string{"address": addr, "timeout": "3s", "retries": "0"}
			maps.Copy(opts, tt.opts)
			d := cutter(t, opts)
			cut := drivers.Cut{Off: 45 * time.Second, On: 90 * time.Second}
			if err := d.CheckCut(t.Context(), cut); !errors.Is(err, tt.want) {
				t.Errorf("CheckCut: %v, want %v", err, tt.want)
			}
			told, err := d.Cut(t.Context(), cut)
			if !errors.Is(err, tt.want) || tt.want == nil && told != cut {
				t.Errorf("Cut = %v, %v: want %v", told, err, tt.want)
			}
			if tt.want != nil {
				return
			}
			if r := mustPoll(t, d); r.Vars[dodai.UPSTimerShutdown].String() != "45" {
				t.Errorf("%s is %v, want the 45 s that were set", dodai.UPSTimerShutdown, r.Vars[dodai.UPSTimerShutdown])
			}
			for range 2 {
				if err := d.StopCut(t.Context()); err != nil {
					t.Errorf("StopCut: %v", err)
				}
			}
			if r := mustPoll(t, d); r.Vars[dodai.UPSTimerShutdown].String() == "45" {
				t.Error("the countdown stands after StopCut")
			}
		})
	}
}
