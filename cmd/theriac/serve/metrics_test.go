package serve

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/theriac-db/theriac/client"
	"github.com/theriac-db/theriac/cmd/theriac/config"
	"github.com/theriac-db/theriac/kv"
)

// patience is how long tests wait for what should happen soon. It bounds failures only.
const patience = 30 * time.Second

// running is a server in this process.
type running struct {
	t         *testing.T
	addresses map[string]string // of the ready line
	stop      context.CancelFunc
	ended     chan error
}

// startServer runs a node in plaintext on ports that the system picks, on a folder of its own.
func startServer(t *testing.T, flags ...string) *running {
	t.Helper()
	return startWith(t, append([]string{"--insecure", "--data", t.TempDir()}, flags...)...)
}

// settings are those of a node on ports that the system picks.
func settings(t *testing.T, flags ...string) (c config.Serve) {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.Register(fs)
	require.NoError(t, fs.Parse(append([]string{"--listen", "127.0.0.1:0"}, flags...)))
	require.NoError(t, c.Validate(fs))
	return c
}

// startWith runs a node with these flags alone.
func startWith(t *testing.T, flags ...string) *running {
	t.Helper()
	return startOf(t, newServer(settings(t, flags...), io.Discard))
}

// startOf runs a node and waits until it serves.
func startOf(t *testing.T, s *server) *running {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r := &running{t: t, addresses: map[string]string{}, stop: stop, ended: make(chan error, 1)}
	stdout, ready := io.Pipe()
	go func() {
		err := s.run(ctx, ready)
		ready.CloseWithError(fmt.Errorf("it ended: %w", err))
		r.ended <- err
	}()
	t.Cleanup(r.end)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	for _, word := range strings.Fields(line) {
		if name, value, ok := strings.Cut(word, "="); ok {
			r.addresses[name] = value
		}
	}
	return r
}

// end stops the node; a second time it does nothing.
func (r *running) end() {
	r.stop()
	if r.ended != nil {
		require.NoError(r.t, <-r.ended)
		r.ended = nil
	}
}

// db is a client of the node.
func (r *running) db(ctx context.Context) *client.DB {
	db, err := client.Open(ctx, r.addresses["clients"], client.Insecure())
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, db.Close()) })
	return db
}

