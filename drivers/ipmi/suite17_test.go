package ipmi

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/handlers"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// serve17 starts go-ipmi's BMC, which knows the cipher suites it is given, on top of a
// fake one. ipmi_sim knows suite 3 alone.
func serve17(t *testing.T, f *fakeBMC, suites ...types.CipherSuiteID) string {
	t.Helper()
	b := bmc.New(bmc.DeviceInfo{IPMIVersion: 0x20}, [16]byte{7}, mock.New())
	user, err := b.Users.Add(2, "viewer")
	if err != nil {
		t.Fatal(err)
	}
	user.SetPassword([]byte("pass phrase of 20 by"))
	user.Enabled = true
	user.ChannelAccess[1] = bmc.UserChannelAccess{MaxPrivilege: bmc.PrivilegeLevelUser, Enabled: true}
	reg := handlers.NewRegistry()
	handlers.RegisterAllHandlers(reg)
	for _, cmd := range []types.Command{
		{ID: 0x20, NetFn: types.NetFnStorageRequest}, {ID: 0x22, NetFn: types.NetFnStorageRequest},
		{ID: 0x23, NetFn: types.NetFnStorageRequest}, {ID: 0x2d, NetFn: types.NetFnSensorEventRequest},
	} {
		reg.RegisterFunc(cmd, func(ctx context.Context, _ *handlers.HandlerContext, data []byte) ([]byte, types.CompletionCode, error) {
			res, err := f.command(ctx, request{netFn: cmd.NetFn, cmd: cmd.ID, data: data})
			if c, refused := errors.AsType[completion](err); refused {
				return nil, types.CompletionCode(c), nil
			}
			return res, 0, err
		})
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	srv := server.NewServer(b, udp.Wrap(conn, udp.WithReadTimeout(100*time.Millisecond)), server.WithHandlerRegistry(reg), server.WithCipherSuites(suites))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { srv.Serve(ctx); close(done) }()
	t.Cleanup(func() { cancel(); srv.Close(); <-done })
	return conn.LocalAddr().String()
}

func open17(t *testing.T, address, cipher, password string) *driver {
	t.Helper()
	d, err := Factory.Open("bmc1", map[string]string{"address": address, "user": "viewer", "password": password, "cipher": cipher}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d.(*driver)
}

func poll17(t *testing.T, d *driver) (dodai.Reading, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	return d.Poll(ctx)
}

func TestCipherSuites(t *testing.T) {
	const password = "pass phrase of 20 by"
	only3, only17 := []types.CipherSuiteID{types.CipherSuiteID3}, []types.CipherSuiteID{types.CipherSuiteID17}
	for _, tt := range []struct {
		name     string
		suites   []types.CipherSuiteID
		cipher   string
		password string
		want     types.CipherSuiteID // 0: denied
	}{
		{"17 where the BMC has both", append(only17, only3...), "", password, 17},
		{"3 where the BMC refuses 17", only3, "", password, 3},
		{"17 by name", only17, "17", password, 17},
		{"17 alone is asked for and refused", only3, "17", password, 0},
		{"3 alone is asked for and refused", only17, "3", password, 0},
		{"wrong password, and no try of 3", append(only17, only3...), "", "pass phrase of 20 bY", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := open17(t, serve17(t, newFake(), tt.suites...), tt.cipher, tt.password)
			r, err := poll17(t, d)
			if tt.want == 0 {
				if !errors.Is(err, drivers.ErrDenied) {
					t.Errorf("poll: %v, want ErrDenied", err)
				}
				return
			}
			if err != nil || d.session.suite != tt.want || len(r.PSUs) != 4 {
				t.Fatalf("poll = %+v, %v: want 4 supplies by suite %d", r, err, tt.want)
			}
		})
	}
}

// TestIpmitoolAgrees shows that the peer of TestCipherSuites is one that others can talk
// to with suite 17 as well.
func TestIpmitoolAgrees(t *testing.T) {
	tool := peer.Need(t, "ipmitool")
	host, port, _ := strings.Cut(serve17(t, newFake(), types.CipherSuiteID17), ":")
	out, err := exec.Command(tool, "-I", "lanplus", "-C", "17", "-L", "USER", "-H", host, "-p", port,
		"-U", "viewer", "-P", "pass phrase of 20 by", "raw", "0x04", "0x2d", "0x01").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "00 c0 01 00") {
		t.Errorf("ipmitool: %v, %q: want the reading of sensor 1", err, out)
	}
}

// TestSensorsThatRefuse has single sensors answer with a completion code.
func TestSensorsThatRefuse(t *testing.T) {
	f := newFake()
	f.sensors = map[byte]completion{1: codeNotPresent, 2: 0xcc, 3: codeNotInState}
	d := open17(t, serve17(t, f, types.CipherSuiteID17), "", "pass phrase of 20 by")
	r, err := poll17(t, d)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []dodai.PSUState{dodai.PSUUnknown, dodai.PSUUnknown, dodai.PSUUnknown, dodai.PSUOK} {
		if r.PSUs[i].State != want {
			t.Errorf("supply %s is %s, want %s", r.PSUs[i].ID, r.PSUs[i].State, want)
		}
	}
	f.mu.Lock()
	f.sensors[4] = codePrivilege
	f.mu.Unlock()
	if _, err := poll17(t, d); !errors.Is(err, drivers.ErrDenied) {
		t.Errorf("no privilege: %v, want ErrDenied", err)
	}
}

func TestNoSensors(t *testing.T) {
	f := newFake()
	f.records = f.records[1:2] // a temperature
	d := open17(t, serve17(t, f, types.CipherSuiteID17), "", "pass phrase of 20 by")
	if r, err := poll17(t, d); !errors.Is(err, drivers.ErrNoData) {
		t.Errorf("poll of a BMC without supplies = %+v, %v: want ErrNoData", r, err)
	}
}
