package ipmi

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/bougou/go-ipmi/pkg/crypto"
	"github.com/bougou/go-ipmi/pkg/rmcpplus"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/dodai-agent/dodai/drivers"
)

// account is who asks, and how.
type account struct {
	user, password string
	privilege      types.PrivilegeLevel
	suites         []types.CipherSuiteID // in the order in which they are tried
}

// session is an RMCP+ session with a BMC. It runs in the caller's goroutine and starts
// none; one command is under way at a time.
//
// go-ipmi supplies messages and key derivation, but not its client: version 0.9.1 of
// that verifies no authentication code, and decrypts in a goroutine of its own, where
// one forged datagram of 20 bytes ends in a panic that nobody can recover from.
type session struct {
	conn    net.Conn
	keys    keys
	console uint32 // our number for the session
	bmc     uint32 // the BMC's
	seq     uint32 // of the last message sent
	rqSeq   byte   // of the last request, 0 to 63
	suite   types.CipherSuiteID
	buf     []byte // for what comes in
}

// errRefused means that the BMC does not do the cipher suite.
var errRefused = errors.New("cipher suite refused")

// maxWait bounds how long an answer is waited for before the request is sent again:
// a BMC under load takes hundreds of milliseconds.
const maxWait = time.Second

// tries is how often a request is sent before the session counts as lost.
const tries = 2

