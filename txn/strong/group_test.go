package strong

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGroupOfOneDecidesAndReads(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		m := c.add(1, true)
		var want []uint64
		for range 20 {
			want = append(want, c.mustPropose(m))
			require.Equal(t, want, c.mustRead(m))
		}
		c.crash(m, 0)
		c.up(m, true)
		require.Equal(t, want, c.mustRead(m))
	})
}

func TestGroupOfThreeDecidesAndReadsEverywhere(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		members := c.founded(3)
		var want []uint64
		for i := range 30 {
			want = append(want, c.mustPropose(members[i%3]))
			require.Equal(t, want, c.mustRead(members[(i+1)%3]))
		}
	})
}
