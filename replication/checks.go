package replication

import (
	"strings"
	"unicode"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/kv"
)

// What another node says of itself and of others is checked here, where it comes in: names end up on every
// region's disk, and all of it in logs.

const (
	// MaxName bounds a region's name, in bytes.
	MaxName = 64
	// MaxAddress bounds an address of a node, in bytes: the longest host name there is, and a port.
	MaxAddress = 253 + len(":65535")
	// maxShown bounds what is shown, in bytes, of a text that a peer wrote.
	maxShown = 1 << 10
)

// CheckName refuses what can't be a region's name (kv.ErrInvalid).
func CheckName(name string) error {
	bad := len(name) == 0 || len(name) > MaxName
	for _, r := range name {
		bad = bad || r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}
	if bad {
		return kv.Errorf(kv.KindInvalid, "region name %.70q: want 1 to %d of a-z, 0-9 and \"-\"", name, MaxName)
	}
	return nil
}

// checkAddresses refuses what nobody can dial. What form an address has is the transport's affair.
func checkAddresses(a kv.Addresses) error {
	for _, s := range []string{a.Client, a.Peer, a.Gossip, a.Admin} {
		if len(s) > MaxAddress || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }) {
			return kv.Errorf(kv.KindInvalid, "address %.70q: want HOST:PORT, at most %d bytes", s, MaxAddress)
		}
	}
	return nil
}

// checkHello refuses a hello that no node of this version sends, before anything of it is used or shown.
func checkHello(h *peerv1.Hello) error {
	if err := checkProtocol(h); err != nil {
		return err
	}
	if n := len(h.GetCluster()); n != 0 && n != len(kv.ClusterID{}) {
		return kv.Errorf(kv.KindInvalid, "a cluster id of %d bytes: want %d", n, len(kv.ClusterID{}))
	}
	if err := CheckName(h.GetName()); err != nil {
		return err
	}
	if err := checkAddresses(addressesFrom(h.GetAddresses())); err != nil {
		return err
	}
	_, err := membersFrom(h.GetMembers())
	return err
}

// shown is a text of a peer's as errors may show it.
func shown(s string) string { return OneLine(s, maxShown) }

// OneLine is a text that somebody else may have had a hand in as logs may show it: on one line, without
// what a terminal takes for commands, and cut after so many bytes.
func OneLine(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
