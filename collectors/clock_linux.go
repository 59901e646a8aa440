package collectors

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SystemClock is CLOCK_BOOTTIME.
func SystemClock() Clock {
	return func() time.Duration {
		var ts unix.Timespec
		// It cannot fail: the clock exists since Linux 2.6.39 and ts is ours. Nor can it block,
		// so the runtime's monitor need not be woken to look after it.
		_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0)
		return time.Duration(ts.Nano())
	}
}
