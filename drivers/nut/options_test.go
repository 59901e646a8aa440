package nut

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/drivers"
	"github.com/goccy/go-yaml"
)

func TestAddresses(t *testing.T) {
	tests := []struct{ in, address, ups string }{
		{"192.0.2.1:3493/ups", "192.0.2.1:3493", "ups"},
		{"192.0.2.1:4000", "192.0.2.1:4000", ""},
		{"192.0.2.1", "192.0.2.1:3493", ""},
		{"nas.example/qnapups", "nas.example:3493", "qnapups"},
		{"ups@nas.example", "nas.example:3493", "ups"},
		{"ups@nas.example:4000", "nas.example:4000", "ups"},
		{"[2001:db8::1]:4000/u-1", "[2001:db8::1]:4000", "u-1"},
		{"[2001:db8::1]", "[2001:db8::1]:3493", ""},
		{"2001:db8::1/ups", "[2001:db8::1]:3493", "ups"},
	}
	for _, test := range tests {
		address, ups, err := splitAddress(test.in)
		if err != nil || address != test.address || ups != test.ups {
			t.Errorf("splitAddress(%q) = %q, %q, %v, want %q, %q", test.in, address, ups, err, test.address, test.ups)
		}
	}
	for _, in := range []string{"", "/ups", "host:0", "host:65536", "host:x", "host:-1", "host:", ":3493", "host/", "host/a b", "a@host/b", "@host", "a:b:c", "ho st"} {
		if address, ups, err := splitAddress(in); err == nil {
			t.Errorf("splitAddress(%q) = %q, %q, want an error", in, address, ups)
		}
	}
}

func TestOptions(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, opts, key string }{ // an empty key: accepted
		{"least", "", ""},
		{"name", "ups=u1", ""},
		{"same name twice", "address=h/u1 ups=u1", ""},
		{"login", "username=u password=p login=yes", ""},
		{"names differ", "address=h/u1 ups=u2", "ups"},
		{"name not ASCII", "ups=ü", "ups"},
		{"no address", "address=", "address"},
		{"login without user", "login=yes", "username"},
		{"password without user", "password=p", "username"},
		{"user without password", "username=u", "password"},
		{"password not ASCII", "username=u password=gehéim", "password"},
		{"password too long", "username=u password=" + strings.Repeat("p", 513), "password"},
		{"user not ASCII", "username=ü password=p", "username"},
		{"login neither", "login=maybe", "login"},
		{"tls neither", "tls=starttls", "tls"},
		{"insecure neither", "tls=try tls_insecure=perhaps", "tls_insecure"},
		{"cafile without tls", "cafile=" + empty, "tls"},
		{"insecure without tls", "tls_insecure=yes", "tls"},
		{"cafile missing", "tls=try cafile=/nonexistent/ca.pem", "cafile"},
		{"cafile without certificate", "tls=require cafile=" + empty, "cafile"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opts := map[string]string{"address": "127.0.0.1:1"}
			for field := range strings.FieldsSeq(test.opts) {
				key, value, _ := strings.Cut(field, "=")
				opts[key] = value
			}
			_, err := Factory.Open("device1", opts, nil)
			wrong, _ := errors.AsType[*drivers.OptionError](err)
			switch {
			case test.key == "" && err != nil, test.key != "" && (wrong == nil || wrong.Key != test.key):
				t.Errorf("Open(%s): %v, want an error about %q", test.opts, err, test.key)
			case err != nil && strings.Contains(err.Error(), "gehéim"):
				t.Errorf("error %q shows the password", err)
			}
		})
	}
}

// TestDocumentedConfiguration opens what the driver's page shows.
func TestDocumentedConfiguration(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "drivers", "nut.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(page), "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	var config struct {
		UPS []struct {
			Name, Driver, Address, Poll string
			Options                     map[string]string
		}
	}
	if err := yaml.UnmarshalWithOptions([]byte(block), &config, yaml.Strict()); err != nil || len(config.UPS) != 2 {
		t.Fatalf("%d UPSes, %v", len(config.UPS), err)
	}
	_, ca := certificate(t, "192.0.2.1")
	for _, ups := range config.UPS {
		opts := map[string]string{"address": ups.Address}
		for key, value := range ups.Options {
			switch key {
			case "password_file":
				opts["password"] = "what the file holds"
			case "cafile":
				opts[key] = ca
			default:
				opts[key] = value
			}
		}
		if _, err := Factory.Open(ups.Name, opts, nil); err != nil || ups.Driver != "nut" {
			t.Errorf("%s with driver %q: %v", ups.Name, ups.Driver, err)
		}
	}
	for _, o := range Factory.Options {
		if !strings.Contains(string(page), "`"+o.Key+"`") {
			t.Errorf("option %s is not on the page", o.Key)
		}
	}
}
