package smartctl

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// fake stands in for the program: it answers from testdata and records what it was asked.
type fake struct {
	t       testing.TB
	mu      sync.Mutex
	calls   []string
	running map[string]int // by device
	most    int            // at once
	answer  func(ctx context.Context, args []string) (drivers.Output, error)
}

func (f *fake) run(ctx context.Context, name string, args ...string) (drivers.Output, error) {
	dev := args[len(args)-1]
	f.mu.Lock()
	f.calls = append(f.calls, strings.Join(args, " "))
	f.running[dev]++
	if f.running[dev] > 1 {
		f.t.Errorf("%s is read twice at once", dev)
	}
	sum := 0
	for _, n := range f.running {
		sum += n
	}
	f.most = max(f.most, sum)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.running[dev]--
		f.mu.Unlock()
	}()
	return f.answer(ctx, args)
}

func newFake(t testing.TB, answer func(context.Context, []string) (drivers.Output, error)) *fake {
	return &fake{t: t, running: map[string]int{}, answer: answer}
}

// fromTestdata answers with the document of the device's kind.
func fromTestdata(t testing.TB) func(context.Context, []string) (drivers.Output, error) {
	return func(_ context.Context, args []string) (drivers.Output, error) {
		file := "ata.json"
		switch dev := args[len(args)-1]; {
		case slices.Contains(args, "--scan"):
			file = "scan.json"
		case dev == "/dev/sdb":
			file = "sas.json"
		case dev == "/dev/nvme0":
			file = "nvme.json"
		}
		data, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Error(err)
		}
		return drivers.Output{Stdout: data}, nil
	}
}

func driverWith(t testing.TB, f *fake, opts map[string]string) *driver {
	t.Helper()
	d, err := Factory.Open("disks", opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	drv := d.(*driver)
	drv.run = f.run
	return drv
}

// TestCalls checks what the program is asked, in the first poll and in the next.
func TestCalls(t *testing.T) {
	const ask = "--json=c -n standby,3 -i -H -A -l selftest "
	f := newFake(t, fromTestdata(t))
	d := driverWith(t, f, nil)
	for i, sdb := range []string{ask + "-l error /dev/sdb", ask + "-l error -d scsi /dev/sdb"} {
		f.calls = nil
		r, err := d.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			"--scan --json=c", ask + "-l error -d sat /dev/sda", sdb, ask + "-d nvme /dev/nvme0",
			ask + "-l error -d megaraid,4 /dev/bus/0", ask + "-l error -d megaraid,5 /dev/bus/0",
		}
		slices.Sort(want)
		slices.Sort(f.calls)
		if diff := cmp.Diff(want, f.calls); diff != "" {
			t.Errorf("poll %d: calls (-want +got):\n%s", i, diff)
		}
		checkKeys(t, r)
	}
}

// TestParallel checks how many devices are read at once; the fake itself minds that no
// two are that share a controller.
func TestParallel(t *testing.T) {
	answer := fromTestdata(t)
	f := newFake(t, func(ctx context.Context, args []string) (drivers.Output, error) {
		time.Sleep(20 * time.Millisecond)
		return answer(ctx, args)
	})
	if _, err := driverWith(t, f, nil).Poll(t.Context()); err != nil || f.most != parallel {
		t.Errorf("%d runs at once, %v: want %d", f.most, err, parallel)
	}
}

