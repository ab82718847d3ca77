package strong

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// heard is what a node has said, and at what tick.
type heard struct {
	Standing
	at uint64
}

// standing is how this node stands.
func (g *Group) standing() *Standing {
	s := &Standing{
		ID: g.c.ID, Term: g.role.term, Commit: g.role.commit, Last: g.log.last,
		Voters: g.log.conf.GetVoters(), Outgoing: g.log.conf.GetVotersOutgoing(), Held: g.c.Held(), Version: g.c.Version(),
	}
	atRest := len(g.appends) == 0 && g.applied == g.role.commit
	s.Leaderless = g.leaderless() && atRest
	if term, err := g.log.Term(g.log.last); err == nil {
		s.LastTerm = term
	} else {
		s.Leaderless = false // who can't read its log says nothing
	}
	return s
}

// leaderless tells whether no leader was known for long.
func (g *Group) leaderless() bool { return g.role.leaderless >= uint64(RefoundAfter/TickInterval) }

// watchDeath asks how the others stand while there is no leader for long, and has the group founded anew once
// it is known to be dead and this node is to do that.
func (g *Group) watchDeath() {
	if !g.leaderless() || g.refounded {
		clear(g.standings)
		g.refounding = ""
		return
	}
	places := g.c.Places()
	if len(places) == 0 {
		return
	}
	if g.ticks%standingTicks == 0 {
		for _, p := range places {
			if id := VoterID(p.Region, p.Store); p.Store != 0 && id != g.c.ID {
				g.out[id] = append(g.out[id], []byte{kindAsk})
			}
		}
	}
	r, act, why := judge(places, g.said(), g.c.ID)
	if act {
		g.refounded = true
		g.c.Logf("strong: the raft group is dead: of its voters %x, the stores of %x were replaced; this node founds it anew", g.log.conf.GetVoters(), r.Lost)
		g.c.Refound(r)
	} else if why != g.refounding {
		g.c.Logf("strong: no leader was known for %v: %s", RefoundAfter, why)
	}
	g.refounding = why
}

// said is how all stand of whom that is known, this node included.
func (g *Group) said() map[uint64]Standing {
	maps.DeleteFunc(g.standings, func(_ uint64, h heard) bool { return g.ticks-h.at > 2*standingTicks })
	out := map[uint64]Standing{g.c.ID: *g.standing()}
	for id, h := range g.standings {
		out[id] = h.Standing
	}
	return out
}

// standingHead is the length of a standing without its lists.
const standingHead = 1 + 1 + 6*8

// append encodes it.
func (s *Standing) append(dst []byte) []byte {
	var flags byte
	if s.Leaderless {
		flags = 1
	}
	dst = append(dst, kindStanding, flags)
	for _, v := range [...]uint64{s.Term, s.Commit, s.Last, s.LastTerm, uint64(s.Held), s.Version} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	for _, list := range [][]uint64{s.Voters, s.Outgoing} {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(list)))
		for _, id := range list {
			dst = binary.BigEndian.AppendUint64(dst, id)
		}
	}
	return dst
}

// decodeStanding decodes how a node stands.
func decodeStanding(from uint64, b []byte) (*Standing, error) {
	malformed := kv.Errorf(kv.KindCorrupt, "strong: malformed standing of voter %x: %d bytes", from, len(b))
	if len(b) < standingHead || b[1] > 1 {
		return nil, malformed
	}
	v := func(i int) uint64 { return binary.BigEndian.Uint64(b[2+8*i:]) }
	s := &Standing{ID: from, Leaderless: b[1] == 1, Term: v(0), Commit: v(1), Last: v(2), LastTerm: v(3), Held: clock.Timestamp(v(4)), Version: v(5)}
	rest := b[standingHead:]
	for _, to := range []*[]uint64{&s.Voters, &s.Outgoing} {
		if len(rest) < 2 {
			return nil, malformed
		}
		n := int(binary.BigEndian.Uint16(rest))
		if rest = rest[2:]; len(rest) < 8*n {
			return nil, malformed
		}
		for ids := range slices.Chunk(rest[:8*n], 8) {
			*to = append(*to, binary.BigEndian.Uint64(ids))
		}
		rest = rest[8*n:]
	}
	if len(rest) > 0 {
		return nil, malformed
	}
	return s, nil
}
