package drill

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dodai-agent/dodai"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	scenarioMaxBytes = 16 << 20
	scenarioMaxDepth = 12
)

// SyntaxError is a mistake in a scenario file.
type SyntaxError struct {
	File string
	Line int // from 1
	Col  int // from 1, in characters
	Got  string
	Want string
}

// Error reads "S05.yaml:5:12: ramp of two numbers: want [from, to, seconds]".
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s: want %s", e.File, e.Line, e.Col, e.Got, e.Want)
}

// reader reads YAML and keeps the first mistake; after one it reads nothing more.
type reader struct {
	file string
	err  error
}

func (r *reader) fail(n ast.Node, got, want string) {
	var tk *token.Token
	if n != nil {
		tk = n.GetToken()
	}
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		tk = m.Values[0].Key.GetToken()
	}
	r.failAt(tk, got, want)
}

func (r *reader) failAt(tk *token.Token, got, want string) {
	if r.err != nil {
		return
	}
	e := &SyntaxError{File: r.file, Line: 1, Col: 1, Got: got, Want: want}
	if tk != nil && tk.Position != nil {
		e.Line, e.Col = max(1, tk.Position.Line), max(1, tk.Position.Column)
	}
	r.err = e
}

// document parses the one document of the file.
func (r *reader) document(data []byte) (root ast.Node) {
	switch {
	case len(data) > scenarioMaxBytes:
		r.failAt(nil, "too long a file", fmt.Sprintf("at most %d bytes", scenarioMaxBytes))
		return nil
	case !utf8.Valid(data):
		r.failAt(nil, "not UTF-8", "a scenario in UTF-8")
		return nil
	}
	defer func() { // a panic of the parser is a file that cannot be read
		if recover() != nil {
			r.failAt(nil, "not readable as YAML", "a scenario in YAML")
			root = nil
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if !r.plain(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		var at yaml.Error
		if errors.As(err, &at) {
			r.failAt(at.GetToken(), at.GetMessage(), "YAML")
		} else {
			r.failAt(nil, strings.SplitN(err.Error(), "\n", 2)[0], "YAML")
		}
		return nil
	}
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case root != nil:
			r.fail(doc.Body, "a second document", "one scenario in a file")
			return nil
		default:
			root = doc.Body
		}
	}
	if root == nil {
		r.failAt(nil, "an empty file", "id, timeline and expect")
	}
	return root
}

// plain refuses the parts of YAML that make a file mean something else than it seems
// to say, and nesting that costs the parser its time.
func (r *reader) plain(tokens token.Tokens) bool {
	depth, line, dashes := 0, 0, 0
	for _, tk := range tokens {
		switch tk.Type {
		case token.AnchorType, token.AliasType, token.TagType, token.MappingKeyType, token.MergeKeyType, token.DirectiveType:
			r.failAt(tk, fmt.Sprintf("%q", tk.Value), "the value itself, written out")
		case token.InvalidType:
			r.failAt(tk, cmp.Or(tk.Error, "not readable as YAML"), "YAML")
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType:
			if tk.Position.Line != line {
				line, dashes = tk.Position.Line, 0
			}
			dashes++
		}
		if depth > scenarioMaxDepth || dashes > scenarioMaxDepth || tk.Position.IndentNum > 200 {
			r.failAt(tk, "too deep a nesting", "a plain list")
		}
		if r.err != nil {
			return false
		}
	}
	return true
}

// pair is one key of a mapping.
type pair struct {
	key   ast.Node
	name  string
	value ast.Node
}

func (r *reader) pairs(n ast.Node, want string) []pair {
	if r.err != nil {
		return nil
	}
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		r.fail(n, describe(n), want)
		return nil
	}
	out := make([]pair, 0, len(values))
	for _, kv := range values {
		key, ok := kv.Key.(*ast.StringNode)
		if !ok {
			r.fail(kv.Key, "a key that is "+describe(kv.Key), want)
			return nil
		}
		out = append(out, pair{kv.Key, key.Value, kv.Value})
	}
	return out
}

