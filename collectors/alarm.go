package collectors

import (
	"time"

	"github.com/dodai-agent/dodai/drivers/alarm"
)

// An Alarm is a timer: it rings on C once after each Set, and no more for what it was set to
// before. Rings that nobody hears do not add up.
type Alarm interface {
	C() <-chan time.Time
	Set(d time.Duration)
	Stop()
	Close() error
}

// KernelAlarm makes an Alarm of real time that costs as little as can be.
func KernelAlarm() Alarm {
	a, err := alarm.New()
	if err != nil { // too many open files; it has to ring all the same
		return RuntimeAlarm()
	}
	return a
}

// RuntimeAlarm makes an Alarm on a timer of the Go runtime, which runs in virtual time where
// the runtime does.
func RuntimeAlarm() Alarm {
	r := runtimeAlarm{time.NewTimer(time.Hour)}
	r.Stop()
	return r
}

type runtimeAlarm struct{ timer *time.Timer }

func (r runtimeAlarm) C() <-chan time.Time { return r.timer.C }

func (r runtimeAlarm) Set(d time.Duration) { r.timer.Reset(d) }

func (r runtimeAlarm) Stop() { r.timer.Stop() }

func (r runtimeAlarm) Close() error {
	r.Stop()
	return nil
}
