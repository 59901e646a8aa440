package agent

import (
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// explaining are the fields of an event that the log shows beside its text, in this order.
var explaining = []string{"rule", "reason", "ups", "available_s", "need_s", "reserve_s", "margin_s", "evidence"}

// decisionAttrs are the facts behind a decision as attributes of a log line; nil for an
// event that is none.
func decisionAttrs(ev dodai.Event) []any {
	if _, decided := ev.Fields["rule"]; !decided {
		return nil
	}
	var attrs []any
	for _, key := range explaining {
		if v, ok := ev.Fields[key]; ok {
			attrs = append(attrs, key, v)
		}
	}
	return attrs
}

// feedEdges are the changes of mind that take no machine down: a feed that will not last, or
// is gone, while the others carry the host, and one that counts again. They are told from
// what is remembered, so that a restart of the agent tells none of them twice.
func feedEdges(was *policy.Decision, before policy.Memory, now *policy.Decision, after policy.Memory) []dodai.Event {
	var events []dodai.Event
	for i := range now.UPSes {
		v := &now.UPSes[i]
		old, mem := was.UPS(v.UPS), after.UPS[v.UPS]
		bad := v.Lost || doomed(mem.Doomed)
		wasBad := doomed(before.UPS[v.UPS].Doomed) || old != nil && old.Lost
		lostUnseen := old == nil && !doomed(mem.Doomed) // it may have been so before the agent started
		switch {
		case bad == wasBad, !mem.Read.Set:
		case !bad:
			fields := now.FieldsOf(v)
			fields["before"] = string(wasFor(before.UPS[v.UPS].Doomed))
			events = append(events, dodai.Event{Name: dodai.EventFeedRecovered, Device: v.UPS, Fields: fields,
				Text: v.UPS + " counts again: " + v.Why + "; " + now.Summary})
		case !now.Shutdown && !lostUnseen:
			events = append(events, dodai.Event{Name: dodai.EventFeedDoomed, Device: v.UPS, Fields: now.FieldsOf(v),
				Text: v.UPS + " does not count any more (rule " + string(v.Rule) + "): " + v.Why + "; " + now.Summary})
		}
	}
	return events
}

// wasFor is why a feed did not count: it was doomed, or else lost.
func wasFor(r policy.Reason) policy.Reason {
	if doomed(r) {
		return r
	}
	return policy.ReasonPathOutage
}

func doomed(r policy.Reason) bool { return r != "" && r != policy.ReasonNone }

// EvidenceStatus is one reading that the decision used.
type EvidenceStatus struct {
	Device string  `json:"device"`
	Name   string  `json:"name"`  // NUT variable, "ups.status", "psu.ID.input", "psu.ID.state"
	Value  string  `json:"value"` // as the device has it
	AgeS   float64 `json:"age_s"` // at the time of the status
}

// evidenceStatus is the evidence of a decision, aged to now.
func evidenceStatus(d *policy.Decision, now time.Duration) []EvidenceStatus {
	out := make([]EvidenceStatus, len(d.Evidence))
	for i, e := range d.Evidence {
		out[i] = EvidenceStatus{e.Device, e.Name, e.Value, (e.Age + max(0, now-d.At)).Seconds()}
	}
	return out
}
