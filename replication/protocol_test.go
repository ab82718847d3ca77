package replication_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
	"github.com/theriac-db/theriac/replication"
)

// stranger dials a node and says whatever a test wants.
type stranger struct {
	t    *testing.T
	conn replication.Conn
}

func (c *cluster) stranger(to string) *stranger {
	c.t.Helper()
	conn, err := c.net.Node("stranger").Dial(c.t.Context(), to)
	require.NoError(c.t, err)
	return &stranger{t: c.t, conn: conn}
}

func (s *stranger) hello(h *peerv1.Hello) {
	s.t.Helper()
	require.NoError(s.t, s.conn.Send(&peerv1.Message{Body: &peerv1.Message_Hello{Hello: h}}))
}

// refused expects a refusal of a kind, and then the end.
func (s *stranger) refused(kind kv.Kind, says string) {
	s.t.Helper()
	m, err := s.conn.Recv()
	require.NoError(s.t, err)
	require.NotNil(s.t, m.GetRefused(), "%v", m)
	require.Equal(s.t, kind, kv.Kind(m.GetRefused().GetKind()), m.GetRefused().GetMessage())
	require.Contains(s.t, m.GetRefused().GetMessage(), says)
	s.ended()
}

// ended expects that the node closes the connection.
func (s *stranger) ended() {
	s.t.Helper()
	for {
		if _, err := s.conn.Recv(); err != nil {
			return
		}
	}
}

// member is a hello that a node of eu's cluster would send.
func member(eu *node, region uint32, name string) *peerv1.Hello {
	return &peerv1.Hello{
		ProtocolMin: replication.ProtocolMin, ProtocolMax: replication.ProtocolMax, Purpose: peerv1.Purpose_PURPOSE_REPLICATE,
		Cluster: eu.id.Cluster[:], Region: region, Name: name, Incarnation: 77,
	}
}

func TestHellosThatDoNotFitAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(eu, us, ap)
		for name, test := range map[string]struct {
			change func(*peerv1.Hello)
			kind   kv.Kind
			says   string
		}{
			"a newer protocol":      {func(h *peerv1.Hello) { h.ProtocolMin, h.ProtocolMax = 7, 9 }, kv.KindInvalid, "update the older one"},
			"no protocol":           {func(h *peerv1.Hello) { h.ProtocolMin, h.ProtocolMax = 0, 0 }, kv.KindInvalid, "versions 0 to 0"},
			"another cluster":       {func(h *peerv1.Hello) { h.Cluster = make([]byte, 16) }, kv.KindInvalid, "cluster"},
			"half a cluster id":     {func(h *peerv1.Hello) { h.Cluster = h.Cluster[:8] }, kv.KindInvalid, "cluster"},
			"another name":          {func(h *peerv1.Hello) { h.Name = "sa" }, kv.KindInvalid, "instead of"},
			"an unknown region":     {func(h *peerv1.Hello) { h.Region = 9 }, kv.KindUnavailable, "not known here yet"},
			"the wrong direction":   {func(h *peerv1.Hello) { h.Region, h.Name, h.Incarnation = 3, "ap", 3 }, kv.KindInvalid, "lower number dials"},
			"an unknown purpose":    {func(h *peerv1.Hello) { h.Purpose = 99 }, kv.KindInvalid, "purpose"},
			"a list without itself": {func(h *peerv1.Hello) { h.Members = &peerv1.Members{Version: 99} }, kv.KindInvalid, "missing"},
			"a list upside down": {func(h *peerv1.Hello) {
				h.Members = &peerv1.Members{Version: 99, Members: []*peerv1.Member{{Region: 2, Name: "x"}, {Region: 1, Name: "y"}}}
			}, kv.KindInvalid, "malformed list"},
			"a list that renames": {func(h *peerv1.Hello) {
				h.Members = &peerv1.Members{Version: 99, Members: []*peerv1.Member{{Region: 1, Name: "x"}}}
			}, kv.KindInvalid, "newer list"},
			"a join without a name": {func(h *peerv1.Hello) { h.Purpose, h.Name = peerv1.Purpose_PURPOSE_JOIN, "" }, kv.KindInvalid, "region name"},
			"a join of another cluster": {func(h *peerv1.Hello) {
				h.Purpose, h.Cluster, h.Region = peerv1.Purpose_PURPOSE_JOIN, make([]byte, 16), 0
			}, kv.KindInvalid, "cluster"},
			"a join by another protocol": {func(h *peerv1.Hello) {
				h.Purpose, h.ProtocolMin = peerv1.Purpose_PURPOSE_JOIN, 9
				h.ProtocolMax = 9
			}, kv.KindInvalid, "versions 9 to 9"},
			"a bootstrap of a stranger": {func(h *peerv1.Hello) {
				h.Purpose, h.Region = peerv1.Purpose_PURPOSE_BOOTSTRAP, 9
			}, kv.KindUnavailable, "not known"},
			"an announcement of a stranger": {func(h *peerv1.Hello) {
				h.Purpose, h.Cluster = peerv1.Purpose_PURPOSE_ANNOUNCE, nil
			}, kv.KindInvalid, "cluster"},
		} {
			t.Log(name)
			h := member(eu, 1, "eu")
			test.change(h)
			s := c.stranger("us")
			s.hello(h)
			s.refused(test.kind, test.says)
		}
		// No damage: what they have goes on.
		a := eu.commit()
		us.sees(a)
		ap.sees(a)
	})
}

func TestASilentOrSpeechlessDialerIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		eu := c.start("eu", newFakeStore(1), nil)
		defer stopAll(eu)
		synctest.Wait()
		begin := time.Now()
		silent := c.stranger("eu")
		silent.ended()
		require.Equal(t, replication.HandshakeTimeout, time.Since(begin))
		rude := c.stranger("eu")
		require.NoError(t, rude.conn.Send(&peerv1.Message{Body: &peerv1.Message_Heartbeat{Heartbeat: &peerv1.Heartbeat{}}}))
		rude.ended()
		empty := c.stranger("eu")
		require.NoError(t, empty.conn.Send(&peerv1.Message{}))
		empty.ended()
	})
}

// impostor completes the handshake with us in the place of eu, which has crashed.
func (c *cluster) impostor(eu *node) *stranger {
	c.t.Helper()
	s := c.stranger("us")
	h := member(eu, 1, "eu")
	h.Incarnation = eu.store.incarnation // another one would have to wait until eu is not heard any more
	s.hello(h)
	m, err := s.conn.Recv()
	require.NoError(c.t, err)
	require.NotNil(c.t, m.GetHello(), "%v", m)
	s.hello(h)
	return s
}

// subscribed waits for the subscription to eu's lane.
func (s *stranger) subscribed() *peerv1.Subscribe {
	s.t.Helper()
	for {
		m, err := s.conn.Recv()
		require.NoError(s.t, err)
		if b := m.GetSubscribe(); b != nil && b.GetRegion() == 1 {
			return b
		}
	}
}

// records packs what follows a subscription's position, each a record that a test has changed.
func packed(prev clock.Timestamp, more ...byte) []byte {
	out := make([]byte, 8)
	for i := range 8 {
		out[i] = byte(prev >> (56 - 8*i))
	}
	return append(out, more...)
}

func TestAStreamThatContradictsItselfIsClosed(t *testing.T) {
	bad := func(body *peerv1.Records) func(*peerv1.Subscribe) *peerv1.Message {
		return func(s *peerv1.Subscribe) *peerv1.Message {
			body.Id = s.GetId()
			return &peerv1.Message{Body: &peerv1.Message_Records{Records: body}}
		}
	}
	plain := func(m *peerv1.Message) func(*peerv1.Subscribe) *peerv1.Message {
		return func(*peerv1.Subscribe) *peerv1.Message { return m }
	}
	beat := func(h *peerv1.Heartbeat) func(*peerv1.Subscribe) *peerv1.Message {
		return plain(&peerv1.Message{Body: &peerv1.Message_Heartbeat{Heartbeat: h}})
	}
	for name, message := range map[string]func(*peerv1.Subscribe) *peerv1.Message{
		"garbage for records":    bad(&peerv1.Records{Packed: []byte{1, 2}}),
		"garbage behind records": bad(&peerv1.Records{Packed: packed(0, 0xff, 0xff)}),
		"a gap":                  bad(&peerv1.Records{Packed: packed(clock.At(1<<50), 1, 1, 0, 2, 0, 0)}),
		"a fork": func(s *peerv1.Subscribe) *peerv1.Message {
			// Behind record 0 instead of behind the last: time far beyond what is held.
			out := packed(0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f, 1, 0, 2, 0, 0)
			return &peerv1.Message{Body: &peerv1.Message_Records{Records: &peerv1.Records{Id: s.GetId(), Packed: out}}}
		},
		"a second hello":      plain(&peerv1.Message{Body: &peerv1.Message_Hello{Hello: &peerv1.Hello{}}}),
		"a message of a join": plain(&peerv1.Message{Body: &peerv1.Message_CutTaken{CutTaken: &peerv1.CutTaken{}}}),
		"nothing":             plain(&peerv1.Message{}),
		"a refusal":           plain(&peerv1.Message{Body: &peerv1.Message_Refused{Refused: &peerv1.Refused{Kind: uint32(kv.KindInvalid)}}}),
		"a join at another":   plain(&peerv1.Message{Body: &peerv1.Message_Joined{Joined: &peerv1.Joined{}}}),
		"a lane too many":     plain(&peerv1.Message{Body: &peerv1.Message_Subscribe{Subscribe: &peerv1.Subscribe{Region: 1 << 20}}}),
		"a promise too many":  beat(&peerv1.Heartbeat{Promises: []*peerv1.Promise{{Slot: 64}}}),
		"a report of nobody":  beat(&peerv1.Heartbeat{Reports: []*peerv1.RegionReport{{}}}),
		"a broken report":     beat(&peerv1.Heartbeat{Reports: []*peerv1.RegionReport{{Region: 3, Durable: []byte{0xff}}}}),
		"a broken list": plain(&peerv1.Message{Body: &peerv1.Message_Members{Members: &peerv1.Members{
			Version: 99, Members: []*peerv1.Member{{Region: 0, Name: "x"}}}}}),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, eu, us, ap := three(t)
				defer stopAll(us, ap)
				held := eu.commit()
				us.sees(held)
				eu.crash()
				s := c.impostor(eu)
				m := message(s.subscribed())
				require.NoError(t, s.conn.Send(m))
				s.ended()
				require.Equal(t, held.Time, us.x.Exposed().At(1))
				a := us.commit() // no damage
				ap.sees(a)
			})
		})
	}
}

