//go:build race

package flows

func init() { raced = true }
