package action

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	maxResource = 1 << 20
	maxMembers  = 64 // systems or accounts looked at
)

// service is a Redfish service. Source: DMTF DSP0266, and the schemas ComputerSystem,
// ActionInfo, ManagerAccount and Role.
type service struct {
	*web
	user string
	root struct {
		Systems        link
		AccountService link
	}
}

type link struct {
	At string `json:"@odata.id"`
}

type collection struct {
	Members []link
}

// get reads one resource of the service.
func (s *service) get(ctx context.Context, at string, into any) error {
	address, err := s.resolve(at)
	if err != nil {
		return err
	}
	a, err := s.web.ask(ctx, http.MethodGet, address, "", maxResource)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return s.denied(http.MethodGet, address, a)
	}
	if err := json.Unmarshal(a.raw, into); err != nil {
		return &fault{"unexpected_reply", fmt.Sprintf("GET %s answers %q, want a Redfish resource: %v", masked(address), line(string(a.body[:min(len(a.body), 60)])), err),
			"correct the address: is there a Redfish service?", err}
	}
	return nil
}

// resolve makes the URL of a resource. One at another host would be shown the password.
func (s *service) resolve(at string) (string, error) {
	u, err := s.base.Parse(at)
	if err != nil || !strings.HasPrefix(at, "/") || u.Host != s.base.Host {
		return "", faultf("unexpected_reply", "", "%s points to %q, want a path on itself", s.address(), line(at))
	}
	return u.String(), nil
}

// denied says what a status that is no success means here.
func (s *service) denied(method, address string, a *webAnswer) error {
	said := redfishMessage(a.body)
	switch a.status {
	case http.StatusUnauthorized:
		return faultf("login_refused", "correct user and password_file; too many wrong ones lock an account for a while",
			"%s refuses the login of user %q%s", s.address(), s.user, said)
	case http.StatusForbidden:
		return faultf("privilege_missing", "give the account the role Operator or Administrator", "%s does not let user %q %s %s%s", s.address(), s.user, method, masked(address), said)
	}
	return faultf("http_status", "", "%s %s answers %d %s%s", method, masked(address), a.status, http.StatusText(a.status), said)
}

// redfishMessage is the message of an error response, or what of it is readable.
func redfishMessage(body []byte) string {
	var e struct {
		Error struct {
			Message  string
			Extended []struct{ Message string } `json:"@Message.ExtendedInfo"`
		}
	}
	text := string(body)
	if json.Unmarshal(body, &e) == nil {
		text = e.Error.Message
		if len(e.Error.Extended) > 0 && e.Error.Extended[0].Message != "" {
			text = e.Error.Extended[0].Message
		}
	}
	if text = line(text); text != "" {
		return ": " + text
	}
	return ""
}

// system is one host of a service, as a controller.
type system struct {
	service
	at      string
	id      string
	target  string   // of the reset action
	allowed []string // reset types; empty: the service does not say
}

type systemResource struct {
	ID         string `json:"Id"`
	PowerState string
	Actions    struct {
		Reset struct {
			Target  string   `json:"target"`
			Allowed []string `json:"ResetType@Redfish.AllowableValues"`
			Info    string   `json:"@Redfish.ActionInfo"`
		} `json:"#ComputerSystem.Reset"`
	}
}

// find looks for the system called id; empty: the only one.
func (s *system) find(ctx context.Context, id string) error {
	if err := s.get(ctx, "/redfish/v1/", &s.root); err != nil {
		return err
	}
	if s.root.Systems.At == "" {
		return faultf("system_missing", "correct the address", "%s has no systems to shut down", s.address())
	}
	var list collection
	if err := s.get(ctx, s.root.Systems.At, &list); err != nil {
		return err
	}
	if len(list.Members) == 1 && id == "" {
		return s.take(ctx, list.Members[0].At)
	}
	var ids []string
	for _, m := range list.Members[:min(len(list.Members), maxMembers)] {
		var r systemResource
		if err := s.get(ctx, m.At, &r); err != nil {
			return err
		}
		if ids = append(ids, r.ID); id != "" && r.ID == id {
			return s.adopt(ctx, m.At, r)
		}
	}
	switch {
	case len(ids) == 0:
		return faultf("system_missing", "correct the address", "%s has no systems to shut down", s.address())
	case id == "":
		return faultf("system_ambiguous", "name one as system", "%s has several systems: %s", s.address(), line(strings.Join(ids, ", ")))
	}
	return faultf("system_missing", "correct system", "%s has no system %s, it has %s", s.address(), id, line(strings.Join(ids, ", ")))
}

