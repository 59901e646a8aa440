package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"github.com/dodai-agent/dodai/drivers"
)

// decoder turns one file into a Config and collects what is wrong with it.
type decoder struct {
	file     string
	problems Problems
	warnings Problems
	cfg      *Config

	find  func(name string) (drivers.Factory, bool)
	names []string // of drivers, for a suggestion
	files *files   // nil: look at no other file

	devices     map[string]position // by name
	modeAt      position
	fedByAt     map[string]position // of the value of fed_by, by the name of the UPS
	wiringAt    []position          // of each of cfg.Wiring
	wiringBad   bool                // a line of it is missing there
	stepsAt     []stepPlace         // of each of cfg.Shutdown.Steps
	spans       []span              // of the step that is read
	minSupplies *position           // where policy.min_supplies was given
	loadShift   *position           // where policy.load_shift was given
	inline      position            // of a secret that stands in the file itself
}

func (d *decoder) problem(p position, what, want, example string) {
	d.problems = append(d.problems, Problem{File: d.file, Line: p.line, Column: p.column, What: what, Want: want, Example: example})
}

func (d *decoder) warn(p position, what, want, example string) {
	d.warnings = append(d.warnings, Problem{File: d.file, Line: p.line, Column: p.column, What: what, Want: want, Example: example})
}

// reader reads the value of one key.
type reader func(n ast.Node)

// field is one key of a mapping.
type field struct {
	key     string
	example string // a line of configuration
	read    reader
}

// object reads a mapping whose keys are known. A key with nothing behind it counts as
// an empty mapping. It returns where each key stands.
func (d *decoder) object(n ast.Node, where string, fields []field) map[string]position {
	seen := map[string]position{}
	entries, ok := d.entries(n, where, fields[0].example)
	if !ok {
		return seen
	}
	for _, e := range entries {
		pos := nodeAt(e.Key)
		key := e.Key.GetToken().Value
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
		if i < 0 {
			d.unknownKey(pos, key, where, fields)
			continue
		}
		if !d.twice(seen, key, pos) {
			fields[i].read(e.Value)
		}
	}
	return seen
}

func (d *decoder) entries(n ast.Node, where, example string) ([]*ast.MappingValueNode, bool) {
	switch v := n.(type) {
	case nil, *ast.NullNode:
		return nil, true
	case *ast.MappingNode:
		return v.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{v}, true
	}
	d.problem(nodeAt(n), fmt.Sprintf("%s is %s", where, describe(n)), "keys and values", example)
	return nil, false
}

func (d *decoder) twice(seen map[string]position, key string, pos position) bool {
	first, again := seen[key]
	if again {
		d.problem(pos, fmt.Sprintf("key %q again, after line %d", key, first.line), "each key once", key+": …")
	}
	seen[key] = pos
	return again
}

const (
	needExample  = "shutdown: {need: 120s, reserve: 60s}"
	fedByExample = "ups: [{name: rack, driver: nut, fed_by: room}]"
)

// moved tells where keys belong that are often looked for elsewhere, with an example.
var moved = map[string][2]string{
	"need_s": {"shutdown.need", needExample}, "reserve_s": {"shutdown.reserve", needExample}, "poll_line_s": {"poll of the device", needExample},
	"fed_by": {"fed_by of a device below ups", fedByExample},
}

func (d *decoder) unknownKey(pos position, key, where string, fields []field) {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	what := fmt.Sprintf("unknown key %q in %s", key, where)
	if to, ok := moved[key]; ok {
		d.problem(pos, what, to[0]+" instead", to[1])
		return
	}
	example := fields[0].example
	if i := slices.Index(keys, closest(key, keys)); i >= 0 {
		example = fields[i].example
	}
	d.problem(pos, what+Meant(key, keys), oneOf(keys), example)
}

// list reads a list, calling read for each item. Nothing behind the key is an empty
// list.
func (d *decoder) list(where, example string, read reader) reader {
	return func(n ast.Node) {
		switch v := n.(type) {
		case nil, *ast.NullNode:
		case *ast.SequenceNode:
			for _, item := range v.Values {
				read(item)
			}
		default:
			d.problem(nodeAt(n), fmt.Sprintf("%s is %s", where, describe(n)), "a list", example)
		}
	}
}

// texts reads a list of texts that is not empty.
func (d *decoder) texts(where, example string, into *[]string) reader {
	return func(n ast.Node) {
		d.list(where, example, func(item ast.Node) {
			var s string
			d.anyText("an item of "+where, `"text"`, &s)(item)
			*into = append(*into, s)
		})(n)
		if seq, ok := n.(*ast.SequenceNode); ok && len(seq.Values) == 0 || isNull(n) {
			d.problem(nodeAt(n), where+" is empty", "a list with at least one item", example)
		}
	}
}