func checkKeys(t *testing.T, r dodai.Reading) {
	t.Helper()
	var keys []string
	for _, disk := range r.Disks {
		keys = append(keys, disk.Device+" "+disk.Type+" "+string(disk.Verdict))
	}
	want := []string{"/dev/sda sat ok", "/dev/sdb scsi ok", "/dev/nvme0 nvme ok", "/dev/bus/0 megaraid,4 ok", "/dev/bus/0 megaraid,5 ok"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("disks (-want +got):\n%s", diff)
	}
	wantNotes := []string{
		"/dev/bus/0 -d megaraid,4 is the same drive as /dev/sda -d sat (serial EX0001)",
		"/dev/bus/0 -d megaraid,5 is the same drive as /dev/sda -d sat (serial EX0001)",
	}
	if diff := cmp.Diff(wantNotes, r.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// TestOneDevice checks that a given device is not scanned for, and its options.
func TestOneDevice(t *testing.T) {
	f := newFake(t, fromTestdata(t))
	d := driverWith(t, f, map[string]string{"device": "/dev/sdc", "type": "sat+megaraid,3", "standby": "no"})
	r, err := d.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"--json=c -i -H -A -l selftest -l error -d sat+megaraid,3 /dev/sdc"}; !slices.Equal(f.calls, want) {
		t.Errorf("calls %q, want %q", f.calls, want)
	}
	if len(r.Disks) != 1 || r.Disks[0].Device != "/dev/sdc" || r.Disks[0].Type != "sat+megaraid,3" {
		t.Errorf("disks %+v", r.Disks)
	}
	f.calls = nil
	d = driverWith(t, f, map[string]string{"device": "/dev/sdc", "type": "scsi"})
	if _, err := d.Poll(t.Context()); err != nil || !strings.HasSuffix(f.calls[0], "-d scsi /dev/sdc") {
		t.Errorf("%q, %v: want the operator's type kept", f.calls, err)
	}
}

func TestOptions(t *testing.T) {
	for key, opts := range map[string]map[string]string{
		"device":  {"device": "--all"},
		"type":    {"device": "/dev/sda", "type": "-x"},
		"standby": {"standby": "perhaps"},
		"timeout": {"timeout": "0s"},
	} {
		_, err := Factory.Open("disks", opts, nil)
		if o, ok := errors.AsType[*drivers.OptionError](err); !ok || o.Key != key {
			t.Errorf("Open(%v): %v, want an OptionError about %s", opts, err, key)
		}
	}
	_, err := Factory.Open("disks", map[string]string{"type": "sat"}, nil)
	if o, ok := errors.AsType[*drivers.OptionError](err); !ok || o.Key != "device" {
		t.Errorf("a type without a device: %v, want an OptionError about device", err)
	}
}

// TestScan checks lists that real programs never print, and some that they do.
func TestScan(t *testing.T) {
	for _, c := range []struct {
		name, out string
		want      []target
		notes     int
		err       error
	}{
		{"none", `{"json_format_version":[1,0],"smartctl":{"exit_status":0}}`, nil, 0, nil},
		{"twice", `{"devices":[{"name":"/dev/sda","type":"sat"},{"name":"/dev/sda","type":"sat"},{"name":"/dev/sda","type":"scsi"}]}`, []target{{"/dev/sda", "sat"}, {"/dev/sda", "scsi"}}, 0, nil},
		{"an option for a name", `{"devices":[{"name":"--all","type":"sat"},{"name":"/dev/sda","type":"-x"},{"type":"sat"}]}`, nil, 3, nil},
		{"odd types", `{"devices":[{"name":7,"type":[]},{"name":"/dev/sda"}]}`, []target{{"/dev/sda", ""}}, 1, nil},
		{"not JSON", `/dev/sda -d sat # /dev/sda [SAT], ATA device`, nil, 0, drivers.ErrProtocol},
		{"half", `{"devices":[{"name":"/dev/sda","ty`, nil, 0, drivers.ErrProtocol},
		{"another document", `{"error":"no"}`, nil, 0, drivers.ErrProtocol},
	} {
		got, notes, err := parseScan([]byte(c.out))
		if !slices.Equal(got, c.want) || len(notes) != c.notes || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, notes %q, %v: want %v, %d notes, %v", c.name, got, notes, err, c.want, c.notes, c.err)
		}
	}
}

// TestNoDisks checks that a machine without disks of its own is told from a failure.
func TestNoDisks(t *testing.T) {
	empty := func(context.Context, []string) (drivers.Output, error) {
		return drivers.Output{Stdout: []byte(`{"json_format_version":[1,0],"smartctl":{"exit_status":0,"messages":[{"string":"glob aborted","severity":"error"}]}}`)}, nil
	}
	_, err := driverWith(t, newFake(t, empty), nil).Poll(t.Context())
	if !errors.Is(err, drivers.ErrNoData) || !strings.Contains(err.Error(), "glob aborted") {
		t.Errorf("Poll: %v, want ErrNoData and why", err)
	}
}

// TestProgram checks what goes wrong with the program itself.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/plain", "no program", 0o644)
	writeFile(t, dir+"/killed", "#!/bin/sh\nkill -9 $$\n", 0o755)
	for _, c := range []struct {
		name string
		opts map[string]string
		want error
	}{
		{"no such name", map[string]string{"smartctl": "no-such-smartctl"}, drivers.ErrNoData},
		{"no such path", map[string]string{"smartctl": dir + "/none"}, drivers.ErrNoData},
		{"no such path, one device", map[string]string{"smartctl": dir + "/none", "device": "/dev/sda"}, drivers.ErrNoData},
		{"not executable", map[string]string{"smartctl": dir + "/plain"}, drivers.ErrDenied},
		{"killed", map[string]string{"smartctl": dir + "/killed"}, drivers.ErrUnreachable},
	} {
		d, err := Factory.Open("disks", c.opts, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Poll(t.Context())
		e, ok := errors.AsType[*drivers.Error](err)
		if !errors.Is(err, c.want) || !ok || e.Op == "" || errors.Is(err, drivers.ErrUnreachable) != (c.want == drivers.ErrUnreachable) {
			t.Errorf("%s: %v, want %v alone", c.name, err, c.want)
		}
	}
}

