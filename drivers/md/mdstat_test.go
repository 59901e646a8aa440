package md

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai/drivers"
)

// TestMdstatAlone reads arrays of which only mdstat's lines are known.
func TestMdstatAlone(t *testing.T) {
	r := pollWith(t, map[string]string{"mdstat": "testdata/busy.mdstat"})
	want := []string{
		"md10 raid10 degraded missing=1 failing=[nvme2n1p2] left=0 spofs=[nvme3n1p2]",
		"md11 raid10 degraded missing=1 failing=[sdd3] left=0 spofs=[sda3 sdc3]",
		"md12 raid6 rebuilding missing=1 failing=[] spares=1 percent=33.5 left=1 recover",
		"md13 raid0 failed missing=<nil> failing=[] writable=false",
		"md14 raid1 optimal missing=0 failing=[] percent=12 left=1 writable=false replace",
		"md15 raid5 degraded missing=0 failing=[sdr] left=1 writable=false delayed",
	}
	if diff := cmp.Diff(want, lines(r)); diff != "" {
		t.Errorf("arrays (-want +got):\n%s", diff)
	}
}

// mdstatOf is an mdstat of one array.
func mdstatOf(block string) string {
	return "Personalities : [raid1]\n" + block + "\nunused devices: <none>\n"
}

// TestMdstatMembers checks which member is taken for which slot; mdstat's numbers are
// slots only until a member is replaced.
func TestMdstatMembers(t *testing.T) {
	for _, c := range []struct{ name, head, counts, want string }{
		{"the newest number is the target", "sda[2] sdb[1]", "[2/1] [_U]", "sda=target0 sdb=up1"},
		{"a member added again keeps its number", "sda[3] sdb[1] sdc[2]", "[3/2] [U_U]", "sda=up0 sdb=target1 sdc=up2"},
		{"replaced once", "sda[3] sdb[1] sdc[2]", "[3/3] [UUU]", "sda=up0 sdb=up1 sdc=up2"},
		{"replaced twice, in either order", "sda[4] sdb[3] sdc[2]", "[3/3] [UUU]", "sda=up? sdb=up? sdc=up2"},
		{"two targets", "sda[0] sdb[5] sdc[4]", "[3/1] [U__]", "sda=up0 sdb=target1 sdc=target2"},
		{"replacement is no member yet", "sda[0] sdb[1] sdc[2](R)", "[2/2] [UU]", "sda=up0 sdb=up1 sdc=no?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sets, _, err := parseMdstat([]byte(mdstatOf("md0 : active raid5 " + c.head + "\n      1046528 blocks " + c.counts + "\n")))
			if err != nil || len(sets) != 1 || sets[0].err != nil {
				t.Fatalf("parseMdstat: %v, %+v", err, sets)
			}
			var got []string
			for _, m := range sets[0].members {
				s := m.name + "="
				switch {
				case m.working():
					s += "up"
				case m.target():
					s += "target"
				default:
					s += "no"
				}
				if m.slot == noSlot {
					s += "?"
				} else {
					s += string(rune('0' + m.slot))
				}
				got = append(got, s)
			}
			if all := strings.Join(got, " "); all != c.want {
				t.Errorf("members %s, want %s", all, c.want)
			}
		})
	}
}

// TestMdstatRefused checks text that is no mdstat, or only half of one.
func TestMdstatRefused(t *testing.T) {
	whole, err := os.ReadFile("testdata/busy.mdstat")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"noise":               "\x00\xff\x13 not raid at all\n",
		"another format":      "sbName=/boot/config/super.dat\nmdState=STARTED\nmdNumDisks=4\n",
		"cut in a member":     "Personalities : [raid1]\nmd0 : active raid1 sdb[1] sd",
		"cut after a member":  "Personalities : [raid1]\nmd0 : active raid1 sdb[1]\n",
		"cut in the counts":   "Personalities : [raid1]\nmd0 : active raid1 sdb[1] sda[0]\n      1046528 blocks super 1.2 [2/",
		"cut in the slots":    "Personalities : [raid1]\nmd0 : active raid1 sdb[1] sda[0]\n      1046528 blocks super 1.2 [2/2] [U",
		"cut in the progress": "Personalities : [raid1]\nmd0 : active raid1 sdb[1] sda[0]\n      1046528 blocks super 1.2 [2/2] [UU]\n      [==>.....]  chec",
		"half":                string(whole[:len(whole)/2]),
	} {
		if sets, _, err := parseMdstat([]byte(text)); !errors.Is(err, drivers.ErrProtocol) {
			t.Errorf("%s: %v, %+v: want ErrProtocol", name, err, sets)
		}
	}
}

