package sim

import (
	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
)

// inspect counts what messages show of paths that were taken. The caller holds mu.
func (p *pipe) inspect(m *peerv1.Message) {
	reach := p.network.reach
	switch b := m.GetBody().(type) {
	case *peerv1.Message_Subscribe:
		if of := p.network.nameOf(clock.Region(b.Subscribe.GetRegion())); of != "" && of != p.link.to {
			reach.count("lane asked of a third region")
			p.back.relay(b.Subscribe.GetId())
		}
	case *peerv1.Message_Records:
		if p.relays(b.Records.GetId()) {
			reach.count("records passed on by a third region")
		}
	case *peerv1.Message_Heartbeat:
		for _, r := range b.Heartbeat.GetReports() {
			if of := p.network.nameOf(clock.Region(r.GetRegion())); of != "" && of != p.link.from {
				reach.count("report passed on by a third region")
				break
			}
		}
	case *peerv1.Message_Consensus:
		for _, raft := range b.Consensus.GetMessages() {
			if len(raft) > 0 && raft[0] == partOfSnapshot {
				reach.count("part of raft's snapshot sent")
			}
		}
	case *peerv1.Message_LaneError:
		reach.count("lane refused")
	case *peerv1.Message_Refused:
		reach.count("stream refused")
	case *peerv1.Message_Range:
		reach.count("part of a cut sent")
	case *peerv1.Message_CutTaken:
		reach.count("cut taken")
	}
}

// relay notes a subscription that this pipe's sender serves for somebody else's lane. The caller holds
// the lock of the other direction.
func (p *pipe) relay(id uint32) {
	p.relayMu.Lock()
	defer p.relayMu.Unlock()
	if p.relayed == nil {
		p.relayed = map[uint32]bool{}
	}
	p.relayed[id] = true
}

func (p *pipe) relays(id uint32) bool {
	p.relayMu.Lock()
	defer p.relayMu.Unlock()
	return p.relayed[id]
}

// partOfSnapshot begins the messages of raft's that carry a snapshot (package strong).
const partOfSnapshot = 1
