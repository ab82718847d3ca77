package grpctransport

import (
	"strings"

	"google.golang.org/grpc/status"
)

// What gRPC and the packages below it say of connections that can't be; tests hold these words to what
// really comes.
const (
	saysDialing     = "Error while dialing: "
	saysPlaintext   = "first record does not look like a TLS handshake"
	saysUntrusted   = "tls: failed to verify certificate: "
	saysHTTP1       = "looked like an HTTP/1.1 header"
	saysHungUp      = "error reading server preface: "
	saysNoHandshake = "authentication handshake failed: EOF"
	saysNoService   = "unknown service theriac"
)

// plainError says in words what a status of gRPC means.
type plainError struct {
	words string
	cause error
}

func (e *plainError) Error() string { return e.words }
func (e *plainError) Unwrap() error { return e.cause }

// plainly gives an error of a connection words, if it is gRPC's own.
func plainly(err error) error {
	st, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	return &plainError{wordsOf(st.Message()), err}
}

func wordsOf(text string) string {
	text = strings.TrimSpace(text)
	switch {
	case strings.Contains(text, saysPlaintext):
		return "it speaks no TLS, and this node does: certificates are for all nodes or, on loopback, for none"
	case strings.Contains(text, saysUntrusted):
		_, why, _ := strings.Cut(strings.TrimRight(text, `"`), saysUntrusted)
		return "its certificate is not to be trusted (" + why + ")"
	case strings.Contains(text, saysHTTP1), strings.Contains(text, saysNoService):
		return "that is no client or peer port of a node (peers are at the client port +1, gossip at +2, admin at +3)"
	case strings.Contains(text, saysNoHandshake), strings.Contains(text, saysHungUp):
		return "it hung up: it may be stopping, it wants TLS or speaks none, or it is no client or peer port of a node"
	}
	if _, dialling, found := strings.Cut(text, saysDialing); found {
		return "nobody answers there (" + innermost(dialling) + ")"
	}
	return text
}

// innermost is the last of nested reasons: connection refused.
func innermost(nested string) string {
	nested = strings.TrimRight(nested, `"`)
	if i := strings.LastIndex(nested, ": "); i >= 0 {
		return nested[i+len(": "):]
	}
	return nested
}
