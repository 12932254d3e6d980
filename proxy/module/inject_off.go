//go:build cgo && !pavise_module_test

package main

import "pavise.dev/pavise/proxy/filter"

// inject is where tests make a check panic.
func inject(*filter.Facts) {}
