package dodai

import (
	"reflect"
	"strings"
	"unicode"
)

// Printable returns s with everything that is no visible character or blank replaced by
// U+FFFD: control characters (a terminal takes them for commands), bidirectional and
// other format characters (they make text read as what it is not), private and invalid
// ones. Line breaks and tabs become blanks. Devices are read over wires that anybody may
// hold, and their names end in logs, terminals and pagers.
func Printable(s string) string {
	if isPlain(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsPrint(r):
			return r
		default:
			return unicode.ReplacementChar
		}
	}, s)
}

// isPlain: s is nothing but visible ASCII characters and blanks, as nearly all texts are.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Printable returns a copy of r in which every text is Printable. r is not changed.
func (r *Reading) Printable() *Reading {
	c := *r
	printable(reflect.ValueOf(&c).Elem())
	return &c
}

// printable replaces what v holds by a copy with clean texts.
func printable(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); s != Printable(s) {
			v.SetString(Printable(s))
		}
	case reflect.Struct:
		if value, ok := v.Addr().Interface().(*Value); ok {
			value.text = Printable(value.text)
			return
		}
		for _, field := range v.Fields() {
			printable(field)
		}
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		list := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(list, v)
		for i := range list.Len() {
			printable(list.Index(i))
		}
		v.Set(list)
	case reflect.Map:
		if v.IsNil() {
			return
		}
		if vars, ok := v.Addr().Interface().(*Vars); ok {
			*vars = vars.printable()
			return
		}
		m := reflect.MakeMapWithSize(v.Type(), v.Len())
		for _, key := range v.MapKeys() {
			k, e := reflect.New(key.Type()).Elem(), reflect.New(v.Type().Elem()).Elem()
			k.Set(key)
			e.Set(v.MapIndex(key))
			printable(k)
			printable(e)
			m.SetMapIndex(k, e)
		}
		v.Set(m)
	}
}

// printable is what a reading of each second has most of, without reflection.
func (v Vars) printable() Vars {
	c := make(Vars, len(v))
	for name, value := range v {
		value.text = Printable(value.text)
		c[Printable(name)] = value
	}
	return c
}
