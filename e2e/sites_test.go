package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/megatec"
	"github.com/dodai-agent/dodai/sim/snmpups"
)

// writeFile replaces a file in one step, so that nobody reads half of it.
func writeFile(t *testing.T, path, text string) {
	t.Helper()
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

func startMegatec(t *testing.T) *megatec.UPS {
	t.Helper()
	u, err := megatec.New(megatec.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

func startSNMP(t *testing.T) *snmpups.UPS {
	t.Helper()
	u, err := snmpups.New(snmpups.Config{Flavour: snmpups.Both})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

// page reads a path over TCP, as Prometheus does.
func (d *daemon) page(path string) (status int, body string) {
	d.t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", d.port, path))
	if err != nil {
		d.t.Fatalf("GET %s: %v\n%s", path, err, d.Output())
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatalf("GET %s: %v", path, err)
	}
	return resp.StatusCode, string(text)
}

// series are the samples of a page in the text format, by name and labels.
func series(page string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if i := strings.LastIndexByte(line, ' '); i > 0 && !strings.HasPrefix(line, "#") {
			out[line[:i]] = line[i+1:]
		}
	}
	return out
}

// families are the names of the metrics on a page, those of the Go runtime and of the
// process left out.
func families(page string) []string {
	var out []string
	for line := range strings.Lines(page) {
		if f := strings.Fields(line); len(f) == 4 && f[1] == "TYPE" && strings.HasPrefix(f[2], "dodai_") {
			out = append(out, f[2])
		}
	}
	sort.Strings(out)
	return out
}

const (
	psusFile = `{"kind":"psus","system_watts":310,"psus":[
 {"id":"10.1","name":"PSU 1","state":"ok","input":"ok","watts":160,"capacity_watts":750},
 {"id":"10.2","name":"PSU 2","state":"ok","input":"ok","watts":150,"capacity_watts":750}],
 "redundancy":[{"domain":"system","state":"full","reported":"Fully Redundant"}]}`
	arraysFile = `{"kind":"arrays","arrays":[{"id":"md0","level":"raid1","state":"degraded","missing":1,"failing":["sdb"],
 "spares":0,"activity":"none","tolerance_left":0,"spofs":["sda"]}],
 "drives":[{"id":"sda","state":"online"},{"id":"sdb","state":"failed"}]}`
	disksFile = `{"kind":"disks","disks":[{"device":"/dev/sda","model":"EXAMPLE HDD","serial":"EX1","protocol":"ATA",
 "verdict":"warning","reasons":["197 current_pending_sector 8"],"temperature_celsius":34,"power_on_hours":12345}]}`
	upsJSON = `{"kind":"ups","status":["OL"],"readings":{"battery.charge":90,"battery.runtime":1800,"input.voltage":229.5,"ups.load":25}}`
)

// mixed is a site with a device of many kinds: two UPSes behind one real upsd, a serial
// one, one with an SNMP card, one in a file, and supplies, an array and a disk in files.
type mixed struct {
	upsd   *peer.UPSD
	serial *megatec.UPS
	card   *snmpups.UPS
	dir    string
	*daemon
}

// startMixed starts the site, with more lines for the configuration.
func startMixed(t *testing.T, poll time.Duration, more string) *mixed {
	t.Helper()
	m := &mixed{serial: startMegatec(t), card: startSNMP(t), dir: t.TempDir()}
	m.upsd = peer.StartUPSD(t, map[string]string{"n1": upsFile})
	for name, text := range map[string]string{"ups": upsJSON, "psus": psusFile, "arrays": arraysFile, "disks": disksFile} {
		writeFile(t, filepath.Join(m.dir, name), text)
	}
	m.daemon = newDaemon(t, m.configuration(poll)+more)
	m.start()
	return m
}

func (m *mixed) configuration(poll time.Duration) string {
	return strings.NewReplacer("POLL", poll.String(), "FILES", m.dir, "SERIAL", m.serial.Path(),
		"CARD", m.card.Addr(), "UPSD", m.upsd.Addr()).Replace(`
mode: observe
ups:
  - {name: nut, driver: nut, address: "UPSD", options: {ups: n1}, poll: POLL}
  - {name: serial, driver: megatec, port: SERIAL, poll: POLL}
  - {name: card, driver: snmp, address: "CARD", options: {community: public, timeout: 500ms}, poll: POLL}
  - {name: file, driver: dummy, port: FILES/ups, poll: POLL}
psus: [{name: bmc, driver: dummy, port: FILES/psus, poll: POLL}]
arrays: [{name: md, driver: dummy, port: FILES/arrays, poll: POLL}]
disks: [{name: smart, driver: dummy, port: FILES/disks, poll: POLL}]
wiring:
  - {psu: "10.1", ups: nut, feed: A}
  - {psu: "10.2", ups: card, feed: B}
shutdown: {need: 20s, reserve: 10s}
`)
}
