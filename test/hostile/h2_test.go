package hostile

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/envoytest"
)

// h2Request is a request for HTTP/2, field by field: what an honest client would never
// send can be written too.
type h2Request struct {
	fields   []hpack.HeaderField
	body     string
	trailers []hpack.HeaderField
}

// h2 is a request with the fields given as name, value, name, value.
func h2(pairs ...string) *h2Request { return &h2Request{fields: fields(pairs...)} }

// h2get is a usual request with more fields.
func h2get(path, authority string, pairs ...string) *h2Request {
	return h2(append([]string{":method", "GET", ":scheme", "http", ":authority", authority, ":path", path}, pairs...)...)
}

func fields(pairs ...string) []hpack.HeaderField {
	var out []hpack.HeaderField
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return out
}

// asked is what Evaluate is asked.
func (r *h2Request) asked() *policy.HTTPRequest {
	h := &policy.HTTPRequest{}
	host := ""
	for _, f := range r.fields {
		switch f.Name {
		case ":method":
			h.Method = f.Value
		case ":path":
			h.Path = f.Value
		case ":authority":
			h.Authority = f.Value
		case "host":
			host = f.Value
		case ":scheme", ":protocol":
		default:
			h.Headers = append(h.Headers, policy.HeaderField{Name: f.Name, Value: f.Value})
		}
	}
	if h.Authority == "" {
		h.Authority = host
	}
	return h
}

// h2Response is what came of it. Without a status the stream or the connection was
// ended: code says how.
type h2Response struct {
	envoytest.Response
	Trailer http.Header
	code    string
}

// exchange sends the request on a fresh connection and reads until its stream ends.
func (r *h2Request) exchange(t testing.TB, conn net.Conn, id string) h2Response {
	t.Helper()
	c := newH2(t, conn)
	c.headers(1, append(r.fields, hpack.HeaderField{Name: "x-request-id", Value: id}), r.body == "" && r.trailers == nil)
	if r.body != "" {
		c.write(c.framer.WriteData(1, r.trailers == nil, []byte(r.body)))
	}
	if r.trailers != nil {
		c.headers(1, r.trailers, true)
	}
	return c.read(1)
}

// h2Conn is a connection for HTTP/2 frame by frame.
type h2Conn struct {
	t      testing.TB
	conn   net.Conn
	framer *http2.Framer
	block  bytes.Buffer
	enc    *hpack.Encoder
}

func newH2(t testing.TB, conn net.Conn) *h2Conn {
	t.Helper()
	c := &h2Conn{t: t, conn: conn, framer: http2.NewFramer(conn, conn)}
	c.framer.AllowIllegalWrites = true
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.enc = hpack.NewEncoder(&c.block)
	_, err := io.WriteString(conn, http2.ClientPreface)
	c.write(err)
	c.write(c.framer.WriteSettings())
	return c
}

// write takes note of nothing: where Envoy has hung up, reading tells how.
func (c *h2Conn) write(error) {}

// headers sends a block, in as many frames as it takes.
func (c *h2Conn) headers(stream uint32, fs []hpack.HeaderField, end bool) {
	c.block.Reset()
	for _, f := range fs {
		if err := c.enc.WriteField(f); err != nil {
			c.t.Fatal(err)
		}
	}
	const most = 16 << 10
	rest := c.block.Bytes()
	first := rest[:min(len(rest), most)]
	rest = rest[len(first):]
	c.write(c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: first, EndStream: end, EndHeaders: len(rest) == 0,
	}))
	for len(rest) > 0 {
		next := rest[:min(len(rest), most)]
		rest = rest[len(next):]
		c.write(c.framer.WriteContinuation(stream, len(rest) == 0, next))
	}
}

// read returns what comes on a stream until it or the connection ends.
func (c *h2Conn) read(stream uint32) (out h2Response) {
	var body strings.Builder
	defer func() { out.Body = body.String() }()
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			out.code = "closed: " + err.Error()
			return out
		}
		ended := false
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.write(c.framer.WriteSettingsAck())
			}
		case *http2.MetaHeadersFrame:
			h := http.Header{}
			for _, x := range f.RegularFields() {
				h.Add(x.Name, x.Value)
			}
			if out.Status == 0 {
				out.Status, _ = strconv.Atoi(f.PseudoValue("status"))
				out.Header = h
			} else {
				out.Trailer = h
			}
			ended = f.StreamEnded()
		case *http2.DataFrame:
			body.Write(f.Data())
			ended = f.StreamEnded()
		case *http2.RSTStreamFrame:
			out.code = f.ErrCode.String()
			ended = f.StreamID == stream
		case *http2.GoAwayFrame:
			out.code = "go away: " + f.ErrCode.String()
			if f.ErrCode != http2.ErrCodeNo {
				return out
			}
		}
		if ended {
			return out
		}
	}
}
