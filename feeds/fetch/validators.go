package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"time"
)

const (
	// mostETag bounds what is kept of a stranger and sent back to it.
	mostETag = 1024
	// mostDate is longer than each of the three forms of a date in HTTP (RFC 9110 5.6.7).
	mostDate = 64
)

// Validators are what a fetch leaves for the next one to ask only for what changed. They
// survive a restart as JSON, hold no secret, and are opaque to the caller. They belong to
// one URL with its headers; for another they are not used.
//
// Keep them with the body they came with: validators without a body get an answer of
// "not modified" for something that is not there. Who lost the body passes none.
type Validators struct {
	// Of identifies what was asked of whom.
	Of string `json:"of,omitempty"`
	// From identifies the place that answered, which redirects may have changed: an
	// ETag means something only there. The query is no part of it, since those of signed
	// redirects change with every answer.
	From string `json:"from,omitempty"`
	// ETag and LastModified are as the server wrote them.
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"lastModified,omitempty"`
	// File identifies a state of a file.
	File string `json:"file,omitempty"`
	// Since is when the body came. A server that answers "not modified" for ever is not
	// believed for ever.
	Since time.Time `json:"since,omitzero"`
}

// usable reports whether to ask conditionally.
func (v Validators) usable(of string, now time.Time, most time.Duration) bool {
	age := now.Sub(v.Since)
	return v.Of == of && age >= 0 && age < most && (v.ETag != "" || v.LastModified != "" || v.File != "")
}

// placeOf identifies who answered.
func placeOf(u *url.URL) string {
	h := sha256.Sum256([]byte(visible(u)))
	return hex.EncodeToString(h[:16])
}

// etag returns the entity tag of an answer to send back verbatim, weak or strong, and ""
// where it is none by RFC 9110 8.8.3 or longer than 1 KiB. One without quotes is none: a
// bare * would match whatever the server has.
func etag(h http.Header) string {
	values := h.Values("ETag")
	if len(values) != 1 {
		return ""
	}
	v := values[0]
	tag := v
	if len(tag) > 2 && tag[:2] == "W/" {
		tag = tag[2:]
	}
	if len(v) > mostETag || len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return ""
	}
	for _, c := range []byte(tag[1 : len(tag)-1]) {
		if c <= ' ' || c == '"' || c == 0x7f {
			return ""
		}
	}
	return v
}

// lastModified returns the date of an answer to send back verbatim, and "" where it
// is none or lies in the future: asking with it would hide changes until then
// (RFC 9110 8.8.2.1).
func lastModified(h http.Header, now time.Time) string {
	v := h.Get("Last-Modified")
	if len(v) > mostDate {
		return ""
	}
	t, err := http.ParseTime(v)
	if err != nil || t.After(now) || t.Year() < 1 {
		return ""
	}
	return v
}
