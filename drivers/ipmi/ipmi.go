// Package ipmi reads this server's power supplies from its BMC over the network
// (IPMI 2.0, RMCP+, UDP port 623).
//
// What a supply is and which sensor says what follows from the sensor data records:
// the type of sensor, the type of reading, the entity, and which states the record says
// the sensor has. Names decide only where there is nothing else, because vendors call
// the sensors of both supplies "Status". Each poll reads the few sensors about power
// one by one; the records are cached.
//
// Source: Intelligent Platform Management Interface Specification v2.0 rev. 1.1, with
// errata 7; Platform Management FRU Information Storage Definition v1.0 rev. 1.3.
//
// Not done: sensors that belong to another controller than the BMC (they want their
// requests bridged) count as unknown; the event log is not read; there is no way
// through /dev/ipmi0 yet.
package ipmi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// Factory is listed in drivers/all.
var Factory = drivers.Factory{
	Name:    "ipmi",
	Kind:    dodai.KindPSUs,
	Summary: "this server's power supplies, from its BMC by IPMI over the network",
	Options: []drivers.Option{
		{Key: "address", Help: "host or host:port of the BMC, port 623 unless said", Example: "192.0.2.10:623", Required: true},
		{Key: "user", Help: "account on the BMC, up to 16 bytes; privilege USER is enough", Example: "monitor"},
		{Key: "password", Help: "its password, up to 20 bytes", Secret: true},
		{Key: "password_file", Help: "file with the password, instead of password", Example: "/etc/dodai/bmc.password"},
		{Key: "cipher", Help: "cipher suite, 17 or 3; without it 17, and 3 where the BMC refuses 17", Example: "17"},
		{Key: "privilege", Help: "privilege to ask for: user, operator or administrator", Default: "user", Example: "user"},
	},
	Poll:    5 * time.Second,
	Timeout: 5 * time.Second,
	New:     newDriver,
}

type driver struct {
	device  string
	address string
	who     account
	log     *slog.Logger

	session *session // nil: none is open
	repo    repository
	bmc     dodai.Device
	bmcID   string // answer to Get Device ID: another one means other records
	stock   map[entity]inventory

	seen         map[sensor]state // in the last poll
	sinceNumbers int              // polls since the numbers were read
}

var _ drivers.Driver = (*driver)(nil)

func newDriver(cfg drivers.Config) (drivers.Driver, error) {
	address, err := addressOption(cfg.Options["address"])
	if err != nil {
		return nil, err
	}
	who, err := accountOption(cfg)
	if err != nil {
		return nil, err
	}
	return &driver{device: cfg.Device, address: address, who: who, log: cfg.Log, stock: map[entity]inventory{}}, nil
}

func addressOption(s string) (string, error) {
	if host, port, err := net.SplitHostPort(s); err == nil && host != "" && port != "" {
		return s, nil
	}
	if host := strings.Trim(s, "[]"); !strings.Contains(s, ":") || net.ParseIP(host) != nil {
		return net.JoinHostPort(host, "623"), nil
	}
	return "", &drivers.OptionError{Key: "address", Got: s, Want: "host or host:port", Example: "192.0.2.10:623"}
}

func accountOption(cfg drivers.Config) (account, error) {
	who := account{user: cfg.Options["user"], password: cfg.Options["password"]}
	if file := cfg.Options["password_file"]; file != "" {
		if who.password != "" {
			return who, &drivers.OptionError{Key: "password_file", Got: file, Want: "password or password_file, not both"}
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return who, &drivers.OptionError{Key: "password_file", Got: file, Want: "a file that can be read: " + err.Error()}
		}
		who.password = strings.TrimRight(string(b), "\r\n")
	}
	switch {
	case len(who.user) > 16:
		return who, &drivers.OptionError{Key: "user", Got: who.user, Want: "at most 16 bytes"}
	case len(who.password) > 20:
		return who, &drivers.OptionError{Key: "password", Got: "(hidden)", Want: "at most 20 bytes, as IPMI 2.0 allows"}
	}
	cipher, err := cfg.OneOf("cipher", "17", "3", "")
	if err != nil {
		return who, err
	}
	who.suites = map[string][]types.CipherSuiteID{
		"17": {types.CipherSuiteID17}, "3": {types.CipherSuiteID3},
		"": {types.CipherSuiteID17, types.CipherSuiteID3},
	}[cipher]
	privilege, err := cfg.OneOf("privilege", "user", "operator", "administrator")
	who.privilege = map[string]types.PrivilegeLevel{
		"user": types.PrivilegeLevelUser, "operator": types.PrivilegeLevelOperator, "administrator": types.PrivilegeLevelAdministrator,
	}[privilege]
	return who, err
}

