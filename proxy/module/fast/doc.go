//go:build cgo

// Package fast is the part of package snapshot that says no, in C: whether any feed lists
// an address or a name, on a thread that Go knows nothing of. A call from such a thread
// into Go costs more than ten of these look-ups, and nearly every answer is no.
//
// contains.h answers, snapshot.c maps the file, host.h takes addresses and hosts as Envoy
// gives them. Go says the same of the same file, which the tests compare; a file has to be
// opened by package snapshot first, whose checks the C code relies on.
//
// What the methods here cost is a call into C, so they serve tests: hosts take the
// pointer to their own C code.
package fast
