package health

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

const (
	// maxEnvoy bounds what is passed on of Envoy's metrics, in octets.
	maxEnvoy = 16 << 20
	// envoyPatience bounds the wait for them.
	envoyPatience = 5 * time.Second
)

// Metrics serves what this process counts and, behind it, what Envoy does, in the text
// format of Prometheus, version 0.0.4. envoy opens Envoy's page; nil if there is none. A
// page that cannot be had, or is longer than 16 MiB, is left out from there on and counted.
type Metrics struct {
	Own prometheus.Gatherer
	// Envoy opens /stats/prometheus.
	Envoy func(context.Context) (io.ReadCloser, error)
	// Failed counts the pages of Envoy that were not had whole.
	Failed prometheus.Counter
	// Logger may be nil.
	Logger *slog.Logger
}

// ServeHTTP implements http.Handler.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	families, err := m.Own.Gather()
	if err != nil && m.Logger != nil {
		m.Logger.Error("some metrics could not be collected", "error", err)
	}
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	w.Header().Set("Content-Type", string(format))
	out := bufio.NewWriter(w)
	defer out.Flush()
	enc := expfmt.NewEncoder(out, format)
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return // the client has gone
		}
	}
	if m.Envoy == nil {
		return
	}
	if err := m.copyEnvoy(r.Context(), out); err != nil {
		m.Failed.Inc()
		if m.Logger != nil {
			m.Logger.Warn("Envoy's metrics are not on the page", "error", err)
		}
	}
}

// copyEnvoy copies whole lines only: half a line would spoil the page.
func (m *Metrics) copyEnvoy(ctx context.Context, out *bufio.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, envoyPatience)
	defer cancel()
	page, err := m.Envoy(ctx)
	if err != nil {
		return err
	}
	defer page.Close()
	lines := bufio.NewReader(io.LimitReader(page, maxEnvoy+1))
	for total := 0; ; {
		line, err := lines.ReadSlice('\n')
		if err == io.EOF {
			if len(line) > 0 {
				return fmt.Errorf("it ends within a line, after %d octets", total)
			}
			return nil
		}
		if err != nil {
			return err
		}
		if total += len(line); total > maxEnvoy {
			return fmt.Errorf("it has more than %d octets", maxEnvoy)
		}
		if _, err := out.Write(line); err != nil {
			return nil // the client has gone
		}
	}
}
