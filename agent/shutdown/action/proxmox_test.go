package action

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// node stands in for qm and pct, as they were seen to answer. $S/qm and $S/pct have a file
// for each guest with its status, $S/is one for each peculiarity.
const node = `tool=${0##*/}
verb=$1
echo "$tool $*" >>$S/log
is() { [ -e "$S/is/$1.$id" ]; }
set_to() { echo "$1" >"$S/$tool.$id.new"; mv "$S/$tool.$id.new" "$S/$tool/$id"; }
if [ $verb = list ]; then
	[ ! -e $S/is/broken.$tool ] || { echo 'ipcc_send_rec[1] failed: Connection refused'; exit 111; }
	first=yes
	for f in $S/$tool/*; do
		[ -e "$f" ] || break
		read status <"$f"; id=${f##*/}
		if [ $tool = qm ]; then
			[ $first ] && printf '%10s %-20s %-10s %-10s %12s %-10s\n' VMID NAME STATUS 'MEM(MB)' 'BOOTDISK(GB)' PID
			printf '%10s %-20s %-10s %-10s %12.2f %-10s\n' $id "guest-$id" $status 2048 32 0
		else
			[ $first ] && printf '%-10s %-10s %-12s %-20s\n' VMID Status Lock Name
			lock=; is locked && lock=backup
			printf '%-10s %-10s %-12s %-20s\n' $id $status "$lock" "guest-$id"
		fi
		first=
	done
	exit 0
fi
id=$2
[ -e $S/$tool/$id ] || { echo "Configuration file 'nodes/pve/$tool/$id.conf' does not exist" >&2; exit 2; }
read status <$S/$tool/$id
if is locked; then
	case "$tool $verb $*" in
	'pct shutdown '*--skiplock*) echo 'Unknown option: skiplock'; exit 255 ;;
	*--skiplock*) ;;
	*) echo 'VM is locked (backup)'; exit 255 ;;
	esac
fi
case $verb in
start) [ $status = stopped ] || { echo "VM $id already running"; exit 255; }; set_to running ;;
resume) set_to running ;;
stop) set_to stopped ;;
shutdown)
	[ $status != paused ] || { echo 'VM is paused - cannot shutdown'; exit 255; }
	! is managed || { echo "Requesting HA stop for VM $id"; (sleep 1; set_to stopped) >/dev/null 2>&1 & exit 0; }
	if is deaf; then sleep $4; echo 'VM quit/powerdown failed - got timeout' >&2; exit 255; fi
	sleep 0.1; set_to stopped ;;
esac
`

type guests map[string]string // status by tool/id

