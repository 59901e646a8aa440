// Command sbom prints what a Go program is made of, as a CycloneDX 1.6 document: its modules
// with their versions and checksums, and the standard library, as the linker has written
// them into it. The same program gives the same bytes.
//
//	sbom PROGRAM VERSION
//
// SOURCE_DATE_EPOCH is the document's date, in seconds since 1970; without it there is none.
package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom PROGRAM VERSION")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1], os.Args[2], os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

type document struct {
	Schema       string       `json:"$schema"`
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp,omitempty"`
	Component component `json:"component"`
}

type component struct {
	Ref        string     `json:"bom-ref"`
	Type       string     `json:"type"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Licenses   []license  `json:"licenses,omitempty"`
	PURL       string     `json:"purl"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

type license struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

func run(w io.Writer, program, version, epoch string) error {
	data, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	doc := bill(info, version)
	sum := sha256.Sum256(data)
	doc.Metadata.Component.Hashes = []hash{{"SHA-256", hex.EncodeToString(sum[:])}}
	if epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH is %q, want seconds since 1970", epoch)
		}
		doc.Metadata.Timestamp = time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(doc)
}

// bill is the document but for what the file itself and the date say.
func bill(info *debug.BuildInfo, version string) document {
	doc := document{Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", Spec: "1.6", Version: 1}
	app := component{Type: "application", Name: path.Base(info.Path), Version: version}
	app.PURL = purl(info.Main.Path, version)
	app.Ref = app.PURL
	app.Licenses = make([]license, 1)
	app.Licenses[0].License.ID = "Apache-2.0"
	for _, s := range info.Settings {
		if strings.HasPrefix(s.Key, "GO") || s.Key == "CGO_ENABLED" {
			app.Properties = append(app.Properties, property{"go:build:" + s.Key, s.Value})
		}
	}
	doc.Metadata.Component = app
	release := strings.TrimPrefix(info.GoVersion, "go")
	doc.Components = append(doc.Components, component{Type: "library", Name: "std", Version: release, PURL: purl("std", release)})
	for _, m := range info.Deps {
		doc.Components = append(doc.Components, module(m))
	}
	slices.SortFunc(doc.Components, func(a, b component) int { return cmp.Compare(a.PURL, b.PURL) })
	all := dependency{Ref: app.Ref}
	for i := range doc.Components {
		doc.Components[i].Ref = doc.Components[i].PURL
		all.DependsOn = append(all.DependsOn, doc.Components[i].Ref)
	}
	doc.Dependencies = []dependency{all}
	return doc
}

// module is one that was linked, or what took its place.
func module(m *debug.Module) component {
	for m.Replace != nil {
		m = m.Replace
	}
	c := component{Type: "library", Name: m.Path, Version: m.Version, PURL: purl(m.Path, m.Version)}
	if m.Sum != "" {
		c.Properties = []property{{"go:sum", m.Sum}}
	}
	return c
}

func purl(module, version string) string {
	if version == "" {
		return "pkg:golang/" + module
	}
	return "pkg:golang/" + module + "@" + strings.ReplaceAll(version, "+", "%2B")
}
