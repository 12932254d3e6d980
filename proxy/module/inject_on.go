//go:build cgo && pavise_module_test

package main

import "pavise.dev/pavise/proxy/filter"

// inject panics for one host, which a test lists.
func inject(f *filter.Facts) {
	if f.Host == "panic.example" {
		panic("injected")
	}
}
