package vm

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/e2e/vm/internal/ledger"
	"github.com/dodai-agent/dodai/sim/megatec"
)

// cutConfig decides soon and often: after 3 s on battery. Its steps and its power-off do
// nothing but tell that they are at work, so the machine lives until its power is cut.
const cutConfig = `mode: armed
ups:
  - {name: u1, driver: megatec, port: /dev/ttyS1, poll: 500ms}
policy: {max_onbatt_s: 3, poll_batt_s: 0.5}
shutdown:
  need: 2s
  reserve: 1s
  steps:
    - {name: one, command: [/rig/cutrecorder, act, step, one]}
    - {name: two, after: [], command: [/rig/cutrecorder, act, step, two]}
    - {name: three, after: [one, two], command: [/rig/cutrecorder, act, step, three]}
  command: [/rig/cutrecorder, act, poweroff]
hooks:
  - {on: [mains_lost, mains_restored, shutdown_decided], command: [/rig/cutrecorder, act, hook, "{event}"]}
`

// What the machine is besides its usual: the state directory lies on the volatile disk, and
// after the first boot nothing is started but the agent and the recorder.
const (
	cutRecorderUnit = `[Unit]
Description=Tell the host what the agent shows
Before=dodai.service
RequiresMountsFor=/var/lib/dodai
[Service]
Type=notify
TimeoutStartSec=10min
ExecStart=/rig/cutrecorder record /dev/virtio-ports/dodai.cut /var/lib/dodai /run/dodai/dodai.sock
StandardError=journal+console
`
	cutTarget = `[Unit]
Description=The agent, and nothing else
Wants=cut-recorder.service dodai.service
After=cut-recorder.service dodai.service
AllowIsolate=yes
`
	cutAppend = "systemd.unit=cut.target quiet systemd.mask=qemu-guest-agent.service systemd.mask=systemd-update-utmp.service " +
		"module_blacklist=ahci,i2c_i801,iTCO_wdt,lpc_ich,kvm,kvm_amd,kvm_intel,powernow_k8,pcspkr,fuse,loop,dm_mod,virtio_scsi,aesni_intel"
	cutSetUp = `mkfs.ext4 -q /dev/disk/by-id/virtio-CUT
systemctl stop dodai.service
echo '/dev/disk/by-id/virtio-CUT /var/lib/dodai ext4 defaults 0 2' >>/etc/fstab
systemctl daemon-reload
rm -rf /var/lib/dodai/*
mount /var/lib/dodai
dodai check`
)

// cutRig is a machine whose power is cut again and again.
type cutRig struct {
	t      *testing.T
	m      *Machine
	ups    *SerialUPS
	port   *cutPort
	random *rand.Rand
	ledger ledger.Ledger
	mains  bool
	before *policyFound // the policy's memory as the cut before left it
	began  time.Time    // of the present boot
	told   []stamped    // in the boot that was cut last
	cutAt  time.Time
	clock  time.Duration // how far the machine's wall clock is ahead
	newest int64         // ns since 1970, of what the cut before left
	bootID string        // of the present boot, or the one that was cut last
	tally  tally
}

// tally is what a run amounts to.
type tally struct {
	cuts, events, samples, states, answers, acts int
	onBattery, continued, ended, endTold         int // cuts with an outage under way; how it was found after the boot, and whether its end was told
	memoryAhead, eventAhead                      int // cuts between an event and the memory of it: what was written before the other
	lostPower                                    int // boots that told of a power-off the power did not last for
	down, powerOff                               int // cuts with a shutdown under way, and after its power-off was asked for
	boots                                        []time.Duration
}

// policyFound is the policy's memory as the journal has it.
type policyFound struct {
	BootID string        `json:"boot_id"`
	At     time.Duration `json:"at"`
	Wall   time.Time     `json:"wall"`
	Memory policy.Memory `json:"memory"`

	told time.Time // on the test's clock: when it was known to be saved, or the cut
}

