package snmp

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/sim/snmpups"
)

// TestAlarms: a new alarm costs a look at the table once, not in every poll, and one
// that takes another's place is noticed.
func TestAlarms(t *testing.T) {
	ups := newSim(t, snmpups.Config{})
	d := openDriver(t, map[string]string{"address": ups.Addr()})
	mustPoll(t, d)
	steps := []struct {
		what   string
		set    func()
		status dodai.Status
		text   string
	}{
		{"battery bad", func() { ups.Change(func(s *snmpups.State) { s.Replace = true }) }, dodai.OL | dodai.RB, "battery bad"},
		{"another instead", func() {
			ups.Remove(snmpups.MustOID(upsMIB + "6.2.1.2.7"))
			ups.Set(snmpups.MustOID(upsMIB+"6.2.1.2.8"), snmpups.Pointer(snmpups.MustOID(upsMIB+"6.3.8")))
		}, dodai.OL | dodai.OVER, "overload"},
		{"none", func() {
			ups.Remove(snmpups.MustOID(upsMIB + "6.2.1.2.8"))
			ups.Set(snmpups.MustOID(upsMIB+"6.1.0"), snmpups.Gauge(0))
		}, dodai.OL, ""},
	}
	for _, step := range steps {
		step.set()
		r := mustPoll(t, d)
		if r.Status != step.status || r.Vars[dodai.UPSAlarm].String() != step.text {
			t.Errorf("%s: status %v, alarm %q: want %v, %q", step.what, r.Status, r.Vars[dodai.UPSAlarm], step.status, step.text)
		}
		ups.ResetCounts()
		mustPoll(t, d)
		if n := ups.Counts(); n.All() != 1 {
			t.Errorf("%s: %+v requests in the poll after, want 1", step.what, n)
		}
	}
}

// TestAlarmsOfTwoFamilies: condition 3 is "on battery" in Eaton's MIB and "low battery"
// in RFC 1628.
func TestAlarmsOfTwoFamilies(t *testing.T) {
	agent := serve(t, nil)
	for oid, v := range map[string]snmpups.Value{
		upsMIB + "4.1.0": snmpups.Int(3), upsMIB + "6.1.0": snmpups.Int(0), xupsMIB + "2.1.0": snmpups.Int(600), xupsMIB + "7.1.0": snmpups.Int(1),
		xups.alarms + ".7": snmpups.Pointer(snmpups.MustOID(xups.alarmBase + "3")),
	} {
		agent.Set(snmpups.MustOID(oid), v)
	}
	r := mustPoll(t, openDriver(t, map[string]string{"address": agent.Addr()}))
	if r.Status != dodai.OL || r.Vars[dodai.UPSAlarm].String() != "on battery" {
		t.Errorf("status %v, alarm %q: want OL, on battery", r.Status, r.Vars[dodai.UPSAlarm])
	}
}

// TestManyAlarms: so many are told, by GETBULK and row by row.
func TestManyAlarms(t *testing.T) {
	for _, version := range []string{"1", "2c"} {
		agent := serve(t, nil)
		agent.Set(snmpups.MustOID(upsMIB+"4.1.0"), snmpups.Int(3))
		agent.Set(snmpups.MustOID(upsMIB+"6.1.0"), snmpups.Int(12))
		for i := range 12 {
			agent.Set(snmpups.MustOID(fmt.Sprint(upsMIB, "6.2.1.2.", i+1)), snmpups.Pointer(snmpups.MustOID(fmt.Sprint(upsMIB, "6.3.", i+5))))
		}
		r := mustPoll(t, openDriver(t, map[string]string{"address": agent.Addr(), "version": version}))
		if texts := strings.Split(r.Vars[dodai.UPSAlarm].String(), ", "); len(texts) != 8 || texts[0] != "temperature out of range" {
			t.Errorf("version %s: alarms %q, want the first 8", version, texts)
		}
	}
}

// TestLostUPS: a card that has lost its UPS answers, but with nothing to rely on.
func TestLostUPS(t *testing.T) {
	ups := newSim(t, snmpups.Config{Flavour: snmpups.Both})
	d := openDriver(t, map[string]string{"address": ups.Addr()})
	mustPoll(t, d)
	ups.Set(snmpups.MustOID(apcUPS+"8.1.0"), snmpups.Int(2))
	if r, err := d.Poll(t.Context()); !errors.Is(err, drivers.ErrUnreachable) || !strings.Contains(err.Error(), "upsCommStatus") {
		t.Errorf("PowerNet: %v %v, want ErrUnreachable that names upsCommStatus", r.Status, err)
	}
	ups.Set(snmpups.MustOID(apcUPS+"8.1.0"), snmpups.Int(1))
	mustPoll(t, d)
	ups.Set(snmpups.MustOID(upsMIB+"6.1.0"), snmpups.Gauge(1))
	ups.Set(snmpups.MustOID(upsMIB+"6.2.1.2.1"), snmpups.Pointer(snmpups.MustOID(upsMIB+"6.3.20")))
	if r, err := d.Poll(t.Context()); !errors.Is(err, drivers.ErrUnreachable) {
		t.Errorf("RFC 1628: %v %v, want ErrUnreachable", r.Status, err)
	}
}
