package export

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTextfile(t *testing.T) {
	dir := t.TempDir()
	path, m := filepath.Join(dir, "dodai.prom"), metrics(t)
	victim := filepath.Join(t.TempDir(), "victim")
	for _, name := range []string{path, filepath.Join(dir, ".dodai.prom.new")} { // somebody's traps
		if err := os.Symlink(victim, name); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := m.WriteTextfile(path); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("textfile: %v, %v; want a regular file with mode 0644", info.Mode(), err)
	}
	if _, err := os.Stat(victim); err == nil {
		t.Error("wrote through a link")
	}
	text, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(text, []byte("\ndodai_power_margin_seconds 300\n")) || bytes.Contains(text, []byte("\ngo_")) {
		t.Errorf("textfile: %v\n%s\nwant our metrics and none of Go's", err, text)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files left in the folder, want 1", len(entries))
	}
	if err := m.WriteTextfile(filepath.Join(dir, "none", "dodai.prom")); err == nil {
		t.Error("WriteTextfile into a folder that is not there: no error")
	}
}

// TestTextfileNeverHalf reads while pages are written.
func TestTextfileNeverHalf(t *testing.T) {
	path, m := filepath.Join(t.TempDir(), "dodai.prom"), metrics(t)
	if err := m.WriteTextfile(path); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for range 20 {
			if err := m.WriteTextfile(path); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for reads := 0; ; reads++ {
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %d: %v, %d bytes, want the whole page of %d", reads, err, len(got), len(want))
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}

// TestTextfileErrors has folders where files belong. Nothing is left behind, no
// descriptor either.
func TestTextfileErrors(t *testing.T) {
	m := metrics(t)
	before := descriptors(t)
	for _, name := range []string{"dodai.prom", ".dodai.prom.new"} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, name, "full"), 0o755); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := m.WriteTextfile(filepath.Join(dir, "dodai.prom")); err == nil || !strings.Contains(err.Error(), "dodai.prom") {
				t.Errorf("a folder called %s: %v, want an error with the path", name, err)
			}
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("a folder called %s: %d entries, want it alone", name, len(entries))
		}
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestRunTextfileReportsEdges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "sub", "dodai.prom")
		var got []string
		ctx, cancel := context.WithCancel(t.Context())
		go metrics(t).RunTextfile(ctx, path, 15*time.Second, func(err error) { got = append(got, fmt.Sprint(err != nil)) })
		time.Sleep(50 * time.Second) // fails four times, reported once
		if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
			t.Error(err)
		}
		time.Sleep(50 * time.Second)
		cancel()
		synctest.Wait()
		done, end := context.WithCancel(t.Context())
		end()
		metrics(t).RunTextfile(done, path, time.Second, func(err error) { got = append(got, fmt.Sprint("again: ", err)) }) // no news
		if diff := cmp.Diff([]string{"true", "false"}, got); diff != "" {
			t.Errorf("reports of failure, -want +got:\n%s", diff)
		}
	})
}
