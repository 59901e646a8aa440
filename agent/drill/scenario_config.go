package drill

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/goccy/go-yaml/ast"
)

// defaultReserve is the part of need_s that is reserve.
const defaultReserve = 60 * time.Second

// config reads the overrides: the keys of the policy, need_s, reserve_s and poll_line_s,
// the site, and how the file is played.
func (p *scenarioParser) config(n ast.Node) {
	var reserve, wiring, links ast.Node
	keys := map[string]func(ast.Node){
		"ups": p.upses,
		"need_s": func(n ast.Node) {
			need := p.seconds(n, 0, scenarioMaxS, "seconds a shutdown needs, the reserve included")
			p.s.Config.Reserve = min(defaultReserve, need)
			p.s.Config.Need = need - p.s.Config.Reserve
		},
		"reserve_s":   func(n ast.Node) { reserve = n },
		"wiring":      func(n ast.Node) { wiring = n },
		"links":       func(n ast.Node) { links = n },
		"play":        p.mode,
		"poll_line_s": func(n ast.Node) { p.s.PollLine = p.seconds(n, 0.01, 86400, "seconds between polls") },
	}
	v := reflect.ValueOf(&p.s.Config).Elem()
	for i := range v.NumField() {
		if key := v.Type().Field(i).Tag.Get("yaml"); key != "" && key != "-" {
			keys[key] = func(n ast.Node) { p.policyKey(n, key, v.Field(i)) }
		}
	}
	p.object(n, "the policy's overrides", keys)
	if reserve != nil { // a part of need_s, wherever that stands
		need := p.s.Config.Need + p.s.Config.Reserve
		p.s.Config.Reserve = p.seconds(reserve, 0, need.Seconds(), "the part of need_s that is reserve")
		p.s.Config.Need = need - p.s.Config.Reserve
	}
	if wiring != nil {
		p.wiring(wiring)
	}
	if links != nil {
		p.links(links)
	}
}

// mode reads how the file is played where nothing else is said.
func (p *scenarioParser) mode(n ast.Node) {
	m := &p.s.Mode
	p.object(n, "the way to play", map[string]func(ast.Node){
		"seed":        func(n ast.Node) { m.Seed = p.whole(n, "the seed") },
		"jitter":      func(n ast.Node) { m.Jitter = p.truth(n) },
		"clock_steps": func(n ast.Node) { m.ClockSteps = p.truth(n) },
		"fail_rate": func(n ast.Node) {
			m.FailRate = p.number(n, 0, 1, "the share of reads that fail")
			if m.FailRate >= 1 {
				p.fail(n, "every read fails", "less than 1")
			}
		},
	})
}

func (p *scenarioParser) policyKey(n ast.Node, key string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(p.truth(n))
	case reflect.Pointer:
		if isNull(n) {
			v.SetZero()
			return
		}
		v.Set(reflect.ValueOf(new(policy.Seconds(p.number(n, 0, scenarioMaxS, key+" in seconds, or null")))))
	case reflect.Int:
		f := p.number(n, 1, 64, "a whole number")
		if p.err == nil && f != math.Trunc(f) {
			p.fail(n, fmt.Sprintf("%s is %g", key, f), "a whole number")
		}
		v.SetInt(int64(f))
	default:
		lo, hi := 0.0, float64(scenarioMaxS)
		if strings.HasSuffix(key, "_pct") {
			hi = 100
		}
		if key == "poll_batt_s" || key == "retry_s" {
			lo = 0.01
		}
		v.SetFloat(p.number(n, lo, hi, key))
	}
}

func (p *scenarioParser) upses(n ast.Node) {
	nodes := p.list(n, "a list of UPS ids")
	if p.err == nil && (len(nodes) == 0 || len(nodes) > scenarioMaxUPSes) {
		p.fail(n, fmt.Sprintf("%d UPSes", len(nodes)), fmt.Sprintf("1 to %d", scenarioMaxUPSes))
		return
	}
	p.s.UPSes = nil
	seen := map[string]bool{}
	for _, n := range nodes {
		id := p.text(n, "a UPS id")
		if p.err == nil && (id == "" || seen[id] || strings.ContainsAny(id, ": ")) {
			p.fail(n, fmt.Sprintf("UPS id %q", id), "a name of its own, without blanks and colons")
		}
		seen[id] = true
		p.s.UPSes = append(p.s.UPSes, id)
	}
}
