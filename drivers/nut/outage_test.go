package nut

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// A server is an upsd, real or not, with UPSes u1 and u2 made from testdata/online.dev.
type server interface {
	Addr() string
	Set(ups, name, value string)
	FSD(ups string)
	KillDriver(ups string)
	StartDriver(ups string) // with the values of the file
	HangDriver(ups string)
	ResumeDriver(ups string)
	Restart()
	UpscAll(ups string) map[string]string
}

// TestOutage plays one outage against both servers.
func TestOutage(t *testing.T) {
	t.Run("simulated", func(t *testing.T) { outage(t, newFakeServer(t)) })
	t.Run("real", func(t *testing.T) {
		dev, err := os.ReadFile(filepath.Join("testdata", "online.dev"))
		if err != nil {
			t.Fatal(err)
		}
		outage(t, peer.StartUPSD(t, map[string]string{"u1": string(dev), "u2": string(dev)}, peer.UPSDMaxAge(3)))
	})
}

func outage(t *testing.T, s server) {
	d := open(t, map[string]string{"address": s.Addr() + "/u1", "login": "yes",
		"username": peer.UPSDSecondary, "password": peer.UPSDSecondaryPassword})
	sees := func(want dodai.Status) dodai.Reading {
		t.Helper()
		r, err := poll(t, d, 5*time.Second)
		if err != nil || r.Status != want {
			t.Fatalf("poll = %v, %v, want %v", r.Status, err, want)
		}
		return r
	}
	fails := func(say string) {
		t.Helper()
		_, err := poll(t, d, 5*time.Second)
		checkError(t, err, drivers.ErrUnreachable, say)
	}

	compare(t, sees(dodai.OL|dodai.CHRG|dodai.ALARM), s.UpscAll("u1"))
	s.Set("u1", "ups.status", "OB DISCHRG")
	s.Set("u1", "input.voltage", "0.0")
	compare(t, sees(dodai.OB|dodai.DISCHRG), s.UpscAll("u1"))
	s.Set("u1", "battery.charge", "9")
	s.Set("u1", "battery.runtime", "65535")
	s.Set("u1", "ups.status", "OB LB")
	r := sees(dodai.OB | dodai.LB)
	compare(t, r, s.UpscAll("u1"))
	if _, lie := r.Vars.Float(dodai.BatteryRuntime); lie {
		t.Errorf("battery.runtime 65535 is reported")
	}

	s.HangDriver("u1")
	fails("DATA-STALE")
	fails("DATA-STALE")
	s.ResumeDriver("u1")
	sees(dodai.OB | dodai.LB)
	s.KillDriver("u1")
	fails("DRIVER-NOT-CONNECTED")
	s.StartDriver("u1")
	sees(dodai.OL | dodai.CHRG | dodai.ALARM)

	s.FSD("u1")
	sees(dodai.FSD | dodai.OL | dodai.CHRG | dodai.ALARM)
	session := d.s
	s.Restart() // which clears the latch and the connection
	sees(dodai.OL | dodai.CHRG | dodai.ALARM)
	if d.s == session {
		t.Error("the connection outlived the restart of upsd")
	}
}

// compare holds a reading against what upsc says: each variable is there with its
// value, or there is a reason why it is not.
func compare(t *testing.T, r dodai.Reading, upsc map[string]string) {
	t.Helper()
	notes := strings.Join(r.Notes, "\n")
	for _, name := range slices.Sorted(maps.Keys(upsc)) {
		said := strings.TrimSpace(upsc[name])
		got, reported := r.Vars[name]
		switch {
		case name == "ups.status" || secret(name) || said == "":
			if reported {
				t.Errorf("%s %q is reported as %v, want it absent", name, said, got)
			}
		case !reported:
			timer := strings.Contains(name, ".timer.") && (said[0] == '-' || said == "65535")
			if !timer && !strings.Contains(notes, name+" is ") {
				t.Errorf("%s is %q at upsc and absent without a note", name, said)
			}
		case !same(got, said) && !strings.Contains(notes, name+" is "):
			t.Errorf("%s = %v, upsc says %q", name, got, said)
		}
	}
	for name := range r.Vars {
		if _, there := upsc[name]; !there {
			t.Errorf("%s = %v, upsc has no such variable", name, r.Vars[name])
		}
	}
}

// same compares a value with its text at upsc without our own number reader.
func same(v dodai.Value, text string) bool {
	if _, isNumber := v.Float(); !isNumber {
		return v.String() == text
	}
	sign := strings.HasPrefix(text, "-")
	text = strings.TrimLeft(text, "+-0")
	if strings.Contains(text, ".") {
		text = strings.TrimRight(text, "0")
	}
	text = strings.TrimSuffix(text, ".")
	if text == "" || text[0] == '.' {
		text = "0" + text
	}
	if sign && text != "0" {
		text = "-" + text
	}
	return v.String() == text
}

