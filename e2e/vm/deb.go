package vm

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// built are the packages this process has built, by version.
var built = struct {
	sync.Mutex
	debs map[string]string
	dir  string
}{debs: map[string]string{}}

// Deb returns dodai's package for this host, built from the working tree once in a test run
// as `make packages` does it. version empty is the tree's own. DODAI_VM_DEB names one to take instead.
func Deb(t testing.TB, version string) string {
	t.Helper()
	if path := os.Getenv("DODAI_VM_DEB"); path != "" && version == "" {
		return path
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("the machine is an amd64 one, and so has to be the host's toolchain")
	}
	built.Lock()
	defer built.Unlock()
	if path := built.debs[version]; path != "" {
		return path
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "dodai-deb-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir = dir
	}
	path := filepath.Join(built.dir, "dodai"+version+".deb")
	buildDeb(t, version, path)
	built.debs[version] = path
	return path
}

// buildDeb holds a lock of the host: `make packages` always writes to the same folder.
func buildDeb(t testing.TB, version, to string) {
	t.Helper()
	defer lock(t, filepath.Join(Cache(t), "lock-packages"))()
	root := moduleRoot(t)
	args := []string{"-s", "-C", root, "packages", "ARCHES=amd64"}
	if version != "" {
		args = append(args, "VERSION="+version)
	}
	begin := time.Now()
	must(t, 15*time.Minute, peer.Need(t, "make"), args...)
	newest := newestDeb(t, filepath.Join(root, "dist"), begin)
	data, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s built in %.0f s", filepath.Base(newest), time.Since(begin).Seconds())
}

func newestDeb(t testing.TB, dist string, since time.Time) string {
	t.Helper()
	debs, err := filepath.Glob(filepath.Join(dist, "dodai_*_amd64.deb"))
	if err != nil {
		t.Fatal(err)
	}
	newest, at := "", since.Add(-time.Second)
	for _, deb := range debs {
		if info, err := os.Stat(deb); err == nil && info.ModTime().After(at) {
			newest, at = deb, info.ModTime()
		}
	}
	if newest == "" {
		t.Fatalf("make packages left no new dodai_*_amd64.deb in %s", dist)
	}
	return newest
}

// RemoveDebs removes what Deb has built, for TestMain.
func RemoveDebs() {
	built.Lock()
	defer built.Unlock()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test's folder")
		}
	}
}

// Installed returns the image with dodai installed and running, as the package leaves it. The
// cache keeps one for each package's bytes: installing takes a boot.
func Installed(t testing.TB) Image {
	t.Helper()
	bare := Bare(t)
	deb := Deb(t, "")
	data, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	dir := cached(t, "installed-"+hash(imageRecipe(), string(data)), func(dir string) {
		m := New(t, Options{Image: &bare, Files: map[string]string{"dodai.deb": deb}})
		m.Boot()
		m.Settle()
		m.Must("apt-get", "install", "-y", "/rig/dodai.deb")
		m.PowerOff()
		if err := rename(m.path("root.qcow2"), filepath.Join(dir, "root.qcow2")); err != nil {
			t.Fatal(err)
		}
	})
	forget(t, "installed-*", 24*time.Hour)
	bare.Root, bare.Format = filepath.Join(dir, "root.qcow2"), "qcow2"
	return bare
}

// rename moves a file, to another file system as well.
func rename(from, to string) error {
	if os.Rename(from, to) == nil {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