// Messages about subscriptions that do not exist are late, not wrong.
func TestWhatIsLateIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(us, ap)
		eu.crash()
		s := c.impostor(eu)
		s.subscribed()
		for _, m := range []*peerv1.Message{
			{Body: &peerv1.Message_Records{Records: &peerv1.Records{Id: 99, Packed: []byte{1}}}},
			{Body: &peerv1.Message_Credit{Credit: &peerv1.Credit{Id: 99, Total: 1 << 60}}},
			{Body: &peerv1.Message_Unsubscribe{Unsubscribe: &peerv1.Unsubscribe{Id: 99}}},
			{Body: &peerv1.Message_LaneError{LaneError: &peerv1.LaneError{Id: 99}}},
			{Body: &peerv1.Message_Subscribe{Subscribe: &peerv1.Subscribe{Region: 77, Id: 1}}},
			{Body: &peerv1.Message_Members{Members: &peerv1.Members{}}},
			{Body: &peerv1.Message_Heartbeat{Heartbeat: &peerv1.Heartbeat{}}},
		} {
			require.NoError(t, s.conn.Send(m))
		}
		// It is still read: a report that is broken ends it.
		eventually(t, "us hears it", func() bool { return us.connected(eu) })
		require.NoError(t, s.conn.Send(&peerv1.Message{}))
		s.ended()
	})
}

// A record in endless parts is cut off at MaxRecord.
func TestARecordInTooManyPartsClosesTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		defer stopAll(us, ap)
		eu.crash()
		s := c.impostor(eu)
		id := s.subscribed().GetId()
		part := &peerv1.Message{Body: &peerv1.Message_Records{Records: &peerv1.Records{Id: id, Packed: make([]byte, replication.MaxPart), Partial: true}}}
		sent := 0
		for s.conn.Send(part) == nil {
			sent++
			synctest.Wait()
			require.LessOrEqual(t, sent, replication.MaxRecord/replication.MaxPart+2)
		}
		require.GreaterOrEqual(t, sent, replication.MaxRecord/replication.MaxPart)
	})
}

// answers serves at an address and gives one answer to everybody.
func (c *cluster) answers(address string, m *peerv1.Message) {
	go func() {
		_ = c.net.Node(address).Serve(c.t.Context(), func(conn replication.Conn) {
			if _, err := conn.Recv(); err == nil {
				_ = conn.Send(m)
				_, _ = conn.Recv()
			}
		})
	}()
	synctest.Wait()
}

func TestAJoinerJudgesItsAnswers(t *testing.T) {
	member := func(region uint32, name string) *peerv1.Members {
		return &peerv1.Members{Version: 1, Members: []*peerv1.Member{{Region: region, Name: name}}}
	}
	answer := func(a *peerv1.JoinAnswer) *peerv1.Message {
		a.Result = peerv1.JoinAnswer_RESULT_GRANTED
		return &peerv1.Message{Body: &peerv1.Message_JoinAnswer{JoinAnswer: a}}
	}
	id := make([]byte, 16)
	id[0] = 1
	for name, test := range map[string]struct {
		m    *peerv1.Message
		says string
	}{
		"not in the list":        {answer(&peerv1.JoinAnswer{Cluster: id, Region: 2, Members: member(3, "us")}), "does not bear out"},
		"another's name":         {answer(&peerv1.JoinAnswer{Cluster: id, Region: 2, Members: member(2, "ap")}), "does not bear out"},
		"no cluster":             {answer(&peerv1.JoinAnswer{Region: 2, Members: member(2, "us")}), "does not bear out"},
		"a broken list":          {answer(&peerv1.JoinAnswer{Cluster: id, Region: 2, Members: member(0, "us")}), "malformed"},
		"a list with a bad name": {answer(&peerv1.JoinAnswer{Cluster: id, Region: 4, Members: listWith("NO/such name", "x")}), `region 4: region name "NO/such name"`},
		"a refusal": {&peerv1.Message{Body: &peerv1.Message_Refused{Refused: &peerv1.Refused{
			Kind: uint32(kv.KindInvalid), Message: "no"}}}, "refused by the peer: no"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				c.answers("eu", test.m)
				store := newFakeStore(2)
				_, err := c.tryStart(t.Context(), "us", store, []string{"eu"})
				require.ErrorIs(t, err, kv.ErrInvalid)
				require.ErrorContains(t, err, test.says)
				require.Empty(t, store.meta, "nothing is written down")
				c.net.Node("eu").CloseAll()
			})
		})
	}
}
