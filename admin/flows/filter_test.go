package flows

import (
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pavise.dev/pavise/policy"
)

func TestParse(t *testing.T) {
	v, err := url.ParseQuery("namespace=shop&workload=web&peer=10.0.0.1&verdict=deny&reason=default-deny&feed=bad&name=*.Bad.Example.&method=GET" +
		"&direction=egress&port=443&since=10m&until=2026-06-01T12:00:00Z&audit=true&text=x&limit=7&cursor=000000000000000a000000000000000b")
	if err != nil {
		t.Fatal(err)
	}
	f, c, limit, err := parse(v, noon)
	want := Filter{
		Namespace: "shop", Workload: "web", Peer: "10.0.0.1", Verdict: policy.Denied, Reason: "default-deny", Feed: "bad", Name: "*.bad.example",
		Method: "GET", Direction: policy.Egress, Port: 443, Since: noon.Add(-10 * time.Minute), Until: noon, Audit: true, Text: "x",
	}
	if err != nil || f != want || limit != 7 || c != (Cursor{10, 11}) {
		t.Errorf("%+v %v %d %v", f, c, limit, err)
	}
	if f, c, limit, err := Parse(nil); err != nil || f != (Filter{}) || !c.IsZero() || limit != DefaultLimit {
		t.Errorf("of nothing: %+v %v %d %v", f, c, limit, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{"verdict=denied", "verdict: it is one of allow, deny"},
		{"direction=in", "direction: it is one of ingress, egress"},
		{"audit=yes", "audit: it is one of true, false"},
		{"port=0", "port: it is a number from 1 to 65535"},
		{"port=%2B80", "port: it is a number from 1 to 65535"},
		{"port=65536", "port: it is a number from 1 to 65535"},
		{"limit=1001", "limit: it is a number from 1 to 1000"},
		{"limit=-1", "limit: it is a number from 1 to 1000"},
		{"limit=99999999999999999999", "limit: it is a number from 1 to 1000"},
		{"since=yesterday", "since: it is a time such as 2006-01-02T15:04:05Z, or how long ago, such as 10m"},
		{"since=-10m", "since: it is a time such as 2006-01-02T15:04:05Z, or how long ago, such as 10m"},
		{"until=9999-01-01T00:00:00Z", "until: it is a time such as 2006-01-02T15:04:05Z, or how long ago, such as 10m"},
		{"since=1m&until=2m", "until: it is not after since"},
		{"cursor=1", "cursor: it is the next of an earlier page, 32 hexadecimal digits"},
		{"name=a&name=b", "name: it is given 2 times; give it once"},
		{"text=" + strings.Repeat("a", 65), "text: it has 65 octets; 64 are possible"},
		{"peer=%ff", "peer: it is no UTF-8"},
		{"pear=1&zzz=2", "pear: there is no such parameter; there are " + strings.Join(fields, ", ")},
		{"=0", "parameter: there is no such parameter; there are " + strings.Join(fields, ", ")},
		{strings.Repeat("z", 100) + "=1", "parameter: there is no such parameter; there are " + strings.Join(fields, ", ")},
	} {
		v, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		f, _, _, err := parse(v, noon)
		if fe := (*FieldError)(nil); !errors.As(err, &fe) || err.Error() != c.want || f != (Filter{}) {
			t.Errorf("%s: %v", c.query, err)
		}
	}
}

// TestValues: every field of a filter comes through a URL. A field that Values forgets fails here.
func TestValues(t *testing.T) {
	var f Filter
	v := reflect.ValueOf(&f).Elem()
	for i := range v.NumField() {
		switch x := v.Field(i); x.Kind() {
		case reflect.String:
			x.SetString("x")
		case reflect.Bool:
			x.SetBool(true)
		case reflect.Uint16:
			x.SetUint(80)
		default:
			x.Set(reflect.ValueOf(noon.Add(time.Duration(i))))
		}
	}
	f.Verdict, f.Direction = policy.Allowed, policy.Ingress
	got, _, _, err := Parse(f.Values())
	if err != nil || got != f {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, f)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "verdict=deny&since=1h", "name=%00&name=", "limit=01", "=0", "cursor=ffffffffffffffffffffffffffffffff", "until=1970-01-01T00:00:00%2B23:59"} {
		f.Add(s)
	}
	s := newStore(f, Config{})
	for i := range 10 {
		add(s, allow(i), deny(i))
	}
	f.Fuzz(func(t *testing.T, query string) {
		v, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		filter, c, limit, err := parse(v, noon)
		if err != nil {
			fe := (*FieldError)(nil)
			if !errors.As(err, &fe) || fe.Field == "" || len(err.Error()) > 400 || !utf8.ValidString(err.Error()) {
				t.Fatalf("%q: %v", query, err)
			}
			return
		}
		if _, err := s.Query(filter, c, limit); err != nil {
			t.Fatalf("%q: %v", query, err)
		}
		again, _, _, err := parse(filter.Values(), noon)
		if err != nil || again != filter {
			t.Fatalf("%q: %+v becomes %+v, %v", query, filter, again, err)
		}
	})
}
