package client

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/kv"
)

// clientOf is a client of such nodes, in this order.
func clientOf(nodes ...kv.Service) (*DB, *router) {
	cfg := newConfig(nil)
	var endpoints []*endpoint
	for i, n := range nodes {
		endpoints = append(endpoints, &endpoint{svc: n, addr: fmt.Sprint(i)})
	}
	r := newRouter(endpoints, cfg.policy)
	db := newDB(r, cfg)
	db.routed = true
	return db, r
}

func TestChoiceOfAnEndpoint(t *testing.T) {
	type node struct{ down, mute, tried, none bool }
	for name, c := range map[string]struct {
		nodes []node
		last  int // -1: none
		want  int
		rank  int
	}{
		"the preferred one":           {[]node{{}, {}}, -1, 0, rankNew},
		"up before down":              {[]node{{down: true}, {}}, -1, 1, rankNew},
		"untried before tried":        {[]node{{tried: true}, {tried: true}, {}}, 1, 2, rankNew},
		"in turn":                     {[]node{{tried: true}, {tried: true}, {tried: true}}, 1, 2, rankUp},
		"and around":                  {[]node{{tried: true}, {tried: true}, {tried: true}}, 2, 0, rankUp},
		"up again before untried":     {[]node{{tried: true}, {down: true}}, 0, 0, rankUp},
		"down before silent":          {[]node{{down: true, mute: true}, {down: true, tried: true}}, 1, 1, rankDown},
		"those that are down in turn": {[]node{{down: true}, {down: true, tried: true}, {down: true}}, 1, 2, rankDown},
		"silent before no database":   {[]node{{down: true, none: true}, {down: true, mute: true}}, 0, 1, rankMute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, r := clientOf(make([]kv.Service, len(c.nodes))...)
				var failed failures
				for i, n := range c.nodes {
					e := r.endpoints[i]
					if e.mute.Store(n.mute); n.down {
						e.fail(r.now)
					}
					switch {
					case n.none:
						failed.note(e, misplaced())
					case n.tried:
						failed.note(e, down())
					}
				}
				var last *endpoint
				if c.last >= 0 {
					last = r.endpoints[c.last]
				}
				e, rank := r.choose(last, &failed)
				require.Equal(t, fmt.Sprint(c.want), e.addr)
				require.Equal(t, c.rank, rank)
			})
		})
	}
}

// A node known to be silent is no choice while another one has only failed a moment ago.
func TestASilentNodeIsTheLastChoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		eu, us := &hanging{faulty: newFaulty(store.Node(1, "eu"))}, newFaulty(store.Node(2, "us"))
		db, _ := clientOf(eu, us)
		eu.stop()
		require.Zero(t, counter(t, db, "c"))
		synctest.Wait() // eu has not said that it is there
		us.before = func(_ string, n int) error {
			if n == 2 {
				return down() // it restarts
			}
			return nil
		}
		for range 3 {
			began := time.Now()
			require.Zero(t, counter(t, db, "c"))
			require.Less(t, time.Since(began), penalty)
		}
		eu.goOn()
		synctest.Wait()
	})
}

// No call hangs with one silent node while there is another, whatever that is known to be.
func TestCallsLeaveOneSilentNodeForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		eu, us := &hanging{faulty: newFaulty(store.Node(1, "eu"))}, &hanging{faulty: newFaulty(store.Node(2, "us"))}
		db, r := clientOf(eu, us)
		eu.stop()
		us.stop()
		short, cancel := context.WithTimeout(ctx, 8*time.Second)
		defer cancel()
		_, err := db.Counter("c").Get(short)
		require.ErrorIs(t, err, ErrUnavailable)
		require.True(t, r.endpoints[0].mute.Load())
		require.True(t, r.endpoints[1].mute.Load())
		time.AfterFunc(time.Minute, us.goOn)
		began := time.Now()
		for {
			if _, err = db.Counter("c").Get(ctx); err == nil {
				break
			}
			require.ErrorIs(t, err, ErrUnavailable)
		}
		require.LessOrEqual(t, time.Since(began), time.Minute+2*silentTry)
		eu.goOn()
		synctest.Wait()
	})
}

// behind is a node that waits for a token as long as it may.
type behind struct{ *faulty }

func (b *behind) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	_, _ = b.enter("Do")
	if w := req.Options.Wait; w > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w)
		defer cancel()
	}
	const answer = 10 * time.Millisecond // the rest of the call
	until, _ := ctx.Deadline()
	time.Sleep(time.Until(until) - answer)
	return kv.Response{}, kv.Errorf(kv.KindStale, "behind")
}

// However many nodes are down, a call waits at the one that is behind until its deadline, and looks for
// the others meanwhile.
func TestStaleComesAtTheDeadline(t *testing.T) {
	for nodes := 1; nodes <= 4; nodes++ {
		for _, back := range []bool{false, true} {
			if nodes == 1 && back {
				continue // nobody to come
			}
			t.Run(fmt.Sprintf("%d nodes, one comes back: %v", nodes, back), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const timeout = time.Minute
					store := memkv.New()
					services := []kv.Service{&behind{newFaulty(store.Node(1, "eu"))}}
					for i := 1; i < nodes; i++ {
						services = append(services, store.Node(2, "us"))
					}
					db, r := clientOf(services...)
					began := time.Now()
					for i, e := range r.endpoints[1:] {
						e.ready = func() bool { return back && i == nodes-2 && time.Since(began) > timeout/4 }
						e.fail(r.now)
					}
					c, cancel := context.WithTimeout(ctx, timeout)
					defer cancel()
					_, err := db.Counter("c").Get(c)
					if back {
						require.NoError(t, err)
						return
					}
					require.ErrorIs(t, err, ErrStale)
					require.Greater(t, time.Since(began), timeout-shortestTry)
				})
			})
		}
	}
}
