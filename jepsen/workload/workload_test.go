package workload_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/workload"
)

// inBubble runs a workload against three regions on synthetic time, and returns what was recorded.
// meanwhile runs beside the load.
func inBubble(t *testing.T, name string, c workload.Config, meanwhile func(*embedded.Cluster, *workload.Run)) (h *history.History) {
	t.Helper()
	w, err := workload.Find(name)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		cluster, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{Seed: c.Seed, RoundTrip: func(a, b string) time.Duration { return 20 * time.Millisecond }})
		require.NoError(t, err)
		defer func() { require.NoError(t, cluster.Close()) }()
		c.Regions, c.DB = cluster.Regions(), cluster.DB
		run, err := workload.Start(w, c)
		require.NoError(t, err)
		loaded := make(chan error, 1)
		go func() { loaded <- run.Load(t.Context()) }()
		if meanwhile != nil {
			meanwhile(cluster, run)
		}
		require.NoError(t, <-loaded)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, run.Finish(ctx))
		h, err = run.History()
		require.NoError(t, err)
	})
	return h
}

// requireValid fails the test with all that is wrong.
func requireValid(t *testing.T, h *history.History) {
	t.Helper()
	results, err := workload.Judge(h, checker.Options{})
	require.NoError(t, err)
	for _, r := range results {
		if r.Verdict != checker.Valid {
			t.Errorf("%s: %s: %s", r.Checker, r.Verdict, r.Note)
			for _, a := range r.Anomalies {
				t.Error(a.String())
			}
		}
	}
}

func TestWorkloadsAreValidOnHealthyRegions(t *testing.T) {
	for _, w := range workload.All() {
		t.Run(w.Name, func(t *testing.T) {
			h := inBubble(t, w.Name, workload.Config{Rate: 100, Txns: 600, Seed: 7}, nil)
			requireValid(t, h)
		})
	}
}

func TestABeatHasTransactionsMeet(t *testing.T) {
	const beat = 2 * time.Second
	c := workload.Config{Seed: 11, Rate: 3, Workers: 12, Txns: 300, Beat: beat}
	h := inBubble(t, "counter", c, nil)
	requireValid(t, h)
	stamps := map[history.Stamp]int{}
	met := 0
	for i := range h.Txns {
		if commit := h.Txns[i].Commit; commit != nil {
			if stamps[*commit]++; stamps[*commit] == 2 {
				met++
			}
		}
	}
	require.Greater(t, met, 20, "groups of several transactions")
}
