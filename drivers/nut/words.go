package nut

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/dodai-agent/dodai/drivers"
)

// maxWords is how many words a line may have; upsd keeps as many of a request.
const maxWords = 32

// blanks separate words. A line ending in CR LF is as good as one ending in LF.
const blanks = " \t\r"

// splitWords takes a line apart by the rules of RFC 9271, section 4.2: words stand
// between blanks, a word in double quotes may hold blanks, a backslash makes the next
// character literal, '#' outside quotes starts a comment and '=' outside quotes is a
// word of its own. Control characters inside quotes are dropped, as upsd does. The
// error wraps drivers.ErrProtocol.
func splitWords(line []byte) ([]string, error) {
	var words []string
	for rest := line; ; {
		rest = bytes.TrimLeft(rest, blanks)
		if len(rest) == 0 || rest[0] == '#' {
			return words, nil
		}
		if len(words) == maxWords {
			return nil, drivers.Protocol("line", line, fmt.Sprintf("at most %d words", maxWords))
		}
		word, tail, problem := nextWord(rest)
		if problem != "" {
			return nil, drivers.Protocol("line", line, problem)
		}
		words, rest = append(words, word), tail
	}
}

// nextWord takes one word off the front of b, which is not empty and starts with no
// blank. What is wrong with it is told as what was wanted instead.
func nextWord(b []byte) (word string, rest []byte, want string) {
	switch b[0] {
	case '=':
		return "=", b[1:], ""
	case '"':
		return quotedWord(b[1:])
	default:
		return bareWord(b)
	}
}

func quotedWord(b []byte) (word string, rest []byte, want string) {
	var w strings.Builder
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			rest = b[i+1:]
			if len(rest) > 0 && !strings.ContainsRune(blanks, rune(rest[0])) {
				return "", nil, "a blank after the closing quote"
			}
			return w.String(), rest, ""
		case c == '\\':
			i++
			if i == len(b) {
				return "", nil, "a character after the backslash"
			}
			writePrintable(&w, b[i])
		default:
			writePrintable(&w, c)
		}
	}
	return "", nil, "a closing quote"
}

func bareWord(b []byte) (word string, rest []byte, want string) {
	var w strings.Builder
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '=' || c == '#' || strings.IndexByte(blanks, c) >= 0:
			return w.String(), b[i:], ""
		case c == '"':
			return "", nil, "a blank before the opening quote"
		case c == '\\':
			i++
			if i == len(b) {
				return "", nil, "a character after the backslash"
			}
			writePrintable(&w, b[i])
		case isControl(c):
			return "", nil, "no control character outside quotes"
		default:
			w.WriteByte(c)
		}
	}
	return w.String(), nil, ""
}

func isControl(c byte) bool { return c < 0x20 || c == 0x7f }

func writePrintable(w *strings.Builder, c byte) {
	if !isControl(c) {
		w.WriteByte(c)
	}
}

// joinWords writes words as a line without its end. A word is quoted where it has to
// be, with '"', '\' and '#' escaped. Words must hold no control characters.
func joinWords(words ...string) string {
	var line strings.Builder
	for i, word := range words {
		if i > 0 {
			line.WriteByte(' ')
		}
		writeWord(&line, word)
	}
	return line.String()
}

var escaper = strings.NewReplacer(`"`, `\"`, `\`, `\\`, `#`, `\#`)

func writeWord(line *strings.Builder, word string) {
	if word != "" && !strings.ContainsAny(word, "\"\\#= \t") {
		line.WriteString(word)
		return
	}
	line.WriteByte('"')
	escaper.WriteString(line, word)
	line.WriteByte('"')
}
