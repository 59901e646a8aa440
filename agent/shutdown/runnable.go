package shutdown

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maxLinks        = 40  // that the kernel follows on one path
	maxInterpreters = 5   // that it follows from script to script
	firstLine       = 256 // bytes of a script's first line that it reads
)

// fault is what keeps a program from being started.
type fault struct{ check, text, fix string }

// starter finds out whether a program could be started.
type starter struct {
	env  []string
	who  string              // who starts it, for people
	cred *syscall.Credential // nil: the daemon itself
}

// become makes user the one who starts programs.
func (s *starter) become(user string) *fault {
	if user == "" {
		return nil
	}
	s.who = "user " + user
	cred, _, err := credential(user)
	switch {
	case err != nil:
		return &fault{"user_unknown", fmt.Sprintf("programs cannot run as user %s: %v", user, errors.Unwrap(err)),
			"correct user, or create it on this machine: only /etc/passwd and /etc/group are read"}
	case cred.Uid == uint32(os.Geteuid()):
		return nil
	case os.Geteuid() != 0:
		return &fault{"user_not_permitted", fmt.Sprintf("only root may start a program as user %s, and the daemon runs as uid %d", user, os.Geteuid()),
			"run the daemon as root, or leave user out"}
	}
	s.cred = cred
	return nil
}

// program returns what keeps the program called name from being started, nil: nothing.
func (s *starter) program(name string) *fault {
	path, err := lookUp(s.env, name)
	if err != nil {
		return s.missing(name)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.dir(), path)
	}
	return s.file(path, "program", 0)
}

// dir is where programs start.
func (s *starter) dir() string {
	if s.cred != nil {
		return "/"
	}
	dir, _ := os.Getwd()
	return dir
}

// elsewhere are directories that are not in every daemon's PATH.
var elsewhere = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/snap/bin", "/opt/bin"}

// missing says why no directory of PATH has the program.
func (s *starter) missing(name string) *fault {
	for _, path := range candidates(s.env, name) {
		if isFile(path) {
			return s.file(path, "program", 0) // there, and not executable
		}
	}
	f := &fault{"program_missing", fmt.Sprintf("%s is in no directory of PATH (%s)", name, pathOf(s.env)), "install it, or correct its name"}
	for _, dir := range elsewhere {
		if path := filepath.Join(dir, name); isFile(path) {
			f.text += fmt.Sprintf("; there is %s", path)
			f.fix = "write the full path " + path
			break
		}
	}
	return f
}

// file returns what keeps the file at path, a program or the interpreter of one, from
// being executed.
func (s *starter) file(path, what string, depth int) *fault {
	if err := s.may(path, unix.X_OK); err != nil {
		return s.explain(path, what, err)
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return &fault{what + "_not_executable", fmt.Sprintf("%s is a %s, not a program", path, kindOf(info.Mode())), "correct the path"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil // one may execute what one may not read
	}
	defer f.Close()
	head := make([]byte, firstLine)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return &fault{"program_format", fmt.Sprintf("%s cannot be read: %v", path, err), "repair the file, or what it lies on"}
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		return s.script(path, head, depth)
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return s.binary(path, f)
	case otherFormats():
		return nil
	case n == 0:
		return &fault{"program_format", path + " is empty", "install it again"}
	}
	return &fault{"program_format", path + " is no program that the kernel knows: no binary, and its first line does not begin with #!",
		"if it is a script, let its first line name its interpreter: #!/bin/sh"}
}

// may asks the kernel whether who starts programs may do mode to path. The answer
// accounts for access control lists and file systems mounted noexec.
func (s *starter) may(path string, mode uint32) error {
	if s.cred == nil {
		return unix.Access(path, mode)
	}
	answer := make(chan error, 1)
	go askAs(s.cred, path, mode, answer)
	return <-answer
}

