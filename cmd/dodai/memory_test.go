package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

func TestMemoryMax(t *testing.T) {
	tests := []struct {
		name  string
		self  string
		files map[string]string
		want  int64
	}{
		{"its own", "0::/system.slice/dodai.service\n", map[string]string{"system.slice/dodai.service": "268435456\n"}, 256 << 20},
		{"that of the slice is less", "0::/system.slice/dodai.service\n", map[string]string{"system.slice/dodai.service": "268435456\n", "system.slice": "134217728\n"}, 128 << 20},
		{"none", "0::/system.slice/dodai.service\n", map[string]string{"system.slice/dodai.service": "max\n"}, 0},
		{"both versions", "1:memory:/x\n0::/a\n", map[string]string{"a": "1000\n"}, 1000},
		{"version 1", "1:memory:/a\n", map[string]string{"a": "1000\n"}, 0},
		{"out of the tree", "0::/../../a\n", map[string]string{"a": "1000\n"}, 1000},
		{"nothing", "", nil, 0},
		{"no number", "0::/a\n", map[string]string{"a": "-5\n"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			self := filepath.Join(root, "self")
			if err := os.WriteFile(self, []byte(tt.self), 0o600); err != nil {
				t.Fatal(err)
			}
			for group, text := range tt.files {
				dir := filepath.Join(root, group)
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := memoryMax(root, self); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
	if got := memoryMax(t.TempDir(), "/nonexistent"); got != 0 {
		t.Errorf("%d without an entry", got)
	}
}

func TestLimitMemory(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	root := t.TempDir()
	for name, text := range map[string]string{"self": "0::/\n", "memory.max": "1000000000\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	debug.SetMemoryLimit(math.MaxInt64)
	t.Setenv("GOMEMLIMIT", "1GiB")
	limitMemory(root, root+"/self")
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("%d although the environment has one", got)
	}
	t.Setenv("GOMEMLIMIT", "")
	limitMemory(root, root+"/self")
	if got := debug.SetMemoryLimit(-1); got != 900000000 {
		t.Errorf("%d, want nine tenths", got)
	}
}