// onBattery is how long the UPS has been on battery at an instant of the test's clock; ok is
// false where it was not when the memory was saved.
func (p *policyFound) onBattery(now time.Time) (d time.Duration, ok bool) {
	if p == nil {
		return 0, false
	}
	u := p.Memory.UPS["u1"]
	return now.Sub(p.told) + p.At - u.OnBattery.At, u.OnBattery.Set && u.Line == policy.LineAbsent
}

// TestPowerCuts cuts the power of a machine with a volatile disk cache at random instants
// while the mains come and go. What the agent has shown as written is there after each boot,
// and an outage that was under way goes on.
func TestPowerCuts(t *testing.T) {
	s := os.Getenv("DODAI_CUTS")
	Need(t, s == "")
	cuts := 10
	if s != "" {
		var err error
		if cuts, err = strconv.Atoi(s); err != nil {
			t.Fatalf("DODAI_CUTS is %q: want a number", s)
		}
	}
	seed := rand.Uint64()
	if s := os.Getenv("DODAI_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("DODAI_SEED is %q: want a number", s)
		}
	}
	t.Logf("DODAI_SEED=%d DODAI_CUTS=%d", seed, cuts)
	r := newCutRig(t, seed)
	console := filepath.Join(t.ArtifactDir(), "console.log")
	for n := range cuts + 1 { // the last one is there to look back
		r.boot(n)
		r.cut(n)
		if err := os.WriteFile(console, []byte(r.m.Console.Tail(1<<20)), 0o644); err != nil {
			t.Error(err)
		}
	}
	r.report()
}

func newCutRig(t *testing.T, seed uint64) *cutRig {
	t.Helper()
	recorder := filepath.Join(t.TempDir(), "cutrecorder")
	build := exec.Command("go", "build", "-o", recorder, "./internal/cutrecorder")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the recorder: %v\n%s", err, out)
	}
	r := &cutRig{
		t: t, port: &cutPort{}, mains: true, random: rand.New(rand.NewPCG(seed, 2)),
		ups: NewSerialUPS(t, megatec.Config{Runtime: 1000 * time.Hour}), // its battery never counts
	}
	r.m = New(t, Options{
		CPUs: 1, Alone: true, Devices: []Device{r.ups, r.port, &VolatileDisk{ID: "CUT"}},
		Files: map[string]string{"cutrecorder": recorder},
	})
	r.m.Boot()
	r.m.Settle()
	r.m.Write("/etc/dodai/dodai.yaml", cutConfig)
	r.m.Write("/etc/systemd/system/cut-recorder.service", cutRecorderUnit)
	r.m.Write("/etc/systemd/system/cut.target", cutTarget)
	r.m.Shell("chmod 755 /rig /rig/cutrecorder; " + strings.ReplaceAll(cutSetUp, "\n", "; "))
	r.m.PowerOff()
	r.m.opt.Append = cutAppend
	return r
}

// boot boots, and compares what is found with what was shown before the cut.
func (r *cutRig) boot(n int) {
	r.t.Helper()
	r.began = time.Now()
	r.m.Start()
	var found []ledger.Entry
	entries := r.port.wait(r.t, ledger.Found, r.m.Limit(3*time.Minute), r.m.Off())
	for _, s := range entries {
		found = append(found, s.Entry)
	}
	if problem := found[len(found)-1].Text; problem != "" {
		r.t.Errorf("after cut %d: %s", n, problem)
	}
	for _, lost := range r.ledger.Cut(found) {
		r.t.Errorf("after cut %d: %s", n, lost)
	}
	r.look(found)
	r.bootID = found[0].Text
}