// object reads a mapping of known keys, each once, and returns how many there were.
func (r *reader) object(n ast.Node, what string, keys map[string]func(ast.Node)) int {
	seen := map[string]bool{}
	for _, kv := range r.pairs(n, what+" with "+list(keys)) {
		read, ok := keys[kv.name]
		switch {
		case !ok:
			r.fail(kv.key, fmt.Sprintf("unknown key %q", kv.name), list(keys))
		case seen[kv.name]:
			r.fail(kv.key, fmt.Sprintf("%q a second time", kv.name), "each key once")
		}
		if r.err != nil {
			return len(seen)
		}
		seen[kv.name] = true
		read(kv.value)
	}
	return len(seen)
}

func list(keys map[string]func(ast.Node)) string {
	return strings.Join(slices.Sorted(maps.Keys(keys)), ", ")
}

func (r *reader) list(n ast.Node, want string) []ast.Node {
	if r.err != nil {
		return nil
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		r.fail(n, describe(n), want)
		return nil
	}
	return seq.Values
}

func (r *reader) text(n ast.Node, want string) string {
	if r.err != nil {
		return ""
	}
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	}
	r.fail(n, describe(n), want+", as text")
	return ""
}

func (r *reader) truth(n ast.Node) bool {
	if r.err != nil {
		return false
	}
	if b, ok := n.(*ast.BoolNode); ok {
		return b.Value
	}
	r.fail(n, describe(n), "true or false")
	return false
}

func (r *reader) number(n ast.Node, lo, hi float64, want string) float64 {
	if r.err != nil {
		return lo
	}
	f, ok := numberOf(n)
	if !ok || math.IsNaN(f) || f < lo || f > hi {
		r.fail(n, describe(n), fmt.Sprintf("%s, a number from %g to %g", want, lo, hi))
		return lo
	}
	return f
}

func numberOf(n ast.Node) (float64, bool) {
	switch n := n.(type) {
	case *ast.IntegerNode:
		switch v := n.Value.(type) {
		case int64:
			return float64(v), true
		case uint64:
			return float64(v), true
		}
	case *ast.FloatNode:
		return n.Value, true
	}
	return 0, false
}

// whole reads a whole number of 64 bits, which a number of reader would round.
func (r *reader) whole(n ast.Node, want string) uint64 {
	if r.err != nil {
		return 0
	}
	if i, ok := n.(*ast.IntegerNode); ok {
		switch v := i.Value.(type) {
		case int64:
			if v >= 0 {
				return uint64(v)
			}
		case uint64:
			return v
		}
	}
	r.fail(n, describe(n), want+", a whole number from 0 to 2^64-1")
	return 0
}

func (r *reader) seconds(n ast.Node, lo, hi float64, want string) time.Duration {
	return time.Duration(math.Round(r.number(n, lo, hi, want) * float64(time.Second)))
}

// value reads a variable's value: a number, a text, or null for an absent variable.
func (r *reader) value(n ast.Node) (v dodai.Value, absent bool) {
	if f, ok := numberOf(n); ok {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			r.fail(n, describe(n), "a finite number")
		}
		return dodai.Num(f), false
	}
	if isNull(n) {
		return dodai.Value{}, true
	}
	if s, ok := n.(*ast.StringNode); ok && !isTrap(s) {
		return dodai.Text(s.Value), false
	}
	r.fail(n, describe(n), `a number, a text or null; words such as "OFF" and "ON" in quotes`)
	return dodai.Value{}, false
}

// isTrap reports whether s is a bare word that other readers of YAML take for a truth
// value.
func isTrap(s *ast.StringNode) bool {
	if tk := s.GetToken(); tk.Type == token.SingleQuoteType || tk.Type == token.DoubleQuoteType {
		return false
	}
	switch strings.ToLower(s.Value) {
	case "on", "off", "yes", "no", "y", "n":
		return true
	}
	return false
}

func isNull(n ast.Node) bool {
	_, ok := n.(*ast.NullNode)
	return ok
}

// describe names what stands in the file, for a mistake.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case nil:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "null"
	case *ast.BoolNode:
		return fmt.Sprintf("the truth value %v", n.Value)
	case *ast.StringNode:
		return fmt.Sprintf("the text %.40q", n.Value)
	default:
		return fmt.Sprintf("%.40q", n.GetToken().Value)
	}
}