// scrape reads all of the node's own metrics, by name and labels.
func (r *running) scrape() map[string]float64 {
	answer, err := http.Get("http://" + r.addresses["admin"] + "/metrics")
	require.NoError(r.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(r.t, err)
	out := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^(theriac_\S+) (\S+)$`).FindAllStringSubmatch(string(text), -1) {
		out[m[1]], err = strconv.ParseFloat(m[2], 64)
		require.NoError(r.t, err, m[0])
	}
	return out
}

// await scrapes until a metric satisfies a condition.
func (r *running) await(name string, holds func(float64) bool) {
	r.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		got := r.scrape()
		if v, ok := got[name]; ok && holds(v) {
			return
		}
		select {
		case <-again.C:
		case <-deadline.C:
			require.Fail(r.t, "waited in vain for "+name, "%v", got)
		}
	}
}

func above(least float64) func(float64) bool { return func(v float64) bool { return v > least } }
func is(want float64) func(float64) bool     { return func(v float64) bool { return v == want } }

// TestTrafficMovesTheMetrics scrapes two real nodes. Every name of docs/reference/metrics.md is looked at: what
// one node counts shows traffic, an open transaction and a region that is away.
func TestTrafficMovesTheMetrics(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	eu := startServer(t, "--region", "eu")
	us := startServer(t, "--region", "us", "--join", eu.addresses["clients"])
	db := eu.db(ctx)
	before := eu.scrape()

	const adds = 50
	for range adds {
		require.NoError(t, db.Counter("k").Add(ctx, 1))
		_, err := db.Counter("k").Get(ctx)
		require.NoError(t, err)
	}
	require.NoError(t, us.db(ctx).Counter("k").Add(ctx, 1))
	_, _, err := db.Service().Begin(ctx, kv.Begin{ReadOnly: true})
	require.NoError(t, err)
	var first client.Receipt
	lost := client.NewOpID()
	require.NoError(t, db.Counter("k").Add(ctx, 1, client.WithOpID(lost), client.WithReceipt(&first)))
	found, err := db.Outcome(ctx, lost, client.WithAttempt(kv.Attempt{Retry: true, Lane: first.Lane, Age: time.Minute}))
	require.NoError(t, err)
	require.Equal(t, kv.Applied, found.Outcome)
	_, err = db.Counter("k").Get(ctx, client.Quorum())
	require.NoError(t, err)
	require.NoError(t, us.db(ctx).Counter("k").Add(ctx, 1, client.Durable(client.Majority)))

	looked := map[string]bool{}
	expect := func(on *running, name string, holds func(float64) bool) {
		t.Helper()
		on.await(name, holds)
		looked[regexp.MustCompile(`(_bucket|_sum|_count)?(\{.*)?$`).ReplaceAllString(name, "")] = true
	}
	expect(eu, "theriac_ready", is(1))
	expect(eu, "theriac_warnings", is(0))
	expect(eu, "theriac_writable", is(1))
	expect(eu, "theriac_commits_total", is(before["theriac_commits_total"]+adds+1))
	expect(eu, "theriac_groups_total", above(before["theriac_groups_total"]))
	expect(eu, "theriac_log_searches_total", above(0))
	expect(eu, "theriac_group_transactions_sum", is(before["theriac_group_transactions_sum"]+adds+1))
	expect(eu, `theriac_group_transactions_bucket{le="+Inf"}`, above(0))
	expect(eu, "theriac_sync_seconds_count", above(before["theriac_sync_seconds_count"]))
	expect(eu, "theriac_sync_seconds_sum", above(before["theriac_sync_seconds_sum"]))
	expect(eu, `theriac_sync_seconds_bucket{le="10"}`, above(0))
	expect(eu, "theriac_behind", is(0))
	expect(eu, "theriac_renewing", is(0))
	expect(eu, "theriac_log_bytes", above(0))
	expect(eu, "theriac_store_bytes", above(0))
	expect(eu, "theriac_removals_pending", is(0))
	expect(eu, "theriac_transactions_open", is(1))
	expect(eu, "theriac_transaction_age_seconds", above(0))
	for _, on := range []*running{eu, us} {
		for _, region := range []string{"eu", "us"} {
			label := `{region="` + region + `"}`
			expect(on, "theriac_region_connected"+label, is(1))
			expect(on, "theriac_region_lag_seconds"+label, func(v float64) bool { return v >= 0 && v < patience.Seconds() })
			expect(on, "theriac_region_exposed_timestamp_seconds"+label, above(1.7e9))
			expect(on, "theriac_log_held_bytes"+label, is(0))
			expect(on, "theriac_region_left_behind"+label, is(0))
		}
	}
	for on, peer := range map[*running]string{eu: `{region="us"}`, us: `{region="eu"}`} {
		for _, what := range []string{"sent_records", "sent_bytes", "received_records", "received_bytes"} {
			expect(on, "theriac_replication_"+what+"_total"+peer, above(0))
		}
		expect(on, "theriac_region_staleness_seconds"+peer, above(0))
		expect(on, "theriac_region_staleness_p99_seconds"+peer, above(0))
		expect(on, "theriac_region_skew_seconds"+peer, func(v float64) bool { return v < 1 && v > -1 })
	}
	for _, of := range []string{"served", "waited"} {
		expect(eu, "theriac_level_"+of+`_total{level="quorum"}`, is(1))
		expect(us, "theriac_durability_"+of+`_total{durability="majority"}`, is(1))
	}
	for _, on := range []*running{eu, us} {
		expect(on, "theriac_strong_leader_known", is(1))
		expect(on, "theriac_strong_voters", above(0))
		expect(on, "theriac_strong_term", above(0))
		expect(on, "theriac_strong_undecided", is(0))
		expect(on, "theriac_strong_log_entries", above(0))
		for _, what := range []string{`strong_leader{region="eu"}`, "strong_commits_total", "strong_aborts_total"} {
			expect(on, "theriac_"+what, func(v float64) bool { return v >= 0 })
		}
	}
	expect(eu, "theriac_strong_staleness_seconds", above(0)) // the quorum read has asked
	for _, queue := range []string{"commit", "store"} {
		expect(eu, `theriac_queue_capacity{queue="`+queue+`"}`, above(0))
		expect(eu, `theriac_queue_length{queue="`+queue+`"}`, func(v float64) bool { return v >= 0 })
	}
	expect(eu, `theriac_cache_bytes{cache="leaf"}`, above(0))
	expect(eu, `theriac_cache_hits_total{cache="leaf"}`, above(0))
	expect(eu, `theriac_cache_misses_total{cache="leaf"}`, above(0))

	us.end()
	expect(eu, `theriac_region_connected{region="us"}`, is(0))
	require.NoError(t, db.Counter("k").Add(ctx, 1))
	expect(eu, `theriac_log_held_bytes{region="us"}`, above(0))
	short, done := context.WithTimeout(ctx, time.Second)
	defer done()
	_, err = db.Counter("k").Get(short, client.BoundedOrFail(time.Microsecond))
	require.ErrorIs(t, err, client.ErrStale)
	require.ErrorIs(t, db.Counter("k").Add(short, 1, client.Durable(client.All)), client.ErrDeadline)
	expect(eu, `theriac_level_failed_total{level="bounded"}`, above(0))
	expect(eu, `theriac_durability_failed_total{durability="all"}`, is(1))

	page, err := os.ReadFile("../../../docs/reference/metrics.md")
	require.NoError(t, err)
	for _, row := range regexp.MustCompile("(?m)^\\| `(theriac_[a-z0-9_]+)`").FindAllStringSubmatch(string(page), -1) {
		require.True(t, looked[row[1]] || row[1] == "theriac_node_info", "nobody looked at %s", row[1])
	}
}
