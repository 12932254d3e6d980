package injector

import (
	"encoding/json"
	"fmt"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"pgregory.net/rapid"
)

// applied is the second list as the patch makes it of the first.
func applied(t *rapid.T, a, b []any) string {
	var d differ
	d.value("", map[string]any{"l": a}, map[string]any{"l": b})
	raw, err := json.Marshal(map[string]any{"l": a})
	if err != nil {
		t.Fatal(err)
	}
	ops, err := json.Marshal(d.ops)
	if err != nil {
		t.Fatal(err)
	}
	if d.ops == nil {
		ops = []byte("[]")
	}
	p, err := jsonpatch.DecodePatch(ops)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Apply(raw)
	if err != nil {
		t.Fatalf("%s on %s: %v", ops, raw, err)
	}
	var got struct{ L []any }
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(fmt.Sprint(got.L), "<nil>", "")
}
