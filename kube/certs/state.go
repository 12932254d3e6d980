package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Keys of the Secret, beside BundleKey.
const (
	keySigner, keySignerKey   = "signer.crt", "signer.key"
	keyNext, keyNextKey       = "next.crt", "next.key"
	keyRetired                = "retired.crt"
	keyServing, keyServingKey = "tls.crt", "tls.key"
)

// maxRetired bounds the authorities that no longer sign and are still trusted.
const maxRetired = 8

// maxSecret bounds what is read of a Secret, in octets.
const maxSecret = 256 << 10

// state is what the Secret holds. It is not changed once it is shared.
type state struct {
	signer  *pair               // signs
	next    *pair               // is handed out, and will sign; nil if there is none
	retired []*x509.Certificate // signed, and are trusted until they expire; the latest first
	serving *pair
}

// bundle is every authority, the signer first.
func (s *state) bundle() []byte {
	var b bytes.Buffer
	b.Write(encodeCert(s.signer.cert))
	if s.next != nil {
		b.Write(encodeCert(s.next.cert))
	}
	for _, c := range s.retired {
		b.Write(encodeCert(c))
	}
	return b.Bytes()
}

func (s *state) encode() (map[string][]byte, error) {
	out := map[string][]byte{BundleKey: s.bundle()}
	for _, p := range []struct {
		cert, key string
		*pair
	}{{keySigner, keySignerKey, s.signer}, {keyNext, keyNextKey, s.next}, {keyServing, keyServingKey, s.serving}} {
		if p.pair == nil {
			continue
		}
		var err error
		if out[p.cert], out[p.key], err = p.encode(); err != nil {
			return nil, err
		}
	}
	for _, c := range s.retired {
		out[keyRetired] = append(out[keyRetired], encodeCert(c)...)
	}
	return out, nil
}

// decode reads a Secret, which anybody may have written to: every certificate has to be
// what it is there for.
func decode(data map[string][]byte) (*state, error) {
	size := 0
	for _, v := range data {
		size += len(v)
	}
	if size > maxSecret {
		return nil, fmt.Errorf("it has %d octets and may have %d", size, maxSecret)
	}
	var s state
	var err error
	if s.signer, err = decodePair(data[keySigner], data[keySignerKey]); err != nil {
		return nil, fmt.Errorf("%s: %w", keySigner, err)
	}
	if len(data[keyNext])+len(data[keyNextKey]) > 0 {
		if s.next, err = decodePair(data[keyNext], data[keyNextKey]); err != nil {
			return nil, fmt.Errorf("%s: %w", keyNext, err)
		}
	}
	if s.retired, err = decodeCerts(data[keyRetired], maxRetired); err != nil {
		return nil, fmt.Errorf("%s: %w", keyRetired, err)
	}
	if s.serving, err = decodePair(data[keyServing], data[keyServingKey]); err != nil {
		return nil, fmt.Errorf("%s: %w", keyServing, err)
	}
	authorities := append([]*x509.Certificate{s.signer.cert}, s.retired...)
	if s.next != nil {
		authorities = append(authorities, s.next.cert)
	}
	for _, c := range authorities {
		if !c.IsCA {
			return nil, fmt.Errorf("%q is no authority", c.Subject.CommonName)
		}
	}
	if s.serving.cert.CheckSignatureFrom(s.signer.cert) != nil {
		return nil, errors.New(keyServing + ": it is not signed by " + keySigner)
	}
	return &s, nil
}

// advance is the state as it is to be now, and what was done to it in words; without words
// nothing was. delivered says that the bundle of s has been handed out to everybody.
func (c *Config) advance(s *state, now time.Time, delivered bool) (*state, []string, error) {
	var did []string
	var n state
	if s != nil {
		n = *s
		n.retired = slices.Clone(s.retired)
	}
	var err error
	if !n.signer.usable(now) {
		// The first one, or a clock that jumped: nothing that it signs is taken, so that there is
		// nothing to wait for.
		if n.signer != nil {
			n.retire()
		}
		if n.next.usable(now) {
			n.signer, n.next = n.next, nil
		} else if n.signer, err = newAuthority(now, c.AuthorityLife); err != nil {
			return nil, nil, err
		}
		did = append(did, "an authority was made to sign at once, as there was none that could")
	}
	if n.next != nil && now.Before(n.next.cert.NotBefore) {
		n.next = nil // made by a clock that was ahead
		did = append(did, "the next authority is not valid yet and was thrown away")
	}
	age := now.Sub(n.signer.made())
	switch {
	case n.next == nil && age >= n.signer.life()/2:
		if n.next, err = newAuthority(now, c.AuthorityLife); err != nil {
			return nil, nil, err
		}
		did = append(did, "the next authority was made, and is handed out before it signs")
	case n.next != nil && now.Sub(n.next.made()) >= c.Settle && (delivered || age >= n.signer.life()*3/4):
		n.retire()
		n.signer, n.next = n.next, nil
		did = append(did, "the next authority signs from now on")
	}
	before := len(n.retired)
	n.retired = slices.DeleteFunc(n.retired, func(c *x509.Certificate) bool { return !now.Before(c.NotAfter) })
	if len(n.retired) < before {
		did = append(did, "an expired authority was thrown away")
	}
	if !n.serving.usable(now) || now.Sub(n.serving.made()) >= n.serving.life()*2/3 ||
		!slices.Equal(n.serving.cert.DNSNames, c.DNSNames) || n.serving.cert.CheckSignatureFrom(n.signer.cert) != nil {
		if n.serving, err = newServing(now, c.ServingLife, c.DNSNames, n.signer); err != nil {
			return nil, nil, err
		}
		did = append(did, "a serving certificate was made")
	}
	return &n, did, nil
}

// retire keeps the signer's certificate and not its key.
func (s *state) retire() {
	s.retired = slices.Insert(s.retired, 0, s.signer.cert)
	s.retired = s.retired[:min(len(s.retired), maxRetired)]
}
