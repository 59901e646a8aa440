package vm

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Line is one line of the serial console, stamped when its end came.
type Line struct {
	At   time.Time // of this process, monotonic
	Boot int       // 1 for the machine's first
	Text string    // without colours and line ends
}

// A Console collects what all boots of a machine write on the serial console: the only
// record of a shutdown's last seconds. Its methods may be called from any goroutine.
type Console struct {
	mu    sync.Mutex
	lines []Line
	more  chan struct{} // closed and replaced with each line
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Za-z0-9]|[\x00-\x08\x0b-\x1f]`)

// consoleLine bounds a line; a longer one comes as several.
const consoleLine = 4096

// read takes lines until the machine is off.
func (c *Console) read(r io.Reader, boot int) {
	in := bufio.NewReaderSize(r, consoleLine)
	for {
		text, err := in.ReadSlice('\n')
		if len(text) > 0 {
			c.add(Line{At: time.Now(), Boot: boot, Text: escapes.ReplaceAllString(strings.TrimRight(string(text), "\r\n"), "")})
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (c *Console) add(l Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, l)
	if c.more != nil {
		close(c.more)
	}
	c.more = make(chan struct{})
}

// since returns the lines from number n on, and what is closed when there is another.
func (c *Console) since(n int) ([]Line, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.more == nil {
		c.more = make(chan struct{})
	}
	return c.lines[min(n, len(c.lines)):], c.more
}

// Mark is the number of lines so far: a place to look from.
func (c *Console) Mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lines)
}

// Since returns the lines after a mark; Since(0) all.
func (c *Console) Since(mark int) []Line {
	lines, _ := c.since(mark)
	return lines
}

// Find returns the first line after mark that matches, if there is one.
func (c *Console) Find(pattern string, mark int) (Line, bool) {
	re := regexp.MustCompile(pattern)
	for _, l := range c.Since(mark) {
		if re.MatchString(l.Text) {
			return l, true
		}
	}
	return Line{}, false
}

// Wait waits until a line after mark matches pattern, and fails the test where none does
// within the time or before end is closed (nil: never).
func (c *Console) Wait(t testing.TB, pattern string, mark int, within time.Duration, end <-chan struct{}) Line {
	t.Helper()
	re := regexp.MustCompile(pattern)
	timer := time.NewTimer(within)
	defer timer.Stop()
	for ended := false; ; {
		lines, more := c.since(mark)
		for _, l := range lines {
			if re.MatchString(l.Text) {
				return l
			}
		}
		mark += len(lines)
		if ended {
			t.Fatalf("console: the machine is off and there was no line %q", pattern)
		}
		select {
		case <-more:
		case <-end:
			ended = true
		case <-timer.C:
			t.Fatalf("console: no line %q within %v", pattern, within)
		}
	}
}

// Tail is the last n lines, each with its seconds since the first line.
func (c *Console) Tail(n int) string {
	lines := c.Since(0)
	var out strings.Builder
	for i, l := range lines {
		if i >= len(lines)-n {
			fmt.Fprintf(&out, "%d %8.2f %s\n", l.Boot, l.At.Sub(lines[0].At).Seconds(), l.Text)
		}
	}
	return out.String()
}
