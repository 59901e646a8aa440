package shutdown

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// lookUp finds a program as Process starts it: a name with a slash is taken as it is,
// any other is looked for in the PATH of env. A relative directory in PATH is passed
// over: what it holds depends on where the daemon was started.
func lookUp(env []string, name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, path := range candidates(env, name) {
		if isFile(path) && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return name, &exec.Error{Name: name, Err: fmt.Errorf("%w (%s)", exec.ErrNotFound, pathOf(env))}
}

// candidates are the paths a program of that name may have, best first.
func candidates(env []string, name string) []string {
	var paths []string
	for _, dir := range filepath.SplitList(pathOf(env)) {
		if name != "" && filepath.IsAbs(dir) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths
}

// pathOf is the PATH of env, of which the last counts, or else the daemon's own.
func pathOf(env []string) string {
	for _, kv := range slices.Backward(env) {
		if path, is := strings.CutPrefix(kv, "PATH="); is {
			return path
		}
	}
	return os.Getenv("PATH")
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
