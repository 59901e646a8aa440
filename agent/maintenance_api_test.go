package agent

import (
	"errors"
	"net/http/httptest"
	"os/user"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

func TestMaintenanceRefused(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	st.low()
	_, err := st.declare(MaintenanceRequest{ForS: 3600, Reason: "too late"})
	if r, ok := errors.AsType[*refusal](err); !ok || r.code != 409 || !strings.Contains(r.text, "point of no return is passed") {
		t.Errorf("in a shutdown: %v", err)
	}
	for _, req := range []MaintenanceRequest{
		{ForS: 0, Reason: "x"}, {ForS: -1, Reason: "x"}, {ForS: 1e-12, Reason: "x"}, {ForS: 604800.1, Reason: "x"},
		{ForS: 1}, {ForS: 1, Reason: " \n\t\x00\u200b"}, {ForS: 1, Reason: strings.Repeat("x", 201)},
	} {
		if _, _, err := req.check(); err == nil {
			t.Errorf("%+v is taken", req)
		}
	}
	length, reason, err := MaintenanceRequest{ForS: 604800, Reason: " battery\x1b[2J\nswap\u202e "}.check()
	if err != nil || length != maxMaintenance || reason != "battery[2J swap" {
		t.Errorf("%v, %q, %v", length, reason, err)
	}
	if _, err := upsNamed(s.parse("mode: observe"), nil); err == nil {
		t.Error("a maintenance of no UPS at all is taken")
	}
}

func TestUnguarded(t *testing.T) {
	for _, tc := range []struct {
		name, config string
		works        []string
		for2         time.Duration // of the second
		until        time.Duration // 0: guarded
		why          string
	}{
		{"the only UPS", "", []string{"u1"}, 0, time.Hour, "its only UPS is in maintenance"},
		{"both", "two", []string{"u1", "u2"}, 2 * time.Hour, 2 * time.Hour, "all its UPSes are in maintenance"},
		{"one of two, one supply is enough", "two", []string{"u1"}, 0, time.Hour, "while u1 is in maintenance its feed counts as healthy, and with it what u2 says"},
		{"one of two, both are needed", "needs two", []string{"u1"}, 0, 0, ""},
		{"both, and both are needed", "needs two", []string{"u1", "u2"}, 2 * time.Hour, time.Hour, "all its UPSes are in maintenance"},
		{"one that feeds nothing", "wired", []string{"u2"}, 0, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t)
			text := plain
			if tc.config != "" {
				text = strings.Replace(text, "poll: 20ms}]", "poll: 20ms}, {name: u2, driver: fake}]", 1)
			}
			switch tc.config {
			case "two":
				text = strings.Replace(text, "policy: {", "policy: {min_supplies: 1, ", 1)
			case "needs two":
				text = strings.Replace(text, "policy: {", "policy: {min_supplies: 2, ", 1)
			case "wired":
				text += "wiring: [{psu: \"10.1\", ups: u1}]\n"
			}
			st := s.step(text, nil)
			st.read("u1", ups("OL", 100, 3600))
			if tc.config != "" {
				st.read("u2", ups("OL", 100, 3600))
			}
			if got := unguarded(st.View(), st.clock()); got != nil {
				t.Errorf("without maintenance: %+v", got)
			}
			length := time.Hour
			for _, name := range tc.works {
				if _, err := st.declare(MaintenanceRequest{UPS: Names{name}, ForS: length.Seconds(), Reason: "x"}); err != nil {
					t.Fatal(err)
				}
				length = tc.for2
			}
			got := unguarded(st.View(), st.clock())
			if (got == nil) != (tc.until == 0) {
				t.Fatalf("%+v, want an end in %v", got, tc.until)
			}
			if got == nil {
				return
			}
			if in := time.Until(got.Until); in < tc.until-3*time.Second || in > tc.until+time.Second || !strings.HasPrefix(got.Why, tc.why) {
				t.Errorf("for %v, %q; want %v, %q", in, got.Why, tc.until, tc.why)
			}
		})
	}
}

