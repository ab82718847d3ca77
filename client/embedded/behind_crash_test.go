package embedded

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/node"
	"github.com/theriac-db/theriac/replication"
)

// stage is a transport that stands still, once armed, when a bootstrap gets to some message, until
// its connection is closed or it is let go.
type stage struct {
	replication.Transport
	at    func(m *peerv1.Message) bool
	armed atomic.Bool
	hit   chan struct{}
	let   chan struct{} // closed: the message is lost
}

func newStage(at func(m *peerv1.Message) bool) *stage {
	return &stage{at: at, hit: make(chan struct{}), let: make(chan struct{})}
}

func (s *stage) Dial(ctx context.Context, address string) (replication.Conn, error) {
	c, err := s.Transport.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	return &stagedConn{Conn: c, stage: s, closed: make(chan struct{})}, nil
}

type stagedConn struct {
	replication.Conn
	stage  *stage
	once   sync.Once
	closed chan struct{}
}

func (c *stagedConn) Close() {
	c.once.Do(func() { close(c.closed) })
	c.Conn.Close()
}

func (c *stagedConn) pass(m *peerv1.Message) error {
	if m == nil || !c.stage.at(m) || !c.stage.armed.CompareAndSwap(true, false) {
		return nil
	}
	close(c.stage.hit)
	select {
	case <-c.closed:
	case <-c.stage.let:
	}
	return errors.New("the message is lost")
}

func (c *stagedConn) Send(m *peerv1.Message) error {
	if err := c.pass(m); err != nil {
		return err
	}
	return c.Conn.Send(m)
}

func (c *stagedConn) Recv() (*peerv1.Message, error) {
	m, err := c.Conn.Recv()
	if err == nil {
		err = c.pass(m)
	}
	return m, err
}

// stages are the points of a new bootstrap at which it may end.
func stages() map[string]func(m *peerv1.Message) bool {
	var ranges atomic.Int64
	return map[string]func(m *peerv1.Message) bool{
		"noted, a cut at hand": func(m *peerv1.Message) bool { return m.GetCut() != nil },
		"emptied":              func(m *peerv1.Message) bool { return m.GetRange() != nil },
		"half loaded": func(m *peerv1.Message) bool {
			return m.GetRange() != nil && !m.GetRange().GetLast() && ranges.Add(1) > 2
		},
		"all but the end": func(m *peerv1.Message) bool { return m.GetRange().GetLast() },
		"loaded":          func(m *peerv1.Message) bool { return m.GetCutTaken() != nil },
	}
}

// staged is a cluster in which ap falls behind and its new bootstrap stands still at a stage.
func staged(t *testing.T, at func(m *peerv1.Message) bool) (*Cluster, *stage) {
	s := newStage(at)
	c := cluster(t, ClusterOptions{Adjust: func(c *node.Config) {
		if c.Region != "ap" {
			c.LogBytes, c.LogAge, c.LogLimit = 1, time.Nanosecond, 1
			return
		}
		s.Transport = c.Transport
		c.Transport = s
	}})
	return c, s
}

func (s *stage) reach(t *testing.T, c *Cluster) {
	t.Helper()
	s.armed.Store(true)
	c.Rejoin("ap")
	select {
	case <-s.hit:
	case <-within(t).Done():
		require.Fail(t, "the stage is not reached", "%+v", status(t, c, "ap"))
	}
}

func TestCrashWhileTheDataIsTakenAnewLosesNothing(t *testing.T) {
	t.Parallel()
	for name, at := range stages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, s := staged(t, at)
				token := leaveBehind(t, c, "ap")
				s.reach(t, c)
				c.Crash("ap")
				restart(t, c, "ap")
				whole(t, c, "ap", token)
			})
		})
	}
}

// TestCrashAndIsolationAfterTheNote: nothing has been given up, so the region serves what it has.
func TestCrashAndIsolationAfterTheNote(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := staged(t, stages()["noted, a cut at hand"])
		token := leaveBehind(t, c, "ap")
		s.reach(t, c)
		c.Isolate("ap")
		c.Crash("ap")
		restart(t, c, "ap")
		writable(t, c, "ap")
		require.Equal(t, int64(201), counter(t, c, "ap", "here"))
		require.NoError(t, c.DB("ap").Counter("isolated").Add(within(t), 1))
		c.Rejoin("ap")
		await(t, "it has what it lacked", func() string {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if n, err := c.DB("ap").Counter("there").Get(ctx); n == 0 {
				return "it has not: " + errorText(err)
			}
			return ""
		})
		whole(t, c, "ap", token)
		require.Equal(t, int64(1), counter(t, c, "us", "isolated"))
	})
}

func errorText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

// TestAnotherSourceTakesOver: the region that sends the cut is cut off in the middle of it.
func TestAnotherSourceTakesOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := staged(t, stages()["half loaded"])
		token := leaveBehind(t, c, "ap")
		s.reach(t, c)
		c.Cut("ap", "eu")
		close(s.let)
		writable(t, c, "ap")
		require.Equal(t, int64(600), counter(t, c, "ap", "there"))
		c.Heal("ap", "eu")
		whole(t, c, "ap", token)
	})
}
