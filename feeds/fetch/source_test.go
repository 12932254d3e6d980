package fetch

import (
	"strings"
	"testing"
	"time"

	"pavise.dev/pavise/internal/secret"
)

func TestSourcesThatCannotBeFetched(t *testing.T) {
	l := newLab(t)
	value := secret.New(canary + "\r\nX: y")
	for _, c := range []struct {
		src  Source
		says string
	}{
		{Source{URL: ""}, "has to begin with https:"},
		{Source{URL: "list.txt"}, "has to begin with https:"},
		{Source{URL: "ftp://" + canary + "@a.test"}, "has to begin with https:"},
		{Source{URL: "https://" + canary + ":%zz@a.test"}, "cannot be read"},
		{Source{URL: "https://a.test/\x7f" + canary}, "cannot be read"},
		{Source{URL: "https:///x"}, "names no host"},
		{Source{URL: "https:x"}, "names no host"},
		{Source{URL: "https://a.test/" + strings.Repeat("a", 3000)}, "2048"},
		{Source{URL: "https://a.test", MaxBytes: -1}, "maxBytes"},
		{Source{URL: "https://a.test", MaxBytes: 5 << 30}, "maxBytes"},
		{Source{URL: "https://a.test", Timeout: 2 * time.Hour}, "at most 1h"},
		{Source{URL: "https://a.test", Paging: 9}, "no paging"},
		{Source{URL: "https://a.test", Header: []Header{{"X", value}}}, "header X holds characters"},
		{Source{URL: "https://a.test", Header: []Header{{"X Y", value}}}, "cannot be the name"},
		{Source{URL: "https://a.test", Header: []Header{{"accept-encoding", secret.New("lzma")}}}, "not for a feed to set"},
		{Source{URL: "https://a.test", Header: make([]Header, 17)}, "may be 16"},
		{Source{URL: "http://a.test", TLS: TLS{ServerName: "x"}}, "the URL is http:"},
		{Source{URL: "https://a.test", TLS: TLS{CA: []byte("no PEM")}}, "tls.ca"},
		{Source{URL: "https://a.test", TLS: TLS{Certificate: []byte("x")}}, "one is missing"},
		{Source{URL: "https://a.test", TLS: TLS{Certificate: []byte("x"), Key: secret.New(canary)}}, "no pair"},
		{Source{URL: "file:list.txt"}, "absolute path"},
		{Source{URL: "file://server/share"}, "names no host"},
		{Source{URL: "file:///a?b"}, "%3F"},
		{Source{URL: "file:///a", Paging: TAXII}, "are for https:"},
	} {
		if e := l.failure(c.src, Config, c.says); e.Temporary {
			t.Errorf("%q does not mend itself", c.says)
		}
	}
}