func (s *system) take(ctx context.Context, at string) error {
	var r systemResource
	if err := s.get(ctx, at, &r); err != nil {
		return err
	}
	return s.adopt(ctx, at, r)
}

func (s *system) adopt(ctx context.Context, at string, r systemResource) error {
	s.at, s.id, s.target, s.allowed = at, r.ID, r.Actions.Reset.Target, r.Actions.Reset.Allowed
	if s.target == "" {
		return faultf("reset_missing", "shut that host down over ssh", "%s offers no reset of system %s", s.address(), s.id)
	}
	if len(s.allowed) > 0 || r.Actions.Reset.Info == "" {
		return nil
	}
	var info struct {
		Parameters []struct {
			Name            string
			AllowableValues []string
		}
	}
	if err := s.get(ctx, r.Actions.Reset.Info, &info); err != nil {
		return err
	}
	for _, p := range info.Parameters {
		if p.Name == "ResetType" {
			s.allowed = p.AllowableValues
		}
	}
	return nil
}

// gracefulWays shut a host down, the first that there is. A pressed power button is what
// its operating system makes of it, and that of a host that is off starts it.
var gracefulWays = []string{"GracefulShutdown", "PushPowerButton"}

// way is the first of the reset types that the service allows, the first of all where it
// does not say; empty: none.
func (s *system) way(types ...string) string {
	if len(s.allowed) == 0 {
		return types[0]
	}
	for _, t := range types {
		if slices.Contains(s.allowed, t) {
			return t
		}
	}
	return ""
}

func (s *system) on(ctx context.Context) (bool, error) {
	var r systemResource
	if err := s.get(ctx, s.at, &r); err != nil {
		return false, err
	}
	if r.PowerState == "" {
		return false, faultf("unexpected_reply", "", "%s does not say whether system %s is on", s.address(), s.id)
	}
	return r.PowerState != "Off", nil
}

func (s *system) ask(ctx context.Context) error {
	way := s.way(gracefulWays...)
	if way == "" {
		return faultf("reset_missing", "", "%s offers only %s, nothing graceful", s.address(), strings.Join(s.allowed, ", "))
	}
	return s.reset(ctx, way)
}

func (s *system) force(ctx context.Context) error { return s.reset(ctx, "ForceOff") }

func (s *system) start(ctx context.Context) error {
	way := s.way("On", "ForceOn", "PushPowerButton")
	if way == "" {
		way = "On"
	}
	return s.reset(ctx, way)
}

func (s *system) reset(ctx context.Context, way string) error {
	address, err := s.resolve(s.target)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"ResetType": way})
	if err != nil {
		return err
	}
	a, err := s.service.post(ctx, address, string(body))
	if err != nil {
		return err
	}
	if a.status/100 != 2 {
		return fmt.Errorf("%s: %w", way, s.denied(http.MethodPost, address, a))
	}
	return nil
}

func (s *service) post(ctx context.Context, address, body string) (*webAnswer, error) {
	s.headers.Set("Content-Type", "application/json")
	defer s.headers.Del("Content-Type")
	return s.web.ask(ctx, http.MethodPost, address, body, maxOutput)
}

// accountTime bounds the look at the account: BMCs are slow, and it is a second opinion.
const accountTime = 5 * time.Second

// privilege looks up the account's role; nil where that is not visible. Source: DMTF
// DSP8011, which asks for ConfigureComponents to reset a system.
func (s *system) privilege(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, accountTime)
	defer cancel()
	role, privileges := s.role(ctx)
	if role == "" || len(privileges) == 0 || slices.Contains(privileges, "ConfigureComponents") {
		return nil
	}
	return faultf("privilege_missing", "give the account the role Operator or Administrator",
		"user %q of %s has the role %s, which may not switch the host", s.user, s.address(), line(role))
}

func (s *system) role(ctx context.Context) (name string, privileges []string) {
	var accounts struct{ Accounts link }
	var list collection
	if s.user == "" || s.root.AccountService.At == "" ||
		s.get(ctx, s.root.AccountService.At, &accounts) != nil || s.get(ctx, accounts.Accounts.At, &list) != nil {
		return "", nil
	}
	for _, m := range list.Members[:min(len(list.Members), maxMembers)] {
		var account struct {
			UserName, RoleID string
			Links            struct{ Role link }
		}
		if s.get(ctx, m.At, &account) != nil || account.UserName != s.user {
			continue
		}
		var role struct{ AssignedPrivileges []string }
		if s.get(ctx, account.Links.Role.At, &role) != nil {
			return "", nil
		}
		return account.RoleID, role.AssignedPrivileges
	}
	return "", nil
}
