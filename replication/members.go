package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// Keys of the store's metadata that replication uses.
const (
	identityKey = "replication/identity"
	membersKey  = "replication/members"
	partedKey   = "replication/parted"
)

// first is the number of the region that founds a cluster.
const first clock.Region = 1

// Member is one region of the cluster.
type Member struct {
	Region    clock.Region
	Name      string
	Serving   bool // false while it joins
	Addresses kv.Addresses
	// Abandoned says that it never finished joining and never will. Only its number remains, so that
	// it is not given again.
	Abandoned bool
	// Incarnation is of the store that the number was granted to; 0: not known. While the region
	// joins no other store is it.
	Incarnation uint64
	// Fenced says that it is being removed, or was: nobody takes its records. Until a node has all that it
	// left, it counts there for majorities (Serving) and stability.
	Fenced bool
	// Removed says that it was: its lane ends with Last, and no strong transaction of its follows the
	// commit Closed.
	Removed      bool
	Last, Closed clock.Timestamp
}

// Lane is the lane that the region's node writes.
func (m Member) Lane() clock.Lane { return clock.Lane{Region: m.Region} }

// registry is the set of regions as this node has it on disk: a copy of what is decided, one version after the
// other; addresses are each node's own affair and change without versions. It is safe for concurrent use;
// changes block on the disk.
type registry struct {
	store       Meta
	self        clock.Region // this node's own; 0: it has none yet
	incarnation uint64       // of this node's store
	change      turn         // held by who changes the set, for as long as the disk takes

	mu      sync.Mutex // never held while the disk is waited for: who reads the set may hold others up
	version uint64
	all     []Member              // by region, those that were abandoned or removed included; replaced, never changed
	list    []Member              // those that count here: neither abandoned nor let go of
	parted  map[clock.Region]bool // removed, and all that they left is here
}

func loadRegistry(store Meta) (*registry, error) {
	b, err := store.Meta(membersKey)
	if err != nil {
		return nil, fmt.Errorf("reading the list of regions: %w", err)
	}
	g := &registry{store: store}
	m := new(peerv1.Members)
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, kv.Errorf(kv.KindCorrupt, "list of regions on disk: %w", err)
	}
	list, err := membersFrom(m)
	if err != nil {
		return nil, err
	}
	if g.parted, err = loadParted(store); err != nil {
		return nil, err
	}
	g.use(m.GetVersion(), list)
	return g, nil
}

// loadParted reads which regions were let go of: their numbers, in 2 bytes each, big endian.
func loadParted(store Meta) (map[clock.Region]bool, error) {
	b, err := store.Meta(partedKey)
	if err != nil {
		return nil, fmt.Errorf("reading which regions were let go of: %w", err)
	}
	if len(b)%2 != 0 {
		return nil, kv.Errorf(kv.KindCorrupt, "which regions were let go of is malformed on disk: %d bytes", len(b))
	}
	parted := map[clock.Region]bool{}
	for ; len(b) > 0; b = b[2:] {
		parted[clock.Region(binary.BigEndian.Uint16(b))] = true
	}
	return parted, nil
}

// membersFrom checks a list and translates it.
func membersFrom(m *peerv1.Members) ([]Member, error) {
	if len(m.GetMembers()) > MaxNumbers {
		return nil, kv.Errorf(kv.KindInvalid, "a list of %d regions: at most %d", len(m.GetMembers()), MaxNumbers)
	}
	var list []Member
	names := map[string]bool{}
	for i, e := range m.GetMembers() {
		state := e.GetState()
		past := state == peerv1.MemberState_MEMBER_STATE_ABANDONED || state == peerv1.MemberState_MEMBER_STATE_REMOVED
		addresses := addressesFrom(e.GetAddresses())
		if err := errors.Join(CheckName(e.GetName()), checkAddresses(addresses)); err != nil {
			return nil, kv.Errorf(kv.KindInvalid, "malformed list of regions: region %d: %w", e.GetRegion(), err)
		}
		bad := e.GetRegion() == 0 || e.GetRegion() > 0xffff || names[e.GetName()] && !past ||
			i > 0 && clock.Region(e.GetRegion()) <= list[i-1].Region
		if bad {
			return nil, kv.Errorf(kv.KindInvalid, "malformed list of regions: region %d (%s), entry %d: numbers must rise and names be different", e.GetRegion(), e.GetName(), i+1)
		}
		names[e.GetName()] = names[e.GetName()] || !past
		m := Member{
			Region: clock.Region(e.GetRegion()), Name: e.GetName(), Incarnation: e.GetIncarnation(), Addresses: addresses,
			Last: clock.Timestamp(e.GetLast()), Closed: clock.Timestamp(e.GetClosed()),
		}
		m.be(state)
		list = append(list, m)
	}
	return list, nil
}

