package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/megatec"
	"github.com/dodai-agent/dodai/sim/snmpups"
)

// breakable is a device of the zoo.
type breakable struct {
	name, driver string
	behave       func(fault)
	skip         map[fault]string // faults that the device cannot have, and why
}

// zoo is a site with a device of each driver.
type zoo struct {
	*daemon
	devices []breakable
	upsd    *peer.UPSD
	bmc     *peer.IPMISim
	card    *snmpups.UPS
}

const zooPoll = time.Second

func startZoo(t *testing.T) *zoo {
	t.Helper()
	z := &zoo{upsd: peer.StartUPSD(t, map[string]string{"n1": upsFile}), bmc: peer.StartIPMISim(t), card: startSNMP(t)}
	serial, dir := startMegatec(t), t.TempDir()
	stream, packets := newStreamProxy(t, z.upsd.Addr()), newPacketProxy(t, z.bmc.Addr())
	md, smart := newMDTree(t), newSmartctl(t)
	file := filepath.Join(dir, "ups")
	writeFile(t, file, upsJSON)
	z.devices = []breakable{
		{"serial", "megatec", func(f fault) { serial.Behave(serialFaults[f], 0) }, nil},
		{"card", "snmp", func(f fault) {
			if err := z.card.Break(cardFaults[f], 0); err != nil {
				t.Errorf("card: %v", err)
			}
		}, nil},
		{"nut", "nut", stream.behave, nil},
		{"bmc", "ipmi", func(f fault) { z.breakBMC(packets, f) }, nil},
		{"md", "md", md.behave, nil},
		{"smart", "smartctl", smart.behave, nil},
		{"file", "dummy", func(f fault) { breakFile(t, file, f) }, map[fault]string{silence: "a file cannot be silent, only gone"}},
	}
	config := fmt.Sprintf(`
ups:
  - {name: serial, driver: megatec, port: %s, poll: 1s}
  - {name: card, driver: snmp, address: "%s", options: {community: public, timeout: 400ms, retries: 0}, poll: 1s}
  - {name: nut, driver: nut, address: "%s", options: {ups: n1}, poll: 1s}
  - {name: file, driver: dummy, port: %s, poll: 1s}
psus: [{name: bmc, driver: ipmi, address: "%s", options: {user: %s, password: %s, cipher: "3"}, poll: 1s}]
arrays: [{name: md, driver: md, options: {sys: %s/sys, proc: %s/proc}, poll: 1s}]
disks: [{name: smart, driver: smartctl, options: {smartctl: %s, timeout: 1s}, poll: 1s}]
`, serial.Path(), z.card.Addr(), stream.addr(), file, packets.addr(), peer.IPMIViewer, peer.IPMIViewerSecret, md.root, md.root, smart.program())
	z.daemon = newDaemon(t, config)
	z.start()
	for _, d := range z.status().Devices {
		if d.Error != "" || d.Reading == nil {
			t.Fatalf("%s does not answer: %s", d.Name, d.Error)
		}
	}
	return z
}

var serialFaults = map[fault]megatec.Behaviour{
	healthy: megatec.Normal, garbage: megatec.Garbage, silence: megatec.Silent, half: megatec.Half, disconnect: megatec.Disconnect,
}

var cardFaults = map[fault]snmpups.Fault{
	healthy: snmpups.None, garbage: snmpups.Garbage, silence: snmpups.Mute, half: snmpups.Partial, disconnect: snmpups.Gone,
}

// breakBMC spoils what the BMC says; a BMC that is gone is one that was restarted and
// has forgotten its sessions.
func (z *zoo) breakBMC(p *packetProxy, f fault) {
	if f == disconnect {
		z.bmc.Stop()
	} else if p.get() == disconnect {
		z.bmc.Restart()
	}
	p.set(f)
}

func breakFile(t *testing.T, path string, f fault) {
	if f == disconnect {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
		return
	}
	writeFile(t, path, string(f.spoil([]byte(upsJSON))))
}

// mdTree is a sysfs and a procfs with one mirror.
type mdTree struct {
	t    *testing.T
	root string
	fifo string // where readers hang; empty: nowhere
}

var mdFiles = map[string]string{
	"proc/mdstat":                  "Personalities : [raid1]\nmd0 : active raid1 sdb[1] sda[0]\n      1046528 blocks super 1.2 [2/2] [UU]\n\nunused devices: <none>\n",
	"sys/block/md0/md/array_state": "clean\n", "sys/block/md0/md/level": "raid1\n", "sys/block/md0/md/raid_disks": "2\n",
	"sys/block/md0/md/uuid": "00000000-0000-0000-0000-000000000000\n", "sys/block/md0/md/metadata_version": "1.2\n",
	"sys/block/md0/md/degraded": "0\n", "sys/block/md0/md/sync_action": "idle\n", "sys/block/md0/md/sync_completed": "none\n",
	"sys/block/md0/md/chunk_size": "0\n", "sys/block/md0/md/mismatch_cnt": "0\n",
	"sys/block/md0/md/dev-sda/slot": "0\n", "sys/block/md0/md/dev-sda/state": "in_sync\n", "sys/block/md0/md/dev-sda/errors": "0\n",
	"sys/block/md0/md/dev-sdb/slot": "1\n", "sys/block/md0/md/dev-sdb/state": "in_sync\n", "sys/block/md0/md/dev-sdb/errors": "0\n",
	"sys/block/sda/size": "8\n", "sys/block/sdb/size": "8\n",
}

