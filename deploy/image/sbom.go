package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// modulesOf is the Go modules in a binary, and Go itself, as its build information has them.
func modulesOf(path string) ([]part, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	parts := []part{{"go", info.GoVersion, "go.dev"}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		parts = append(parts, part{m.Path, m.Version, "Go module"})
	}
	return parts, nil
}

// bill is the list of what is in an image, as SPDX 2.3 has it. Its time is fixed and its
// namespace a hash of the parts, so that the same parts give the same octets.
func bill(c contents) ([]byte, error) {
	parts := append([]part{{"pavise", c.version, "pavise.dev/pavise"}}, c.parts...)
	slices.SortFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.version, b.version), cmp.Compare(a.origin, b.origin))
	})
	parts = slices.Compact(parts)
	type relation struct {
		From string `json:"spdxElementId"`
		Kind string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
	type pkg struct {
		Name     string `json:"name"`
		ID       string `json:"SPDXID"`
		Version  string `json:"versionInfo"`
		Download string `json:"downloadLocation"`
		Source   string `json:"sourceInfo"`
		Analyzed bool   `json:"filesAnalyzed"`
	}
	sum := sha256.New()
	packages, relations := []pkg{}, []relation{}
	for i, p := range parts {
		fmt.Fprintf(sum, "%q", p)
		id := fmt.Sprintf("SPDXRef-%d", i)
		packages = append(packages, pkg{p.name, id, p.version, "NOASSERTION", p.origin, false})
		relations = append(relations, relation{"SPDXRef-DOCUMENT", "DESCRIBES", id})
	}
	out, err := json.MarshalIndent(map[string]any{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "pavise/" + c.name,
		"documentNamespace": "https://pavise.dev/sbom/" + c.name + "/" + hex.EncodeToString(sum.Sum(nil)),
		"creationInfo":      map[string]any{"created": "1970-01-01T00:00:00Z", "creators": []string{"Tool: pavise-image-" + c.version}},
		"packages":          packages, "relationships": relations,
	}, "", " ")
	return append(out, '\n'), err
}
