//go:build race

package replica

func init() { raceDetector = true }