func newMDTree(t *testing.T) *mdTree {
	t.Helper()
	m := &mdTree{t: t, root: t.TempDir()}
	m.fill(healthy)
	for _, disk := range []string{"sda", "sdb"} {
		if err := os.Symlink("../../../"+disk, filepath.Join(m.root, "sys/block/md0/md/dev-"+disk, "block")); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(m.release)
	return m
}

func (m *mdTree) fill(f fault) {
	for _, name := range slices.Sorted(maps.Keys(mdFiles)) {
		path := filepath.Join(m.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			m.t.Fatal(err)
		}
		writeFile(m.t, path, string(f.spoil([]byte(mdFiles[name]))))
	}
}

// behave: silence is a FIFO in mdstat's place, on which a reader hangs.
func (m *mdTree) behave(f fault) {
	mdstat, away := filepath.Join(m.root, "proc/mdstat"), filepath.Join(m.root, "sys-away")
	switch f {
	case healthy:
		os.Rename(away, filepath.Join(m.root, "sys"))
		m.release()
		m.fill(healthy)
	case silence:
		m.fifo = mdstat + ".hung"
		os.Remove(mdstat)
		if err := syscall.Mkfifo(m.fifo, 0o600); err != nil {
			m.t.Fatal(err)
		}
		if err := os.Symlink(m.fifo, mdstat); err != nil {
			m.t.Fatal(err)
		}
	case disconnect:
		os.Remove(mdstat)
		if err := os.Rename(filepath.Join(m.root, "sys"), away); err != nil {
			m.t.Fatal(err)
		}
	default:
		m.fill(f)
	}
}

// release lets readers go that hang.
func (m *mdTree) release() {
	if m.fifo == "" {
		return
	}
	if w, err := os.OpenFile(m.fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
		w.Close()
	}
	os.Remove(m.fifo)
	m.fifo = ""
}

// smartctl is a program in smartctl's place that does what the file "mode" says.
type smartctl struct {
	t   *testing.T
	dir string
}

const smartctlScript = `#!/bin/sh
cd %q
case "$*" in *--scan*) file=scan.json;; *) file=disk.json;; esac
case "$(cat mode)" in
healthy) cat $file;;
silence) sleep 60;;
garbage) printf '\001\377 }{ 0x'; exit 3;;
"half reply") head -c 60 $file;;
disconnect) head -c 60 $file; kill -9 $$;;
esac
`

func newSmartctl(t *testing.T) *smartctl {
	s := &smartctl{t, t.TempDir()}
	writeFile(t, s.dir+"/scan.json", `{"json_format_version":[1,0],"smartctl":{"version":[7,3],"exit_status":0},
 "devices":[{"name":"/dev/sda","info_name":"/dev/sda [SAT]","type":"sat","protocol":"ATA"}]}`)
	writeFile(t, s.dir+"/disk.json", `{"json_format_version":[1,0],"smartctl":{"version":[7,3],"exit_status":0},
 "device":{"name":"/dev/sda","info_name":"/dev/sda [SAT]","type":"sat","protocol":"ATA"},
 "model_name":"EXAMPLE HDD","serial_number":"EX1","smart_status":{"passed":true},"temperature":{"current":34}}`)
	writeFile(t, s.program(), fmt.Sprintf(smartctlScript, s.dir))
	if err := os.Chmod(s.program(), 0o755); err != nil {
		t.Fatal(err)
	}
	s.behave(healthy)
	return s
}

func (s *smartctl) program() string { return s.dir + "/smartctl" }

func (s *smartctl) behave(f fault) { writeFile(s.t, s.dir+"/mode", f.String()) }

// watch looks at the agent and keeps the greatest age of each device that is in order.
type watch struct {
	*zoo
	broken map[string]bool
	oldest map[string]time.Duration
}

func (w *watch) look() map[string]agent.DeviceStatus {
	w.t.Helper()
	all := map[string]agent.DeviceStatus{}
	for _, d := range w.status().Devices {
		all[d.Name] = d
		if d.AgeS == nil {
			w.t.Fatalf("%s has lost its last good reading", d.Name)
		}
		if age := time.Duration(*d.AgeS * float64(time.Second)); !w.broken[d.Name] {
			w.oldest[d.Name] = max(w.oldest[d.Name], age)
			if d.Error != "" {
				w.t.Errorf("%s, which is in order, has the error %s", d.Name, d.Error)
			}
		}
	}
	return all
}

// until looks until ok says so, and fails the test when it does not.
func (w *watch) until(what, device string, within time.Duration, ok func(agent.DeviceStatus) bool) agent.DeviceStatus {
	w.t.Helper()
	var last agent.DeviceStatus
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if last = w.look()[device]; ok(last) {
			return last
		}
	}
	w.t.Errorf("%s not within %v: error %q, age %.1f s, quality %s", what, within, last.Error, *last.AgeS, last.Quality)
	return last
}