// be sets how far a region is in its life.
func (m *Member) be(state peerv1.MemberState) {
	m.Abandoned = state == peerv1.MemberState_MEMBER_STATE_ABANDONED
	m.Removed = state == peerv1.MemberState_MEMBER_STATE_REMOVED
	m.Fenced = m.Removed || state == peerv1.MemberState_MEMBER_STATE_FENCED
	m.Serving = m.Fenced || state == peerv1.MemberState_MEMBER_STATE_SERVING
}

// state is how far a region is in its life.
func (m *Member) state() peerv1.MemberState {
	switch {
	case m.Removed:
		return peerv1.MemberState_MEMBER_STATE_REMOVED
	case m.Fenced:
		return peerv1.MemberState_MEMBER_STATE_FENCED
	case m.Serving:
		return peerv1.MemberState_MEMBER_STATE_SERVING
	case m.Abandoned:
		return peerv1.MemberState_MEMBER_STATE_ABANDONED
	}
	return peerv1.MemberState_MEMBER_STATE_JOINING
}

func addressesFrom(a *peerv1.Addresses) kv.Addresses {
	return kv.Addresses{Client: a.GetClient(), Peer: a.GetPeer(), Gossip: a.GetGossip(), Admin: a.GetAdmin()}
}

func addressesTo(a kv.Addresses) *peerv1.Addresses {
	return &peerv1.Addresses{Client: a.Client, Peer: a.Peer, Gossip: a.Gossip, Admin: a.Admin}
}

func membersTo(version uint64, list []Member) *peerv1.Members {
	out := &peerv1.Members{Version: version}
	for _, m := range list {
		out.Members = append(out.Members, &peerv1.Member{
			Region: uint32(m.Region), Name: m.Name, State: m.state(), Incarnation: m.Incarnation, Addresses: addressesTo(m.Addresses),
			Last: uint64(m.Last), Closed: uint64(m.Closed),
		})
	}
	return out
}

// use makes a list the one that is read. The caller holds mu, or has the registry for itself.
func (g *registry) use(version uint64, all []Member) {
	g.version, g.all = version, all
	g.list = slices.DeleteFunc(slices.Clone(all), func(m Member) bool { return m.Abandoned || g.parted[m.Region] })
}

