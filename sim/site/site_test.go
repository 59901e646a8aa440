package site

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/google/go-cmp/cmp"
)

func scenario(t testing.TB, s *Site) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Scenario(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestSameSeed: the same seed gives the same site, whatever has been done with another.
func TestSameSeed(t *testing.T) {
	for seed := range uint64(200) {
		a, b := New(seed), New(seed)
		want := scenario(t, a)
		o := play(b, lowWaiter{})
		if got := scenario(t, b); got != want {
			t.Fatalf("seed %d: the scenario changed by playing it:\n%s", seed, cmp.Diff(want, got))
		}
		oa := play(a, lowWaiter{})
		va, vb := a.Judge(oa), b.Judge(o)
		if oa != o || va != vb {
			t.Fatalf("seed %d: %+v %+v, then %+v %+v", seed, oa, va, o, vb)
		}
		if again := b.Judge(o); again != vb {
			t.Fatalf("seed %d: asked again the judge says %+v, first %+v", seed, again, vb)
		}
	}
}

// TestConvictedScenarioExpects: the file of a site on which an agent failed demands what
// it should have done.
func TestConvictedScenarioExpects(t *testing.T) {
	for _, tc := range []struct {
		decides float64
		outage  float64
		want    string
	}{
		{0, 900, "expect: {shutdown: true, not_after_s: 500}\n"},
		{30, 100, "expect: {shutdown: false}\n"},
		{450, 900, "expect: {}\n"},
	} {
		s := one(tc.outage)
		s.finish()
		s.Judge(play(s, goesDown{sec(tc.decides)}))
		if got := scenario(t, s); !strings.HasSuffix(got, tc.want) {
			t.Errorf("decided at %g s of an outage of %g s: got the end %q, want %q", tc.decides, tc.outage, got[max(0, len(got)-80):], tc.want)
		}
	}
}

// replayed is what a reader of the scenario file takes a device to say at some time.
type replayed struct {
	vars map[string]string
	down bool
}

// TestReplayIsExact: whoever follows the scenario's lines sees what Read gives, at every
// instant.
func TestReplayIsExact(t *testing.T) {
	most := 0
	for seed := range uint64(300) {
		s := New(seed)
		rng := rand.New(rand.NewPCG(seed, 7))
		lines, steps := s.lines(), 0
		state := map[string]*replayed{}
		for _, name := range append(s.UPSes(), BMC) {
			state[name] = &replayed{vars: map[string]string{}}
		}
		for at := time.Duration(0); at < s.End(); at += time.Duration(rng.IntN(3000)) * time.Millisecond {
			for len(lines) > 0 && lines[0].at <= at {
				steps += follow(t, state, lines[0])
				lines = lines[1:]
			}
			for name, want := range state {
				if name == BMC && !s.HasPSUs() {
					continue
				}
				r, ok := s.Read(name, at)
				if ok == want.down {
					t.Fatalf("seed %d: %s at %v: reachable is %v, in the scenario %v", seed, name, at, ok, !want.down)
				}
				if diff := cmp.Diff(want.vars, said(r)); ok && diff != "" {
					t.Fatalf("seed %d: %s at %v: -scenario +read\n%s", seed, name, at, diff)
				}
			}
		}
		most = max(most, steps)
	}
	t.Logf("at most %d values set in one file", most)
}

func follow(t *testing.T, state map[string]*replayed, l line) (steps int) {
	t.Helper()
	if device, event, ok := strings.Cut(l.event, ":"); ok && state[device] != nil {
		state[device].down = event == "comms_lost"
		return 1
	}
	for _, set := range l.set {
		name, value, ok := strings.Cut(set, ": ")
		device := BMC
		if !strings.HasPrefix(name, "psu.") {
			name = unquoted(t, name)
			device, name, _ = strings.Cut(name, ":")
		}
		if strings.HasPrefix(value, `"`) {
			value = unquoted(t, value)
		}
		if !ok || state[device] == nil {
			t.Fatalf("set %q cannot be read", set)
		}
		state[device].vars[name] = value
		if value == "null" {
			delete(state[device].vars, name)
		}
		steps++
	}
	return steps
}

func unquoted(t *testing.T, s string) string {
	t.Helper()
	out, err := strconv.Unquote(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return out
}

func said(r *dodai.Reading) map[string]string {
	if r == nil {
		return nil
	}
	out := map[string]string{}
	if r.Kind == dodai.KindPSUs {
		for _, p := range r.PSUs {
			out["psu."+p.ID] = string(p.State)
		}
		return out
	}
	out["ups.status"] = r.Status.String()
	for name, v := range r.Vars {
		out[name] = v.String()
	}
	return out
}

// TestReadings: an answer is shared until something changes, and never changed.
func TestReadings(t *testing.T) {
	for seed := range uint64(100) {
		s := New(seed)
		u := s.UPSes()[0]
		var last, copied *dodai.Reading
		for at := -5 * time.Second; at < min(s.End(), 5*time.Minute); at += 250 * time.Millisecond {
			r, ok := s.Read(u, at)
			if !ok {
				continue
			}
			if last != nil && !reflect.DeepEqual(last, copied) {
				t.Fatalf("seed %d: a reading was changed after it was given", seed)
			}
			if last != nil && last != r && reflect.DeepEqual(last, r) {
				t.Fatalf("seed %d: two readings at %v that say the same", seed, at)
			}
			last, copied = r, r.Clone()
		}
	}
	if r, ok := New(1).Read("nobody", 0); ok || r != nil {
		t.Errorf("an unknown device answers %v", r)
	}
}

// TestPhysics: what holds of any site.
func TestPhysics(t *testing.T) {
	for seed := range uint64(1000) {
		checkPhysics(t, New(seed))
	}
}

func checkPhysics(t *testing.T, s *Site) {
	t.Helper()
	if s.End() <= 0 || s.End() > 5*time.Hour || len(s.risk) == 0 {
		t.Fatalf("%s: ends at %v", s.ID(), s.End())
	}
	if at, ok := s.PowerGone(); ok && s.End() != at+afterLoss && s.End() != s.horizon {
		t.Errorf("%s: power gone at %v, the end is %v", s.ID(), at, s.End())
	}
	for _, u := range s.upses {
		for k := 1; k < len(u.soc); k++ {
			before, f := u.flags[k-1], u.flags[k]
			switch {
			case u.soc[k] < 0 || u.soc[k] > 1 || u.load[k] < 0 || math.IsNaN(float64(u.load[k])):
				t.Fatalf("%s: %s has charge %g, load %g at tick %d", s.ID(), u.name, u.soc[k], u.load[k], k)
			case before&onBatt != 0 && u.soc[k] >= u.soc[k-1]:
				t.Fatalf("%s: %s gains charge on battery at tick %d", s.ID(), u.name, k)
			case before&onBatt == 0 && u.soc[k] < u.soc[k-1]:
				t.Fatalf("%s: %s loses charge on line at tick %d", s.ID(), u.name, k)
			case before&outputOK == 0 && f&outputOK != 0 && f&inputOK == 0 && before&(bypassed|switchedOff) == 0:
				t.Fatalf("%s: %s comes back from the dead without mains at tick %d", s.ID(), u.name, k)
			case f&onBatt != 0 && f&inputOK != 0 && f&inTest == 0:
				t.Fatalf("%s: %s is on battery beside good mains at tick %d", s.ID(), u.name, k)
			}
		}
	}
	for k, risk := range s.risk {
		if !risk && ones(s.powers[k]) < s.needs {
			t.Fatalf("%s: without power at tick %d, yet not at risk", s.ID(), k)
		}
	}
}

// TestHostLeft: what is foretold for mains that never come back is what then happens.
func TestHostLeft(t *testing.T) {
	sites := map[string]*Site{
		"one": one(5000), "two": two(9000, 9000), "chain": chain(9000, 300), "switched": switched(9000, 9000), "mixed": mixed(5000, true),
		"uneven": two(9000, 9000), "cut": one(5000),
	}
	sites["uneven"].upses[0].batt.full /= 3
	sites["cut"].upses[0].cut = sec(300)
	for name, s := range sites {
		s.finish()
		gone, ok := s.PowerGone()
		if !ok {
			t.Errorf("%s: the power does not go", name)
			continue
		}
		for _, at := range []float64{21, 60, 200} {
			if got, want := s.hostLeft(tickAt(sec(at))), (gone - sec(at)).Seconds(); math.Abs(got-want) > 1.5 {
				t.Errorf("%s: at %g s %.1f s are left, want %.1f s", name, at, got, want)
			}
		}
	}
	if left := two(100, 0).done().hostLeft(tickAt(sec(50))); !math.IsInf(left, 1) {
		t.Errorf("with mains on one circuit %g s are left, want for ever", left)
	}
}

func (s *Site) done() *Site {
	s.finish()
	return s
}

// TestLoadMoves: when one of two UPSes ends the other carries all, and not for long.
func TestLoadMoves(t *testing.T) {
	s := two(9000, 9000)
	s.upses[0].batt.full /= 3
	s.finish()
	u1, u2 := s.upses[0], s.upses[1]
	end := slices.IndexFunc(u1.flags, func(f upsFlags) bool { return f&outputOK == 0 })
	if end < 0 || u2.load[end-1] != 0.2 || math.Abs(float64(u2.load[end])-0.4) > 1e-6 {
		t.Fatalf("u1 ends at tick %d, u2's load goes from %g to %g, want 0.2 to 0.4", end, u2.load[end-1], u2.load[end])
	}
	if before, after := u2.trueLeft(end-1), u2.trueLeft(end); after > before/2 {
		t.Errorf("u2 has %.0f s, then %.0f s: want less than half at twice the load", before, after)
	}
}

func FuzzNew(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		s := New(seed)
		checkPhysics(t, s)
		o := play(s, sleeper{})
		v := s.Judge(o)
		if n := len(s.upses); n == 0 || v.Needless || v.Text == "" {
			t.Errorf("seed %d: %d UPSes, verdict %+v on an agent that never shuts down", seed, n, v)
		}
	})
}

func BenchmarkSite(b *testing.B) {
	seed := uint64(0)
	for b.Loop() {
		s := New(seed)
		s.Judge(play(s, sleeper{}))
		seed++
	}
}
