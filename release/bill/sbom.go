package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// The fields of CycloneDX 1.5 that are used (cyclonedx.org/docs/1.5/json).
type (
	document struct {
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Serial       string       `json:"serialNumber"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Type       string      `json:"type"`
		Reference  string      `json:"bom-ref"`
		Name       string      `json:"name"`
		Version    string      `json:"version,omitempty"`
		Hashes     []hash      `json:"hashes,omitempty"`
		Licenses   []license   `json:"licenses,omitempty"`
		Package    string      `json:"purl,omitempty"`
		Properties []property  `json:"properties,omitempty"`
		Components []component `json:"components,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	license struct {
		Expression string `json:"expression"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Reference string   `json:"ref"`
		On        []string `json:"dependsOn,omitempty"`
	}
)

// newBill describes the release: its programs with their hashes, and what each
// of them links. Its serial number is made of its content, so that the same
// release has the same.
func newBill(version string, at time.Time, programs []string, parts []*part) ([]byte, error) {
	d := document{
		Format: "CycloneDX", Spec: "1.5", Version: 1,
		Metadata: metadata{at.Format(time.RFC3339), component{Type: "application", Reference: "bulkhead", Name: "bulkhead", Version: version}},
	}
	whole := dependency{Reference: "bulkhead"}
	for _, program := range programs {
		text, err := os.ReadFile(program)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		name := filepath.Base(program)
		d.Components = append(d.Components, component{
			Type: "application", Reference: "program:" + name, Name: name, Version: version,
			Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
		})
		whole.On = append(whole.On, "program:"+name)
		links := dependency{Reference: "program:" + name}
		for _, p := range parts {
			for _, in := range p.in {
				if in == name {
					links.On = append(links.On, p.purl())
				}
			}
		}
		d.Dependencies = append(d.Dependencies, links)
	}
	d.Dependencies = append([]dependency{whole}, d.Dependencies...)
	for _, p := range parts {
		c := component{
			Type: "library", Reference: p.purl(), Name: p.name, Version: p.version, Package: p.purl(), Licenses: []license{{p.license}},
		}
		if p.sum != "" {
			c.Properties = []property{{"go:h1", p.sum}} // of go.sum: a sum of sums, no file's
		}
		d.Components = append(d.Components, c)
	}
	text, err := marshal(d)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	id := sum[:16]
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8 of RFC 9562: made by a rule of one's own
	d.Serial = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	return marshal(d)
}

func marshal(d document) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(d)
	return b.Bytes(), err
}

// purl is the part's package URL.
func (p *part) purl() string {
	if p.kind == "deb" {
		return "pkg:deb/debian/" + packages[p.name] + "@" + url.QueryEscape(p.version)
	}
	return "pkg:golang/" + p.name + "@" + p.version
}
