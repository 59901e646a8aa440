package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// mask stands in the place of a secret.
const mask = "********"

// MarshalJSON writes the checked configuration with its defaults filled in, in the
// shape of the file, durations as the file spells them. Secrets are masked.
func (c *Config) MarshalJSON() ([]byte, error) { return json.Marshal(tree(c, true)) }

// Spell writes the same with its secrets, so that Parse reads the same configuration
// from it: JSON is YAML.
func (c *Config) Spell() ([]byte, error) {
	text, err := json.MarshalIndent(tree(c, false), "", "  ")
	return bytes.ReplaceAll(text, []byte{0x7f}, []byte(`\u007f`)), err // JSON lets it stand, plain text does not
}

func tree(c *Config, hide bool) any {
	shown := *c
	if hide {
		for _, list := range []*[]Device{&shown.UPS, &shown.Arrays, &shown.Disks, &shown.PSUs, &shown.PDUs} {
			*list = maskAll(*list)
		}
		shown.Shutdown.Steps = slices.Clone(c.Shutdown.Steps)
		for i := range shown.Shutdown.Steps {
			shown.Shutdown.Steps[i].HTTP = maskHTTP(shown.Shutdown.Steps[i].HTTP)
		}
	}
	return plain(reflect.ValueOf(shown))
}

func maskAll(devices []Device) []Device {
	masked := slices.Clone(devices)
	for i, dev := range masked {
		opts := make(map[string]string, len(dev.Options))
		for key, value := range dev.Options {
			opts[key] = maskURL(value)
			if slices.Contains(dev.SecretKeys, key) {
				opts[key] = mask
			}
		}
		masked[i].Address, masked[i].Options = maskURL(dev.Address), opts
	}
	return masked
}

func maskHTTP(h *HTTP) *HTTP {
	if h == nil {
		return nil
	}
	masked := *h
	masked.URL, masked.Check, masked.Undo = maskURL(h.URL), maskURL(h.Check), maskHTTP(h.Undo)
	masked.Headers = maps.Clone(h.Headers)
	for name := range masked.Headers {
		if secretHeader.MatchString(name) {
			masked.Headers[name] = mask
		}
	}
	return &masked
}

var userinfo = regexp.MustCompile(`://[^/?#]*@`)

// maskURL hides a user and password that stand in a URL.
func maskURL(s string) string { return userinfo.ReplaceAllString(s, "://"+mask+"@") }

// plain turns a value into maps, lists and scalars under the names of its json tags,
// durations as text.
func plain(v reflect.Value) any {
	if d, ok := v.Interface().(Duration); ok {
		return d.String()
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Struct:
		return plainStruct(v)
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i))
		}
		return list
	default:
		return v.Interface()
	}
}

func plainStruct(v reflect.Value) map[string]any {
	m := map[string]any{}
	for i := range v.NumField() {
		name, option, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		f := v.Field(i)
		if v.Type().Field(i).Anonymous {
			maps.Copy(m, plainStruct(f))
			continue
		}
		empty := f.IsZero() || option != "omitzero" && (f.Kind() == reflect.Slice || f.Kind() == reflect.Map) && f.Len() == 0
		if name == "-" || (option != "" && empty) {
			continue
		}
		m[name] = plain(f)
	}
	return m
}