// askAs runs accessAs on a thread that ends with the goroutine, because it is never
// unlocked. The first thread of a process cannot end, and what it is the process is, so
// that one is held while another asks.
func askAs(cred *syscall.Credential, path string, mode uint32, answer chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() != os.Getpid() {
		answer <- accessAs(cred, path, mode)
		return
	}
	defer runtime.UnlockOSThread()
	inner := make(chan error, 1)
	go askAs(cred, path, mode, inner)
	answer <- <-inner
}

// accessAs takes on the user's real ids, which are what access(2) goes by, on the thread
// it runs on, and only there: package syscall would change those of the whole process.
func accessAs(cred *syscall.Credential, path string, mode uint32) error {
	const keep = ^uintptr(0)
	groups := append([]uint32{cred.Gid}, cred.Groups...)
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); e != 0 {
		return fmt.Errorf("setgroups: %w", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(cred.Gid), keep, keep); e != 0 {
		return fmt.Errorf("setresgid: %w", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(cred.Uid), keep, keep); e != 0 {
		return fmt.Errorf("setresuid: %w", e)
	}
	return unix.Access(path, mode)
}

// explain says why path cannot be executed, following it as the kernel does.
func (s *starter) explain(path, what string, cause error) *fault {
	at, rest := "/", parts(path)
	for links := 0; len(rest) > 0; rest = rest[1:] {
		if err := s.may(at, unix.X_OK); err != nil {
			return &fault{what + "_not_executable", fmt.Sprintf("%s may not search %s, which %s lies below (%s)", s.who, at, path, rights(at)),
				"let it: chmod o+x " + at + ", or choose another place"}
		}
		next := filepath.Join(at, rest[0])
		info, err := os.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return absent(path, next, what)
		case err != nil:
			return &fault{what + "_missing", fmt.Sprintf("%s cannot be found: %v", path, err), "correct the path"}
		case info.Mode()&fs.ModeSymlink == 0 && !info.IsDir() && len(rest) > 1:
			return &fault{what + "_missing", fmt.Sprintf("%s cannot be found: %s is no directory", path, next), "correct the path"}
		case info.Mode()&fs.ModeSymlink == 0:
			at = next
			continue
		}
		target, err := os.Readlink(next)
		if links++; links > maxLinks || err != nil {
			return &fault{what + "_missing", fmt.Sprintf("%s is a link that leads round in a circle", path), "set the link anew"}
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = slices.Concat([]string{""}, parts(target), rest[1:])
	}
	if noexec(at) {
		return &fault{what + "_not_executable", fmt.Sprintf("%s lies on a file system that is mounted noexec", path), "put it elsewhere, or mount that with exec"}
	}
	return &fault{what + "_not_executable", fmt.Sprintf("%s may not execute %s (%s): %v", s.who, at, rights(at), cause), "chmod +x " + at + ", or correct its owner"}
}

// absent is the fault of a path on which next is not there.
func absent(path, next, what string) *fault {
	f := &fault{check: what + "_missing", text: "there is no " + path, fix: "install it, or correct the path"}
	switch {
	case strings.HasSuffix(path, "\r"):
		f.text = fmt.Sprintf("there is no %q: the line that names it ends in a carriage return, as Windows writes it", path)
		f.fix = "write the file with Unix line ends: sed -i 's/\\r$//' FILE"
	case next != filepath.Clean(path) && strings.HasPrefix(path, next+"/"):
		f.text += ": there is no directory " + next
	case next != filepath.Clean(path):
		f.text = fmt.Sprintf("%s is a link to %s, which is not there", path, next)
	}
	return f
}

// parts are the names that make up a path.
func parts(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}

// script checks the interpreter that the first line of a script names.
func (s *starter) script(path string, head []byte, depth int) *fault {
	if err := s.may(path, unix.R_OK); err != nil {
		return &fault{"program_not_executable", fmt.Sprintf("%s may not read the script %s (%s)", s.who, path, rights(path)), "chmod +r " + path}
	}
	line, _, _ := strings.Cut(string(head[2:]), "\n")
	line = strings.Trim(line, " \t")
	name, arg := line, ""
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		name, arg = line[:i], strings.TrimLeft(line[i:], " \t")
	}
	switch {
	case name == "" || strings.ContainsRune(name, 0):
		return &fault{"program_format", fmt.Sprintf("the first line of %s names no interpreter after #!", path), "write #!/bin/sh, or whatever it is written in"}
	case depth >= maxInterpreters:
		return &fault{"program_format", fmt.Sprintf("%s has too long a chain of scripts as interpreters", path), "name a binary after #!"}
	case !filepath.IsAbs(name):
		return &fault{"interpreter_missing", fmt.Sprintf("the first line of %s names the interpreter %s without its full path", path, name), "write its full path"}
	}
	f := s.file(name, "interpreter", depth+1)
	if f == nil && filepath.Base(name) == "env" {
		f = s.byEnv(arg)
	}
	if f != nil && strings.HasPrefix(f.check, "interpreter") {
		f.text = fmt.Sprintf("the interpreter of %s: %s", path, f.text)
	}
	return f
}

