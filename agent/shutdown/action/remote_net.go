package action

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// dialFault says why no connection to host came about.
func dialFault(address string, err error, waited time.Duration) error {
	host, _, _ := net.SplitHostPort(address)
	f := &fault{err: err}
	if dns, is := errors.AsType[*net.DNSError](err); is {
		f.check, f.text, f.fix = nameFault(host, dns)
		return f
	}
	const other = "start the service there, or correct the port"
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		f.check, f.text, f.fix = "connection_refused", address+" refuses connections: the host is up and nothing listens there", other
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.ENETDOWN):
		f.check, f.text, f.fix = "no_route", "this host has no route to "+host, "look at its addresses and routes: ip route get "+host
	case errors.Is(err, syscall.EHOSTUNREACH):
		f.check, f.text, f.fix = "no_route", host+" cannot be reached: no answer on its network, or a router says so", "switch it on, or correct the address"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		f.check, f.text, f.fix = "not_permitted", "this host's own rules forbid connections to "+address, "look at its firewall and at IPAddressAllow= of the service"
	case isTimeout(err):
		f.check, f.text, f.fix = "no_answer", fmt.Sprintf("%s does not answer within %v: it is off, or something drops the packets", address, waited), "switch it on, or look at the firewalls between"
	default:
		f.check, f.text = "not_connected", fmt.Sprintf("connect to %s: %v", address, err)
	}
	return f
}

func nameFault(host string, dns *net.DNSError) (check, text, fix string) {
	fix = "write its address instead, or put it into /etc/hosts: a name server may be the first to go in an outage"
	if dns.IsNotFound {
		return "name_unknown", fmt.Sprintf("nobody knows a host named %s", host), fix
	}
	return "name_lookup", fmt.Sprintf("the address of %s cannot be looked up: %s", host, line(dns.Err)), fix
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	ne, is := errors.AsType[net.Error](err)
	return is && ne.Timeout()
}

// isBroken reports whether err is the end of a connection that had come about.
func isBroken(err error) bool {
	for _, target := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT, syscall.EHOSTUNREACH} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// tlsFault names what is wrong with the other end's certificate; nil: err is about
// something else.
func tlsFault(address string, now time.Time, err error) error {
	if invalid, is := errors.AsType[x509.CertificateInvalidError](err); is && invalid.Reason == x509.Expired {
		return datesFault(address, now, invalid.Cert, err)
	}
	if name, is := errors.AsType[x509.HostnameError](err); is {
		return &fault{"tls_name", fmt.Sprintf("the certificate of %s is for %s, not for %s", address, namesOf(name.Certificate), name.Host),
			"write a name that the certificate has, or have it issued for this one", err}
	}
	if unknown, is := errors.AsType[x509.UnknownAuthorityError](err); is {
		by := "an authority that this host does not know"
		if c := unknown.Cert; c != nil && c.Issuer.String() == c.Subject.String() {
			by = "itself alone"
		} else if c != nil {
			by += ", " + line(c.Issuer.String())
		}
		return &fault{"tls_authority", fmt.Sprintf("the certificate of %s is signed by %s", address, by), "give the signer's certificate as ca_file", err}
	}
	if _, is := errors.AsType[tls.RecordHeaderError](err); is {
		return &fault{"tls_missing", address + " does not speak TLS", "correct the port, or write http:// where that is meant", err}
	}
	if alert, is := errors.AsType[tls.AlertError](err); is {
		return &fault{"tls_refused", fmt.Sprintf("%s refuses TLS: %v", address, alert), "", err}
	}
	if verify, is := errors.AsType[*tls.CertificateVerificationError](err); is {
		return &fault{"tls_certificate", fmt.Sprintf("the certificate of %s: %v", address, verify.Err), "", err}
	}
	return nil
}

func datesFault(address string, now time.Time, c *x509.Certificate, err error) error {
	if now.Before(c.NotBefore) {
		return &fault{"tls_not_yet_valid", fmt.Sprintf("the certificate of %s is valid from %s on; this host's clock says %s", address, date(c.NotBefore), date(now)),
			"set the clock of this host, or wait", err}
	}
	return &fault{"tls_expired", fmt.Sprintf("the certificate of %s, issued to %s, expired on %s", address, namesOf(c), date(c.NotAfter)), "have it renewed", err}
}

func namesOf(c *x509.Certificate) string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = append(names, c.Subject.String()+" (no names)")
	}
	return line(strings.Join(names, ", "))
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
