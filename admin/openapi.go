package admin

import (
	"encoding"
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// object is a JSON object with sorted keys.
type object = map[string]any

func serveOpenAPI(e *endpoint, w http.ResponseWriter, _ *http.Request) { reply(w, e.document()) }

// document describes routes by OpenAPI 3.1. The types of bodies and answers are described as
// encoding/json writes them.
func document(rs []route) object {
	s := schemas{components: object{}, names: map[reflect.Type]string{}}
	refusal := s.of(reflect.TypeFor[failure]())
	paths := object{}
	for i := range rs {
		r := &rs[i]
		responses := object{"200": answerOf(&s, r)}
		for status, when := range map[string]string{
			"400": "A parameter or the body cannot be taken as it stands; field names it.",
			"401": "No credentials were shown that are wanted here.",
			"403": "The request may be that of a page from elsewhere.",
			"404": "This process has no such thing.",
			"422": "The question cannot be answered as it stands; field names what to mend.",
			"429": "There were too many attempts with a wrong token from this address.",
			"500": "What is asked for cannot be read.",
			"503": "Not yet, or too much is asked at a time.",
		} {
			responses[status] = object{"description": when, "content": object{"application/json": object{"schema": refusal}}}
		}
		op := object{"summary": r.summary, "operationId": operation(r), "responses": responses}
		if ps := parametersOf(r); len(ps) > 0 {
			op["parameters"] = ps
		}
		if r.body != nil {
			op["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": s.of(reflect.TypeOf(r.body))}}}
		}
		at, _ := paths[r.path].(object)
		if at == nil {
			at = object{}
		}
		at[strings.ToLower(r.method)] = op
		paths[r.path] = at
	}
	s.components["failure"].(object)["description"] = "Why there is no answer."
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Pavise", "version": "v1",
			"description": "Read-only. A list has next where there is more: it is the cursor of the next page.",
		},
		"paths":      paths,
		"components": object{"schemas": s.components, "securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}}},
		// Either no credentials, where it is served so, or a token.
		"security": []any{object{}, object{"token": []any{}}},
	}
}

func answerOf(s *schemas, r *route) object {
	media, schema := r.media, any(object{"type": "string"})
	if media == "" {
		media = "application/json"
	}
	if _, text := r.answer.(string); !text {
		schema = s.of(reflect.TypeOf(r.answer))
	}
	return object{"description": r.summary, "content": object{media: object{"schema": schema}}}
}

func parametersOf(r *route) []any {
	var out []any
	for _, p := range r.parameters {
		schema, in := object{"type": "string"}, "query"
		switch {
		case p.number:
			schema = object{"type": "integer", "minimum": 1}
		case p.boolean:
			schema = object{"type": "boolean"}
		case p.enum != nil:
			schema["enum"] = p.enum
		case p.most > 0:
			schema["maxLength"] = p.most
		default:
			schema["maxLength"] = mostParameter
		}
		if p.inPath {
			in = "path"
		}
		one := object{"name": p.name, "in": in, "description": p.words, "schema": schema}
		if p.required {
			one["required"] = true
		}
		out = append(out, one)
	}
	return out
}

var notLetters = regexp.MustCompile(`[^A-Za-z]+`)

// operation is a name for generated clients, such as getWorkloadsNamespaceName.
func operation(r *route) string {
	name := strings.ToLower(r.method)
	for _, part := range notLetters.Split(strings.TrimPrefix(r.path, "/api/v1"), -1) {
		if part != "" {
			name += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return name
}

// enums are the values of types that have few.
var enums = map[reflect.Type][]string{
	reflect.TypeFor[policy.Verdict]():   {string(policy.Allowed), string(policy.Denied)},
	reflect.TypeFor[policy.Direction](): {string(policy.Ingress), string(policy.Egress)},
	reflect.TypeFor[policy.Tier]():      texts(policy.Tiers),
	reflect.TypeFor[anomaly.Kind]():     texts(anomaly.Kinds),
	reflect.TypeFor[anomaly.Severity](): texts(anomaly.Severities),
	reflect.TypeFor[Traffic]():          {string(NoTraffic), string(SomeTraffic), string(AllTraffic)},
	reflect.TypeFor[decisions.From]():   {string(decisions.Envoy), string(decisions.ExtAuthz), string(decisions.DNS)},
}

// schemas describes types. Structs become components.
type schemas struct {
	components object
	names      map[reflect.Type]string
}

var (
	timeType   = reflect.TypeFor[time.Time]()
	recordType = reflect.TypeFor[decisions.Record]() // writes itself, as its fields say
	textType   = reflect.TypeFor[encoding.TextMarshaler]()
	jsonType   = reflect.TypeFor[json.Marshaler]()
	policyType = reflect.TypeFor[api.AccessPolicy]()
)

func (s *schemas) of(t reflect.Type) object {
	if t.Kind() == reflect.Pointer {
		return s.of(t.Elem())
	}
	switch {
	case t == timeType || t.Name() == "Time" && strings.HasPrefix(t.PkgPath(), "k8s.io/"):
		return object{"type": "string", "format": "date-time"}
	case t == policyType:
		return object{"type": "object", "description": "An AccessPolicy, as it is written in YAML."}
	case enums[t] != nil:
		return object{"type": "string", "enum": enums[t]}
	case t == recordType:
	case t.Implements(jsonType) || reflect.PointerTo(t).Implements(jsonType):
		return object{}
	case t.Implements(textType) || reflect.PointerTo(t).Implements(textType):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Slice:
		// A nil slice without omitempty is null.
		return object{"type": []string{"array", "null"}, "items": s.of(t.Elem())}
	case reflect.Array:
		return object{"type": "array", "items": s.of(t.Elem()), "minItems": t.Len(), "maxItems": t.Len()}
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface {
			return object{"type": "object"}
		}
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.component(t)
	}
	return object{}
}

// component is a reference to the description of a struct.
func (s *schemas) component(t reflect.Type) object {
	name, known := s.names[t]
	if !known {
		name = strings.TrimPrefix(t.String(), "admin.")
		s.names[t] = name
		properties := object{}
		var required []string
		s.fields(t, properties, &required)
		c := object{"type": "object", "properties": properties}
		if len(required) > 0 {
			slices.Sort(required)
			c["required"] = required
		}
		s.components[name] = c
	}
	return object{"$ref": "#/components/schemas/" + name}
}

func (s *schemas) fields(t reflect.Type, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if f.Anonymous && name == "" {
			s.fields(f.Type, properties, required)
			continue
		}
		if name == "" {
			name = f.Name
		}
		if properties[name] = s.of(f.Type); !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}
