package cli

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/clock"
	"github.com/theriac-db/theriac/kv"
)

// told is a node whose receipts say all that there is to say.
type told struct{ kv.Service }

func (t told) Do(ctx context.Context, req kv.Request) (kv.Response, error) {
	resp, err := t.Service.Do(ctx, req)
	resp.Receipt = kv.Receipt{
		Level: kv.LevelBounded, Bound: 2 * time.Second, Region: "eu", Node: "127.0.0.1:6700", Incarnation: 0xab, Lane: clock.Lane{Region: 1},
		Commit: clock.Stamp{Region: 1, Time: 64}, Durability: kv.DurabilityMajority, Regions: 2,
		Staleness: []kv.RegionStaleness{{Region: 2, Name: "us", Age: 35*time.Millisecond + 400, Known: true}, {Region: 3, Name: "ap"}},
		Paid:      kv.Phases{Token: 1200 * time.Microsecond, Sync: 300 * time.Microsecond, Regions: 40 * time.Millisecond},
	}
	return resp, err
}

func TestReceiptsSayHowFreshDurableAndFastTheAnswerWas(t *testing.T) {
	svc := told{memkv.New().Node(1, "eu")}
	for output, want := range map[string]string{
		"table": `receipt: level bounded:2s, region eu, lane 1.0, snapshot {}, commit 1@0.1.0, token -
receipt: node 127.0.0.1:6700, incarnation 00000000000000ab
receipt: durability majority, regions that have it on disk: 2
receipt: staleness us 35ms, ap unknown
receipt: paid 41.5ms: token 1.2ms, sync 300µs, regions 40ms
`,
		"json": `{"receipt":{"level":"bounded:2s","region":"eu","node":"127.0.0.1:6700","incarnation":"00000000000000ab","lane":"1.0",` +
			`"snapshot":{},"commit":{"1":"64"},"token":"","durability":"majority","regions":2,"staleness_ms":{"ap":null,"us":35},` +
			`"paid_us":{"certify":0,"queue":0,"regions":40000,"sync":300,"token":1200,"work":0}}}` + "\n",
	} {
		app, _, stderr := newTestApp(svc, "")
		require.Zero(t, app.Run(context.Background(), []string{"counter", "add", "k", "--receipt", "-o", output}))
		require.Equal(t, want, stderr.String())
	}
}

// contended is a node whose first commits meet another transaction.
type contended struct {
	kv.Service
	left    int
	commits int
}

func (c *contended) Commit(ctx context.Context, id kv.TxnID, o kv.Options) (kv.Receipt, error) {
	if c.commits++; c.commits <= c.left {
		_ = c.Abort(ctx, id)
		return kv.Receipt{}, kv.Conflict(kv.Token{}, "another was first")
	}
	return c.Service.Commit(ctx, id, o)
}

func TestTransactionsThatMetAnotherRunAgain(t *testing.T) {
	const file = "counter get n\ncounter add n 1\ncounter get n\n"
	synctest.Test(t, func(t *testing.T) {
		svc := &contended{Service: memkv.New().Node(1, "eu"), left: 2}
		app, stdout, stderr := newTestApp(svc, file)
		require.Zero(t, app.Run(context.Background(), []string{"txn", "-", "--consistency", "strong"}), stderr)
		require.Equal(t, 3, svc.commits)
		require.Equal(t, "n 0\nn 1\n", stdout.String(), "what the runs before read is not printed")

		svc.commits, svc.left = 0, 1000
		app, _, stderr = newTestApp(svc, file)
		require.NotZero(t, app.Run(context.Background(), []string{"txn", "-", "--consistency", "strong"}))
		require.Equal(t, maxConflicts, svc.commits)
		require.Contains(t, stderr.String(), "not applied")

		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		svc.commits = 0
		app, _, _ = newTestApp(svc, file)
		require.NotZero(t, app.Run(ctx, []string{"txn", "-", "--consistency", "strong"}))
		require.Equal(t, 1, svc.commits, "the context ended in the pause")
	})
}
