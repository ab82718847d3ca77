package membership

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"
)

// memberlist decodes what comes before it asks how much that is: a packet or a stream may unpack to
// megabytes, or have a place made for a million nodes. So nothing packed is let in, no node sends any
// (settings), and the head of a stream is read here first. What is encrypted is decoded only if it was
// written with the key; checkHead and checkPacket let it pass.

// maxNodes bounds the nodes that gossip knows: replication never gives a higher number to a region.
const maxNodes = 256

// Types of memberlist's messages, on the wire.
const (
	pingMsg byte = iota
	indirectPingMsg
	ackMsg
	suspectMsg
	aliveMsg
	deadMsg
	pushPullMsg
	compoundMsg
	userMsg
	compressMsg
	encryptMsg
	nackMsg
	crcMsg
	errMsg
	labelMsg = 244
)

var (
	inPackets = []byte{pingMsg, indirectPingMsg, ackMsg, suspectMsg, aliveMsg, deadMsg, nackMsg}
	inStreams = []byte{pingMsg, ackMsg, encryptMsg, errMsg}
)

var errMalformed = errors.New("malformed")

// checkPacket refuses a packet, not encrypted, that holds anything but small messages.
func checkPacket(b []byte) error {
	b, _, err := memberlist.RemoveLabelHeaderFromPacket(b)
	if err != nil {
		return err
	}
	if len(b) >= 5 && b[0] == crcMsg {
		b = b[5:]
	}
	if len(b) == 0 || b[0] != compoundMsg {
		return checkMessage(b)
	}
	messages, err := parts(b[1:])
	for _, m := range messages {
		err = errors.Join(err, checkMessage(m))
	}
	return err
}

func checkMessage(b []byte) error {
	if len(b) == 0 {
		return errMalformed
	}
	if !slices.Contains(inPackets, b[0]) {
		return fmt.Errorf("messages of type %d are not taken", b[0])
	}
	return nil
}

// parts cuts a compound message: a count, as many lengths of two bytes, the messages. What is cut off
// memberlist leaves out.
func parts(b []byte) ([][]byte, error) {
	if len(b) == 0 || len(b) < 1+2*int(b[0]) {
		return nil, errMalformed
	}
	lengths, rest := b[1:1+2*int(b[0])], b[1+2*int(b[0]):]
	var out [][]byte
	for ; len(lengths) > 0; lengths = lengths[2:] {
		n := int(lengths[0])<<8 | int(lengths[1])
		if n > len(rest) {
			return out, nil
		}
		out, rest = append(out, rest[:n]), rest[n:]
	}
	return out, nil
}

// checkHead reads the head of a stream: the label, the type of the message, and of a push/pull how much
// follows. A stream has one message.
func checkHead(next func() (byte, error)) error {
	b, err := next()
	if err == nil && b == labelMsg {
		if b, err = next(); err == nil {
			err = skip(next, int(b))
		}
		if err == nil {
			b, err = next()
		}
	}
	switch {
	case err != nil:
		return err
	case b == pushPullMsg:
		return checkPushPull(next)
	case !slices.Contains(inStreams, b):
		return fmt.Errorf("messages of type %d are not taken", b)
	}
	return nil
}

func skip(next func() (byte, error), n int) error {
	for range n {
		if _, err := next(); err != nil {
			return err
		}
	}
	return nil
}

// checkPushPull reads the header of a push/pull, in MessagePack: a map of Nodes, UserStateLen and Join, so that the
// bound of nodes holds for all that room is made for.
func checkPushPull(next func() (byte, error)) error {
	const mapOf3, fixedString = 0x83, 0xa0
	b, err := next()
	if err == nil && b != mapOf3 {
		err = errMalformed
	}
	for i := 0; i < 3 && err == nil; i++ {
		if b, err = next(); err != nil {
			break
		}
		if b&0xe0 != fixedString {
			return errMalformed
		}
		if err = skip(next, int(b&0x1f)); err == nil {
			err = checkCount(next)
		}
	}
	return err
}

// checkCount reads a boolean, or a number that may count nodes.
func checkCount(next func() (byte, error)) error {
	const no, yes = 0xc2, 0xc3
	b, err := next()
	if err != nil || b == no || b == yes || b < 0x80 {
		return err
	}
	size := map[byte]int{0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8, 0xd0: 1, 0xd1: 2, 0xd2: 4, 0xd3: 8}[b]
	if size == 0 {
		return errMalformed
	}
	var n uint64
	for range size {
		if b, err = next(); err != nil {
			return err
		}
		n = n<<8 | uint64(b)
	}
	if n > maxNodes {
		return fmt.Errorf("a state of more than %d nodes", maxNodes)
	}
	return nil
}
