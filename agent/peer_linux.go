package agent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	"golang.org/x/sys/unix"
)

type peerKey struct{}

// withPeer remembers who is at the other end of a Unix socket: the kernel's word, which
// the peer cannot forge.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if l, ok := c.(*limitedConn); ok {
		c = l.Conn
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, cred)
}

// privileged lets root and the agent's own user through, and nobody else.
func privileged(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cred, ok := r.Context().Value(peerKey{}).(*unix.Ucred)
		if !ok || cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
			who := "unknown"
			if ok {
				who = fmt.Sprintf("uid %d", cred.Uid)
			}
			http.Error(w, "this needs root or the agent's own user, not "+who, http.StatusForbidden)
			return
		}
		h(w, r)
	})
}