// dial opens a session with the first cipher suite that the BMC does not refuse.
func dial(ctx context.Context, address string, who account) (*session, error) {
	err := errors.New("no cipher suite to try")
	for _, suite := range who.suites {
		var s *session
		if s, err = dialSuite(ctx, address, who, suite); err == nil {
			return s, nil
		}
		if !errors.Is(err, errRefused) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %w", drivers.ErrDenied, err)
}

func dialSuite(ctx context.Context, address string, who account, suite types.CipherSuiteID) (*session, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, suite: suite, console: binary.LittleEndian.Uint32(random(4)) | 1}
	if err := s.handshake(ctx, who); err != nil {
		conn.Close()
		return nil, fmt.Errorf("cipher suite %d: %w", suite, err)
	}
	return s, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

// handshake opens the session and proves to each end that the other knows the
// password. Source: IPMI 2.0, sections 13.15 to 13.24 and 13.31.
func (s *session) handshake(ctx context.Context, who account) error {
	if err := s.openSession(ctx); err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	if err := s.exchangeKeys(ctx, who); err != nil {
		return err
	}
	if who.privilege == types.PrivilegeLevelUser {
		return nil // where every session begins
	}
	_, err := s.command(ctx, request{netFn: types.NetFnAppRequest, cmd: 0x3b, data: []byte{byte(who.privilege)}})
	if c, refused := errors.AsType[completion](err); refused {
		return fmt.Errorf("%w: set privilege: %w", drivers.ErrDenied, c)
	}
	return err
}

func (s *session) openSession(ctx context.Context) error {
	auth, integrity, crypt, ok := types.GetCipherSuiteAlgorithms(s.suite)
	if !ok || crypt != types.CryptAlg_AES_CBC_128 {
		return fmt.Errorf("%w: not one with AES", errRefused)
	}
	a, i, c := rmcpplus.NewAlgorithmPayloads(auth, integrity, crypt)
	ask := rmcpplus.OpenSessionRequest{
		MessageTag: 1, RemoteConsoleSessionID: s.console,
		AuthenticationPayload: a, IntegrityPayload: i, ConfidentialityPayload: c,
	}
	var res rmcpplus.OpenSessionResponse
	err := s.setup(ctx, types.PayloadTypeRmcpOpenSessionRequest, ask.Pack(), func(p []byte) error {
		if err := res.Unpack(p); err != nil {
			return err
		}
		return mine(res.MessageTag == 1 && res.RemoteConsoleSessionID == s.console)
	})
	if err != nil {
		return err
	}
	if res.AuthAlg != byte(auth) || res.IntegrityAlg != byte(integrity) || res.CryptAlg != byte(crypt) {
		return fmt.Errorf("%w: the BMC answered with other algorithms", errRefused)
	}
	s.bmc = res.ManagedSystemSessionID
	s.keys = keys{auth: auth, integrity: integrity}
	return nil
}

func (s *session) exchangeKeys(ctx context.Context, who account) error {
	one := rmcpplus.RAKPMessage1{
		MessageTag: 2, ManagedSystemSessionID: s.bmc, RemoteConsoleRandomNumber: [16]byte(random(16)),
		NameOnlyLookup: true, RequestedMaximumPrivilegeLevel: who.privilege,
		UsernameLength: byte(len(who.user)), Username: []byte(who.user),
	}
	two := rmcpplus.RAKPMessage2{AuthAlg: s.keys.auth}
	err := s.setup(ctx, types.PayloadTypeRAKPMessage1, one.Pack(), func(p []byte) error {
		if err := two.Unpack(p); err != nil {
			return err
		}
		return mine(two.MessageTag == 2 && two.RemoteConsoleSessionID == s.console)
	})
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	kuid := crypto.PadPassword20([]byte(who.password))
	us, them, guid := one.RemoteConsoleRandomNumber[:], two.ManagedSystemRandomNumber[:], two.ManagedSystemGUID[:]
	proof, err := crypto.RAKP2AuthCode(s.keys.auth, s.console, s.bmc, us, them, guid, one.Role(), who.user, kuid)
	if err != nil || !hmac.Equal(proof, two.KeyExchangeAuthenticationCode) {
		return fmt.Errorf("%w: log in: the BMC has another password for user %q", drivers.ErrDenied, who.user)
	}
	sik, k1, k2, err := crypto.DeriveSessionKeys(s.keys.auth, us, them, one.Role(), who.user, kuid)
	if err != nil {
		return err
	}
	s.keys.k1, s.keys.k2 = k1, k2
	return s.activate(ctx, who, kuid, sik, us, them, guid, one.Role())
}

// activate sends our proof and checks the BMC's last one.
func (s *session) activate(ctx context.Context, who account, kuid, sik, us, them, guid []byte, role byte) error {
	proof, err := crypto.RAKP3AuthCode(s.keys.auth, them, s.console, role, who.user, kuid)
	if err != nil {
		return err
	}
	three := rmcpplus.RAKPMessage3{MessageTag: 3, ManagedSystemSessionID: s.bmc, KeyExchangeAuthenticationCode: proof}
	four := rmcpplus.RAKPMessage4{AuthAlg: s.keys.auth}
	err = s.setup(ctx, types.PayloadTypeRAKPMessage3, three.Pack(), func(p []byte) error {
		if err := four.Unpack(p); err != nil {
			return err
		}
		return mine(four.MessageTag == 3 && four.MgmtConsoleSessionID == s.console)
	})
	if err != nil {
		return fmt.Errorf("activate session: %w", err)
	}
	want, err := crypto.RAKP4ICV(s.keys.auth, us, s.bmc, guid, sik)
	if err != nil || !hmac.Equal(want, four.IntegrityCheckValue) {
		return fmt.Errorf("%w: activate session: the integrity check value does not fit", drivers.ErrProtocol)
	}
	return nil
}

func mine(ok bool) error {
	if !ok {
		return fmt.Errorf("%w: answer to another session", drivers.ErrProtocol)
	}
	return nil
}

// setupStatus turns the status of a set-up message into an error.
// Source: IPMI 2.0, table 13-15.
func setupStatus(code types.RmcpStatusCode) error {
	switch code {
	case types.RmcpStatusCodeNoErrors:
		return nil
	case types.RmcpStatusCodeInvalidAuthAlg, types.RmcpStatusCodeInvalidIntegrityAlg, types.RmcpStatusCodeNoMatchingAuthPayload,
		types.RmcpStatusCodeNoMatchingIntegrityPayload, types.RmcpStatusCodeInvalidConfidentAlg, types.RmcpStatusCodeNoCipherSuiteMatch:
		return fmt.Errorf("%w: %s", errRefused, code)
	default:
		return fmt.Errorf("%w: %w", drivers.ErrDenied, refusal(code))
	}
}

// refusal is the status by which a BMC refuses a session.
type refusal types.RmcpStatusCode

func (r refusal) Error() string { return types.RmcpStatusCode(r).String() }

// setup sends one message of the session set-up and has accept judge the answers: what
// it returns an error for is passed over.
func (s *session) setup(ctx context.Context, kind types.PayloadType, payload []byte, accept func([]byte) error) error {
	packet := packSetup(kind, payload)
	var status types.RmcpStatusCode
	err := s.exchange(ctx, func() ([]byte, error) { return packet, nil }, func(b []byte) error {
		p, err := unpackSetup(b, kind+1)
		if err != nil {
			return err
		}
		if len(p) >= 2 && p[0] == payload[0] && p[1] != 0 {
			status = types.RmcpStatusCode(p[1])
			return nil // a refusal may end here
		}
		return accept(p)
	})
	if err != nil {
		return err
	}
	return setupStatus(status)
}

// command runs one command. A refusal by the BMC is a completion.
func (s *session) command(ctx context.Context, req request) ([]byte, error) {
	var sent []byte // sequence numbers, any of which the answer may carry
	var res reply
	next := func() ([]byte, error) {
		s.seq++
		s.rqSeq = (s.rqSeq + 1) & 0x3f
		sent = append(sent, s.rqSeq)
		return seal(s.keys, s.bmc, s.seq, req.pack(s.rqSeq), random(16))
	}
	err := s.exchange(ctx, next, func(b []byte) error {
		message, err := open(s.keys, s.console, b)
		if err != nil {
			return err
		}
		if res, err = parseReply(message); err != nil {
			return err
		}
		return mine(res.cmd == req.cmd && res.netFn == byte(req.netFn)|1 && slices.Contains(sent, res.seq))
	})
	if err != nil {
		return nil, err
	}
	if res.code != 0 {
		return nil, completion(res.code)
	}
	return res.data, nil
}

// exchange sends what next makes, waits for an answer that accept takes, and tries once
// more. A request is made anew each time, because BMCs ignore a number they have seen.
// The error wraps ErrUnreachable, or ErrProtocol when all that came was nonsense.
func (s *session) exchange(ctx context.Context, next func() ([]byte, error), accept func([]byte) error) error {
	var bad error
	for range tries {
		packet, err := next()
		if err != nil {
			return err
		}
		answered, err := s.once(ctx, packet, accept, &bad)
		if answered || err != nil {
			return err
		}
		if ctx.Err() != nil {
			break
		}
	}
	if bad != nil {
		return fmt.Errorf("nothing else came: %w", bad)
	}
	return drivers.Unreachable(cmpErr(context.Cause(ctx), errNoAnswer))
}

var errNoAnswer = errors.New("no answer")

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// once sends packet and reads until accept takes a datagram or the wait is over; a
// quarter of what the deadline leaves, so that a lost session leaves time for another.
func (s *session) once(ctx context.Context, packet []byte, accept func([]byte) error, bad *error) (bool, error) {
	if ctx.Err() != nil {
		return false, nil
	}
	wait := maxWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)/4)
	}
	s.conn.SetDeadline(time.Now().Add(wait))
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		s.conn.SetDeadline(time.Unix(1, 0))
		close(ended)
	})
	defer func() {
		if !stop() {
			<-ended
		}
		s.conn.SetDeadline(time.Time{}) // or it wakes the daemon when nobody waits any more
	}()
	if _, err := s.conn.Write(packet); err != nil {
		return false, err
	}
	if s.buf == nil {
		s.buf = make([]byte, maxDatagram)
	}
	for {
		n, err := s.conn.Read(s.buf)
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if *bad = accept(bytes.Clone(s.buf[:n])); *bad == nil {
			return true, nil
		}
	}
}

// closeWait is how long a BMC gets to confirm the end of a session.
const closeWait = 300 * time.Millisecond

// close tells the BMC that its slot is free again, and waits a little so that it is.
func (s *session) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	s.command(ctx, s.farewell()) // a BMC that is gone has forgotten the session anyway
	return s.conn.Close()
}

// abandon asks the BMC to free the slot and does not wait for an answer.
func (s *session) abandon() {
	s.seq++
	if packet, err := seal(s.keys, s.bmc, s.seq, s.farewell().pack(0), random(16)); err == nil {
		s.conn.SetDeadline(time.Now().Add(10 * time.Millisecond))
		s.conn.Write(packet)
	}
	s.conn.Close()
}

func (s *session) farewell() request {
	return request{netFn: types.NetFnAppRequest, cmd: 0x3c, data: binary.LittleEndian.AppendUint32(nil, s.bmc)}
}
