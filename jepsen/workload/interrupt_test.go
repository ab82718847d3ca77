package workload_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/embedded"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/workload"
	"github.com/theriac-db/theriac/kv"
)

// mute is the way to a region that takes calls and never answers.
type mute struct{ kv.Service }

func (m mute) Do(ctx context.Context, _ kv.Request) (kv.Response, error) {
	<-ctx.Done()
	return kv.Response{}, kv.Errorf(kv.KindDeadline, "no answer: %w", ctx.Err()).WithOutcome(kv.OutcomeUnknown)
}

// TestAnInterruptCancelsCalls: those under way end at once, of unknown outcome, and nobody asks what became of them.
func TestAnInterruptCancelsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, err := embedded.StartCluster(t.Context(), embedded.ClusterOptions{Regions: []string{"eu"}})
		require.NoError(t, err)
		defer func() { require.NoError(t, cluster.Close()) }()
		db := client.New(mute{cluster.Service("eu")})
		w, err := workload.Find("counter")
		require.NoError(t, err)
		ctx, interrupt := context.WithCancel(t.Context())
		run, err := workload.Start(w, workload.Config{Regions: []string{"eu"}, DB: func(string) *client.DB { return db },
			CallTimeout: time.Hour, Interrupt: ctx.Done(), Seed: 7})
		require.NoError(t, err)
		time.AfterFunc(time.Second, interrupt)
		began := time.Now()
		require.NoError(t, run.Load(ctx))
		require.Equal(t, time.Second, time.Since(began))
		h, err := run.History()
		require.NoError(t, err)
		require.NotEmpty(t, h.Txns)
		for i := range h.Txns {
			if h.Txns[i].Writes() {
				require.Equal(t, history.Unknown, h.Txns[i].Outcome)
			}
		}
	})
}
