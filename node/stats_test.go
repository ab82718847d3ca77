package node

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/crdt"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
	"github.com/theriac-db/theriac/replication/memtransport"
)

// lines is a log that tests read while a node writes it.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// reports waits until a node counts so much log for a region that holds is true.
func reports(t *testing.T, n *Node, name string, holds func(held int64) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		stats := n.Stats()
		for _, r := range stats.Regions {
			if r.Name == name && holds(r.HeldLog) {
				return
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			require.Fail(t, "waited in vain", "%+v", stats.Regions)
		}
	}
}

func TestLogHeldForARegionThatIsAwayIsToldOnce(t *testing.T) {
	net, log := memtransport.New(replication.SystemTime()), &lines{}
	at := func(region string) Config {
		c := config(vfs.NewMem(), region)
		c.Transport = net.Node(region)
		return c
	}
	const size = 4 << 20
	c := at("eu")
	c.Log, c.LogBytes = log, 2*size
	eu, err := Start(t.Context(), c)
	require.NoError(t, err)
	defer eu.Kill()
	c = at("us")
	c.Join = []string{"eu"}
	us, err := Start(t.Context(), c)
	require.NoError(t, err)
	defer us.Kill()

	write := func() {
		value := kv.Op{Object: kv.Object{Bucket: "b", Key: "k", Type: crdt.RegisterLWW}, Verb: kv.VerbAssign, Data: make([]byte, kv.MaxElement)}
		for range size / kv.MaxElement {
			_, err := eu.Do(t.Context(), kv.Request{Ops: []kv.Op{value}})
			require.NoError(t, err)
		}
	}
	write()
	reports(t, eu, "us", func(held int64) bool { return held == 0 })
	reports(t, eu, "eu", func(held int64) bool { return held == 0 })
	eu.current.Load().watchHeld(t.Context())
	require.Zero(t, log.count("more than half"))

	net.CutBoth("eu", "us")
	write()
	write()
	reports(t, eu, "us", func(held int64) bool { return held >= 2*size })
	eu.current.Load().watchHeld(t.Context())
	eu.current.Load().watchHeld(t.Context())
	require.Equal(t, 1, log.count("more than half of the 8 MiB"))

	net.HealBoth("eu", "us")
	reports(t, eu, "us", func(held int64) bool { return held == 0 })
	eu.current.Load().watchHeld(t.Context())
	require.Equal(t, 1, log.count("shrinks again"))
	stats := us.Stats()
	require.NotZero(t, stats.Regions[0].Received.Bytes)
	require.Zero(t, stats.Regions[1].Received)
}
