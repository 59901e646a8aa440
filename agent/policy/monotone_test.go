package policy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMoreBatteryIsNeverEarlierExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPlant(rt, true, rapid.IntRange(1, 2).Draw(rt, "packs"))
		for i := range p.Packs {
			if p.Wired && len(p.Packs) > 1 && !strings.Contains(p.Packs[i].Says, "r") {
				p.Packs[i].Says = "r"
			}
		}
		cfg := drawLimits(rt)
		times := rapid.Float64Range(1, biggest).Draw(rt, "times")
		which := rapid.IntRange(-1, len(p.Packs)-1).Draw(rt, "which")
		less, q := p.play(cfg), p.bigger(which, times)
		more := q.play(cfg)
		slack := 0.0
		if less.transfer {
			slack = slowConfirm.Seconds() + p.Poll
		}
		if more.at < less.at-slack && !less.unseen {
			rt.Fatalf("with %.2f times the battery in %d down at %g s (%s)\nnot at %g s (%s)\n%+v", times, which, more.at, more.why, less.at, less.why, p)
		}
	})
}

// drawLimits is a policy for a plant.
func drawLimits(t *rapid.T) Config {
	cfg := Default()
	cfg.Need = Seconds(rapid.IntRange(10, 400).Draw(t, "need")).D()
	cfg.MinChargePct = float64(rapid.IntRange(1, 60).Draw(t, "min charge"))
	cfg.NoMetricsOnBattS = rapid.SampledFrom([]Seconds{120, 3600}).Draw(t, "no metrics")
	cfg.IgnoreLB = rapid.Bool().Draw(t, "ignore_lb")
	cfg.LBTrustS = rapid.SampledFrom([]*Seconds{nil, new(Seconds(60))}).Draw(t, "trust")
	cfg.MaxOnBattS = rapid.SampledFrom([]*Seconds{nil, nil, new(Seconds(600))}).Draw(t, "max")
	return cfg
}