// report checks that nobody suffered.
func (w *watch) report(limit time.Duration) {
	w.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(w.oldest)) {
		if w.oldest[name] >= limit {
			w.t.Errorf("%s, which was in order, was once not heard for %v, want less than %v", name, w.oldest[name], limit)
		}
	}
	w.t.Logf("greatest ages of devices in order: %v", w.oldest)
}

// Each device in turn talks nonsense, falls silent, breaks off, goes away. The agent shows
// it with the error and its last good reading, the others are read on, and it comes back by
// itself.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, some := range [][]fault{{garbage, silence}, {half, disconnect}} {
		t.Run(fmt.Sprintf("%s and %s", some[0], some[1]), func(t *testing.T) {
			t.Parallel()
			playFaults(t, some)
		})
	}
}

// playFaults lets the devices of one site have some faults, one after the other.
func playFaults(t *testing.T, some []fault) {
	z := startZoo(t)
	pid := z.PID()
	for _, f := range some {
		w := &watch{zoo: z, broken: map[string]bool{}, oldest: map[string]time.Duration{}}
		w.play(f)
	}
	if z.PID() != pid || z.status().State != "normal" && z.status().State != "alert" {
		t.Errorf("the agent is in state %s: %s", z.status().State, z.status().Explanation)
	}
}

// play lets each device in turn have the fault. The first may recover while the next is
// broken already.
func (w *watch) play(f fault) {
	w.t.Helper()
	for _, d := range w.devices {
		if why, skip := d.skip[f]; skip {
			w.t.Logf("%s: %s", d.name, why)
			continue
		}
		before := w.look()[d.name]
		w.broken[d.name] = true
		d.behave(f)
		w.checkBroken(d, f, before)
		d.behave(healthy)
	}
	for _, d := range w.devices {
		w.until(fmt.Sprintf("%s recovers from %s", d.name, f), d.name, 40*time.Second, func(s agent.DeviceStatus) bool {
			return s.Error == "" && *s.AgeS < 2
		})
		w.broken[d.name] = false
	}
	w.report(3 * zooPoll)
}

// checkBroken waits for the error and looks at what stays.
func (w *watch) checkBroken(d breakable, f fault, before agent.DeviceStatus) {
	w.t.Helper()
	what := fmt.Sprintf("%s with %s", d.name, f)
	s := w.until(what+": an error", d.name, 15*time.Second, func(s agent.DeviceStatus) bool { return s.Error != "" })
	prefix := d.driver + " " + d.name + ": "
	op, _, found := strings.Cut(strings.TrimPrefix(s.Error, prefix), ": ")
	if !strings.HasPrefix(s.Error, prefix) || !found || op == "" {
		w.t.Errorf("%s: the error is %q, want it to begin with %q and an operation", what, s.Error, prefix)
	}
	w.t.Logf("%s: %s", what, s.Error)
	if s.Reading == nil || s.Reading.Kind != before.Reading.Kind || len(s.Reading.Vars) != len(before.Reading.Vars) {
		w.t.Errorf("%s: the last good reading is %+v, before %+v", what, s.Reading, before.Reading)
	}
	time.Sleep(300 * time.Millisecond)
	if later := w.look()[d.name]; later.Polls == s.Polls && *later.AgeS < *s.AgeS+0.25 {
		w.t.Errorf("%s: the age goes from %.2f s to %.2f s in 0.3 s, want it to grow", what, *s.AgeS, *later.AgeS)
	} else if later.Polls != s.Polls {
		w.t.Errorf("%s: it was read %d times, then %d times: want no good reading", what, s.Polls, later.Polls)
	}
}

// A component that hangs (stopped, its sockets open) costs its own reading and no time of
// anybody else's.
func TestHungDeviceDelaysNobody(t *testing.T) {
	t.Parallel()
	z := startZoo(t)
	w := &watch{zoo: z, broken: map[string]bool{"nut": true, "bmc": true}, oldest: map[string]time.Duration{}}
	z.upsd.Hang()
	z.bmc.Pause()
	for _, name := range []string{"nut", "bmc"} {
		w.until(name+": an error", name, 15*time.Second, func(s agent.DeviceStatus) bool { return s.Error != "" && *s.AgeS > 6 })
	}
	if begin := time.Now(); z.status().Version == "" || time.Since(begin) > time.Second {
		t.Errorf("the status took %v", time.Since(begin))
	}
	z.upsd.Resume()
	z.bmc.Resume()
	for _, name := range []string{"nut", "bmc"} {
		w.until(name+" recovers", name, 60*time.Second, func(s agent.DeviceStatus) bool { return s.Error == "" && *s.AgeS < 2 })
	}
	w.report(3 * zooPoll)
}