// look notes how the cut has left the journal: what the policy remembers, whether the last
// event of the mains is the one it remembers, and whether a power-off was asked for.
func (r *cutRig) look(found []ledger.Entry) {
	r.t.Helper()
	r.before = nil
	mains := map[string]string{} // the last event of the mains, by boot
	for _, e := range found {
		r.newest = max(r.newest, e.At)
		switch {
		case e.Kind == ledger.State && e.Key == "policy":
			r.before = &policyFound{}
			if err := json.Unmarshal([]byte(e.Text), r.before); err != nil {
				r.t.Errorf("the policy's memory: %v", err)
			}
			r.before.told = r.cutAt
			for _, s := range r.told {
				if s.Kind == ledger.State && s.Key == e.Key && s.At == e.At {
					r.before.told = s.at
				}
			}
		case e.Kind == ledger.State && e.Key == "shutdown" && e.Text != "null":
			r.tally.down += r.ofLastBoot(e)
		case e.Kind == ledger.State && e.Key == "power_off" && e.Text != "null":
			r.tally.powerOff += r.ofLastBoot(e)
		case e.Kind == ledger.Event && (e.Key == "mains_lost" || e.Key == "mains_restored"):
			mains[e.Boot] = e.Key
		}
	}
	if r.before == nil {
		return
	}
	if _, lost := r.before.onBattery(r.cutAt); lost {
		r.tally.onBattery++
	}
	switch line, said := r.before.Memory.UPS["u1"].Line, mains[r.before.BootID]; {
	case line == policy.LineAbsent && said != "mains_lost":
		r.tally.memoryAhead++
	case line == policy.LinePresent && said == "mains_lost":
		r.tally.eventAhead++
	}
}

// ofLastBoot is 1 for a state that the boot which was cut last has left, else 0.
func (r *cutRig) ofLastBoot(e ledger.Entry) int {
	var s struct {
		BootID string `json:"boot_id"`
	}
	if json.Unmarshal([]byte(e.Text), &s) == nil && s.BootID == r.bootID {
		return 1
	}
	return 0
}

// cut lets the mains come and go, cuts the power at some instant, and takes down what had
// been shown by then.
func (r *cutRig) cut(n int) {
	r.t.Helper()
	from := ledger.Found
	if r.random.IntN(6) == 0 { // before the agent is up, or just then
		time.Sleep(time.Duration(r.random.Int64N(int64(8 * time.Second))))
	} else {
		from = ledger.Up
		r.port.wait(r.t, ledger.Up, r.m.Limit(2*time.Minute), r.m.Off())
		r.tally.boots = append(r.tally.boots, time.Since(r.began))
		r.port.wait(r.t, ledger.Status, r.m.Limit(30*time.Second), r.m.Off()) // it has found the mains as the cut before left them
		r.untilTheCut()
	}
	r.cutAt = time.Now()
	r.m.Kill()
	told := r.port.all(r.t)
	told = told[slices.IndexFunc(told, func(s stamped) bool { return s.Kind == from }):]
	for _, s := range told {
		r.ledger.Show(s.Entry)
		r.count(s.Entry)
	}
	r.told = told
	goesOn := r.goesOn(n)
	r.tally.cuts++
	r.t.Logf("cut %d: %.1f s after %s, %.1f s after the power came, %d entries; mains %v; clock off by %.1f s%s", n+1,
		r.cutAt.Sub(told[0].at).Seconds(), from, r.cutAt.Sub(r.began).Seconds(), len(told), r.mains, r.clock.Seconds(), goesOn)
	if r.random.IntN(3) == 0 {
		r.mains = !r.mains
		r.ups.SetMains(r.mains)
	}
}

// untilTheCut lets the mains come and go for a while: at least a second, or until something
// more than a second after a change, when most is written.
func (r *cutRig) untilTheCut() {
	stop, flipped := make(chan struct{}), make(chan struct{}, 1)
	var flapping sync.WaitGroup
	random := rand.New(rand.NewPCG(r.random.Uint64(), 3))
	flapping.Go(func() { r.flap(random, stop, flipped) })
	defer flapping.Wait()
	defer close(stop)
	time.Sleep(time.Second + time.Duration(r.random.Int64N(int64(14*time.Second))))
	if r.random.IntN(2) == 0 {
		select {
		case <-flipped: // long ago
		default:
		}
		<-flipped
		time.Sleep(time.Duration(r.random.Int64N(int64(1500 * time.Millisecond))))
	}
}

// count counts what was written in this boot.
func (r *cutRig) count(e ledger.Entry) {
	if e.At <= r.newest { // found already
		return
	}
	switch e.Kind {
	case ledger.Event:
		r.tally.events++
		if e.Key == "shutdown_failed" {
			r.tally.lostPower++
		}
	case ledger.Shown:
		r.tally.answers++
	case ledger.Sample:
		r.tally.samples++
	case ledger.State:
		r.tally.states++
	case ledger.Act:
		r.tally.acts++
	}
}

