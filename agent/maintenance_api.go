package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/policy"
)

// maxReason is how many bytes the reason of a maintenance may have.
const maxReason = 200

// Names is a list of names that may be a single string in JSON.
type Names []string

// UnmarshalJSON takes a string or a list of strings.
func (n *Names) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil && len(data) > 0 && data[0] == '"' {
		*n = Names{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(n))
}

// MaintenanceRequest says that UPSes are worked on from now on: POST /v1/maintenance.
// Declaring again replaces what stood for the same UPS.
type MaintenanceRequest struct {
	UPS    Names   `json:"ups"`    // names of configured UPSes; empty: every one
	ForS   float64 `json:"for_s"`  // seconds, more than 0 and at most a week
	Reason string  `json:"reason"` // at most 200 bytes, not blank
}

// MaintenanceStatus is one UPS that is worked on.
type MaintenanceStatus struct {
	UPS    string    `json:"ups"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"` // it ends by itself then
	LeftS  float64   `json:"left_s"`
	Reason string    `json:"reason"`
	By     string    `json:"by"`
}

// Unguarded says that no word of any UPS would shut this machine down at present.
type Unguarded struct {
	Until time.Time `json:"until"` // when one does again
	Why   string    `json:"why"`
}

// MaintenanceAnswer is what GET, POST and DELETE /v1/maintenance answer.
type MaintenanceAnswer struct {
	Maintenance []MaintenanceStatus `json:"maintenance"` // what stands now
	Unguarded   *Unguarded          `json:"unguarded,omitempty"`
	Ended       []string            `json:"ended,omitempty"`   // UPSes for which this request ended it
	Warning     string              `json:"warning,omitempty"` // it is in force, but something is not as it should be
}

// refusal is why a request is not done, with its HTTP status.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

func badRequest(format string, args ...any) error {
	return &refusal{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// check returns what was asked for in the form it is kept in.
func (r MaintenanceRequest) check() (time.Duration, string, error) {
	length := time.Duration(0)
	if r.ForS > 0 && r.ForS <= maxMaintenance.Seconds() { // false for what is no number
		length = time.Duration(r.ForS * float64(time.Second))
	}
	if length <= 0 {
		return 0, "", badRequest("for_s is %v: want seconds, more than 0 and at most %.0f (%.0f hours)", r.ForS, maxMaintenance.Seconds(), maxMaintenance.Hours())
	}
	reason := strings.TrimSpace(strings.ReplaceAll(dodai.Printable(r.Reason), "\ufffd", ""))
	switch {
	case reason == "":
		return 0, "", badRequest("reason is %q: want what is done to the UPS, for example \"battery swap\"", r.Reason)
	case len(reason) > maxReason:
		return 0, "", badRequest("reason has %d bytes: want at most %d", len(reason), maxReason)
	}
	return length, reason, nil
}

// upsNamed checks names of UPSes; none stands for all.
func upsNamed(cfg *config.Config, names []string) ([]string, error) {
	known := upsNames(cfg)
	if len(known) == 0 {
		return nil, badRequest("there is no UPS in the configuration")
	}
	if len(names) == 0 {
		return known, nil
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, badRequest("there is no UPS %q%s: want one of %s", name, config.Meant(name, known), strings.Join(known, ", "))
		}
	}
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Declare lets UPSes be worked on: until it ends nothing they say leads to a shutdown. by
// is who asks. It is on the disk when Declare returns, or the answer warns.
func (a *Agent) Declare(ctx context.Context, req MaintenanceRequest, by string) (MaintenanceAnswer, error) {
	length, reason, err := req.check()
	if err != nil {
		return MaintenanceAnswer{}, err
	}
	return a.changeMaintenance(ctx, func(*MaintenanceAnswer) error {
		l := &a.loop
		names, err := upsNamed(l.cfg, req.UPS)
		if err != nil {
			return err
		}
		if l.down != nil {
			return &refusal{http.StatusConflict, fmt.Sprintf("a shutdown is under way since %s (%s: %s): the point of no return is passed, and no maintenance stops it",
				l.down.Wall.Local().Format("15:04:05"), l.down.Reason, l.down.Explanation)}
		}
		a.declareMaintenance(names, length, reason, by)
		return nil
	})
}

// EndMaintenance lets UPSes count again, all of them where none is named. A UPS for which
// nothing stands is no error.
func (a *Agent) EndMaintenance(ctx context.Context, upses []string, by string) (MaintenanceAnswer, error) {
	return a.changeMaintenance(ctx, func(answer *MaintenanceAnswer) error {
		names, err := upsNamed(a.loop.cfg, upses)
		if err == nil {
			answer.Ended = a.endMaintenance(names, by)
		}
		return err
	})
}

// persistAnswer is how long an answer waits for the disk.
const persistAnswer = 3 * time.Second

// changeMaintenance runs change in the loop, decides by what follows, and waits beside the
// loop until it is on the disk.
func (a *Agent) changeMaintenance(ctx context.Context, change func(*MaintenanceAnswer) error) (MaintenanceAnswer, error) {
	var answer MaintenanceAnswer
	var refused error
	if err := a.call(ctx, func() {
		if refused = change(&answer); refused == nil {
			a.decide()
		}
	}); err != nil {
		return answer, err
	}
	if refused != nil {
		return answer, refused
	}
	answer.Maintenance, answer.Unguarded = a.standing()
	answer.Warning = a.unwritten(ctx)
	return answer, nil
}

// unwritten waits until what was asked for is on the disk, beside the loop and not for long,
// also for a caller who has gone. It returns what is wrong when it is not there; "" is
// nothing.
func (a *Agent) unwritten(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), persistAnswer)
	defer cancel()
	if err := a.store.sync(ctx); err != nil {
		return "it is in force, but not written down; a restart of the agent may forget it: " + err.Error()
	}
	if !a.store.works() {
		return "it is in force, but a restart of the agent forgets it: " + a.store.health()
	}
	return ""
}

