package action

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// Redfish asks a management controller to shut its host down and waits until it is off.
// Where the controller cannot do that gracefully, its power button is pressed; the host
// is switched off hard only where the configuration says so. The way back switches the
// host on, also when it is only on its way down.
type Redfish struct {
	config.Redfish
	up    bool
	every time.Duration // between two questions; 0: powerEvery
}

// Kind implements shutdown.Action.
func (Redfish) Kind() string { return "redfish" }

// String implements shutdown.Action.
func (r Redfish) String() string {
	switch {
	case r.up:
		return "switch on " + r.host()
	case r.ForceAfter > 0:
		return fmt.Sprintf("shut down %s, switch it off hard after %v", r.host(), r.ForceAfter.D())
	}
	return "shut down " + r.host()
}

func (r Redfish) host() string {
	if r.System != "" {
		return "system " + r.System + " of " + masked(r.Address)
	}
	return "the system of " + masked(r.Address)
}

// Run implements shutdown.Action.
func (r Redfish) Run(ctx context.Context, t shutdown.Task) shutdown.Result {
	ctx, cancel := t.Context(ctx)
	defer cancel()
	s, err := r.open(ctx)
	if err != nil {
		return shutdown.Failed(ended(ctx, err, "looking for "+r.host()), "")
	}
	defer s.close()
	how := switching{host: r.host(), every: r.every, after: r.ForceAfter.D()}
	if r.up {
		return how.up(ctx, s, settleTime(t))
	}
	return how.down(ctx, s)
}

func (r Redfish) open(ctx context.Context) (*system, error) {
	w, err := newWeb(r.Address, r.CAFile)
	if err != nil {
		return nil, err
	}
	password, err := secret("the password_file", r.PasswordFile)
	if err != nil {
		return nil, err
	}
	if r.User != "" {
		both := base64.StdEncoding.EncodeToString([]byte(r.User + ":" + password))
		w.headers.Set("Authorization", "Basic "+both)
		w.secrets = append(w.secrets, password, both)
	}
	w.headers.Set("Accept", "application/json")
	s := &system{service: service{web: w, user: r.User}}
	if err := s.find(ctx, r.System); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// Inverse implements shutdown.Action.
func (r Redfish) Inverse() shutdown.Action {
	if r.up {
		return nil
	}
	r.up = true
	return r
}

// Repeatable implements shutdown.Action: a host that is off stays off.
func (Redfish) Repeatable() bool { return true }

// Check implements shutdown.Action: the connection and its certificate, the login, the
// system, that the controller offers a way to do it, and, where the controller lets the
// account see itself, that it may.
func (r Redfish) Check(ctx context.Context, t shutdown.Task) []shutdown.Finding {
	ctx, cancel := t.Context(ctx)
	defer cancel()
	s, err := r.open(ctx)
	if err != nil {
		return findings(t, "redfish", err)
	}
	defer s.close()
	return findings(t, "redfish", s.offers(r), s.privilege(ctx))
}

// offers is what the controller lacks of what Run would ask for.
func (s *system) offers(r Redfish) error {
	have := "it offers only " + strings.Join(s.allowed, ", ")
	switch {
	case r.up && s.way("On", "ForceOn", "PushPowerButton") == "":
		return faultf("reset_missing", "switch that host on by other means", "%s cannot switch %s on: %s", s.address(), s.id, have)
	case r.up:
	case s.way(gracefulWays...) == "" && r.ForceAfter == 0:
		return faultf("reset_missing", "shut that host down over ssh, or give force_after", "%s cannot shut %s down gracefully: %s", s.address(), s.id, have)
	case r.ForceAfter > 0 && s.way("ForceOff") == "":
		return faultf("reset_missing", "leave force_after out", "%s cannot switch %s off hard: %s", s.address(), s.id, have)
	}
	return nil
}
