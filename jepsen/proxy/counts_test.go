package proxy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// counted waits until a link has counted something.
func counted(t *testing.T, n *Network, from, to string, want Counts) {
	t.Helper()
	require.Eventually(t, func() bool { return n.Counts(from, to) == want }, patience, time.Millisecond, "want %+v", want)
}

// What a fault does to streams is counted on the link that it is on, and what it leaves alone is not.
func TestStreamsThatAreDisturbedAreCounted(t *testing.T) {
	n := newNetwork(t)
	eu, us := pair(t, n)
	say(t, eu, "fair")
	hears(t, us, "fair")
	n.Cut("eu", "us")
	n.Heal("eu", "us")
	require.Zero(t, n.Counts("eu", "us"), "a cut that met nothing")

	n.Cut("eu", "us")
	say(t, us, "the other way")
	hears(t, eu, "the other way")
	require.Zero(t, n.Counts("us", "eu"))
	say(t, eu, "held")
	counted(t, n, "eu", "us", Counts{BytesHeld: 4})
	n.Heal("eu", "us")
	hears(t, us, "held")
	n.Stall("eu", "us")
	say(t, eu, "back")
	counted(t, n, "eu", "us", Counts{BytesHeld: 8})
	n.Flow("eu", "us")
	hears(t, us, "back")
	n.Slow("eu", "us", Weather{Delay: time.Millisecond})
	say(t, eu, "late")
	hears(t, us, "late")
	counted(t, n, "eu", "us", Counts{BytesHeld: 8, BytesDelayed: 4})
	n.Slow("eu", "us", Weather{})

	require.Equal(t, 1, n.Reset("eu", "us"))
	isReset(t, eu)
	require.Zero(t, n.Reset("eu", "us"), "it is broken by now")
	counted(t, n, "eu", "us", Counts{BytesHeld: 8, BytesDelayed: 4, Reset: 1})
}

// A connection that can't be made is held, though nothing was said.
func TestConnectionsThatWaitAreCounted(t *testing.T) {
	n := newNetwork(t)
	l := backend(t)
	front, err := n.Stream("us", usHost, l.Addr().String())
	require.NoError(t, err)
	n.Cut("us", "eu")
	dial(t, front)
	counted(t, n, "us", "eu", Counts{EndsHeld: 1})
	require.Zero(t, n.Counts("eu", "us"))
}

// So is gossip, and a connection of gossip that is refused.
func TestGossipThatIsDisturbedIsCounted(t *testing.T) {
	n := newNetwork(t)
	eu, us, l, front := gossipers(t, n)
	send := func() {
		_, err := eu.WriteToUDP([]byte("ping"), front)
		require.NoError(t, err)
	}
	send()
	hears(t, us, "ping")
	c := dial(t, front.String())
	say(t, c, "state")
	hears(t, accept(t, l), "state")
	require.Zero(t, n.Counts("eu", "us"))

	n.Slow("eu", "us", Weather{Delay: time.Millisecond})
	send()
	hears(t, us, "ping")
	n.Slow("eu", "us", Weather{})
	want := Counts{DatagramsDelayed: 1}
	require.Equal(t, want, n.Counts("eu", "us"))
	n.DropGossip("eu", "us")
	want.GossipReset++
	counted(t, n, "eu", "us", want)
	send()
	want.DatagramsDropped++
	counted(t, n, "eu", "us", want)
	isRefused(t, front.String())
	want.GossipReset++
	counted(t, n, "eu", "us", want)
	n.PassGossip("eu", "us")
	n.Cut("eu", "us")
	send()
	want.DatagramsDropped++
	counted(t, n, "eu", "us", want)
}
