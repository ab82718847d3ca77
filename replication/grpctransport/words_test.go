package grpctransport

import (
	"errors"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// dialling tells the error of a dial, the first read included.
func dialling(t *testing.T, address string) error {
	tr, err := New(Config{})
	require.NoError(t, err)
	conn, err := tr.Dial(t.Context(), address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Recv()
	return err
}

func TestDialsThatFailSayWhyInWords(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := lis.Addr().String()
	require.NoError(t, lis.Close())
	err = dialling(t, address)
	require.EqualError(t, err, "dial "+address+": nobody answers there (connection refused)")
	require.Equal(t, codes.Unavailable, status.Code(errors.Unwrap(errors.Unwrap(err))), "the cause is kept")

	web, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: http.NotFoundHandler()}
	done := make(chan error, 1)
	go func() { done <- server.Serve(web) }()
	require.ErrorContains(t, dialling(t, web.Addr().String()), "that is no client or peer port of a node")
	require.NoError(t, server.Close())
	require.ErrorIs(t, <-done, http.ErrServerClosed)
}

func TestWordsOfStatuses(t *testing.T) {
	for text, want := range map[string]string{
		`connection error: desc = "transport: Error while dialing: dial tcp: lookup x: no such host"`: "nobody answers there (no such host)",
		`transport: Error while dialing: odd`:                                                                                "nobody answers there (odd)",
		`connection error: desc = "error reading server preface: EOF"`:                                                       "it hung up",
		`connection error: desc = "transport: authentication handshake failed: EOF"`:                                         "it hung up",
		`authentication handshake failed: tls: first record does not look like a TLS handshake`:                              "it speaks no TLS",
		`authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority"`: "not to be trusted (x509: certificate signed by unknown authority)",
		`unknown service theriac.peer.v1.Peer`:                                                                               "that is no client or peer port",
		`error reading from server: EOF`:                                                                                     "error reading from server: EOF",
	} {
		require.Contains(t, wordsOf(text), want)
	}
	require.NoError(t, plainly(nil))
	odd := errors.New("odd")
	require.Equal(t, odd, plainly(odd))
}
