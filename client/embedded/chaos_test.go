package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
)

// TestChaos has clients in every region work on objects of every type while links are cut, regions
// are isolated, stopped, crash, and lose their disks. After each round everything is healed, and:
//
//   - all regions read the same (digests);
//   - a counter holds every acknowledged add once: at least their sum, and exactly, but for adds whose
//     outcome is unknown, of which each is in it or not;
//   - what one client alone writes is what it wrote last, or something of unknown outcome that it
//     wrote after that; sets that only grow hold all that was acknowledged;
//   - no client's session has seen anything go back.
func TestChaos(t *testing.T) {
	seed, random := seeded(t)
	f := &fatals{}
	c := clusterWith(t, ClusterOptions{Seed: seed}, f)
	w := &chaos{c: c, t: t, random: random}
	for _, region := range c.Regions() {
		for i := range 3 {
			w.clients = append(w.clients, newChaosClient(c, region, i, seed))
		}
	}
	for round := range *roundsFlag {
		w.round(round)
		require.Empty(t, f.all(), "nodes gave up")
		if t.Failed() {
			return
		}
	}
	for _, k := range w.clients {
		require.Positive(t, k.acked, "a client that did nothing proves nothing")
	}
}

type chaos struct {
	c       *Cluster
	t       *testing.T
	random  *rand.Rand
	clients []*chaosClient
}

// roundOps is how many operations each client makes a round.
const roundOps = 150

func (w *chaos) round(number int) {
	var done sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(len(w.clients)))
	for _, k := range w.clients {
		done.Go(func() {
			defer left.Add(-1)
			if err := k.work(w.t.Context(), roundOps); err != nil {
				w.t.Errorf("round %d, client %s: %v", number, k.name, err)
			}
		})
	}
	var events []string
	for left.Load() > 0 && len(events) < 200 {
		events = append(events, w.event())
	}
	for _, name := range w.c.Regions() {
		w.c.Rejoin(name)
	}
	done.Wait()
	w.t.Logf("round %d: %v", number, events)
	if !w.t.Failed() {
		w.check()
	}
	if !w.t.Failed() && w.random.IntN(3) == 0 {
		w.loseDisk()
	}
}

// event lets one thing go wrong, or right again.
func (w *chaos) event() string {
	names := w.c.Regions()
	at := w.random.Perm(len(names))
	a, b := names[at[0]], names[at[1]]
	switch w.random.IntN(9) {
	case 0, 1:
		w.c.Cut(a, b)
		w.some()
		return "cut " + a + "-" + b
	case 2, 3:
		w.c.Heal(a, b)
		w.some()
		return "heal " + a + "-" + b
	case 4:
		w.c.Isolate(a)
		w.some()
		return "isolate " + a
	case 5:
		w.c.Rejoin(a)
		w.some()
		return "rejoin " + a
	case 6, 7:
		w.c.Crash(a)
		if w.random.IntN(2) == 0 {
			w.some()
		}
		restart(w.t, w.c, a)
		w.some()
		return "crash " + a
	}
	require.NoError(w.t, w.c.Stop(within(w.t), a))
	restart(w.t, w.c, a)
	w.some()
	return "stop " + a
}

// some lets the clients make a few operations, as long as they have any left to make.
func (w *chaos) some() {
	target := w.done() + 20 + w.random.IntN(60)
	deadline := time.NewTimer(100 * time.Millisecond)
	defer deadline.Stop()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for w.done() < target {
		select {
		case <-again.C:
		case <-deadline.C:
			return
		}
	}
}

func (w *chaos) done() (n int) {
	for _, k := range w.clients {
		n += int(k.made.Load())
	}
	return n
}

// loseDisk empties a disk, once the others have all that is on it.
func (w *chaos) loseDisk() {
	name := w.c.Regions()[w.random.IntN(3)]
	w.t.Logf("%s loses its disk", name)
	everywhereOnDisk(w.t, w.c)
	require.NoError(w.t, w.c.LoseDisk(name))
	restart(w.t, w.c, name)
	writable(w.t, w.c, name)
	converge(w.t, w.c)
	for _, k := range w.clients {
		k.token, k.lastN = client.Token{}, 0 // it may name what was answered with "applied" and is gone
	}
}

