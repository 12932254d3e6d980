package injector

import (
	"bytes"
	"os"
	"testing"
)

// FuzzInjectYAML catches a panic, documents that are lost, and an output that a second run
// refuses or changes.
func FuzzInjectYAML(f *testing.F) {
	in, err := os.ReadFile("testdata/yaml/in.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(in)
	f.Add([]byte("---\n--- {kind: Pod, apiVersion: v1, spec: {containers: [{name: a}]}}\n---\r\nkind: PodList\nitems: [{kind: Pod, apiVersion: v1}]"))
	f.Add([]byte("kind: Pod\napiVersion: v1\nmetadata: null\nspec: {containers: null, volumes: []}"))
	f.Add([]byte("kind: List\nitems: null\n--- |\n ---\n---x\n"))
	c := config(f, "rootContainers: Ignore", "default")
	f.Fuzz(func(t *testing.T, text []byte) {
		var once, twice bytes.Buffer
		if _, err := InjectYAML(c, true, bytes.NewReader(text), &once); err != nil {
			return
		}
		if _, err := InjectYAML(c, true, bytes.NewReader(once.Bytes()), &twice); err != nil || !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Errorf("a second run: %v\n%s\n%s", err, &once, &twice)
		}
	})
}

// BenchmarkInject is what a pod costs the webhook, but for reading and writing the review.
func BenchmarkInject(b *testing.B) {
	text, err := os.ReadFile("testdata/probes.yaml")
	if err != nil {
		b.Fatal(err)
	}
	c, in := config(b, "", "default"), Input{Pod: pod(b, string(text)), Namespace: enabled(), Native: true}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Patch(in.Pod, inject(b, c, in).Pod); err != nil {
			b.Fatal(err)
		}
	}
}
