// Package arch holds the direction of imports, as a test: who may know what. It has no
// code.
package arch
