package simulate_test

import (
	"context"
	"testing"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/admin/simulate"
	"pavise.dev/pavise/admin/simulate/flowgen"
	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/policygen"
)

// BenchmarkRun is 10,000 flows against 50 rules, many of which ask for headers.
func BenchmarkRun(b *testing.B) {
	g := policygen.New(7)
	set, ask := flowgen.Random(g)
	more, _ := flowgen.Random(g)
	var proposed []api.Object
	for _, p := range more.AccessPolicies {
		proposed = append(proposed, p)
	}
	recorded := make([]flows.Flow, 10_000)
	for i := range recorded {
		l, req := ask()
		recorded[i] = flowgen.Record(l, req, l.Evaluate(req))
	}
	b.ReportAllocs()
	for b.Loop() {
		res, err := simulate.Run(context.Background(), set, proposed, recorded, simulate.Options{})
		if err != nil || res.Refused {
			b.Fatal(err, res)
		}
	}
}