// TestOneDiskHangs checks that a dying drive costs its own reading and no other's.
func TestOneDiskHangs(t *testing.T) {
	answer := fromTestdata(t)
	f := newFake(t, func(ctx context.Context, args []string) (drivers.Output, error) {
		if args[len(args)-1] == "/dev/sdb" {
			<-ctx.Done()
			return drivers.Output{}, drivers.Unreachable(ctx.Err())
		}
		return answer(ctx, args)
	})
	for name, c := range map[string]struct {
		timeout string
		limit   time.Duration
	}{"its own time runs out": {"50ms", time.Minute}, "the poll's time runs out": {"1m", 100 * time.Millisecond}} {
		ctx, cancel := context.WithTimeout(t.Context(), c.limit)
		r, err := driverWith(t, f, map[string]string{"timeout": c.timeout}).Poll(ctx)
		cancel()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, disk := range r.Disks {
			hangs := disk.Device == "/dev/sdb"
			if (disk.Verdict == dodai.VerdictUnreadable) != hangs || hangs && !strings.Contains(disk.Reasons[0], "no answer") {
				t.Errorf("%s: %s is %s, reasons %q", name, disk.Device, disk.Verdict, disk.Reasons)
			}
		}
	}
}

// TestCancelledMidway checks that a poll that was called off is no reading.
func TestCancelledMidway(t *testing.T) {
	answer := fromTestdata(t)
	ctx, cancel := context.WithCancel(t.Context())
	f := newFake(t, func(inner context.Context, args []string) (drivers.Output, error) {
		if args[len(args)-1] == "/dev/nvme0" {
			cancel()
		}
		return answer(inner, args)
	})
	if r, err := driverWith(t, f, nil).Poll(ctx); !errors.Is(err, drivers.ErrUnreachable) {
		t.Errorf("Poll = %+v, %v: want ErrUnreachable", r, err)
	}
}

// TestRealProgram runs the smartctl that is installed: a machine has disks, or none.
func TestRealProgram(t *testing.T) {
	program := peer.Need(t, "smartctl")
	d, err := Factory.Open("disks", map[string]string{"smartctl": program}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := d.Poll(ctx)
	if err != nil && !errors.Is(err, drivers.ErrNoData) {
		t.Errorf("Poll: %v, want a reading or ErrNoData", err)
	}
	for _, disk := range r.Disks {
		t.Logf("%s %s: %s %q", disk.Device, disk.Type, disk.Verdict, disk.Reasons)
	}
	if err == nil && len(r.Disks) == 0 {
		t.Error("a reading without disks")
	}
}

// TestRealProgramOneDevice asks it for devices that are no disks: the reasons are its own.
func TestRealProgramOneDevice(t *testing.T) {
	program := peer.Need(t, "smartctl")
	for _, c := range []struct {
		name    string
		opts    map[string]string
		standby bool
		reason  string
	}{
		{"no such device", map[string]string{"device": "/dev/no-such-disk", "type": "sat"}, false, "No such device"},
		{"no such type", map[string]string{"device": "/dev/null", "type": "no-such-type"}, false, "Unknown device type"},
		{"no disk", map[string]string{"device": "/dev/null"}, false, "Unable to detect device type"},
	} {
		c.opts["smartctl"] = program
		r := pollWith(t, c.opts)
		if len(r.Disks) != 1 || r.Disks[0].Verdict != dodai.VerdictUnreadable || !strings.Contains(r.Disks[0].Reasons[0], c.reason) {
			t.Errorf("%s: %+v, want unreadable with %q", c.name, r.Disks, c.reason)
		}
	}
}

// TestRealProgramStandby reads a loop device as if it were an ATA disk: smartctl takes
// it for one that sleeps, and shows what it then prints.
func TestRealProgramStandby(t *testing.T) {
	program := peer.Need(t, "smartctl")
	out, err := drivers.Run(t.Context(), program, "--json=c", "-n", "standby,3", "-i", "-d", "sat", "/dev/loop0")
	if err != nil || out.Exit != standbyStatus {
		t.Skipf("smartctl does not take /dev/loop0 for a sleeping disk here (exit %d, %v)", out.Exit, err)
	}
	r := pollWith(t, map[string]string{"smartctl": program, "device": "/dev/loop0", "type": "sat"})
	if d := r.Disks[0]; !d.Standby || d.Verdict != dodai.VerdictUnreadable || d.Protocol != "ATA" {
		t.Errorf("disk %+v, want one that sleeps", d)
	}
}

// TestRealScan checks the format the driver relies on with the program itself.
func TestRealScan(t *testing.T) {
	program := peer.Need(t, "smartctl")
	for _, args := range [][]string{{"--scan", "--json=c"}, {"--json", "--scan"}} {
		out, err := drivers.Run(t.Context(), program, args...)
		if err != nil || out.Exit != 0 {
			t.Fatalf("smartctl %q: exit %d, %v", args, out.Exit, err)
		}
		if _, _, err := parseScan(out.Stdout); err != nil {
			t.Errorf("smartctl %q: %v", args, err)
		}
	}
}
