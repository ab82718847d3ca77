package workload_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/client/memkv"
	"github.com/theriac-db/theriac/jepsen/checker"
	"github.com/theriac-db/theriac/jepsen/checker/fresh"
	"github.com/theriac-db/theriac/jepsen/history"
	"github.com/theriac-db/theriac/jepsen/workload"
	"github.com/theriac-db/theriac/kv"
)

// leaderless says of level strong that it has no leader, so many times.
type leaderless struct {
	kv.Service
	left atomic.Int64
}

func (l *leaderless) Status(ctx context.Context) (kv.Status, error) {
	s, err := l.Service.Status(ctx)
	s.Levels = []kv.LevelStatus{{Level: kv.LevelCausal, OK: true}, {Level: kv.LevelStrong, OK: l.left.Add(-1) < 0, Why: "no leader is known"}}
	return s, err
}

// TestARunWaitsForItsLevels, and not for ever; those of other workloads do not keep it.
func TestARunWaitsForItsLevels(t *testing.T) {
	for _, c := range []struct {
		workload string
		times    int64
		fails    string
	}{
		{"strong-register", 20, ""},
		{"strong-register", 1 << 40, "workload: no region serves what strong-register asks for: level strong in region eu: no leader is known"},
		{"quorum", 1 << 40, ""},
	} {
		t.Run(fmt.Sprint(c.workload, " ", c.times), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service := &leaderless{Service: memkv.New().Node(1, "eu")}
				service.left.Store(c.times)
				db := client.New(service)
				w, err := workload.Find(c.workload)
				require.NoError(t, err)
				run, err := workload.Start(w, workload.Config{Regions: []string{"eu"}, DB: func(string) *client.DB { return db }, Rate: 10, Txns: 5, Seed: 1})
				require.NoError(t, err)
				begun := time.Now()
				if err := run.Load(t.Context()); c.fails != "" {
					require.EqualError(t, err, c.fails)
					require.Equal(t, 20*time.Second, time.Since(begun))
					return
				}
				h, err := run.History()
				require.NoError(t, err)
				require.Len(t, h.Txns, 5)
			})
		})
	}
}

// requireNotExercised expects a checker to miss one count, and nothing else to be wrong.
func requireNotExercised(t *testing.T, h *history.History, name, count string) {
	t.Helper()
	results, err := workload.Judge(h, checker.Options{})
	require.NoError(t, err)
	at := slices.IndexFunc(results, func(r checker.Result) bool { return r.Checker == name })
	require.Equal(t, checker.Invalid, results[at].Verdict)
	require.Equal(t, checker.NotExercised, results[at].Anomalies[0].Name)
	require.Contains(t, results[at].Anomalies[0].Text, "0 "+count+",")
}

// TestFaultsMustHaveMetTheirPromise: a long cut in which no bounded read was refused, and a loss of a disk right before which
// nothing was acknowledged in several regions, show little.
func TestFaultsMustHaveMetTheirPromise(t *testing.T) {
	h := inBubble(t, "bounded", setting{Config: workload.Config{Seed: 1, Txns: 900, Rate: 200}, sure: true})
	requireValid(t, h)
	at := h.Txns[100].Start
	h.Faults = []history.Fault{{Kind: "partition-isolate", Targets: []string{"us"}, Start: at, End: at + int64(time.Second)}}
	requireValid(t, h)
	h.Faults[0].End += int64(time.Second)
	keepTxns(h, func(t *history.Txn) bool { return t.Level != "bounded" || t.Outcome == history.OK })
	requireNotExercised(t, h, "bounded", fresh.CountRefused)

	h = inBubble(t, "durability", setting{Config: workload.Config{Seed: 1, Txns: 900, Rate: 200}, sure: true})
	requireValid(t, h)
	h.Faults = []history.Fault{{Kind: "destroy-region", Targets: []string{"us"}, Start: h.Txns[400].Start, End: h.Txns[500].Start}}
	requireValid(t, h)
	h.Faults[0].Start, h.Faults[0].End = 1, 2
	requireNotExercised(t, h, "durable", fresh.CountBefore)
}
