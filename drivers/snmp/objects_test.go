package snmp

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/sim/snmpups"
)

// objectFile is one of testdata/objects: what each object of a MIB means, by its number
// and unit there. A line has objects, "->", and everything the reading then says beyond
// an empty one. Objects lie below the file's prefix unless they begin with "1.3.6."; the
// line `base` and those that a line names first are added to it.
type objectFile struct {
	below string
	named map[string]objectLine
	lines []objectLine
}

type objectLine struct {
	text    string
	objects map[string]snmpups.Value
	says    map[string]string
}

var (
	pair      = regexp.MustCompile(`([^\s=]+)=("[^"]*"|\S+)`)
	namedLine = regexp.MustCompile(`^([a-z]+) *= (.*)`)
)

func readObjects(t *testing.T, path string) objectFile {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := objectFile{named: map[string]objectLine{}}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "below "); ok {
			f.below = rest
		} else if m := namedLine.FindStringSubmatch(line); m != nil {
			f.named[m[1]] = f.line(t, m[2])
		} else {
			f.lines = append(f.lines, f.line(t, line))
		}
	}
	return f
}

func (f *objectFile) line(t *testing.T, text string) objectLine {
	t.Helper()
	l := objectLine{text, map[string]snmpups.Value{}, map[string]string{}}
	left, right, ok := strings.Cut(text, "->")
	if !ok {
		t.Fatalf("%q: want objects -> meaning", text)
	}
	first, _, _ := strings.Cut(left, " ")
	for _, name := range []string{"base", first} {
		maps.Copy(l.objects, f.named[name].objects)
		maps.Copy(l.says, f.named[name].says)
	}
	for _, p := range pair.FindAllStringSubmatch(left, -1) {
		l.objects[f.oid(p[1])] = f.value(p[2])
	}
	for _, p := range pair.FindAllStringSubmatch(right, -1) {
		l.says[p[1]] = strings.Trim(p[2], `"`)
	}
	maps.DeleteFunc(l.says, func(_, text string) bool { return text == "" })
	return l
}

func (f *objectFile) oid(s string) string {
	if strings.HasPrefix(s, "1.3.6.") {
		return s
	}
	return f.below + s
}

// value is a number, t:TimeTicks, oid:POINTER, flags:N (64 flags, the Nth set), null or
// a text.
func (f *objectFile) value(s string) snmpups.Value {
	kind, rest, _ := strings.Cut(s, ":")
	n, err := strconv.ParseInt(strings.TrimPrefix(s, kind+":"), 10, 64)
	switch {
	case kind == "oid":
		return snmpups.Pointer(snmpups.MustOID(f.oid(rest)))
	case s == "null":
		return snmpups.Null()
	case kind == "t" && err == nil:
		return snmpups.Ticks(n)
	case kind == "flags" && err == nil:
		return snmpups.Text(strings.Repeat("0", int(n)-1) + "1" + strings.Repeat("0", 64-int(n)))
	case err == nil:
		return snmpups.Int(n)
	}
	return snmpups.Text(strings.Trim(s, `"`))
}

// said is everything a reading says, by name.
func said(r dodai.Reading, err error) map[string]string {
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	m := map[string]string{}
	for name, v := range r.Vars {
		m[name] = v.String()
	}
	for part, text := range identityMap(r.Device) {
		m["device."+part] = text
	}
	delete(m, "device.card_app_firmware") // card_firmware again
	m["ups.status"] = r.Status.String()
	maps.DeleteFunc(m, func(_, text string) bool { return text == "" })
	return m
}

// TestObjects asks for each object of each family as if the card had no other.
func TestObjects(t *testing.T) {
	for _, fam := range families {
		t.Run(fam.name, func(t *testing.T) {
			path := filepath.Join("testdata", "objects", fam.name+".txt")
			checkNames(t, fam, path)
			f := readObjects(t, path)
			agent := serve(t, nil)
			for _, l := range f.lines {
				var list []snmpups.Binding
				for oid, v := range l.objects {
					list = append(list, snmpups.Binding{OID: snmpups.MustOID(oid), Value: v})
				}
				agent.Load(list, false)
				r, err := openDriver(t, map[string]string{"address": agent.Addr()}).Poll(t.Context())
				got := said(r, err)
				if part, ok := l.says["error"]; ok && strings.Contains(got["error"], part) {
					continue
				}
				if diff := cmp.Diff(l.says, got); diff != "" {
					t.Errorf("%s\n-want +got:\n%s", l.text, diff)
				}
			}
		})
	}
}

// checkNames: every object of the family stands in its file, by its name in the MIB.
func checkNames(t *testing.T, fam *family, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range fam.source {
		names = append(names, s.from)
	}
	for _, g := range slices.Concat(fam.flags, fam.lost) {
		names = append(names, g.from)
	}
	for _, id := range fam.ident {
		names = append(names, id.from)
	}
	for _, r := range slices.Concat(fam.rows, tableRows(fam)) {
		names = append(names, r.from)
	}
	for _, name := range names {
		if !strings.Contains(string(data), "# "+name+"\n") {
			t.Errorf("%s is not in %s", name, path)
		}
	}
}

func tableRows(f *family) (list []row) {
	for _, t := range f.tables {
		list = append(list, t.rows...)
	}
	return list
}
