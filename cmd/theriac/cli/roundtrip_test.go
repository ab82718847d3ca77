package cli

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/crdt"
)

// countersPastTheirRange is what concurrent increments, and those too small to be checked, may legally
// make of counters.
func countersPastTheirRange(t *testing.T) *embedded.Cluster {
	c, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{Regions: []string{"eu", "us"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	eu, us := c.DB("eu"), c.DB("us")
	add := func(n client.Counter, by int64) { require.NoError(t, n.Add(t.Context(), by)) }
	add(eu.Counter("likes"), crdt.CounterLimit)
	add(eu.Counter("likes"), crdt.CounterUnchecked)
	require.NoError(t, eu.Map("m").MVRegister("r").SetString(t.Context(), "x"))
	_, err = c.Converge(t.Context())
	require.NoError(t, err)
	c.Cut("eu", "us")
	add(eu.Counter("most"), crdt.CounterLimit)
	add(us.Counter("most"), crdt.CounterLimit-1)
	add(eu.Counter("least"), -crdt.CounterLimit)
	add(us.Counter("least"), -crdt.CounterLimit)
	add(eu.Map("m").Counter("n"), crdt.CounterLimit)
	add(us.Map("m").Counter("n"), crdt.CounterLimit/2)
	for name, db := range map[string]*client.DB{"eu": eu, "us": us} { // so that the map takes several transactions
		require.NoError(t, db.Map("m").MVRegister("r").SetString(t.Context(), name))
	}
	c.Heal("eu", "us")
	_, err = c.Converge(t.Context())
	require.NoError(t, err)
	return c
}

// Whatever a counter holds within 64 bits, an export brings it into an empty database, once.
func TestCountersPastTheirRangeAreExportedAndImported(t *testing.T) {
	from, to := countersPastTheirRange(t), openRegion(t)
	code, file, stderr := runOn(from.Service("eu"), "", "export")
	require.Equal(t, ExitOK, code, stderr)
	require.Contains(t, file, `"key":"most","type":"counter","value":9223372036854775807`)
	require.Contains(t, file, `"key":"least","type":"counter","value":-9223372036854775808`)
	require.Contains(t, file, `"n:counter":6917529027641081856`)
	for range 2 {
		code, _, stderr = runOn(to.Service(), file, "import", "-", "--id", "x", "--batch", "1")
		require.Equal(t, ExitOK, code, stderr)
	}
	want, err := from.DB("eu").Digest(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, want.Sum, digestOf(t, to).Sum)
	code, again, stderr := runOn(to.Service(), "", "export")
	require.Equal(t, ExitOK, code, stderr)
	require.True(t, file == again, again)

	// Beyond 64 bits an import takes nothing: nobody could read it. Nor do other writes past the range.
	before := digestOf(t, to).Sum
	code, _, stderr = runOn(to.Service(), `{"key":"most","type":"counter","value":9223372036854775807}`, "import", "-", "--id", "y")
	require.Equal(t, ExitCondition, code)
	require.Contains(t, stderr, "64 bits")
	require.Equal(t, before, digestOf(t, to).Sum)
	code, _, stderr = runOn(to.Service(), "", "counter", "add", "new", "9223372036854775807")
	require.Equal(t, ExitCondition, code)
	require.Contains(t, stderr, "out of its range")
	least, err := to.Counter("least").Get(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, int64(math.MinInt64), least)
	require.Equal(t, 4, strings.Count(file, "\n"))
}
