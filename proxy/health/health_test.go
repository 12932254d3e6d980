package health

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func get(h http.Handler) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil))
	return w.Code, w.Body.String()
}

// TestReadyNamesWhatIsMissing: one check that does not hold is enough, and a panic is one.
func TestReadyNamesWhatIsMissing(t *testing.T) {
	var policies, feeds error = errors.New("nothing is in force yet"), nil
	checks := []Check{
		{"policies", func() error { return policies }},
		{"feeds", func() error { return feeds }},
	}
	if code, body := get(Ready(checks...)); code != 503 || body != "policies: nothing is in force yet\n" {
		t.Errorf("%d %q", code, body)
	}
	policies = nil
	if code, body := get(Ready(checks...)); code != 200 || body != "ready\n" {
		t.Errorf("%d %q", code, body)
	}
	checks = append(checks, Check{"odd", func() error { panic("nobody thought of it") }})
	if code, body := get(Ready(checks...)); code != 503 || body != "odd: the check itself failed: nobody thought of it\n" {
		t.Errorf("%d %q", code, body)
	}
}

func TestOnce(t *testing.T) {
	err := errors.New("not yet")
	c := Once(Check{"first", func() error { return err }})
	if c.Holds() == nil {
		t.Error("it holds before it did")
	}
	err = nil
	if c.Holds() != nil {
		t.Error("it does not hold")
	}
	err = errors.New("gone")
	if c.Holds() != nil {
		t.Error("it held once")
	}
}

// TestMetricsOfBoth: one page that a scraper can read, whatever Envoy does.
func TestMetricsOfBoth(t *testing.T) {
	const good = "# TYPE envoy_x counter\nenvoy_x{a=\"b\"} 7\n"
	for _, c := range []struct {
		name  string
		envoy func(context.Context) (io.ReadCloser, error)
		has   bool
		fails float64
	}{
		{"none", nil, false, 0},
		{"good", page(strings.NewReader(good)), true, 0},
		{"away", func(context.Context) (io.ReadCloser, error) { return nil, errors.New("refused") }, false, 1},
		{"cut within a line", page(strings.NewReader(good + "# TYPE envoy_y counter\nenvoy_y{a=\"b")), true, 1},
		{"a line without an end", page(io.MultiReader(strings.NewReader(good), endless{})), true, 1},
		{"without an end", page(io.MultiReader(strings.NewReader(good), lines{})), true, 1},
	} {
		r := prometheus.NewRegistry()
		own := prometheus.NewCounter(prometheus.CounterOpts{Name: "pavise_own_total", Help: "x"})
		r.MustRegister(own)
		own.Inc()
		m := &Metrics{Own: r, Envoy: c.envoy, Failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "f"})}
		code, body := get(m)
		if code != 200 {
			t.Errorf("%s: %d", c.name, code)
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(body))
		if err != nil {
			t.Errorf("%s: a scraper reads: %v", c.name, err)
		}
		if families["pavise_own_total"] == nil || (families["envoy_x"] != nil) != c.has {
			t.Errorf("%s: %v", c.name, families)
		}
		if got := testutil.ToFloat64(m.Failed); got != c.fails {
			t.Errorf("%s: %v failures, want %v", c.name, got, c.fails)
		}
	}
}

func page(r io.Reader) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(r), nil }
}

// endless never ends a line, and lines never ends.
type (
	endless struct{}
	lines   struct{}
)

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func (lines) Read(p []byte) (int, error) {
	return copy(p, "# c\n"), nil
}
