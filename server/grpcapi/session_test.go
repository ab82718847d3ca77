package grpcapi_test

import (
	"bytes"
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/test/bufconn"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/server/grpcapi"
)

// twoRegions are a cluster whose regions are reached in-process, and over gRPC.
func twoRegions(t *testing.T) (c *embedded.Cluster, ways map[string]func(region string) *client.DB) {
	c, err := embedded.StartCluster(ctx, embedded.ClusterOptions{Regions: []string{"eu", "us"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	remote := map[string]*client.DB{}
	for _, name := range c.Regions() {
		lis := bufconn.Listen(1 << 20)
		start(t, lis, grpcapi.Config{Service: c.Service(name)})
		db, err := client.Open(ctx, "localhost", client.Insecure(), client.WithTries(1),
			client.WithDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		remote[name] = db
	}
	return c, map[string]func(string) *client.DB{
		"in-process": c.DB,
		"over gRPC":  func(name string) *client.DB { return remote[name] },
	}
}

// missing asserts that a region which is cut off has not all that a session has seen.
func missing(t *testing.T, db *client.DB, token client.Token) {
	t.Helper()
	status, err := db.Status(ctx)
	require.NoError(t, err)
	require.False(t, status.Exposed.Includes(token.Seen))
}

// What a comparison or a bound was judged by the session has seen: another region shows it no less.
func TestFailedConditionsAreInTheSession(t *testing.T) {
	c, ways := twoRegions(t)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	wrong := []byte("wrong")
	calls := map[string]func(s *client.Session) error{
		"one-shot": func(s *client.Session) error { return s.Register("x").CompareAndSet(ctx, wrong, nil) },
		"at applied": func(s *client.Session) error {
			return s.Register("x").CompareAndSet(ctx, wrong, nil, client.Durable(client.Applied))
		},
		"named": func(s *client.Session) error {
			return s.Register("x").CompareAndSet(ctx, wrong, nil, client.WithOpID(client.NewOpID()))
		},
		"with a query": func(s *client.Session) error {
			op := client.Op{Object: s.Register("x").Object(), Verb: kv.VerbAssign, Expect: &kv.Expectation{Value: wrong}}
			_, err := s.Do(ctx, []client.Op{op}, []client.Query{{Object: s.Counter("n").Object()}})
			return err
		},
		"interactive": func(s *client.Session) error {
			return s.Update(ctx, func(tx *client.Tx) error {
				if _, err := tx.Counter("n").Get(ctx); err != nil {
					return err
				}
				return tx.Register("x").CompareAndSet(ctx, wrong, nil)
			})
		},
	}
	for way, db := range ways {
		for name, call := range calls {
			t.Run(way+", "+name, func(t *testing.T) {
				c.Cut("eu", "us")
				value := way + name
				require.NoError(t, db("us").Register("x").SetString(ctx, value))
				s := db("us").Session()
				require.ErrorIs(t, call(s), client.ErrAborted)
				missing(t, db("eu"), s.Token())
				c.Heal("eu", "us")
				got, err := db("eu").Resume(s.Token()).Register("x").GetString(ctx)
				require.NoError(t, err)
				require.Equal(t, value, got)
			})
		}
		t.Run(way+", a bound", func(t *testing.T) {
			c.Cut("eu", "us")
			n := db("us").Counter(way)
			require.NoError(t, n.Add(ctx, 1<<62))
			s := db("us").Session()
			require.ErrorIs(t, s.Counter(way).Add(ctx, 1<<62), client.ErrBound)
			missing(t, db("eu"), s.Token())
			c.Heal("eu", "us")
			got, err := db("eu").Resume(s.Token()).Counter(way).Get(ctx)
			require.NoError(t, err)
			require.EqualValues(t, 1<<62, got)
		})
	}
}

// A write whose answer is too large to send is done, and the session knows what to read it back by.
func TestTooLargeAnswersAreInTheSession(t *testing.T) {
	c, ways := twoRegions(t)
	db := ways["over gRPC"]
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	const count = 16
	// The node counts 8 bytes beside each value, a message takes a few more.
	value := bytes.Repeat([]byte("x"), kv.MaxAnswerBytes/count-8)
	var queries []client.Query
	for i := range count {
		r := db("us").Register(string(rune('a' + i)))
		require.NoError(t, r.Set(ctx, value))
		queries = append(queries, client.Query{Object: r.Object()})
	}
	c.Cut("eu", "us")
	s := db("us").Session()
	add := client.Op{Object: s.Counter("n").Object(), Verb: kv.VerbIncrement, Int: 1}
	_, err := s.Do(ctx, []client.Op{add}, queries)
	require.ErrorIs(t, err, client.ErrTooLarge)
	require.Equal(t, client.OutcomeApplied, client.OutcomeOf(err))
	require.Equal(t, s.Token(), kv.TokenOf(err))
	missing(t, db("eu"), s.Token())
	c.Heal("eu", "us")
	n, err := db("eu").Resume(s.Token()).Counter("n").Get(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)

	s = db("us").Session()
	_, err = s.Do(ctx, nil, queries)
	require.ErrorIs(t, err, client.ErrTooLarge)
	require.False(t, s.Token().IsZero(), "that it is too large tells of the data")
}
