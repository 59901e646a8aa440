package action

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

const maxFile = 1 << 20 // of a key, a password, a list of hosts

// readFile reads a small file that the configuration names. what it is goes into the
// error: "the password file".
func readFile(what, path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not hang
	if err != nil {
		return nil, fileFault(what, path, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return nil, faultf("file_unreadable", "name a file", "%s %s is no regular file", what, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fileFault(what, path, err)
	case len(b) > maxFile:
		return nil, faultf("file_unreadable", "name the right file", "%s %s is larger than %d bytes", what, path, maxFile)
	}
	return b, nil
}

func fileFault(what, path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &fault{"file_missing", fmt.Sprintf("%s %s does not exist", what, path), "create it, or correct the path", err}
	case errors.Is(err, fs.ErrPermission):
		return &fault{"file_unreadable", fmt.Sprintf("%s %s may not be read by uid %d, as which the daemon runs", what, path, os.Geteuid()), fmt.Sprintf("chown %d %s", os.Geteuid(), path), err}
	}
	if below, is := errors.AsType[*fs.PathError](err); is {
		err = below.Err
	}
	return &fault{"file_unreadable", fmt.Sprintf("%s %s cannot be read: %v", what, path, err), "", err}
}

// secret reads a password or a token: one line. An empty path is an empty secret.
func secret(what, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := readFile(what, path)
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(b), "\r\n")
	switch {
	case text == "":
		return "", faultf("secret_empty", "write the secret into it", "%s %s is empty", what, path)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", faultf("secret_malformed", "leave one line of text in it", "%s %s has more than one line, or characters that are no text", what, path)
	}
	return text, nil
}

// authorities are the certificates of a file; nil without one, for the system's own.
func authorities(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	b, err := readFile("the ca_file", path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, faultf("ca_file_malformed", "write the authority's certificate into it, as -----BEGIN CERTIFICATE-----", "the ca_file %s holds no certificate", path)
	}
	return pool, nil
}