// The way a request takes: names of users, of UPSes, and what is refused.
func TestMaintenanceAPI(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(plain, func(o *Options) { o.Socket, o.Listen = s.file("a.sock"), "127.0.0.1:0" })
	eventually(t, "ready", func() bool { return isClosed(r.Ready()) })
	c := local(s.file("a.sock"))
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	const path = "/v1/maintenance"
	for _, tc := range []struct {
		method, query, body string
		code                int
		want                string
	}{
		{"GET", "", "", 200, `"maintenance": []`},
		{"POST", "", "{", 400, "maintenance request"},
		{"POST", "", `{"upss":["u1"],"for_s":60,"reason":"x"}`, 400, "unknown field"},
		{"POST", "", `{"ups":["u11"],"for_s":60,"reason":"x"}`, 400, `there is no UPS "u11" (did you mean "u1"?): want one of u1`},
		{"POST", "", `{"for_s":60}`, 400, "battery swap"},
		{"POST", "", `{"for_s":700000,"reason":"x"}`, 400, "at most 604800 (168 hours)"},
		{"DELETE", "?up=u1", "", 400, `unknown parameter "up"`},
		{"DELETE", "?ups=u9", "", 400, "want one of u1"},
		{"DELETE", "?ups=", "", 400, `there is no UPS ""`},
		{"DELETE", "", "", 200, `"maintenance": []`},
		{"POST", "", `{"ups":"u1","for_s":7200,"reason":"battery swap"}`, 200, `"by": "` + me.Username + `"`},
		{"GET", "", "", 200, `"why": "its only UPS is in maintenance"`},
		{"DELETE", "?ups=u1", "", 200, `"u1"`},
		{"GET", "", "", 200, `"maintenance": []`},
		{"POST", "", `{"for_s":7200,"reason":"all"}`, 200, `"ups": "u1"`},
	} {
		code, body := ask(t, c, tc.method, path+tc.query, tc.body)
		if code != tc.code || !strings.Contains(body, tc.want) {
			t.Errorf("%s %s %s: %d %s; want %d with %q", tc.method, tc.query, tc.body, code, body, tc.code, tc.want)
		}
	}
	if _, page := get(t, "http://"+r.Addr().String()+"/metrics"); !strings.Contains(page, `dodai_maintenance{ups="u1"} 1`) || !strings.Contains(page, `dodai_maintenance_end_timestamp_seconds{ups="u1"} `) {
		t.Error("/metrics does not show it")
	}
	if code, _ := get(t, "http://"+r.Addr().String()+path); code != 404 {
		t.Errorf("over TCP it answers %d, want 404", code)
	}
}

// Reading is for everyone who may open the socket, declaring is not.
func TestMaintenanceIsPrivileged(t *testing.T) {
	st := newSite(t).step(plain, nil)
	st.decide()
	for method, want := range map[string]int{"GET": 200, "POST": 403, "DELETE": 403} {
		w := httptest.NewRecorder()
		st.localAPI().ServeHTTP(w, httptest.NewRequest(method, "/v1/maintenance", strings.NewReader(`{"for_s":60,"reason":"x"}`)))
		if w.Code != want || strings.Contains(w.Body.String(), "null") {
			t.Errorf("%s by nobody knows whom: %d %s, want %d", method, w.Code, w.Body, want)
		}
	}
	if got := st.Status().Maintenance; len(got) != 0 {
		t.Errorf("%+v stand", got)
	}
}

// Just after a boot an announcement of the end may be a leftover; the other UPS guards the
// machine all the same.
func TestGuardedAfterABoot(t *testing.T) {
	two := strings.Replace(strings.Replace(plain, "poll: 20ms}]", "poll: 20ms}, {name: u2, driver: fake}]", 1), "policy: {", "policy: {min_supplies: 2, ", 1)
	st := newSite(t).step(two, nil)
	for _, at := range []time.Duration{time.Second, time.Minute, time.Hour} {
		st.now.Store(int64(at))
		st.read("u2", ups("OL", 100, 3600))
		st.setMaintenance([]dodai.Maintenance{{UPS: "u1", Until: 2 * time.Hour}})
		st.decide()
		if got := unguarded(st.View(), at); got != nil {
			t.Errorf("up for %v: %+v, want u2 to guard", at, got)
		}
	}
}