// TestMdstatOneBadArray checks that what is wrong with one array leaves the others.
func TestMdstatOneBadArray(t *testing.T) {
	for name, bad := range map[string]string{
		"no counts":      "md1 : active raid5 sdc[0] sdd[1]\n      1046528 blocks super 1.2\n",
		"counts differ":  "md1 : active raid1 sdc[0] sdd[1]\n      1046528 blocks super 1.2 [2/2] [U_]\n",
		"many slots":     "md1 : active raid1 sdc[0]\n      1046528 blocks super 1.2 [99999999/1] [U]\n",
		"unknown level":  "md1 : active raid77 sdc[0]\n      1046528 blocks super 1.2 [2/2] [UU]\n",
		"no level":       "md1 : active sdc[0]\n      1046528 blocks super 1.2 [2/2] [UU]\n",
		"odd state":      "md1 : dreaming raid1 sdc[0]\n      1046528 blocks super 1.2 [2/2] [UU]\n",
		"no percentage":  "md1 : active raid1 sdc[0] sdd[1]\n      1046528 blocks [2/2] [UU]\n      [>..]  resync = soon\n",
		"above 100 %":    "md1 : active raid1 sdc[0] sdd[1]\n      1046528 blocks [2/2] [UU]\n      [>..]  resync = 101.0% (1/2)\n",
		"negative index": "md1 : active raid1 sdc[-1] sdd[1]\n      1046528 blocks [2/2] [UU]\n",
	} {
		t.Run(name, func(t *testing.T) {
			text := mdstatOf(bad + "\nmd0 : active raid1 sda[0] sdb[1]\n      1046528 blocks super 1.2 [2/2] [UU]\n")
			path := t.TempDir() + "/mdstat"
			mustWrite(t, path, text)
			r := pollWith(t, map[string]string{"mdstat": path})
			if len(r.Arrays) != 2 || r.Arrays[0].State != "unknown" || line(r.Arrays[1]) != "md0 raid1 optimal missing=0 failing=[] left=1" {
				t.Errorf("arrays %q, want md1 unknown and md0 optimal", lines(r))
			}
			checkNotes(t, r.Notes, "md1: mdstat: unexpected reply")
		})
	}
}

// TestMdstatOddities checks what is only worth a note, or nothing.
func TestMdstatOddities(t *testing.T) {
	ok := "md0 : active raid1 sda[0] sdb[1](X)\n      1046528 blocks super 1.2 [2/2] [UU]\n"
	text := mdstatOf("unheard of\n"+ok+ok+"      something new\n      resync=REMOTE\n") + "\n"
	sets, notes, err := parseMdstat([]byte(text))
	if err != nil || len(sets) != 1 || sets[0].err != nil {
		t.Fatalf("parseMdstat: %v, %+v", err, sets)
	}
	checkNotes(t, notes, "unknown line")
	checkNotes(t, notes, "md0 stands in mdstat twice")
	checkNotes(t, sets[0].notes, "unknown flag")
	for _, empty := range []string{"", "Personalities : \nunused devices: <none>\n", "Personalities : [raid1]\n"} {
		if sets, _, err := parseMdstat([]byte(empty)); err != nil || len(sets) != 0 {
			t.Errorf("parseMdstat(%q) = %+v, %v: want no array and no error", empty, sets, err)
		}
	}
}
