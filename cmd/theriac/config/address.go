package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/theriac-db/theriac/kv"
)

// The ports next to the client port when nothing else is said.
const (
	peerOffset   = 1
	gossipOffset = 2
	adminOffset  = 3
	maxPort      = 65535
)

// splitAddress reads HOST:PORT with a number as the port; what names the setting in errors.
func splitAddress(what, address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, kv.Errorf(kv.KindInvalid, "--%s %q: want HOST:PORT, such as 127.0.0.1:6700 or [::1]:6700", what, address)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > maxPort {
		return "", 0, kv.Errorf(kv.KindInvalid, "--%s %q: want a port from 0 to %d", what, address, maxPort)
	}
	return host, port, nil
}

// splitDialled is splitAddress for an address that somebody dials: host and port must be there.
func splitDialled(what, address string) (host string, port int, err error) {
	host, port, err = splitAddress(what, address)
	if err == nil && (port == 0 || isWildcard(host)) {
		err = kv.Errorf(kv.KindInvalid, "--%s %q: want a host and a port that can be dialled", what, address)
	}
	return host, port, err
}

// splitAdvertise reads HOST or HOST:PORT; port 0 stands for none. An empty address is empty.
func splitAdvertise(address string) (host string, port int, err error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil || !strings.Contains(address, ":") {
		if address != "" && isWildcard(bare) {
			return "", 0, kv.Errorf(kv.KindInvalid, "--advertise %q: want a host that others can dial", address)
		}
		return bare, 0, nil
	}
	return splitDialled("advertise", address)
}

// next is the address offset ports after host:port; port 0 stays 0, the system picks.
func next(what, host string, port, offset int) (string, error) {
	if port != 0 {
		port += offset
	}
	if port > maxPort {
		return "", kv.Errorf(kv.KindInvalid, "--%s: port %d is past the last one; choose a lower --listen port or set it", what, port)
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// isLoopback tells hosts that no other machine reaches. Of names only localhost is one, so that a
// changed resolver can't turn plaintext loose.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// isWildcard tells hosts that mean every interface: good to listen on, impossible to dial.
func isWildcard(host string) bool {
	if host == "" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsUnspecified()
}
