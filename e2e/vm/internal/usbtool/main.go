// Command usbtool runs inside a test's virtual machine, or on any Linux with the module
// uhid. It makes a simulated HID UPS appear there, and reads hidraw nodes with the kernel's
// own calls.
//
//	usbtool serve MODEL FIFO     until SIGTERM; MODEL is one of sim/hidups's
//	usbtool descriptor NODE      the report descriptor, in hexadecimal digits
//	usbtool feature NODE ID      a feature report
//	usbtool set NODE HEX         sets a feature report; its id is the first byte
//	usbtool input NODE N SECONDS the next N input reports, a line each
//
// What serve reads from FIFO, a line each: mains on|off, low on|off|auto, charge 0..1,
// load PERCENT, plug in|out, behave normal|silent|refuse|frozen.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai/sim/hidups"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "usbtool:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	wants := map[string]int{"serve": 3, "descriptor": 2, "feature": 3, "set": 3, "input": 4}
	if len(args) == 0 || wants[args[0]] != len(args) {
		return errors.New("want serve MODEL FIFO, descriptor NODE, feature NODE ID, set NODE HEX, or input NODE N SECONDS")
	}
	if args[0] == "serve" {
		return serve(args[1], args[2])
	}
	node, err := os.OpenFile(args[1], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer node.Close()
	switch args[0] {
	case "descriptor":
		return printDescriptor(node)
	case "feature":
		return printFeature(node, args[2])
	case "set":
		return setFeature(node, args[2])
	}
	return printInput(node, args[2], args[3])
}

func serve(model, fifo string) error {
	models := hidups.Models()
	i := slices.IndexFunc(models, func(m hidups.Model) bool { return m.Name == model })
	if i < 0 {
		return fmt.Errorf("model %q: want standard, backups, cyberpower or santak", model)
	}
	u, err := hidups.New(hidups.Config{Model: models[i]})
	if err != nil {
		return err
	}
	dev, err := hidups.OpenUHID()
	if err != nil {
		return err
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make %s: %w", fifo, err)
	}
	orders, err := os.OpenFile(fifo, os.O_RDWR, 0) // for writing, too: its end never comes
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, func() { u.Close() })
	go func() {
		for s := bufio.NewScanner(orders); s.Scan(); {
			if err := order(u, strings.Fields(s.Text())); err != nil {
				fmt.Fprintln(os.Stderr, "usbtool:", err)
			}
		}
	}()
	return u.ServeUHID(dev)
}

// order carries out a line of the FIFO.
func order(u *hidups.UPS, words []string) error {
	if len(words) != 2 {
		return fmt.Errorf("order %q: want two words", words)
	}
	number := func(set func(float64)) error {
		v, err := strconv.ParseFloat(words[1], 64)
		if err == nil {
			set(v)
		}
		return err
	}
	behaviours := map[string]hidups.Behaviour{"normal": hidups.Normal, "silent": hidups.Silent, "refuse": hidups.Refuse, "frozen": hidups.Frozen}
	switch words[0] {
	case "mains":
		u.SetMains(words[1] == "on")
	case "low":
		low := new(words[1] == "on")
		if words[1] == "auto" {
			low = nil
		}
		u.SetBatteryLow(low)
	case "charge":
		return number(u.SetCharge)
	case "load":
		return number(u.SetLoad)
	case "plug":
		u.SetPlugged(words[1] == "in")
	case "behave":
		b, ok := behaviours[words[1]]
		if !ok {
			return fmt.Errorf("behaviour %q is unknown", words[1])
		}
		u.Behave(b, 0)
	default:
		return fmt.Errorf("order %q is unknown", words[0])
	}
	return nil
}

// The kernel's calls on a hidraw node: linux/hidraw.h. The length is part of the number.
const (
	descriptorSize = 0x80044801
	descriptorData = 0x90044802
	featureSet     = 0xC0004806
	featureGet     = 0xC0004807
)

// ioctl makes a call whose argument is b, and returns what the kernel does.
func ioctl(node *os.File, number int, b []byte) (n int, err error) {
	conn, err := node.SyscallConn()
	if err != nil {
		return 0, err
	}
	var code syscall.Errno
	err = conn.Control(func(fd uintptr) {
		r, _, e := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(number), uintptr(unsafe.Pointer(&b[0])))
		n, code = int(r), e
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("ioctl %#x on %s: %w", number, node.Name(), code)
	}
	return n, err
}

func printDescriptor(node *os.File) error {
	size := make([]byte, 4)
	if _, err := ioctl(node, descriptorSize, size); err != nil {
		return err
	}
	b := append(size, make([]byte, 4096)...)
	if _, err := ioctl(node, descriptorData, b); err != nil {
		return err
	}
	n := int(b[0]) | int(b[1])<<8
	fmt.Println(hex.EncodeToString(b[4 : 4+min(n, 4096)]))
	return nil
}

func printFeature(node *os.File, id string) error {
	number, err := strconv.ParseUint(id, 0, 8)
	if err != nil {
		return err
	}
	b := make([]byte, 512)
	b[0] = byte(number)
	n, err := ioctl(node, featureGet|len(b)<<16, b)
	if err != nil {
		return err
	}
	fmt.Println(hex.EncodeToString(b[:n]))
	return nil
}

func setFeature(node *os.File, digits string) error {
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) == 0 {
		return fmt.Errorf("report %q: want hexadecimal digits", digits)
	}
	_, err = ioctl(node, featureSet|len(b)<<16, b)
	return err
}

func printInput(node *os.File, count, seconds string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	limit, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return err
	}
	if err := node.SetReadDeadline(time.Now().Add(time.Duration(limit * float64(time.Second)))); err != nil {
		return err
	}
	for range n {
		b := make([]byte, 512)
		got, err := node.Read(b)
		if err != nil {
			return err
		}
		fmt.Println(hex.EncodeToString(b[:got]))
	}
	return nil
}
