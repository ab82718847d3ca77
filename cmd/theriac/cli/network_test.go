package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// listen serves a database over gRPC on loopback until the test ends.
func listen(t *testing.T, t2 *tls.Config) (address string) {
	return listenFor(t, memkv.New().Node(1, "eu"), t2)
}

func listenFor(t *testing.T, svc kv.Service, t2 *tls.Config) (address string) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpcapi.New(grpcapi.Config{Service: svc, TLS: t2})
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Stop(ctx)
		<-served
	})
	return lis.Addr().String()
}

// overNetwork runs a command with the real dialer.
func overNetwork(args ...string) (code int, stdout, stderr string) {
	app, out, errs := newTestApp(nil, "")
	app.Dial = nil
	code = app.Run(context.Background(), args)
	return code, out.String(), errs.String()
}

func TestOverLoopbackInPlaintext(t *testing.T) {
	at := listen(t, nil)
	code, _, stderr := overNetwork("counter", "add", "k", "5", "--addr", at, "--insecure")
	require.Equal(t, ExitOK, code, stderr)
	code, stdout, stderr := overNetwork("counter", "get", "k", "--addr", at, "--insecure")
	require.Equal(t, ExitOK, code, stderr)
	require.Equal(t, "5\n", stdout)

	code, _, stderr = overNetwork("counter", "get", "k", "--addr", at)
	require.Equal(t, ExitUsage, code, "plaintext must be asked for: %s", stderr)
	require.Contains(t, stderr, "speaks no TLS: add --insecure")
	require.NotContains(t, stderr, "hint:")
}

func TestOverTLS(t *testing.T) {
	files := writeCertificates(t)
	server, err := files.Listener(true)
	require.NoError(t, err)
	at := listen(t, server)
	flags := []string{"--addr", at, "--tls-ca", files.CA, "--tls-cert", files.Cert, "--tls-key", files.Key}
	code, _, stderr := overNetwork(append([]string{"counter", "add", "k"}, flags...)...)
	require.Equal(t, ExitOK, code, stderr)

	code, _, stderr = overNetwork("counter", "add", "k", "--addr", at, "--insecure", "--timeout", "300ms")
	require.Equal(t, ExitUnavailable, code, stderr)
	code, _, stderr = overNetwork("counter", "add", "k", "--addr", at, "--tls-ca", files.CA)
	require.Equal(t, ExitUsage, code, stderr)
	require.Contains(t, stderr, at+" wants a certificate of its clients")
	code, _, stderr = overNetwork("counter", "add", "k", "--addr", at, "--tls-ca", writeCertificates(t).CA)
	require.Equal(t, ExitUsage, code, stderr)
	require.Contains(t, stderr, "the certificate of "+at+" is not to be trusted (x509: certificate signed by unknown authority): --tls-ca")
	code, _, stderr = overNetwork("counter", "add", "k", "--addr", at, "--tls-ca", files.Key)
	require.Equal(t, ExitUsage, code, stderr)
	require.Contains(t, stderr, "no certificate in PEM form")
}

// Of several addresses one that serves is enough, whatever is wrong with those before it.
func TestWrongAddressesBeforeARightOne(t *testing.T) {
	files := writeCertificates(t)
	config, err := files.Listener(true)
	require.NoError(t, err)
	plain, secured := listen(t, nil), listen(t, config)
	web := listenWeb(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	nobody := closed.Addr().String()
	withTLS := []string{"--tls-ca", files.CA, "--tls-cert", files.Cert, "--tls-key", files.Key}
	for name, c := range map[string]struct {
		flags []string
		right string
		wrong []string
	}{
		"TLS":       {withTLS, secured, []string{plain, web, nobody}},
		"plaintext": {[]string{"--insecure"}, plain, []string{web, nobody, secured}},
	} {
		for _, wrong := range append(c.wrong, strings.Join(c.wrong, ",")) {
			code, _, stderr := overNetwork(append([]string{"counter", "add", "k", "--addr", wrong + "," + c.right}, c.flags...)...)
			require.Equal(t, ExitOK, code, "%s, %s: %s", name, wrong, stderr)
		}
	}
	code, _, stderr := overNetwork("counter", "add", "k", "--insecure", "--addr", web+","+web)
	require.Equal(t, ExitUsage, code, stderr)
	require.Contains(t, stderr, "none of 2 addresses can serve: "+web+" is not a client port")
	require.NotContains(t, stderr, "hint:")
}

// listenWeb serves what is no database, as the admin port does.
func listenWeb(t *testing.T) string {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		<-served
	})
	return lis.Addr().String()
}

func TestNobodyThere(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := lis.Addr().String()
	require.NoError(t, lis.Close())
	code, _, stderr := overNetwork("counter", "add", "k", "--addr", at, "--insecure", "--timeout", "200ms")
	require.Equal(t, ExitUnavailable, code)
	require.Contains(t, stderr, "no node answers at "+at+" (connection refused)")
	require.Contains(t, stderr, "outcome: not applied")
	require.Contains(t, stderr, "hint: theriac serve starts a node")
}

// writeCertificates makes a certificate for loopback that is its own authority.
func writeCertificates(t *testing.T) config.TLS {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	cert := write("cert.pem", "CERTIFICATE", der)
	return config.TLS{CA: cert, Cert: cert, Key: write("key.pem", "PRIVATE KEY", secret)}
}
