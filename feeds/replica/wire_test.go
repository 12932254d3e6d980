package replica

import (
	"fmt"
	"strings"
	"testing"

	"pavise.dev/pavise/feeds/snapshot"
)

func named(b byte) snapshot.Digest { return snapshot.Digest{b} }

// TestOffer: a document that is not one changes nothing, and says why.
func TestOffer(t *testing.T) {
	a, b := named(1).String(), named(2).String()
	many := strings.Repeat(fmt.Sprintf(`{"from":%q,"to":%q,"size":1},`, a, b), maxDeltas)
	for _, c := range []struct{ text, says string }{
		{`{"digest":"` + a + `","size":7}`, ""},
		{`{"digest":"` + a + `","size":7,"later":{}}`, ""},
		{`{"digest":"` + a + `","size":7,"deltas":[{"from":"` + b + `","to":"` + a + `","size":3}]}`, ""},
		{`{"digest":"` + a + `","size":7,"deltas":[` + strings.TrimSuffix(many, ",") + `]}`, ""},
		{`{"digest":"` + a + `","size":7,"deltas":[` + many + `{"from":"` + b + `","to":"` + a + `","size":3}]}`, "65 deltas"},
		{``, "no such document"},
		{`<!DOCTYPE html>`, "no such document"},
		{`{"digest":"` + a + `","size":7} {}`, "no such document"},
		{`{"digest":"` + a[:70] + `","size":7}`, "64 hexadecimal"},
		{`{"digest":"../../etc/passwd","size":7}`, "64 hexadecimal"},
		{`{"digest":"` + a + `","size":0}`, "0 octets"},
		{`{"digest":"` + a + `","size":-7}`, "-7 octets"},
		{`{"digest":"` + a + `","size":1e30}`, "no such document"},
		{`{"digest":"` + a + `","size":7,"deltas":[{"from":"","to":"` + a + `","size":3}]}`, "64 hexadecimal"},
		{`{"digest":"` + a + `","size":7,"deltas":[{"from":"` + b + `","to":"","size":3}]}`, "64 hexadecimal"},
		{`{"digest":"` + a + `","size":7,"deltas":[{"from":"` + b + `","to":"` + a + `","size":-3}]}`, "-3 octets"},
		{strings.Repeat(" ", maxDocument+1), "longer"},
	} {
		o, err := readOffer(strings.NewReader(c.text))
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.80s: %v, %v", c.text, o, err)
		}
	}
}

func FuzzOffer(f *testing.F) {
	f.Add([]byte(`{"digest":"` + named(1).String() + `","size":7,"deltas":[{"from":"` + named(2).String() + `","to":"` + named(1).String() + `","size":3}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseOffer(b)
		if err != nil {
			return
		}
		b, err = o.marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseOffer(b)
		if err != nil || again.digest != o.digest || again.size != o.size || len(again.deltas) != len(o.deltas) {
			t.Fatalf("%s: %+v, %v", b, again, err)
		}
		if way := o.path(named(2), 1<<20); len(way) > maxSteps {
			t.Fatal(way)
		}
	})
}

// TestPath: the way of the fewest octets, of three steps at most, and within the bound.
func TestPath(t *testing.T) {
	for _, c := range []struct{ deltas, want string }{
		{"1>9:5", "1>9:5"},
		{"1>9:11", ""},
		{"2>9:5", ""},
		{"", ""},
		{"1>2:3 2>9:3 1>9:9", "1>2:3 2>9:3"},
		{"1>2:3 2>9:3 1>9:5", "1>9:5"},
		{"1>2:3 2>3:3 3>9:3", "1>2:3 2>3:3 3>9:3"},
		{"1>2:1 2>3:1 3>4:1 4>9:1", ""},       // four steps
		{"1>2:6 2>9:6", ""},                   // too much together
		{"1>1:1 1>2:1 2>1:1 2>2:1", ""},       // in circles
		{"1>2:9223372036854775807 2>9:1", ""}, // no overflow
		{"1>2:9 2>9:9223372036854775807 1>9:10", "1>9:10"},
	} {
		o := &offer{digest: named(9)}
		for _, s := range strings.Fields(c.deltas) {
			var from, to byte
			var size int64
			if _, err := fmt.Sscanf(s, "%d>%d:%d", &from, &to, &size); err != nil {
				t.Fatal(err)
			}
			o.deltas = append(o.deltas, step{named(from), named(to), size})
		}
		var got []string
		for _, s := range o.path(named(1), 10) {
			got = append(got, fmt.Sprintf("%d>%d:%d", s.from[0], s.to[0], s.size))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.deltas, got, c.want)
		}
	}
}
