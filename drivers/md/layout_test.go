package md

import "testing"

// TestFatalPairs compares with what failing every pair of drives of real arrays showed:
// near-2 of an even number pairs 2k with 2k+1, all others are a ring.
func TestFatalPairs(t *testing.T) {
	ring := func(n int) map[[2]int]bool {
		pairs := map[[2]int]bool{}
		for i := range n {
			pairs[[2]int{min(i, (i+1)%n), max(i, (i+1)%n)}] = true
		}
		return pairs
	}
	pairs := func(n int) map[[2]int]bool {
		out := map[[2]int]bool{}
		for i := 0; i < n; i += 2 {
			out[[2]int{i, i + 1}] = true
		}
		return out
	}
	for _, c := range []struct {
		name   string
		layout int
		disks  int
		fatal  map[[2]int]bool
	}{
		{"n2", 0x102, 4, pairs(4)}, {"n2", 0x102, 6, pairs(6)}, {"n2", 0x102, 5, ring(5)},
		{"f2", 0x201, 4, ring(4)}, {"f2", 0x201, 5, ring(5)}, {"f2", 0x201, 6, ring(6)},
		{"o2", 0x10201, 4, ring(4)}, {"o2", 0x10201, 5, ring(5)}, {"o2", 0x10201, 6, ring(6)},
		{"n3", 0x103, 4, nil}, {"n3", 0x103, 5, nil}, {"n3", 0x103, 6, nil},
	} {
		l, err := layoutFrom(c.layout)
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.disks {
			for j := i + 1; j < c.disks; j++ {
				up := make([]bool, c.disks)
				for k := range up {
					up[k] = k != i && k != j
				}
				if fatal := redundancyOf("raid10", l, up, 0).left < 0; fatal != c.fatal[[2]int{i, j}] {
					t.Errorf("%s of %d without %d and %d: fatal %v, want %v", c.name, c.disks, i, j, fatal, !fatal)
				}
			}
		}
	}
}

func TestRedundancy(t *testing.T) {
	for _, c := range []struct {
		level       string
		disks, lost int
		left        int
	}{
		{"raid0", 2, 0, 0}, {"raid0", 2, 1, -1}, {"linear", 3, 0, 0}, {"raid1", 3, 0, 2}, {"raid1", 3, 2, 0}, {"raid1", 3, 3, -1},
		{"raid1", 1, 0, 0}, {"raid4", 4, 0, 1}, {"raid5", 3, 1, 0}, {"raid5", 3, 2, -1}, {"raid6", 5, 0, 2}, {"raid6", 5, 3, -1},
		{"multipath", 2, 1, 0},
	} {
		up := make([]bool, c.disks)
		for i := range up {
			up[i] = i >= c.lost
		}
		if got := redundancyOf(c.level, layout{}, up, 0); !got.known || got.left != c.left {
			t.Errorf("%s of %d without %d: %+v, want %d left", c.level, c.disks, c.lost, got, c.left)
		}
	}
	if got := redundancyOf("faulty", layout{}, []bool{true}, 0); got.known {
		t.Errorf("level faulty: %+v, want nothing known", got)
	}
	if got := redundancyOf("raid10", layout{}, []bool{false, false}, 0); got.left >= 0 {
		t.Errorf("raid10 of unknown layout with no member: %+v, want lost", got)
	}
}
