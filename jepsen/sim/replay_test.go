package sim

import (
	"bytes"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var coreFlag = flag.String("core", "", "replay this recording too, which a failing seed has left")

// Whatever the scheduler does: what a machine was told decides what it answers, byte for byte.
func TestCoresReplayExactly(t *testing.T) {
	defer alone()()
	r := Run(t, Options{Seed: 4, Minutes: 2, Txns: 400})
	require.Empty(t, r.Failures)
	calls, size := 0, 0
	for _, c := range r.cores {
		saved, err := decodeRecording(c.encode())
		require.NoError(t, err)
		require.NoError(t, saved.replay())
		calls, size = calls+c.calls, size+len(c.bytes)
	}
	require.Greater(t, calls, 1000)
	t.Logf("%d runs of nodes, %d calls in %d bytes", len(r.cores), calls, size)
	if *coreFlag != "" {
		src, err := os.ReadFile(*coreFlag)
		require.NoError(t, err)
		saved, err := decodeRecording(src)
		require.NoError(t, err)
		require.NoError(t, saved.replay())
	}
}

func TestWhatIsNoRecordingIsRefused(t *testing.T) {
	for _, src := range []string{"", "{}", "nonsense\n\x01\x02"} {
		_, err := decodeRecording([]byte(src))
		require.ErrorIs(t, err, errRecording)
	}
}

// The plan of a seed is always the same. How much of what then happens is the same is only measured:
// the scheduler is not ours.
func TestASeedTwice(t *testing.T) {
	defer alone()()
	o := Options{Seed: 7, Minutes: 2, Txns: 400}
	a, b := Run(t, o), Run(t, o)
	require.Empty(t, a.Failures)
	require.Empty(t, b.Failures)
	require.Equal(t, a.Plan, b.Plan)
	same, all := 0, 0
	for i := range min(len(a.cores), len(b.cores)) {
		x, y := a.cores[i].bytes, b.cores[i].bytes
		all += len(x)
		same += prefix(x, y)
	}
	ops := func(r *Report) (out []string) {
		for i := range r.History.Txns {
			out = append(out, r.History.Txns[i].OpID)
		}
		slices.Sort(out)
		return slices.DeleteFunc(slices.Compact(out), func(id string) bool { return id == "" })
	}
	x, y := ops(a), ops(b)
	shared := 0
	for _, id := range x {
		if _, ok := slices.BinarySearch(y, id); ok {
			shared++
		}
	}
	t.Logf("%d of %d bytes of what the machines were told until the first difference of each; %d of %d and %d writes are of both runs", same, all, shared, len(x), len(y))
}

// prefix is how many bytes two slices begin with alike.
func prefix(a, b []byte) int {
	n := min(len(a), len(b))
	if bytes.Equal(a[:n], b[:n]) {
		return n
	}
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