// Poll implements drivers.Driver. A session that has been forgotten by the BMC (it is
// idle for too long, or the BMC restarted) shows only by silence: it is replaced once
// within the same poll.
func (d *driver) Poll(ctx context.Context) (dodai.Reading, error) {
	old := d.session != nil
	r, op, err := d.poll(ctx)
	if err != nil && old && lost(err) && ctx.Err() == nil {
		d.log.Debug("session lost", "device", d.device, "error", err)
		d.drop()
		r, op, err = d.poll(ctx)
	}
	if err == nil {
		return r, nil
	}
	if lost(err) {
		d.drop()
	}
	return dodai.Reading{}, d.fail(op, err)
}

// lost reports whether the session has to be given up. A BMC that refuses a command or
// sends a malformed record is still there.
func lost(err error) bool {
	_, refused := errors.AsType[completion](err)
	return !refused && !errors.Is(err, drivers.ErrNoData)
}

func (d *driver) poll(ctx context.Context) (dodai.Reading, string, error) {
	if err := d.connect(ctx); err != nil {
		return dodai.Reading{}, "connect to " + d.address, err
	}
	if err := d.repo.refresh(ctx, d.session); err != nil {
		return dodai.Reading{}, "read sensor records", err
	}
	if len(d.repo.sensors) == 0 {
		return dodai.Reading{}, "read sensor records", fmt.Errorf("%w: the BMC has no sensors about power supplies", drivers.ErrNoData)
	}
	obs, err := d.observe(ctx)
	if err != nil {
		return dodai.Reading{}, "read sensors", err
	}
	r := decide(obs, d.repo.associations, d.stock)
	if d.takeStock(ctx, r) {
		r = decide(obs, d.repo.associations, d.stock)
	}
	if d.repo.bad > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d sensor records of the BMC cannot be read", d.repo.bad))
	}
	r.Device = d.bmc
	return r, "", nil
}

func (d *driver) connect(ctx context.Context) error {
	if d.session != nil {
		return nil
	}
	s, err := dial(ctx, d.address, d.who)
	if err != nil {
		return err
	}
	d.session = s
	d.repo.resume()
	d.log.Debug("session open", "device", d.device, "suite", int(s.suite))
	return d.identify(ctx)
}

// identify asks what the BMC is; another one, or another firmware, has other records.
// Source: IPMI 2.0, section 20.1.
func (d *driver) identify(ctx context.Context) error {
	b, err := d.session.command(ctx, request{netFn: types.NetFnAppRequest, cmd: 0x01})
	if err = known(err); err != nil {
		return fmt.Errorf("get device id: %w", err)
	}
	if id := string(b); id != d.bmcID {
		d.bmcID, d.repo, d.stock = id, repository{}, map[entity]inventory{}
		d.bmc = parseDeviceID(b)
	}
	return nil
}

func parseDeviceID(b []byte) dodai.Device {
	if len(b) < 4 {
		return dodai.Device{}
	}
	return dodai.Device{CardFirmware: fmt.Sprintf("%d.%02x", b[2]&0x7f, b[3])} // the minor number is BCD
}

// numbersEvery is in which poll the sensors that give a number are read. A supply's watts
// are no news; what is wrong with it stands in the others, which are read in each.
const numbersEvery = 3

