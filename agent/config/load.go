package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/all"
)

// Load reads and checks the file at path, and the files it names for secrets and
// scenarios. It touches no device. find is the table of drivers, as in all.Find.
//
// An error about the contents is a Problems with everything that is wrong; one about
// the file itself is a Problem without a line, and wraps fs.ErrNotExist where there is
// no such file.
func Load(path string, find func(name string) (drivers.Factory, bool)) (*Config, error) {
	data, mode, err := read(path, maxSize+1)
	if err != nil {
		return nil, Problem{File: path, What: err.Error(), Want: "a file in YAML that this user can read", Example: "/etc/dodai/dodai.yaml", Err: err}
	}
	return loadAs(path, data, find, func(d *decoder) { d.permissions(mode) })
}

// LoadText is Load with text in place of what stands in the file at path now: for a text
// that stood there before.
func LoadText(path string, text []byte, find func(name string) (drivers.Factory, bool)) (*Config, error) {
	return loadAs(path, text, find, func(*decoder) {})
}

// LoadCommands is LoadText for who runs commands of it and opens no device: secrets are
// left out, and files that are missing by now are no error.
func LoadCommands(path string, text []byte, find func(name string) (drivers.Factory, bool)) (*Config, error) {
	return loadAs(path, text, find, func(*decoder) {}, func(f *files) { f.blind = true })
}

// LoadAnyway is LoadText for an outage that is under way: a file of a secret that is gone or
// damaged by now costs the device that needs it, not the machine.
func LoadAnyway(path string, text []byte, find func(name string) (drivers.Factory, bool)) (*Config, error) {
	return loadAs(path, text, find, func(*decoder) {}, func(f *files) { f.anyway = true })
}

func loadAs(path string, data []byte, find func(name string) (drivers.Factory, bool), last func(*decoder), change ...func(*files)) (*Config, error) {
	d := newDecoder(path, find, namesKnownTo(find))
	d.cfg.Text = data
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		dir = filepath.Dir(path) // the working folder is gone; what is relative will not be found
	}
	d.files = &files{dir: dir}
	for _, f := range change {
		f(d.files)
	}
	return d.run(data, func() { last(d) })
}

// Parse checks data as the contents of the file called name. It looks at no other file
// and leaves the secrets that stand in files out.
func Parse(name string, data []byte, find func(name string) (drivers.Factory, bool)) (*Config, error) {
	return newDecoder(name, find, namesKnownTo(find)).run(data, func() {})
}

// namesKnownTo are the built-in drivers that find knows, for lists in messages.
func namesKnownTo(find func(string) (drivers.Factory, bool)) []string {
	var names []string
	for _, f := range all.Drivers() {
		if _, ok := find(f.Name); ok {
			names = append(names, f.Name)
		}
	}
	return names
}

func newDecoder(name string, find func(string) (drivers.Factory, bool), names []string) *decoder {
	return &decoder{file: name, cfg: base(), find: find, names: names, devices: map[string]position{}, fedByAt: map[string]position{}, modeAt: position{1, 1}}
}

func (d *decoder) run(data []byte, last func()) (*Config, error) {
	if root := d.tree(data); len(d.problems) == 0 {
		d.root(root)
		d.together()
		last()
	}
	if len(d.problems) > 0 {
		d.problems.sort()
		return nil, d.problems
	}
	d.warnings.sort()
	d.cfg.Warnings = d.warnings
	return d.cfg, nil
}

// permissions warns of a file that gives away a password, or root: who can write it
// chooses the commands that run.
func (d *decoder) permissions(mode fs.FileMode) {
	if d.inline != (position{}) && mode&0o004 != 0 {
		d.warn(d.inline, "a password in a file that everybody on this host can read", "mode 0640, or the password in a file of its own", "password_file: /etc/dodai/ups.password")
	}
	if mode&0o022 != 0 {
		d.warn(position{1, 1}, fmt.Sprintf("the file can be written by others (mode %04o)", mode.Perm()), "a file that only its owner can write: it names commands that are run", "chmod 640 "+d.file)
	}
}

// files are the other files a configuration names, relative to its own folder.
type files struct {
	dir    string
	blind  bool // none is looked at
	anyway bool // those that cannot be read are no error
}

const maxSecret = 4096

func (f *files) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(f.dir, name)
}

// credentials is the folder beside the configuration that the service manager hands to the
// daemon file by file (LoadCredential= in dodai.service), so that only root need be able
// to read it.
const credentials = "credentials"

// credential returns where the service manager has put the file at path, or path itself.
func (f *files) credential(path string) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" || filepath.Dir(path) != filepath.Join(f.dir, credentials) {
		return path
	}
	handed := filepath.Join(dir, credentials+"_"+filepath.Base(path))
	if _, err := os.Stat(handed); err != nil {
		return path
	}
	return handed
}

// secret returns the contents of a file without the line's end, and whether everybody
// can read it.
func (f *files) secret(name string) (value string, open bool, err error) {
	if f.blind {
		return mask, false, nil
	}
	if value, open, err = f.readSecret(name); err != nil && f.anyway {
		return mask, false, nil
	}
	return value, open, err
}

func (f *files) readSecret(name string) (value string, open bool, err error) {
	data, mode, err := read(f.credential(f.path(name)), maxSecret+1)
	if err != nil {
		return "", false, err
	}
	value = strings.TrimRight(string(data), "\r\n")
	switch {
	case len(data) > maxSecret:
		return "", false, fmt.Errorf("%s has more than %d bytes", name, maxSecret)
	case value == "":
		return "", false, fmt.Errorf("%s is empty", name)
	case strings.ContainsAny(value, "\r\n\x00"):
		return "", false, fmt.Errorf("%s has more than one line", name)
	}
	return value, mode&0o004 != 0, nil
}

func (f *files) exists(name string) error {
	if f.blind || f.anyway {
		return nil
	}
	_, _, err := read(f.path(name), 1)
	return err
}

// read returns at most limit bytes of a regular file, and its mode. Anything else is an
// error before it is opened: a pipe would never answer.
func read(path string, limit int64) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, cause(err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is no regular file", filepath.Base(path))
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, cause(err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit))
	return data, info.Mode(), cause(err)
}

// cause drops the path, which the message names anyway.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
