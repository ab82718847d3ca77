package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// secrets are a certificate that is its own authority, for all nodes and this process, and the key of
// their gossip. They are made for one cluster, in its folder.
type secrets struct {
	dir   string
	pair  tls.Certificate
	roots *x509.CertPool
}

// validFor is how long the certificate holds: longer than any run, and clocks are set wrong meanwhile.
const validFor = 30 * 24 * time.Hour

// newSecrets makes them for the addresses with the numbers 1 to MaxRegions.
func newSecrets(dir string, address func(number int) string) (*secrets, error) {
	s := &secrets{dir: filepath.Join(dir, "secrets"), roots: x509.NewCertPool()}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "theriac jepsen"}, NotBefore: time.Now().Add(-validFor), NotAfter: time.Now().Add(validFor),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	for i := range MaxRegions {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(address(i+1)))
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	gossip := make([]byte, 32)
	_, _ = rand.Read(gossip) // it never fails
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	if s.pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return nil, err
	}
	s.roots.AppendCertsFromPEM(certPEM)
	return s, s.save(map[string][]byte{"cert.pem": certPEM, "key.pem": keyPEM, "gossip.key": []byte(hex.EncodeToString(gossip))})
}

func (s *secrets) save(files map[string][]byte) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o600); err != nil {
			return fmt.Errorf("cluster: certificates: %w", err)
		}
	}
	return nil
}

// flags are theriac serve's.
func (s *secrets) flags() []string {
	cert := filepath.Join(s.dir, "cert.pem")
	return []string{"--tls-ca", cert, "--tls-cert", cert, "--tls-key", filepath.Join(s.dir, "key.pem"), "--gossip-key-file", filepath.Join(s.dir, "gossip.key")}
}

// dialer is what connects to nodes.
func (s *secrets) dialer() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: s.roots, Certificates: []tls.Certificate{s.pair}}
}
