// Package crd has the tests of the custom resources: what their schemas refuse and accept beside
// what `check` does, in process and on a real API server.
package crd
