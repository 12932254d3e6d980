package probe

import (
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"c%d/livez":{"tcpSocket":{"port":1}}`, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	get := func(fields string) string { return `{"web/livez":{"httpGet":{"port":80` + fields + `}}}` }
	for _, test := range []struct{ name, text, err string }{
		{"none", `{}`, ""},
		{"all", `{"web/livez":{"httpGet":{"path":"/","port":8080,"scheme":"HTTPS","host":"127.0.0.1",` +
			`"httpHeaders":[{"name":"Host","value":"a.example:80"}]},"timeoutSeconds":3},` +
			`"web/readyz":{"tcpSocket":{"port":1,"host":"::1"}},"web/startupz":{"grpc":{"port":65535,"service":"shop"}}}`, ""},
		{"most", many(MaxProbes), ""},
		{"too many", many(MaxProbes + 1), "257 of them; at most 256"},
		{"too long", `{"` + strings.Repeat("a", MaxBytes) + `":{}}`, "at most 65536 are read"},
		{"null", `null`, "null; an object is needed"},
		{"empty", ``, "unexpected end"},
		{"list", `[]`, "cannot unmarshal array"},
		{"more behind it", `{} {}`, "after top-level value"},
		{"unknown field", get(`,"command":["sh"]`), `unknown field "web/livez.httpGet.command"`},
		{"another case", `{"web/livez":{"tcpsocket":{"port":1}}}`, "unknown field"},
		{"doubled field", get(`,"port":81`), "duplicate field"},
		{"doubled probe", `{"a/livez":{"tcpSocket":{"port":1}},"a/livez":{"tcpSocket":{"port":2}}}`, "duplicate"},
		{"kind", `{"web/alive":{"tcpSocket":{"port":1}}}`, "has to be CONTAINER/livez"},
		{"container", `{"../livez":{"tcpSocket":{"port":1}}}`, "has to be CONTAINER/livez"},
		{"line end in a name", "{\"web/livez\\n\":{\"tcpSocket\":{\"port\":1}}}", "has to be CONTAINER/livez"},
		{"nothing", `{"web/livez":{}}`, "has 0 of"},
		{"two", `{"web/livez":{"grpc":{"port":1},"tcpSocket":{"port":1}}}`, "has 2 of"},
		{"named port", `{"web/livez":{"tcpSocket":{"port":"http"}}}`, "cannot unmarshal string"},
		{"no port", `{"web/livez":{"tcpSocket":{}}}`, "port 0"},
		{"port", `{"web/livez":{"grpc":{"port":65536}}}`, "port 65536"},
		{"timeout", `{"web/livez":{"grpc":{"port":1},"timeoutSeconds":-1}}`, "timeoutSeconds -1"},
		{"huge timeout", `{"web/livez":{"grpc":{"port":1},"timeoutSeconds":9223372036854775807}}`, "cannot unmarshal number"},
		{"scheme", get(`,"scheme":"file"`), `scheme "file"`},
		{"metadata service", get(`,"host":"169.254.169.254"`), "is not the pod itself"},
		{"name", get(`,"host":"kubernetes.default.svc"`), "is not the pod itself"},
		{"all addresses", get(`,"host":"0.0.0.0"`), "is not the pod itself"},
		{"mapped", get(`,"host":"::ffff:10.0.0.1"`), "is not the pod itself"},
		{"TCP host", `{"web/livez":{"tcpSocket":{"port":1,"host":"10.0.0.1"}}}`, "is not the pod itself"},
		{"header name", get(`,"httpHeaders":[{"name":"a b","value":""}]`), "is no name of a header"},
		{"header value", get(`,"httpHeaders":[{"name":"A","value":"a\r\nB: c"}]`), "has control characters"},
		{"host header", get(`,"httpHeaders":[{"name":"host","value":"a b"}]`), "is no host"},
		{"headers", get(`,"httpHeaders":[` + strings.Repeat(`{"name":"A","value":""},`, maxHeaders) + `{"name":"A","value":""}]`), "65 of them"},
		{"path", get(`,"path":"` + strings.Repeat("/", maxPath+1) + `"`), "longer than"},
		{"service", `{"web/livez":{"grpc":{"port":1,"service":"` + strings.Repeat("a", maxService+1) + `"}}}`, "longer than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.text))
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %v; want %q", err, test.err)
			}
			if err != nil && len(err.Error()) > 1<<10 {
				t.Errorf("an error of %d octets", len(err.Error()))
			}
		})
	}
}

// FuzzParse: whatever is taken can be asked for, at the pod and nowhere else.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"web/livez":{"httpGet":{"path":"//evil/%2f?x#y","port":1,"httpHeaders":[{"name":"Host","value":"x"}]}}}`))
	f.Add([]byte(`{"web/readyz":{"tcpSocket":{"port":1,"host":"::1"}},"a/startupz":{"grpc":{"port":2,"service":"s"},"timeoutSeconds":1}}`))
	f.Add([]byte(`{"web/livez":{"httpGet":{"path":"a:b@c\\d","port":9,"scheme":"HTTPS"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err != nil {
			return
		}
		for name, p := range s {
			if p.timeout() <= 0 {
				t.Errorf("%s: timeout %v", name, p.timeout())
			}
			if p.HTTPGet == nil {
				continue
			}
			req, err := p.HTTPGet.request(t.Context(), "10.0.0.1:80", "agent")
			if err != nil {
				continue // said to who asks
			}
			if req.URL.Host != "10.0.0.1:80" || req.URL.User != nil || req.URL.Opaque != "" {
				t.Errorf("%s asks %q", name, req.URL)
			}
		}
	})
}
