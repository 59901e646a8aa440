package agent

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// long is a configuration that observes one UPS.
var long = withMode(plain, "observe")

// battery is a reading of a UPS that says who made its battery, and what it carries.
func battery(status string, runtime float64, date string) dodai.Reading {
	r := ups(status, 90, runtime)
	r.Vars[dodai.UPSLoad], r.Vars["ups.serial"] = dodai.Num(40), dodai.Text("S1")
	if date != "" {
		r.Vars[dodai.BatteryDate] = dodai.Text(date)
	}
	return r
}

// teach is an outage of 500 s in which a battery gives half of the time it claims.
func (st *stepper) teach() {
	st.read("u1", battery("OL", 1200, "2021"))
	for s := 0.0; s < 500; s += 5 {
		st.pass(5 * time.Second)
		st.read("u1", battery("OB DISCHRG", 1200-2*s, "2021"))
	}
	for range 3 {
		st.pass(5 * time.Second)
		st.read("u1", battery("OL CHRG", 300, "2021"))
	}
	st.pass(time.Hour)
	st.read("u1", battery("OL", 1200, "2021"))
}

// believes checks what is made of 1200 s that the UPS claims.
func (st *stepper) believes(when string, factor float64) {
	st.t.Helper()
	st.pass(5 * time.Second)
	st.read("u1", battery("OL", 1200, "2021"))
	u := st.Status().UPSes[0]
	if math.Abs(u.Factor-factor) > 0.02 || u.AvailableS == nil || math.Abs(*u.AvailableS-1200*factor) > 20 {
		st.t.Errorf("%s: believed to %.3f, %v s of 1200 s; want %.2f", when, u.Factor, *u.AvailableS, factor)
	}
}

// replaced is the operator's word that the loop of the stepper works off.
func (st *stepper) replaced(name string) (answer BatteryAnswer, err error) {
	st.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		answer, err = st.BatteryReplaced(st.ctx, name, "tester")
	}()
	st.settle("the answer", func() bool { return isClosed(done) })
	return answer, err
}

// What a discharge has taught is believed after a restart and after a reboot, until somebody
// says that the battery is a new one; and that is not forgotten either.
func TestBatteryIsTaughtAndReplaced(t *testing.T) {
	s := newSite(t)
	st := s.step(long, nil)
	st.believes("before", 1)
	st.teach()
	st.believes("in the run that was taught", 0.5)
	ev := st.journaled(dodai.EventBatteryLearned)
	if f, ok := ev.Fields["factor"].(float64); !ok || math.Abs(f-0.5) > 0.02 {
		t.Errorf("%s: %v", ev.Text, ev.Fields)
	}
	if got := st.Status(); !regexp.MustCompile(`^margin 5\d\d s = .* available \(battery\.runtime × 0\.(4[89]|5[0-2]) learned, u1\) − 20 s need − 10 s reserve$`).MatchString(got.Margin) {
		t.Errorf("the margin is %q", got.Margin)
	}
	began := st.clock()
	st.end(st.ctx, st.loop.group)

	st = s.step(long, later(began-morning))
	st.believes("after a restart", 0.5)
	st.end(st.ctx, st.loop.group)

	s.rebooted()
	st = s.step(long, nil)
	st.believes("after a reboot", 0.5)
	l := st.Status().UPSes[0].Learned
	if l == nil || l.Battery != (policy.BatteryID{Serial: "S1", Date: "2021"}) || len(l.Bands) != 1 || *l.Bands[0].LoadPercent != 40 || l.Bands[0].Discharges != 1 || l.Bands[0].Last == "" {
		t.Fatalf("learned is %+v", l)
	}
	answer, err := st.replaced("u1")
	if err != nil || answer.Warning != "" || len(answer.Batteries) != 1 || answer.Batteries[0].Factor != 1 || answer.Batteries[0].BelievedS != nil {
		t.Errorf("replaced: %+v, %v", answer, err)
	}
	ev = st.journaled(dodai.EventBatteryReplaced)
	if ev.Device != "u1" || ev.Fields["by"] != "tester" || ev.Text != "u1 has a new battery, says tester: what 1 discharge of the old one has taught is forgotten" {
		t.Errorf("event %s: %s %v", ev.Device, ev.Text, ev.Fields)
	}
	if data := st.store.load(t.Context(), keyPolicy); strings.Contains(string(data), `"factor"`) {
		t.Error("the disk still has what the old battery taught when the answer comes")
	}
	st.believes("once it is replaced", 1)
	began = st.clock()
	st.end(st.ctx, st.loop.group)

	st = s.step(long, later(began-morning))
	st.believes("after the next restart", 1)
}

