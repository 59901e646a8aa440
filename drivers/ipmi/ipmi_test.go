package ipmi_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/driverstest"
	"github.com/dodai-agent/dodai/drivers/ipmi"
	"github.com/dodai-agent/dodai/e2e/peer"
)

func options(address string) map[string]string {
	return map[string]string{"address": address, "user": peer.IPMIViewer, "password": peer.IPMIViewerSecret}
}

func openAt(t testing.TB, opts map[string]string) drivers.Driver {
	t.Helper()
	d, err := ipmi.Factory.Open("bmc1", opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func poll(t testing.TB, d drivers.Driver, deadline time.Duration) (dodai.Reading, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	return d.Poll(ctx)
}

func mustPoll(t testing.TB, d drivers.Driver) dodai.Reading {
	t.Helper()
	r, err := poll(t, d, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestContract(t *testing.T) {
	driverstest.Run(t, driverstest.Suite{
		Factory: ipmi.Factory,
		NewPeer: newProxy,
		Trouble: func(r dodai.Reading) bool {
			return len(r.PSUs) == 2 && r.PSUs[1].State == dodai.PSUInputLost && r.Redundancy[0].State == dodai.RedundancyLost
		},
	})
}

// start is the reading of a BMC that has just been started.
func start() dodai.Reading {
	psu := func(id, name, serial string) dodai.PSU {
		return dodai.PSU{
			ID: id, Name: name, State: dodai.PSUOK, Input: dodai.InputOK, Serial: serial,
			Watts: new(150.0), CapacityWatts: new(800.0), Volts: new(232.0),
		}
	}
	return dodai.Reading{
		Kind:        dodai.KindPSUs,
		Device:      dodai.Device{CardFirmware: "4.02"},
		PSUs:        []dodai.PSU{psu("10.1", "PSU1", "TP8H0001"), psu("10.2", "PSU2", "TP8H0002")},
		Redundancy:  []dodai.Redundancy{{Domain: "system", State: dodai.RedundancyFull, Reported: "Fully Redundant"}},
		SystemWatts: new(300.0),
	}
}

// TestScenarios changes the BMC's sensors and reads on with the same session; each
// scenario begins and ends with everything in order.
func TestScenarios(t *testing.T) {
	sim := peer.StartIPMISim(t)
	d := openAt(t, options(sim.Addr()))
	if diff := cmp.Diff(start(), mustPoll(t, d)); diff != "" {
		t.Fatalf("first reading (-want +got):\n%s", diff)
	}
	const two = peer.IPMIStatus + 1
	lost := []dodai.Redundancy{{Domain: "system", State: dodai.RedundancyLost, Reported: "Redundancy Lost"}}
	bit := func(n int, state dodai.PSUState, in dodai.InputState) (func(), func(), func(*dodai.Reading)) {
		return func() { sim.SetBit(two, n, true) }, func() { sim.SetBit(two, n, false) },
			func(r *dodai.Reading) { r.PSUs[1].State, r.PSUs[1].Input = state, in }
	}
	type scenario struct {
		name     string
		do, undo func()
		want     func(*dodai.Reading)
	}
	var table []scenario
	for _, b := range []struct {
		name  string
		bit   int
		state dodai.PSUState
		input dodai.InputState
	}{
		{"failed", 1, dodai.PSUFailed, dodai.InputOK},
		{"predictive failure", 2, dodai.PSUPredictive, dodai.InputOK},
		{"input lost or out of range", 4, dodai.PSUInputLost, dodai.InputLost},
		{"input out of range", 5, dodai.PSUWarning, dodai.InputOutOfRange},
		{"configuration error", 6, dodai.PSUFailed, dodai.InputOK},
	} {
		do, undo, want := bit(b.bit, b.state, b.input)
		table = append(table, scenario{b.name, do, undo, func(r *dodai.Reading) { want(r); r.Notes = fullYet(b.state) }})
	}
	table = append(table,
		scenario{"AC lost, the other carries all",
			func() {
				sim.SetBit(two, 3, true)
				sim.SetValue(peer.IPMIVolts+1, 0)
				sim.SetValue(peer.IPMIWatts+1, 0)
				sim.SetValue(peer.IPMIWatts, 60)
				sim.SetOnly(peer.IPMIRedundancy, 1)
			},
			func() {
				sim.SetBit(two, 3, false)
				sim.SetValue(peer.IPMIVolts+1, 116)
				sim.SetValue(peer.IPMIWatts+1, 30)
				sim.SetValue(peer.IPMIWatts, 30)
				sim.SetOnly(peer.IPMIRedundancy, 0)
			},
			func(r *dodai.Reading) {
				r.PSUs[0].Watts = new(300.0)
				r.PSUs[1].State, r.PSUs[1].Input = dodai.PSUInputLost, dodai.InputLost
				r.PSUs[1].Watts, r.PSUs[1].Volts = new(0.0), new(0.0)
				r.Redundancy = lost
			}},
		scenario{"pulled out, with input lost left standing",
			func() { sim.SetBit(two, 3, true); sim.SetBit(two, 0, false); sim.SetOnly(peer.IPMIRedundancy, 1) },
			func() { sim.SetBit(two, 3, false); sim.SetBit(two, 0, true); sim.SetOnly(peer.IPMIRedundancy, 0) },
			func(r *dodai.Reading) {
				r.PSUs[1] = dodai.PSU{ID: "10.2", Name: "PSU2", State: dodai.PSUAbsent, Input: dodai.InputUnknown}
				r.Redundancy = lost
			}},
		scenario{"scanning off, with the old bits left standing",
			func() { sim.SetScanning(two, false) }, func() { sim.SetScanning(two, true) },
			func(r *dodai.Reading) {
				r.PSUs[1].State, r.PSUs[1].Input = dodai.PSUUnknown, dodai.InputUnknown
			}},
		scenario{"power unit says AC lost",
			func() { sim.SetBit(peer.IPMIPowerUnit, 4, true) }, func() { sim.SetBit(peer.IPMIPowerUnit, 4, false) },
			func(r *dodai.Reading) { r.Notes = []string{"Power Unit: AC lost"} }},
	)
	for offset, want := range map[int]dodai.RedundancyState{
		1: dodai.RedundancyLost, 2: dodai.RedundancyDegraded, 3: dodai.RedundancyLost, 4: dodai.RedundancyLost,
		5: dodai.RedundancyInsufficient, 6: dodai.RedundancyDegraded, 7: dodai.RedundancyDegraded,
	} {
		table = append(table, scenario{"redundancy offset " + string(rune('0'+offset)),
			func() { sim.SetOnly(peer.IPMIRedundancy, offset) }, func() { sim.SetOnly(peer.IPMIRedundancy, 0) },
			func(r *dodai.Reading) { r.Redundancy[0].State, r.Redundancy[0].Reported = want, "" }})
	}
	for _, s := range table {
		t.Run(s.name, func(t *testing.T) {
			s.do()
			want, got := start(), mustPoll(t, d)
			if s.want(&want); want.Redundancy[0].Reported == "" {
				got.Redundancy[0].Reported = ""
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("reading (-want +got):\n%s", diff)
			}
			s.undo()
			if diff := cmp.Diff(start(), mustPoll(t, d)); diff != "" {
				t.Errorf("afterwards (-want +got):\n%s", diff)
			}
		})
	}
}

// fullYet is the note on a redundancy sensor that still says full.
func fullYet(s dodai.PSUState) []string {
	if s == dodai.PSUFailed || s == dodai.PSUInputLost {
		return []string{"the redundancy sensor says full, yet at most one supply works"}
	}
	return nil
}

// TestSecondOpinion asks ipmitool whether the BMC really says what the driver reads.
func TestSecondOpinion(t *testing.T) {
	sim := peer.StartIPMISim(t)
	tool := peer.Need(t, "ipmitool")
	d := openAt(t, options(sim.Addr()))
	mustPoll(t, d)
	sim.SetBit(peer.IPMIStatus+1, 3, true)
	sim.SetOnly(peer.IPMIRedundancy, 1)
	r := mustPoll(t, d)
	host, port, _ := net.SplitHostPort(sim.Addr())
	out, err := exec.Command(tool, "-I", "lanplus", "-C", "3", "-L", "USER", "-H", host, "-p", port,
		"-U", peer.IPMIViewer, "-P", peer.IPMIViewerSecret, "sdr", "elist").Output()
	if err != nil {
		t.Fatal(err)
	}
	for words, same := range map[string]bool{
		"10.2 | Presence detected, Power Supply AC lost": r.PSUs[1].State == dodai.PSUInputLost,
		"10.1 | Presence detected\n":                     r.PSUs[0].State == dodai.PSUOK,
		"Redundancy Lost":                                r.Redundancy[0].Reported == "Redundancy Lost",
	} {
		if !strings.Contains(string(out), words) || !same {
			t.Errorf("ipmitool says %q: %v; the driver %+v\n%s", words, strings.Contains(string(out), words), r, out)
		}
	}
}

func TestRepositoryChanges(t *testing.T) {
	sim := peer.StartIPMISim(t)
	d := openAt(t, options(sim.Addr()))
	mustPoll(t, d)
	sim.AddSupply()
	r := mustPoll(t, d)
	if len(r.PSUs) != 3 || r.PSUs[2].ID != "10.3" || r.PSUs[2].State != dodai.PSUUnknown {
		t.Errorf("supplies after a record was added = %+v: want an unknown 10.3 (the BMC has no such sensor)", r.PSUs)
	}
	if r.PSUs[0].State != dodai.PSUOK || r.PSUs[1].State != dodai.PSUOK {
		t.Errorf("the others = %+v: want ok", r.PSUs[:2])
	}
}

// Numbers are read in every third poll, and at once beside a state that is another.
func TestNumbersAreReadLessOften(t *testing.T) {
	sim := peer.StartIPMISim(t)
	d := openAt(t, options(sim.Addr()))
	watts := func() float64 {
		t.Helper()
		r := mustPoll(t, d)
		if len(r.PSUs) != 2 || r.PSUs[0].Watts == nil {
			t.Fatalf("reading %+v: want two supplies with their watts", r.PSUs)
		}
		return *r.PSUs[0].Watts
	}
	var got []float64
	got = append(got, watts())
	sim.SetValue(peer.IPMIWatts, 60)
	got = append(got, watts(), watts(), watts())
	sim.SetValue(peer.IPMIWatts, 50)
	sim.SetBit(peer.IPMIStatus+1, 3, true)
	got = append(got, watts())
	if want := []float64{150, 150, 150, 300, 250}; !slices.Equal(got, want) {
		t.Errorf("watts of five polls %v, want %v", got, want)
	}
}

// TestRestart covers an idle session that was dropped as well: to the driver both are
// a session that the BMC silently ignores.
func TestRestart(t *testing.T) {
	sim := peer.StartIPMISim(t)
	d := openAt(t, options(sim.Addr()))
	mustPoll(t, d)
	sim.SetBit(peer.IPMIStatus, 2, true)
	sim.Restart()
	begin := time.Now()
	r, err := poll(t, d, 5*time.Second)
	if err != nil || r.PSUs[0].State != dodai.PSUPredictive {
		t.Fatalf("poll after a restart = %+v, %v: want the new state within the same poll", r, err)
	}
	t.Logf("found back in %v", time.Since(begin))
	sim.Stop()
	begin = time.Now()
	if _, err := poll(t, d, 5*time.Second); !errors.Is(err, drivers.ErrUnreachable) {
		t.Errorf("poll of a BMC that is gone: %v, want ErrUnreachable", err)
	}
	t.Logf("gone after %v", time.Since(begin))
	sim.Restart()
	mustPoll(t, d)
}

func TestHang(t *testing.T) {
	sim := peer.StartIPMISim(t)
	d := openAt(t, options(sim.Addr()))
	mustPoll(t, d)
	sim.Pause()
	for range 2 { // with a session, and without
		begin := time.Now()
		_, err := poll(t, d, time.Second)
		if took := time.Since(begin); !errors.Is(err, drivers.ErrUnreachable) || took > 2*time.Second {
			t.Errorf("poll of a hung BMC: %v after %v, want ErrUnreachable within 1 s and what a busy machine adds", err, took)
		}
	}
	sim.Resume()
	mustPoll(t, d)
}

// TestSessionsAreClosed opens more sessions than the BMC has slots.
func TestSessionsAreClosed(t *testing.T) {
	sim := peer.StartIPMISim(t)
	for range 80 {
		d := openAt(t, options(sim.Addr()))
		mustPoll(t, d)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDenied(t *testing.T) {
	sim := peer.StartIPMISim(t)
	for name, change := range map[string]map[string]string{
		"wrong password": {"password": "wrong"},
		"unknown user":   {"user": "nobody"},
		"cipher refused": {"cipher": "17"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(sim.Addr())
			maps.Copy(opts, change)
			_, err := poll(t, openAt(t, opts), 2*time.Second)
			if e, ok := errors.AsType[*drivers.Error](err); !errors.Is(err, drivers.ErrDenied) || !ok || e.Hint == "" {
				t.Errorf("error %v: want ErrDenied with a hint", err)
			}
			if err != nil && strings.Contains(err.Error(), peer.IPMIViewerSecret) {
				t.Errorf("error %q shows the password", err)
			}
		})
	}
	opts := options(sim.Addr())
	opts["user"], opts["password"], opts["privilege"], opts["cipher"] = peer.IPMIAdmin, peer.IPMIAdminSecret, "administrator", "3"
	mustPoll(t, openAt(t, opts))
}

func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(peer.IPMIViewerSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		opts    map[string]string
		wantKey string // empty: accepted
	}{
		{"host alone", map[string]string{"address": "bmc"}, ""},
		{"IPv6 alone", map[string]string{"address": "2001:db8::1"}, ""},
		{"password file", map[string]string{"address": "bmc", "password_file": file}, ""},
		{"two colons", map[string]string{"address": "bmc:1:2"}, "address"},
		{"both passwords", map[string]string{"address": "bmc", "password": "x", "password_file": file}, "password_file"},
		{"no such file", map[string]string{"address": "bmc", "password_file": file + "x"}, "password_file"},
		{"long user", map[string]string{"address": "bmc", "user": "abcdefghijklmnopq"}, "user"},
		{"long password", map[string]string{"address": "bmc", "password": "abcdefghijklmnopqrstu"}, "password"},
		{"cipher 0", map[string]string{"address": "bmc", "cipher": "0"}, "cipher"},
		{"privilege", map[string]string{"address": "bmc", "privilege": "root"}, "privilege"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ipmi.Factory.Open("bmc1", tt.opts, nil)
			o, _ := errors.AsType[*drivers.OptionError](err)
			if got := ""; tt.wantKey == "" && err != nil || tt.wantKey != "" && (o == nil || o.Key != tt.wantKey) {
				t.Errorf("Open(%v) = %v %s: want key %q", tt.opts, err, got, tt.wantKey)
			}
			if err != nil && strings.Contains(err.Error(), "abcdefghijklmnopqrstu") {
				t.Errorf("error %q shows the password", err)
			}
		})
	}
	sim := peer.StartIPMISim(t)
	mustPoll(t, openAt(t, map[string]string{"address": sim.Addr(), "user": peer.IPMIViewer, "password_file": file}))
}

// TestPollTime measures what a poll of a running session takes.
func TestPollTime(t *testing.T) {
	sim := peer.StartIPMISim(t)
	d := openAt(t, options(sim.Addr()))
	begin := time.Now()
	mustPoll(t, d)
	first := time.Since(begin)
	var took []time.Duration
	for range 300 {
		begin := time.Now()
		mustPoll(t, d)
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	p50, p95 := took[len(took)/2], took[len(took)*95/100]
	t.Logf("first poll %v, then p50 %v, p95 %v", first, p50, p95)
	if p50 > 100*time.Millisecond {
		t.Errorf("p50 of a poll is %v: want less than 100 ms on loopback", p50)
	}
}

func BenchmarkPoll(b *testing.B) {
	sim := peer.StartIPMISim(b)
	d := openAt(b, options(sim.Addr()))
	mustPoll(b, d)
	for b.Loop() {
		mustPoll(b, d)
	}
}