// check compares what every region shows with what the clients know.
func (w *chaos) check() {
	converge(w.t, w.c)
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for _, region := range w.c.Regions() {
		db := w.c.DB(region)
		for _, l := range w.ledgers() {
			n := counter(w.t, w.c, region, l.name)
			require.GreaterOrEqual(w.t, n, l.acked, "%s in %s: acknowledged adds are missing", l.name, region)
			require.LessOrEqual(w.t, n, l.acked+l.open, "%s in %s: adds count twice", l.name, region)
		}
		for _, k := range w.clients {
			for name, own := range k.own {
				got, err := own.read(ctx, db)
				require.NoError(w.t, err)
				require.Contains(w.t, own.may, got, "%s in %s", name, region)
			}
		}
	}
	for _, k := range w.clients {
		for _, own := range k.own { // what is there now is known
			got, err := own.read(ctx, w.c.DB("eu"))
			require.NoError(w.t, err)
			own.may = []string{got}
		}
	}
}

// ledger sums up what was added to a counter: acknowledged, and with an open outcome.
type ledger struct {
	name        string
	acked, open int64
}

func (w *chaos) ledgers() map[string]*ledger {
	all := map[string]*ledger{}
	for _, k := range w.clients {
		for name, l := range k.added {
			sum := all[name]
			if sum == nil {
				sum = &ledger{name: name}
				all[name] = sum
			}
			sum.acked, sum.open = sum.acked+l.acked, sum.open+l.open
		}
	}
	return all
}

// chaosClient is one client: a session in a region, which it leaves for another now and then.
type chaosClient struct {
	name   string
	c      *Cluster
	region string
	token  client.Token
	random *rand.Rand
	made   atomic.Int64
	acked  int
	added  map[string]*ledger
	own    map[string]*ownLeaf
	lastN  int64 // of the counter that it watches
}

// ownLeaf is something that one client alone writes.
type ownLeaf struct {
	read func(ctx context.Context, db *client.DB) (string, error)
	may  []string // what it may hold: the last acknowledged value, then those of unknown outcome
}

func newChaosClient(c *Cluster, region string, i int, seed uint64) *chaosClient {
	return &chaosClient{
		name: fmt.Sprintf("%s%d", region, i), c: c, region: region,
		random: rand.New(rand.NewPCG(seed, uint64(i)<<8|uint64(region[0]))),
		added:  map[string]*ledger{}, own: map[string]*ownLeaf{},
	}
}

// work makes n operations. Errors are what no failure of links and nodes explains.
func (k *chaosClient) work(ctx context.Context, n int) error {
	for range n {
		if k.random.IntN(40) == 0 {
			k.region = k.c.Regions()[k.random.IntN(3)]
		}
		limited, cancel := context.WithTimeout(ctx, patience)
		err := k.step(limited)
		cancel()
		k.made.Add(1)
		switch {
		case err == nil:
			k.acked++
		case errors.Is(err, client.ErrLost):
			k.token = client.Token{} // a crash took back what was answered with "applied"
			k.lastN = 0
		case down(err):
			if err := up(ctx, k.c, k.region); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}

// step makes one operation of some kind, in a session.
func (k *chaosClient) step(ctx context.Context) error {
	s := k.c.DB(k.region).Resume(k.token)
	if len(k.token.Seen) > 0 {
		// What the session has seen may be out of reach here: then it goes on without.
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		_, err := s.Counter("watched").Get(short)
		cancel()
		if errors.Is(err, client.ErrStale) {
			k.token, k.lastN = client.Token{}, 0
			s = k.c.DB(k.region).Session()
		} else if err != nil {
			return err
		}
	}
	err := k.operations()[k.random.IntN(len(k.operations()))](ctx, s)
	if err == nil {
		k.token = s.Token()
	}
	return err
}