// flap takes the mains away and gives them back until stop is closed.
func (r *cutRig) flap(random *rand.Rand, stop <-chan struct{}, flipped chan<- struct{}) {
	for {
		wait := 300*time.Millisecond + time.Duration(random.Int64N(int64(6*time.Second)))
		if r.mains {
			wait /= 2
		}
		select {
		case <-stop:
			return
		case <-time.After(wait):
		}
		r.mains = !r.mains
		r.ups.SetMains(r.mains)
		select {
		case flipped <- struct{}{}:
		default:
		}
	}
}

// clockSlack is how far the wall clock of a machine may be off after a boot: its clock chip
// counts seconds.
const clockSlack = 3 * time.Second

// goesOn checks what the agent first made of its UPS after the boot: an outage that was under
// way, and is, has not begun with the boot; one that is over does not stand. The agent has
// nothing but the machine's wall clock to tell how long it was dark, so it may be off by what
// that has jumped.
func (r *cutRig) goesOn(n int) (text string) {
	r.t.Helper()
	clock := r.clock
	first := true
	for _, s := range r.told {
		var u agent.UPSStatus
		if s.Kind != ledger.Status || json.Unmarshal([]byte(s.Text), &u) != nil || u.Line == "" {
			continue
		}
		r.clock = time.Unix(0, s.At).Sub(s.at.Round(0))
		if first {
			first = false
			text = r.firstWord(n, s, &u, (r.clock - clock).Abs())
		}
	}
	return text
}

// firstWord checks the first status that knows of the UPS. jump is what the wall clock has
// jumped since the boot before.
func (r *cutRig) firstWord(n int, s stamped, u *agent.UPSStatus, jump time.Duration) string {
	r.t.Helper()
	want, was := r.before.onBattery(s.at)
	switch {
	case !was:
		return ""
	case u.Line == policy.LineAbsent:
		r.tally.continued++
		if u.OnBattS == nil || (want-time.Duration(*u.OnBattS*float64(time.Second))).Abs() > clockSlack+jump {
			r.t.Errorf("boot %d: on battery for %v, the wall clock has jumped by %v; the agent says %s", n, want, jump, s.Text)
			return ""
		}
		return fmt.Sprintf("; an outage went on, %.1f s old, the agent said %.1f s", want.Seconds(), *u.OnBattS)
	case u.OnBattery:
		r.t.Errorf("boot %d: the mains are there, and the agent holds on to the outage before: %s", n, s.Text)
		return ""
	}
	r.tally.ended++
	for _, e := range r.told {
		if e.Kind == ledger.Event && e.Key == "mains_restored" && e.At <= s.At && e.Boot == r.bootID {
			r.tally.endTold++
			return "; an outage was over, and its end told"
		}
	}
	return "; an outage was over"
}

// report says what the run amounts to.
func (r *cutRig) report() {
	s := r.tally
	slices.Sort(s.boots)
	r.t.Logf("%d cuts: shown and found again %d events, %d answered events, %d samples, %d states; %d steps, power-offs and hooks seen at work",
		s.cuts, s.events, s.answers, s.samples, s.states, s.acts)
	r.t.Logf("%d cuts in an outage: after the boot %d went on, %d were over (%d times told); %d cuts in a shutdown, %d of them after the power-off was asked for, %d told as a power-off that was not through",
		s.onBattery, s.continued, s.ended, s.endTold, s.down, s.powerOff, s.lostPower)
	r.t.Logf("cuts between two writes: %d left the memory of a change without its event, %d the event without the memory", s.memoryAhead, s.eventAhead)
	r.t.Logf("boots: median %.1f s, longest %.1f s", s.boots[len(s.boots)/2].Seconds(), s.boots[len(s.boots)-1].Seconds())
	if s.events == 0 || s.states == 0 || s.cuts > 10 && (s.samples == 0 || s.acts == 0 || s.onBattery == 0 || s.continued == 0 || s.down == 0) {
		r.t.Errorf("too little was written to be lost: %+v", s)
	}
}
