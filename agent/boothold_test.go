package agent

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// boot is an agent that starts 20 s after its host has booted.
func (s *site) boot(text string) *stepper {
	s.t.Helper()
	return s.step(text, func(o *Options) {
		clock := o.Clock
		o.Clock = func() time.Duration { return clock() - morning + 20*time.Second }
	})
}

// release is a request that the stepper's loop works off.
func (st *stepper) release(req BootHoldRequest) (answer BootHoldStatus, err error) {
	st.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		answer, err = st.ReleaseBootHold(st.ctx, req, "tester")
	}()
	st.settle("the answer", func() bool { return isClosed(done) })
	return answer, err
}

func TestBootHoldUntilCharged(t *testing.T) {
	s := newSite(t)
	st := s.boot(plain)
	st.decide()
	if got := st.BootHold(); !got.Held || got.Reasons[0].What != policy.BootUnheard || got.UpS != 20 {
		t.Errorf("before the first answer: %+v", got)
	}
	st.read("u1", ups("OL CHRG", 12, 3600))
	got := st.BootHold()
	if !got.Held || got.Released != "" || got.LeftS != nil || !strings.HasSuffix(got.Why, "u1: charge 12 %, 30 % are wanted") || *got.LimitLeftS != 880 {
		t.Errorf("with a low battery: %+v", got)
	}
	if s := st.Status(); !s.BootHold || s.BootHoldWhy != got.Why {
		t.Errorf("the status says %v, %q", s.BootHold, s.BootHoldWhy)
	}
	st.pass(60 * time.Second)
	st.read("u1", ups("OL CHRG", 18, 3600))
	if got := st.BootHold(); got.LeftS == nil || *got.LeftS != 120 {
		t.Errorf("after a minute of charging: %+v, want 120 s left", got)
	}
	st.read("u1", ups("OB DISCHRG", 35, 3600))
	if got := st.BootHold(); !got.Held || got.Reasons[0].What != policy.BootOnBattery {
		t.Errorf("when the mains go: %+v", got)
	}
	st.pass(10 * time.Second)
	st.read("u1", ups("OL CHRG", 33, 3600))
	if got := st.BootHold(); got.Held || got.Released != policy.BootReady || got.Why != "the battery could carry another shutdown" || got.LimitLeftS != nil {
		t.Errorf("charged: %+v", got)
	}
	sameStory(t, st.story(), "boot_held", "mains_lost u1", "mains_restored u1", "boot_hold_released")
	if got := st.field(dodai.EventBootHeld, "reasons"); !slices.Equal(got.([]string), []string{"charge"}) {
		t.Errorf("boot_held because of %v", got)
	}
	if got := st.field(dodai.EventBootHoldReleased, "reason"); got != "ready" {
		t.Errorf("boot_hold_released because of %v", got)
	}
}

// The turn of a rank, and a new configuration in the middle of it.
func TestBootHoldTurn(t *testing.T) {
	st := newSite(t).boot(plain + "boot_hold: {rank: 3, stagger: 40s, limit: 10m}\n")
	st.read("u1", ups("OL", 100, 3600))
	if got := st.BootHold(); !got.Held || *got.LeftS != 120 || got.Reasons[0].What != policy.BootTurn || got.Rank != 3 || got.StaggerS != 40 || got.LimitS != 600 {
		t.Errorf("at first: %+v", got)
	}
	st.pass(80 * time.Second)
	st.read("u1", ups("OL", 100, 3600))
	if got := st.BootHold(); !got.Held || *got.LeftS != 40 {
		t.Errorf("after 80 s: %+v", got)
	}
	if err := st.configure(st.parse(plain + "boot_hold: {rank: 2, stagger: 40s}\n")); err != nil {
		t.Fatal(err)
	}
	if st.read("u1", ups("OL", 100, 3600)); st.BootHold().Held {
		t.Errorf("with rank 2: %+v", st.BootHold())
	}
	sameStory(t, st.story()) // nothing was wrong
}

func TestBootHoldLimit(t *testing.T) {
	s := newSite(t)
	st := s.boot(plain + "boot_hold: {limit: 2m}\n")
	st.read("u1", ups("OL", 12, 3600))
	st.pass(100*time.Second - 1)
	if st.decide(); !st.BootHold().Held {
		t.Error("released too soon")
	}
	st.pass(1)
	if st.decide(); st.BootHold().Held || st.BootHold().Released != policy.BootLimit {
		t.Errorf("after the limit: %+v", st.BootHold())
	}
	sameStory(t, st.story(), "boot_held", "comms_lost u1", "boot_hold_released")
	if !s.logged("heavy services may start after the time limit, although 0 of 1 supplies could carry another shutdown, 1 wanted; u1: charge 12 %") {
		t.Error("the log does not warn")
	}
}

