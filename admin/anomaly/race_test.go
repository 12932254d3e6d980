//go:build race

package anomaly

func init() { raceDetector = true }
