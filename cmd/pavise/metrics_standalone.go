package main

import (
	"github.com/prometheus/client_golang/prometheus"
)

// standaloneMetrics reads what the parts of a process of run count when it is asked, under the
// names that agents use.
type standaloneMetrics struct{ s *standalone }

// Describe says nothing, which makes it an unchecked collector: what there is depends on the
// feeds.
func (standaloneMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m standaloneMetrics) Collect(ch chan<- prometheus.Metric) {
	c, s := collector{ch}, m.s
	up, st := s.envoyUp.State(), s.server.Status(node)
	c.gauge(descEnvoyUp, truth(up.PID != 0))
	c.counter(descEnvoyRestarts, float64(up.Restarts))
	c.counter(descDenied, float64(s.denied.Load()))
	c.gauge(descInForce, truth(st.InForce() && st.Connected))
	c.counter(descNACKs, float64(st.NACKs), "envoy")
	c.feeds(s.feeds.status())
	if s.feeds.get() != nil {
		in, _ := s.feedsInForce() // why it is not in force, the status says
		c.gauge(descModule, truth(in != nil && in.Digest != ""))
		if in != nil {
			c.counter(descPanics, float64(in.Panics))
			c.hits("envoy", in.Hits)
		}
		c.hits("dns", s.feeds.engine.Hits())
	}
	if s.resolver != nil {
		c.resolver(s.resolver)
	}
	if s.decisions != nil {
		c.decisions(s.decisions.Stats())
	}
	c.lately(s.lately)
}
