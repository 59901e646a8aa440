package nut

import (
	"errors"
	"fmt"

	"github.com/dodai-agent/dodai/drivers"
)

// A serverError is an "ERR TOKEN" line. It wraps the sentinel that fits the token.
type serverError struct {
	token string
	line  string // as it came
}

func newServerError(words []string) *serverError {
	e := &serverError{line: joinWords(words...)}
	if len(words) > 1 {
		e.token = words[1]
	}
	return e
}

func (e *serverError) Error() string {
	return fmt.Sprintf("%v: upsd answered %s", e.Unwrap(), drivers.Quote([]byte(e.line)))
}

// Unwrap returns the sentinel; a token that is not in the list is a reply we cannot
// read.
func (e *serverError) Unwrap() error {
	if m, known := meanings[e.token]; known {
		return m.sentinel
	}
	return drivers.ErrProtocol
}

type meaning struct {
	sentinel error
	hint     string
	// inStep: the refusal is a complete answer about the UPS and the connection can
	// go on being used.
	inStep bool
}

// meanings are the tokens that LIST, LOGIN, STARTTLS, SET and INSTCMD can be refused with
// (RFC 9271, section 4.4), and the results of a tracked one. What is missing here is a
// mistake in the talk itself.
var meanings = map[string]meaning{
	"DATA-STALE":             {drivers.ErrUnreachable, "upsd runs, but its driver no longer hears the UPS: check cable and driver on the NUT server", true},
	"DRIVER-NOT-CONNECTED":   {drivers.ErrUnreachable, "upsd runs, but its driver does not: start it on the NUT server (upsdrvctl start)", true},
	"UNKNOWN-UPS":            {drivers.ErrNoData, "`upsc -l HOST` lists the names upsd knows", true},
	"ACCESS-DENIED":          {drivers.ErrDenied, "check username, password and the user's rights in upsd.users", false},
	"USERNAME-REQUIRED":      {drivers.ErrDenied, "set the option username", false},
	"PASSWORD-REQUIRED":      {drivers.ErrDenied, "set the option password", false},
	"INVALID-USERNAME":       {drivers.ErrDenied, "check the option username", false},
	"INVALID-PASSWORD":       {drivers.ErrDenied, "check the option password", false},
	"FEATURE-NOT-SUPPORTED":  {drivers.ErrDenied, "this upsd was built without TLS", false},
	"FEATURE-NOT-CONFIGURED": {drivers.ErrDenied, "this upsd has no certificate: see CERTFILE or CERTPATH in upsd.conf", false},
	"CMD-NOT-SUPPORTED":      {drivers.ErrUnable, "", true},
	"VAR-NOT-SUPPORTED":      {drivers.ErrUnable, "", true},
	"READONLY":               {drivers.ErrUnable, "", true},
	"TOO-LONG":               {drivers.ErrUnable, "", true},
	"INVALID-VALUE":          {drivers.ErrUnable, "", true},
	"INSTCMD-FAILED":         {drivers.ErrUnreachable, "upsd could not hand the command to its driver: look after the driver on the NUT server", true},
	"SET-FAILED":             {drivers.ErrUnreachable, "upsd could not hand the value to its driver: look after the driver on the NUT server", true},
	"FAILED":                 {drivers.ErrUnable, "the UPS's driver tried and failed: see its log on the NUT server", true},
	"UNKNOWN":                {drivers.ErrUnable, "the UPS's driver does not know it: see its log on the NUT server", true},
}

// hint is what an operator can do about err; empty where we know nothing.
func hint(err error) string {
	if e, ok := errors.AsType[*serverError](err); ok {
		return meanings[e.token].hint
	}
	return ""
}

// inStep reports whether the connection is still good after err.
func inStep(err error) bool {
	e, ok := errors.AsType[*serverError](err)
	return err == nil || ok && meanings[e.token].inStep
}

// errUseless marks a connection that was found closed, or out of step, before any byte
// of a reply came: upsd closes one that was idle for 60 s, and a restarted upsd closes
// all. Asking again on a new one is the same request.
var errUseless = errors.New("connection of no more use")
