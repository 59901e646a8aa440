package snmp

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gosnmp/gosnmp"

	"github.com/dodai-agent/dodai/drivers"
)

// value is what an object answered. The zero value is no answer: noSuchObject,
// noSuchInstance, the NULL that several makes send for what they do not measure, and
// types no UPS uses.
type value struct {
	kind valueKind
	num  float64 // isNumber
	text string  // isText; for isPointer the identifier without a leading dot
}

type valueKind uint8

const (
	isAbsent valueKind = iota
	isNumber
	isText
	isPointer // an OBJECT IDENTIFIER
)

// varbind is one object of an answer.
type varbind struct {
	oid string // dotted, without a leading dot
	val value
}

// fromPDU reads gosnmp's form of a variable binding.
func fromPDU(p gosnmp.SnmpPDU) varbind {
	return varbind{oid: strings.TrimPrefix(p.Name, "."), val: valueOf(p)}
}

func valueOf(p gosnmp.SnmpPDU) value {
	switch v := p.Value.(type) {
	case int:
		return number(float64(v))
	case uint:
		return unsigned(uint64(v))
	case uint32:
		return unsigned(uint64(v))
	case uint64:
		return unsigned(v)
	case float32:
		return number(float64(v))
	case float64:
		return number(v)
	case []byte:
		return value{kind: isText, text: cleanText(v)}
	case string:
		if p.Type == gosnmp.ObjectIdentifier {
			return value{kind: isPointer, text: strings.TrimPrefix(v, ".")}
		}
	}
	return value{}
}

// unsigned takes a Gauge32 from 2^31 on for the negative number it was meant to be:
// 4294967295 is a card's -1.
func unsigned(u uint64) value {
	if u >= 1<<31 && u < 1<<32 {
		return number(float64(int32(uint32(u))))
	}
	return number(float64(u))
}

func number(f float64) value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return value{}
	}
	return value{kind: isNumber, num: f}
}

// float is the value as a number, whatever type the agent gave it: some cards send
// numbers as text.
func (v value) float() (float64, bool) {
	switch v.kind {
	case isNumber:
		return v.num, true
	case isText:
		f, err := drivers.ParseNumber([]byte(v.text), -math.MaxFloat64, math.MaxFloat64)
		return f, err == nil
	default:
		return 0, false
	}
}

// maxText bounds a text taken from a card. Real ones have up to 255 octets.
const maxText = 256

// cleanText makes a card's octets fit for a log and a screen: valid UTF-8, nothing
// unprintable, no blanks or zero bytes around it.
func cleanText(b []byte) string {
	if len(b) > maxText {
		b = b[:maxText]
	}
	s := strings.ToValidUTF8(string(b), "")
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.TrimRight(s, "\x00"))
	return strings.TrimSpace(s)
}

// noText are the words that cards write where they have nothing to say. The list is
// compared without regard to case.
// Sources: PowerNet MIB ("UNKNOWN", "notsupported", "noTempSensorInstalled");
// unprogrammed serial numbers and factory dates as seen on APC and Eaton cards.
var noText = map[string]bool{
	"": true, "unknown": true, "notsupported": true, "not supported": true, "n/a": true, "na": true, "none": true,
	"notempsensorinstalled": true, "--": true, "-": true, "null": true, "<private>": true, "anonymized": true,
	"ups_iden": true, "01/01/2001": true, "01/01/01": true, "2001-01-01": true, "1980/01/01": true, "01/01/1980": true,
	"default string": true, "123456789": true,
}

// words is the value as text, and false where it is a placeholder.
func (v value) words() (string, bool) {
	if v.kind != isText || noText[strings.ToLower(v.text)] || isFilling(v.text) {
		return "", false
	}
	return v.text, true
}

// isFilling reports text of four or more equal characters F, 0, X or ?: an erased or
// unprogrammed memory.
func isFilling(s string) bool {
	return len(s) >= 4 && strings.ContainsAny(s[:1], "Ff0Xx?*") && strings.Trim(s, s[:1]) == ""
}

// holes are raw numbers that mean "no value", each with the place it was seen.
var holes = map[float64]bool{
	-1:         true,                   // documented in PowerNet; Riello, Huawei, Sentry
	65534:      true,                   // Socomec
	65535:      true,                   // Socomec: minutes, current, power
	655350:     true,                   // 65535 in tenths, Socomec
	2147483647: true, 4294967295: true, // -1 in another type
	-2147483648: true,
	-2731:       true, // 0 K in tenths of a degree, Megatec
	-273:        true, // no temperature sensor, Tripp Lite
}

// ticksHoles are those of an object in hundredths of a second, where 65535 is a time.
var ticksHoles = map[float64]bool{-1: true, 2147483647: true, 4294967295: true, -2147483648: true}
