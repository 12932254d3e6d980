//go:build race

package dns

func init() { raceDetector = true }