// observe reads the sensors about power. When one tells of another state than in the last
// poll, the numbers are read with it.
func (d *driver) observe(ctx context.Context) ([]observation, error) {
	list := make([]observation, len(d.repo.sensors))
	numbers := d.sinceNumbers+1 >= numbersEvery
	for i, s := range d.repo.sensors {
		if !s.isNumber() {
			st, err := d.read(ctx, s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s, err)
			}
			list[i] = observation{s, st}
			numbers = numbers || d.seen[s] != st
		}
	}
	for i, s := range d.repo.sensors {
		if s.isNumber() {
			st, known := d.seen[s]
			if numbers || !known {
				var err error
				if st, err = d.read(ctx, s); err != nil {
					return nil, fmt.Errorf("%s: %w", s, err)
				}
			}
			list[i] = observation{s, st}
		}
	}
	d.sinceNumbers++
	if numbers {
		d.sinceNumbers = 0
	}
	d.seen = make(map[sensor]state, len(list))
	for _, o := range list {
		d.seen[o.sensor] = o.state
	}
	return list, nil
}

// read reads one sensor. One that the BMC refuses to read is unavailable, and no reason
// to give up the others; a missing privilege concerns all of them.
func (d *driver) read(ctx context.Context, s sensor) (state, error) {
	if s.owner != types.BMC_SA {
		return state{}, nil
	}
	req := request{netFn: types.NetFnSensorEventRequest, cmd: 0x2d, lun: s.lun, data: []byte{s.number}}
	b, err := d.session.command(ctx, req)
	if errors.Is(err, codeBusy) {
		b, err = d.session.command(ctx, req)
	}
	if c, refused := errors.AsType[completion](err); refused && c != codePrivilege {
		d.log.Debug("sensor unavailable", "device", d.device, "sensor", s.String(), "code", c.Error())
		return state{}, nil
	}
	if err != nil {
		return state{}, err
	}
	return parseReading(b)
}

// takeStock reads the inventories of supplies that it has not asked yet, and forgets
// what was in a bay that is empty now. It reports whether anything is new. A supply
// whose inventory cannot be read is not asked again until it, or the BMC, is replaced:
// the rating is good to have, and not worth a poll's deadline each time.
func (d *driver) takeStock(ctx context.Context, r dodai.Reading) (news bool) {
	for _, f := range d.repo.frus {
		state := supplyAt(r, f.entity)
		_, have := d.stock[f.entity]
		switch {
		case state == dodai.PSUAbsent:
			delete(d.stock, f.entity)
		case state != dodai.PSUUnknown && !have:
			d.stock[f.entity] = d.readStock(ctx, f)
			news = true
		}
	}
	return news
}

func (d *driver) readStock(ctx context.Context, f fruLocator) inventory {
	wait := time.Second
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)/3)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	inv, err := readFRU(ctx, d.session, f.device)
	if err != nil {
		d.log.Debug("no inventory", "device", d.device, "supply", f.entity.String(), "error", err)
	}
	return inv
}

// supplyAt is unknown too where there is no such supply.
func supplyAt(r dodai.Reading, e entity) dodai.PSUState {
	for _, p := range r.PSUs {
		if p.ID == e.String() {
			return p.State
		}
	}
	return dodai.PSUUnknown
}

// drop gives up a session without waiting for the BMC.
func (d *driver) drop() {
	if d.session != nil {
		d.session.abandon()
		d.session = nil
	}
}

// Close ends the session, so that the BMC has its slot back.
func (d *driver) Close() error {
	if d.session == nil {
		return nil
	}
	err := d.session.close()
	d.session = nil
	return err
}

func (d *driver) fail(op string, err error) error {
	err = drivers.Classify(err)
	e := &drivers.Error{Driver: "ipmi", Device: d.device, Op: op, Err: err}
	if !isClassified(err) {
		e.Err = fmt.Errorf("%w: %w", drivers.ErrProtocol, err)
	}
	switch {
	case errors.Is(err, errRefused):
		e.Hint = "set cipher to a suite that the BMC allows on its LAN channel"
	case errors.Is(err, drivers.ErrDenied):
		e.Hint = "check user, password and privilege, and that IPMI over LAN is enabled for the account"
	}
	return e
}

func isClassified(err error) bool {
	for _, s := range []error{drivers.ErrUnreachable, drivers.ErrProtocol, drivers.ErrDenied, drivers.ErrNoData} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}
