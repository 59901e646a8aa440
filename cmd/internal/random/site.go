package random

import (
	"time"

	"github.com/dodai-agent/dodai/agent/drill"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/sim/site"
)

// Outcome is what became of the host in a run.
type Outcome = site.Outcome

// Verdict is what the judge makes of it.
type Verdict = site.Verdict

// siteCase is a site of sim/site as a Case.
type siteCase struct{ *site.Site }

func newSite(seed uint64) Case { return siteCase{site.New(seed)} }

// Spec is the site as the player takes it.
func (c siteCase) Spec() drill.Spec {
	spec := drill.Spec{
		ID: c.ID(), Config: policyOf(c.Config()), PollLine: c.Config().PollLine,
		UPSes: c.UPSes(), Paths: c.Paths(), Links: c.Links(), PSUs: c.HasPSUs(), End: c.End(), Read: c.Read,
	}
	for _, h := range c.Happenings() {
		spec.Happenings = append(spec.Happenings, drill.Happening{At: h.At, What: h.What, Device: h.Device, Step: h.Step})
	}
	return spec
}

// policyOf is a site's policy; what the site does not say is the default.
func policyOf(c site.Config) policy.Config {
	p := policy.Default()
	p.Need, p.Reserve, p.PollBattS = c.Need, c.Reserve, *seconds(&c.PollBatt)
	p.MinSupplies, p.MinChargePct, p.IgnoreLB = c.MinSupplies, c.MinChargePct, c.IgnoreLB
	p.MaxOnBattS, p.CommsLostLineS, p.LBTrustS = seconds(c.MaxOnBatt), seconds(c.CommsLostLine), seconds(c.LBTrust)
	return p
}

// seconds is a duration in the policy's unit; nil stays nil.
func seconds(d *time.Duration) *policy.Seconds {
	if d == nil {
		return nil
	}
	return new(policy.Seconds(d.Seconds()))
}
