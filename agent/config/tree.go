package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxSize bounds a configuration file; a large site's is under 20 KiB.
	maxSize = 256 << 10
	// maxDepth bounds the nesting; the deepest key lies at 5.
	maxDepth = 16
)

// position is a place in the file; both count from 1, columns in characters.
type position struct{ line, column int }

func (p position) before(q position) bool {
	return p.line < q.line || p.line == q.line && p.column < q.column
}

func at(tk *token.Token) position {
	if tk == nil || tk.Position == nil {
		return position{1, 1}
	}
	return position{max(1, tk.Position.Line), max(1, tk.Position.Column)}
}

func nodeAt(n ast.Node) position {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		return nodeAt(m.Values[0].Key)
	}
	if n == nil {
		return position{1, 1}
	}
	return at(n.GetToken())
}

// tree parses data into the one document it may hold; nil where that is empty or
// where a problem was reported.
func (d *decoder) tree(data []byte) (root ast.Node) {
	text, ok := d.plainText(data)
	if !ok {
		return nil
	}
	defer func() { // the parser is a guest: a panic in it is a file it cannot read
		if r := recover(); r != nil {
			d.problem(position{1, 1}, "not readable as YAML", "a file in YAML", "mode: observe")
			root = nil
		}
	}()
	tokens := lexer.Tokenize(text)
	if !d.plain(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			return doc.Body
		}
	}
	return nil
}

// plainText checks what can be checked of bytes: length, encoding, control characters.
func (d *decoder) plainText(data []byte) (string, bool) {
	text := strings.TrimPrefix(string(data), "\ufeff")
	if len(text) > maxSize {
		d.problem(position{1, 1}, fmt.Sprintf("the file has %d bytes", len(text)), fmt.Sprintf("at most %d", maxSize), "a file of some kilobytes")
		return "", false
	}
	pos := position{1, 1}
	for i, r := range text {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(text[i:]); n <= 1 {
				d.problem(pos, fmt.Sprintf("byte 0x%02x is not UTF-8", text[i]), "a file in UTF-8", "ü as the bytes 0xc3 0xbc")
				return "", false
			}
		}
		if (r < ' ' && r != '\t' && r != '\n' && r != '\r') || r == 0x7f {
			d.problem(pos, fmt.Sprintf("control character 0x%02x", r), "plain text", `"\x07" in quotes where it is meant`)
			return "", false
		}
		pos.column++
		if r == '\n' {
			pos = position{pos.line + 1, 1}
		}
	}
	return text, true
}

// refused are the parts of YAML that make a file mean something else than it seems to
// say, or grow without end. None is needed here.
var refused = map[token.Type]string{
	token.AnchorType:     "an anchor (&)",
	token.AliasType:      "an alias (*)",
	token.TagType:        "a tag (!)",
	token.MappingKeyType: "a complex key (?)",
	token.MergeKeyType:   "a merge key (<<)",
	token.DirectiveType:  "a directive (%)",
}

// plain refuses what is not plain YAML before the parser sees it: the parser's effort
// grows with the square of the nesting.
func (d *decoder) plain(tokens token.Tokens) bool {
	before, content := len(d.problems), false
	depth, line, dashes := 0, 0, 0
	for _, tk := range tokens {
		if what, bad := refused[tk.Type]; bad {
			d.problem(at(tk), what, "the value itself, written out; in quotes where it is a text", `"*"`)
		}
		switch tk.Type {
		case token.CommentType:
			continue
		case token.DocumentHeaderType, token.DocumentEndType:
			if content && tk.Type == token.DocumentHeaderType {
				d.problem(at(tk), "a second document", "one document in a file", "no line with --- or ... below the first key")
			}
			continue
		case token.DirectiveType:
			return false // what follows belongs to it
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
		content = true
		if depth > maxDepth || dashes > maxDepth {
			d.problem(at(tk), fmt.Sprintf("nested more than %d deep", maxDepth), "the keys of this file", "mode: observe")
			return false
		}
	}
	return len(d.problems) == before
}

// syntax reports an error of the parser, without the source it quotes: that might be a
// password.
func (d *decoder) syntax(err error) {
	var e interface {
		error
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &e) {
		d.problem(position{1, 1}, "not readable as YAML", "a file in YAML", "mode: observe")
		return
	}
	message := strings.ReplaceAll(e.GetMessage(), "\t", "tab")
	d.problem(at(e.GetToken()), "not YAML: "+message, "keys and values, indented by blanks", "mode: observe")
}
