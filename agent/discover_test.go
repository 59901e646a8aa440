package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/drivers"
)

// asked is a driver whose one poll is a function.
type asked func(context.Context) (dodai.Reading, error)

func (f asked) Poll(ctx context.Context) (dodai.Reading, error) { return f(ctx) }
func (f asked) Close() error                                    { return nil }

func TestDiscover(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	waits := func(ctx context.Context) (dodai.Reading, error) {
		<-ctx.Done()
		return dodai.Reading{}, drivers.Unreachable(ctx.Err())
	}
	here := func(context.Context) (dodai.Reading, error) { return dodai.Reading{}, nil }
	find := func(polls map[string]asked) func(string) (drivers.Factory, bool) {
		return func(name string) (drivers.Factory, bool) {
			f, ok := polls[name]
			var timeout time.Duration
			if name == "smartctl" {
				timeout = time.Minute // as many disks may take
			}
			return drivers.Factory{Name: name, Timeout: timeout, Options: []drivers.Option{{Key: "address"}}, New: func(drivers.Config) (drivers.Driver, error) {
				if f == nil {
					return nil, errors.New("cannot be made")
				}
				return f, nil
			}}, ok
		}
	}
	for _, tc := range []struct {
		name  string
		polls map[string]asked
		want  []string
	}{
		{"all there", map[string]asked{"nut": here, "md": here, "smartctl": here}, []string{"ups", "md", "disks"}},
		{"none built in", nil, nil},
		{"one does not answer", map[string]asked{"nut": func(context.Context) (dodai.Reading, error) { return dodai.Reading{}, drivers.ErrNoData }, "md": here}, []string{"md"}},
		{"one cannot be made", map[string]asked{"nut": nil, "smartctl": here}, []string{"disks"}},
		{"one panics", map[string]asked{"nut": func(context.Context) (dodai.Reading, error) { panic("index out of range") }, "md": here}, []string{"md"}},
		{"one hangs", map[string]asked{"nut": func(context.Context) (dodai.Reading, error) { <-hang; return dodai.Reading{}, nil }, "md": here}, []string{"md"}},
		{"one takes its time", map[string]asked{"nut": waits, "md": waits, "smartctl": waits}, []string{"disks"}},
		{"one takes its time and ignores the end", map[string]asked{"smartctl": func(context.Context) (dodai.Reading, error) { <-hang; return dodai.Reading{}, nil }}, []string{"disks"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t)
			cfg := config.Default()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			Discover(ctx, cfg, find(tc.polls), s.options(plain).Log)
			var got []string
			for _, d := range cfg.AllDevices() {
				got = append(got, d.Name)
			}
			if len(got) != len(tc.want) {
				t.Fatalf("found %v, want %v", got, tc.want)
			}
			for i := range got {
				if got[i] != tc.want[i] {
					t.Errorf("found %v, want %v", got, tc.want)
				}
			}
			if cfg.Mode != config.Observe {
				t.Errorf("mode %s, want observe", cfg.Mode)
			}
		})
	}
}

// A configuration that somebody wrote is taken at its word.
func TestDiscoverLeavesAFileAlone(t *testing.T) {
	s := newSite(t)
	cfg := s.parse(plain)
	Discover(t.Context(), cfg, s.find, s.options(plain).Log)
	if len(cfg.UPS) != 1 || s.device("u1").polls != 0 {
		t.Errorf("devices %v, %d polls: want the file's, and none asked", cfg.UPS, s.device("u1").polls)
	}
}

// Without a file nothing is ever stopped, whatever the UPS says.
func TestNoFileStopsNothing(t *testing.T) {
	s := newSite(t)
	opts := s.options(plain)
	opts.Config = config.Default()
	opts.Config.UPS = []config.Device{{Name: "u1", Driver: "fake", Kind: dodai.KindUPS}}
	opts.Config.Arrays, opts.Config.Disks = nil, nil
	a, err := New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	st := &stepper{site: s, Agent: a}
	a.ctx = t.Context()
	defer a.store.close()
	for range 5 {
		st.read("u1", ups("OB LB FSD", 1, 1))
	}
	if got := a.Status(); got.State != "would_shut_down" || a.loop.down != nil || s.count(dodai.EventShutdownStarted) != 0 {
		t.Errorf("state %s, shutdown %+v: want a decision that nothing follows from", got.State, a.loop.down)
	}
}
