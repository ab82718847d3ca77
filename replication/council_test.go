package replication_test

import (
	"context"
	"slices"
	"sync"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// council decides which regions there are, in place of the raft group: whoever asks is answered, and only that
// node is told. The others hear of it from their peers.
type council struct {
	mu      sync.Mutex
	version uint64
	list    []replication.Member
	fails   error // what it says to everybody; nil: it decides

	acknowledged map[clock.Region]uint64
}

// seat is a node's access to the council. The node of region 1 leads, while there is one.
type seat struct {
	*council
	node *node
}

var _ replication.Regions = (*seat)(nil)

func (s *seat) Leads() bool { return s.node.id.Region == 1 }

// Acts is true of what is acknowledged; here the streams tell.
func (s *seat) Acts(region clock.Region, version uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acknowledged[region] >= version
}

// decide changes the list, which is told the node that asked; no change is no news.
func (s *seat) decide(ctx context.Context, change func() (bool, error)) error {
	s.mu.Lock()
	if s.version == 0 {
		s.version, s.list = 1, []replication.Member{{Region: 1, Name: "eu", Serving: true}}
	}
	news, err := false, s.fails
	if err == nil {
		news, err = change()
	}
	if news {
		s.version++
	}
	version, list := s.version, slices.Clone(s.list)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.node.r.Decided(ctx, version, list)
}

func (s *seat) Add(ctx context.Context, name string, store uint64) error {
	return s.decide(ctx, func() (bool, error) {
		for i := range s.list {
			switch m := &s.list[i]; {
			case m.Abandoned || m.Removed:
			case m.Name == name && m.Serving:
				return false, kv.Errorf(kv.KindInvalid, "there is a region %q", name)
			case m.Name == name:
				news := m.Incarnation != store
				m.Incarnation = store
				return news, nil
			case !m.Serving:
				return false, kv.Errorf(kv.KindUnavailable, "region %s has not finished joining, and one joins at a time", m.Name)
			}
		}
		s.list = append(s.list, replication.Member{Region: clock.Region(len(s.list) + 1), Name: name, Incarnation: store})
		return true, nil
	})
}

func (s *seat) Serve(ctx context.Context, region clock.Region, store uint64) error {
	return s.decide(ctx, func() (bool, error) {
		m := &s.list[region-1]
		if m.Abandoned || m.Incarnation != store {
			return false, kv.Errorf(kv.KindInvalid, "region %q has another store, or was abandoned", m.Name)
		}
		news := !m.Serving
		m.Serving = true
		return news, nil
	})
}

func (s *seat) Abandon(ctx context.Context, region clock.Region) error {
	return s.decide(ctx, func() (bool, error) {
		m := &s.list[region-1]
		if m.Serving {
			return false, kv.Errorf(kv.KindInvalid, "region %q serves: it can't be abandoned", m.Name)
		}
		news := !m.Abandoned
		m.Abandoned = true
		return news, nil
	})
}

// fence decides the first step of a region's removal, and tells the nodes.
func (c *council) fence(region clock.Region, nodes ...*node) uint64 {
	return c.alter(region, func(m *replication.Member) { m.Fenced = true }, nodes...)
}

// close decides the second one.
func (c *council) close(region clock.Region, last, closed clock.Timestamp, nodes ...*node) uint64 {
	return c.alter(region, func(m *replication.Member) { m.Removed, m.Last, m.Closed = true, last, closed }, nodes...)
}

func (c *council) alter(region clock.Region, change func(*replication.Member), nodes ...*node) (version uint64) {
	for i, n := range nodes {
		err := (&seat{council: c, node: n}).decide(n.c.t.Context(), func() (bool, error) {
			change(&c.list[region-1])
			return i == 0, nil
		})
		if err != nil {
			n.c.t.Fatal(err)
		}
	}
	return c.version
}
