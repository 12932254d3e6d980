package feeds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/fetch"
	"pavise.dev/pavise/internal/secret"
)

// Feed is one feed as it was configured.
type Feed struct {
	Name string
	Spec api.ThreatFeedSpec
	// Folder is where relative file names begin; empty for the working directory.
	Folder string
}

// FromSet takes the feeds of a set that was loaded without errors.
func FromSet(s *api.Set) []Feed {
	list := make([]Feed, 0, len(s.ThreatFeeds))
	for _, f := range s.ThreatFeeds {
		list = append(list, Feed{Name: f.Name, Spec: f.Spec, Folder: s.Folder(f)})
	}
	return list
}

// Secrets gives the value of a source that is a secret of Kubernetes; nil where there
// are none.
type Secrets func(ref api.SecretKeyRef) ([]byte, error)

// maxSecret bounds a value that a file or a variable has.
const maxSecret = 1 << 20

// origin identifies where a feed comes from, without saying it: a URL may hold a key. A
// feed with another URL is another feed, and the body of the former one does not stand
// for it.
func (f *Feed) origin() string {
	sum := sha256.Sum256([]byte(f.Folder + "\x00" + f.Spec.URL))
	return hex.EncodeToString(sum[:16])
}

// source resolves what a fetch needs. An error says which field to mend, and no value.
func (f *Feed) source(secrets Secrets) (fetch.Source, error) {
	s := &f.Spec
	src := fetch.Source{URL: s.URL, MaxBytes: s.ByteLimit(), Timeout: s.Timeout()}
	if path, ok := s.FilePath(f.Folder); ok {
		abs, err := absolute(path)
		if err != nil {
			return src, err
		}
		src.URL = abs
	}
	switch s.Format {
	case api.FeedTAXII:
		src.Paging = fetch.TAXII
	case api.FeedCrowdSec:
		src.Paging = fetch.CrowdSec
	}
	for i, h := range s.Headers {
		value := []byte(h.Value)
		if h.ValueFrom != nil {
			var err error
			if value, err = f.value(h.ValueFrom, secrets); err != nil {
				return src, fmt.Errorf("headers[%d].valueFrom: %w", i, err)
			}
		}
		src.Header = append(src.Header, fetch.Header{Name: h.Name, Value: secret.New(strings.TrimSpace(string(value)))})
	}
	if t := s.TLS; t != nil {
		var err error
		if src.TLS.CA, err = f.value(t.CA, secrets); err != nil {
			return src, fmt.Errorf("tls.ca: %w", err)
		}
		if src.TLS.Certificate, err = f.value(t.Certificate, secrets); err != nil {
			return src, fmt.Errorf("tls.certificate: %w", err)
		}
		key, err := f.value(t.Key, secrets)
		if err != nil {
			return src, fmt.Errorf("tls.key: %w", err)
		}
		src.TLS.Key, src.TLS.ServerName = secret.New(string(key)), t.ServerName
	}
	return src, nil
}

// value reads one value; nothing for no source.
func (f *Feed) value(v *api.ValueSource, secrets Secrets) ([]byte, error) {
	switch {
	case v == nil:
		return nil, nil
	case v.Env != "":
		value, ok := os.LookupEnv(v.Env)
		if !ok {
			return nil, fmt.Errorf("the environment has no %s", v.Env)
		}
		return []byte(value), nil
	case v.SecretKeyRef != nil:
		if secrets == nil {
			return nil, fmt.Errorf("secret %s: there are none outside of Kubernetes; use env or file", v.SecretKeyRef.Name)
		}
		return secrets(*v.SecretKeyRef)
	default:
		path := v.FilePath(f.Folder)
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() || info.Size() > maxSecret {
			return nil, fmt.Errorf("%s: not a regular file of at most %d octets", path, maxSecret)
		}
		return os.ReadFile(path)
	}
}

// absolute is the file: URL of a path.
func absolute(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "file", Path: abs}).String(), nil
}
