package replication

import (
	"context"
	"errors"
	"fmt"
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
)

// founder is the region that hands out numbers.
const founder clock.Region = 1

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
}

// Lane is the lane that the region's node writes.
func (m Member) Lane() clock.Lane { return clock.Lane{Region: m.Region} }

// registry is the set of regions as this node has it on disk. The founder changes the set, one
// version after the other; addresses are each node's own affair and change without versions. It is
// safe for concurrent use; changes block on the disk.
type registry struct {
	store       Meta
	self        clock.Region // this node's own; 0: it has none yet
	incarnation uint64       // of this node's store
	change      turn         // held by who changes the set, for as long as the disk takes

	mu      sync.Mutex // never held while the disk is waited for: who reads the set may hold others up
	version uint64
	all     []Member // by region, those that were abandoned included; replaced, never changed
	list    []Member // the others of them
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
	g.use(m.GetVersion(), list)
	return g, nil
}

// membersFrom checks a list and translates it.
func membersFrom(m *peerv1.Members) ([]Member, error) {
	if len(m.GetMembers()) > MaxMembers {
		return nil, kv.Errorf(kv.KindInvalid, "a list of %d regions: at most %d", len(m.GetMembers()), MaxMembers)
	}
	var list []Member
	names := map[string]bool{}
	for i, e := range m.GetMembers() {
		abandoned := e.GetState() == peerv1.MemberState_MEMBER_STATE_ABANDONED
		addresses := addressesFrom(e.GetAddresses())
		if err := errors.Join(CheckName(e.GetName()), checkAddresses(addresses)); err != nil {
			return nil, kv.Errorf(kv.KindInvalid, "malformed list of regions: region %d: %w", e.GetRegion(), err)
		}
		bad := e.GetRegion() == 0 || e.GetRegion() > 0xffff || names[e.GetName()] && !abandoned ||
			i > 0 && clock.Region(e.GetRegion()) <= list[i-1].Region
		if bad {
			return nil, kv.Errorf(kv.KindInvalid, "malformed list of regions: region %d (%s), entry %d: numbers must rise and names be different", e.GetRegion(), e.GetName(), i+1)
		}
		names[e.GetName()] = names[e.GetName()] || !abandoned
		list = append(list, Member{
			Region:      clock.Region(e.GetRegion()),
			Name:        e.GetName(),
			Serving:     e.GetState() == peerv1.MemberState_MEMBER_STATE_SERVING,
			Abandoned:   abandoned,
			Incarnation: e.GetIncarnation(),
			Addresses:   addresses,
		})
	}
	return list, nil
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
		state := peerv1.MemberState_MEMBER_STATE_JOINING
		switch {
		case m.Serving:
			state = peerv1.MemberState_MEMBER_STATE_SERVING
		case m.Abandoned:
			state = peerv1.MemberState_MEMBER_STATE_ABANDONED
		}
		out.Members = append(out.Members, &peerv1.Member{
			Region: uint32(m.Region), Name: m.Name, State: state, Incarnation: m.Incarnation, Addresses: addressesTo(m.Addresses),
		})
	}
	return out
}

// use makes a list the one that is read. The caller holds mu, or has the registry for itself.
func (g *registry) use(version uint64, all []Member) {
	g.version, g.all = version, all
	g.list = slices.DeleteFunc(slices.Clone(all), func(m Member) bool { return m.Abandoned })
}

// snapshot returns the set without what was abandoned; the slice is not to be changed.
func (g *registry) snapshot() (uint64, []Member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.version, g.list
}

// everybody returns the set with what was abandoned; the slice is not to be changed.
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
		if m.Name == name {
			return m, true
		}
	}
	return Member{}, false
}

// adopt takes a list with a higher version than the one here, and tells whether it did. Addresses
// known here stay: a list carries them for regions that are new.
func (g *registry) adopt(ctx context.Context, m *peerv1.Members) (bool, error) {
	list, err := membersFrom(m)
	if err != nil {
		return false, err
	}
	g.change.Lock()
	defer g.change.Unlock()
	if m.GetVersion() <= g.version {
		return false, nil
	}
	for _, old := range g.all {
		if err := keep(list, old); err != nil {
			return false, err
		}
	}
	if err := g.stillSelf(list); err != nil {
		return false, err
	}
	return true, g.write(ctx, m.GetVersion(), list)
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
		if old.Abandoned != list[i].Abandoned && (old.Abandoned || old.Serving) {
			return kv.Errorf(kv.KindInvalid, "region %d (%s): serving %t, abandoned %t here, and %t, %t in a newer list: both are for good",
				old.Region, old.Name, old.Serving, old.Abandoned, list[i].Serving, list[i].Abandoned)
		}
		if old.Addresses != (kv.Addresses{}) {
			list[i].Addresses = old.Addresses
		}
		return nil
	}
	return kv.Errorf(kv.KindInvalid, "region %d (%s) is missing in a newer list", old.Region, old.Name)
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

// add gives the next number to a name. Only the founder calls it, one call at a time.
func (g *registry) add(ctx context.Context, m Member) (Member, error) {
	g.change.Lock()
	defer g.change.Unlock()
	if len(g.all) >= MaxMembers {
		return Member{}, kv.Errorf(kv.KindTooLarge, "region %q: %d numbers were given, the most there can be", m.Name, len(g.all))
	}
	m.Region = founder
	if n := len(g.all); n > 0 {
		m.Region = g.all[n-1].Region + 1
	}
	m.Serving = m.Region == founder
	return m, g.write(ctx, g.version+1, append(slices.Clone(g.all), m))
}

// serve marks a region as serving. Only the founder calls it.
func (g *registry) serve(ctx context.Context, r clock.Region, incarnation uint64) (bool, error) {
	g.change.Lock()
	defer g.change.Unlock()
	// Here it is settled whether a newcomer serves or was given up: it writes nothing before it does.
	if err := g.dismissed(r, incarnation); err != nil {
		return false, err
	}
	m, ok := g.find(r)
	if !ok || m.Serving {
		return false, nil
	}
	m.Serving = true
	return true, g.alter(ctx, g.version+1, m)
}