func (a *Agent) standing() ([]MaintenanceStatus, *Unguarded) {
	v, now := a.View(), a.clock()
	return maintenanceStatus(v.Snapshot, now), unguarded(v, now)
}

// maintenanceStatus describes what stands at now, by UPS.
func maintenanceStatus(s *dodai.Snapshot, now time.Duration) []MaintenanceStatus {
	list := []MaintenanceStatus{}
	wall := func(at time.Duration) time.Time { return s.Wall.Add(at - s.At).Round(time.Second) }
	for _, m := range s.Maintenance {
		if m.Since <= now && now < m.Until {
			list = append(list, MaintenanceStatus{m.UPS, wall(m.Since), wall(m.Until), (m.Until - now).Seconds(), m.Reason, m.By})
		}
	}
	return list
}

func byUPS(a, b dodai.Maintenance) int { return strings.Compare(a.UPS, b.UPS) }

// unguarded says for how long no word of any UPS would shut the machine down, and why;
// nil when one would, or when nothing is in maintenance. It asks the policy itself what it
// would decide if every other UPS announced its end.
func unguarded(v *View, now time.Duration) *Unguarded {
	ends := map[time.Duration]bool{}
	for _, m := range v.Snapshot.Maintenance {
		if m.Since <= now && now < m.Until {
			ends[m.Until] = true
		}
	}
	if len(ends) == 0 || guarded(v, now) {
		return nil
	}
	sorted := slices.Sorted(maps.Keys(ends))
	until := sorted[len(sorted)-1]
	for _, end := range sorted {
		if guarded(v, end) {
			until = end
			break
		}
	}
	return &Unguarded{v.Snapshot.Wall.Add(until - v.Snapshot.At).Round(time.Second), unguardedWhy(v, now)}
}

// guarded reports whether the machine is shut down when every UPS that is not worked on at
// now is on line, and then says that it ends.
func guarded(v *View, now time.Duration) bool {
	before, _ := pretend(v.Snapshot, now, now-1, dodai.OL, 230)
	ending, told := pretend(v.Snapshot, now, now, dodai.OB|dodai.LB|dodai.FSD, 0)
	if !told {
		return false
	}
	_, memory := v.Policy.Decide(before, policy.Memory{}, before.At)
	d, _ := v.Policy.Decide(ending, memory, now)
	return d.Shutdown
}