// part takes a region that was removed, and of which all is here, out of those that count.
func (g *registry) part(ctx context.Context, r clock.Region) error {
	g.change.Lock()
	defer g.change.Unlock()
	parted := maps.Clone(g.parted)
	if parted == nil {
		parted = map[clock.Region]bool{}
	}
	parted[r] = true
	var b []byte
	for _, r := range slices.Sorted(maps.Keys(parted)) {
		b = binary.BigEndian.AppendUint16(b, uint16(r))
	}
	if err := g.store.SetMeta(ctx, partedKey, b); err != nil {
		return fmt.Errorf("noting that region %d is let go of: %w", r, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parted = parted
	g.use(g.version, g.all)
	return nil
}

// past lists the regions that were let go of.
func (g *registry) past() (list []Member) {
	_, all := g.everybody()
	for _, m := range all {
		if g.parted[m.Region] {
			list = append(list, m)
		}
	}
	return list
}

// fenced tells whether a region is being removed, or was.
func (g *registry) fenced(r clock.Region) bool {
	_, all := g.everybody()
	for _, m := range all {
		if m.Region == r {
			return m.Fenced
		}
	}
	return false
}

// snapshot returns the set of those that count; the slice is not to be changed.
func (g *registry) snapshot() (uint64, []Member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.version, g.list
}

// everybody returns the set with what was abandoned and let go of; the slice is not to be changed.
func (g *registry) everybody() (uint64, []Member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.version, g.all
}

func (g *registry) message() *peerv1.Members { return membersTo(g.everybody()) }

func (g *registry) find(r clock.Region) (Member, bool) {
	_, list := g.snapshot()
	for _, m := range list {
		if m.Region == r {
			return m, true
		}
	}
	return Member{}, false
}

func (g *registry) named(name string) (Member, bool) {
	_, list := g.snapshot()
	for _, m := range list {
		if m.Name == name && !m.Removed {
			return m, true
		}
	}
	return Member{}, false
}

// adopt takes a list with a higher version than the one here, and tells whether it did. Addresses
// known here stay: a list carries them for regions that are new, as one of the version here does.
func (g *registry) adopt(ctx context.Context, version uint64, list []Member) (bool, error) {
	g.change.Lock()
	defer g.change.Unlock()
	if version < g.version {
		return false, nil
	}
	if version == g.version {
		return false, g.learn(ctx, list)
	}
	for _, old := range g.all {
		if err := keep(list, old); err != nil {
			return false, err
		}
	}
	if err := g.stillSelf(list); err != nil {
		return false, err
	}
	return true, g.write(ctx, version, list)
}

// learn takes the addresses of regions of which none is known here. The caller holds change.
func (g *registry) learn(ctx context.Context, list []Member) error {
	all, news := slices.Clone(g.all), false
	for i := range all {
		for _, m := range list {
			if m.Region == all[i].Region && all[i].Addresses.Peer == "" && m.Addresses.Peer != "" {
				all[i].Addresses, news = m.Addresses, true
			}
		}
	}
	if !news {
		return nil
	}
	return g.write(ctx, g.version, all)
}

// keep refuses a list in which a region is missing, renamed or something that it can't have become,
// and keeps its addresses.
func keep(list []Member, old Member) error {
	for i := range list {
		if list[i].Region != old.Region {
			continue
		}
		if list[i].Name != old.Name {
			return kv.Errorf(kv.KindInvalid, "region %d is %q here and %q in a newer list", old.Region, old.Name, list[i].Name)
		}
		if !old.mayBecome(&list[i]) {
			return kv.Errorf(kv.KindInvalid, "region %d (%s) is %s here, and %s in a newer list: that is for good",
				old.Region, old.Name, old.state(), list[i].state())
		}
		if old.Addresses != (kv.Addresses{}) {
			list[i].Addresses = old.Addresses
		}
		return nil
	}
	return kv.Errorf(kv.KindInvalid, "region %d (%s) is missing in a newer list", old.Region, old.Name)
}

// mayBecome tells whether a region's life goes on like that: nothing of it is ever taken back, but for the last
// entry of one that was removed.
func (m *Member) mayBecome(next *Member) bool {
	if m.Abandoned || next.Abandoned {
		return next.Abandoned && !m.Serving
	}
	return (next.Serving || !m.Serving) && (next.Fenced || !m.Fenced) && (next.Removed || !m.Removed)
}

// write puts a list on disk, then uses it. The caller holds change.
func (g *registry) write(ctx context.Context, version uint64, list []Member) error {
	b, err := proto.Marshal(membersTo(version, list))
	if err == nil {
		err = g.store.SetMeta(ctx, membersKey, b)
	}
	if err != nil {
		return fmt.Errorf("writing the list of regions: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.use(version, list)
	return nil
}

// alter writes the set with one member changed, which has the given version then. The caller holds
// change.
func (g *registry) alter(ctx context.Context, version uint64, m Member) error {
	all := slices.Clone(g.all)
	all[slices.IndexFunc(all, func(o Member) bool { return o.Region == m.Region })] = m
	return g.write(ctx, version, all)
}

// setAddresses remembers where a region's node is, and tells whether that is news.
func (g *registry) setAddresses(ctx context.Context, r clock.Region, a kv.Addresses) (bool, error) {
	g.change.Lock()
	defer g.change.Unlock()
	for _, m := range g.list {
		if m.Region == r && m.Addresses != a && a.Peer != "" {
			m.Addresses = a
			return true, g.alter(ctx, g.version, m)
		}
	}
	return false, nil
}
