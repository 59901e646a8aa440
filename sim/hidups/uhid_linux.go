package hidups

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Types of events on /dev/uhid: linux/uhid.h.
const (
	uhidDestroy        = 1
	uhidOpen           = 4
	uhidClose          = 5
	uhidGetReport      = 9
	uhidGetReportReply = 10
	uhidCreate2        = 11
	uhidInput2         = 12
	uhidSetReport      = 13
	uhidSetReportReply = 14
)

// Where things stand in an event; all of it is packed.
const (
	uhidEventLen   = 4380
	uhidDataMax    = 4096
	createName     = 4
	createUniq     = 4 + 128 + 64
	createSize     = 260
	createBus      = 262
	createVendor   = 264
	createProduct  = 268
	createVersion  = 272
	createData     = 280
	busUSB         = 3
	errnoIO        = 5
	requestNumber  = 8
	requestType    = 9
	setRequestSize = 10
	setRequestData = 12
)

// OpenUHID opens /dev/uhid for ServeUHID. It wants root and the kernel's module uhid.
func OpenUHID() (io.ReadWriteCloser, error) { return os.OpenFile("/dev/uhid", os.O_RDWR, 0) }

// ServeUHID makes the UPS appear as a HID device of this Linux through dev, an open
// /dev/uhid, until dev ends or the UPS is closed. It closes dev, with which the device
// disappears. The error is nil when it was the UPS that ended it.
func (u *UPS) ServeUHID(dev io.ReadWriteCloser) error {
	k := &uhid{u: u, dev: dev, ended: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-u.stop:
		case <-k.ended:
		}
		dev.Close()
	})
	wg.Go(func() { u.drive(k, k.ended) })
	err := k.serve(&wg)
	close(k.ended)
	wg.Wait()
	if errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

// uhid is one open device.
type uhid struct {
	u     *UPS
	dev   io.ReadWriteCloser
	ended chan struct{}

	mu      sync.Mutex
	readers bool  // somebody has the device open
	failed  error // what the kernel said to an event
}

func (k *uhid) serve(wg *sync.WaitGroup) error {
	event := make([]byte, uhidEventLen)
	for {
		n, err := k.dev.Read(event)
		if err != nil {
			return fmt.Errorf("read event: %w", err)
		}
		if n < 4 {
			return fmt.Errorf("event of %d bytes: want at least 4", n)
		}
		clear(event[n:])
		k.take(wg, event)
		if err := k.failure(); err != nil {
			return err
		}
	}
}

func (k *uhid) failure() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// take answers one event, whose length is uhidEventLen.
func (k *uhid) take(wg *sync.WaitGroup, event []byte) {
	switch binary.LittleEndian.Uint32(event) {
	case uhidOpen:
		k.setReaders(true)
	case uhidClose:
		k.setReaders(false)
	case uhidGetReport:
		report, after, err := k.u.getReport(kindOf(event[requestType]), event[requestNumber])
		k.after(wg, after, err, getReply(event, report, err))
	case uhidSetReport:
		n := min(int(binary.LittleEndian.Uint16(event[setRequestSize:])), uhidDataMax)
		err := k.u.setReport(kindOf(event[requestType]), event[requestNumber], event[setRequestData:setRequestData+n])
		k.after(wg, 0, err, setReply(event, err))
	}
}

// kindOf: the kernel numbers them otherwise than HID's requests do.
func kindOf(c byte) Kind {
	switch c {
	case 0:
		return Feature
	case 1:
		return Output
	}
	return Input
}

// after sends an answer when its time has come; a silent unit's never comes, and the kernel
// gives up after 5 s.
func (k *uhid) after(wg *sync.WaitGroup, d time.Duration, err error, answer []byte) {
	switch {
	case errors.Is(err, errSilent):
		return
	case d == 0:
		k.write(answer)
		return
	}
	wg.Go(func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			k.write(answer)
		case <-k.ended:
		}
	})
}

func getReply(event, report []byte, err error) []byte {
	le := binary.LittleEndian
	report = report[:min(len(report), uhidDataMax)]
	b := le.AppendUint32(nil, uhidGetReportReply)
	b = append(b, event[4:8]...) // whose answer it is
	b = le.AppendUint16(b, errno(err))
	b = le.AppendUint16(b, uint16(len(report)))
	return append(b, report...)
}

func setReply(event []byte, err error) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uhidSetReportReply)
	b = append(b, event[4:8]...)
	return binary.LittleEndian.AppendUint16(b, errno(err))
}

func errno(err error) uint16 {
	if err != nil {
		return errnoIO
	}
	return 0
}

func (k *uhid) setReaders(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.readers = on
}

// write sends one event.
func (k *uhid) write(event []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, err := k.dev.Write(event)
	if err != nil && k.failed == nil {
		k.failed = fmt.Errorf("write event of type %d: %w", event[0], err)
		k.dev.Close()
	}
	return err == nil
}

func (k *uhid) onBus(there bool) {
	if there {
		k.write(k.u.createEvent())
		return
	}
	k.setReaders(false)
	k.write(binary.LittleEndian.AppendUint32(nil, uhidDestroy))
}

func (k *uhid) input(report []byte) bool {
	k.mu.Lock()
	readers := k.readers
	k.mu.Unlock()
	if !readers {
		return false
	}
	event := binary.LittleEndian.AppendUint32(nil, uhidInput2)
	event = binary.LittleEndian.AppendUint16(event, uint16(len(report)))
	return k.write(append(event, report...))
}

func (u *UPS) createEvent() []byte {
	m, le := &u.cfg.Model, binary.LittleEndian
	b := make([]byte, createData, createData+len(m.ReportDescriptor))
	le.PutUint32(b, uhidCreate2)
	copy(b[createName:createName+127], m.Manufacturer+" "+m.Text) // as the USB layer names it
	copy(b[createUniq:createUniq+63], u.cfg.Serial)
	le.PutUint16(b[createSize:], uint16(len(m.ReportDescriptor)))
	le.PutUint16(b[createBus:], busUSB)
	le.PutUint32(b[createVendor:], uint32(m.Vendor))
	le.PutUint32(b[createProduct:], uint32(m.Product))
	le.PutUint32(b[createVersion:], uint32(m.Release))
	return append(b, m.ReportDescriptor...)
}
