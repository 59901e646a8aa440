package megatec

import (
	"slices"
	"testing"
	"time"

	sim "github.com/dodai-agent/dodai/sim/megatec"
)

// A poll is one exchange: 3 and 47 characters, 208 ms at 2400 baud. What the driver, the
// terminal and the scheduler add has to stay small, or an outage is seen late.
func TestPollTakesOneExchange(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("measures on a paced line for 6 s")
	}
	u := newSim(t, sim.Config{})
	d, err := Factory.Open("u1", map[string]string{"port": u.Path()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Poll(t.Context()); err != nil { // connects, and asks for ratings and identity
		t.Fatal(err)
	}
	const polls = 25
	before := u.Exchanges()
	var took []time.Duration
	for range polls {
		begin := time.Now()
		if _, err := d.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	if n := u.Exchanges() - before; n != polls {
		t.Errorf("%d polls made %d exchanges, want one each", polls, n)
	}
	slices.Sort(took)
	p50, p95 := took[polls/2], took[polls*95/100]
	t.Logf("poll: min %v, p50 %v, p95 %v, max %v", took[0], p50, p95, took[polls-1])
	if p50 < 208*time.Millisecond || p50 > 300*time.Millisecond {
		t.Errorf("p50 %v, want 208 ms of characters and little more", p50)
	}
}

// An outage shows in the first poll that starts after it.
func TestOutageIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	u := newSim(t, sim.Config{})
	d, err := Factory.Open("u1", map[string]string{"port": u.Path()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.SetMains(false)
	begin := time.Now()
	r, err := d.Poll(t.Context())
	if err != nil || !onBattery(r) {
		t.Errorf("Poll without mains = %v, %v: want OB", r.Status, err)
	}
	t.Logf("mains lost to reading: %v, at the start of a poll", time.Since(begin))
}

func BenchmarkReading(b *testing.B) {
	d := &driver{}
	frame := []byte("(230.4 230.4 230.4 021 50.0 27.4 25.0 00001001")
	b.ReportAllocs()
	for b.Loop() {
		s, err := parseQ1(frame)
		if err != nil {
			b.Fatal(err)
		}
		d.reading(s)
	}
}
