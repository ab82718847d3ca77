package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication/grpctransport"
)

// authority makes an authority and a certificate of it for loopback, as PEM files.
func authority(t *testing.T) config.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	files := config.TLS{CA: filepath.Join(dir, "cert.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	require.NoError(t, os.WriteFile(files.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	require.NoError(t, os.WriteFile(files.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return files
}

// says sends one hello to a port, and returns the first answer.
func says(t *testing.T, address string, with *tls.Config, h *peerv1.Hello) (*peerv1.Message, error) {
	t.Helper()
	transport, err := grpctransport.New(grpctransport.Config{ClientTLS: with})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := transport.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.Send(&peerv1.Message{Body: &peerv1.Message_Hello{Hello: h}}); err != nil {
		return nil, err
	}
	return conn.Recv()
}

// TestWithoutACertificateNobodyIsARegion goes through the protocol between regions as a program that has
// no certificate: the peer port does not speak to it, and the client port says where that is, no more.
func TestWithoutACertificateNobodyIsARegion(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	files := authority(t)
	flags := func(region string) []string {
		return []string{"--region", region, "--data", t.TempDir(), "--tls-ca", files.CA, "--tls-cert", files.Cert, "--tls-key", files.Key}
	}
	eu := startWith(t, flags("eu")...)
	us := startWith(t, append(flags("us"), "--join", eu.addresses["clients"])...) // through the client port
	trusting, err := config.TLS{CA: files.CA}.Dialer()
	require.NoError(t, err)
	db, err := client.Open(ctx, eu.addresses["clients"], client.WithTLS(trusting))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, db.Counter("k").Add(ctx, 1))
	s, err := db.Status(ctx)
	require.NoError(t, err)

	for purpose := range peerv1.Purpose_name {
		for name, number := range map[string]uint32{"us": 2, "evil": 3} {
			h := &peerv1.Hello{ProtocolMin: 3, ProtocolMax: 3, Purpose: peerv1.Purpose(purpose), Cluster: s.Cluster[:], Region: number, Name: name,
				Incarnation: 7, Addresses: &peerv1.Addresses{Peer: "127.0.0.1:1"}}
			_, err := says(t, us.addresses["peers"], trusting, h)
			require.Error(t, err, "a certificate is required: TLS 1.3 says so, unless the connection is closed before that is read")
			answer, err := says(t, eu.addresses["clients"], trusting, h)
			require.NoError(t, err)
			if h.GetPurpose() != peerv1.Purpose_PURPOSE_JOIN {
				require.Equal(t, kv.KindDenied, kv.Kind(answer.GetRefused().GetKind()), "%v", answer)
				continue
			}
			require.Equal(t, peerv1.JoinAnswer_RESULT_ASK, answer.GetJoinAnswer().GetResult(), "%v", answer)
			require.Equal(t, eu.addresses["peers"], answer.GetJoinAnswer().GetAsk())
			require.Empty(t, answer.GetJoinAnswer().GetMembers())
		}
	}
	after, err := db.Status(ctx)
	require.NoError(t, err)
	require.Len(t, after.Regions, 2)
	for _, r := range after.Regions {
		require.True(t, r.Connected, "%v", r)
	}
}
