//go:build !unix

package decisions

import "os"

// Stdout is standard output.
func Stdout() (*os.File, error) { return os.Stdout, nil }
