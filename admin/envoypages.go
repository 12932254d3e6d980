package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/internal/secret"
)

// HasEnvoy is a Source with an Envoy beside it.
type HasEnvoy interface {
	// EnvoyConfig is what Envoy's own admin endpoint answers to /config_dump.
	EnvoyConfig(context.Context) ([]byte, error)
}

// EnvoyResources is a page of what an Envoy has.
type EnvoyResources struct {
	Resources []EnvoyResource `json:"resources"`
	// Next is the cursor of the next page; empty on the last.
	Next string `json:"next,omitempty"`
}

// EnvoyResource is one resource in Envoy's own JSON.
type EnvoyResource struct {
	// Type is the name of the list in a config_dump, such as dynamic_listeners.
	Type string `json:"type"`
	Name string `json:"name,omitempty"`
	// Resource as Envoy shows it. Secrets are "[redacted]".
	Resource any `json:"resource"`
}

func noEnvoy(s Source) string {
	if _, ok := s.(HasEnvoy); !ok {
		return "this process has no Envoy beside it: ask an agent, or `pavise run`"
	}
	return ""
}

func serveEnvoy(e *endpoint, w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	most, err := limit(v)
	from := 0
	if c := v.Get("cursor"); c != "" && err == nil {
		if from, err = strconv.Atoi(c); err != nil || from < 1 || strconv.Itoa(from) != c {
			err = &flows.FieldError{Field: "cursor", Message: "it is the next of an earlier page"}
		}
	}
	if err != nil {
		parameter400(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), e.timeout)
	defer cancel()
	dump, err := e.source.(HasEnvoy).EnvoyConfig(ctx)
	if err != nil {
		fail(w, http.StatusServiceUnavailable, "Envoy does not answer")
		return
	}
	all, err := resourcesOf(dump)
	if err != nil {
		fail(w, http.StatusInternalServerError, "what Envoy answers is no config_dump")
		return
	}
	all = slices.DeleteFunc(all, func(x EnvoyResource) bool {
		return v.Get("type") != "" && x.Type != v.Get("type") || v.Get("name") != "" && x.Name != v.Get("name")
	})
	page := EnvoyResources{Resources: []EnvoyResource{}}
	if from < len(all) {
		page.Resources = all[from:min(len(all), from+most)]
	}
	if from+most < len(all) {
		page.Next = strconv.Itoa(from + most)
	}
	reply(w, page)
}

// resourcesOf takes a config_dump apart, in its order.
func resourcesOf(dump []byte) ([]EnvoyResource, error) {
	var d struct {
		Configs []map[string]any `json:"configs"`
	}
	decoder := json.NewDecoder(bytes.NewReader(dump))
	decoder.UseNumber()
	if err := decoder.Decode(&d); err != nil {
		return nil, err
	}
	var out []EnvoyResource
	for _, c := range d.Configs {
		for _, field := range sortedKeys(c) {
			switch x := c[field].(type) {
			case []any:
				for _, one := range x {
					redact(one)
					out = append(out, EnvoyResource{field, nameOf(one, 0), one})
				}
			case map[string]any: // the bootstrap
				redact(x)
				out = append(out, EnvoyResource{Type: field, Resource: x})
			}
		}
	}
	return out, nil
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// nameOf looks for the name of a resource, which for some is a few levels down.
func nameOf(v any, depth int) string {
	m, ok := v.(map[string]any)
	if !ok || depth > 2 {
		return ""
	}
	if s, isText := m["name"].(string); isText {
		return s
	}
	for _, k := range sortedKeys(m) {
		if s := nameOf(m[k], depth+1); s != "" {
			return s
		}
	}
	return ""
}

// redact replaces texts in fields that may hold secrets, and the values of headers of such names.
func redact(v any) {
	switch x := v.(type) {
	case []any:
		for _, one := range x {
			redact(one)
		}
	case map[string]any:
		name, _ := x["key"].(string) // of a header
		for field, value := range x {
			_, text := value.(string)
			if text && (secret.Names(field) || secret.Names(name) && field != "key") {
				x[field] = secret.Redacted
				continue
			}
			redact(value)
		}
	}
}