// byEnv checks the program that env(1) is to find in PATH for a script.
func (s *starter) byEnv(arg string) *fault {
	words := strings.Fields(strings.TrimPrefix(arg, "-S"))
	for len(words) > 0 && (strings.Contains(words[0], "=") || strings.HasPrefix(words[0], "-")) {
		words = words[1:] // what is set before the program
	}
	if len(words) == 0 || strings.Contains(words[0], "/") {
		return nil
	}
	for _, path := range candidates(s.env, words[0]) {
		if isFile(path) && s.may(path, unix.X_OK) == nil {
			return nil
		}
	}
	return &fault{"interpreter_missing", fmt.Sprintf("env finds no %s in PATH (%s)", words[0], pathOf(s.env)), "install it, or name it with its full path after #!"}
}

// machines are the processors whose binaries run on GOARCH; absent: not judged.
var machines = map[string][]elf.Machine{
	"amd64": {elf.EM_X86_64, elf.EM_386},
	"arm64": {elf.EM_AARCH64, elf.EM_ARM},
}

// binary checks the processor an ELF file is for, and its loader.
func (s *starter) binary(path string, r io.ReaderAt) *fault {
	f, err := elf.NewFile(r)
	if err != nil {
		return &fault{"program_format", fmt.Sprintf("%s is damaged: %v", path, err), "install it again"}
	}
	if ours := machines[runtime.GOARCH]; ours != nil && !slices.Contains(ours, f.Machine) && !otherFormats() {
		return &fault{"program_format", fmt.Sprintf("%s is built for %v, and this machine is %s", path, f.Machine, runtime.GOARCH), "install the build for this machine"}
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > unix.PathMax {
			continue
		}
		name, err := io.ReadAll(p.Open())
		if err != nil {
			return nil
		}
		loader := string(bytes.TrimRight(name, "\x00"))
		if err := s.may(loader, unix.X_OK); err != nil {
			broken := s.explain(loader, "interpreter", err)
			broken.text = fmt.Sprintf("the loader of %s: %s", path, broken.text)
			broken.fix = "install the build for this system, or the libraries it asks for"
			return broken
		}
	}
	return nil
}

// otherFormats reports whether somebody has told the kernel to run other formats than
// its own, so that nothing can be said of a file that looks like none.
func otherFormats() bool {
	entries, err := os.ReadDir("/proc/sys/fs/binfmt_misc")
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != "register" && e.Name() != "status" })
}

func noexec(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Flags&unix.ST_NOEXEC != 0
}

// rights writes the mode and the owner of a file.
func rights(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	text := info.Mode().String()
	if st, is := info.Sys().(*syscall.Stat_t); is {
		text += fmt.Sprintf(", uid %d, gid %d", st.Uid, st.Gid)
	}
	return text
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}
