package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// pair is a certificate and its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// usable says whether a client whose clock is now would take the certificate.
func (p *pair) usable(now time.Time) bool {
	return p != nil && !now.Before(p.cert.NotBefore) && now.Before(p.cert.NotAfter)
}

// made is when the certificate was made.
func (p *pair) made() time.Time { return p.cert.NotBefore.Add(skew) }

// life is how long it was meant to live from then on.
func (p *pair) life() time.Duration { return p.cert.NotAfter.Sub(p.made()) }

func newAuthority(now time.Time, life time.Duration) (*pair, error) {
	return issue(&x509.Certificate{
		// The time tells two of them apart, where people look at them.
		Subject:  pkix.Name{CommonName: "Pavise " + now.UTC().Format("2006-01-02T15:04:05Z")},
		NotAfter: now.Add(life), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign,
	}, now, nil)
}

func newServing(now time.Time, life time.Duration, names []string, by *pair) (*pair, error) {
	end := now.Add(life)
	if by.cert.NotAfter.Before(end) {
		end = by.cert.NotAfter
	}
	return issue(&x509.Certificate{
		// A common name has room for 64 octets, and nobody compares it.
		Subject: pkix.Name{CommonName: fmt.Sprintf("%.64s", names[0])}, DNSNames: names, NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}, now, by)
}

// issue makes a key and a certificate for it, signed by itself if by is nil.
func issue(template *x509.Certificate, now time.Time, by *pair) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber, template.NotBefore = serial, now.Add(-skew)
	if by == nil {
		by = &pair{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &pair{cert, key}, err
}

func encodeCert(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func (p *pair) encode() (cert, key []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, nil, err
	}
	return encodeCert(p.cert), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// decodePair reads a certificate and the key that belongs to it. Errors show nothing of
// the key.
func decodePair(cert, key []byte) (*pair, error) {
	certs, err := decodeCerts(cert, 1)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(key)
	if len(certs) != 1 || block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it is not one certificate and one PRIVATE KEY, PEM each")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the key is no PKCS #8 key")
	}
	k, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !k.PublicKey.Equal(certs[0].PublicKey) {
		return nil, errors.New("the key is not that of the certificate")
	}
	return &pair{certs[0], k}, nil
}

// decodeCerts reads up to most certificates, and nothing besides.
func decodeCerts(b []byte, most int) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for len(bytes.TrimSpace(b)) > 0 {
		block, rest := pem.Decode(b)
		if block == nil || block.Type != "CERTIFICATE" || len(out) == most {
			return nil, fmt.Errorf("it is not %d certificates at the most, PEM each", most)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out, b = append(out, c), rest
	}
	return out, nil
}
