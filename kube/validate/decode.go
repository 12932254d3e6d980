package validate

import (
	"fmt"
	"strings"

	kjson "sigs.k8s.io/json"

	"pavise.dev/pavise/api"
)

// decode reads an object as clients of the API server do: names of fields in their case, whole
// numbers as such. A field of the spec that is not known is refused, as by `check`: a rule
// without it would match more than was meant. It comes here where the resource in the cluster
// is newer than this program. What is not known of metadata is the API server's.
func decode(raw []byte, into api.Object) []api.Problem {
	switch {
	case len(raw) == 0:
		return []api.Problem{problem(api.CodeNotObject, "", "the request has no object")}
	case len(raw) > maxObject:
		return []api.Problem{problem(api.CodeTooLarge, "", fmt.Sprintf("the object has %d bytes and may have %d", len(raw), maxObject))}
	}
	strict, err := kjson.UnmarshalStrict(raw, into)
	if err != nil {
		return []api.Problem{problem(api.CodeType, "", "the object can't be read: "+api.StatusMessage(err.Error()))}
	}
	var out []api.Problem
	for _, e := range strict {
		// unknown field "spec.mod"
		_, field, _ := strings.Cut(e.Error(), `"`)
		field = strings.TrimSuffix(field, `"`)
		if field == "spec" || strings.HasPrefix(field, "spec.") {
			out = append(out, problem(api.CodeUnknownField, api.StatusMessage(field), "there is no such field, or it is given twice"))
		}
	}
	return out
}
