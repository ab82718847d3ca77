package replication

import (
	"context"
	"fmt"
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
}

// Lane is the lane that the region's node writes.
func (m Member) Lane() clock.Lane { return clock.Lane{Region: m.Region} }

// registry is the set of regions as this node has it on disk. The founder changes the set, one
// version after the other; addresses are each node's own affair and change without versions. It is
// safe for concurrent use; changes block on the disk.
type registry struct {
	store  Meta
	change sync.Mutex // held by who changes the set, for as long as the disk takes

	mu      sync.Mutex // never held while the disk is waited for: who reads the set may hold others up
	version uint64
	list    []Member // by region; replaced, never changed
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
	g.version, g.list = m.GetVersion(), list
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
		bad := e.GetRegion() == 0 || e.GetRegion() > 0xffff || e.GetName() == "" || names[e.GetName()] ||
			i > 0 && clock.Region(e.GetRegion()) <= list[i-1].Region
		if bad {
			return nil, kv.Errorf(kv.KindInvalid, "malformed list of regions: %v", m)
		}
		names[e.GetName()] = true
		list = append(list, Member{
			Region:    clock.Region(e.GetRegion()),
			Name:      e.GetName(),
			Serving:   e.GetState() == peerv1.MemberState_MEMBER_STATE_SERVING,
			Addresses: addressesFrom(e.GetAddresses()),
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
		if m.Serving {
			state = peerv1.MemberState_MEMBER_STATE_SERVING
		}
		out.Members = append(out.Members, &peerv1.Member{
			Region: uint32(m.Region), Name: m.Name, State: state, Addresses: addressesTo(m.Addresses),
		})
	}
	return out
}

// snapshot returns the set; the slice is not to be changed.
func (g *registry) snapshot() (uint64, []Member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.version, g.list
}

func (g *registry) message() *peerv1.Members { return membersTo(g.snapshot()) }

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
	for _, old := range g.list {
		if err := keep(list, old); err != nil {
			return false, err
		}
	}
	return true, g.write(ctx, m.GetVersion(), list)
}

// keep refuses a list in which a region is missing or renamed, and keeps its addresses.
func keep(list []Member, old Member) error {
	for i := range list {
		if list[i].Region != old.Region {
			continue
		}
		if list[i].Name != old.Name {
			return kv.Errorf(kv.KindInvalid, "region %d is %q here and %q in a newer list", old.Region, old.Name, list[i].Name)
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
	g.version, g.list = version, list
	return nil
}

// setAddresses remembers where a region's node is, and tells whether that is news.
func (g *registry) setAddresses(ctx context.Context, r clock.Region, a kv.Addresses) (bool, error) {
	g.change.Lock()
	defer g.change.Unlock()
	for i, m := range g.list {
		if m.Region == r && m.Addresses != a && a.Peer != "" {
			list := append([]Member(nil), g.list...)
			list[i].Addresses = a
			return true, g.write(ctx, g.version, list)
		}
	}
	return false, nil
}

// add gives the next number to a name. Only the founder calls it, one call at a time.
func (g *registry) add(ctx context.Context, name string, a kv.Addresses) (Member, error) {
	g.change.Lock()
	defer g.change.Unlock()
	if len(g.list) >= MaxMembers {
		return Member{}, kv.Errorf(kv.KindTooLarge, "region %q: there are %d regions, the most there can be", name, len(g.list))
	}
	m := Member{Region: founder, Name: name, Addresses: a}
	if n := len(g.list); n > 0 {
		m.Region = g.list[n-1].Region + 1
	}
	m.Serving = m.Region == founder
	list := append(append([]Member(nil), g.list...), m)
	return m, g.write(ctx, g.version+1, list)
}

// serve marks a region as serving. Only the founder calls it.
func (g *registry) serve(ctx context.Context, r clock.Region) (bool, error) {
	g.change.Lock()
	defer g.change.Unlock()
	for i, m := range g.list {
		if m.Region == r && !m.Serving {
			list := append([]Member(nil), g.list...)
			list[i].Serving = true
			return true, g.write(ctx, g.version+1, list)
		}
	}
	return false, nil
}
