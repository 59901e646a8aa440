package dummy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// The words of the vocabulary that package dodai keeps no list of.
var (
	kinds      = []dodai.Kind{dodai.KindUPS, dodai.KindPDU, dodai.KindATS, dodai.KindArrays, dodai.KindDisks, dodai.KindPSUs}
	inputs     = []dodai.InputState{dodai.InputOK, dodai.InputLost, dodai.InputOutOfRange, dodai.InputUnknown}
	redundancy = []dodai.RedundancyState{
		dodai.RedundancyFull, dodai.RedundancyDegraded, dodai.RedundancyLost, dodai.RedundancyNone,
		dodai.RedundancyInsufficient, dodai.RedundancyUnknown,
	}
	activities = []dodai.Activity{
		dodai.ActivityNone, dodai.ActivityCheck, dodai.ActivityResync, dodai.ActivityRecover, dodai.ActivityReshape,
		dodai.ActivityReplace, dodai.ActivityInit, dodai.ActivityDelayed, dodai.ActivityPending, dodai.ActivityFrozen,
	}
	healths     = []dodai.Health{dodai.HealthOK, dodai.HealthAttention, dodai.HealthFailed, dodai.HealthUnknown}
	protections = []string{"optimal", "charging", "degraded", "failed", "absent", "unknown"}
	driveStates = []dodai.DriveState{
		dodai.DriveOnline, dodai.DriveRebuilding, dodai.DriveSpareGlobal, dodai.DriveSpare, dodai.DriveFailed, dodai.DriveOffline,
		dodai.DriveMissing, dodai.DriveForeign, dodai.DriveGood, dodai.DriveBad, dodai.DriveJBOD, dodai.DriveReplacing,
		dodai.DriveJournal, dodai.DriveJournalFailed,
	}
)

// vocabulary returns an error that wraps ErrProtocol for the first word that no other
// driver would say: whatever it was meant to be, it would be taken for something else,
// or for nothing.
func vocabulary(r dodai.Reading) error {
	var c checker
	word(&c, "kind", r.Kind, kinds)
	for i, p := range r.PSUs {
		word(&c, at("psus", i, "state"), p.State, dodai.PSUStates)
		optional(&c, at("psus", i, "input"), p.Input, inputs)
	}
	for i, g := range r.Redundancy {
		word(&c, at("redundancy", i, "state"), g.State, redundancy)
	}
	for i, a := range r.Arrays {
		word(&c, at("arrays", i, "state"), a.State, dodai.ArrayStates)
		optional(&c, at("arrays", i, "activity"), a.Activity, activities)
	}
	for i, k := range r.Controllers {
		word(&c, at("controllers", i, "health"), k.Health, healths)
		optional(&c, at("controllers", i, "cache_protection"), k.CacheProtection, protections)
	}
	for i, d := range r.Drives {
		word(&c, at("drives", i, "state"), d.State, driveStates)
	}
	for i, d := range r.Disks {
		word(&c, at("disks", i, "verdict"), d.Verdict, dodai.Verdicts)
	}
	return c.err
}

func at(list string, i int, key string) string { return fmt.Sprintf("%s[%d].%s", list, i, key) }

// checker keeps the first thing that is wrong.
type checker struct{ err error }

// word checks a word that has to be there.
func word[S ~string](c *checker, where string, got S, words []S) {
	if c.err != nil || slices.Contains(words, got) {
		return
	}
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = string(w)
	}
	c.err = drivers.Protocol(where, []byte(got), "one of "+strings.Join(list, ", "))
}

// optional checks a word that may be left out.
func optional[S ~string](c *checker, where string, got S, words []S) {
	if got != "" {
		word(c, where, got, words)
	}
}