// pretend is the snapshot at at if the UPSes that are not worked on at now said status and
// volts of their input; told says that there is one.
func pretend(s *dodai.Snapshot, now, at time.Duration, status dodai.Status, volts float64) (_ *dodai.Snapshot, told bool) {
	c := *s
	c.At, c.Devices = at, slices.Clone(s.Devices)
	c.BootedAt, c.AgentStartedAt = s.BootedAt-24*time.Hour, s.BootedAt // long ago: nothing said is a leftover
	for i, dev := range c.Devices {
		if dev.Kind != dodai.KindUPS || s.MaintenanceOf(dev.Name, now) != nil {
			continue
		}
		said := *dev
		said.At, said.Polls, said.Err, said.Failures = at, dev.Polls+1, "", 0
		said.Reading = &dodai.Reading{Kind: dodai.KindUPS, Status: status, Vars: dodai.Vars{dodai.InputVoltage: dodai.Num(volts)}}
		c.Devices[i], told = &said, true
	}
	return &c, told
}

// unguardedWhy is the rest of the sentence "nothing guards this machine: …".
func unguardedWhy(v *View, now time.Duration) string {
	var worked, others []string
	for _, name := range upsNames(v.Config) {
		if v.Snapshot.MaintenanceOf(name, now) != nil {
			worked = append(worked, name)
		} else {
			others = append(others, name)
		}
	}
	switch {
	case len(others) > 0:
		return fmt.Sprintf("while %s is in maintenance its feed counts as healthy, and with it what %s says is not enough for a shutdown (policy.min_supplies)",
			strings.Join(worked, ", "), strings.Join(others, ", "))
	case len(worked) == 1:
		return "its only UPS is in maintenance"
	default:
		return "all its UPSes are in maintenance"
	}
}

// restoreStanding takes over what stood when the agent ended. What is over, or about a
// UPS that is not configured any more, ends with the first decision.
func (a *Agent) restoreStanding(data []byte, now stamp) {
	standing, err := restoreMaintenance(data, now)
	if err != nil {
		a.log.Error("what was declared of UPSes that are worked on does not count any more", "err", err)
	}
	if len(standing) == 0 {
		return
	}
	l := &a.loop
	l.maintenance.standing = standing
	s := *l.snap
	s.Maintenance = standing
	l.snap = &s
}

func (a *Agent) getMaintenance(w http.ResponseWriter, _ *http.Request) {
	var answer MaintenanceAnswer
	answer.Maintenance, answer.Unguarded = a.standing()
	writeJSON(w, answer)
}

func (a *Agent) postMaintenance(w http.ResponseWriter, r *http.Request) {
	var req MaintenanceRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	dec.DisallowUnknownFields() // a name with a slip of the pen must not mean every UPS
	if err := dec.Decode(&req); err != nil {
		http.Error(w, "maintenance request: "+err.Error()+`; want for example {"ups":["u1"],"for_s":7200,"reason":"battery swap"}`, http.StatusBadRequest)
		return
	}
	answer, err := a.Declare(r.Context(), req, peerName(r.Context()))
	writeAnswer(w, answer, err)
}

func (a *Agent) deleteMaintenance(w http.ResponseWriter, r *http.Request) {
	for key := range r.URL.Query() {
		if key != "ups" {
			http.Error(w, fmt.Sprintf("unknown parameter %q: want ups=NAME, or nothing for every UPS", key), http.StatusBadRequest)
			return
		}
	}
	answer, err := a.EndMaintenance(r.Context(), r.URL.Query()["ups"], peerName(r.Context()))
	writeAnswer(w, answer, err)
}

// writeAnswer writes the answer of a request that changes something, or why it is not done.
func writeAnswer(w http.ResponseWriter, answer any, err error) {
	if err == nil {
		writeJSON(w, answer)
		return
	}
	code := http.StatusServiceUnavailable
	if r, ok := errors.AsType[*refusal](err); ok {
		code = r.code
	}
	http.Error(w, err.Error(), code)
}

// peerName is the user at the other end of the socket.
func peerName(ctx context.Context) string {
	cred, ok := ctx.Value(peerKey{}).(*unix.Ucred)
	if !ok {
		return "unknown"
	}
	uid := strconv.FormatUint(uint64(cred.Uid), 10)
	if u, err := user.LookupId(uid); err == nil && u.Username != "" {
		return dodai.Printable(u.Username)
	}
	return "uid " + uid
}
