package shutdown

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const nobody = "nobody"

// put writes a file that has exactly these rights, below a directory anybody may search.
func put(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// open returns a directory of the test that every user may search.
func open(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start programs as somebody else")
	}
}

const script = "#!/bin/sh\nexit 0\n"

// foreign is a binary of another processor.
func foreign(t *testing.T) string {
	t.Helper()
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	machine := elf.EM_S390
	if exe[elf.EI_DATA] == byte(elf.ELFDATA2LSB) {
		exe[18], exe[19] = byte(machine), 0
	} else {
		exe[18], exe[19] = 0, byte(machine)
	}
	return string(exe)
}

// accessList lets one more user read and execute a file that is its owner's alone, in the
// form of the kernel's posix_acl_xattr.
func accessList(t *testing.T, user string) []byte {
	t.Helper()
	cred, _, err := credential(user)
	if err != nil {
		t.Fatal(err)
	}
	const none = ^uint32(0)
	list := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, rights uint16
		id          uint32
	}{{0x01, 7, none}, {0x02, 5, cred.Uid}, {0x04, 0, none}, {0x10, 5, none}, {0x20, 0, none}} {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.rights)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	return list
}

// What the check says of a program is held against what happens when it is started.
func TestCheckProgram(t *testing.T) {
	for _, tt := range []struct {
		name  string
		make  func(t *testing.T, dir string) string // the program's name; dir/bin is PATH
		user  string
		check string // empty: it can be started
		text  string // part of the finding
	}{
		{name: "a script", make: func(t *testing.T, dir string) string { return put(t, dir+"/ok", script, 0o755) }},
		{name: "a binary", make: func(*testing.T, string) string { return "/bin/true" }},
		{name: "in PATH", make: func(t *testing.T, dir string) string { put(t, dir+"/bin/ok", script, 0o755); return "ok" }},
		{name: "by a link", make: func(t *testing.T, dir string) string {
			put(t, dir+"/real/ok", script, 0o755)
			link(t, "../real/ok", dir+"/bin/ok")
			return "ok"
		}},
		{name: "by env", make: func(t *testing.T, dir string) string {
			put(t, dir+"/bin/interp", "#!/bin/sh\nexit 0\n", 0o755)
			return put(t, dir+"/ok", "#!/usr/bin/env interp\n", 0o755)
		}},
		{name: "not there", check: "program_missing", text: "there is no DIR/nix", make: func(_ *testing.T, dir string) string { return dir + "/nix" }},
		{name: "no directory", check: "program_missing", text: "there is no directory DIR/a", make: func(_ *testing.T, dir string) string { return dir + "/a/b/nix" }},
		{name: "below a file", check: "program_missing", text: "DIR/f is no directory", make: func(t *testing.T, dir string) string { return put(t, dir+"/f", script, 0o755) + "/x" }},
		{name: "a dangling link", check: "program_missing", text: "DIR/l is a link to DIR/gone, which is not there", make: func(t *testing.T, dir string) string {
			return link(t, dir+"/gone", dir+"/l")
		}},
		{name: "a link to itself", check: "program_missing", text: "round in a circle", make: func(t *testing.T, dir string) string { return link(t, "l", dir+"/l") }},
		{name: "not in PATH", check: "program_missing", text: "nix is in no directory of PATH (DIR/bin)", make: func(*testing.T, string) string { return "nix" }},
		{name: "elsewhere", check: "program_missing", text: "there is /", make: func(*testing.T, string) string { return "sh" }},
		{name: "in PATH, not executable", check: "program_not_executable", text: "DIR/bin/no (-rw-r--r--", make: func(t *testing.T, dir string) string {
			put(t, dir+"/bin/no", script, 0o644)
			return "no"
		}},
		{name: "not executable", check: "program_not_executable", text: "the daemon may not execute DIR/no", make: func(t *testing.T, dir string) string { return put(t, dir+"/no", script, 0o644) }},
		{name: "a directory", check: "program_not_executable", text: "is a directory", make: func(_ *testing.T, dir string) string { return dir }},
		{name: "no interpreter", check: "interpreter_missing", text: "the interpreter of DIR/s: there is no /usr/bin/python2.3", make: func(t *testing.T, dir string) string {
			return put(t, dir+"/s", "#!/usr/bin/python2.3 -u\nprint 1\n", 0o755)
		}},
		{name: "Windows line ends", check: "interpreter_missing", text: "carriage return", make: func(t *testing.T, dir string) string {
			return put(t, dir+"/s", "#!/bin/sh\r\nexit 0\r\n", 0o755)
		}},
		{name: "an interpreter not executable", check: "interpreter_not_executable", text: "may not execute DIR/i", make: func(t *testing.T, dir string) string {
			put(t, dir+"/i", script, 0o644)
			return put(t, dir+"/s", "#!"+dir+"/i\n", 0o755)
		}},
		{name: "env finds nothing", check: "interpreter_missing", text: "env finds no python9", make: func(t *testing.T, dir string) string {
			return put(t, dir+"/s", "#!/usr/bin/env -S python9 -u\n", 0o755)
		}},
		{name: "nothing after #!", check: "program_format", text: "names no interpreter", make: func(t *testing.T, dir string) string { return put(t, dir+"/s", "#!  \nx", 0o755) }},
		{name: "a script without #!", check: "program_format", text: "does not begin with #!", make: func(t *testing.T, dir string) string { return put(t, dir+"/s", "exit 0\n", 0o755) }},
		{name: "empty", check: "program_format", text: "is empty", make: func(t *testing.T, dir string) string { return put(t, dir+"/s", "", 0o755) }},
		{name: "its own interpreter", check: "program_format", text: "too long a chain", make: func(t *testing.T, dir string) string {
			return put(t, dir+"/s", "#!"+dir+"/s\n", 0o755)
		}},
		{name: "another processor", check: "program_format", text: "is built for EM_S390", make: func(t *testing.T, dir string) string { return put(t, dir+"/s390", foreign(t), 0o755) }},
		{name: "half a binary", check: "program_format", text: "is damaged", make: func(t *testing.T, dir string) string { return put(t, dir+"/half", foreign(t)[:50], 0o755) }},
		{name: "noexec", check: "program_not_executable", text: "mounted noexec", make: func(t *testing.T, dir string) string {
			asRoot(t)
			if err := os.Mkdir(dir+"/m", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("none", dir+"/m", "tmpfs", unix.MS_NOEXEC, "size=64k"); err != nil {
				t.Skipf("cannot mount here: %v", err)
			}
			t.Cleanup(func() { unix.Unmount(dir+"/m", unix.MNT_DETACH) })
			return put(t, dir+"/m/s", script, 0o755)
		}},
		{name: "nobody", user: nobody, make: func(t *testing.T, dir string) string { asRoot(t); return put(t, dir+"/ok", script, 0o755) }},
		{name: "no such user", user: "no-such-user", check: "user_unknown", text: "unknown user no-such-user", make: func(*testing.T, string) string { return "/bin/true" }},
		{name: "not for nobody", user: nobody, check: "program_not_executable", text: "user nobody may not execute DIR/mine", make: func(t *testing.T, dir string) string {
			asRoot(t)
			return put(t, dir+"/mine", script, 0o700)
		}},
		{name: "a closed directory", user: nobody, check: "program_not_executable", text: "user nobody may not search DIR/closed, which DIR/closed/bin/ok lies below", make: func(t *testing.T, dir string) string {
			asRoot(t)
			path := put(t, dir+"/closed/bin/ok", script, 0o755)
			if err := os.Chmod(dir+"/closed", 0o700); err != nil {
				t.Fatal(err)
			}
			return path
		}},
		{name: "a script nobody may read", user: nobody, check: "program_not_executable", text: "may not read the script", make: func(t *testing.T, dir string) string {
			asRoot(t)
			return put(t, dir+"/s", script, 0o711)
		}},
		{name: "by its group", user: nobody, make: func(t *testing.T, dir string) string {
			asRoot(t)
			path := put(t, dir+"/s", script, 0o750)
			cred, _, err := credential(nobody)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(path, 0, int(cred.Gid)); err != nil {
				t.Fatal(err)
			}
			return path
		}},
		{name: "by an access control list", user: nobody, make: func(t *testing.T, dir string) string {
			asRoot(t)
			path := put(t, dir+"/s", script, 0o700)
			if err := unix.Setxattr(path, "system.posix_acl_access", accessList(t, nobody), 0); err != nil {
				t.Skipf("no access control lists here: %v", err)
			}
			return path
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := open(t)
			name := tt.make(t, dir)
			task := Task{Step: "s", Env: []string{"PATH=/usr/bin:/bin", "PATH=" + dir + "/bin"}}
			f := CheckProgram(task, name, tt.user)
			res := Process(t.Context(), Command{Args: []string{name}, Env: task.Env, User: tt.user, Timeout: 20 * time.Second})
			if f == nil {
				if tt.check != "" {
					t.Errorf("nothing found, want %s", tt.check)
				}
				if res.Failure() != nil {
					t.Errorf("nothing found, and it ended with %+v", res)
				}
				return
			}
			t.Logf("%s: %s; %s (it ended with %v)", f.Check, f.Text, f.Fix, res.Failure())
			if f.Check != tt.check || !strings.Contains(f.Text, strings.ReplaceAll(tt.text, "DIR", dir)) || f.Step != "s" || f.Fix == "" {
				t.Errorf("%+v, want %s with %q, its step and a repair", f, tt.check, tt.text)
			}
			if res.Failure() == nil {
				t.Errorf("%+v, and it ran", f)
			}
		})
	}
}

// A program of that name in the daemon's PATH is not the one that a step with a PATH of
// its own would run.
func TestProgramsAreFoundInTheStepsPath(t *testing.T) {
	dir := open(t)
	put(t, dir+"/true", "#!/bin/sh\necho ours\n", 0o755)
	for _, tt := range []struct {
		env  []string
		want string
	}{
		{[]string{"PATH=" + dir + ":/usr/bin:/bin"}, "ours"},
		{[]string{"PATH=bin:/usr/bin:/bin:" + dir}, ""},
		{[]string{"X=1"}, ""}, // the daemon's own
	} {
		got := Process(t.Context(), Command{Args: []string{"true"}, Env: tt.env, Timeout: 20 * time.Second})
		if got.Failure() != nil || got.Output != tt.want {
			t.Errorf("%q: %+v, want %q", tt.env, got, tt.want)
		}
		if f := CheckProgram(Task{Env: tt.env}, "true", ""); f != nil {
			t.Errorf("%q: %+v", tt.env, f)
		}
	}
}

// Asking the kernel as somebody else leaves the daemon what it is.
func TestAskingAsSomebodyElseChangesNothing(t *testing.T) {
	asRoot(t)
	path := put(t, open(t)+"/mine", script, 0o700)
	for range 50 {
		if f := CheckProgram(Task{}, path, nobody); f == nil {
			t.Fatal("nothing found in a program only root may execute")
		}
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		if err == nil && !strings.Contains(string(status), "Uid:\t0\t0\t0\t0") && !strings.Contains(string(status), "(zombie)") {
			// A thread that has asked may still be on its way out.
			runtime.Gosched()
			time.Sleep(100 * time.Millisecond)
			if again, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status"); err == nil {
				t.Errorf("thread %s runs on as\n%s", task.Name(), again)
			}
		}
	}
}

func link(t *testing.T, target, path string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func FuzzScriptLine(f *testing.F) {
	f.Add([]byte("#!/bin/sh -e\n"))
	f.Add([]byte("#!/usr/bin/env -S A=b python3\r\n"))
	f.Add([]byte("#! \x00"))
	f.Fuzz(func(t *testing.T, head []byte) {
		s := starter{who: "the daemon"}
		if found := s.script("/etc/passwd", append([]byte("#!"), head...), 0); found != nil && (found.check == "" || found.text == "" || found.fix == "") {
			t.Errorf("%q: %+v says too little", head, found)
		}
	})
}
