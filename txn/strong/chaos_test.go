package strong

import (
	"context"
	"flag"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/kv"
)

var (
	chaosSeed  = flag.Uint64("chaos-seed", 0, "the one seed to run; 0: a few")
	chaosSeeds = flag.Uint64("chaos-seeds", 3, "how many seeds to run")
)

// act is one call of a client's: a proposal, or with id 0 a read.
type act struct {
	id         uint64
	begun, end int // order of all begins and ends
	outcome    kv.Outcome
	ok         bool
	read       []uint64
}

// chaos is a run: clients at every member, and faults.
type chaos struct {
	*cluster
	mu   sync.Mutex
	step int
	acts []act
}

// TestListIsLinearizableUnderFaults: every acknowledged id is in the list once, none that was refused is,
// their order is that of time, and a read sees all that was acknowledged before it began.
func TestListIsLinearizableUnderFaults(t *testing.T) {
	first, count := uint64(1), *chaosSeeds
	switch {
	case *chaosSeed != 0:
		first, count = *chaosSeed, 1
	case testing.Short():
		count = min(count, 2) // of 5 and of 3 members
	}
	for seed := first; seed < first+count; seed++ {
		bubble(t, seed, func(t *testing.T, c *cluster) {
			t.Logf("replay: go test ./txn/strong -run Linearizable -chaos-seed %d", seed)
			run := &chaos{cluster: c}
			run.run(t, seed)
		})
	}
}

func (r *chaos) run(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 3))
	r.tune = func(config *Config) { config.SnapshotEntries = 30 + int(seed%3)*50 }
	members := r.founded(3 + 2*int(seed%2))
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	var clients sync.WaitGroup
	for _, m := range members {
		for n := range uint64(2) {
			clients.Go(func() { r.client(ctx, m, rand.New(rand.NewPCG(seed, m.id*10+n))) })
		}
	}
	for ctx.Err() == nil {
		r.fault(rng, members)
	}
	clients.Wait()
	r.set(0, 0)
	final := r.converge(t, members)
	r.judge(t, final)
}

// fault does one thing, and heals it after a while.
func (r *chaos) fault(rng *rand.Rand, members []*member) {
	m := members[rng.IntN(len(members))]
	if l := r.leader(); l != nil && rng.IntN(2) == 0 {
		m = l
	}
	while := time.Duration(rng.Int64N(int64(6 * time.Second)))
	switch rng.IntN(6) {
	case 0, 1:
		r.crash(m, rng.IntN(101))
		r.pass(while)
		r.up(m, false)
	case 2:
		r.isolate(m.id, true)
		r.pass(while)
		r.isolate(m.id, false)
	case 3: // what it sends is lost, what is sent to it arrives
		r.cutOneWay(m.id, true)
		r.pass(while)
		r.cutOneWay(m.id, false)
	case 4:
		r.set(rng.Float64()*0.3, time.Duration(rng.Int64N(int64(200*time.Millisecond))))
		r.pass(while)
		r.set(0, 0)
	case 5:
		r.down(m)
		r.pass(while)
		r.up(m, false)
	}
	r.pass(while / 2)
}

func (c *cluster) cutOneWay(id uint64, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.members {
		c.cut[[2]uint64{id, other}] = cut
	}
}

// client proposes and reads at one member until ctx ends.
func (r *chaos) client(ctx context.Context, m *member, rng *rand.Rand) {
	for ctx.Err() == nil {
		r.pass(time.Duration(rng.Int64N(int64(100 * time.Millisecond))))
		r.cluster.mu.Lock()
		g, l := m.group, m.list
		m.next++
		id := m.process<<32 | m.next
		r.cluster.mu.Unlock()
		if g == nil {
			continue
		}
		if rng.IntN(2) == 0 {
			id = 0
		}
		r.act(ctx, g, l, id)
	}
}

// act makes one call and records it.
func (r *chaos) act(ctx context.Context, g *Group, l *list, id uint64) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	a := act{id: id, begun: r.now()}
	var err error
	if id != 0 {
		err = g.Propose(ctx, Proposal{Number: id, Size: 8, Body: encodeID(id)})
	} else if _, err = g.ReadIndex(ctx); err == nil {
		a.read = l.all()
	}
	a.ok, a.outcome = err == nil, kv.OutcomeOf(err)
	a.end = r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acts = append(r.acts, a)
}

func (r *chaos) now() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.step++
	return r.step
}

// converge waits until all members hold the same, and returns it.
func (r *chaos) converge(t *testing.T, members []*member) []uint64 {
	r.waitFor(time.Minute, "a leader", func() bool { return r.leader() != nil })
	r.mustPropose(members[0])
	for _, m := range members {
		r.mustRead(m)
	}
	final := members[0].list.all()
	for _, m := range members {
		require.Equal(t, final, m.list.all())
	}
	return final
}

// judge compares what callers saw with the list.
func (r *chaos) judge(t *testing.T, final []uint64) {
	place := make(map[uint64]int)
	for i, id := range final {
		place[id] = i
	}
	require.Len(t, place, len(final), "no id twice")
	var done []act // acknowledged proposals
	reads := 0
	for _, a := range r.acts {
		at, there := place[a.id]
		switch {
		case a.id == 0 && a.ok:
			reads++
			require.True(t, len(a.read) <= len(final) && slices.Equal(a.read, final[:len(a.read)]), "a read of another history")
		case a.id != 0 && a.ok:
			require.True(t, there, "%x was acknowledged", a.id)
			done = append(done, a)
		case a.id != 0 && a.outcome == kv.NotApplied:
			require.False(t, there, "%x was refused, and is entry %d", a.id, at)
		}
	}
	slices.SortFunc(done, func(a, b act) int { return place[a.id] - place[b.id] })
	latest := 0 // begin of any before
	for _, a := range done {
		require.Less(t, latest, a.end, "%x was acknowledged before one began that precedes it", a.id)
		latest = max(latest, a.begun)
	}
	for _, a := range r.acts {
		for _, d := range done {
			if a.id == 0 && a.ok && d.end < a.begun && place[d.id] >= len(a.read) {
				require.Fail(t, "a read misses what was acknowledged", "%x", d.id)
			}
		}
	}
	require.Greater(t, len(done), 100, "a run that did too little")
	require.Greater(t, reads, 100, "a run that read too little")
}
