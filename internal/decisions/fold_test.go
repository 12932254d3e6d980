package decisions

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pavise.dev/pavise/policy"
)

// written runs add within one window and returns the lines of it.
func written(t *testing.T, add func(l *Log)) (lines []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := newLog(t, Options{SampleAllows: 1, Outputs: []Output{{Name: "m", Sink: m, MaxRecords: 1 << 20, MaxOctets: 1 << 30}}})
		stop := start(l)
		add(l)
		balanced(t, l)
		time.Sleep(window)
		synctest.Wait()
		if s := balanced(t, l); s.Folding.Total() != 0 {
			t.Errorf("a window later %+v are not written", s.Folding)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		for _, r := range m.records() {
			r.Time = time.Time{}
			lines = append(lines, strings.TrimPrefix(string(r.AppendJSON(nil)), `{"time":"0001-01-01T00:00:00Z",`))
		}
	})
	return lines
}

func TestFoldedLines(t *testing.T) {
	const deny = `"workload":"shop/web","listener":"shop/web/http","verdict":"deny","reason":"default-deny:shop/web"`
	for _, c := range []struct {
		name  string
		n     int
		r     func(i int) Record
		lines int
		last  string
	}{
		{
			"a scan of paths", 1000, denied, 11,
			`{` + deny + `,"source":"192.0.2.1","host":"shop.example","count":990}`,
		},
		{
			"no more than are written one by one", 10, denied, 10,
			`{` + deny + `,"source":"192.0.2.1:1033","host":"shop.example","path":"/9"}`,
		},
		{
			"one more", 11, denied, 11,
			`{` + deny + `,"source":"192.0.2.1:1034","host":"shop.example","path":"/10"}`,
		},
		{
			"a scan of hosts, which the sender chooses", 5000,
			func(i int) Record { r := denied(i); r.Host = strconv.Itoa(i) + ".example"; return r }, 101,
			`{` + deny + `,"source":"192.0.2.1","count":4900}`,
		},
		{
			"a scan of names by DNS", 5000,
			func(i int) Record {
				return Record{Listener: "l", Verdict: policy.Denied, Source: "192.0.2.1:53", Question: Question{strconv.Itoa(i) + ".example", "A"}, Answer: "NXDOMAIN"}
			}, 101,
			`{"listener":"l","verdict":"deny","reason":"","source":"192.0.2.1","answer":"NXDOMAIN","count":4900}`,
		},
		{
			"from all over a /64", 5000,
			func(i int) Record { r := denied(0); r.Source = fmt.Sprintf("[2001:db8::%x]:1", i); return r }, 11,
			`{` + deny + `,"source":"2001:db8::/64","host":"shop.example","path":"/0","count":4990}`,
		},
		{
			"of one IPv6 address", 50,
			func(i int) Record { r := denied(0); r.Source = fmt.Sprintf("[2001:db8::1]:%d", i); return r }, 11,
			`{` + deny + `,"source":"2001:db8::1","host":"shop.example","path":"/0","count":40}`,
		},
		{
			"IPv4 in IPv6 is IPv4", 50,
			func(i int) Record { r := denied(0); r.Source = fmt.Sprintf("[::ffff:192.0.2.%d]:1", i); return r }, 50,
			`{` + deny + `,"source":"[::ffff:192.0.2.49]:1","host":"shop.example","path":"/0"}`,
		},
		{
			"by a socket without address", 50,
			func(int) Record { r := denied(0); r.Source = "@admin"; return r }, 11,
			`{` + deny + `,"source":"@admin","host":"shop.example","path":"/0","count":40}`,
		},
		{
			"of different entries of a feed", 50,
			func(i int) Record { r := denied(0); r.Feed = Hit{"botnets", uint32(i), "x", "source"}; return r }, 11,
			`{` + deny + `,"feed":{"name":"botnets"},"source":"192.0.2.1:1024","host":"shop.example","path":"/0","count":40}`,
		},
		{
			"of the same entry", 50,
			func(int) Record { r := denied(0); r.Feed = Hit{"botnets", 3, "x", "source"}; return r }, 11,
			`{` + deny + `,"feed":{"name":"botnets","line":3,"entry":"x","asked":"source"},"source":"192.0.2.1","host":"shop.example","path":"/0","count":40}`,
		},
		{
			"different feeds, reasons and workloads are not the same thing", 320,
			func(i int) Record {
				r := denied(0)
				bit := func(n int) string { return strconv.Itoa(i >> n & 1) }
				r.Alert.Name, r.Feed.Name, r.Workload, r.Reason, r.AuditReason = bit(0), bit(1), bit(2), bit(3), bit(4)
				return r
			}, 320, "",
		},
	} {
		lines := written(t, func(l *Log) {
			for i := range c.n {
				l.Add(c.r(i))
			}
		})
		if len(lines) != c.lines {
			t.Errorf("%s: %d lines, want %d", c.name, len(lines), c.lines)
		}
		want := strings.ReplaceAll(c.last, `"source":"192.0.2.1:1024",`, `"source":"192.0.2.1",`)
		if got := "{" + lines[len(lines)-1]; c.last != "" && got != want {
			t.Errorf("%s:\n%s, want\n%s", c.name, got, want)
		}
	}
}

// TestScanOfAMillionRequests: from one source, for 17 seconds, with a new path and host
// each time.
func TestScanOfAMillionRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := newLog(t, Options{Outputs: []Output{{Name: "m", Sink: m}}})
		stop := start(l)
		const seconds, each = 17, 60_000
		for range seconds {
			for i := range each {
				r := denied(i)
				r.Host = strconv.Itoa(i)
				l.Add(r)
			}
			time.Sleep(window)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		s := balanced(t, l)
		if n := len(m.records()); n > (seconds+1)*101 || n < 100 || s.Outputs[0].Written.Deny != seconds*each {
			t.Errorf("%d lines: %+v", n, s)
		}
		if n := len(l.fold.keys); n != 0 {
			t.Errorf("%d keys stay", n)
		}
	})
}

// TestSomebodyElseIsSeenInAFlood: the second count is by source.
func TestSomebodyElseIsSeenInAFlood(t *testing.T) {
	lines := written(t, func(l *Log) {
		for i := range 10_000 {
			r := denied(i)
			r.Host = strconv.Itoa(i)
			l.Add(r)
		}
		r := denied(0)
		r.Source = "198.51.100.7:1"
		l.Add(r)
	})
	n := 0
	for _, line := range lines {
		if strings.Contains(line, `"source":"198.51.100.7:1","host":"shop.example","path":"/0"}`) {
			n++
		}
	}
	if n != 1 || len(lines) != 102 {
		t.Errorf("seen %d times in %d lines", n, len(lines))
	}
}

// TestKeysAreBounded: from very many sources at once.
func TestKeysAreBounded(t *testing.T) {
	var n int
	lines := written(t, func(l *Log) {
		for i := range 20_000 {
			r := denied(i)
			r.Source = fmt.Sprintf("192.%d.%d.1:1", i/250, i%250)
			l.Add(r)
		}
		n = len(l.fold.keys)
	})
	if n > mostFolded || len(lines) != 20_000 {
		t.Errorf("%d keys, %d lines", n, len(lines))
	}
}
