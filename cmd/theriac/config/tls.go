package config

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/theriac-db/theriac/kv"
)

// MaxPEM bounds a certificate or key file, in bytes.
const MaxPEM = 1 << 20

// TLS names the files of one side's identity and of whom it trusts. All are PEM.
type TLS struct {
	CA   string // authorities that the other side's certificate must come from
	Cert string // own certificate, with its chain
	Key  string // own private key
}

func (t TLS) isZero() bool { return t == TLS{} }

// check finds what needs no file access.
func (t TLS) check() error {
	if (t.Cert == "") != (t.Key == "") {
		return kv.Errorf(kv.KindInvalid, "--tls-cert and --tls-key go together: give both or neither")
	}
	return nil
}

// Dialer builds the configuration of a side that dials. Without an authority those of the system
// count; with a certificate it identifies itself.
func (t TLS) Dialer() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS13}
	var err error
	if t.CA != "" {
		if c.RootCAs, err = t.pool(); err != nil {
			return nil, err
		}
	}
	if t.Cert != "" {
		if c.Certificates, err = t.identity(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Listener builds the configuration of a side that listens. A mutual one demands a certificate from
// the authority of whoever dials: peers are known by it.
func (t TLS) Listener(mutual bool) (*tls.Config, error) {
	identity, err := t.identity()
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: identity}
	if mutual {
		if c.ClientCAs, err = t.pool(); err != nil {
			return nil, err
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

func (t TLS) pool() (*x509.CertPool, error) {
	pem, err := readBounded(t.CA, MaxPEM)
	if err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "--tls-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, kv.Errorf(kv.KindInvalid, "--tls-ca %s: no certificate in PEM form in it", t.CA)
	}
	return pool, nil
}

func (t TLS) identity() ([]tls.Certificate, error) {
	cert, err := readBounded(t.Cert, MaxPEM)
	if err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "--tls-cert: %w", err)
	}
	key, err := readBounded(t.Key, MaxPEM)
	if err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "--tls-key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, kv.Errorf(kv.KindInvalid, "--tls-cert %s with --tls-key %s: %w", t.Cert, t.Key, err)
	}
	return []tls.Certificate{pair}, nil
}
