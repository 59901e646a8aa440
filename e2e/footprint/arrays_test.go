package footprint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// array is a healthy array as md shows it.
type array struct {
	id, level, layout string
	members           []string
	summary           string // the second line in mdstat
}

var arrays = []array{
	{"md0", "raid1", "0", []string{"nvme0n1p2", "nvme1n1p2"}, "1046528 blocks super 1.2 [2/2] [UU]"},
	{"md1", "raid1", "0", []string{"nvme0n1p3", "nvme1n1p3"}, "499975488 blocks super 1.2 [2/2] [UU]"},
	{"md2", "raid6", "2", []string{"sda1", "sdb1", "sdc1", "sdd1", "sde1", "sdf1"}, "15627548672 blocks super 1.2 level 6, 512k chunk, algorithm 2 [6/6] [UUUUUU]"},
	{"md3", "raid10", "258", []string{"sda2", "sdb2", "sdc2", "sdd2"}, "3906764800 blocks super 1.2 512K chunks 2 near-copies [4/4] [UUUU]"},
}

// writeArrays makes sys/block and proc/mdstat of four arrays below root.
func writeArrays(t testing.TB, root string) {
	t.Helper()
	var mdstat strings.Builder
	mdstat.WriteString("Personalities : [raid1] [raid6] [raid5] [raid4] [raid10]\n")
	for i := len(arrays) - 1; i >= 0; i-- {
		a := arrays[i]
		fmt.Fprintf(&mdstat, "%s : active %s", a.id, a.level)
		for slot, member := range a.members {
			fmt.Fprintf(&mdstat, " %s[%d]", member, slot)
		}
		fmt.Fprintf(&mdstat, "\n      %s\n\n", a.summary)
		a.write(t, filepath.Join(root, "sys/block"))
	}
	mdstat.WriteString("unused devices: <none>\n")
	write(t, filepath.Join(root, "proc/mdstat"), mdstat.String())
}

func (a array) write(t testing.TB, block string) {
	t.Helper()
	dir := filepath.Join(block, a.id, "md")
	for name, value := range map[string]string{
		"array_state": "clean", "level": a.level, "raid_disks": fmt.Sprint(len(a.members)), "layout": a.layout, "uuid": "f1b2a3c4-0000-4000-8000-0000000000" + a.id[2:] + "0",
		"metadata_version": "1.2", "degraded": "0", "sync_action": "idle", "sync_completed": "none", "chunk_size": "524288",
		"mismatch_cnt": "0", "resync_start": "none", "consistency_policy": "resync", "component_size": "1046528",
		"sync_speed": "none", "suspend_lo": "0", "suspend_hi": "0", "stripe_cache_size": "256", "safe_mode_delay": "0.201",
	} {
		write(t, filepath.Join(dir, name), value+"\n")
	}
	for slot, member := range a.members {
		disk := filepath.Join(block, "..", "devices", member)
		write(t, filepath.Join(disk, "size"), "7814037168\n")
		sub := filepath.Join(dir, "dev-"+member)
		for name, value := range map[string]string{"slot": fmt.Sprint(slot), "state": "in_sync", "errors": "0", "bad_blocks": "", "unacknowledged_bad_blocks": ""} {
			write(t, filepath.Join(sub, name), value+"\n")
		}
		for link, target := range map[string]string{filepath.Join(sub, "block"): "../../../../devices/" + member, filepath.Join(dir, fmt.Sprint("rd", slot)): "dev-" + member} {
			if err := os.Symlink(target, link); err != nil {
				t.Fatal(err)
			}
		}
	}
}
