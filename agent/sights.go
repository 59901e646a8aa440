package agent

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dodai-agent/dodai/agent/sight"
)

// How often is looked for what is not read, and how long at least lies between two looks
// when devices come and go.
const (
	sightEvery = 10 * time.Minute
	sightGap   = 5 * time.Second
)

// sights is what is seen and not read.
type sights struct {
	due  chan struct{} // the next look is, now
	list atomic.Pointer[[]sight.Sighting]
}

func newSights() *sights { return &sights{due: make(chan struct{}, 1)} }

// trigger makes the next look due. It does not wait.
func (s *sights) trigger() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

// unread is the result of the last look; nil: there was none.
func (s *sights) unread() []sight.Sighting {
	if l := s.list.Load(); l != nil {
		return *l
	}
	return nil
}

// runSights looks at the start, when every device has been asked once, when one that is no
// UPS begins or ceases to fail, after a reload, and every ten minutes, for as long as ctx
// lasts. It works beside the loop.
func (a *Agent) runSights(ctx context.Context) error {
	if a.opts.See == nil {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(sightEvery)
	defer ticker.Stop()
	ready := a.ready
	for {
		if !a.look(ctx) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ready:
			ready = nil
		case <-ticker.C:
		case <-a.sights.due:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(sightGap):
			}
		}
	}
}

// look looks once, and tells what has changed. A file that hangs costs this goroutine
// alone; it is false when ctx ended first.
func (a *Agent) look(ctx context.Context) bool {
	done := make(chan []sight.Sighting, 1)
	devices := a.sightDevices()
	go func() { done <- a.opts.See(devices) }()
	select {
	case now := <-done:
		a.tellSights(a.sights.unread(), now)
		a.sights.list.Store(&now)
		return true
	case <-ctx.Done():
		return false
	}
}

// sightDevices are the configured devices with their present states.
func (a *Agent) sightDevices() []sight.Device {
	v := a.View()
	var devices []sight.Device
	for _, d := range v.Config.AllDevices() {
		opts := d.DriverOptions()
		seen := sight.Device{Kind: d.Kind, Driver: d.Driver, Port: opts["port"], Address: opts["address"], State: v.Snapshot.Device(d.Name)}
		if f, ok := a.opts.Find(d.Driver); ok {
			seen.Kind = cmp.Or(d.Kind, f.Kind)
		}
		devices = append(devices, seen)
	}
	return devices
}

// tellSights logs what is newly seen, or read by now. It is no alert: nothing has got worse.
func (a *Agent) tellSights(before, now []sight.Sighting) {
	in := func(list []sight.Sighting, s sight.Sighting) bool {
		return slices.ContainsFunc(list, func(o sight.Sighting) bool { return o.Kind == s.Kind && o.Where == s.Where })
	}
	for _, s := range now {
		if !in(before, s) {
			a.log.Info("seen, but not read", "what", s.What, "where", s.Where, "why", s.Why, "remedy", s.Remedy)
		}
	}
	for _, s := range before {
		if !in(now, s) {
			a.log.Info("read now, or gone", "what", s.What, "where", s.Where)
		}
	}
}
