//go:build race

package extauthz

func init() { raceDetector = true }
