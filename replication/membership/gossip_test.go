package membership

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// seen collects what a node is told.
type seen struct {
	mu    sync.Mutex
	nodes map[clock.Region]Node
	lines []string
}

func (s *seen) found(n Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[n.Region] = n
}

func (s *seen) logf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *seen) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.lines, func(l string) bool { return strings.Contains(l, text) })
}

func discard() *log.Logger { return log.New(io.Discard, "", 0) }

func (s *seen) regions() []clock.Region {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []clock.Region
	for r := range s.nodes {
		out = append(out, r)
	}
	slices.Sort(out)
	return out
}

// start gossips on loopback, at a port that the system picks.
func start(t *testing.T, n Node, keys [][]byte, known ...string) (*Gossip, *seen) {
	t.Helper()
	s := &seen{nodes: map[clock.Region]Node{}}
	g, err := Start(Config{
		Self: n, Bind: "127.0.0.1:0", Keys: keys,
		Known: func() []string { return known }, Found: s.found, Logf: s.logf,
	})
	require.NoError(t, err)
	tick := time.NewTicker(50 * time.Millisecond)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); g.Run(ctx, tick.C) }()
	t.Cleanup(func() {
		stop()
		<-done
		tick.Stop()
		require.NoError(t, g.Close())
	})
	return g, s
}

func node(cluster byte, region clock.Region) Node {
	return Node{Cluster: kv.ClusterID{cluster}, Region: region, Addresses: kv.Addresses{Client: "client", Peer: "peer"}}
}

func TestAddressesSpread(t *testing.T) {
	key := [][]byte{bytes.Repeat([]byte{7}, 32)}
	for name, keys := range map[string][][]byte{"plain": nil, "encrypted": key} {
		t.Run(name, func(t *testing.T) {
			a, sawA := start(t, node(1, 1), keys)
			_, sawB := start(t, node(1, 2), keys, a.Address())
			_, sawC := start(t, node(1, 3), keys, a.Address())
			for want, s := range map[string]*seen{"2 3": sawA, "1 3": sawB, "1 2": sawC} {
				require.Eventually(t, func() bool { return len(s.regions()) == 2 }, 20*time.Second, 5*time.Millisecond, want)
			}
			require.Equal(t, []clock.Region{1, 2}, sawC.regions())
			require.Equal(t, node(1, 1), sawC.nodes[1])
			require.Equal(t, 3, a.Members())
		})
	}
}

func TestStrangersAreNotHeard(t *testing.T) {
	a, saw := start(t, node(1, 1), [][]byte{bytes.Repeat([]byte{7}, 32)})
	_, other := start(t, node(2, 2), [][]byte{bytes.Repeat([]byte{7}, 32)}, a.Address())
	_, keyless := start(t, node(1, 3), nil, a.Address())
	_, wrong := start(t, node(1, 4), [][]byte{bytes.Repeat([]byte{8}, 32)}, a.Address())
	_, friend := start(t, node(1, 5), [][]byte{bytes.Repeat([]byte{7}, 32)}, a.Address())
	require.Eventually(t, func() bool { return len(friend.regions()) == 1 }, 20*time.Second, 5*time.Millisecond)
	require.Eventually(t, func() bool { return len(saw.regions()) == 1 }, 20*time.Second, 5*time.Millisecond)
	require.Equal(t, []clock.Region{5}, saw.regions())
	for _, s := range []*seen{other, keyless, wrong} {
		require.Empty(t, s.regions())
	}
}

func TestBadConfigurations(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	long := node(1, 1)
	long.Addresses.Admin = strings.Repeat("x", maxMeta)
	for name, c := range map[string]Config{
		"no port":       {Self: node(1, 1), Bind: "127.0.0.1"},
		"bad port":      {Self: node(1, 1), Bind: "127.0.0.1:http-alt-not"},
		"bad advertise": {Self: node(1, 1), Bind: "127.0.0.1:0", Advertise: "nowhere"},
		"bad key":       {Self: node(1, 1), Bind: "127.0.0.1:0", Keys: [][]byte{{1, 2, 3}}},
		"taken port":    {Self: node(1, 1), Bind: taken.Addr().String()},
		"long":          {Self: long, Bind: "127.0.0.1:0"},
	} {
		_, err := Start(c)
		require.ErrorContains(t, err, "gossip", name)
	}
}

func TestMetadataSurvivesTheTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z.:0-9]{0,60}`)
		n := Node{Region: clock.Region(rapid.IntRange(1, 0xffff).Draw(t, "region")), Addresses: kv.Addresses{
			Client: text.Draw(t, "client"), Peer: text.Draw(t, "peer"), Gossip: text.Draw(t, "gossip"), Admin: text.Draw(t, "admin")}}
		copy(n.Cluster[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "cluster"))
		b, err := n.encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decode(b); err != nil || got != n {
			t.Fatalf("%v: %v, want %v", err, got, n)
		}
		if _, err := decode(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]); err == nil {
			t.Fatal("a cut-off one was taken")
		}
	})
}

func FuzzDecode(f *testing.F) {
	b, err := node(1, 1).encode()
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decode(b)
		if err == nil {
			_, err = n.encode()
			require.NoError(t, err)
		}
	})
}

func TestTheLogIsQuiet(t *testing.T) {
	s := &seen{}
	now := time.Unix(1, 0)
	q := &quiet{logf: s.logf, now: func() time.Time { return now }}
	write := func(line string) {
		n, err := q.Write([]byte(line))
		require.NoError(t, err)
		require.Equal(t, len(line), n)
	}
	for _, line := range []string{"[DEBUG] x", "[WARN] x", "[ERR] memberlist: Failed to join", "[ERR] memberlist: disk"} {
		write(line)
	}
	require.Len(t, s.lines, 1)

	for range 3 * maxLines {
		write("[ERR] memberlist: a stranger")
	}
	require.Len(t, s.lines, maxLines)
	now = now.Add(linesPeriod)
	write("[ERR] memberlist: another stranger")
	require.Len(t, s.lines, maxLines+2)
	require.Contains(t, s.lines[maxLines], "more errors")
	require.Equal(t, 1, q.lines)
	require.Zero(t, q.dropped)
}
