package bench

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPingsTakeTheRoundTripsOfTheLinks(t *testing.T) {
	e, _ := tiny(t)
	w, err := startWide(t.Context(), e, true)
	require.NoError(t, err)
	defer func() { require.NoError(t, w.quit()) }()
	w.delay(trips{10 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond})
	for i, p := range pairs {
		for _, ends := range [][2]int{p, {p[1], p[0]}} {
			d, err := w.ping(t.Context(), ends[0], ends[1])
			require.NoError(t, err)
			require.GreaterOrEqual(t, d, time.Duration(i+1)*10*time.Millisecond)
		}
	}
	for from, want := range []time.Duration{10, 20, 30} { // eu leads, and has its majority at 10
		d, err := w.viaLeader(t.Context(), from)
		require.NoError(t, err)
		require.GreaterOrEqual(t, d, want*time.Millisecond)
	}
}

func TestARegionThatNeverVotesIsAnError(t *testing.T) {
	e, _ := tiny(t)
	w, err := startWide(t.Context(), e, false)
	require.NoError(t, err)
	defer func() { require.NoError(t, w.quit()) }()
	require.Zero(t, w.leader)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, w.awaitVotes(ctx), "does not vote")
}

func TestProcessorTimeIsThatOfTheProcesses(t *testing.T) {
	one, err := processorTime(os.Getpid())
	require.NoError(t, err)
	two, err := processorTime(os.Getpid(), os.Getpid())
	require.NoError(t, err)
	require.GreaterOrEqual(t, two, one)
	_, err = processorTime(-1)
	require.ErrorContains(t, err, "processor time")
}
