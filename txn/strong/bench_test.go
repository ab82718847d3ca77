package strong

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/storage"
)

// counter is a Machine that only says what is decided.
type counter struct{ own uint64 }

const benchProposal = 100 // bytes

func (c *counter) Apply(_ uint64, entry []byte) (a Applied, err error) {
	for ; len(entry) > 0; entry = entry[benchProposal:] {
		if id := binary.BigEndian.Uint64(entry); id>>32 == c.own {
			a.Decided = append(a.Decided, id)
		}
	}
	return a, nil
}

func (*counter) Snapshot() []byte             { return []byte("counter") }
func (*counter) Restore(uint64, []byte) error { return nil }
func (*counter) Floor() uint64                { return 1 << 62 }

// benchGroups starts n members in memory, on a network that takes no time.
func benchGroups(b *testing.B, n uint64) []*Group {
	var mu sync.RWMutex
	groups := make(map[uint64]*Group)
	at := func(id uint64) *Group {
		mu.RLock()
		defer mu.RUnlock()
		return groups[id]
	}
	out := make([]*Group, 0, n)
	for id := uint64(1); id <= n; id++ {
		store, err := storage.Open(storage.Config{FS: vfs.NewMem(), Dir: "store"})
		require.NoError(b, err)
		g, err := New(b.Context(), Config{
			ID: id, Found: id == 1, Store: store, Machine: &counter{own: id}, Pack: packIDs, Time: systemTime{},
			Check: func([]byte) error { return nil },
			Send: func(to uint64, messages [][]byte) {
				if g := at(to); g != nil {
					_ = g.Step(id, messages)
				}
			},
			Wanted: func(v View) []Change { return wantAll(v, n) },
		})
		require.NoError(b, err)
		mu.Lock()
		groups[id] = g
		mu.Unlock()
		b.Cleanup(func() { g.Stop(); require.NoError(b, store.Close()) })
		out = append(out, g)
	}
	tick := systemTime{}
	for len(out[0].Status().Voters) < int(n) || !out[0].Status().Leading {
		fired, _ := tick.NewTimer(TickInterval)
		<-fired
	}
	return out
}

// wantAll makes members 1 to n voters.
func wantAll(v View, n uint64) []Change {
	for id := uint64(1); id <= n; id++ {
		var p Progress
		for _, has := range v.Progress {
			if has.ID == id {
				p = has
			}
		}
		if p.ID == 0 {
			return []Change{{AddLearner, id}}
		}
		if p.Learner && p.Match+10 >= v.Commit {
			return []Change{{AddVoter, id}}
		}
	}
	return nil
}

func BenchmarkPropose(b *testing.B) {
	for _, bench := range []struct {
		name    string
		members uint64
		at      int
	}{{"one", 1, 0}, {"three", 3, 0}, {"three-follower", 3, 1}} {
		b.Run(bench.name, func(b *testing.B) {
			g := benchGroups(b, bench.members)[bench.at]
			before := g.Applied()
			var next atomic.Uint64
			callers(b, 64, func() {
				body := make([]byte, benchProposal)
				id := uint64(bench.at+1)<<32 | next.Add(1)
				binary.BigEndian.PutUint64(body, id)
				if err := g.Propose(context.Background(), Proposal{Number: id, Size: len(body), Body: body}); err != nil {
					b.Error(err)
				}
			})
			b.ReportMetric(float64(b.N)/float64(g.Applied()-before), "proposals/entry")
		})
	}
}

func BenchmarkReadIndex(b *testing.B) {
	for at, name := range []string{"leader", "follower"} {
		b.Run(name, func(b *testing.B) {
			g := benchGroups(b, 3)[at]
			callers(b, 64, func() {
				if _, err := g.ReadIndex(context.Background()); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// callers has n goroutines make b.N calls.
func callers(b *testing.B, n int, call func()) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wait sync.WaitGroup
	b.ResetTimer()
	for range n {
		wait.Go(func() {
			for left.Add(-1) >= 0 {
				call()
			}
		})
	}
	wait.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
