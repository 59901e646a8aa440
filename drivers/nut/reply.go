package nut

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dodai-agent/dodai/drivers"
)

// Bounds on what a server may send. upsd's own lines stay below 512 bytes, and the
// largest published device has some 160 variables.
const (
	maxLine  = 4096
	maxItems = 4096
	maxReply = 1 << 20 // bytes of one list
)

// newReader returns a reader whose buffer is the longest line taken.
func newReader(src io.Reader) *bufio.Reader { return bufio.NewReaderSize(src, maxLine) }

// readLine reads one line and takes it apart. size counts its bytes.
func readLine(r *bufio.Reader) (words []string, size int, err error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, 0, drivers.Protocol("line", line, fmt.Sprintf("an end of line within %d bytes", maxLine))
	case err != nil && len(line) > 0:
		return nil, 0, drivers.Unreachable(fmt.Errorf("nothing after %s, want the rest of the line: %w", drivers.Quote(line), err))
	case err != nil:
		return nil, 0, drivers.Unreachable(err)
	}
	words, err = splitWords(bytes.TrimSuffix(line, []byte("\n")))
	if err == nil && len(words) == 0 {
		err = drivers.Protocol("line", line, "a reply")
	}
	return words, len(line), err
}

// readAnswer reads a reply of one line. The error of an ERR line is a *serverError.
func readAnswer(r *bufio.Reader) ([]string, error) {
	words, _, err := readLine(r)
	if err == nil && words[0] == "ERR" {
		err = newServerError(words)
	}
	return words, err
}

// readOK reads the reply to a request that is granted with "OK" and perhaps more.
func readOK(r *bufio.Reader) error {
	_, err := readTracked(r)
	return err
}

// readTracked reads the reply to a request that is granted with "OK", or with "OK
// TRACKING id"; the id is empty where the server does not track.
func readTracked(r *bufio.Reader) (id string, err error) {
	words, err := readAnswer(r)
	switch {
	case err != nil:
		return "", err
	case words[0] != "OK":
		return "", drivers.Protocol("reply", []byte(joinWords(words...)), "OK or ERR")
	case len(words) == 3 && words[1] == "TRACKING" && validName(words[2]):
		id = words[2]
	}
	return id, nil
}

// readResult reads the reply to GET TRACKING id. A failure is a *serverError.
func readResult(r *bufio.Reader) (pending bool, err error) {
	words, err := readAnswer(r)
	switch {
	case err != nil:
		return false, err
	case len(words) == 1 && words[0] == "PENDING":
		return true, nil
	case len(words) == 1 && words[0] == "SUCCESS":
		return false, nil
	}
	return false, drivers.Protocol("reply to GET TRACKING", []byte(joinWords(words...)), "PENDING, SUCCESS or ERR")
}

// readValue reads the reply to GET VAR, TYPE or the like: the question's words and what
// stands behind them.
func readValue(r *bufio.Reader, question ...string) ([]string, error) {
	words, err := readAnswer(r)
	if err != nil {
		return nil, err
	}
	if len(words) <= len(question) || !equalWords(words[:len(question)], question) {
		return nil, drivers.Protocol("reply", []byte(joinWords(words...)), joinWords(question...)+" and a value")
	}
	return words[len(question):], nil
}

// readList reads the reply to LIST query and returns what stands behind the query's
// words in each item. A list that is not read to its end is an error: half a list is
// no list.
func readList(r *bufio.Reader, query ...string) ([][]string, error) {
	words, total, err := readLine(r)
	switch {
	case err != nil:
		return nil, err
	case words[0] == "ERR":
		return nil, newServerError(words)
	case !startsWith(words, "BEGIN", query):
		return nil, drivers.Protocol("reply", []byte(joinWords(words...)), "BEGIN LIST "+joinWords(query...))
	}
	var items [][]string
	for {
		words, size, err := readLine(r)
		if err != nil {
			return nil, fmt.Errorf("after %d items: %w", len(items), err)
		}
		total += size
		switch {
		case startsWith(words, "END", query):
			return items, nil
		case len(words) <= len(query) || !equalWords(words[:len(query)], query):
			return nil, drivers.Protocol("list item", []byte(joinWords(words...)), joinWords(query...)+" and a value, or END LIST")
		case len(items) == maxItems || total > maxReply:
			return nil, drivers.Protocol("list item", []byte(joinWords(words...)), fmt.Sprintf("END LIST within %d items and %d bytes", maxItems, maxReply))
		}
		items = append(items, words[len(query):])
	}
}

// startsWith reports whether words are `edge LIST query`.
func startsWith(words []string, edge string, query []string) bool {
	return len(words) == len(query)+2 && words[0] == edge && words[1] == "LIST" && equalWords(words[2:], query)
}

// equalWords compares as upsd does, without regard to case.
func equalWords(a, b []string) bool { return slices.EqualFunc(a, b, strings.EqualFold) }

// A variable is one line of LIST VAR.
type variable struct{ name, value string }

// readVars reads the reply to LIST VAR ups.
func readVars(r *bufio.Reader, ups string) ([]variable, error) {
	items, err := readList(r, "VAR", ups)
	if err != nil {
		return nil, err
	}
	vars := make([]variable, len(items))
	for i, item := range items {
		if len(item) != 2 || !validName(item[0]) {
			return nil, drivers.Protocol("list item", []byte(joinWords(item...)), "a variable's name and one value")
		}
		vars[i] = variable{item[0], item[1]}
	}
	return vars, nil
}

// readNames reads the reply to LIST UPS and returns the names.
func readNames(r *bufio.Reader) ([]string, error) {
	items, err := readList(r, "UPS")
	if err != nil {
		return nil, err
	}
	names := make([]string, len(items))
	for i, item := range items {
		if !validName(item[0]) {
			return nil, drivers.Protocol("list item", []byte(joinWords(item...)), "a UPS's name and description")
		}
		names[i] = item[0]
	}
	return names, nil
}

// validName reports whether s can be the name of a UPS or a variable: printable
// ASCII without blanks, of sane length.
func validName(s string) bool {
	outside := func(c rune) bool { return c <= ' ' || c > '~' }
	return s != "" && len(s) <= 128 && strings.IndexFunc(s, outside) < 0
}