// fakeServer is the fake upsd as a server.
type fakeServer struct {
	*fakeUPSD
	t    *testing.T
	orig map[string]string
}

func newFakeServer(t *testing.T) *fakeServer {
	s := &fakeServer{fakeUPSD: newFake(t, "u1", "u2"), t: t, orig: loadDev(t, filepath.Join("testdata", "online.dev"))}
	s.vars = maps.Clone(s.orig)
	return s
}

func (s *fakeServer) Addr() string { return s.addr() }

func (s *fakeServer) Set(_, name, value string) { s.change(func(f *fakeUPSD) { f.vars[name] = value }) }

func (s *fakeServer) FSD(string) {
	s.change(func(f *fakeUPSD) { f.vars["ups.status"] = "FSD " + f.vars["ups.status"] })
}

func (s *fakeServer) refuse(token string) {
	s.change(func(f *fakeUPSD) { f.errs = map[string]string{"LIST VAR": token} })
}

func (s *fakeServer) KillDriver(string)   { s.refuse("DRIVER-NOT-CONNECTED") }
func (s *fakeServer) HangDriver(string)   { s.refuse("DATA-STALE") }
func (s *fakeServer) ResumeDriver(string) { s.change(func(f *fakeUPSD) { f.errs = nil }) }

func (s *fakeServer) StartDriver(string) {
	s.change(func(f *fakeUPSD) { f.errs, f.vars = nil, maps.Clone(s.orig) })
}

func (s *fakeServer) Restart() {
	s.change(func(f *fakeUPSD) { f.vars["ups.status"] = strings.TrimPrefix(f.vars["ups.status"], "FSD ") })
	s.hangUp()
}

func (s *fakeServer) UpscAll(string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.vars)
}

// TestLoginCounts: upsd counts this host as a secondary from the first poll until
// Close, and refuses one with a wrong password.
func TestLoginCounts(t *testing.T) {
	u := peer.StartUPSD(t, map[string]string{"u1": "ups.status: OL\n"})
	logins := func(want string) {
		t.Helper()
		var reply string
		for range 100 {
			if reply, _ = u.Ask("GET NUMLOGINS u1"); reply == "NUMLOGINS u1 "+want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("upsd says %q, want %s logins", reply, want)
	}
	opts := map[string]string{"address": u.Addr(), "username": peer.UPSDSecondary, "password": peer.UPSDSecondaryPassword, "login": "yes"}
	d := open(t, opts)
	for range 2 {
		if _, err := poll(t, d, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	logins("1")
	d.Close()
	logins("0")

	opts["login"] = "no"
	if _, err := poll(t, open(t, opts), 5*time.Second); err != nil {
		t.Errorf("with a user and no login: %v", err)
	}
	logins("0")
	opts["login"], opts["password"] = "yes", `wr"ong \ #=`
	_, err := poll(t, open(t, opts), 5*time.Second)
	checkError(t, err, drivers.ErrDenied, "LOGIN u1")
	if strings.Contains(err.Error(), "ong") {
		t.Errorf("error %q shows the password", err)
	}
}

// TestPollDoesNotWaitForAcknowledgements: upsd writes a list line by line, and a
// client that lets the kernel delay its acknowledgements takes 40 ms for each poll.
func TestPollDoesNotWaitForAcknowledgements(t *testing.T) {
	u := peer.StartUPSD(t, map[string]string{"u1": "ups.status: OL\n"})
	d := open(t, map[string]string{"address": u.Addr()})
	var took []time.Duration
	for range 60 {
		begin := time.Now()
		if _, err := poll(t, d, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("p50 %v, p95 %v, worst %v", took[30], took[57], took[59])
	if took[30] > 20*time.Millisecond {
		t.Errorf("a poll takes %v (median), want no waiting for acknowledgements", took[30])
	}
}

// BenchmarkPoll is one poll of a real upsd, with some 40 variables.
func BenchmarkPoll(b *testing.B) {
	dev, err := os.ReadFile(filepath.Join("testdata", "online.dev"))
	if err != nil {
		b.Fatal(err)
	}
	u := peer.StartUPSD(b, map[string]string{"u1": string(dev)})
	d := open(b, map[string]string{"address": u.Addr() + "/u1"})
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		if _, err := poll(b, d, time.Second); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds()), "p95-µs")
}