func (g guests) make(t *testing.T, is []string) (task shutdown.Task, state string) {
	t.Helper()
	state = t.TempDir()
	for _, dir := range []string{"qm", "pct", "is"} {
		if err := os.Mkdir(filepath.Join(state, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, status := range g {
		write(t, filepath.Join(state, path), status+"\n")
	}
	for _, what := range is {
		write(t, filepath.Join(state, "is", what), "")
	}
	return taskWith(program(t, node, "qm", "pct"), time.Minute, "S="+state), state
}

func (g guests) expect(t *testing.T, state string) {
	t.Helper()
	for path, want := range g {
		if got := strings.TrimSpace(read(t, filepath.Join(state, path))); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

func TestProxmox(t *testing.T) {
	const up, off = "running", "stopped"
	secs := func(n int) config.Duration { return config.Duration(time.Duration(n) * time.Second) }
	for _, tt := range []struct {
		name        string
		guests      guests
		is          []string
		do          config.Proxmox
		timeout     time.Duration
		want        guests
		fails, says string
		ran         []string // lines of the log
		atMost      time.Duration
	}{
		{name: "all", guests: guests{"qm/100": up, "qm/101": off, "pct/200": up, "qm/103": "paused"}, want: guests{"qm/100": off, "pct/200": off, "qm/103": off},
			says: "200: off after", ran: []string{"qm resume 103"}},
		{name: "none", want: guests{}},
		{name: "named", guests: guests{"qm/100": up, "qm/101": up, "pct/200": up, "pct/201": off}, do: config.Proxmox{Guests: []string{"101", "200", "201", "999"}},
			want: guests{"qm/100": up, "qm/101": off, "pct/200": off}},
		{name: "all but some", guests: guests{"qm/100": up, "pct/200": up}, do: config.Proxmox{Except: []string{"100"}}, want: guests{"qm/100": up, "pct/200": off}},
		{name: "deaf, stopped", guests: guests{"qm/100": up, "pct/200": up, "qm/101": up}, is: []string{"deaf.100", "deaf.200"}, do: config.Proxmox{Stop: secs(2)},
			want: guests{"qm/100": off, "pct/200": off, "qm/101": off}, says: "100: ended by force", ran: []string{"qm shutdown 100 --timeout 2", "pct stop 200"}, atMost: 12 * time.Second},
		{name: "deaf", guests: guests{"qm/100": up, "qm/101": up}, is: []string{"deaf.100"}, timeout: 4 * time.Second, want: guests{"qm/100": up, "qm/101": off}, fails: "still up: 100", atMost: 7 * time.Second},
		{name: "a backup runs", guests: guests{"qm/100": up}, is: []string{"locked.100"}, want: guests{"qm/100": off}, ran: []string{"--skiplock 1"}},
		{name: "a backup of a container runs", guests: guests{"pct/200": up}, is: []string{"locked.200"}, do: config.Proxmox{Stop: secs(2)}, want: guests{"pct/200": off}, ran: []string{"pct stop 200 --skiplock 1"}},
		{name: "managed", guests: guests{"qm/100": up}, is: []string{"managed.100"}, want: guests{"qm/100": off}},
		{name: "pct is broken", guests: guests{"qm/100": up, "pct/200": up}, is: []string{"broken.pct"}, want: guests{"qm/100": off, "pct/200": up}, fails: "Connection refused", atMost: 15 * time.Second},
		{name: "both are broken", guests: guests{"qm/100": up}, is: []string{"broken.pct", "broken.qm"}, want: guests{"qm/100": up}, fails: "Connection refused"},
		{name: "more than at once", guests: guests{"qm/100": up, "qm/101": up, "qm/102": up, "qm/103": up, "qm/104": up, "qm/105": up, "qm/106": up, "qm/107": up, "qm/108": up, "qm/109": up},
			want: guests{"qm/100": off, "qm/109": off}, atMost: 12 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			task, state := tt.guests.make(t, tt.is)
			if tt.timeout > 0 {
				task.Timeout = tt.timeout
			}
			start := time.Now()
			res := Proxmox{Proxmox: tt.do}.Run(t.Context(), task)
			took := time.Since(start)
			t.Logf("%v after %v:\n%s", res.Err, took.Round(time.Millisecond), res.Output)
			expectEnd(t, res, tt.fails)
			if !strings.Contains(res.Output, tt.says) {
				t.Errorf("output %q, want %q in it", res.Output, tt.says)
			}
			if took > max(tt.atMost, 8*time.Second) {
				t.Errorf("took %v, want %v at most", took, max(tt.atMost, 8*time.Second))
			}
			log := read(t, state+"/log")
			for _, line := range tt.ran {
				if !strings.Contains(log, line) {
					t.Errorf("%q was not run:\n%s", line, log)
				}
			}
			tt.want.expect(t, state)
		})
	}
}

func TestProxmoxStartsWhatItShutDown(t *testing.T) {
	t.Parallel()
	task, state := guests{"qm/100": "running", "pct/200": "running", "pct/201": "stopped"}.make(t, nil)
	do := Proxmox{Proxmox: config.Proxmox{Guests: []string{"100", "200"}}}
	expectEnd(t, do.Run(t.Context(), task), "")
	guests{"qm/100": "stopped", "pct/200": "stopped"}.expect(t, state)
	expectEnd(t, do.Inverse().Run(t.Context(), task), "")
	expectEnd(t, do.Inverse().Run(t.Context(), task), "") // they run already
	guests{"qm/100": "running", "pct/200": "running", "pct/201": "stopped"}.expect(t, state)
	gone := Proxmox{Proxmox: config.Proxmox{Guests: []string{"100", "300"}}}
	expectEnd(t, gone.Inverse().Run(t.Context(), task), "not started: 300")
}

func TestProxmoxCheck(t *testing.T) {
	for _, tt := range []struct {
		name        string
		is          []string
		do          config.Proxmox
		check, text string
	}{
		{name: "all"},
		{name: "named", do: config.Proxmox{Guests: []string{"100", "200"}, Except: []string{"201"}}},
		{name: "on another node", do: config.Proxmox{Guests: []string{"100", "300"}}, check: "guest_unknown", text: "there is no guest 300"},
		{name: "no cluster", is: []string{"broken.pct"}, check: "guests_unlisted", text: "pct list: exit status 111: ipcc_send_rec[1] failed: Connection refused"},
		{name: "no qm", do: config.Proxmox{QM: "/nonexistent/qm"}, check: "program_missing", text: "there is no /nonexistent/qm"},
	} {
		task, state := guests{"qm/100": "running", "pct/200": "running", "pct/201": "stopped"}.make(t, tt.is)
		t.Run(tt.name, func(t *testing.T) {
			expectFinding(t, Proxmox{Proxmox: tt.do}.Check(t.Context(), task), tt.check, tt.text)
		})
		if log := read(t, state+"/log"); strings.Contains(log, "shutdown") || strings.Contains(log, "stop") {
			t.Errorf("a check ran %s", log)
		}
	}
}

func TestGuestLines(t *testing.T) {
	qm := "      VMID NAME                 STATUS     MEM(MB)    BOOTDISK(GB) PID       \n" +
		"       100 web                  running    2048              32.00 1234      \n" +
		"       101 two words            stopped    512                0.00 0         \n" +
		"       102 p                    paused     512                0.00 77        \n"
	pct := "VMID       Status     Lock         Name                \n200        running                 ct                  \n201        stopped    backup       ct2                 \n"
	var got []guest
	for line := range strings.Lines(qm) {
		if g, ok := machine(line); ok {
			got = append(got, g)
		}
	}
	for line := range strings.Lines(pct) {
		if g, ok := container(line); ok {
			got = append(got, g)
		}
	}
	want := []guest{{id: "100", name: "100"}, {id: "101", name: "101", off: true}, {id: "102", name: "102", paused: true}, {id: "200", name: "200"}, {id: "201", name: "201", off: true}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func FuzzGuestLines(f *testing.F) {
	f.Add("       100 web                  running    2048              32.00 1234      ")
	f.Add("201        stopped    backup       ct2")
	f.Fuzz(func(t *testing.T, line string) {
		for _, read := range []func(string) (guest, bool){machine, container} {
			if g, ok := read(line); ok && (!isGuest(g.id) || g.off && g.paused) {
				t.Errorf("%q: %+v", line, g)
			}
		}
	})
}
