package client

import (
	"errors"
	"net"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/theriac-db/theriac/kv"
)

// What gRPC and the packages below it say of connections that can't be. It keeps no error values,
// only their text; tests hold these words to what really comes.
const (
	saysPlaintext   = "first record does not look like a TLS handshake"
	saysDialing     = "Error while dialing: "
	saysUntrusted   = "tls: failed to verify certificate: "
	saysNameless    = "tls: certificate required"
	saysNoHandshake = "authentication handshake failed: EOF"
	saysHTTP1       = "looked like an HTTP/1.1 header"
	saysHungUp      = "error reading server preface: "
	saysNoDatabase  = "unknown service theriac.v1.Database"
)

const notClientPort = " is not a client port (peers are at the client port +1, gossip at +2, admin at +3)"

// unusableError is the cause of errors about an address at which this client finds no database, and
// won't before somebody changes a setting. Nothing was sent.
type unusableError struct{ error }

func (e unusableError) Unwrap() error { return e.error }

func unusable(err error) bool { return errors.As(err, new(unusableError)) }

// unreachable explains a call that found no database at addr, and tells its kind: what only another
// setting cures is invalid, which nobody retries. Where one has served before, a wrong port is no
// explanation. ok is false when st is about something else.
func unreachable(addr string, st *status.Status, served bool) (kind kv.Kind, message string, ok bool) {
	text := st.Message()
	switch {
	case served && (strings.Contains(text, saysNoHandshake) || strings.Contains(text, saysHungUp)):
		return kv.KindUnavailable, "the node at " + addr + " answers no new connection: it may be stopping, or stuck, or the way to it is", true
	case strings.Contains(text, saysPlaintext):
		return kv.KindInvalid, "the node at " + addr + " speaks no TLS: " + plaintextAdvice(addr), true
	case strings.Contains(text, saysUntrusted):
		_, why, _ := strings.Cut(strings.TrimRight(text, `"`), saysUntrusted)
		why, _, _ = strings.Cut(why, " (possibly because") // a guess
		return kv.KindInvalid, "the certificate of " + addr + " is not to be trusted (" + why +
			"): --tls-ca (client.WithTLS) names the authority, and the certificate must name the address", true
	case strings.Contains(text, saysNameless):
		return kv.KindInvalid, addr + " wants a certificate of its clients: give --tls-cert and --tls-key (client.WithTLS); client ports want none, so it may be another", true
	case strings.Contains(text, saysHTTP1), st.Code() == codes.Unimplemented && strings.Contains(text, saysNoDatabase):
		return kv.KindInvalid, addr + notClientPort, true
	case strings.Contains(text, saysNoHandshake):
		return kv.KindUnavailable, "what is at " + addr + " hung up: it speaks no TLS, or it" + notClientPort, true
	case strings.Contains(text, saysHungUp):
		return kv.KindUnavailable, "what is at " + addr + " hung up: it wants TLS, or it" + notClientPort, true
	}
	if _, dialling, found := strings.Cut(text, saysDialing); found {
		return kv.KindUnavailable, "no node answers at " + addr + " (" + lastReason(dialling) + ")", true
	}
	return 0, "", false
}

func plaintextAdvice(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil && !loopback(host) {
		return "start it with certificates; plaintext is for loopback addresses only"
	}
	return "add --insecure (client.Insecure())"
}

// lastReason is the innermost of nested errors: connection refused.
func lastReason(nested string) string {
	nested = strings.TrimRight(nested, `"`)
	if i := strings.LastIndex(nested, ": "); i >= 0 {
		return nested[i+len(": "):]
	}
	return nested
}