// text reads a text that is not empty and has no control characters.
func (d *decoder) text(where, example string, into *string) reader {
	return func(n ast.Node) {
		s, ok := d.scalar(n, where, "a text", example)
		switch {
		case !ok:
		case s == "" || strings.ContainsFunc(s, unicode.IsControl):
			d.problem(nodeAt(n), fmt.Sprintf("%s is %q", where, s), "a text of one line", example)
		default:
			*into = s
		}
	}
}

// anyText reads any text, the empty one too, but no zero byte: no program can be given
// one.
func (d *decoder) anyText(where, example string, into *string) reader {
	return func(n ast.Node) {
		s, ok := d.scalar(n, where, "a text", example)
		if ok && strings.ContainsRune(s, 0) {
			d.problem(nodeAt(n), fmt.Sprintf("%s is %q", where, s), "a text without a zero byte", example)
			return
		}
		if ok {
			*into = s
		}
	}
}

// choice reads one of a few words.
func (d *decoder) choice(where string, choices []string, into func(string)) reader {
	return func(n ast.Node) {
		s, ok := d.scalar(n, where, oneOf(choices), choices[0])
		if !ok {
			return
		}
		if !slices.Contains(choices, s) {
			d.problem(nodeAt(n), fmt.Sprintf("%s is %q%s", where, s, Meant(s, choices)), oneOf(choices), choices[0])
			return
		}
		into(s)
	}
}

// duration reads a duration from lo to hi.
func (d *decoder) duration(where string, lo, hi time.Duration, example string, into *Duration) reader {
	want := fmt.Sprintf("a duration from %s to %s", formatDuration(lo), formatDuration(hi))
	return func(n ast.Node) {
		s, ok := d.scalar(n, where, want, example)
		if !ok {
			return
		}
		switch t, err := parseDuration(s); {
		case err == errNoUnit:
			if _, tooLong := parseDuration(s + "s"); tooLong == nil && !strings.HasPrefix(s, "-") && s != "0" {
				example = s + "s"
			}
			d.problem(nodeAt(n), fmt.Sprintf("%s is %s, a number without a unit", where, s), want, example)
		case err != nil || t < lo || t > hi:
			d.problem(nodeAt(n), fmt.Sprintf("%s is %q", where, s), want, example)
		default:
			*into = Duration(t)
		}
	}
}

// number reads a plain decimal number from lo to hi.
func (d *decoder) number(where, unit string, lo, hi float64, example string, into *float64) reader {
	want := fmt.Sprintf("a number from %g to %g", lo, hi)
	if unit != "" {
		want = fmt.Sprintf("a number of %s from %g to %g", unit, lo, hi)
	}
	return func(n ast.Node) {
		s, ok := d.scalar(n, where, want, example)
		if !ok {
			return
		}
		f, err := plainNumber(n, s)
		if err != nil || f < lo || f > hi {
			d.problem(nodeAt(n), fmt.Sprintf("%s is %q", where, s), want, example)
			return
		}
		*into = f
	}
}

// whole reads a whole number from lo to hi.
func (d *decoder) whole(where string, lo, hi int, example string, into *int) reader {
	return func(n ast.Node) {
		before, f := len(d.problems), 0.0
		d.number(where, "", float64(lo), float64(hi), example, &f)(n)
		switch {
		case len(d.problems) > before:
		case f != float64(int(f)):
			d.problem(nodeAt(n), fmt.Sprintf("%s is %v", where, f), "a whole number", example)
		default:
			*into = int(f)
		}
	}
}

// plainNumber takes what every reader takes for the same number: no octal or
// hexadecimal, no underscore, no exponent, no quotes.
func plainNumber(n ast.Node, s string) (float64, error) {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
	default:
		return 0, errNotTime
	}
	whole := strings.TrimPrefix(s, "-")
	if strings.Trim(whole, "0123456789.") != "" || (len(whole) > 1 && whole[0] == '0' && whole[1] != '.') {
		return 0, errNotTime
	}
	return strconv.ParseFloat(s, 64)
}

// truth reads true or false.
func (d *decoder) truth(where string, into *bool) reader {
	return func(n ast.Node) {
		b, ok := n.(*ast.BoolNode)
		if !ok {
			d.problem(nodeAt(n), fmt.Sprintf("%s is %s", where, describe(n)), "true or false", "true")
			return
		}
		*into = b.Value
	}
}

// scalar returns a single value as it is written in the file.
func (d *decoder) scalar(n ast.Node, where, want, example string) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case nil, *ast.NullNode:
		d.problem(nodeAt(n), where+" has no value", want, example)
	default:
		d.problem(nodeAt(n), fmt.Sprintf("%s is %s", where, describe(n)), want, example)
	}
	return "", false
}

func isNull(n ast.Node) bool {
	_, null := n.(*ast.NullNode)
	return n == nil || null
}

// describe names what stands in the place of something else.
func describe(n ast.Node) string {
	switch n.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return "true or false"
	case *ast.StringNode, *ast.LiteralNode:
		return "a text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	}
	return "something else"
}
