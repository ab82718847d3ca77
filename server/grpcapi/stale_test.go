package grpcapi_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/test/bufconn"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// overPorts are two regions behind client ports, and a way to dial both at the hosts of their names.
type overPorts struct {
	*embedded.Cluster
	dial func(ctx context.Context, addr string) (net.Conn, error)
}

// inBubbleWithPorts runs a test on synthetic time.
func inBubbleWithPorts(t *testing.T, test func(t *testing.T, o *overPorts)) {
	synctest.Test(t, func(t *testing.T) {
		c, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{Regions: []string{"eu", "us"}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		ports := map[string]*bufconn.Listener{}
		for i, name := range c.Regions() {
			lis := bufconn.Listen(1 << 20)
			ports["127.0.0."+string(rune('1'+i))+":6700"] = lis
			s, served := grpcapi.New(grpcapi.Config{Service: c.Service(name)}), make(chan error, 1)
			go func() { served <- s.Serve(lis) }()
			t.Cleanup(func() { s.Stop(context.Background()); require.NoError(t, <-served) })
		}
		test(t, &overPorts{c, func(ctx context.Context, addr string) (net.Conn, error) { return ports[addr].DialContext(ctx) }})
	})
}

const (
	eu = "127.0.0.1"
	us = "127.0.0.2"
)

// open is a client of the ports at these hosts, the preferred one first.
func (o *overPorts) open(t *testing.T, hosts ...string) *client.DB {
	db, err := client.Open(t.Context(), strings.Join(hosts, ","), client.Insecure(), client.WithDialer(o.dial))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// aheadOfEU is a session that has written in us, which eu does not hear of.
func (o *overPorts) aheadOfEU(t *testing.T) client.Token {
	o.Cut("eu", "us")
	s := o.DB("us").Session()
	require.NoError(t, s.Counter("n").Add(t.Context(), 7))
	return s.Token()
}

// calls are all that wait for a token, by name.
var tokenCalls = map[string]func(ctx context.Context, s *client.Session) error{
	"read":  func(ctx context.Context, s *client.Session) error { _, err := s.Counter("n").Get(ctx); return err },
	"write": func(ctx context.Context, s *client.Session) error { return s.Counter("n").Add(ctx, 1) },
	"large write": func(ctx context.Context, s *client.Session) error {
		return s.Register("r").Set(ctx, make([]byte, 100<<10))
	},
	"whole set": func(ctx context.Context, s *client.Session) error {
		for _, err := range s.Set("s").Elements(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	},
	"keys": func(ctx context.Context, s *client.Session) error {
		for _, err := range s.Keys(ctx, "") {
			if err != nil {
				return err
			}
		}
		return nil
	},
	"first page of keys": func(ctx context.Context, s *client.Session) error {
		for _, err := range s.Keys(ctx, "") {
			return err
		}
		return nil
	},
	"digest": func(ctx context.Context, s *client.Session) error { _, err := s.Digest(ctx, ""); return err },
	"transaction": func(ctx context.Context, s *client.Session) error {
		return s.Update(ctx, func(tx *client.Tx) error { return tx.Counter("n").Add(ctx, 1) })
	},
}

// A node that has not what a token names says so while its caller still listens.
func TestStaleIsHeardBeforeTheDeadline(t *testing.T) {
	inBubbleWithPorts(t, func(t *testing.T, o *overPorts) {
		db := o.open(t, eu)
		token := o.aheadOfEU(t)
		for name, call := range tokenCalls {
			for _, timeout := range []time.Duration{40 * time.Millisecond, 10 * time.Second} {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				err := call(ctx, db.Resume(token))
				require.ErrorIs(t, err, client.ErrStale, "%s within %s", name, timeout)
				require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err), name)
				require.NoError(t, ctx.Err(), "there is time left: %s", name)
				cancel()
			}
		}
		n, err := db.Counter("n").Get(t.Context())
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

// Within the caller's deadline the next region gets its chance.
func TestSessionsMoveOnFromAStaleRegion(t *testing.T) {
	inBubbleWithPorts(t, func(t *testing.T, o *overPorts) {
		db := o.open(t, eu, us)
		token := o.aheadOfEU(t)
		for name, call := range tokenCalls {
			for _, timeout := range []time.Duration{100 * time.Millisecond, 10 * time.Second, 0} {
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if timeout > 0 {
					ctx, cancel = context.WithTimeout(ctx, timeout)
				}
				require.NoError(t, call(ctx, db.Resume(token)), "%s within %s", name, timeout)
				cancel()
			}
		}
		n, err := db.Resume(token).Counter("n").Get(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 7+2*3, n)
		o.Heal("eu", "us")
	})
}

// Where no region has it, the answer is still that.
func TestStaleEverywhereIsStale(t *testing.T) {
	inBubbleWithPorts(t, func(t *testing.T, o *overPorts) {
		db := o.open(t, eu, us)
		s := db.Session()
		require.NoError(t, s.Counter("n").Add(t.Context(), 1))
		token := s.Token()
		later := clock.At(token.Seen.At(1).Wall().Add(time.Hour))
		token.Seen = token.Seen.Join(clock.VectorOf(clock.Entry{Region: 1, Time: later}))
		for name, call := range tokenCalls {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			err := call(ctx, db.Resume(token))
			require.ErrorIs(t, err, client.ErrStale, name)
			require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err), name)
			require.NoError(t, ctx.Err(), name)
			cancel()
		}
	})
}

// Errors of levels and durabilities keep their kind and outcome, and come while the caller still listens.
func TestLevelsAndDurabilitiesFailInTime(t *testing.T) {
	inBubbleWithPorts(t, func(t *testing.T, o *overPorts) {
		db := o.open(t, eu)
		add := func(timeout time.Duration, opts ...client.CallOption) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			err := db.Counter("n").Add(ctx, 1, opts...)
			if client.KindOf(err) != kv.KindUnavailable { // of that the client asks again until the end
				require.NoError(t, ctx.Err(), "there is time left")
			}
			return err
		}
		var r client.Receipt
		require.NoError(t, add(time.Second, client.Quorum(), client.Durable(client.All), client.WithReceipt(&r)))
		require.Equal(t, 2, r.Regions)
		require.Len(t, r.Staleness, 2, "the other region, and strong transactions")
		o.Cut("eu", "us")
		time.Sleep(3 * time.Second)
		for _, timeout := range []time.Duration{100 * time.Millisecond, 10 * time.Second} {
			for name, c := range map[string]struct {
				options []client.CallOption
				kind    error
				outcome client.Outcome
			}{
				"bounded":         {[]client.CallOption{client.Bounded(time.Second)}, client.ErrStale, client.OutcomeNotApplied},
				"bounded or fail": {[]client.CallOption{client.BoundedOrFail(time.Second)}, client.ErrStale, client.OutcomeNotApplied},
				"quorum":          {[]client.CallOption{client.Quorum()}, client.ErrUnavailable, client.OutcomeNotApplied},
				"3 of 2 regions":  {[]client.CallOption{client.Durable(client.Regions(3))}, client.ErrLevelRefused, client.OutcomeNotApplied},
				"majority":        {[]client.CallOption{client.Durable(client.Majority)}, client.ErrDeadline, client.OutcomeApplied},
				"all":             {[]client.CallOption{client.Durable(client.All)}, client.ErrDeadline, client.OutcomeApplied},
			} {
				err := add(timeout, c.options...)
				require.ErrorIs(t, err, c.kind, name)
				require.Equal(t, c.outcome, client.OutcomeOf(err), name)
			}
		}
		n, err := db.Counter("n").Get(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1+4, n, "exactly those that were said to be applied, once each")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = db.Update(ctx, func(tx *client.Tx) error { return tx.Counter("n").Add(ctx, 1) }, client.Durable(client.All))
		require.ErrorIs(t, err, client.ErrDeadline)
		require.Equal(t, client.OutcomeApplied, client.OutcomeOf(err))
		require.NotEmpty(t, kv.TokenOf(err).Seen)
	})
}

// Whoever asks for level strong where no majority is hears in time that nothing was written, also once what was
// written there since at other levels is old, which a strong transaction would have to include.
func TestStrongCallsInAMinorityAreHeardToBeRefused(t *testing.T) {
	calls := map[string]func(ctx context.Context, db *client.DB) error{
		"read": func(ctx context.Context, db *client.DB) error {
			_, err := db.Counter("n").Get(ctx, client.Strong())
			return err
		},
		"write": func(ctx context.Context, db *client.DB) error { return db.Counter("n").Add(ctx, 1, client.Strong()) },
		"closure": func(ctx context.Context, db *client.DB) error {
			return db.Update(ctx, func(tx *client.Tx) error {
				if _, err := tx.Counter("n").Get(ctx); err != nil {
					return err
				}
				return tx.Counter("n").Add(ctx, 1)
			}, client.Strong())
		},
		"closure that reads": func(ctx context.Context, db *client.DB) error {
			return db.View(ctx, func(tx *client.Tx) error { _, err := tx.Counter("n").Get(ctx); return err }, client.Strong())
		},
	}
	inBubbleWithPorts(t, func(t *testing.T, o *overPorts) {
		db := o.open(t, eu)
		for { // until both have a vote
			s, err := o.DB("us").Status(t.Context())
			require.NoError(t, err)
			if s.Strong == "follower" {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		require.NoError(t, db.Counter("n").Add(t.Context(), 1, client.Strong()))
		o.Cut("eu", "us")
		require.NoError(t, db.Counter("n").Add(t.Context(), 1))
		for range 2 { // there is no leader any more; then what was written is old, too
			time.Sleep(10 * time.Second)
			for _, timeout := range []time.Duration{100 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second} {
				for name, call := range calls {
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					err := call(ctx, db)
					cancel()
					require.ErrorIs(t, err, client.ErrUnavailable, "%s in %v", name, timeout)
					require.Equal(t, client.OutcomeNotApplied, client.OutcomeOf(err), "%s in %v: %v", name, timeout, err)
					require.ErrorContains(t, err, "majority", "%s in %v", name, timeout)
				}
			}
		}
	})
}
