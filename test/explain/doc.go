// Package explain holds explanations to what was enforced: what a live Envoy decided on random
// requests, and what is then said of the records that it left.
package explain
