// Package helmtest compares what Helm makes of the chart with what package install makes of
// it. It is a module of its own, since only tests need Helm.
package helmtest
