package nut

import (
	"net"
	"syscall"
)

// quickAck makes the kernel acknowledge at once what is read from a TCP connection.
// upsd writes a list line by line, and Nagle's algorithm holds back all lines but the
// first until that one is acknowledged, which Linux otherwise delays by 40 ms. The
// kernel forgets the setting by itself, so it is made before each read.
// Source: tcp(7), TCP_QUICKACK.
type quickAck struct {
	net.Conn
	raw syscall.RawConn
}

// newQuickAck returns conn itself where it is no TCP connection.
func newQuickAck(conn net.Conn) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return conn
	}
	return quickAck{conn, raw}
}

func (q quickAck) Read(b []byte) (int, error) {
	// Where it fails the reply is only later.
	q.raw.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
	})
	return q.Conn.Read(b)
}
