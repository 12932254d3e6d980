package api

import (
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.yaml.in/yaml/v3"
)

var durationType = reflect.TypeFor[metav1.Duration]()

// decodeDuration reads a duration the way Go writes it, as Kubernetes does: 90s, 1h30m.
func (d *decoder) decodeDuration(n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!bool" {
		d.fail(n, CodeType, durationShape, "it has to be a duration, not %s", describe(n))
		return
	}
	length, f := parseDuration(n.Value)
	if f == nil && n.Tag != "!!str" {
		// A bare 0 is a duration to Go, and a number to everybody who reads the file.
		f = faultf(CodeDuration, durationShape, "%s has no unit", shorten(n.Value))
	}
	if f != nil {
		d.fail(n, f.code, f.fix, "%s", f.message)
		return
	}
	v.Set(reflect.ValueOf(metav1.Duration{Duration: length}))
}

const durationShape = "write a number and a unit, such as 90s, 15m or 1h30m"

func parseDuration(s string) (time.Duration, *fault) {
	length, err := time.ParseDuration(s)
	if err == nil {
		return length, nil
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil && len(s) < 20 {
		fix := durationShape
		if _, err := time.ParseDuration(s + "s"); err == nil {
			fix = "write " + s + "s if it is seconds"
		}
		return 0, faultf(CodeDuration, fix, "%s has no unit", s)
	}
	fix := durationShape
	if best := likelyDuration(s); best != "" {
		fix = "write " + best
	}
	return 0, faultf(CodeDuration, fix, "%s is not a duration", quote(s))
}

var (
	oneUnit = regexp.MustCompile(`^\s*(\d{1,6})\s*([a-zA-Z]+)\.?\s*$`)
	// units are what people write for those of Go, and how many of them it is.
	units = map[string]struct {
		unit string
		of   int
	}{
		"ms": {"ms", 1}, "millisecond": {"ms", 1},
		"s": {"s", 1}, "sec": {"s", 1}, "second": {"s", 1},
		"m": {"m", 1}, "min": {"m", 1}, "minute": {"m", 1},
		"h": {"h", 1}, "hr": {"h", 1}, "hour": {"h", 1},
		"d": {"h", 24}, "day": {"h", 24},
		"w": {"h", 7 * 24}, "week": {"h", 7 * 24},
	}
)

// likelyDuration is what "1 hour" or "7d" most likely stands for, or "".
func likelyDuration(s string) string {
	m := oneUnit.FindStringSubmatch(s)
	if m == nil {
		return ""
	}
	word := strings.ToLower(m[2])
	unit, ok := units[word]
	if !ok {
		if unit, ok = units[strings.TrimSuffix(word, "s")]; !ok {
			return ""
		}
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return ""
	}
	return strconv.Itoa(n*unit.of) + unit.unit
}

// showDuration writes a duration the way people do: 1h and not 1h0m0s.
func showDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