// An agent that is killed just after the answer has forgotten all the same.
func TestBatteryReplacedIsOnTheDisk(t *testing.T) {
	s := newSite(t)
	st := s.step(long, nil)
	st.teach()
	if _, err := st.replaced("u1"); err != nil {
		t.Fatal(err)
	}
	m, err := restorePolicy(st.store.load(t.Context(), keyPolicy), st.stamp())
	if err != nil || len(m.Batteries["u1"].Bands) != 0 {
		t.Errorf("on the disk: %+v, %v", m.Batteries, err)
	}
}

func TestBatteryRefused(t *testing.T) {
	s := newSite(t)
	st := s.step(long, nil)
	st.teach()
	for name, want := range map[string]string{"u11": `there is no UPS "u11" (did you mean "u1"?): want one of u1`, "": `there is no UPS ""`} {
		_, err := st.replaced(name)
		if r, ok := errors.AsType[*refusal](err); !ok || r.code != http.StatusBadRequest || !strings.HasPrefix(r.text, want) {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
	st.believes("after requests that were refused", 0.5)
	if st.count(dodai.EventBatteryReplaced) != 0 {
		t.Error("an event of what was refused")
	}
}

// The way over HTTP: who may only read may not forget, and a slip of the pen is refused.
func TestBatteryAPI(t *testing.T) {
	s := newSite(t)
	s.set("u1", battery("OL", 1200, ""), nil)
	a := s.run(long, func(o *Options) { o.Socket, o.Listen = s.file("a.sock"), "127.0.0.1:0" })
	eventually(t, "ready", func() bool { return isClosed(a.Ready()) })
	c := local(s.file("a.sock"))
	var answer BatteryAnswer
	if code, body := ask(t, c, "GET", "/v1/battery", ""); code != 200 || json.Unmarshal([]byte(body), &answer) != nil || len(answer.Batteries) != 1 ||
		answer.Batteries[0].Factor != 1 || *answer.Batteries[0].ClaimedS != 1200 || *answer.Batteries[0].LoadPercent != 40 {
		t.Errorf("GET: %d %s", code, body)
	}
	for body, want := range map[string]int{
		`{"ups":"u1"}`: 200, `{"ups":"u2"}`: 400, `{"upss":"u1"}`: 400, ``: 400, `[]`: 400, `{"ups":["u1"]}`: 400,
	} {
		if code, got := ask(t, c, "POST", "/v1/battery", body); code != want {
			t.Errorf("POST %s: %d %s, want %d", body, code, got, want)
		}
	}
	if code, _ := get(t, "http://"+a.Addr().String()+"/v1/battery"); code != http.StatusNotFound {
		t.Errorf("over the network: %d, want nothing there", code)
	}
	resp, err := http.Post("http://"+a.Addr().String()+"/v1/battery", "application/json", strings.NewReader(`{"ups":"u1"}`))
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode/100 == 2 {
		t.Errorf("forgotten over the network: %s", resp.Status)
	}
	if n := s.count(dodai.EventBatteryReplaced); n != 1 {
		t.Errorf("%d events, want that of the one good request", n)
	}
}
