package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/jepsen/nemesis"
)

func TestLinksOfNobody(t *testing.T) {
	c := start(t, Options{Regions: []string{"eu"}})
	l := nemesis.Link{From: "eu", To: "xx"}
	for _, do := range []func(context.Context, nemesis.Link) error{c.Cut, c.Heal, c.Stall, c.Flow, c.Reset, c.DropGossip, c.PassGossip} {
		require.ErrorContains(t, do(t.Context(), l), `no region "xx"`)
	}
	require.ErrorContains(t, c.Slow(t.Context(), l, nemesis.Weather{}), `no region "xx"`)
}

// Each disturbance of a link holds writes back, or does not, and ends.
func TestLinksAreDisturbed(t *testing.T) {
	disturbLinks(t, start(t, Options{Regions: []string{"eu", "us"}}))
}

// The same in network namespaces, with TLS; nothing of them is left.
func TestLinksOfNamespacesAreDisturbed(t *testing.T) {
	if err := mayNamespace(); err != nil {
		t.Logf("NOT TESTED: %v", err)
		require.ErrorContains(t, err, "--namespaces")
		return
	}
	c := start(t, Options{Regions: []string{"eu", "us"}, Namespaces: true, TestFaults: true})
	names := c.network.(*namespaces).made
	require.Len(t, names, 3)
	disturbLinks(t, c)
	require.NoError(t, c.SetClock(t.Context(), "us", time.Second))
	require.NoError(t, c.Kill(t.Context(), "us"))
	require.NoError(t, c.Restart(t.Context(), "us"))
	require.NoError(t, c.Close())
	for _, name := range names {
		require.NoFileExists(t, "/run/netns/"+name)
	}
	require.False(t, exists(linkName()))
}

func disturbLinks(t *testing.T, c *Cluster) {
	ctx := t.Context()
	n := int64(0)
	arrives := func() time.Duration {
		t.Helper()
		n++
		begun := time.Now()
		add(t, c, "eu", "n", 1)
		sees(t, c, "n", n, "us")
		return time.Since(begun)
	}
	keeps := func() {
		t.Helper()
		n++
		add(t, c, "eu", "n", 1)
		kept := n // the last look may end after this has
		require.Never(t, func() bool { return value(t, c, "us", "n") == kept }, 300*time.Millisecond, 50*time.Millisecond)
	}
	shows := func(k nemesis.Kind, links ...nemesis.Link) {
		t.Helper()
		did(t, c, nemesis.Fault{Kind: k, Links: links})
	}
	there, back := nemesis.Link{From: "eu", To: "us"}, nemesis.Link{From: "us", To: "eu"}
	arrives()
	for _, k := range []nemesis.Kind{nemesis.PartitionOneway, nemesis.Slow, nemesis.Reset, nemesis.Gossip} {
		require.False(t, counts(t, c, nemesis.Fault{Kind: k, Links: []nemesis.Link{there, back}}).Bit(k), "%s did nothing yet", k)
	}
	require.NoError(t, c.Cut(ctx, there))
	keeps()
	shows(nemesis.PartitionOneway, there)
	if !c.options.Namespaces { // where it is packets that are lost, TCP's acknowledgements too
		add(t, c, "us", "other", 1)
		sees(t, c, "other", 1, "eu") // the other way is open
	}
	require.NoError(t, c.Heal(ctx, there))
	sees(t, c, "n", n, "us")
	require.NoError(t, c.Cut(ctx, back))
	if !c.options.Namespaces {
		arrives()
	}
	require.NoError(t, c.Heal(ctx, back))
	arrives()
	require.NoError(t, c.Stall(ctx, there))
	keeps()
	require.NoError(t, c.Flow(ctx, there))
	sees(t, c, "n", n, "us")
	require.NoError(t, c.Slow(ctx, there, nemesis.Weather{Delay: 400 * time.Millisecond, Loss: 0.01}))
	if took := arrives(); !c.options.Namespaces { // where a delay is a rate
		require.Greater(t, took, 400*time.Millisecond)
	}
	eventually(t, "the slow link shows", func() bool {
		arrives()
		return counts(t, c, nemesis.Fault{Links: []nemesis.Link{there}}).Bit(nemesis.Slow)
	})
	require.NoError(t, c.Slow(ctx, there, nemesis.Weather{}))
	require.NoError(t, c.Reset(ctx, there))
	shows(nemesis.Reset, there)
	arrives()
	require.NoError(t, c.DropGossip(ctx, there))
	require.NoError(t, c.DropGossip(ctx, back))
	shows(nemesis.Gossip, there, back)
	arrives()
	require.NoError(t, c.PassGossip(ctx, there))
	require.NoError(t, c.PassGossip(ctx, back))
}
