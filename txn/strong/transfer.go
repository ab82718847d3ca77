package strong

import (
	"encoding/binary"

	"go.etcd.io/raft/v3"

	"github.com/theriac-db/theriac/kv"
)

// Kinds of what members send each other.
const (
	kindRaft     byte = 0
	kindPart     byte = 1
	kindReceived byte = 2
	kindAsk      byte = 3
	kindStanding byte = 4
)

const (
	partHead    = 1 + 8 + 4 + 4
	receivedLen = 1 + 8 + 4
)

// part is a piece of a raft message with a snapshot, or with no bytes an answer: how many came.
type part struct {
	transfer uint64
	number   uint32 // of this piece, or how many came in order
	of       uint32 // pieces; 0: it is an answer
	bytes    []byte
}

func (p *part) append(dst []byte) []byte {
	kind := kindPart
	if p.of == 0 {
		kind = kindReceived
	}
	dst = binary.BigEndian.AppendUint64(append(dst, kind), p.transfer)
	dst = binary.BigEndian.AppendUint32(dst, p.number)
	if p.of == 0 {
		return dst
	}
	return append(binary.BigEndian.AppendUint32(dst, p.of), p.bytes...)
}

// maxParts is in how many pieces a snapshot goes at most, its configuration included.
const maxParts = MaxSnapshot/SnapshotPart + 2

func decodePart(b []byte) (*part, error) {
	switch {
	case b[0] == kindReceived && len(b) == receivedLen:
		return &part{transfer: binary.BigEndian.Uint64(b[1:]), number: binary.BigEndian.Uint32(b[9:])}, nil
	case b[0] == kindPart && len(b) > partHead && len(b) <= partHead+SnapshotPart:
		p := &part{
			transfer: binary.BigEndian.Uint64(b[1:]), number: binary.BigEndian.Uint32(b[9:]),
			of: binary.BigEndian.Uint32(b[13:]), bytes: b[partHead:],
		}
		if p.of > 0 && p.of <= maxParts && p.number < p.of {
			return p, nil
		}
	}
	return nil, kv.Errorf(kv.KindCorrupt, "strong: malformed part of a snapshot: %d bytes", len(b))
}

// transfer is a raft message with a snapshot on its way to a member.
type transfer struct {
	id       uint64
	bytes    []byte // the message, encoded
	sent     uint32 // pieces
	received uint32 // of them, in order
	at       uint64 // the tick of the last progress
	resent   uint64 // the tick of the last repetition
}

func (t *transfer) parts() uint32 { return uint32((len(t.bytes) + SnapshotPart - 1) / SnapshotPart) }

// begin starts a transfer in place of any before to the same member.
func (g *Group) begin(to uint64, message []byte) {
	t := &transfer{id: g.c.Random(), bytes: message, at: g.ticks, resent: g.ticks}
	g.transfers[to] = t
	g.sendParts(to, t)
}

// sendParts sends as many pieces as may be on their way.
func (g *Group) sendParts(to uint64, t *transfer) {
	for of := t.parts(); t.sent < of && t.sent < t.received+SnapshotWindow; t.sent++ {
		from := int(t.sent) * SnapshotPart
		p := part{transfer: t.id, number: t.sent, of: of, bytes: t.bytes[from:min(from+SnapshotPart, len(t.bytes))]}
		g.out[to] = append(g.out[to], p.append(nil))
	}
}

// received goes on with a transfer of which a member has told how much came.
func (g *Group) received(from uint64, p *part) {
	t := g.transfers[from]
	if t == nil || t.id != p.transfer || p.number <= t.received || p.number > t.sent {
		return
	}
	t.received, t.at = p.number, g.ticks
	if t.received < t.parts() {
		g.sendParts(from, t)
		return
	}
	delete(g.transfers, from)
	// The member's own answer may be lost. Raft then finds out what it has.
	g.node.ReportSnapshot(from, raft.SnapshotFinish)
}

// watchTransfers repeats what was not answered, and gives transfers up that make no progress, so that raft
// sends another snapshot.
func (g *Group) watchTransfers() {
	for to, t := range g.transfers {
		switch {
		case g.ticks-t.at >= snapshotTicks:
			delete(g.transfers, to)
			g.node.ReportSnapshot(to, raft.SnapshotFailure)
		case g.ticks-max(t.at, t.resent) >= resendTicks:
			t.sent, t.resent = t.received, g.ticks
			g.sendParts(to, t)
		}
	}
}

// assembly is what came of a transfer.
type assembly struct {
	transfer uint64
	next     uint32
	bytes    []byte
}

// assemble takes a piece, and hands raft the message once all came. Pieces out of order are sent again.
func (g *Group) assemble(from uint64, p *part) {
	if p.of == 0 {
		g.received(from, p)
		return
	}
	a := g.assemblies[from]
	if a == nil || a.transfer != p.transfer {
		if p.number != 0 {
			return
		}
		clear(g.assemblies) // one leader sends, one snapshot
		a = &assembly{transfer: p.transfer}
		g.assemblies[from] = a
	}
	if p.number == a.next {
		a.bytes = append(a.bytes, p.bytes...)
		a.next++
		if a.next == p.of {
			g.assembled(from, a)
		}
	}
	answer := part{transfer: a.transfer, number: a.next}
	g.out[from] = append(g.out[from], answer.append(nil))
}

// assembled hands raft a message that came in pieces. A malformed one is dropped; the leader then finds
// that it was of no use.
func (g *Group) assembled(from uint64, a *assembly) {
	bytes := a.bytes
	a.bytes = nil
	m, err := decodeRaft(from, g.c.ID, bytes)
	if err != nil {
		g.c.Logf("%v", err)
		return
	}
	if m.GetTo() == g.c.ID { // not the store that the region had before
		g.step(m)
	}
}
