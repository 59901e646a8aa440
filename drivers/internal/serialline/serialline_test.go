package serialline

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai/drivers"
)

// onPipe runs test in a bubble with two ends of a pipe.
func onPipe(t *testing.T, test func(t *testing.T, ours, theirs net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		defer theirs.Close()
		test(t, ours, theirs)
	})
}

func TestReadEnds(t *testing.T) {
	tests := []struct {
		name   string
		within time.Duration // of ctx; 0: none
		until  time.Duration // 0: none
		cancel time.Duration // 0: never
		want   error
		took   time.Duration
	}{
		{"until comes first", time.Second, 300 * time.Millisecond, 0, os.ErrDeadlineExceeded, 300 * time.Millisecond},
		{"the context's deadline comes first", 200 * time.Millisecond, 300 * time.Millisecond, 0, os.ErrDeadlineExceeded, 200 * time.Millisecond},
		{"only the context has one", 200 * time.Millisecond, 0, 0, os.ErrDeadlineExceeded, 200 * time.Millisecond},
		{"cancelled", 0, 0, 70 * time.Millisecond, context.Canceled, 70 * time.Millisecond},
		{"cancelled before until", time.Second, 300 * time.Millisecond, 70 * time.Millisecond, context.Canceled, 70 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onPipe(t, func(t *testing.T, ours, _ net.Conn) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.within > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.within)
					defer cancel()
				}
				if tt.cancel > 0 {
					time.AfterFunc(tt.cancel, cancel)
				}
				begin, until := time.Now(), time.Time{}
				if tt.until > 0 {
					until = begin.Add(tt.until)
				}
				_, err := Read(ctx, ours, make([]byte, 8), until)
				if took := time.Since(begin); !errors.Is(err, tt.want) || took != tt.took {
					t.Errorf("Read = %v after %v, want %v after %v", err, took, tt.want, tt.took)
				}
				if Broken(err) {
					t.Errorf("Broken(%v): a time-out breaks nothing", err)
				}
			})
		})
	}
}

// A cancel leaves no deadline behind that would cut the next operation short.
func TestReadAfterCancel(t *testing.T) {
	onPipe(t, func(t *testing.T, ours, theirs net.Conn) {
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			Read(ctx, ours, make([]byte, 8), time.Time{})
			go theirs.Write([]byte("x"))
			if n, err := Read(t.Context(), ours, make([]byte, 8), time.Time{}); n != 1 || err != nil {
				t.Fatalf("Read after a cancelled one = %d, %v", n, err)
			}
		}
	})
}

func TestWriteEnds(t *testing.T) {
	onPipe(t, func(t *testing.T, ours, _ net.Conn) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := Write(ctx, ours, []byte("Q1\r")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write that nobody reads = %v, want os.ErrDeadlineExceeded", err)
		}
	})
}

func TestFlush(t *testing.T) {
	onPipe(t, func(t *testing.T, ours, theirs net.Conn) {
		go theirs.Write([]byte("left over from before"))
		synctest.Wait()
		if err := Flush(t.Context(), ours); err != nil {
			t.Fatal(err)
		}
		go theirs.Write([]byte("new"))
		buf := make([]byte, 64)
		if n, err := Read(t.Context(), ours, buf, time.Time{}); err != nil || string(buf[:n]) != "new" {
			t.Errorf("Read after Flush = %q, %v: want \"new\"", buf[:n], err)
		}
	})
}

func TestQuiet(t *testing.T) {
	onPipe(t, func(t *testing.T, ours, theirs net.Conn) {
		go func() {
			for range 10 {
				time.Sleep(40 * time.Millisecond)
				theirs.Write([]byte("x"))
			}
		}()
		begin := time.Now()
		if err := Quiet(t.Context(), ours, 50*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 450*time.Millisecond {
			t.Errorf("Quiet took %v, want 400 ms of chatter and 50 ms of silence", took)
		}
	})
}

func TestQuietGivesUp(t *testing.T) {
	onPipe(t, func(t *testing.T, ours, theirs net.Conn) {
		go func() {
			for {
				if _, err := theirs.Write(make([]byte, 200)); err != nil {
					return
				}
			}
		}()
		if err := Quiet(t.Context(), ours, time.Millisecond); !errors.Is(err, drivers.ErrProtocol) {
			t.Errorf("Quiet on a line that never is = %v, want ErrProtocol", err)
		}
	})
}

func TestBroken(t *testing.T) {
	onPipe(t, func(t *testing.T, ours, theirs net.Conn) {
		theirs.Close()
		_, err := Read(t.Context(), ours, make([]byte, 8), time.Time{})
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) || !Broken(err) {
			t.Errorf("Read from a closed pipe = %v, broken %v: want it broken", err, Broken(err))
		}
	})
}