// An operator's word is remembered over a restart of the agent, and not over the next boot.
func TestBootHoldReleased(t *testing.T) {
	s := newSite(t)
	st := s.boot(plain)
	st.read("u1", ups("OL", 12, 3600))
	got, err := st.release(BootHoldRequest{Release: true, Who: "alice", Why: " the shop\nhas to open "})
	if err != nil || got.Held || got.Warning != "" || got.Released != policy.BootOperator || got.Why != "released by tester for alice: the shop has to open" {
		t.Errorf("%+v, %v", got, err)
	}
	if again, err := st.release(BootHoldRequest{Release: true, Why: "twice"}); err != nil || again.Why != got.Why {
		t.Errorf("again: %+v, %v", again, err)
	}
	sameStory(t, st.story(), "boot_held", "boot_hold_released")
	if by := st.field(dodai.EventBootHoldReleased, "by"); by != "tester for alice: the shop has to open" {
		t.Errorf("released by %v", by)
	}
	st.end(st.ctx, st.loop.group)

	st = s.boot(plain)
	st.pass(10 * time.Second)
	if st.read("u1", ups("OL", 12, 3600)); st.BootHold().Held || st.BootHold().Why != got.Why {
		t.Errorf("after a restart: %+v", st.BootHold())
	}
	st.loop.snap.BootedAt = st.clock()
	st.loop.snap.AgentStartedAt = st.clock()
	if st.read("u1", ups("OL", 12, 3600)); !st.BootHold().Held {
		t.Errorf("after the next boot: %+v", st.BootHold())
	}
	sameStory(t, st.story(), "boot_held", "boot_hold_released", "boot_held")
}

// The agent is restarted while it holds: it goes on, and tells of nothing twice.
func TestBootHoldOverARestart(t *testing.T) {
	s := newSite(t)
	st := s.boot(plain)
	st.read("u1", ups("OL", 12, 3600))
	st.end(st.ctx, st.loop.group)
	st = s.boot(plain)
	st.pass(5 * time.Second)
	if st.decide(); !st.BootHold().Held || st.BootHold().Reasons[0].What != policy.BootCharge {
		t.Errorf("before an answer: %+v", st.BootHold())
	}
	st.read("u1", ups("OL", 13, 3600))
	if st.read("u1", ups("OL", 30, 3600)); st.BootHold().Held {
		t.Errorf("charged: %+v", st.BootHold())
	}
	sameStory(t, st.story(), "boot_held", "boot_hold_released")
}

// A host that goes down starts nothing, however long ago it booted.
func TestBootHoldWhileGoingDown(t *testing.T) {
	st := newSite(t).step(plain, nil)
	st.read("u1", ups("OL", 100, 3600))
	if got := st.BootHold(); got.Held || got.Released != "" || got.Why != "this host has been up for long" {
		t.Errorf("long after the boot: %+v", got)
	}
	st.low()
	if got := st.BootHold(); !got.Held || got.Reasons[0].What != policy.BootGoingDown {
		t.Errorf("in a shutdown: %+v", got)
	}
}

func TestBootHoldRequest(t *testing.T) {
	for _, tc := range []struct {
		req       BootHoldRequest
		want, err string
	}{
		{BootHoldRequest{Release: true}, "root", ""},
		{BootHoldRequest{Release: true, Who: "root"}, "root", ""},
		{BootHoldRequest{Release: true, Who: "alice", Why: "x"}, "root for alice: x", ""},
		{BootHoldRequest{Release: true, Why: "a\x1b[2J\u202e\x00b"}, "root: a[2Jb", ""},
		{BootHoldRequest{Why: "x"}, "", "release is false: want true"},
		{BootHoldRequest{Release: true, Why: strings.Repeat("x", 201)}, "", "why has 201 bytes: want at most 200"},
		{BootHoldRequest{Release: true, Who: strings.Repeat("x", 65)}, "", "who has 65 bytes: want at most 64"},
	} {
		got, err := tc.req.said("root")
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.HasPrefix(err.Error(), tc.err) {
			t.Errorf("%+v: %q, %v; want %q, %s", tc.req, got, err, tc.want, tc.err)
		}
	}
}

func TestBootHoldAPI(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 12, 3600), nil)
	r := s.run(plain, func(o *Options) {
		o.Socket = s.file("a.sock")
		clock := time.Now()
		o.Clock = func() time.Duration { return time.Since(clock) + time.Second }
	})
	eventually(t, "the first reading", func() bool { return isClosed(r.Ready()) })
	c := local(s.file("a.sock"))
	for _, tc := range []struct {
		method, body string
		code         int
		want         string
	}{
		{"GET", "", 200, `"held": true`},
		{"GET", "", 200, `"what": "charge"`},
		{"POST", "{", 400, `boot-hold request: unexpected EOF; want for example {"release":true`},
		{"POST", `{"relase":true}`, 400, "unknown field"},
		{"POST", `{"why":"x"}`, 400, "release is false: want true"},
		{"POST", `{"release":true,"why":"` + strings.Repeat("x", 5000) + `"}`, 400, "too large"},
		{"DELETE", "", 405, "want GET, HEAD, POST"},
		{"GET", "", 200, `"held": true`},
		{"POST", `{"release":true,"why":"needed"}`, 200, `"held": false`},
		{"GET", "", 200, `"released": "operator"`},
	} {
		code, body := ask(t, c, tc.method, "/v1/boot-hold", tc.body)
		if code != tc.code || !strings.Contains(body, tc.want) {
			t.Errorf("%s %.60s: %d %s; want %d with %q", tc.method, tc.body, code, body, tc.code, tc.want)
		}
	}
}

// Reading is for everyone who may open the socket, releasing is not.
func TestBootHoldIsPrivileged(t *testing.T) {
	st := newSite(t).boot(plain)
	st.read("u1", ups("OL", 12, 3600))
	for method, want := range map[string]int{"GET": 200, "POST": 403} {
		w := httptest.NewRecorder()
		st.localAPI().ServeHTTP(w, httptest.NewRequest(method, "/v1/boot-hold", strings.NewReader(`{"release":true}`)))
		if w.Code != want || strings.Contains(w.Body.String(), "null") {
			t.Errorf("%s by nobody knows whom: %d %s, want %d", method, w.Code, w.Body, want)
		}
	}
	if !st.BootHold().Held {
		t.Error("it was released")
	}
}
