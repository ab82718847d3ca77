package demo

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/embedded"
)

func TestEveryClaimHolds(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Run(t.Context(), Options{Out: &out}), out.String())
	require.Contains(t, out.String(), "Every claim above was checked")
}

// A tour that can't fail would prove nothing.
func TestClaimsFailWithoutReplication(t *testing.T) {
	err := Run(t.Context(), Options{Out: &bytes.Buffer{}, Spoil: func(c *embedded.Cluster) {
		for _, r := range c.Regions() {
			c.Isolate(r)
		}
	}})
	require.ErrorIs(t, err, errClaim)
}
