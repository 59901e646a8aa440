package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// limitMemory has the collector of garbage work harder near what the service manager lets
// this process have: at the limit itself the kernel kills it. root is where the control
// groups are mounted, self the process's own entry. GOMEMLIMIT in the environment wins.
func limitMemory(root, self string) {
	if limit := memoryMax(root, self); limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// memoryMax is the least memory.max of the control group and those above it, in bytes; 0:
// there is none, or no control groups of version 2.
// Source: Linux, Documentation/admin-guide/cgroup-v2.rst, "memory.max".
func memoryMax(root, self string) (least int64) {
	data, err := os.ReadFile(self)
	if err != nil {
		return 0
	}
	_, group, ok := strings.Cut("\n"+string(data), "\n0::")
	group, _, _ = strings.Cut(group, "\n")
	if !ok {
		return 0
	}
	for group = filepath.Join("/", group); ; group = filepath.Dir(group) {
		text, _ := os.ReadFile(filepath.Join(root, group, "memory.max")) // the root has none
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && (least == 0 || n < least) {
			least = n
		}
		if group == "/" {
			return least
		}
	}
}
