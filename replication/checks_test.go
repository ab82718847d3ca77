package replication_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	peerv1 "github.com/theriac-db/theriac/api/theriac/peer/v1"
	"github.com/theriac-db/theriac/kv"
)

// badHellos are what no node sends: each spoils a hello, and says what the answer must.
var badHellos = map[string]struct {
	spoil func(*peerv1.Hello)
	says  string
}{
	"a name with a space":       {func(h *peerv1.Hello) { h.Name = "NO/such name" }, `region name "NO/such name"`},
	"a name of two lines":       {func(h *peerv1.Hello) { h.Name = "us\n2026-01-01 eu: all is well" }, `region name "us\n2026`},
	"a name of 3 MiB":           {func(h *peerv1.Hello) { h.Name = strings.Repeat("x", 3<<20) }, "want 1 to 64"},
	"a name one too long":       {func(h *peerv1.Hello) { h.Name = strings.Repeat("x", 65) }, "want 1 to 64"},
	"no name":                   {func(h *peerv1.Hello) { h.Name = "" }, `region name ""`},
	"an address of 3 MiB":       {func(h *peerv1.Hello) { h.Addresses.Client = strings.Repeat("x", 3<<20) }, "address"},
	"an address of 2 lines":     {func(h *peerv1.Hello) { h.Addresses.Peer = "us\nx" }, `address "us\nx"`},
	"a cluster id of 3 MiB":     {func(h *peerv1.Hello) { h.Cluster = make([]byte, 3<<20) }, "cluster id of 3145728 bytes"},
	"a list with a bad name":    {func(h *peerv1.Hello) { h.Members = listWith("NO/such name", "x") }, `malformed list of regions: region 4: region name "NO/such name"`},
	"a list with a bad address": {func(h *peerv1.Hello) { h.Members = listWith("sa", "x y") }, `malformed list of regions: region 1: address "x y"`},
	"a list with a huge name":   {func(h *peerv1.Hello) { h.Members = listWith(strings.Repeat("\n", 3<<20), "x") }, "malformed list of regions: region 4"},
}

// listWith is a newer list of three's regions, with one more.
func listWith(name, address string) *peerv1.Members {
	m := &peerv1.Members{Version: 99}
	for i, n := range []string{"eu", "us", "ap", name} {
		m.Members = append(m.Members, &peerv1.Member{Region: uint32(i + 1), Name: n, State: peerv1.MemberState_MEMBER_STATE_SERVING, Addresses: &peerv1.Addresses{Peer: address}})
	}
	return m
}

// bounded fails if a node has logged what somebody else wrote as it came.
func (n *node) bounded() {
	for _, l := range n.logged() {
		require.Less(n.c.t, len(l), 4<<10, "%.200s", l)
		require.NotContains(n.c.t, l, "\n")
	}
}

// TestBadNamesAndAddressesAreRefusedWhereTheyComeIn: whatever the hello is for.
func TestBadNamesAndAddressesAreRefusedWhereTheyComeIn(t *testing.T) {
	for name, test := range badHellos {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, eu, us, ap := three(t)
				for purpose := range peerv1.Purpose_name {
					for _, to := range []string{"eu", "us"} {
						h := member(eu, 1, "eu")
						h.Purpose, h.Addresses = peerv1.Purpose(purpose), &peerv1.Addresses{}
						test.spoil(h)
						s := c.stranger(to)
						s.hello(h)
						s.refused(kv.KindInvalid, test.says)
					}
				}
				// No damage: nobody is in the way of the next one.
				sa := c.start("sa", newFakeStore(4), []string{"us"})
				sa.writable()
				sa.sees(eu.commit())
				for _, n := range []*node{eu, us, ap, sa} {
					require.Len(t, n.r.Status(), 4)
					n.bounded()
				}
				stopAll(eu, us, ap, sa)
			})
		})
	}
}

// A member that answers with what can't be is as good as away, and named.
func TestABadAnswerToADialIsRefused(t *testing.T) {
	for name, test := range badHellos {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, eu, us, ap := three(t)
				ap.crash()
				h := member(eu, 3, "ap")
				h.Incarnation, h.Addresses = ap.store.incarnation, &peerv1.Addresses{}
				test.spoil(h)
				c.answers("ap", &peerv1.Message{Body: &peerv1.Message_Hello{Hello: h}})
				eventually(t, "it is told", func() bool { return eu.loggedLike(test.says) })
				us.sees(eu.commit())
				require.Len(t, eu.r.Status(), 3)
				eu.bounded()
				stopAll(eu, us)
				c.net.Node("ap").CloseAll()
			})
		})
	}
}

// A list that comes on a stream ends it when it has a bad name, and nobody takes it.
func TestABadListOnAStreamEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		eu.crash()
		s := c.impostor(eu)
		s.subscribed()
		require.NoError(t, s.conn.Send(&peerv1.Message{Body: &peerv1.Message_Members{Members: listWith("NO/such name", "x")}}))
		s.ended()
		ap.sees(us.commit())
		eventually(t, "it is told", func() bool {
			return us.loggedLike(`malformed list of regions: region 4: region name "NO/such name"`)
		})
		require.Len(t, us.r.Status(), 3)
		stopAll(us, ap)
	})
}

// What peers write for people to read is cut and kept on one line.
func TestTextsOfPeersAreShownBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, eu, us, ap := three(t)
		ap.crash()
		long := "no\n2026 eu: forged" + strings.Repeat("x", 3<<20)
		c.answers("ap", &peerv1.Message{Body: &peerv1.Message_Refused{Refused: &peerv1.Refused{Kind: uint32(kv.KindUnavailable), Message: long}}})
		eventually(t, "it is told", func() bool { return eu.loggedLike("forged") })
		eu.crash()
		s := c.impostor(eu)
		require.NoError(t, s.conn.Send(&peerv1.Message{Body: &peerv1.Message_LaneError{LaneError: &peerv1.LaneError{
			Id: s.subscribed().GetId(), Kind: uint32(kv.KindUnavailable), Message: long}}}))
		eventually(t, "it is told", func() bool { return us.loggedLike("forged") })
		for _, n := range []*node{eu, us} {
			n.bounded()
		}
		stopAll(us)
		c.net.Node("ap").CloseAll()
	})
}

func TestAddressesThatGossipFoundAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, eu, us, ap := three(t)
		require.ErrorContains(t, eu.r.SetAddresses(t.Context(), 2, kv.Addresses{Peer: "us", Admin: "a\nb"}), `address "a\nb"`)
		require.NoError(t, eu.r.SetAddresses(t.Context(), 2, kv.Addresses{Peer: "us", Admin: "[::1]:6703"}))
		stopAll(eu, us, ap)
	})
}
